//! The kinds of work, one folder each.

pub mod sync;
pub mod undo;

//! The adapters without AWS: in-process queue, directory store, in-memory table.
//!
//! The queue and the store carry embedded jobs; the table is for tests. All three pass the contract suites of their
//! ports, as the AWS adapters do.

pub mod directory;
pub mod queue;
pub mod table;

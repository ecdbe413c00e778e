//! The live status of several table pairs at once.
//!
//! - [`course`]: the steps of an entry, and how far it is. [`rates`]: counts of the last seconds, per second.
//! - [`tracked`]: an entry as it is watched; takes samples, and gives rows and lines for the log.
//! - [`table`]: rows as a table, or as plain lines. [`layout`], [`short`]: columns, and numbers in few characters.
//! - [`due`]: what is written how often. [`screen`]: the only part that writes. [`board`]: what
//!   jobs feed and a screen shows.
//!
//! Nothing here knows how samples come about, and only [`screen`] and [`board`] know a clock: `now` is a parameter.

pub mod board;
pub mod course;
pub mod due;
pub mod layout;
pub mod rates;
pub mod screen;
pub mod short;
pub mod table;
pub mod tracked;

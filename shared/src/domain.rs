//! What dynamend knows about tables, items, jobs and decisions: pure values and functions.
//!
//! Nothing here waits, reads a clock, a file or the environment, or knows the AWS SDK; a test in `tests/` holds it to
//! that. Read `value` and `key` first, then `compare`, `decide` and `condition`, then `job`, `unit`, `checkpoint` and
//! `summary`, and last `cost`.

pub mod checkpoint;
pub mod compare;
pub mod condition;
pub mod control;
pub mod cost;
pub mod decide;
pub mod digest;
pub mod discrepancy;
pub mod entries;
pub mod job;
pub mod join;
pub mod json;
pub mod key;
pub mod limits;
pub mod number;
pub mod sample;
pub mod segment;
pub mod summary;
pub mod table_ref;
pub mod tally;
pub mod unit;
pub mod value;

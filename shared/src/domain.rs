//! What dynamend knows about tables, items, jobs and decisions: pure values and functions.
//!
//! Nothing here waits, reads a clock, a file or the environment, or knows the AWS SDK; a test in `tests/` holds it to
//! that. Read `value` and `key` first, then `compare`, `decide`, `condition` and `mend`, then `job`, `unit`, `checkpoint` and
//! `summary`, and last `cost`.

pub mod arn;
pub mod backup;
pub mod change;
pub mod checkpoint;
pub mod compare;
pub mod condition;
pub mod control;
pub mod cost;
pub mod decide;
pub mod definition;
pub mod digest;
pub mod discrepancy;
pub mod encryption;
pub mod entries;
pub mod expiry;
pub mod export;
pub mod follow;
pub mod following;
pub mod item_line;
pub mod item_object;
pub mod job;
pub mod job_check;
pub mod job_id;
pub mod join;
pub mod json;
pub mod key;
pub mod lag;
pub mod limits;
pub mod mend;
pub mod number;
pub mod overlap;
pub mod permissions;
pub mod policy;
pub mod position;
pub mod rejected;
pub mod sample;
pub mod segment;
pub mod shards;
pub mod summary;
pub mod table_ref;
pub mod tally;
pub mod undo;
pub mod unit;
pub mod value;
pub mod version;

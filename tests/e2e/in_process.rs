//! Whole jobs in this process, with a clock that the tests hold and faults wherever a port allows them.

mod backup;
mod backup_review;
mod budget;
mod careful;
mod change;
mod crash;
mod data;
mod exact;
mod failure;
mod faults;
mod killed;
mod limits;
mod ownership;
mod paired;
mod poison;
mod replicate;
mod replicate_review;
mod safe;
mod stop;
mod undo;

//! Whole jobs in this process, with a clock that the tests hold and faults wherever a port allows them.

mod crash;
mod exact;
mod faults;

//! How much capacity is being consumed, and no more of it than was asked for.
//!
//! - [`meter`]: running totals, for displays.
//! - [`bucket`]: one rate, held; [`slowing`]: a rate that gives way to throttling; [`shares`]: a rate among workers. Pure.
//! - [`purse`]: what a job may still cost, as far as one worker may spend it. Pure too.
//! - [`gate`]: where the requests of one table and direction wait their turn; [`sizes`]: what a request will cost.
//! - [`paced`]: a table behind its gates. [`pacer`]: the gates of one job in one worker.
//! - [`fleet`]: how the workers of a job learn of each other.
//!
//! A job is held to its ceilings by all its workers together: each takes its share of them, by its running segments.

pub mod bucket;
pub mod fleet;
pub mod gate;
pub mod meter;
pub mod paced;
pub mod pacer;
pub mod purse;
pub mod shares;
pub mod sizes;
pub mod slowing;

pub use meter::{Meter, Reading};
pub use pacer::Pacer;

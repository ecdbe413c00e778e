//! The worker: takes units of work from a queue and does them.
//!
//! - [`consume`]: the loop: receive, execute, settle, stop in good order.
//! - [`execute`]: one message from receipt to its ending; the lease.
//! - [`jobs`]: the kinds of work.
//! - [`context`], [`environment`]: what a worker keeps of a job, and how it reaches tables and stores.
//! - [`plan`]: from a request to a job's manifest.
//! - [`embedded`]: a whole job in one process, and the way to use dynamend as a library, with [`hooks`].
//! - [`daemon`]: the program `dynamend-worker`.

mod completion;
pub mod consume;
pub mod context;
pub mod daemon;
pub mod embedded;
pub mod environment;
pub mod execute;
pub mod hooks;
pub mod jobs;
pub mod plan;

pub use daemon::main;

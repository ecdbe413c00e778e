//! The worker: takes units of work from a queue and does them.
//!
//! - [`clock`]: the time of day.
//! - [`consume`]: the loop: receive, execute, settle, stop in good order. [`duty`]: what is asked of it from outside.
//! - [`execute`]: one message from receipt to its ending; the lease.
//! - [`jobs`]: the kinds of work.
//! - [`apply`]: changes onto the slaves. [`following`]: a stream's shards. [`backup`]: items as objects.
//! - [`source`]: where items are read in batches. [`finishing`]: the end of a full backup.
//! - [`context`], [`environment`]: what a worker keeps of a job, and how it reaches tables and stores.
//! - [`plan`], [`plan_replicate`], [`plan_backup`], [`plan_restore`]: from a request to a job's manifest.
//! - [`embedded`]: a whole job in one process, and the way to use dynamend as a library, with [`hooks`].
//! - [`record`]: single records, without a job.
//! - [`daemon`]: the program `dynamend-worker`. What goes on beside its loop: `protection`, the task's on ECS;
//!   `notices`, what an instance of EC2 is told of its end; `health`, a file that shows that the process turns.
//! - `lambda`: the program `dynamend-lambda`, with the feature of that name.

pub mod apply;
pub mod backup;
pub mod clock;
mod completion;
pub mod consume;
pub mod context;
pub mod daemon;
pub mod duty;
pub mod embedded;
pub mod environment;
pub mod execute;
pub mod finishing;
pub mod following;
mod health;
pub mod hooks;
pub mod jobs;
#[cfg(feature = "lambda")]
pub mod lambda;
mod notices;
pub mod plan;
pub mod plan_backup;
pub mod plan_replicate;
pub mod plan_restore;
mod polling;
mod protection;
pub mod record;
mod rejects;
pub mod source;

pub use daemon::main;

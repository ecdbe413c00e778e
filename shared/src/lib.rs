//! What the coordinator and the workers share.
//!
//! In reading order:
//!
//! - [`domain`]: items, keys, comparison, decisions, jobs; pure.
//! - [`ports`]: the traits of everything outside: table, queue, object store.
//! - [`aws`]: the adapters for DynamoDB, SQS and S3, and the only place that builds SDK clients.
//! - [`local`]: the adapters without AWS: in-process queue, directory store, in-memory table.
//! - [`journal`]: a job's folder, and the rules that make a crash harmless.
//! - [`retry`]: trying again, the one layer for data-plane calls and partial results.
//! - [`pacing`]: how much capacity is being consumed, and no more of it than was asked for.
//! - [`packing`]: lines in packed files, in and out.
//! - [`telemetry`]: logs, traces and their field names.
#![warn(missing_docs)]

pub mod aws;
pub mod domain;
pub mod journal;
pub mod local;
pub mod pacing;
pub mod packing;
pub mod ports;
pub mod retry;
pub mod telemetry;

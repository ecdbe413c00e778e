//! What the end-to-end tests stand on. The tests themselves are in `e2e/`.
//!
//! - [`dynamodb`]: an embedded DynamoDB, one per test, with helpers to fill and read tables.
//! - [`attribute`]: items to and from the SDK's form, written apart from the code under test.
//! - [`ministack`]: SQS, S3 and STS as a process; [`queues`] and [`buckets`] are its helpers, and [`python`] the
//!   virtual environment that it runs in.
//! - [`process`]: the real programs, in a clean environment, with signals.
//! - [`generate`]: random items, keys and tables; [`vary`] changes items or only respells them.
//! - [`oracle`]: what differs between two tables, by brute force.
//! - [`ledger`]: what tables charge, and when.
//! - [`slow`]: a service far away.
//! - [`wait`]: waiting for a condition, with a deadline.
//! - [`world`]: tables, a store and workers in one process; [`watch`] sees their calls, and meddles.

pub mod attribute;
pub mod buckets;
pub mod dynamodb;
pub mod generate;
pub mod ledger;
pub mod ministack;
pub mod oracle;
pub mod process;
pub mod python;
pub mod queues;
pub mod slow;
pub mod vary;
pub mod wait;
pub mod watch;
pub mod world;

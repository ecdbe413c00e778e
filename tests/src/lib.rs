//! What the end-to-end tests stand on. The tests themselves are in `e2e/`.
//!
//! - [`dynamodb`]: an embedded DynamoDB, one per test, with helpers to fill and read tables.
//! - [`attribute`]: items to and from the SDK's form, written apart from the code under test.
//! - [`ministack`]: SQS, S3 and STS as a process; [`queues`] and [`buckets`] are its helpers, and [`python`] the
//!   virtual environments of all Python programs.
//! - [`moto`]: Application Auto Scaling as a process; [`cli`]: the AWS CLI against an emulator.
//! - [`process`]: the real programs, in a clean environment, with signals.
//! - [`generate`]: random items, keys and tables; [`vary`] changes items or only respells them.
//! - [`oracle`]: what differs between two tables, by brute force; [`explore`]: all orders of steps around a repair.
//! - [`relay`]: what the programs ask of a service, and what it answers; [`slow`]: a service far away.
//! - [`streams`]: streams of changes whose shards a test makes, behind the protocols of the services.
//! - [`proxy`]: services that fail in every way that services fail, from a seed.
//! - [`chaos`]: whole jobs of the real programs amid faults of services, processes, clocks and disks.
//! - [`collector`]: what the programs export over OTLP.
//! - [`policy`]: what an IAM policy allows.
//! - [`lambda`]: the service that runs functions. [`agent`], of ECS, and [`metadata`], of EC2: what a worker's machine
//!   tells it, made of [`stand_in`].
//! - [`ledger`]: what tables charge, and when.
//! - [`template`]: the templates of `infra`, resolved; [`scaling`]: what their scaling policy makes of a load.
//! - [`wait`]: waiting for a condition, with a deadline.
//! - [`world`]: tables, a store and workers in one process; [`watch`] sees their calls, and meddles.

pub mod agent;
pub mod attribute;
pub mod buckets;
pub mod changing;
pub mod chaos;
pub mod cli;
pub mod collector;
pub mod dynamodb;
pub mod explore;
pub mod generate;
pub mod lambda;
pub mod ledger;
pub mod metadata;
pub mod ministack;
pub mod moto;
pub mod oracle;
pub mod policy;
pub mod process;
pub mod proxy;
pub mod python;
pub mod queues;
pub mod relay;
pub mod scaling;
pub mod slow;
pub mod stand_in;
pub mod streams;
pub mod template;
pub mod vary;
pub mod wait;
pub mod watch;
pub mod world;

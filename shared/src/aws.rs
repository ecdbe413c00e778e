//! The adapters for AWS, and the only place that builds SDK configuration and clients.
//!
//! - [`clients`]: whose credentials, which region, which endpoint, which retries and timeouts.
//! - [`classify`]: what an SDK error means.
//! - [`dynamodb`], [`sqs`], [`s3`], [`streams`], [`kinesis`]: the adapters of the four ports.
//! - [`fast`]: digests of items straight from the bytes of an answer.
//! - [`instance`]: what an instance of EC2 is told of its end.

mod blot;
#[cfg(test)]
mod canned;
pub mod classify;
pub mod clients;
mod convert;
mod credentials;
pub mod dynamodb;
mod expression;
pub mod fast;
pub mod instance;
pub mod kinesis;
pub mod s3;
pub mod sqs;
pub mod streams;

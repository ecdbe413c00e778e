//! The port to a queue of work messages, delivered at least once.

use std::time::Duration;

use async_trait::async_trait;

use super::failure::Failure;

/// Most messages one request sends or receives.
///
/// Source: Amazon SQS API Reference, SendMessageBatch and ReceiveMessage.
pub const MAX_MESSAGES_PER_BATCH: usize = 10;

/// Longest time a message can be held back when it is sent.
///
/// Source: Amazon SQS API Reference, SendMessage, DelaySeconds.
pub const MAX_DELAY: Duration = Duration::from_secs(900);

/// One delivery of a message. Until its visibility ends, no other receiver gets it, as a rule: a standard queue may
/// deliver twice all the same.
#[derive(Clone, Debug)]
pub struct Delivery {
    /// The message's body.
    pub body: String,
    /// Names this delivery in later calls.
    pub receipt: String,
    /// How often the message was delivered, this time included.
    pub receive_count: u32,
    /// The span that it was sent from, if that is known; see [`crate::telemetry::trace`]. Nobody vouches for it.
    pub trace: Option<String>,
}

/// A message of a batch that was not accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unsent {
    /// Its place in the batch.
    pub index: usize,
    /// Why.
    pub reason: String,
}

/// What a queue is called, in traces.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueueName {
    /// The messaging system, in OpenTelemetry's words (`aws_sqs`).
    pub system: &'static str,
    /// The queue in it.
    pub name: String,
}

/// A queue. Adapters make one request per call, and leave retries of partial results to [`crate::retry`].
#[async_trait]
pub trait WorkQueue: Send + Sync {
    /// What it is called.
    fn name(&self) -> QueueName;

    /// Sends up to [`MAX_MESSAGES_PER_BATCH`] messages, each held back for `delay` (at most [`MAX_DELAY`]), with the
    /// current span beside it where spans are exported.
    ///
    /// Says which were not accepted; the caller sends those again. Sending twice is harmless.
    async fn send(&self, bodies: &[String], delay: Duration) -> Result<Vec<Unsent>, Failure>;

    /// Waits up to `wait` (20 s at most) for up to `max` messages, and hides them for `visibility`.
    async fn receive(&self, max: usize, visibility: Duration, wait: Duration) -> Result<Vec<Delivery>, Failure>;

    /// Hides the message for this long from now; zero makes it visible at once.
    ///
    /// `NotFound` when the delivery is no longer this receiver's: its visibility ended, or the message is gone.
    async fn extend(&self, receipt: &str, visibility: Duration) -> Result<(), Failure>;

    /// Deletes the message. Deleting a message that is gone is a success.
    async fn settle(&self, receipt: &str) -> Result<(), Failure>;
}

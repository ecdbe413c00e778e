//! Trying again: the one retry layer for data-plane calls and partial results, and the only user of `backoff`.
//!
//! The SDK's own retries share a quota that runs dry under sustained throttling, so DynamoDB's data-plane calls are
//! sent once by the SDK and repeated here. What a partial answer left over is asked for again until it is done; only
//! rounds that got nothing done count against the limit.

use std::time::Duration;

use backoff::ExponentialBackoff;
use backoff::backoff::Backoff as _;
use tracing::Instrument as _;

use crate::domain::condition::Write;
use crate::domain::digest::Digester;
use crate::domain::job::Reader;
use crate::domain::key::Key;
use crate::domain::value::Item;
use crate::ports::failure::{Failure, FailureKind};
use crate::ports::queue::{MAX_MESSAGES_PER_BATCH, QueueName, WorkQueue};
use crate::ports::table::{GetRequest, GotEntries, MAX_WRITES_PER_BATCH, Table, get_entries};
use crate::telemetry::sample::{self, Sample};
use crate::telemetry::{field, trace};

/// Longest delay between two tries.
const MAX_DELAY: Duration = Duration::from_secs(20);

/// What is wrong with a request of which the service left something over, in metrics.
const UNPROCESSED: &str = "unprocessed";

/// How often and how patiently one request is tried again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetryPolicy {
    /// Times it is tried again after the first.
    pub max_retries: u32,
    /// The first delay is up to twice this long, and each one after it up to twice as long as the one before.
    pub base: Duration,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self { max_retries: 10, base: Duration::from_millis(50) }
    }
}

/// Delays of one request: exponential, with full jitter around the mean.
struct Delays {
    left: u32,
    policy: RetryPolicy,
    backoff: ExponentialBackoff,
}

impl Delays {
    fn new(policy: RetryPolicy) -> Self {
        let backoff = ExponentialBackoff {
            current_interval: policy.base,
            initial_interval: policy.base,
            randomization_factor: 1.0,
            multiplier: 2.0,
            max_interval: MAX_DELAY,
            max_elapsed_time: None,
            ..ExponentialBackoff::default()
        };
        Self { left: policy.max_retries, policy, backoff }
    }

    /// Waits before the next try; false when there is none left.
    async fn wait(&mut self) -> bool {
        if self.left == 0 {
            return false;
        }
        self.left -= 1;
        let delay = self.backoff.next_backoff().unwrap_or(MAX_DELAY);
        tokio::time::sleep(delay).await;
        true
    }

    fn start_over(&mut self) {
        *self = Self::new(self.policy);
    }
}

/// Calls until it succeeds, fails for good, or the tries are used up.
///
/// # Errors
/// The last failure.
pub async fn call<T, F: Future<Output = Result<T, Failure>>>(
    policy: RetryPolicy,
    mut attempt: impl FnMut() -> F,
) -> Result<T, Failure> {
    let mut delays = Delays::new(policy);
    loop {
        match attempt().await {
            Err(failure) if failure.may_pass() => {
                tracing::debug!(operation = failure.operation, error = %failure, "a call failed in passing");
                if !delays.wait().await {
                    return Err(failure);
                }
                sample::note(Sample::Retried { operation: failure.operation, error: failure.kind.name() });
            }
            answer => return answer,
        }
    }
}

/// Items read, and the read units they cost.
#[derive(Clone, Debug, Default)]
pub struct Read {
    /// The items that are there.
    pub items: Vec<Item>,
    /// What they cost.
    pub read_units: f64,
}

/// Reads all keys of a request, asking again for unprocessed ones until none is left.
///
/// # Errors
/// The last failure; `Throttled` when the service kept leaving keys unprocessed.
pub async fn get_all(table: &dyn Table, policy: RetryPolicy, request: GetRequest) -> Result<Read, Failure> {
    let mut read = Read::default();
    let mut asking = Asking::new(policy, request);
    while asking.has_keys() {
        let got = call(policy, || table.get_many(&asking.request)).await?;
        read.items.extend(got.items);
        read.read_units += got.read_units;
        asking.go_on(got.unprocessed, got.held_back).await?;
    }
    Ok(read)
}

/// Reads all keys of a request as [`get_all`] does, reduced to digests.
///
/// # Errors
/// As for [`get_all`].
pub async fn get_all_entries(
    table: &dyn Table,
    policy: RetryPolicy,
    request: GetRequest,
    reader: Reader,
    digester: &Digester,
) -> Result<Vec<GotEntries>, Failure> {
    let mut answers = Vec::with_capacity(1);
    let mut asking = Asking::new(policy, request);
    while asking.has_keys() {
        let mut got = call(policy, || get_entries(table, &asking.request, reader, digester)).await?;
        let (unprocessed, held_back) = (std::mem::take(&mut got.unprocessed), std::mem::take(&mut got.held_back));
        answers.push(got);
        asking.go_on(unprocessed, held_back).await?;
    }
    Ok(answers)
}

/// A read by keys that goes on until none is unprocessed.
struct Asking {
    request: GetRequest,
    policy: RetryPolicy,
    delays: Delays,
}

impl Asking {
    fn new(policy: RetryPolicy, request: GetRequest) -> Self {
        Self { request, policy, delays: Delays::new(policy) }
    }

    fn has_keys(&self) -> bool {
        !self.request.keys.is_empty()
    }

    /// Waits before what the service left over is asked for again. Rounds that got something done do not count as
    /// tries. What was held back is not waited for: whoever held it back does that.
    async fn go_on(&mut self, unprocessed: Vec<Key>, held_back: Vec<Key>) -> Result<(), Failure> {
        let asked = self.request.keys.len();
        let is_left_over = !unprocessed.is_empty();
        self.request.keys = unprocessed;
        self.request.keys.extend(held_back);
        if self.request.keys.len() < asked {
            self.delays = Delays::new(self.policy);
        }
        if is_left_over {
            if !self.delays.wait().await {
                return Err(left_over("BatchGetItem", "keys", self.request.keys.len()));
            }
            sample::note(Sample::Retried { operation: "BatchGetItem", error: UNPROCESSED });
        }
        Ok(())
    }
}

/// Makes all writes, in batches, sending unprocessed ones again until none is left; returns the write units.
///
/// # Errors
/// The last failure; `Throttled` when the service kept leaving writes unprocessed.
pub async fn write_all(table: &dyn Table, policy: RetryPolicy, writes: &[Write]) -> Result<f64, Failure> {
    let mut units = 0.0;
    for batch in writes.chunks(MAX_WRITES_PER_BATCH) {
        let mut left = batch.to_vec();
        let mut delays = Delays::new(policy);
        while !left.is_empty() {
            let sent = left.len();
            let answer = call(policy, || table.write_many(&left)).await?;
            units += answer.write_units;
            let is_left_over = !answer.unprocessed.is_empty();
            left = answer.unprocessed;
            left.extend(answer.held_back);
            if left.len() < sent {
                delays.start_over();
            }
            if is_left_over {
                if !delays.wait().await {
                    return Err(left_over("BatchWriteItem", "writes", left.len()));
                }
                sample::note(Sample::Retried { operation: "BatchWriteItem", error: UNPROCESSED });
            }
        }
    }
    Ok(units)
}

/// Sends up to one batch of messages, sending unaccepted ones again until none is left.
///
/// # Errors
/// The last failure; `Unavailable` when the queue kept refusing messages.
pub async fn send_all(
    queue: &dyn WorkQueue,
    policy: RetryPolicy,
    bodies: Vec<String>,
    delay: Duration,
) -> Result<(), Failure> {
    let span = if trace::is_on() { send_span(queue, bodies.len()) } else { tracing::Span::none() };
    send_until_accepted(queue, policy, bodies, delay).instrument(span).await
}

/// The span that messages are linked to.
fn send_span(queue: &dyn WorkQueue, messages: usize) -> tracing::Span {
    let QueueName { system, name } = queue.name();
    tracing::info_span!(
        "send",
        { field::SPAN_NAME } = format!("send {name}"),
        { field::SPAN_KIND } = "producer",
        { field::QUEUE_SYSTEM } = system,
        { field::QUEUE } = name,
        { field::QUEUE_OPERATION } = "send",
        { field::QUEUE_OPERATION_TYPE } = "send",
        { field::BATCH_COUNT } = messages,
    )
}

async fn send_until_accepted(
    queue: &dyn WorkQueue,
    policy: RetryPolicy,
    bodies: Vec<String>,
    delay: Duration,
) -> Result<(), Failure> {
    debug_assert!(bodies.len() <= MAX_MESSAGES_PER_BATCH, "the caller cuts batches");
    let mut left = bodies;
    let mut delays = Delays::new(policy);
    while !left.is_empty() {
        let unsent = call(policy, || queue.send(&left, delay)).await?;
        let Some(first) = unsent.first() else { return Ok(()) };
        let failure = Failure {
            kind: FailureKind::Unavailable,
            operation: "SendMessageBatch",
            resource: "the queue".to_owned(),
            message: format!("{} of {} messages were not accepted: {}", unsent.len(), left.len(), first.reason),
        };
        if unsent.len() < left.len() {
            delays.start_over();
        }
        left = unsent.into_iter().filter_map(|unsent| left.get(unsent.index).cloned()).collect();
        if !delays.wait().await {
            return Err(failure);
        }
        sample::note(Sample::Retried { operation: "SendMessageBatch", error: UNPROCESSED });
    }
    Ok(())
}

fn left_over(operation: &'static str, what: &str, count: usize) -> Failure {
    Failure {
        kind: FailureKind::Throttled,
        operation,
        resource: "the table".to_owned(),
        message: format!("{count} {what} stayed unprocessed however often they were asked for"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failure(kind: FailureKind) -> Failure {
        Failure { kind, operation: "Scan", resource: "table `t`".into(), message: "no".into() }
    }

    async fn tries_until_given_up(kind: FailureKind) -> u32 {
        let policy = RetryPolicy { max_retries: 3, base: Duration::from_millis(50) };
        let mut tries = 0;
        let answer: Result<(), Failure> = call(policy, || {
            tries += 1;
            std::future::ready(Err(failure(kind)))
        })
        .await;
        assert_eq!(answer.unwrap_err().kind, kind);
        tries
    }

    #[tokio::test(start_paused = true)]
    async fn passing_failures_are_tried_again_and_lasting_ones_are_not() {
        assert_eq!(tries_until_given_up(FailureKind::Throttled).await, 4);
        assert_eq!(tries_until_given_up(FailureKind::Unavailable).await, 4);
        assert_eq!(tries_until_given_up(FailureKind::Denied).await, 1);
        assert_eq!(tries_until_given_up(FailureKind::NotFound).await, 1);
        assert_eq!(tries_until_given_up(FailureKind::Invalid).await, 1);
        assert_eq!(tries_until_given_up(FailureKind::Conflict).await, 1);
    }

    #[tokio::test(start_paused = true)]
    async fn delays_grow_and_stay_within_their_bounds() {
        let mut delays = Delays::new(RetryPolicy { max_retries: 20, base: Duration::from_millis(50) });
        for n in 0..20 {
            let before = tokio::time::Instant::now();
            assert!(delays.wait().await);
            let bound = (Duration::from_millis(100) * 2u32.saturating_pow(n)).min(MAX_DELAY * 2);
            assert!(before.elapsed() <= bound + Duration::from_millis(2), "delay {n}: {:?}", before.elapsed());
        }
        assert!(!delays.wait().await);
    }
}

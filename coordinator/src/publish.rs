//! Putting units of work onto the queue: ten per request, many requests at once.

use std::time::Duration;

use futures::stream::{FuturesUnordered, StreamExt as _};
use shared::domain::job::Manifest;
use shared::domain::unit::Unit;
use shared::ports::failure::Failure;
use shared::ports::queue::{MAX_MESSAGES_PER_BATCH, WorkQueue};
use shared::retry::{self, RetryPolicy};
use shared::telemetry::field;
use tokio_util::sync::CancellationToken;

/// Requests in flight at once.
const SENDS_AT_ONCE: usize = 32;

/// How publishing ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Published {
    /// Everything is on the queue.
    All,
    /// It was interrupted; `resume` sends the rest.
    Some,
}

/// Sends the messages of these units, in their order. The manifest must be in the store already.
///
/// # Errors
/// When the queue keeps failing; some messages may have been sent, and sending them again is harmless.
pub async fn publish(
    queue: &dyn WorkQueue,
    manifest: &Manifest,
    manifest_url: &str,
    units: Vec<Unit>,
    stop: &CancellationToken,
) -> Result<Published, Failure> {
    tracing::Span::current().record(field::JOB_ID, &manifest.job);
    let mut batches = units.chunks(MAX_MESSAGES_PER_BATCH);
    let mut sending = FuturesUnordered::new();
    loop {
        while sending.len() < SENDS_AT_ONCE
            && !stop.is_cancelled()
            && let Some(batch) = batches.next()
        {
            let bodies = batch.iter().map(|&unit| manifest.message(manifest_url, unit).to_body()).collect();
            sending.push(retry::send_all(queue, RetryPolicy::default(), bodies, Duration::ZERO));
        }
        match sending.next().await {
            Some(sent) => sent?,
            None if batches.len() == 0 => return Ok(Published::All),
            None => return Ok(Published::Some),
        }
    }
}

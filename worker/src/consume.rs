//! The worker's loop: receive when a place is free, do the work, settle the message, stop in good order.

use std::sync::Arc;
use std::time::Duration;

use shared::domain::unit::{Task, Unit, WorkMessage};
use shared::local::queue::LocalQueue;
use shared::ports::failure::Failure;
use shared::ports::queue::{Delivery, MAX_DELAY, MAX_MESSAGES_PER_BATCH, WorkQueue};
use shared::retry::{self, RetryPolicy};
use shared::telemetry::sample::{self, Sample};
use shared::telemetry::{field, trace};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;

use crate::completion::Completion;
use crate::context::OpenJobs;
use crate::duty::{Duty, Order};
use crate::execute::{Ending, Executed, Executor, Outcome};

/// Longest wait of one receive.
///
/// Source: Amazon SQS API Reference, ReceiveMessage, WaitTimeSeconds.
const LONG_POLL: Duration = Duration::from_secs(20);

/// Wait of the first receives after work or after the start; each empty one after [`SHORT_POLLS`] doubles it, up to
/// [`LONG_POLL`].
///
/// A message that is handed to a connection whose worker was just killed counts as received by nobody. Workers die
/// most where there is work, so there they wait briefly, and long only where nothing happens.
const SHORT_POLL: Duration = Duration::from_secs(1);
const SHORT_POLLS: u32 = 4;

/// How long a receive may still take when the worker is asked to take no more; one that waits longer is abandoned.
const LAST_RECEIVE: Duration = Duration::from_secs(2);

/// Wait of one receive when the worker is to exit once the queue stays empty.
const DRAIN_POLL: Duration = Duration::from_secs(5);

/// Empty receives in a row, with nothing in work, after which a queue counts as drained.
const EMPTY_POLLS: u32 = 2;

/// Wait after a receive that failed in passing.
const AFTER_A_FAILURE: Duration = Duration::from_secs(2);

/// How long a message that nobody can do waits before it is received the next time on its way to the dead-letter
/// queue; the longer one where there is no such queue.
const BAD_MESSAGE_DELAY: Duration = Duration::from_secs(1);
const BAD_MESSAGE_DELAY_WITHOUT_DEAD_LETTERS: Duration = Duration::from_secs(300);

/// How long a shard waits for another worker when this one follows as many as it may.
const SHARD_AGAIN_AFTER: Duration = Duration::from_secs(5);

/// When the worker exits by itself.
#[derive(Clone)]
pub enum Drain {
    /// Never.
    Never,
    /// When the queue stays empty.
    WhenEmpty,
    /// When this queue, which nobody else reads, holds nothing any more, hidden messages included.
    WhenIdle(Arc<LocalQueue>),
}

/// Whether messages that nobody can do have somewhere to go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeadLetters {
    /// The queue moves them to a dead-letter queue.
    Kept,
    /// It has none, and they come back until their retention ends.
    Circulating,
}

/// How a worker works.
#[derive(Clone)]
pub struct Settings {
    /// Segments at once.
    pub concurrency: usize,
    /// Shards followed at once, beside the segments: they wait for changes most of their time.
    pub shards: usize,
    /// Visibility of messages and lease of units.
    pub lease: Duration,
    /// Time for the work in hand when the worker is asked to stop.
    pub grace: Duration,
    /// When it exits by itself.
    pub drain: Drain,
    /// What becomes of bad messages.
    pub dead_letters: DeadLetters,
}

/// Receives and works until it is ordered otherwise, or until the queue is drained.
///
/// A drain leaves the segments in hand the time they need. After a stop the pages in hand are finished, committed and
/// their messages handed back; what takes longer than the grace time is dropped, and redone by another worker from its
/// last commit.
///
/// # Errors
/// When the queue cannot be received from, and will not be able to.
pub async fn consume(
    queue: Arc<dyn WorkQueue>,
    jobs: Arc<OpenJobs>,
    settings: Settings,
    duty: impl Into<Duty>,
) -> Result<(), Failure> {
    let duty = duty.into();
    let places = Arc::new(Semaphore::new(settings.concurrency.max(1)));
    let completion = Arc::new(Completion::default());
    let executor = Executor { jobs, queue: Arc::clone(&queue), lease: settings.lease, duty: duty.clone() };
    let shards = Arc::new(Semaphore::new(settings.shards.max(1)));
    let hand = Arc::new(Hand { executor, completion, dead_letters: settings.dead_letters, shards });
    let mut work = JoinSet::new();
    let received = receive_loop(&*queue, &settings, duty.takes_no_more(), &places, &mut work, &hand).await;
    if received.is_err() {
        // There is no more work to come by: what is in hand is given back in good order.
        duty.order(Order::Stop);
    }
    finish(&mut work, duty.stops(), settings.grace).await;
    hand.executor.jobs.leave().await;
    received
}

/// Waits for the work in hand; once the worker is to stop, no longer than the grace time.
async fn finish(work: &mut JoinSet<()>, stop: &CancellationToken, grace: Duration) {
    let finished = async {
        while let Some(ended) = work.join_next().await {
            report_panic(ended);
        }
    };
    let overdue = async {
        stop.cancelled().await;
        tokio::time::sleep(grace).await;
    };
    tokio::select! {
        biased;
        () = finished => {}
        () = overdue => {
            tracing::warn!(tasks = work.len(), "the grace time is over; the work in hand is dropped");
            work.shutdown().await;
        }
    }
}

async fn receive_loop(
    queue: &dyn WorkQueue,
    settings: &Settings,
    stop: &CancellationToken,
    places: &Arc<Semaphore>,
    work: &mut JoinSet<()>,
    hand: &Arc<Hand>,
) -> Result<(), Failure> {
    let mut empty_polls = 0;
    loop {
        while let Some(ended) = work.try_join_next() {
            report_panic(ended);
        }
        let Some(mut free) = free_places(places, stop, work).await else { return Ok(()) };
        let wait = match &settings.drain {
            Drain::Never => poll_after(empty_polls),
            Drain::WhenEmpty => DRAIN_POLL,
            Drain::WhenIdle(local) if work.is_empty() && local.is_idle() => return Ok(()),
            // Wakes at once when a message comes, and soon when the last work ends.
            Drain::WhenIdle(_) => Duration::from_millis(50),
        };
        let mut receive = queue.receive(free.len(), settings.lease, wait);
        let deliveries = tokio::select! {
            deliveries = &mut receive => deliveries,
            () = stop.cancelled() => {
                // What an abandoned receive is handed counts as received, and is hidden from all for one lease: even
                // the messages that this worker is just giving back.
                if let Ok(Ok(deliveries)) = tokio::time::timeout(LAST_RECEIVE, receive).await {
                    give_back(queue, deliveries).await;
                }
                return Ok(());
            }
        };
        match deliveries {
            Ok(deliveries) if deliveries.is_empty() => {
                let nothing_in_work = work.is_empty();
                empty_polls = if nothing_in_work { empty_polls.saturating_add(1) } else { 0 };
                if matches!(settings.drain, Drain::WhenEmpty) && empty_polls >= EMPTY_POLLS {
                    return Ok(());
                }
            }
            Ok(deliveries) => {
                empty_polls = 0;
                for delivery in deliveries {
                    let place = free.pop();
                    let hand = Arc::clone(hand);
                    work.spawn(async move {
                        hand.handle(delivery, place).await;
                    });
                }
            }
            Err(failure) if failure.may_pass() => {
                tracing::warn!(error = %failure, "receiving failed; trying again");
                tokio::select! {
                    () = tokio::time::sleep(AFTER_A_FAILURE) => {}
                    () = stop.cancelled() => return Ok(()),
                }
            }
            Err(failure) => return Err(failure),
        }
    }
}

async fn give_back(queue: &dyn WorkQueue, deliveries: Vec<Delivery>) {
    for delivery in deliveries {
        if let Err(failure) = queue.extend(&delivery.receipt, Duration::ZERO).await {
            tracing::warn!(error = %failure, "a message could not be given back; it comes back by itself");
        }
    }
}

/// How long to wait for messages after this many receives without any.
fn poll_after(empty_polls: u32) -> Duration {
    let doublings = empty_polls.saturating_sub(SHORT_POLLS - 1).min(10);
    (SHORT_POLL * 2_u32.pow(doublings)).min(LONG_POLL)
}

/// Waits for at least one free place and takes as many as one receive can fill; `None` when asked to take no more.
async fn free_places(
    places: &Arc<Semaphore>,
    stop: &CancellationToken,
    work: &mut JoinSet<()>,
) -> Option<Vec<OwnedSemaphorePermit>> {
    let first = loop {
        tokio::select! {
            biased;
            () = stop.cancelled() => return None,
            place = Arc::clone(places).acquire_owned() => break place.ok()?,
            Some(ended) = work.join_next() => report_panic(ended),
        }
    };
    let more = std::iter::from_fn(|| Arc::clone(places).try_acquire_owned().ok());
    Some(std::iter::once(first).chain(more).take(MAX_MESSAGES_PER_BATCH).collect())
}

fn report_panic(ended: Result<(), tokio::task::JoinError>) {
    if let Err(error) = ended
        && error.is_panic()
    {
        tracing::error!(%error, "a unit's work panicked; its message comes back when its visibility ends");
    }
}

/// The trace of one message's work, linked to the span that the message was sent from.
fn span_of(message: &WorkMessage, delivery: &Delivery, queue: &dyn WorkQueue) -> tracing::Span {
    let Unit { pass, segment } = message.work_unit();
    let total_segments = match message.unit {
        Task::Scan { total_segments, .. } => Some(total_segments),
        Task::Shard { .. } => None,
    };
    let queue = trace::only_exported(()).map(|()| queue.name());
    let span = tracing::info_span!(
        "process",
        { field::SPAN_NAME } = queue.as_ref().map(|queue| format!("process {}", queue.name)),
        { field::SPAN_KIND } = trace::only_exported("consumer"),
        { field::QUEUE_SYSTEM } = queue.as_ref().map(|queue| queue.system),
        { field::QUEUE } = queue.as_ref().map(|queue| queue.name.as_str()),
        { field::QUEUE_OPERATION } = "process",
        { field::QUEUE_OPERATION_TYPE } = trace::only_exported("process"),
        { field::JOB_ID } = message.job,
        { field::PASS } = %pass,
        { field::SEGMENT } = segment,
        { field::TOTAL_SEGMENTS } = total_segments,
        { field::OUTCOME } = tracing::field::Empty,
        { field::ITEMS_COMPARED } = tracing::field::Empty,
        { field::DISCREPANCIES } = tracing::field::Empty,
        { field::ERROR_TYPE } = tracing::field::Empty,
        { field::SPAN_STATUS } = tracing::field::Empty,
    );
    if let Some(sender) = &delivery.trace {
        trace::link(&span, sender);
    }
    span
}

/// Tells traces and metrics what came of a message's unit.
fn note_outcome(span: &tracing::Span, outcome: Outcome, took: Duration, queue: &dyn WorkQueue) {
    span.record(field::OUTCOME, outcome.name());
    if let Some(error) = outcome.error() {
        span.record(field::ERROR_TYPE, error);
        span.record(field::SPAN_STATUS, "error");
    }
    if outcome != Outcome::Passed {
        let system = queue.name().system;
        sample::note(Sample::Worked { outcome: outcome.name(), error: outcome.error(), system, took });
    }
}

/// Handles one delivery from parsing to settling.
struct Hand {
    executor: Executor,
    completion: Arc<Completion>,
    dead_letters: DeadLetters,
    shards: Arc<Semaphore>,
}

impl Hand {
    async fn handle(&self, delivery: Delivery, place: Option<OwnedSemaphorePermit>) {
        let message = match WorkMessage::parse(&delivery.body) {
            Ok(message) => message,
            Err(error) => {
                tracing::error!(%error, receive_count = delivery.receive_count, "a message cannot be understood; it is left for the dead-letter queue");
                return self.settle(&delivery, Ending::DeadLetter).await;
            }
        };
        let _place = match message.unit {
            Task::Scan { .. } => place,
            // It takes a place among the shards instead of one of a segment's.
            Task::Shard { .. } => match Arc::clone(&self.shards).try_acquire_owned() {
                Ok(among_shards) => {
                    drop(place);
                    Some(among_shards)
                }
                Err(_) => return self.settle(&delivery, Ending::Successor(SHARD_AGAIN_AFTER)).await,
            },
        };
        let running = self.completion.running(&message.manifest);
        let span = span_of(&message, &delivery, &*self.executor.queue);
        let work = self.executor.execute(&message, &delivery).instrument(span.clone());
        let started = tokio::time::Instant::now();
        let Executed { ending, ended, outcome } = work.await;
        note_outcome(&span, outcome, started.elapsed(), &*self.executor.queue);
        if let Some(job) = ended {
            self.completion.unit_ended(job, message.work_unit());
        }
        drop(running);
        let check = self.completion.check(&message.manifest, &*self.executor.queue).instrument(span.clone());
        let ending = match check.await {
            Ok(()) => ending,
            Err(error) => {
                tracing::warn!(job = message.job, %error, "the summary could not be written");
                // This may be the job's last message: whoever receives it when it comes back looks again. It is not
                // sent anew, because where the queue fails too, messages would multiply.
                if ending == Ending::Settle && error.may_pass() { Ending::Leave } else { ending }
            }
        };
        self.settle(&delivery, ending).instrument(span).await;
    }

    async fn settle(&self, delivery: &Delivery, ending: Ending) {
        let queue = &*self.executor.queue;
        let settled = match ending {
            Ending::Leave => Ok(()),
            Ending::Settle => queue.settle(&delivery.receipt).await,
            Ending::DeadLetter => {
                let delay = match self.dead_letters {
                    DeadLetters::Kept => BAD_MESSAGE_DELAY,
                    DeadLetters::Circulating => BAD_MESSAGE_DELAY_WITHOUT_DEAD_LETTERS,
                };
                queue.extend(&delivery.receipt, delay).await
            }
            Ending::Successor(delay) => {
                let body = vec![delivery.body.clone()];
                let sent = retry::send_all(queue, RetryPolicy::default(), body, delay.min(MAX_DELAY)).await;
                match sent {
                    Ok(()) => queue.settle(&delivery.receipt).await,
                    Err(failure) => Err(failure),
                }
            }
        };
        if let Err(failure) = settled {
            tracing::warn!(error = %failure, ?ending, "the message could not be settled; it comes back");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_idle_worker_waits_longer_and_longer() {
        let waits: Vec<u64> = (0..12).map(|empty_polls| poll_after(empty_polls).as_secs()).collect();

        assert_eq!(waits, [1, 1, 1, 1, 2, 4, 8, 16, 20, 20, 20, 20]);
        assert_eq!(poll_after(u32::MAX), LONG_POLL);
    }

    #[tokio::test(start_paused = true)]
    async fn work_in_hand_has_all_the_time_it_needs_and_after_a_stop_the_grace_time() {
        const GRACE: Duration = Duration::from_secs(25);
        // Seconds that the work takes, seconds until the stop, seconds until the end.
        for (work_takes, stopped_after, ends_after) in [(7200, None, 7200), (60, Some(50), 60), (3600, Some(50), 75)] {
            let (start, stop) = (tokio::time::Instant::now(), CancellationToken::new());
            let mut work = JoinSet::new();
            work.spawn(tokio::time::sleep(Duration::from_secs(work_takes)));
            let stopping = async {
                if let Some(seconds) = stopped_after {
                    tokio::time::sleep(Duration::from_secs(seconds)).await;
                    stop.cancel();
                }
            };

            tokio::join!(finish(&mut work, &stop, GRACE), stopping);

            assert!(work.is_empty());
            assert_eq!(start.elapsed().as_secs(), ends_after, "{work_takes} {stopped_after:?}");
        }
    }
}

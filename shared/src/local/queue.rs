//! A work queue in this process, with the promises of SQS: leases, redelivery, delay, dead letters.
//!
//! Nothing runs in the background. A message carries the time at which it can be received again, and whoever waits
//! for messages waits for the earliest such time, or for a change.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};

use crate::ports::failure::{Failure, FailureKind};
use crate::ports::queue::{Delivery, MAX_DELAY, MAX_MESSAGES_PER_BATCH, QueueName, Unsent, WorkQueue};
use crate::telemetry::trace;

/// Longest time one receive waits.
///
/// Source: Amazon SQS API Reference, ReceiveMessage, WaitTimeSeconds.
const MAX_WAIT: Duration = Duration::from_secs(20);

/// Longest time a message can be hidden.
///
/// Source: Amazon SQS API Reference, ChangeMessageVisibility, VisibilityTimeout.
const MAX_VISIBILITY: Duration = Duration::from_secs(12 * 60 * 60);

/// A queue for workers of this process.
#[derive(Debug)]
pub struct LocalQueue {
    max_receives: u32,
    // Held for a few lines at a time, and never across an await.
    state: Mutex<State>,
    /// Told whenever a message may have become visible sooner than a waiting receiver knows.
    changed: Notify,
}

#[derive(Debug, Default)]
struct State {
    messages: BTreeMap<u64, Message>,
    /// All messages by the time from which they can be received; a time in the past is a visible message.
    by_visibility: BTreeSet<(Instant, u64)>,
    last_id: u64,
    last_delivery: u64,
    dead_letters: Vec<String>,
}

#[derive(Debug)]
struct Message {
    body: String,
    trace: Option<String>,
    visible_at: Instant,
    receive_count: u32,
    /// The latest delivery; only its receipt counts.
    delivery: u64,
}

impl LocalQueue {
    /// An empty queue. A message that was received `max_receives` times, and comes up once more, is a dead letter.
    #[must_use]
    pub fn new(max_receives: u32) -> Self {
        Self { max_receives: max_receives.max(1), state: Mutex::default(), changed: Notify::new() }
    }

    /// Whether no message is left, be it visible, hidden or delayed; dead letters do not count.
    ///
    /// A message that was received too often counts until the receive that would deliver it once more.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.state().messages.is_empty()
    }

    /// The bodies of the messages that were received too often, oldest first.
    #[must_use]
    pub fn dead_letters(&self) -> Vec<String> {
        self.state().dead_letters.clone()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Every change is whole before the lock is let go of, so a panic elsewhere leaves nothing half done.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl WorkQueue for LocalQueue {
    fn name(&self) -> QueueName {
        QueueName { system: "in_process", name: "segments".to_owned() }
    }

    async fn send(&self, bodies: &[String], delay: Duration) -> Result<Vec<Unsent>, Failure> {
        if bodies.is_empty() || bodies.len() > MAX_MESSAGES_PER_BATCH {
            return Err(invalid("SendMessageBatch", format!("a batch has 1 to {MAX_MESSAGES_PER_BATCH} messages")));
        }
        at_most("SendMessageBatch", "the delay", delay, MAX_DELAY)?;
        let visible_at = Instant::now() + delay;
        let trace = trace::current();
        let mut state = self.state();
        for body in bodies {
            state.last_id += 1;
            let id = state.last_id;
            let message =
                Message { body: body.clone(), trace: trace.clone(), visible_at, receive_count: 0, delivery: 0 };
            state.messages.insert(id, message);
            state.by_visibility.insert((visible_at, id));
        }
        drop(state);
        self.changed.notify_waiters();
        Ok(Vec::new())
    }

    async fn receive(&self, max: usize, visibility: Duration, wait: Duration) -> Result<Vec<Delivery>, Failure> {
        if !(1..=MAX_MESSAGES_PER_BATCH).contains(&max) {
            return Err(invalid("ReceiveMessage", format!("one receives 1 to {MAX_MESSAGES_PER_BATCH} messages")));
        }
        at_most("ReceiveMessage", "the visibility", visibility, MAX_VISIBILITY)?;
        at_most("ReceiveMessage", "the wait", wait, MAX_WAIT)?;
        let until = Instant::now() + wait;
        loop {
            // Made before looking, so that a change between the look and the wait is not missed.
            let changed = self.changed.notified();
            let now = Instant::now();
            let next = {
                let mut state = self.state();
                let deliveries = state.deliver(max, now, visibility, self.max_receives);
                if !deliveries.is_empty() || now >= until {
                    return Ok(deliveries);
                }
                state.by_visibility.first().map_or(until, |&(visible_at, _)| visible_at)
            };
            // Whichever ends the wait, the queue is looked at again.
            let _ = timeout_at(next.min(until), changed).await;
        }
    }

    async fn extend(&self, receipt: &str, visibility: Duration) -> Result<(), Failure> {
        let receipt = Receipt::parse("ChangeMessageVisibility", receipt)?;
        at_most("ChangeMessageVisibility", "the visibility", visibility, MAX_VISIBILITY)?;
        let now = Instant::now();
        let mut state = self.state();
        let is_in_flight = |message: &&Message| message.delivery == receipt.delivery && message.visible_at > now;
        if state.messages.get(&receipt.id).filter(is_in_flight).is_none() {
            return Err(Failure {
                kind: FailureKind::NotFound,
                operation: "ChangeMessageVisibility",
                resource: RESOURCE.to_owned(),
                message: "the message is gone, or its visibility ended".to_owned(),
            });
        }
        state.show_at(receipt.id, now + visibility);
        drop(state);
        self.changed.notify_waiters();
        Ok(())
    }

    async fn settle(&self, receipt: &str) -> Result<(), Failure> {
        let receipt = Receipt::parse("DeleteMessage", receipt)?;
        let mut state = self.state();
        // As in SQS, an old receipt succeeds and deletes nothing: the message is another receiver's now.
        if state.messages.get(&receipt.id).is_some_and(|message| message.delivery == receipt.delivery) {
            state.remove(receipt.id);
        }
        Ok(())
    }
}

impl State {
    /// Takes up to `max` visible messages, those that were visible first, and hides them.
    fn deliver(&mut self, max: usize, now: Instant, visibility: Duration, max_receives: u32) -> Vec<Delivery> {
        let mut deliveries = Vec::new();
        while deliveries.len() < max {
            let Some(&(visible_at, id)) = self.by_visibility.first() else { break };
            if visible_at > now {
                break;
            }
            if self.messages.get(&id).is_some_and(|message| message.receive_count >= max_receives) {
                let dead = self.remove(id).map(|message| message.body);
                self.dead_letters.extend(dead);
                continue;
            }
            self.last_delivery += 1;
            let delivery = self.last_delivery;
            // Its new place is behind every other visible message, so a visibility of zero cannot deliver it twice.
            let Some(message) = self.show_at(id, now + visibility.max(Duration::from_nanos(1))) else { break };
            message.receive_count += 1;
            message.delivery = delivery;
            deliveries.push(Delivery {
                body: message.body.clone(),
                receipt: Receipt { id, delivery }.to_string(),
                receive_count: message.receive_count,
                trace: message.trace.clone(),
            });
        }
        deliveries
    }

    fn show_at(&mut self, id: u64, visible_at: Instant) -> Option<&mut Message> {
        let message = self.messages.get_mut(&id)?;
        self.by_visibility.remove(&(message.visible_at, id));
        self.by_visibility.insert((visible_at, id));
        message.visible_at = visible_at;
        Some(message)
    }

    fn remove(&mut self, id: u64) -> Option<Message> {
        let message = self.messages.remove(&id)?;
        self.by_visibility.remove(&(message.visible_at, id));
        Some(message)
    }
}

/// Names one delivery of one message; written as in `7-12`.
struct Receipt {
    id: u64,
    delivery: u64,
}

impl Receipt {
    fn parse(operation: &'static str, text: &str) -> Result<Self, Failure> {
        let parsed = text
            .split_once('-')
            .and_then(|(id, delivery)| Some(Self { id: id.parse().ok()?, delivery: delivery.parse().ok()? }));
        parsed.ok_or_else(|| invalid(operation, format!("`{text}` is no receipt of this queue")))
    }
}

impl std::fmt::Display for Receipt {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}-{}", self.id, self.delivery)
    }
}

const RESOURCE: &str = "the queue of this process";

fn invalid(operation: &'static str, message: String) -> Failure {
    Failure { kind: FailureKind::Invalid, operation, resource: RESOURCE.to_owned(), message }
}

fn at_most(operation: &'static str, what: &str, value: Duration, most: Duration) -> Result<(), Failure> {
    if value > most {
        return Err(invalid(operation, format!("{what} is {} s at most", most.as_secs())));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;
    use crate::ports::contract;

    const MINUTE: Duration = Duration::from_secs(60);

    async fn send(queue: &LocalQueue, body: &str) {
        queue.send(&[body.to_owned()], Duration::ZERO).await.unwrap();
    }

    async fn receive(queue: &LocalQueue) -> Option<Delivery> {
        queue.receive(1, MINUTE, Duration::ZERO).await.unwrap().pop()
    }

    #[tokio::test(start_paused = true)]
    async fn it_keeps_the_contract_of_a_queue() {
        contract::queue(async || LocalQueue::new(5), advance).await;
    }

    #[tokio::test(start_paused = true)]
    async fn messages_come_in_the_order_in_which_they_became_visible() {
        let queue = LocalQueue::new(5);
        for body in ["one", "two", "three"] {
            send(&queue, body).await;
        }
        let one = receive(&queue).await.unwrap();
        advance(Duration::from_secs(1)).await;
        queue.extend(&one.receipt, Duration::ZERO).await.unwrap();

        for body in ["two", "three", "one"] {
            assert_eq!(receive(&queue).await.unwrap().body, body);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_receiver_wakes_at_the_very_end_of_a_visibility() {
        let queue = LocalQueue::new(5);
        send(&queue, "body").await;
        queue.receive(1, Duration::from_secs(7), Duration::ZERO).await.unwrap();
        let before = Instant::now();

        let again = queue.receive(1, MINUTE, MAX_WAIT).await.unwrap();

        assert_eq!(again.len(), 1);
        assert_eq!(before.elapsed().as_secs(), 7);
    }

    #[tokio::test(start_paused = true)]
    async fn a_receiver_wakes_at_once_when_something_is_sent_or_given_back() {
        let queue = LocalQueue::new(5);
        let before = Instant::now();
        let (sent, ()) = tokio::join!(queue.receive(1, MINUTE, MAX_WAIT), send(&queue, "body"));
        let receipt = sent.unwrap().remove(0).receipt;

        let give_back = queue.extend(&receipt, Duration::ZERO);
        let (again, given_back) = tokio::join!(queue.receive(1, MINUTE, MAX_WAIT), give_back);

        given_back.unwrap();
        assert_eq!(again.unwrap().len(), 1);
        assert_eq!(before.elapsed(), Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn a_receive_in_vain_takes_as_long_as_it_was_told_to_wait() {
        let before = Instant::now();

        assert!(LocalQueue::new(5).receive(1, MINUTE, MAX_WAIT).await.unwrap().is_empty());

        assert_eq!(before.elapsed().as_secs(), MAX_WAIT.as_secs());
    }

    #[tokio::test(start_paused = true)]
    async fn a_message_is_delivered_to_one_of_many_receivers() {
        let queue = LocalQueue::new(5);
        let receivers = futures::future::join_all((0..8).map(|_| queue.receive(10, MINUTE, MAX_WAIT)));

        let (received, ()) = tokio::join!(receivers, send(&queue, "body"));

        assert_eq!(received.into_iter().map(|deliveries| deliveries.unwrap().len()).sum::<usize>(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn an_old_receipt_neither_extends_nor_deletes() {
        let queue = LocalQueue::new(5);
        send(&queue, "body").await;
        let old = receive(&queue).await.unwrap();
        advance(MINUTE).await;

        let expired = queue.extend(&old.receipt, MINUTE).await.unwrap_err();
        assert_eq!(expired.kind, FailureKind::NotFound);

        let new = receive(&queue).await.unwrap();
        let stale = queue.extend(&old.receipt, MINUTE).await.unwrap_err();
        assert_eq!(stale.kind, FailureKind::NotFound);
        queue.settle(&old.receipt).await.expect("settling what is no longer ours is no failure");
        assert!(!queue.is_idle(), "the message is the new receiver's");

        queue.settle(&new.receipt).await.unwrap();
        assert!(queue.is_idle());
    }

    #[tokio::test(start_paused = true)]
    async fn the_latest_receipt_deletes_also_after_its_visibility() {
        let queue = LocalQueue::new(5);
        send(&queue, "body").await;
        let delivery = receive(&queue).await.unwrap();
        advance(MINUTE).await;

        queue.settle(&delivery.receipt).await.unwrap();

        assert!(queue.is_idle());
    }

    #[tokio::test(start_paused = true)]
    async fn a_message_received_too_often_is_a_dead_letter() {
        let queue = LocalQueue::new(2);
        send(&queue, "poison").await;
        for count in 1..=2 {
            assert_eq!(receive(&queue).await.unwrap().receive_count, count);
            advance(MINUTE).await;
        }
        assert_eq!(queue.dead_letters(), Vec::<String>::new());
        send(&queue, "good").await;

        assert_eq!(receive(&queue).await.unwrap().body, "good", "a dead letter does not stand in the way");

        assert_eq!(queue.dead_letters(), ["poison"]);
        assert!(receive(&queue).await.is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn a_queue_is_idle_only_when_nothing_can_come_any_more() {
        let queue = LocalQueue::new(5);
        assert!(queue.is_idle());
        queue.send(&["body".to_owned()], MINUTE).await.unwrap();
        assert!(!queue.is_idle(), "a message is delayed");
        advance(MINUTE).await;
        assert!(!queue.is_idle(), "a message is visible");
        let delivery = receive(&queue).await.unwrap();
        assert!(!queue.is_idle(), "a message is hidden");
        queue.settle(&delivery.receipt).await.unwrap();
        assert!(queue.is_idle());
    }

    #[tokio::test(start_paused = true)]
    async fn what_sqs_refuses_is_refused() {
        let queue = LocalQueue::new(5);
        let second = Duration::from_secs(1);
        let kinds = [
            queue.send(&[], Duration::ZERO).await.unwrap_err().kind,
            queue.receive(0, MINUTE, second).await.unwrap_err().kind,
            queue.receive(11, MINUTE, second).await.unwrap_err().kind,
            queue.receive(1, MINUTE, MAX_WAIT + second).await.unwrap_err().kind,
            queue.receive(1, MAX_VISIBILITY + second, second).await.unwrap_err().kind,
            queue.extend("1-1", MAX_VISIBILITY + second).await.unwrap_err().kind,
            queue.extend("no receipt", second).await.unwrap_err().kind,
            queue.settle("no receipt").await.unwrap_err().kind,
        ];

        assert_eq!(kinds, [FailureKind::Invalid; 8]);
    }
}

//! The contract of [`WorkQueue`].
#![expect(clippy::unwrap_used, reason = "a clause fails by panicking, as a test does")]

use std::collections::BTreeSet;
use std::time::Duration;

use crate::ports::failure::{Failure, FailureKind};
use crate::ports::queue::{Delivery, MAX_DELAY, MAX_MESSAGES_PER_BATCH, WorkQueue};

/// How long messages are hidden where the clause waits for the end of it; real queues count in seconds.
const BRIEFLY: Duration = Duration::from_secs(3);

/// How long messages are hidden where nothing waits for the end of it.
const LONG: Duration = Duration::from_secs(300);

/// How long a receive waits for what is there.
const WAIT: Duration = Duration::from_secs(2);

/// Receives after which a message that did not come is missing; each may return less than there is.
const TRIES: usize = 10;

/// Holds an adapter to all clauses; `fresh` makes one with nothing in it, `advance` lets time pass.
pub async fn queue<T: WorkQueue>(fresh: impl AsyncFn() -> T, advance: impl AsyncFn(Duration)) {
    every_message_is_delivered(&fresh().await).await;
    no_more_are_received_than_asked_for(&fresh().await).await;
    bodies_arrive_unchanged(&fresh().await).await;
    a_message_is_hidden_until_its_visibility_ends(&fresh().await, &advance).await;
    extending_hides_a_message_for_longer(&fresh().await, &advance).await;
    extending_by_nothing_brings_a_message_back_at_once(&fresh().await).await;
    deliveries_are_counted(&fresh().await).await;
    a_settled_message_does_not_come_back(&fresh().await, &advance).await;
    a_settled_message_cannot_be_extended(&fresh().await).await;
    settling_may_be_repeated(&fresh().await).await;
    a_delayed_message_comes_after_its_delay(&fresh().await, &advance).await;
    a_waiting_receiver_gets_what_is_sent_meanwhile(&fresh().await).await;
    too_large_batches_and_delays_are_refused(&fresh().await).await;
    it_has_a_name(&fresh().await);
    #[cfg(feature = "otel")]
    a_delivery_tells_the_span_that_it_was_sent_from(&fresh().await).await;
}

/// Traces call it something.
pub fn it_has_a_name(queue: &dyn WorkQueue) {
    let name = queue.name();

    assert!(!name.system.is_empty() && !name.name.is_empty(), "{name:?}");
}

/// A message carries the span that it is sent from, and nothing where there is none.
#[cfg(feature = "otel")]
pub async fn a_delivery_tells_the_span_that_it_was_sent_from(queue: &dyn WorkQueue) {
    use tracing::Instrument as _;

    send(queue, &["from nowhere".to_owned()]).await;
    assert_eq!(receive_one(queue, LONG).await.trace, None);

    let _exporting = crate::telemetry::trace::exporting();
    let span = tracing::info_span!("send");
    let sender = span.in_scope(crate::telemetry::trace::current);
    send(queue, &["from a span".to_owned()]).instrument(span).await;

    assert!(sender.is_some());
    assert_eq!(receive_one(queue, LONG).await.trace, sender);
}

/// All messages of several batches come, in whatever order.
pub async fn every_message_is_delivered(queue: &dyn WorkQueue) {
    let sent: BTreeSet<String> = (0..25).map(|n| format!("message {n}")).collect();
    let bodies: Vec<String> = sent.iter().cloned().collect();
    for batch in bodies.chunks(MAX_MESSAGES_PER_BATCH) {
        send(queue, batch).await;
    }

    let received = receive(queue, sent.len(), LONG).await;

    assert_eq!(received.into_iter().map(|delivery| delivery.body).collect::<BTreeSet<_>>(), sent);
}

/// A receive returns `max` messages at most.
pub async fn no_more_are_received_than_asked_for(queue: &dyn WorkQueue) {
    let bodies: Vec<String> = (0..10).map(|n| n.to_string()).collect();
    send(queue, &bodies).await;
    send(queue, &bodies).await;

    for max in [1, 3, MAX_MESSAGES_PER_BATCH] {
        let received = queue.receive(max, LONG, WAIT).await.unwrap();
        assert!(received.len() <= max, "{} messages came although {max} were asked for", received.len());
    }
}

/// A body is the text that was sent.
pub async fn bodies_arrive_unchanged(queue: &dyn WorkQueue) {
    let body = "{\"unit\":\"master/0\",\n\t\"text\":\"<&> \\\" ä 漢 🦀\"}";
    send(queue, &[body.to_owned()]).await;

    assert_eq!(receive_one(queue, LONG).await.body, body);
}

/// Nobody else gets a message while it is hidden; afterwards it comes again.
pub async fn a_message_is_hidden_until_its_visibility_ends(queue: &dyn WorkQueue, advance: &impl AsyncFn(Duration)) {
    send(queue, &["body".to_owned()]).await;
    let first = receive_one(queue, BRIEFLY).await;
    assert_nothing(queue, "the message is hidden").await;

    advance(BRIEFLY).await;

    let second = receive_one(queue, LONG).await;
    assert_eq!(second.body, first.body);
    assert_ne!(second.receipt, first.receipt, "each delivery has a receipt of its own");
}

/// An extended message stays hidden beyond its first visibility.
pub async fn extending_hides_a_message_for_longer(queue: &dyn WorkQueue, advance: &impl AsyncFn(Duration)) {
    send(queue, &["body".to_owned()]).await;
    let delivery = receive_one(queue, BRIEFLY).await;

    queue.extend(&delivery.receipt, LONG).await.unwrap();
    advance(BRIEFLY).await;

    assert_nothing(queue, "the message was hidden for longer").await;
    queue.extend(&delivery.receipt, LONG).await.expect("it is still this receiver's");
}

/// With a visibility of zero the message is there for the next receiver, without any time passing.
pub async fn extending_by_nothing_brings_a_message_back_at_once(queue: &dyn WorkQueue) {
    send(queue, &["body".to_owned()]).await;
    let delivery = receive_one(queue, LONG).await;

    queue.extend(&delivery.receipt, Duration::ZERO).await.unwrap();

    assert_eq!(receive_one(queue, LONG).await.body, "body");
}

/// The receive count tells how often a message was delivered.
pub async fn deliveries_are_counted(queue: &dyn WorkQueue) {
    send(queue, &["body".to_owned()]).await;

    for count in 1..=3 {
        let delivery = receive_one(queue, LONG).await;
        assert_eq!(delivery.receive_count, count);
        queue.extend(&delivery.receipt, Duration::ZERO).await.unwrap();
    }
}

/// What was settled is gone, also after the end of its visibility.
pub async fn a_settled_message_does_not_come_back(queue: &dyn WorkQueue, advance: &impl AsyncFn(Duration)) {
    send(queue, &["body".to_owned()]).await;
    let delivery = receive_one(queue, BRIEFLY).await;

    queue.settle(&delivery.receipt).await.unwrap();
    advance(BRIEFLY).await;

    assert_nothing(queue, "the message was settled").await;
}

/// A delivery that is over is not found.
pub async fn a_settled_message_cannot_be_extended(queue: &dyn WorkQueue) {
    send(queue, &["body".to_owned()]).await;
    let delivery = receive_one(queue, LONG).await;
    queue.settle(&delivery.receipt).await.unwrap();

    let extended = queue.extend(&delivery.receipt, LONG).await;

    assert_kind(&extended, FailureKind::NotFound);
}

/// Settling a message that is gone succeeds, and leaves the others alone.
pub async fn settling_may_be_repeated(queue: &dyn WorkQueue) {
    send(queue, &["one".to_owned(), "two".to_owned()]).await;
    let mut received = receive(queue, 2, LONG).await;
    let (other, settled) = (received.pop().unwrap(), received.pop().unwrap());

    queue.settle(&settled.receipt).await.unwrap();
    queue.settle(&settled.receipt).await.unwrap();

    queue.extend(&other.receipt, Duration::ZERO).await.expect("the other message is still there");
    assert_eq!(receive_one(queue, LONG).await.body, other.body);
}

/// A delayed message does not come before its time, and then it does.
pub async fn a_delayed_message_comes_after_its_delay(queue: &dyn WorkQueue, advance: &impl AsyncFn(Duration)) {
    assert_eq!(queue.send(&["later".to_owned()], BRIEFLY).await.unwrap(), []);
    send(queue, &["now".to_owned()]).await;
    assert_eq!(receive_one(queue, LONG).await.body, "now");
    assert_nothing(queue, "the other message is delayed").await;

    advance(BRIEFLY).await;

    assert_eq!(receive_one(queue, LONG).await.body, "later");
}

/// A receive that waits returns when a message arrives, and need not be repeated.
pub async fn a_waiting_receiver_gets_what_is_sent_meanwhile(queue: &dyn WorkQueue) {
    let waiting = queue.receive(1, LONG, Duration::from_secs(20));
    let sending = async {
        // The receiver is polled first, so it is waiting by now.
        send(queue, &["body".to_owned()]).await;
    };

    let (received, ()) = futures::future::join(waiting, sending).await;

    assert_eq!(received.unwrap().len(), 1, "the receiver waited in vain");
}

/// More than a batch, or a longer delay than there is, is an error and not cut to fit.
pub async fn too_large_batches_and_delays_are_refused(queue: &dyn WorkQueue) {
    let bodies: Vec<String> = (0..=MAX_MESSAGES_PER_BATCH).map(|n| n.to_string()).collect();
    let too_late = MAX_DELAY + Duration::from_secs(1);

    assert_kind(&queue.send(&bodies, Duration::ZERO).await, FailureKind::Invalid);
    assert_kind(&queue.send(&["body".to_owned()], too_late).await, FailureKind::Invalid);
    assert_nothing(queue, "what was refused is not sent").await;
}

async fn send(queue: &dyn WorkQueue, bodies: &[String]) {
    let unsent = queue.send(bodies, Duration::ZERO).await.unwrap();
    assert_eq!(unsent, [], "all messages are accepted");
}

/// Receives this many messages, by as many requests as it takes.
async fn receive(queue: &dyn WorkQueue, count: usize, visibility: Duration) -> Vec<Delivery> {
    let mut received = Vec::new();
    for _ in 0..TRIES + count {
        if received.len() >= count {
            break;
        }
        let max = (count - received.len()).min(MAX_MESSAGES_PER_BATCH);
        received.extend(queue.receive(max, visibility, WAIT).await.unwrap());
    }
    assert_eq!(received.len(), count, "messages are missing");
    received
}

async fn receive_one(queue: &dyn WorkQueue, visibility: Duration) -> Delivery {
    receive(queue, 1, visibility).await.remove(0)
}

async fn assert_nothing(queue: &dyn WorkQueue, why: &str) {
    let received = queue.receive(MAX_MESSAGES_PER_BATCH, LONG, Duration::ZERO).await.unwrap();
    assert!(received.is_empty(), "{why}, yet it came");
}

fn assert_kind<T: std::fmt::Debug>(result: &Result<T, Failure>, kind: FailureKind) {
    assert!(matches!(result, Err(failure) if failure.kind == kind), "expected {kind:?}, got {result:?}");
}

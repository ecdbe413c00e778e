//! Wrappers that inject failures into any adapter, for tests.
//!
//! A [`FaultPlan`] says what goes wrong, and all wrappers of a worker share it. What happens at a call depends on the
//! seed and the number of the call alone, so a test that fails does so again. Everything it injects is something the
//! ports' contracts allow: no code may break by it.

mod objects;
mod stream;

use std::future::{Future, pending};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio_util::sync::CancellationToken;

use super::failure::{Failure, FailureKind};
use super::queue::{Delivery, QueueName, Unsent, WorkQueue};
use super::table::{Batch, Description, GetRequest, Got, Page, ScanRequest, Table, WriteAnswer};
use crate::domain::condition::{Condition, Write};
use crate::domain::definition::TableDefinition;

pub use objects::FaultyStore;
pub use stream::FaultyStream;

/// Mixed into the seed with the number of a call, so that neighbouring calls have nothing in common.
const CALL_STRIDE: u64 = 0x9E37_79B9_7F4A_7C15;

/// On which side of a call's effect a fault lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// The effect does not happen.
    Before,
    /// The effect has happened, and the caller does not learn of it.
    After,
}

/// What goes wrong, and when. Clones share one count of calls; set the plan up before cloning it.
#[derive(Clone, Debug)]
pub struct FaultPlan {
    seed: u64,
    failing: f64,
    partial: f64,
    duplicating: f64,
    expiring: f64,
    crash: Option<(u64, Moment)>,
    counts: Arc<Mutex<Counts>>,
    crashed: CancellationToken,
}

#[derive(Debug, Default)]
struct Counts {
    calls: u64,
    writes: u64,
}

/// One call that goes through the plan: how it ends, and the dice for what happens within it.
struct Call {
    operation: &'static str,
    fate: Fate,
    dice: StdRng,
}

#[derive(Clone, Copy)]
enum Fate {
    Answer,
    Fail(Moment, FailureKind),
    Crash(Moment),
}

impl FaultPlan {
    /// A plan by which nothing goes wrong, yet.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        let (counts, crashed) = (Arc::default(), CancellationToken::new());
        Self { seed, failing: 0.0, partial: 0.0, duplicating: 0.0, expiring: 0.0, crash: None, counts, crashed }
    }

    /// Calls fail in passing with this probability, half of them after their effect has happened.
    #[must_use]
    pub fn failing(self, probability: f64) -> Self {
        Self { failing: probability, ..self }
    }

    /// Batches are done in part, and pages are short or empty, with this probability.
    #[must_use]
    pub fn partial(self, probability: f64) -> Self {
        Self { partial: probability, ..self }
    }

    /// Each delivered message is delivered once more, by a copy that is sent, with this probability.
    #[must_use]
    pub fn duplicating(self, probability: f64) -> Self {
        Self { duplicating: probability, ..self }
    }

    /// Cursors of streams turn out to be too old with this probability.
    #[must_use]
    pub fn expiring(self, probability: f64) -> Self {
        Self { expiring: probability, ..self }
    }

    /// The program dies at the `n`-th call, counted from 1: that call never returns, nor does any later one.
    #[must_use]
    pub fn crash_at(self, n: u64, moment: Moment) -> Self {
        Self { crash: Some((n, moment)), ..self }
    }

    /// Returns when the program has died; the test then drops it, as a process that ends would be.
    pub async fn crashed(&self) {
        self.crashed.cancelled().await;
    }

    /// Whether the program has died.
    #[must_use]
    pub fn has_crashed(&self) -> bool {
        self.crashed.is_cancelled()
    }

    /// How many calls of ports were made.
    #[must_use]
    pub fn calls(&self) -> u64 {
        self.counts().calls
    }

    /// How many calls were made that write to a table, whatever came of them.
    #[must_use]
    pub fn writes(&self) -> u64 {
        self.counts().writes
    }

    fn counts(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a call and decides what becomes of it.
    async fn begin(&self, operation: &'static str) -> Call {
        self.die_if_crashed().await;
        let number = {
            let mut counts = self.counts();
            counts.calls += 1;
            counts.calls
        };
        let mut dice = StdRng::seed_from_u64(self.seed ^ number.wrapping_mul(CALL_STRIDE));
        let fails = dice.random_bool(self.failing);
        let moment = if dice.random_bool(0.5) { Moment::Before } else { Moment::After };
        let kind = if dice.random_bool(0.5) { FailureKind::Throttled } else { FailureKind::Unavailable };
        let fate = match self.crash {
            Some((n, moment)) if n == number => Fate::Crash(moment),
            _ if fails => Fate::Fail(moment, kind),
            _ => Fate::Answer,
        };
        Call { operation, fate, dice }
    }

    /// Lets the effect happen, or not, and answers as the call's fate has it.
    async fn end<T: Send>(
        &self,
        call: Call,
        effect: impl Future<Output = Result<T, Failure>> + Send,
    ) -> Result<T, Failure> {
        let result = match call.fate {
            Fate::Fail(Moment::Before, kind) => Err(call.failure(kind, "before its effect")),
            Fate::Crash(Moment::Before) => self.die().await,
            Fate::Answer => effect.await,
            Fate::Fail(Moment::After, kind) => effect.await.and_then(|_| Err(call.failure(kind, "after its effect"))),
            Fate::Crash(Moment::After) => {
                // Whatever the answer, nobody is left to hear it.
                let _ = effect.await;
                self.die().await
            }
        };
        // Another call may have ended the program while this one was under way.
        self.die_if_crashed().await;
        result
    }

    async fn die<T>(&self) -> T {
        self.crashed.cancel();
        pending().await
    }

    async fn die_if_crashed(&self) {
        if self.has_crashed() {
            pending().await
        }
    }

    /// Splits a batch into what is done and what is left over; with luck all of it is done.
    fn split<T: Clone>(&self, dice: &mut StdRng, batch: &[T], least_done: usize) -> (Vec<T>, Vec<T>) {
        if batch.len() <= least_done || !dice.random_bool(self.partial) {
            return (batch.to_vec(), Vec::new());
        }
        let (mut done, mut left) = (Vec::new(), Vec::new());
        for (n, one) in batch.iter().enumerate() {
            // The last ones are done when too few were until then.
            let must_do = done.len() + (batch.len() - n) <= least_done;
            if must_do || dice.random_bool(0.5) { done.push(one.clone()) } else { left.push(one.clone()) }
        }
        (done, left)
    }
}

impl Call {
    fn failure(&self, kind: FailureKind, when: &str) -> Failure {
        let message = format!("the call was made to fail {when}");
        Failure { kind, operation: self.operation, resource: "a faulty adapter".to_owned(), message }
    }
}

/// A table at which things go wrong.
pub struct FaultyTable {
    inner: Arc<dyn Table>,
    plan: FaultPlan,
}

/// A queue at which things go wrong.
pub struct FaultyQueue {
    inner: Arc<dyn WorkQueue>,
    plan: FaultPlan,
}

impl FaultyTable {
    /// Puts the plan around a table.
    #[must_use]
    pub fn new(inner: Arc<dyn Table>, plan: FaultPlan) -> Self {
        Self { inner, plan }
    }
}

impl FaultyQueue {
    /// Puts the plan around a queue.
    #[must_use]
    pub fn new(inner: Arc<dyn WorkQueue>, plan: FaultPlan) -> Self {
        Self { inner, plan }
    }
}

#[async_trait]
impl Table for FaultyTable {
    async fn describe(&self) -> Result<Description, Failure> {
        let call = self.plan.begin("DescribeTable").await;
        self.plan.end(call, self.inner.describe()).await
    }

    async fn time_to_live(&self) -> Result<Option<String>, Failure> {
        let call = self.plan.begin("DescribeTimeToLive").await;
        self.plan.end(call, self.inner.time_to_live()).await
    }

    async fn definition(&self) -> Result<TableDefinition, Failure> {
        let call = self.plan.begin("DescribeTable").await;
        self.plan.end(call, self.inner.definition()).await
    }

    async fn create(&self, definition: &TableDefinition) -> Result<(), Failure> {
        let call = self.plan.begin("CreateTable").await;
        self.plan.end(call, self.inner.create(definition)).await
    }

    async fn set_time_to_live(&self, attribute: &str) -> Result<(), Failure> {
        let call = self.plan.begin("UpdateTimeToLive").await;
        self.plan.end(call, self.inner.set_time_to_live(attribute)).await
    }

    async fn scan_page(&self, request: &ScanRequest) -> Result<Page, Failure> {
        let mut call = self.plan.begin("Scan").await;
        let mut request = request.clone();
        let is_short = call.dice.random_bool(self.plan.partial);
        if let (true, true, Some(after)) = (is_short, call.dice.random_bool(0.5), &request.after) {
            let nothing = Page { items: Vec::new(), next: Some(after.to_item()), read_units: 0.5 };
            return self.plan.end(call, async { Ok(nothing) }).await;
        }
        if is_short {
            let limit = call.dice.random_range(1..=3);
            request.limit = Some(request.limit.map_or(limit, |asked| asked.min(limit)));
        }
        self.plan.end(call, self.inner.scan_page(&request)).await
    }

    async fn get_many(&self, request: &GetRequest) -> Result<Got, Failure> {
        let mut call = self.plan.begin("BatchGetItem").await;
        // A service that reads nothing at all says so by failing.
        let (keys, left) = self.plan.split(&mut call.dice, &request.keys, 1);
        let request = GetRequest { keys, ..request.clone() };
        let mut got = self.plan.end(call, self.inner.get_many(&request)).await?;
        got.unprocessed.extend(left);
        Ok(got)
    }

    async fn write_if(&self, write: &Write, condition: &Condition) -> Result<WriteAnswer, Failure> {
        let call = self.plan.begin("PutItem").await;
        self.plan.counts().writes += 1;
        self.plan.end(call, self.inner.write_if(write, condition)).await
    }

    async fn write_many(&self, writes: &[Write]) -> Result<Batch, Failure> {
        let mut call = self.plan.begin("BatchWriteItem").await;
        self.plan.counts().writes += 1;
        let (writes, left) = self.plan.split(&mut call.dice, writes, 1);
        let mut batch = self.plan.end(call, self.inner.write_many(&writes)).await?;
        batch.unprocessed.extend(left);
        Ok(batch)
    }
}

#[async_trait]
impl WorkQueue for FaultyQueue {
    fn name(&self) -> QueueName {
        self.inner.name()
    }

    async fn send(&self, bodies: &[String], delay: Duration) -> Result<Vec<Unsent>, Failure> {
        let mut call = self.plan.begin("SendMessageBatch").await;
        let places: Vec<usize> = (0..bodies.len()).collect();
        let (sent, left) = self.plan.split(&mut call.dice, &places, 0);
        let accepted: Vec<String> = sent.iter().map(|&place| bodies[place].clone()).collect();
        let effect = async {
            // A request without messages would be another fault than the one that is meant.
            let goes_out = !accepted.is_empty() || left.is_empty();
            let mut unsent = if goes_out { self.inner.send(&accepted, delay).await? } else { Vec::new() };
            unsent.iter_mut().for_each(|unsent| unsent.index = sent[unsent.index]);
            let refused = left.iter().map(|&index| Unsent { index, reason: "it was made to fail".to_owned() });
            unsent.extend(refused);
            Ok(unsent)
        };
        self.plan.end(call, effect).await
    }

    async fn receive(&self, max: usize, visibility: Duration, wait: Duration) -> Result<Vec<Delivery>, Failure> {
        let mut call = self.plan.begin("ReceiveMessage").await;
        let mut dice = StdRng::from_rng(&mut call.dice);
        let effect = async {
            let deliveries = self.inner.receive(max, visibility, wait).await?;
            for delivery in &deliveries {
                if dice.random_bool(self.plan.duplicating) {
                    self.inner.send(std::slice::from_ref(&delivery.body), Duration::ZERO).await?;
                }
            }
            Ok(deliveries)
        };
        self.plan.end(call, effect).await
    }

    async fn extend(&self, receipt: &str, visibility: Duration) -> Result<(), Failure> {
        let call = self.plan.begin("ChangeMessageVisibility").await;
        self.plan.end(call, self.inner.extend(receipt, visibility)).await
    }

    async fn settle(&self, receipt: &str) -> Result<(), Failure> {
        let call = self.plan.begin("DeleteMessage").await;
        self.plan.end(call, self.inner.settle(receipt)).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::job::Consistency;
    use crate::domain::key::Key;
    use crate::domain::number::Number;
    use crate::domain::value::{Item, Value};
    use crate::local::queue::LocalQueue;
    use crate::local::table::MemoryTable;
    use crate::ports::contract;
    use crate::ports::table::Content;

    const ALWAYS: f64 = 1.0;

    fn item(n: u32) -> Item {
        let at = Value::N(Number::parse(&n.to_string()).unwrap());
        [("id".to_owned(), Value::S("one partition".into())), ("at".to_owned(), at)].into()
    }

    fn key(n: u32) -> Key {
        Key::of(&contract::table::schema(), &item(n)).unwrap()
    }

    fn memory(items: u32) -> Arc<MemoryTable> {
        let table = MemoryTable::new(contract::table::schema());
        (0..items).for_each(|n| table.put(item(n)).unwrap());
        Arc::new(table)
    }

    fn scan(after: Option<u32>) -> ScanRequest {
        let (consistency, content) = (Consistency::Strong, Content::Items);
        ScanRequest { segment: 0, total_segments: 1, after: after.map(key), limit: None, consistency, content }
    }

    #[tokio::test]
    async fn an_empty_plan_leaves_a_table_as_it_is() {
        contract::table(async || FaultyTable::new(memory(0), FaultPlan::new(1))).await;
    }

    #[tokio::test(start_paused = true)]
    async fn an_empty_plan_leaves_a_queue_as_it_is() {
        let fresh = async || FaultyQueue::new(Arc::new(LocalQueue::new(5)), FaultPlan::new(1));

        contract::queue(fresh, tokio::time::advance).await;
    }

    #[tokio::test]
    async fn a_table_that_works_in_part_keeps_its_contract_when_asked_again() {
        for seed in 0..10 {
            let plan = FaultPlan::new(seed).partial(0.3);
            let table = FaultyTable::new(memory(0), plan);

            contract::table::pages_follow_each_other_to_the_end(&table).await;
        }
        let table = FaultyTable::new(memory(0), FaultPlan::new(7).partial(0.3));
        contract::table::a_batch_puts_and_deletes(&table).await;
    }

    #[tokio::test]
    async fn failures_pass_and_half_of_them_come_after_the_effect() {
        let (inner, plan) = (memory(0), FaultPlan::new(3).failing(ALWAYS));
        let table = FaultyTable::new(inner.clone(), plan.clone());

        for n in 0..100 {
            let failure = table.write_if(&Write::Put(item(n)), &Condition::default()).await.unwrap_err();
            assert!(failure.may_pass(), "{failure}");
        }

        assert!((30..70).contains(&inner.len()), "{} of 100 failed writes were made", inner.len());
        assert_eq!((plan.calls(), plan.writes()), (100, 100));
    }

    #[tokio::test]
    async fn reads_do_not_count_as_writes() {
        let plan = FaultPlan::new(1);
        let table = FaultyTable::new(memory(3), plan.clone());

        table.describe().await.unwrap();
        let page = table.scan_page(&scan(None)).await.unwrap();
        assert_eq!(page.items.len(), 3);

        assert_eq!((plan.calls(), plan.writes()), (2, 0));
    }

    #[tokio::test]
    async fn partial_batches_lose_nothing() {
        let table = FaultyTable::new(memory(50), FaultPlan::new(5).partial(ALWAYS));
        let keys: Vec<Key> = (0..50).map(key).collect();
        let request = GetRequest { keys, consistency: Consistency::Strong, content: Content::Items };

        let got = table.get_many(&request).await.unwrap();

        assert!(!got.unprocessed.is_empty() && !got.items.is_empty(), "the batch is done in part");
        assert_eq!(got.items.len() + got.unprocessed.len(), 50);
    }

    #[tokio::test]
    async fn partial_pages_are_empty_or_short_and_say_that_more_follows() {
        let table = FaultyTable::new(memory(50), FaultPlan::new(5).partial(ALWAYS));
        let mut empty = 0;

        for _ in 0..20 {
            let page = table.scan_page(&scan(Some(10))).await.unwrap();
            assert!(page.items.len() <= 3, "the page is short");
            assert!(page.next.is_some(), "more follows");
            empty += usize::from(page.items.is_empty());
        }

        assert!((1..20).contains(&empty), "{empty} of 20 pages were empty");
    }

    #[tokio::test]
    async fn messages_that_are_not_sent_are_named() {
        let inner = Arc::new(LocalQueue::new(5));
        let queue = FaultyQueue::new(inner.clone(), FaultPlan::new(2).partial(ALWAYS));
        let bodies: Vec<String> = (0..10).map(|n| n.to_string()).collect();

        let unsent = queue.send(&bodies, Duration::ZERO).await.unwrap();

        let sent = inner.receive(10, Duration::from_secs(1), Duration::ZERO).await.unwrap();
        let mut all: Vec<String> = unsent.iter().map(|unsent| bodies[unsent.index].clone()).collect();
        assert!(!all.is_empty() && !sent.is_empty(), "the batch is done in part");
        all.extend(sent.into_iter().map(|delivery| delivery.body));
        all.sort_unstable();
        assert_eq!(all, bodies);
    }

    #[tokio::test]
    async fn a_duplicate_has_the_same_body_and_another_receipt() {
        let queue = FaultyQueue::new(Arc::new(LocalQueue::new(5)), FaultPlan::new(1).duplicating(ALWAYS));
        queue.send(&["body".to_owned()], Duration::ZERO).await.unwrap();
        let receive = async || queue.receive(10, Duration::from_secs(60), Duration::ZERO).await.unwrap().remove(0);

        let (first, second) = (receive().await, receive().await);

        assert_eq!(first.body, second.body);
        queue.settle(&first.receipt).await.unwrap();
        queue.extend(&second.receipt, Duration::ZERO).await.expect("the duplicate is a message of its own");
    }

    #[tokio::test]
    async fn a_crash_stops_that_call_and_all_later_ones() {
        for (moment, made) in [(Moment::Before, 1), (Moment::After, 2)] {
            let (inner, plan) = (memory(0), FaultPlan::new(1).crash_at(2, moment));
            let table = FaultyTable::new(inner.clone(), plan.clone());
            let program = async {
                for n in 0..10 {
                    let _ = table.write_if(&Write::Put(item(n)), &Condition::default()).await;
                }
            };

            tokio::select! {
                () = program => panic!("the program went on after its end"),
                () = plan.crashed() => {}
            }

            let later = Write::Put(item(99));
            let later = tokio::time::timeout(Duration::ZERO, table.write_if(&later, &Condition::default())).await;
            assert_eq!(inner.len(), made, "{moment:?}");
            assert_eq!(plan.calls(), 2);
            assert!(later.is_err(), "a call returned after the crash");
        }
    }

    #[tokio::test]
    async fn the_same_seed_makes_the_same_faults() {
        let faults = async |seed| {
            let table = FaultyTable::new(memory(3), FaultPlan::new(seed).failing(0.5));
            let mut fates = Vec::new();
            for _ in 0..64 {
                fates.push(table.describe().await.map_err(|failure| failure.to_string()).map(|it| it.size.items));
            }
            fates
        };

        assert_eq!(faults(1).await, faults(1).await);
        assert_ne!(faults(1).await, faults(2).await);
    }
}

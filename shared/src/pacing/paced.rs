//! A table behind its gates: every request waits for its turn, is cut to what the rate allows, and accounted for.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;

use super::gate::{Entry, Gate, Refused};
use super::sizes::Sizes;
use crate::domain::condition::{Condition, Write};
use crate::domain::cost::{BYTES_PER_PAGE, BYTES_PER_READ_UNIT, TableSize};
use crate::domain::definition::TableDefinition;
use crate::domain::digest::Digester;
use crate::domain::job::Consistency;
use crate::ports::failure::{Failure, FailureKind};
use crate::ports::table::{
    Applied, Batch, Description, EntryPage, GetRequest, Got, GotEntries, Page, ScanRequest, Table, WriteAnswer,
};
use crate::telemetry::sample::{self, Sample};

/// Read units for this many bytes may be all that fits in the answer to a batch: it gives 1 MB per partition, less what
/// the next item would have been too much, which has 400 KB at most. What is left over beyond that may be for its size.
///
/// Source: Amazon DynamoDB API Reference, BatchGetItem; Developer Guide, "Quotas" (2026-08).
const BYTES_OF_SHORT_ANSWER: f64 = BYTES_PER_PAGE - 400.0 * 1024.0;

/// A paced table.
pub struct Paced {
    inner: Arc<dyn Table>,
    read: Arc<Gate>,
    write: Arc<Gate>,
    sizes: Mutex<Sizes>,
}

impl Paced {
    /// Puts a table behind gates for reading and writing; its size is what estimates begin with.
    #[must_use]
    pub fn new(inner: Arc<dyn Table>, read: Arc<Gate>, write: Arc<Gate>, size: Option<TableSize>) -> Self {
        Self { inner, read, write, sizes: Mutex::new(Sizes::new(size)) }
    }

    fn sizes(&self) -> MutexGuard<'_, Sizes> {
        self.sizes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn enter_scan(&self, request: &ScanRequest) -> Result<(Entry<'_>, Option<ScanRequest>), Failure> {
        let ScanRequest { limit, consistency, .. } = *request;
        let cost = |within| {
            let sizes = self.sizes();
            sizes.page_units(sizes.page_within(within, limit, consistency), consistency)
        };
        let entry = self.read.enter(cost).await.map_err(|refused| not_sent("Scan", refused))?;
        let cut = self.sizes().page_within(entry.within(), limit, consistency);
        let request = (!entry.is_free() && cut != limit).then(|| ScanRequest { limit: cut, ..request.clone() });
        Ok((entry, request))
    }

    fn leave_scan(&self, entry: Entry<'_>, request: &ScanRequest, answer: &Answer<'_>) {
        if let (false, Ok((items, units))) = (entry.is_free(), answer) {
            self.sizes().learn_page(*items, *units, request.consistency);
        }
        leave(&self.read, entry, answer);
    }

    /// Waits for the turn; returns how many of the keys may be asked for.
    async fn enter_get(&self, request: &GetRequest) -> Result<(Entry<'_>, usize), Failure> {
        let GetRequest { keys, consistency, .. } = request;
        let cost = |within| {
            let sizes = self.sizes();
            sizes.key_units(sizes.keys_within(within, *consistency).min(keys.len()), *consistency)
        };
        let entry = self.read.enter(cost).await.map_err(|refused| not_sent("BatchGetItem", refused))?;
        let count = match entry.is_free() {
            true => keys.len(),
            false => self.sizes().keys_within(entry.within(), *consistency).min(keys.len()),
        };
        Ok((entry, count))
    }

    fn leave_get(&self, entry: Entry<'_>, request: &GetRequest, asked: usize, answer: &Answer<'_>) {
        if let (false, Ok((keys, units))) = (entry.is_free(), answer) {
            self.sizes().learn_keys(*keys, *units, request.consistency);
        }
        leave(&self.read, entry, answer);
        if let Ok((keys, units)) = answer
            && *keys < asked
            && is_short(*units, request.consistency)
        {
            sample::note(Sample::Throttled { operation: "BatchGetItem", reason: "UnprocessedKeys" });
            self.read.throttled();
        }
    }
}

/// Whether so little was read that keys cannot have been left for the size of the answer.
fn is_short(units: f64, consistency: Consistency) -> bool {
    let reads_per_unit = match consistency {
        Consistency::Strong => 1.0,
        Consistency::Eventual => 2.0,
    };
    units * reads_per_unit * BYTES_PER_READ_UNIT < BYTES_OF_SHORT_ANSWER
}

/// How much was done, and what it cost; or why nothing was.
type Answer<'a> = Result<(usize, f64), &'a Failure>;

fn leave(gate: &Gate, entry: Entry<'_>, answer: &Answer<'_>) {
    match answer {
        Ok((_, units)) => entry.settle(*units),
        Err(failure) => match failure.kind {
            // It may have been done all the same, and counts as if.
            FailureKind::Unavailable => drop(entry),
            FailureKind::Throttled => {
                entry.give_back();
                gate.throttled();
            }
            FailureKind::HotKeys
            | FailureKind::NotFound
            | FailureKind::Conflict
            | FailureKind::Halted
            | FailureKind::Trimmed
            | FailureKind::Expired
            | FailureKind::Denied
            | FailureKind::Invalid => entry.give_back(),
        },
    }
}

fn not_sent(operation: &'static str, refused: Refused) -> Failure {
    let message = match refused {
        Refused::Halted => "the work is to stop, and there was no capacity for this request until then",
        Refused::Spent => "what is left of the job's budget is less than this request may cost",
        Refused::Blinded(failure) => return failure,
    };
    Failure { kind: FailureKind::Halted, operation, resource: "the table".to_owned(), message: message.to_owned() }
}

#[async_trait]
impl Table for Paced {
    async fn describe(&self) -> Result<Description, Failure> {
        self.inner.describe().await
    }

    async fn time_to_live(&self) -> Result<Option<String>, Failure> {
        self.inner.time_to_live().await
    }

    async fn definition(&self) -> Result<TableDefinition, Failure> {
        self.inner.definition().await
    }

    async fn create(&self, definition: &TableDefinition) -> Result<(), Failure> {
        self.inner.create(definition).await
    }

    async fn set_time_to_live(&self, attribute: &str) -> Result<(), Failure> {
        self.inner.set_time_to_live(attribute).await
    }

    async fn scan_page(&self, request: &ScanRequest) -> Result<Page, Failure> {
        let (entry, cut) = self.enter_scan(request).await?;
        let answer = self.inner.scan_page(cut.as_ref().unwrap_or(request)).await;
        self.leave_scan(entry, request, &answer.as_ref().map(|page| (page.items.len(), page.read_units)));
        answer
    }

    async fn scan_entries(&self, request: &ScanRequest, digester: &Digester) -> Result<EntryPage, Failure> {
        let (entry, cut) = self.enter_scan(request).await?;
        let answer = self.inner.scan_entries(cut.as_ref().unwrap_or(request), digester).await;
        self.leave_scan(entry, request, &answer.as_ref().map(|page| (page.entries.len(), page.read_units)));
        answer
    }

    async fn get_many(&self, request: &GetRequest) -> Result<Got, Failure> {
        let (entry, count) = self.enter_get(request).await?;
        let cut = cut(request, count);
        let answer = self.inner.get_many(cut.as_ref().unwrap_or(request)).await;
        let done = |got: &Got| count.saturating_sub(got.unprocessed.len());
        self.leave_get(entry, request, count, &answer.as_ref().map(|got| (done(got), got.read_units)));
        answer.map(|mut got| {
            got.held_back.extend_from_slice(&request.keys[count..]);
            got
        })
    }

    async fn get_entries(&self, request: &GetRequest, digester: &Digester) -> Result<GotEntries, Failure> {
        let (entry, count) = self.enter_get(request).await?;
        let cut = cut(request, count);
        let answer = self.inner.get_entries(cut.as_ref().unwrap_or(request), digester).await;
        let done = |got: &GotEntries| count.saturating_sub(got.unprocessed.len());
        self.leave_get(entry, request, count, &answer.as_ref().map(|got| (done(got), got.read_units)));
        answer.map(|mut got| {
            got.held_back.extend_from_slice(&request.keys[count..]);
            got
        })
    }

    async fn write_if(&self, write: &Write, condition: &Condition) -> Result<WriteAnswer, Failure> {
        let operation = match write {
            Write::Put(_) => "PutItem",
            Write::Delete(_) => "DeleteItem",
        };
        let entry = self.write.enter(|_| self.sizes().write_units(1)).await;
        let entry = entry.map_err(|refused| not_sent(operation, refused))?;
        let answer = self.inner.write_if(write, condition).await;
        let units = |answer: &WriteAnswer| match answer.applied {
            // The service does not say what a failed condition cost, and it cost what the write would have.
            Applied::ConditionFailed => answer.write_units.max(entry.estimate()),
            Applied::Written => answer.write_units,
        };
        let outcome = answer.as_ref().map(|answer| (1, units(answer)));
        if let (false, Ok((writes, units))) = (entry.is_free(), &outcome) {
            self.sizes().learn_writes(*writes, *units);
        }
        leave(&self.write, entry, &outcome);
        answer
    }

    async fn write_many(&self, writes: &[Write]) -> Result<Batch, Failure> {
        let cost = |within| {
            let sizes = self.sizes();
            sizes.write_units(sizes.writes_within(within).min(writes.len()))
        };
        let entry = self.write.enter(cost).await.map_err(|refused| not_sent("BatchWriteItem", refused))?;
        let count = match entry.is_free() {
            true => writes.len(),
            false => self.sizes().writes_within(entry.within()).min(writes.len()),
        };
        let (now, later) = writes.split_at(count);
        let answer = self.inner.write_many(now).await;
        let done = |batch: &Batch| count.saturating_sub(batch.unprocessed.len());
        let outcome = answer.as_ref().map(|batch| (done(batch), batch.write_units));
        if let (false, Ok((writes, units))) = (entry.is_free(), &outcome) {
            self.sizes().learn_writes(*writes, *units);
        }
        leave(&self.write, entry, &outcome);
        if outcome.is_ok_and(|(done, _)| done < count) {
            sample::note(Sample::Throttled { operation: "BatchWriteItem", reason: "UnprocessedItems" });
            self.write.throttled();
        }
        answer.map(|mut batch| {
            batch.held_back.extend_from_slice(later);
            batch
        })
    }
}

/// The request for the first of its keys, where that is not all of them.
fn cut(request: &GetRequest, count: usize) -> Option<GetRequest> {
    let GetRequest { keys, consistency, content } = request;
    (count < keys.len()).then(|| GetRequest {
        keys: keys[..count].to_vec(),
        consistency: *consistency,
        content: content.clone(),
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::Instant;

    use super::*;
    use crate::domain::compare::Ignore;
    use crate::domain::job::Reader;
    use crate::domain::key::Key;
    use crate::domain::limits::Direction;
    use crate::domain::value::{Item, Value};
    use crate::local::table::MemoryTable;
    use crate::pacing::gate::Ceiling;
    use crate::ports::contract;
    use crate::ports::faulty::{FaultPlan, FaultyTable};
    use crate::ports::table::Content;
    use crate::retry::{self, RetryPolicy};

    /// A table behind gates with this ceiling in both directions.
    fn paced(inner: Arc<dyn Table>, rate: Option<f64>, size: Option<TableSize>) -> Paced {
        let gate = |direction| {
            let gate = Gate::new(direction, Arc::default());
            let until = Instant::now() + Duration::from_secs(1 << 20);
            gate.set(rate.map_or(Ceiling::None, |rate| Ceiling::Until(rate, until)));
            Arc::new(gate)
        };
        Paced::new(inner, gate(Direction::Read), gate(Direction::Write), size)
    }

    fn item(n: u32) -> Item {
        let at = Value::N(crate::domain::number::Number::parse(&n.to_string()).unwrap());
        [("id".to_owned(), Value::S("a".into())), ("at".to_owned(), at)].into()
    }

    fn filled(items: u32) -> Arc<MemoryTable> {
        let table = MemoryTable::new(contract::table::schema());
        (0..items).for_each(|n| table.put(item(n)).unwrap());
        Arc::new(table)
    }

    fn scan(limit: Option<u32>) -> ScanRequest {
        let (consistency, content) = (Consistency::Strong, Content::Items);
        ScanRequest { segment: 0, total_segments: 1, after: None, limit, consistency, content }
    }

    fn get(keys: u32) -> GetRequest {
        let keys = (0..keys).map(|n| Key::of(&contract::table::schema(), &item(n)).unwrap()).collect();
        GetRequest { keys, consistency: Consistency::Strong, content: Content::Items }
    }

    #[tokio::test]
    async fn an_open_gate_leaves_a_table_as_it_is() {
        let fresh = async || paced(Arc::new(MemoryTable::new(contract::table::schema())), None, None);

        contract::table(fresh).await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_closed_one_keeps_the_contract_too() {
        let fresh = async || paced(Arc::new(MemoryTable::new(contract::table::schema())), Some(5000.0), None);

        contract::table(fresh).await;
    }

    #[tokio::test(start_paused = true)]
    async fn pages_and_batches_are_cut_to_the_rate_and_the_rest_is_asked_for_at_once() {
        let size = Some(TableSize { items: 1000, bytes: 500_000 });
        let table = paced(filled(100), Some(20.0), size);
        let digester = Digester::new(&contract::table::schema(), &Ignore::default(), 1);
        let began = Instant::now();

        let page = table.scan_page(&scan(None)).await.unwrap();
        let entries = table.scan_entries(&scan(Some(3)), &digester).await.unwrap();
        assert_eq!((page.items.len(), entries.entries.len()), (48, 3));
        let got = table.get_many(&get(60)).await.unwrap();
        assert_eq!((got.items.len(), got.held_back.len(), got.unprocessed.len()), (7, 53, 0));

        let all = retry::get_all(&table, RetryPolicy::default(), get(60)).await.unwrap();
        let policy = RetryPolicy { max_retries: 0, base: Duration::from_secs(1000) };
        let digests = retry::get_all_entries(&table, policy, get(60), Reader::Fast, &digester).await.unwrap();

        assert_eq!((all.items.len(), digests.iter().map(|got| got.entries.len()).sum::<usize>()), (60, 60));
        let seconds = began.elapsed().as_secs_f64();
        assert!((6.0..7.0).contains(&seconds), "127 units and a little took {seconds} s at 20 units per second");
    }

    #[tokio::test(start_paused = true)]
    async fn writes_are_paced_and_a_failed_condition_is_paid_for() {
        let table = paced(filled(0), Some(10.0), None);
        let writes: Vec<Write> = (0..25).map(|n| Write::Put(item(n))).collect();
        let batch = table.write_many(&writes).await.unwrap();
        assert_eq!(batch.held_back.len(), 22);

        let began = Instant::now();
        retry::write_all(&table, RetryPolicy::default(), &writes).await.unwrap();
        let absent = Condition::absent(&contract::table::schema());
        for write in &writes {
            let answer = table.write_if(write, &absent).await.unwrap();
            assert_eq!(answer.applied, Applied::ConditionFailed);
        }

        let seconds = began.elapsed().as_secs_f64();
        assert!((4.5..5.3).contains(&seconds), "50 units took {seconds} s at 10 units per second");
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_throttled_is_given_back_and_what_had_no_answer_counts() {
        let faulty = FaultyTable::new(filled(10), FaultPlan::new(1).failing(1.0));
        let table = paced(Arc::new(faulty), Some(10.0), Some(TableSize { items: 1, bytes: 10_000 }));
        let (mut refused, mut lost) = (0, 0);
        let began = Instant::now();

        for _ in 0..40 {
            match table.get_many(&get(1)).await.unwrap_err().kind {
                FailureKind::Throttled => refused += 1,
                _ => lost += 1,
            }
        }

        // Throttling leaves one unit per second, which the units that were lost take their time at.
        let seconds = began.elapsed().as_secs_f64();
        assert!(refused > 10 && lost > 10, "{refused} and {lost}");
        assert!(seconds > f64::from(lost) * 2.0 && seconds < f64::from(lost) * 3.0 + 5.0, "{lost} lost in {seconds} s");
    }

    #[tokio::test(start_paused = true)]
    async fn what_the_service_leaves_unprocessed_slows_the_table_down() {
        let unprocessed = FaultPlan::new(1).partial(1.0);
        let table = paced(Arc::new(FaultyTable::new(filled(10), unprocessed)), None, None);
        let digester = Digester::new(&contract::table::schema(), &Ignore::default(), 1);
        assert!(table.enter_get(&get(10)).await.unwrap().0.is_free());

        assert!(!table.get_many(&get(10)).await.unwrap().unprocessed.is_empty());
        assert!(!table.enter_get(&get(10)).await.unwrap().0.is_free(), "reads are slowed down");
        assert!(table.write.enter(|_| 1.0).await.unwrap().is_free(), "writes are not");
        let writes: Vec<Write> = (0..10).map(|n| Write::Put(item(n))).collect();
        assert!(!table.write_many(&writes).await.unwrap().unprocessed.is_empty());
        assert!(!table.write.enter(|_| 1.0).await.unwrap().is_free(), "writes are slowed down");

        let unprocessed = FaultPlan::new(1).partial(1.0);
        let table = paced(Arc::new(FaultyTable::new(filled(10), unprocessed)), None, None);
        assert!(!table.get_entries(&get(10), &digester).await.unwrap().unprocessed.is_empty());
        assert!(!table.enter_get(&get(10)).await.unwrap().0.is_free(), "reads are slowed down");
    }
}

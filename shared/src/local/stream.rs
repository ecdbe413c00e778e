//! A stream of changes in memory, for tests and embedding: shards that split, merge and end, as the services' do.
//!
//! It does what its test tells it and nothing by itself: no record ages, no cursor expires, no shard goes by time.

mod reading;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::domain::change::{BadRecord, Change, Record};
use crate::ports::failure::{Failure, FailureKind};
use crate::ports::stream::{MAX_RECORDS_PER_PAGE, ShardState, StreamStatus, View};

/// Shards of one page of a listing.
///
/// Source: Amazon DynamoDB API Reference, DescribeStream, Limit.
const SHARDS_PER_PAGE: usize = 100;

/// The sequence number of the first record; the services' have as many digits, and more.
const FIRST_SEQUENCE: u128 = 100_000_000_000_000_000_001;

/// A stream that lives as long as this value.
#[derive(Debug)]
pub struct MemoryStream {
    kind: Kind,
    view: View,
    shards_per_page: usize,
    records_per_page: usize,
    gaps: Gaps,
    listing: Order,
    // Held for the length of one request, which makes each of them atomic.
    state: Mutex<State>,
}

/// Which service it behaves like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// It tells what was trimmed, knows no times, and does not say how far behind a page is.
    DynamoDb,
    /// It passes over what was trimmed, begins at any time, and says how far behind a page is.
    Kinesis,
}

/// Whether pages without content come between those with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Gaps {
    None,
    BeforeEachPage,
}

/// In which order shards are listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Order {
    ParentsFirst,
    ChildrenFirst,
}

#[derive(Debug)]
struct State {
    status: StreamStatus,
    /// By id, and so in the order they were made.
    shards: BTreeMap<String, Held>,
    made: u64,
    sequence: u128,
    /// Cursors of an earlier era have expired.
    era: u64,
    calls: Calls,
}

#[derive(Debug)]
struct Held {
    parents: Vec<String>,
    state: ShardState,
    records: Vec<Record>,
    /// How many records of the front are gone, and the last of their sequence numbers.
    trimmed: Option<(usize, String)>,
}

/// How often each method was called, failures included.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Calls {
    /// Descriptions.
    pub descriptions: u64,
    /// Pages of shards.
    pub listings: u64,
    /// Cursors that were asked for, by shard.
    pub opened: BTreeMap<String, u64>,
    /// Pages of records that were asked for, by shard.
    pub read: BTreeMap<String, u64>,
}

impl Calls {
    /// Pages of records that were asked for of one shard.
    #[must_use]
    pub fn reads_of(&self, shard: &str) -> u64 {
        self.read.get(shard).copied().unwrap_or_default()
    }
}

impl MemoryStream {
    /// A stream without shards that behaves as DynamoDB Streams does. Its records carry what they are given.
    #[must_use]
    pub fn like_dynamodb(view: View) -> Self {
        Self::new(Kind::DynamoDb, view)
    }

    /// A stream without shards that behaves as Kinesis Data Streams does.
    #[must_use]
    pub fn like_kinesis() -> Self {
        Self::new(Kind::Kinesis, View::ByRecord)
    }

    fn new(kind: Kind, view: View) -> Self {
        let state = State {
            status: StreamStatus::Enabled,
            shards: BTreeMap::new(),
            made: 0,
            sequence: FIRST_SEQUENCE,
            era: 0,
            calls: Calls::default(),
        };
        Self {
            kind,
            view,
            shards_per_page: SHARDS_PER_PAGE,
            records_per_page: MAX_RECORDS_PER_PAGE as usize,
            gaps: Gaps::None,
            listing: Order::ParentsFirst,
            state: Mutex::new(state),
        }
    }

    /// Ends pages after this many shards, or records.
    #[must_use]
    pub fn with_pages_of(self, shards: usize, records: usize) -> Self {
        Self { shards_per_page: shards.max(1), records_per_page: records.max(1), ..self }
    }

    /// Puts an empty page before each page, of shards and of records.
    #[must_use]
    pub fn with_empty_pages(self) -> Self {
        Self { gaps: Gaps::BeforeEachPage, ..self }
    }

    /// Lists children before their parents.
    #[must_use]
    pub fn with_children_first(self) -> Self {
        Self { listing: Order::ChildrenFirst, ..self }
    }

    /// Opens a shard that has no parent, and returns its id.
    pub fn open_shard(&self) -> String {
        self.locked().make(Vec::new())
    }

    /// Closes a shard and opens its only child, as DynamoDB Streams does every few hours.
    ///
    /// # Errors
    /// `NotFound` when there is no such shard.
    pub fn succeed(&self, shard: &str) -> Result<String, Failure> {
        let mut state = self.locked();
        state.held("Succeed", shard)?.state = ShardState::Closed;
        Ok(state.make(vec![shard.to_owned()]))
    }

    /// Closes a shard and opens its two children.
    ///
    /// # Errors
    /// `NotFound` when there is no such shard.
    pub fn split(&self, shard: &str) -> Result<(String, String), Failure> {
        let mut state = self.locked();
        state.held("SplitShard", shard)?.state = ShardState::Closed;
        Ok((state.make(vec![shard.to_owned()]), state.make(vec![shard.to_owned()])))
    }

    /// Closes two shards and opens their only child.
    ///
    /// # Errors
    /// `NotFound` when one of them is not there.
    pub fn merge(&self, one: &str, other: &str) -> Result<String, Failure> {
        let mut state = self.locked();
        for shard in [one, other] {
            state.held("MergeShards", shard)?;
        }
        for shard in [one, other] {
            state.held("MergeShards", shard)?.state = ShardState::Closed;
        }
        Ok(state.make(vec![one.to_owned(), other.to_owned()]))
    }

    /// Closes a shard that gets no child.
    ///
    /// # Errors
    /// `NotFound` when there is no such shard.
    pub fn close(&self, shard: &str) -> Result<(), Failure> {
        self.locked().held("CloseShard", shard)?.state = ShardState::Closed;
        Ok(())
    }

    /// Takes up no more changes: all shards close.
    pub fn disable(&self) {
        let mut state = self.locked();
        state.status = StreamStatus::Disabled;
        state.shards.values_mut().for_each(|held| held.state = ShardState::Closed);
    }

    /// Forgets a shard.
    ///
    /// # Errors
    /// `NotFound` when there is no such shard.
    pub fn drop_shard(&self, shard: &str) -> Result<(), Failure> {
        let mut state = self.locked();
        state.held("DropShard", shard)?;
        state.shards.remove(shard);
        Ok(())
    }

    /// Adds a record to a shard, closed ones included, and returns its sequence number, which is greater than all
    /// before it in the stream.
    ///
    /// # Errors
    /// `NotFound` when there is no such shard.
    pub fn append(&self, shard: &str, change: Result<Change, BadRecord>) -> Result<String, Failure> {
        let mut state = self.locked();
        let sequence = state.sequence.to_string();
        state.held("PutRecord", shard)?.records.push(Record { sequence: sequence.clone(), change });
        state.sequence += 1;
        Ok(sequence)
    }

    /// Adds a record with a sequence number of its own.
    ///
    /// # Errors
    /// `NotFound` when there is no such shard; `Invalid` when the number is none, or not greater than those before it.
    pub fn append_record(&self, shard: &str, record: Record) -> Result<(), Failure> {
        let mut state = self.locked();
        let held = state.held("PutRecord", shard)?;
        let Ok(number) = record.sequence.parse::<u128>() else {
            return Err(refused("PutRecord", FailureKind::Invalid, "a sequence number is a decimal number"));
        };
        if held.last_sequence().is_some_and(|last| order(last) >= order(&record.sequence)) {
            return Err(refused("PutRecord", FailureKind::Invalid, "sequence numbers grow"));
        }
        held.records.push(record);
        state.sequence = state.sequence.max(number.saturating_add(1));
        Ok(())
    }

    /// Forgets the records of a shard up to this sequence number, and this one.
    ///
    /// # Errors
    /// `NotFound` when there is no such shard.
    pub fn trim(&self, shard: &str, through: &str) -> Result<(), Failure> {
        let mut state = self.locked();
        let held = state.held("Trim", shard)?;
        let gone = held.records.partition_point(|record| order(&record.sequence) <= order(through));
        let count = held.first() + gone;
        if let Some(last) = held.records.drain(..gone).next_back() {
            held.trimmed = Some((count, last.sequence));
        }
        Ok(())
    }

    /// Makes all cursors of before too old.
    pub fn expire_cursors(&self) {
        self.locked().era += 1;
    }

    /// How often each method of the port was called.
    #[must_use]
    pub fn calls(&self) -> Calls {
        self.locked().calls.clone()
    }

    fn locked(&self) -> MutexGuard<'_, State> {
        // Every change is whole before the lock is let go of, so a panic elsewhere leaves nothing half done.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn make(&mut self, parents: Vec<String>) -> String {
        let id = format!("shardId-{:020}", self.made);
        self.made += 1;
        let held = Held { parents, state: ShardState::Open, records: Vec::new(), trimmed: None };
        self.shards.insert(id.clone(), held);
        id
    }

    fn held(&mut self, operation: &'static str, shard: &str) -> Result<&mut Held, Failure> {
        let missing = || refused(operation, FailureKind::NotFound, &format!("there is no shard `{shard}`"));
        self.shards.get_mut(shard).ok_or_else(missing)
    }
}

impl Held {
    /// How many records are gone.
    fn first(&self) -> usize {
        self.trimmed.as_ref().map_or(0, |(count, _)| *count)
    }

    fn last_sequence(&self) -> Option<&str> {
        let trimmed = self.trimmed.as_ref().map(|(_, sequence)| sequence.as_str());
        self.records.last().map(|record| record.sequence.as_str()).or(trimmed)
    }
}

/// Orders sequence numbers by value, whatever their zeros in front.
fn order(sequence: &str) -> (usize, &str) {
    let digits = sequence.trim_start_matches('0');
    (digits.len(), digits)
}

fn refused(operation: &'static str, kind: FailureKind, message: &str) -> Failure {
    Failure { kind, operation, resource: "the stream in memory".to_owned(), message: message.to_owned() }
}

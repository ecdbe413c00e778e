//! Reading of a stream in memory: the port's four methods.

use std::time::Duration;

use async_trait::async_trait;

use super::{Gaps, Held, Kind, MemoryStream, Order, order, refused};
use crate::domain::change::Record;
use crate::ports::failure::{Failure, FailureKind};
use crate::ports::stream::{
    ChangeStream, Cursor, MAX_RECORDS_PER_PAGE, ReadFrom, RecordPage, Shard, ShardPage, ShardState, StreamDescription,
    Tip,
};

/// How long the services keep records, unless told otherwise.
///
/// Source: Amazon DynamoDB Developer Guide, "Change data capture for DynamoDB Streams"; Amazon Kinesis Data Streams
/// Developer Guide, "Change the data retention period".
const RETENTION: Duration = Duration::from_secs(24 * 60 * 60);

/// What a cursor's text says.
struct Place<'a> {
    era: u64,
    /// Records of the shard that come before it, those that are gone included.
    at: usize,
    gap_passed: bool,
    shard: &'a str,
}

impl Place<'_> {
    fn cursor(&self) -> Cursor {
        let Self { era, at, gap_passed, shard } = self;
        Cursor(format!("{era}/{at}/{}/{shard}", u8::from(*gap_passed)))
    }

    fn parse(text: &str) -> Option<Place<'_>> {
        let mut parts = text.splitn(4, '/');
        let mut part = || parts.next();
        let (era, at, gap_passed) = (part()?.parse().ok()?, part()?.parse().ok()?, part()? == "1");
        Some(Place { era, at, gap_passed, shard: part()? })
    }
}

#[async_trait]
impl ChangeStream for MemoryStream {
    async fn describe(&self) -> Result<StreamDescription, Failure> {
        let mut state = self.locked();
        state.calls.descriptions += 1;
        let arn = match self.kind {
            Kind::DynamoDb => "arn:aws:dynamodb:memory:000000000000:table/memory/stream/memory",
            Kind::Kinesis => "arn:aws:kinesis:memory:000000000000:stream/memory",
        };
        let status = state.status.clone();
        Ok(StreamDescription { arn: arn.to_owned(), status, view: self.view, retention: RETENTION })
    }

    async fn shards(&self, after: Option<&str>) -> Result<ShardPage, Failure> {
        let mut state = self.locked();
        state.calls.listings += 1;
        // `+` says that the empty page before this one was given.
        let after = after.unwrap_or_default();
        let (gap_passed, after) = match after.strip_prefix('+') {
            Some(after) => (true, after),
            None => (false, after),
        };
        if self.gaps == Gaps::BeforeEachPage && !gap_passed {
            return Ok(ShardPage { shards: Vec::new(), next: Some(format!("+{after}")) });
        }
        let rest: Vec<(&String, &Held)> = match self.listing {
            Order::ParentsFirst => state.shards.iter().filter(|(id, _)| id.as_str() > after).collect(),
            Order::ChildrenFirst => {
                state.shards.iter().rev().filter(|(id, _)| after.is_empty() || id.as_str() < after).collect()
            }
        };
        let shard = |(id, held): &(&String, &Held)| Shard {
            id: (*id).clone(),
            parents: held.parents.clone(),
            state: held.state,
        };
        let shards: Vec<Shard> = rest.iter().take(self.shards_per_page).map(shard).collect();
        let more = rest.len() > shards.len();
        let next = shards.last().filter(|_| more).map(|last| last.id.clone());
        Ok(ShardPage { shards, next })
    }

    async fn open(&self, shard: &str, from: &ReadFrom) -> Result<Cursor, Failure> {
        let mut state = self.locked();
        *state.calls.opened.entry(shard.to_owned()).or_default() += 1;
        let era = state.era;
        let held = state.held("GetShardIterator", shard)?;
        let passed = match (from, self.kind) {
            (ReadFrom::TrimHorizon, _) | (ReadFrom::Time(_), Kind::DynamoDb) => 0,
            (ReadFrom::After(sequence), kind) => {
                let trimmed = held.trimmed.as_ref().is_some_and(|(_, last)| order(sequence) <= order(last));
                if trimmed && kind == Kind::DynamoDb {
                    let message = "the record to begin after was trimmed";
                    return Err(refused("GetShardIterator", FailureKind::Trimmed, message));
                }
                held.records.partition_point(|record| order(&record.sequence) <= order(sequence))
            }
            // A record that cannot be understood has no time, and is not passed over.
            (ReadFrom::Time(time), Kind::Kinesis) => {
                let is_earlier =
                    |record: &&Record| record.change.as_ref().is_ok_and(|change| change.created.until_ms <= *time);
                held.records.iter().take_while(is_earlier).count()
            }
        };
        Ok(Place { era, at: held.first() + passed, gap_passed: false, shard }.cursor())
    }

    async fn read(&self, cursor: &Cursor, limit: u32) -> Result<RecordPage, Failure> {
        let Some(place) = Place::parse(&cursor.0) else {
            return Err(refused("GetRecords", FailureKind::Invalid, "the cursor is none of this stream"));
        };
        let mut state = self.locked();
        *state.calls.read.entry(place.shard.to_owned()).or_default() += 1;
        if place.era != state.era {
            return Err(refused("GetRecords", FailureKind::Expired, "the cursor is too old"));
        }
        let held = state.held("GetRecords", place.shard)?;
        let at = match (place.at.checked_sub(held.first()), self.kind) {
            (Some(at), _) => at.min(held.records.len()),
            (None, Kind::Kinesis) => 0,
            (None, Kind::DynamoDb) => {
                return Err(refused("GetRecords", FailureKind::Trimmed, "the records were trimmed"));
            }
        };
        let tip = |read: usize| match self.kind {
            Kind::DynamoDb => Tip::Unknown,
            Kind::Kinesis => {
                let (read, unread) = held.records.split_at(read);
                let (newest, reached) = (newest_ms(unread), newest_ms(read));
                let reached = reached.or_else(|| oldest_ms(unread));
                let behind = newest.zip(reached).map_or(0, |(newest, reached)| newest.saturating_sub(reached));
                Tip::Behind(Duration::from_millis(u64::try_from(behind).unwrap_or_default()))
            }
        };
        if self.gaps == Gaps::BeforeEachPage && !place.gap_passed {
            let next = Place { gap_passed: true, at: held.first() + at, ..place };
            return Ok(RecordPage { records: Vec::new(), next: Some(next.cursor()), tip: tip(at) });
        }
        let most = (limit.clamp(1, MAX_RECORDS_PER_PAGE) as usize).min(self.records_per_page);
        let records: Vec<Record> = held.records[at..].iter().take(most).cloned().collect();
        let end = at + records.len();
        let is_over = held.state == ShardState::Closed && end == held.records.len();
        let next = Place { at: held.first() + end, gap_passed: false, ..place };
        Ok(RecordPage { records, next: (!is_over).then(|| next.cursor()), tip: tip(end) })
    }
}

/// When the newest record that says so was created.
fn newest_ms(records: &[Record]) -> Option<i64> {
    records.iter().rev().find_map(created_ms)
}

fn oldest_ms(records: &[Record]) -> Option<i64> {
    records.iter().find_map(created_ms)
}

fn created_ms(record: &Record) -> Option<i64> {
    record.change.as_ref().ok().map(|change| change.created.from_ms)
}

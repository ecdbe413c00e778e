//! The port to a table's stream of changes: DynamoDB Streams, or Kinesis Data Streams.
//!
//! It is a port of its own because nothing of a table helps to read one: shards, positions and their expiry are the
//! stream's, and on Kinesis not even the service is the table's.

use std::time::Duration;

use async_trait::async_trait;

use super::failure::Failure;
use crate::domain::change::Record;

/// What a stream says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamDescription {
    /// Its ARN.
    pub arn: String,
    /// Whether it takes up changes.
    pub status: StreamStatus,
    /// What its records carry.
    pub view: View,
    /// How long a record can be read.
    pub retention: Duration,
}

/// Whether a stream takes up changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StreamStatus {
    /// It does.
    Enabled,
    /// It does not any more; what it holds can be read until its retention ends.
    Disabled,
    /// It is about to; with its status in the service's words.
    NotReady(String),
}

/// What the records of a stream carry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum View {
    /// Keys only, or nothing that tells the new item: it is read from the table.
    Keys,
    /// The new item.
    New,
    /// The new item and the one before it.
    NewAndOld,
    /// Each record tells for itself, as on Kinesis.
    ByRecord,
}

/// A shard: one sequence of records, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shard {
    /// Its id, unique in the stream.
    pub id: String,
    /// The shards whose records come before its own: one after a split, two after a merge. They may be gone.
    pub parents: Vec<String>,
    /// Whether records still come.
    pub state: ShardState,
}

/// Whether records still come into a shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ShardState {
    /// They do.
    Open,
    /// It has an end; its children go on.
    Closed,
}

/// Some of a stream's shards.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ShardPage {
    /// The shards; there may be none although more follow.
    pub shards: Vec<Shard>,
    /// What to ask for the next page with; absent at the end, and only there.
    pub next: Option<String>,
}

/// Where reading of a shard begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReadFrom {
    /// At the oldest record that is still there.
    TrimHorizon,
    /// Right after the record of this sequence number.
    After(String),
    /// At the first record that was not created before this time (milliseconds since 1970). A stream that cannot
    /// begins at its trim horizon instead, so the caller looks at the time of each record.
    Time(i64),
}

/// Where reading goes on; good for a few minutes only.
///
/// A cursor that was used may be used again after a failure, and gives the same records.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cursor(pub String);

/// How far behind a page is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tip {
    /// The stream does not say.
    Unknown,
    /// This long; zero at the tip.
    Behind(Duration),
}

/// Records of a shard, in order.
#[derive(Clone, Debug, PartialEq)]
pub struct RecordPage {
    /// The records; there may be none although more follow.
    pub records: Vec<Record>,
    /// Where reading goes on; absent when a closed shard was read to its end, and only then.
    pub next: Option<Cursor>,
    /// How far behind the page is.
    pub tip: Tip,
}

/// Most records of one page.
///
/// Source: Amazon DynamoDB Streams API Reference, GetRecords. Kinesis gives up to 10,000; fewer bound memory.
pub const MAX_RECORDS_PER_PAGE: u32 = 1000;

/// A stream of changes, one request at a time: adapters do not retry and do not wait.
///
/// Every method may fail in passing (`Throttled`, `Unavailable`). Reading changes nothing.
#[async_trait]
pub trait ChangeStream: Send + Sync {
    /// Describes the stream.
    async fn describe(&self) -> Result<StreamDescription, Failure>;

    /// Lists shards, those that are closed included, as long as any of their records can be read; page by page, from
    /// the first page on or after what the last page said. A shard comes once in a listing, in any order.
    async fn shards(&self, after: Option<&str>) -> Result<ShardPage, Failure>;

    /// Begins to read a shard.
    ///
    /// Fails with `Trimmed` when the record to begin after is older than what can be read, where the stream tells; and
    /// with `NotFound` when the shard is gone.
    async fn open(&self, shard: &str, from: &ReadFrom) -> Result<Cursor, Failure>;

    /// Reads on, up to this many records (1 to [`MAX_RECORDS_PER_PAGE`]).
    ///
    /// Fails with `Expired` when the cursor is too old, and with `Trimmed` when its records are gone.
    async fn read(&self, cursor: &Cursor, limit: u32) -> Result<RecordPage, Failure>;
}

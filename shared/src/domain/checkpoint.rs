//! The committed state of one unit of work. The checkpoint is the commit: what it does not name does not exist.

use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

use super::backup::StoredObject;
use super::position::ShardPosition;
use super::tally::Tally;
use super::unit::{Pass, Unit};

/// The checkpoint version that this program reads and writes.
pub const CHECKPOINT_VERSION: u32 = 1;

/// Times in a row a unit may be taken up without getting any further before it counts as failed.
///
/// It ends the unit that kills every worker that touches it. Takes that made progress do not count, so a long segment
/// on reclaimed Spot instances never fails by this.
pub const MAX_ATTEMPTS: u32 = 20;

/// Failures that may pass, in a row and without progress, before a unit counts as failed; the retries of each single
/// request were used up in every one of them.
pub const MAX_FAILURES: u32 = 5;

/// The same for a shard of a stream, which is followed for ever and has to outlast an outage.
///
/// With a minute between takes it is given up after some 17 hours, while the stream still has what was not read: it keeps
/// changes for 24 hours (Amazon DynamoDB Developer Guide, "Change data capture for DynamoDB Streams").
pub const MAX_FAILURES_OF_SHARD: u32 = 1000;

/// Failures in a row, and without progress, after which a unit of this pass has failed.
#[must_use]
pub fn most_failures(pass: Pass) -> u32 {
    match pass {
        Pass::Master | Pass::Slave(_) => MAX_FAILURES,
        Pass::Stream => MAX_FAILURES_OF_SHARD,
    }
}

/// How far a scan is decided *and* written.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Position {
    /// Nothing yet.
    #[default]
    Start,
    /// Everything up to and with this key (DynamoDB JSON).
    After(Json),
    /// The whole segment.
    End,
    /// In a paired scan, by slave.
    Paired(Vec<Lane>),
    /// In a shard of a stream.
    Shard(ShardPosition),
    /// In a backup that is read.
    Source(Reached),
}

/// How far a backup is read *and* where it belongs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reached {
    /// In its files.
    File {
        /// Which of the unit's files.
        file: u64,
        /// Lines of it that are done.
        lines: u64,
    },
    /// In a folder of items: everything up to and with this object, and what would come before it.
    Object(String),
}

/// How far one table's scan is decided *and* written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mark {
    /// Nothing yet.
    Start,
    /// Everything up to and with this key (DynamoDB JSON).
    After(Json),
    /// The whole segment.
    End,
}

/// How one slave is held against the master from here on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Method {
    /// Both scans are joined.
    Join,
    /// The master's keys are looked up in the slave, and the slave's in the master where extra items are sought.
    Lookup,
}

/// How far the master and one slave are decided against each other.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lane {
    /// How far the master is.
    pub master: Mark,
    /// How far the slave is.
    pub slave: Mark,
    /// Orders the lanes by how far the master is: 0 for those furthest behind. Keys themselves have no order.
    pub rank: u32,
    /// How it goes on.
    pub method: Method,
    /// Whether the others went on without it because its slave is slow.
    #[serde(default)]
    pub left_behind: bool,
}

/// Where a unit stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// It waits for a worker.
    Queued,
    /// A worker has it.
    Running {
        /// The worker's id, new with every take.
        owner: String,
        /// Seconds after the store's time of this checkpoint at which the lease ends.
        lease_seconds: u64,
    },
    /// It is finished.
    Done,
    /// It was given up, and will be taken up again only by `resume`.
    Failed {
        /// Why.
        error: String,
    },
}

/// A unit's committed state.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Checkpoint {
    /// Always [`CHECKPOINT_VERSION`].
    pub version: u32,
    /// The unit.
    pub unit: Unit,
    /// Goes up by one with every commit.
    pub generation: u64,
    /// Where the unit stands.
    pub state: State,
    /// How far it is.
    pub position: Position,
    /// What was counted up to there.
    pub tally: Tally,
    /// Names of the report parts that count, in the unit's folder.
    pub parts: Vec<String>,
    /// Names of the lists of changes that could not be applied.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rejected: Vec<String>,
    /// Objects of a backup that are finished.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub objects: Vec<StoredObject>,
    /// Name of the list of repairs that were decided and counted, and may or may not have been made.
    ///
    /// It is committed before the first of them is made, so that a repair survives in the report even when the worker
    /// dies right after it: its successor finds the slave repaired and reports it as written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pending: Option<String>,
    /// Takes since the position last moved.
    pub attempts: u32,
    /// Failures since the position last moved that made a worker give the unit back.
    pub failures: u32,
    /// When the unit was first taken, as RFC 3339.
    pub started_at: String,
    /// When this was committed.
    pub updated_at: String,
    /// When it ended.
    pub ended_at: Option<String>,
}

impl Checkpoint {
    /// The state of a unit that nobody has touched.
    #[must_use]
    pub fn fresh(unit: Unit, slaves: usize, now: &str) -> Self {
        Self {
            version: CHECKPOINT_VERSION,
            unit,
            generation: 0,
            state: State::Queued,
            position: Position::Start,
            tally: Tally::zero(slaves),
            parts: Vec::new(),
            rejected: Vec::new(),
            objects: Vec::new(),
            pending: None,
            attempts: 0,
            failures: 0,
            started_at: now.to_owned(),
            updated_at: now.to_owned(),
            ended_at: None,
        }
    }

    /// Whether only `resume` can bring the unit further, if anything can.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        match self.state {
            State::Queued | State::Running { .. } => false,
            State::Done | State::Failed { .. } => true,
        }
    }

    /// The next commit after this one.
    #[must_use]
    pub fn next(&self, now: &str) -> Self {
        Self { generation: self.generation + 1, updated_at: now.to_owned(), ..self.clone() }
    }
}

//! A job: what was asked for, written once into its manifest and never changed.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

use super::backup::{BackupSettings, SourceSettings};
use super::control::Control;
use super::cost::TableSize;
use super::decide::Policy;
use super::encryption::Encryption;
use super::key::KeySchema;
use super::limits::Limits;
use super::overlap::Order;
use super::sample::Sample;
use super::segment::{SegmentSet, strided};
use super::table_ref::TableRef;
use super::unit::{MESSAGE_VERSION, Pass, Task, Unit, WorkMessage};

/// The manifest version that this program reads and writes.
pub const MANIFEST_VERSION: u32 = 1;

/// Most keys one `BatchGetItem` request carries.
///
/// Source: Amazon DynamoDB API Reference, BatchGetItem.
pub const MAX_KEYS_PER_GET: u32 = 100;

/// One table of a job and how it is reached; it holds no secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Side {
    /// The table.
    pub table: TableRef,
    /// The id the table had when the job was made; another id means that it was replaced since.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub table_id: Option<String>,
    /// The attribute by which it deletes items whose time has come, if it does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time_to_live: Option<String>,
    /// The size it had then; estimates rest on it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<TableSize>,
    /// How it is reached.
    #[serde(default)]
    pub access: Access,
}

impl Side {
    /// A table of which nothing more is known yet.
    #[must_use]
    pub fn new(table: TableRef, access: Access) -> Self {
        Self { table, table_id: None, time_to_live: None, size: None, access }
    }
}

/// Whose credentials reach a table, and where it answers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Access {
    /// A profile of the AWS configuration; only for jobs done inside the coordinator.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub profile: Option<String>,
    /// A role that is assumed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role_arn: Option<String>,
    /// The external id that the role asks for. It is no secret (IAM User Guide, "Access to third parties").
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub external_id: Option<String>,
    /// Another endpoint than AWS's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoint_url: Option<String>,
}

/// One name per table; tables written alike are numbered (`… #2`).
#[must_use]
pub fn labels<'a>(sides: impl IntoIterator<Item = &'a Side>) -> Vec<String> {
    let mut taken = BTreeSet::new();
    sides
        .into_iter()
        .map(|side| {
            let name = side.table.to_string();
            let numbered = (2..).map(|n| format!("{name} #{n}"));
            let label = std::iter::once(name.clone()).chain(numbered).find(|label| !taken.contains(label));
            let label = label.unwrap_or(name);
            taken.insert(label.clone());
            label
        })
        .collect()
}

/// What a job does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JobKind {
    /// Compares, and repairs what the policy allows.
    Sync,
    /// Copies the master's items to the slaves, without reading the slaves.
    Backfill,
    /// Follows the master's changes, if asked after a backfill.
    Replicate,
    /// Puts the master's items into a full backup.
    Backup,
    /// Puts each of the master's items into an object of its own.
    Incremental,
    /// Folds objects of one item each into a full backup.
    Snapshot,
    /// Copies the items of a backup to the slave.
    Restore,
    /// Holds the slave against a backup.
    Verify,
}

/// Where the items come from that a job reads in segments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The master.
    Master,
    /// A backup; the master is not read, and only its name counts.
    Backup,
}

impl JobKind {
    /// Where the items come from.
    #[must_use]
    pub fn origin(self) -> Origin {
        match self {
            Self::Sync | Self::Backfill | Self::Replicate | Self::Backup | Self::Incremental => Origin::Master,
            Self::Snapshot | Self::Restore | Self::Verify => Origin::Backup,
        }
    }

    /// Whether something is left to do when the last unit has ended: a full backup is none without its manifest.
    #[must_use]
    pub fn is_finished_last(self) -> bool {
        match self {
            Self::Backup | Self::Snapshot => true,
            Self::Sync | Self::Backfill | Self::Replicate | Self::Incremental | Self::Restore | Self::Verify => false,
        }
    }
}

/// What a backfill does about an item that a slave has already.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Existing {
    /// It is overwritten.
    #[default]
    Overwrite,
    /// It stays.
    Keep,
}

/// The settings of a backfill.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackfillSettings {
    /// What is done about an item that a slave has already.
    pub existing: Existing,
}

/// The stream that tells of a table's changes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum StreamSource {
    /// The table's own, DynamoDB Streams.
    DynamoDb {
        /// The ARN of the stream.
        arn: String,
    },
    /// A Kinesis data stream.
    Kinesis {
        /// Its ARN.
        arn: String,
    },
}

impl StreamSource {
    /// The ARN.
    #[must_use]
    pub fn arn(&self) -> &str {
        match self {
            Self::DynamoDb { arn } | Self::Kinesis { arn } => arn,
        }
    }

    /// In what order it tells of the changes of one item.
    #[must_use]
    pub fn order(&self) -> Order {
        match self {
            Self::DynamoDb { .. } => Order::ByItem,
            Self::Kinesis { .. } => Order::ByTime,
        }
    }
}

/// When a replication ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ends {
    /// When the stream does.
    #[default]
    WithTheStream,
    /// When all shards are less than this many milliseconds behind at the same time.
    CaughtUp(u64),
}

/// What is on the slaves once a replication is caught up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Covers {
    /// The changes that it followed; what was there before is another's care.
    #[default]
    Changes,
    /// The whole table, because it was copied first, by this job or by the one that this one goes on from.
    Table,
}

/// The settings of a replication.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReplicateSettings {
    /// Where the changes come from.
    pub source: StreamSource,
    /// When it ends.
    #[serde(default)]
    pub ends: Ends,
    /// What is on the slaves then.
    #[serde(default)]
    pub covers: Covers,
    /// The attribute that tells whose write it was, where two tables follow each other.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin_attribute: Option<String>,
    /// The store in which each item is kept as an object of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backup: Option<String>,
}

/// How a slave is held against the master.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Strategy {
    /// Scan one table, look its keys up in the other.
    #[default]
    Lookup,
    /// Scan the same segment of both tables side by side, and join them.
    Paired,
}

impl Strategy {
    /// The name on the command line and in output.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Lookup => "lookup",
            Self::Paired => "paired",
        }
    }
}

/// The strategy that was asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StrategyChoice {
    /// For each slave, the one that costs fewer read units.
    #[default]
    Auto,
    /// `lookup` for all.
    Lookup,
    /// `paired` for all.
    Paired,
}

/// How pages that are only compared are read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reader {
    /// From the bytes of the answer.
    #[default]
    Fast,
    /// Through the SDK's types.
    Typed,
}

/// Whether a suspected discrepancy is looked at again before it counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Confirm {
    /// Both sides are read again, strongly consistent, this many milliseconds after the first look.
    AfterMillis(u64),
    /// The first look counts. A repair still reads both sides first.
    Never,
}

/// What follows a repair's write.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AfterWrite {
    /// The master is read again where the write's condition cannot tell that it changed: after a missing item was put,
    /// and after an extra one was deleted.
    #[default]
    Trust,
    /// The master is read again after every write, and the repair made again if it moved.
    Verify,
}

/// Whether a repair keeps what it overwrites or deletes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OldImages {
    /// No.
    #[default]
    Drop,
    /// In the job's folder, before the write.
    Keep,
}

/// Read consistency of scans.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Consistency {
    /// Half the price; may be a moment old.
    #[default]
    Eventual,
    /// Reflects every write that succeeded before.
    Strong,
}

/// Whether reports carry the differing values.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReportContent {
    /// Keys and attribute names only.
    #[default]
    Keys,
    /// The differing values of both sides as well.
    Values,
}

/// The settings of a sync job.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SyncSettings {
    /// What is done about each kind of discrepancy.
    pub policy: Policy,
    /// Attributes and paths that do not count.
    pub ignore: Vec<String>,
    /// How the tables are held against each other, as it was asked for.
    pub strategy: StrategyChoice,
    /// How pages that are only compared are read.
    #[serde(default)]
    pub reader: Reader,
    /// Items per Scan page; without it the worker chooses, and the service's own limit is 1 MB.
    pub scan_limit: Option<u32>,
    /// Keys per BatchGetItem, 1 to [`MAX_KEYS_PER_GET`].
    pub batch_read_limit: u32,
    /// Times one request is tried again.
    pub max_retries: u32,
    /// Base of the exponential delay between tries, in milliseconds.
    pub retry_delay_base_ms: u64,
    /// Consistency of the scans.
    pub scan_consistency: Consistency,
    /// Whether a suspect is looked at again.
    pub confirm: Confirm,
    /// What reports carry.
    pub report: ReportContent,
    /// The attribute that holds an item's version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version_attribute: Option<String>,
    /// What follows a repair's write.
    #[serde(default)]
    pub after_write: AfterWrite,
    /// Whether a repair keeps what it overwrites or deletes.
    #[serde(default)]
    pub old_images: OldImages,
    /// How long a slave may lag behind the master, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_lag_ms: Option<u64>,
}

impl Default for SyncSettings {
    fn default() -> Self {
        Self {
            policy: Policy::default(),
            ignore: Vec::new(),
            strategy: StrategyChoice::default(),
            reader: Reader::default(),
            scan_limit: None,
            batch_read_limit: MAX_KEYS_PER_GET,
            max_retries: 10,
            retry_delay_base_ms: 50,
            scan_consistency: Consistency::default(),
            confirm: Confirm::AfterMillis(1000),
            report: ReportContent::default(),
            version_attribute: None,
            after_write: AfterWrite::default(),
            old_images: OldImages::default(),
            max_lag_ms: None,
        }
    }
}

impl SyncSettings {
    /// How long a suspect waits before it is looked at again; `None` when the first look counts.
    #[must_use]
    pub fn confirm_delay(&self) -> Option<Duration> {
        match self.confirm {
            Confirm::AfterMillis(delay) => Some(Duration::from_millis(delay)),
            Confirm::Never => None,
        }
    }

    /// How long a slave may lag behind the master, if the user said.
    #[must_use]
    pub fn max_lag(&self) -> Option<Duration> {
        self.max_lag_ms.map(Duration::from_millis)
    }
}

/// What was asked for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// Always [`MANIFEST_VERSION`].
    pub version: u32,
    /// The job's id.
    pub job: String,
    /// What it does.
    pub kind: JobKind,
    /// When it was made, as RFC 3339.
    pub created_at: String,
    /// The table that is right.
    pub master: Side,
    /// The tables held against it.
    pub slaves: Vec<Side>,
    /// The key schema that all of them have.
    pub key_schema: KeySchema,
    /// Segments of the parallel scan.
    pub total_segments: u32,
    /// The segments that this job does; all when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub only_segments: Option<SegmentSet>,
    /// That these segments were picked at random, if they were.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sample: Option<Sample>,
    /// By segment, the key (DynamoDB JSON) after which its scans begin.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub starting_keys: BTreeMap<u32, Json>,
    /// By slave, how it is held against the master; manifests of older versions have none, and mean `lookup`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub strategies: Vec<Strategy>,
    /// How every object of the job is encrypted; by the bucket's default when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub encryption: Option<Encryption>,
    /// What it may take; a later `limit` wins over it.
    #[serde(default, skip_serializing_if = "Limits::is_none")]
    pub limits: Limits,
    /// The settings of the comparison; a backfill and a replication take from it how tables are read.
    pub sync: SyncSettings,
    /// The settings of a backfill, if the job makes one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backfill: Option<BackfillSettings>,
    /// The settings of a replication, if the job follows changes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replicate: Option<ReplicateSettings>,
    /// The backup that the job makes, if it makes one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backup: Option<BackupSettings>,
    /// The backup that the job reads, if it reads one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<SourceSettings>,
}

impl Manifest {
    /// How a slave is held against the master.
    #[must_use]
    pub fn strategy(&self, slave: usize) -> Strategy {
        self.strategies.get(slave).copied().unwrap_or_default()
    }

    /// What the job may take now.
    #[must_use]
    pub fn limits_now<'a>(&'a self, control: &'a Control) -> &'a Limits {
        control.limits.as_ref().unwrap_or(&self.limits)
    }

    /// All tables: the master, then the slaves.
    pub fn sides(&self) -> impl Iterator<Item = &Side> {
        std::iter::once(&self.master).chain(&self.slaves)
    }

    /// One name per table, in the order of [`Manifest::sides`]; tables written alike are numbered (`… #2`). What is
    /// read in place of a master goes by its URL.
    #[must_use]
    pub fn labels(&self) -> Vec<String> {
        match &self.source {
            None => labels(self.sides()),
            Some(source) => std::iter::once(source.at.url.clone()).chain(labels(&self.slaves)).collect(),
        }
    }

    /// The passes that the job makes over the tables. A paired scan finds extra items in the master's own pass.
    pub fn passes(&self) -> impl Iterator<Item = Pass> {
        let scans = match self.kind {
            JobKind::Replicate => self.backfill.is_some(),
            JobKind::Sync
            | JobKind::Backfill
            | JobKind::Backup
            | JobKind::Incremental
            | JobKind::Snapshot
            | JobKind::Restore
            | JobKind::Verify => true,
        };
        let seeks_extra = self.kind == JobKind::Sync && self.sync.policy.seeks_extra();
        let lookups =
            (0..self.slaves.len()).filter(move |&slave| seeks_extra && self.strategy(slave) == Strategy::Lookup);
        scans.then_some(Pass::Master).into_iter().chain(lookups.map(Pass::Slave))
    }

    /// All units of work in segments, in the order in which they are handed out. Those in shards are in `shards.json`.
    pub fn units(&self) -> impl Iterator<Item = Unit> {
        self.passes().flat_map(|pass| {
            strided(self.total_segments)
                .filter(|&segment| self.does(segment))
                .map(move |segment| Unit { pass, segment })
        })
    }

    /// How many units of work in segments there are.
    #[must_use]
    pub fn unit_count(&self) -> usize {
        let segments = (0..self.total_segments).filter(|&segment| self.does(segment)).count();
        segments * self.passes().count()
    }

    /// Whether the job has this unit, as far as the manifest tells: which shards there are is in `shards.json`.
    #[must_use]
    pub fn has(&self, unit: Unit) -> bool {
        if unit.pass == Pass::Stream {
            return self.replicate.is_some();
        }
        unit.segment < self.total_segments && self.does(unit.segment) && self.passes().any(|pass| pass == unit.pass)
    }

    /// Whether a message asks for a unit of this job, cut as this job is.
    #[must_use]
    pub fn admits(&self, message: &WorkMessage) -> bool {
        let cut_alike = match message.unit {
            Task::Scan { total_segments, .. } => total_segments == self.total_segments,
            Task::Shard { .. } => true,
        };
        cut_alike && self.has(message.work_unit())
    }

    /// The message that asks for a unit.
    #[must_use]
    pub fn message(&self, manifest_url: &str, unit: Unit) -> WorkMessage {
        let (task, start) = match unit.pass {
            Pass::Stream => (Task::Shard { shard: unit.segment }, None),
            pass @ (Pass::Master | Pass::Slave(_)) => {
                let label = self.labels().swap_remove(pass.scanned_table());
                let start = self.starting_keys.get(&unit.segment).map(|key| (label, key.clone()));
                (Task::Scan { pass, segment: unit.segment, total_segments: self.total_segments }, start)
            }
        };
        WorkMessage {
            version: MESSAGE_VERSION,
            job: self.job.clone(),
            manifest: manifest_url.to_owned(),
            unit: task,
            start: start.into_iter().collect(),
        }
    }

    fn does(&self, segment: u32) -> bool {
        self.only_segments.as_ref().is_none_or(|only| only.contains(segment))
    }
}

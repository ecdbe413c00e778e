//! Where a job stands: the one shape of `status`, `summary.json` and the result of `sync`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::backup::{BackupSummary, BackupTally};
use super::checkpoint::{Checkpoint, Position, State};
use super::control::Control;
pub use super::control::Wish;
use super::cost::reads_of;
use super::following::Following;
pub use super::following::{LostTime, Replication};
use super::job::{JobKind, Manifest, Strategy};
use super::limits::Limits;
use super::sample::{Estimate, Moments, Sample};
use super::segment::SegmentSet;
use super::shards::Shards;
use super::tally::{Consumed, SlaveTally, Tally};
use super::unit::{Pass, Unit};

/// The state of a whole job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JobState {
    /// No unit was taken yet.
    Queued,
    /// Some unit was taken, and not all have ended.
    Running,
    /// Every unit is done.
    Succeeded,
    /// Every unit has ended, and some failed.
    Failed,
    /// It was cancelled before every unit had ended.
    Cancelled,
    /// It was paused before every unit had ended.
    Paused,
}

/// Why a job stopped that nobody asked to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StoppedBy {
    /// What is left of its budget is less than the next request may cost.
    MaxCost,
}

impl JobState {
    /// The name in output.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Running => "running",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
            Self::Paused => "paused",
        }
    }

    /// Whether nothing more will happen unless someone resumes the job.
    #[must_use]
    pub fn has_ended(self) -> bool {
        match self {
            Self::Queued | Self::Running => false,
            Self::Succeeded | Self::Failed | Self::Cancelled | Self::Paused => true,
        }
    }
}

/// Units by state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnitCounts {
    /// All of them.
    pub total: u64,
    /// Waiting for a worker.
    pub queued: u64,
    /// In the hands of a worker.
    pub running: u64,
    /// Finished.
    pub done: u64,
    /// Given up.
    pub failed: u64,
}

/// The counts of one slave, with its name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SlaveSummary {
    /// The slave, as it was named.
    pub table: String,
    /// Master items held against it.
    pub compared: u64,
    /// Of these, the ones that agree.
    pub identical: u64,
    /// Items it lacks.
    pub missing: u64,
    /// Items whose attributes differ.
    pub differing: u64,
    /// Items only it has.
    pub extra: u64,
    /// Suspects that had healed when they were looked at again.
    #[serde(default)]
    pub healed: u64,
    /// Items put.
    pub written: u64,
    /// Items deleted.
    pub deleted: u64,
    /// Repairs not made.
    pub skipped: u64,
    /// Repairs that failed.
    pub failed: u64,
    /// Items of which nobody could tell, because the master kept changing.
    #[serde(default)]
    pub unstable: u64,
    /// Items that only one side has and whose time to live has passed; they count neither as missing nor as extra.
    #[serde(default)]
    pub expired: u64,
    /// Segments in which the paired scan gave way to lookups.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub gave_way: u64,
}

/// Why a unit failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnitError {
    /// The segment.
    pub segment: u32,
    /// The pass.
    pub pass: Pass,
    /// The error.
    pub error: String,
}

/// Capacity that a table was expected to give.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Estimated {
    /// Read units, to the half.
    pub read: f64,
}

/// What a random sample of the segments says about all of them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SampleSummary {
    /// Segments that were picked.
    pub segments: u64,
    /// Out of so many.
    pub of: u64,
    /// The totals of each slave; none before two segments are done.
    pub estimates: Vec<SlaveEstimate>,
}

/// The estimated totals of one slave, with their 95 % intervals.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SlaveEstimate {
    /// The slave, as it was named.
    pub table: String,
    /// Master items.
    pub compared: Estimate,
    /// Items it lacks.
    pub missing: Estimate,
    /// Items whose attributes differ.
    pub differing: Estimate,
    /// Items only it has; absent when they are not looked for, or not in two segments yet.
    pub extra: Option<Estimate>,
}

/// Where a job stands. The figures are sums over committed checkpoints, so they are exact however often workers died.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// The job's id.
    pub job: String,
    /// What it does.
    pub kind: JobKind,
    /// Where it stands.
    pub state: JobState,
    /// Its units.
    pub units: UnitCounts,
    /// What was found on each slave.
    pub slaves: Vec<SlaveSummary>,
    /// Items scanned, by table.
    pub scanned: BTreeMap<String, u64>,
    /// Capacity consumed, by table.
    pub consumed: BTreeMap<String, Consumed>,
    /// What was expected to be consumed when the job was made, by table: for the first look, without confirmations.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub estimated: Option<BTreeMap<String, Estimated>>,
    /// What a random sample of the segments says about all of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sample: Option<SampleSummary>,
    /// How far a replication is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replication: Option<Replication>,
    /// The backup that it makes, or reads.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backup: Option<BackupSummary>,
    /// What limits it now, if anything does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limits: Option<Limits>,
    /// Why it stopped, if nobody asked for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stopped_by: Option<StoppedBy>,
    /// When the job was made.
    pub started_at: String,
    /// When it last moved.
    pub updated_at: String,
    /// When its last unit ended.
    pub ended_at: Option<String>,
    /// The units that failed, the first [`MAX_ERRORS`] of them.
    pub errors: Vec<UnitError>,
}

/// A unit's checkpoint, and whether the lease in it has run out.
#[derive(Clone, Debug)]
pub struct UnitView {
    /// The checkpoint.
    pub checkpoint: Checkpoint,
    /// Whether its worker still has it.
    pub lease: LeaseView,
}

/// Whether the lease in a checkpoint is still good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LeaseView {
    /// It is.
    Live,
    /// It has run out, or there is none.
    Expired,
}

/// Errors that a summary lists; of any more it only counts the units.
pub const MAX_ERRORS: usize = 1000;

/// Folds the checkpoints of a job into one view, one after the other, in any order.
pub struct Fold<'a> {
    manifest: &'a Manifest,
    following: Option<Following<'a>>,
    units: UnitCounts,
    tally: Tally,
    spread: Vec<Spread>,
    errors: Vec<UnitError>,
    updated_at: String,
    ended_at: Option<String>,
    taken: u64,
}

impl<'a> Fold<'a> {
    /// A job of which nothing is known but its manifest: all its units are queued.
    #[must_use]
    pub fn new(manifest: &'a Manifest) -> Self {
        Self {
            manifest,
            following: None,
            units: UnitCounts { total: manifest.unit_count() as u64, ..UnitCounts::default() },
            tally: Tally::zero(manifest.slaves.len()),
            spread: vec![Spread::default(); manifest.slaves.len()],
            errors: Vec::new(),
            updated_at: manifest.created_at.clone(),
            ended_at: None,
            taken: 0,
        }
    }

    /// The same job with the shards that it follows.
    #[must_use]
    pub fn with_shards(mut self, shards: &'a Shards) -> Self {
        self.units.total += shards.units().count() as u64;
        if let Some(retired) = &shards.retired {
            self.units.total += retired.count;
            self.units.done += retired.count;
            self.tally.add(&retired.tally);
        }
        self.following = Some(Following::new(shards));
        self
    }

    /// Adds a unit that has a checkpoint. A unit that is not added is queued.
    pub fn add(&mut self, view: &UnitView) {
        let UnitView { checkpoint, lease } = view;
        match (&checkpoint.state, lease) {
            (State::Queued, _) | (State::Running { .. }, LeaseView::Expired) => {}
            (State::Running { .. }, LeaseView::Live) => self.units.running += 1,
            (State::Done, _) => {
                self.units.done += 1;
                self.spread_over(checkpoint);
            }
            (State::Failed { error }, _) => {
                self.units.failed += 1;
                let Unit { pass, segment } = checkpoint.unit;
                if self.errors.len() < MAX_ERRORS {
                    self.errors.push(UnitError { segment, pass, error: error.clone() });
                }
            }
        }
        self.taken += 1;
        if let (Some(following), Position::Shard(position)) = (&mut self.following, &checkpoint.position) {
            following.add(checkpoint, position);
        }
        self.tally.add(&checkpoint.tally);
        if self.updated_at < checkpoint.updated_at {
            self.updated_at.clone_from(&checkpoint.updated_at);
        }
        if self.ended_at < checkpoint.ended_at {
            self.ended_at.clone_from(&checkpoint.ended_at);
        }
    }

    /// Each count is observed in the one pass that makes it.
    fn spread_over(&mut self, done: &Checkpoint) {
        for (slave, (spread, tally)) in self.spread.iter_mut().zip(&done.tally.slaves).enumerate() {
            let paired = self.manifest.strategy(slave) == Strategy::Paired;
            if done.unit.pass == Pass::Master {
                spread.compared.add(tally.compared);
                spread.missing.add(tally.missing);
                spread.differing.add(tally.differing);
            }
            if done.unit.pass == if paired { Pass::Master } else { Pass::Slave(slave) } {
                spread.extra.add(tally.extra);
            }
        }
    }

    /// The view, given what the user last asked of the job.
    #[must_use]
    pub fn finish(self, control: &Control) -> Summary {
        let wish = control.wish;
        let Self { manifest, following, mut units, tally, spread, errors, updated_at, ended_at, taken } = self;
        units.queued = units.total.saturating_sub(units.running + units.done + units.failed);
        // What waits for a unit that failed will not be taken up.
        let waiting = following.as_ref().filter(|_| units.failed > 0).map_or(0, Following::waiting);
        let all_ended = units.done + units.failed + waiting == units.total;
        let state = match (all_ended, units.failed, wish) {
            (true, 0, _) => JobState::Succeeded,
            (true, _, _) => JobState::Failed,
            (false, _, Wish::Cancel | Wish::Spent) => JobState::Cancelled,
            (false, _, Wish::Pause) => JobState::Paused,
            (false, _, Wish::Run | Wish::Finish) if taken == 0 => JobState::Queued,
            (false, _, Wish::Run | Wish::Finish) => JobState::Running,
        };
        let labels = manifest.labels();
        let slaves: Vec<SlaveSummary> =
            labels.iter().skip(1).zip(&tally.slaves).map(|(label, slave)| slave_summary(label, slave)).collect();
        let reads = Some(manifest.kind).filter(|kind| *kind == JobKind::Sync);
        let reads = reads.and_then(|_| reads_of(manifest, |slave| manifest.strategy(slave)));
        let estimated = reads.map(|tables| {
            // In halves, as the service charges: such numbers are the same after being written and read.
            let read = tables.into_iter().map(|table| Estimated { read: (table.read_units * 2.0).round() / 2.0 });
            labels.iter().cloned().zip(read).collect()
        });
        Summary {
            job: manifest.job.clone(),
            kind: manifest.kind,
            state,
            units,
            sample: manifest.sample.map(|sample| sample_summary(manifest, sample, &slaves, &spread)),
            estimated,
            replication: following.map(|following| {
                let covers = manifest.replicate.as_ref().map_or_else(Default::default, |replicate| replicate.covers);
                following.finish(&labels[0], tally.stream, covers)
            }),
            backup: backup_of(manifest, &tally),
            limits: Some(manifest.limits_now(control)).filter(|limits| !limits.is_none()).cloned(),
            stopped_by: (!all_ended && wish == Wish::Spent).then_some(StoppedBy::MaxCost),
            slaves,
            scanned: labels.iter().cloned().zip(tally.scanned).collect(),
            consumed: labels.iter().cloned().zip(tally.consumed).collect(),
            started_at: manifest.created_at.clone(),
            updated_at,
            ended_at: ended_at.filter(|_| all_ended),
            errors,
        }
    }
}

/// How what was counted of one slave is spread over the segments that are done.
#[derive(Clone, Copy, Default)]
struct Spread {
    compared: Moments,
    missing: Moments,
    differing: Moments,
    extra: Moments,
}

fn sample_summary(manifest: &Manifest, sample: Sample, slaves: &[SlaveSummary], spread: &[Spread]) -> SampleSummary {
    let picked = manifest.only_segments.as_ref().map_or(manifest.total_segments, SegmentSet::count);
    let estimate = |(slave, spread): (&SlaveSummary, &Spread)| {
        let seeks_extra = manifest.sync.policy.seeks_extra();
        Some(SlaveEstimate {
            table: slave.table.clone(),
            compared: spread.compared.total(sample.of, slave.compared)?,
            missing: spread.missing.total(sample.of, slave.missing)?,
            differing: spread.differing.total(sample.of, slave.differing)?,
            extra: spread.extra.total(sample.of, slave.extra).filter(|_| seeks_extra),
        })
    };
    SampleSummary {
        segments: picked.into(),
        of: sample.of.into(),
        estimates: slaves.iter().zip(spread).filter_map(estimate).collect(),
    }
}

fn backup_of(manifest: &Manifest, tally: &Tally) -> Option<BackupSummary> {
    let place = match (&manifest.backup, &manifest.source) {
        (Some(backup), _) => &backup.to,
        (None, Some(source)) => &source.at,
        (None, None) => return None,
    };
    let counted = match manifest.kind {
        // Each item is an object.
        JobKind::Incremental => {
            let put = tally.stream.backed_up;
            BackupTally { items: put, objects: put, ..tally.backup }
        }
        _ => tally.backup,
    };
    let folder = match manifest.kind {
        JobKind::Backup | JobKind::Snapshot => &manifest.job,
        JobKind::Incremental => manifest.master.table.name(),
        _ => "",
    };
    let at = format!("{}/{folder}", place.url);
    Some(BackupSummary { at: at.trim_end_matches('/').to_owned(), counted })
}

fn slave_summary(table: &str, tally: &SlaveTally) -> SlaveSummary {
    let SlaveTally {
        compared,
        identical,
        missing,
        differing,
        extra,
        healed,
        written,
        deleted,
        skipped,
        failed,
        unstable,
        expired,
        gave_way,
    } = *tally;
    let table = table.to_owned();
    SlaveSummary {
        table,
        compared,
        identical,
        missing,
        differing,
        extra,
        healed,
        written,
        deleted,
        skipped,
        failed,
        unstable,
        expired,
        gave_way,
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a reference")]
fn is_zero(count: &u64) -> bool {
    *count == 0
}

impl SlaveSummary {
    /// Discrepancies of all kinds.
    #[must_use]
    pub fn discrepancies(&self) -> u64 {
        self.missing + self.differing + self.extra
    }

    /// Discrepancies that were not repaired.
    #[must_use]
    pub fn remaining(&self) -> u64 {
        self.discrepancies().saturating_sub(self.written + self.deleted)
    }
}

impl Summary {
    /// Discrepancies that were not repaired, and copies and changes that could not be made, on all slaves.
    #[must_use]
    pub fn remaining(&self) -> u64 {
        let of_slave = |slave: &SlaveSummary| match self.kind {
            JobKind::Sync => slave.remaining(),
            JobKind::Verify => slave.discrepancies(),
            JobKind::Backfill
            | JobKind::Replicate
            | JobKind::Backup
            | JobKind::Incremental
            | JobKind::Snapshot
            | JobKind::Restore => slave.failed,
        };
        let damaged = self.backup.as_ref().map_or(0, |backup| backup.counted.damaged);
        let lost = self
            .replication
            .as_ref()
            .map_or(0, |replication| replication.counted.malformed + replication.gaps.len() as u64);
        self.slaves.iter().map(of_slave).sum::<u64>() + lost + damaged
    }
}

#[cfg(test)]
mod tests {
    use super::super::cost::TableSize;
    use super::super::decide::{ExtraHandling, Policy};
    use super::super::job::{MANIFEST_VERSION, Side, SyncSettings};
    use super::super::key::{KeyAttribute, KeySchema, KeyType};
    use super::*;

    fn side(name: &str, items: u64) -> Side {
        let size = Some(TableSize { items, bytes: items * 8192 });
        Side { size, ..Side::new(name.parse().unwrap(), Default::default()) }
    }

    /// Half of ten segments; the first slave is looked up, the second is paired.
    fn sampled() -> Manifest {
        Manifest {
            version: MANIFEST_VERSION,
            job: "J".to_owned(),
            kind: JobKind::Sync,
            created_at: "2026-11-20T23:15:00.000Z".to_owned(),
            master: side("us-east-1:orders", 100),
            slaves: vec![side("us-east-1:looked-up", 100), side("us-east-1:paired", 0)],
            key_schema: KeySchema { partition: KeyAttribute { name: "id".to_owned(), kind: KeyType::S }, sort: None },
            total_segments: 10,
            encryption: None,
            only_segments: Some("0-4".parse().unwrap()),
            sample: Some(Sample { fraction: 0.5.try_into().unwrap(), of: 10 }),
            starting_keys: BTreeMap::new(),
            strategies: vec![Strategy::Lookup, Strategy::Paired],
            limits: Limits::default(),
            sync: SyncSettings {
                policy: Policy { extra: ExtraHandling::Report, ..Policy::default() },
                ..SyncSettings::default()
            },
            backfill: None,
            replicate: None,
            backup: None,
            source: None,
        }
    }

    fn done(pass: Pass, segment: u32, slaves: [SlaveTally; 2]) -> UnitView {
        let mut checkpoint = Checkpoint::fresh(Unit { pass, segment }, 2, "2026-11-20T23:15:00.000Z");
        checkpoint.state = State::Done;
        checkpoint.tally.slaves = slaves.into();
        UnitView { checkpoint, lease: LeaseView::Expired }
    }

    #[test]
    fn each_count_is_estimated_from_the_pass_that_makes_it() {
        let manifest = sampled();
        let mut fold = Fold::new(&manifest);
        let master = |extra| SlaveTally { compared: 10, identical: 9, missing: 1, extra, ..SlaveTally::default() };
        for segment in 0..2 {
            fold.add(&done(Pass::Master, segment, [master(0), master(4)]));
        }
        let before = fold.finish(&Control::default()).sample.unwrap();
        let mut fold = Fold::new(&manifest);
        for segment in 0..5 {
            fold.add(&done(Pass::Master, segment, [master(0), master(4)]));
            let extra = SlaveTally { extra: 3, ..SlaveTally::default() };
            fold.add(&done(Pass::Slave(0), segment, [extra, SlaveTally::default()]));
        }
        let after = fold.finish(&Control::default()).sample.unwrap();

        let all_alike = |count| Estimate { estimate: count, low: count, high: count };
        assert_eq!((before.segments, before.of), (5, 10));
        assert_eq!((before.estimates[0].extra, before.estimates[0].compared), (None, all_alike(100)));
        assert_eq!(after.estimates[0].extra, Some(all_alike(30)));
        assert_eq!(after.estimates[1].extra, Some(all_alike(40)));
        assert_eq!(after.estimates[1].compared, all_alike(100));
    }

    #[test]
    fn half_of_the_segments_are_expected_to_take_half_of_the_units() {
        let estimated = Fold::new(&sampled()).finish(&Control::default()).estimated.unwrap();

        // Half of: a scan of 100 items, each of two blocks, and 100 lookups for extra items; 100 lookups, and a scan.
        assert_eq!(estimated["us-east-1:orders"].read, 100.0);
        assert_eq!(estimated["us-east-1:looked-up"].read, 100.0);
        assert_eq!(estimated["us-east-1:paired"].read, 0.0);
    }

    #[test]
    fn a_summary_that_was_written_is_read_back_the_same() {
        let mut manifest = sampled();
        manifest.master.size = Some(TableSize { items: 13, bytes: 13 * 377 });
        manifest.only_segments = Some("0-2".parse().unwrap());
        let summary = Fold::new(&manifest).finish(&Control::default());

        let written = serde_json::to_string(&summary).unwrap();

        assert_eq!(serde_json::from_str::<Summary>(&written).unwrap(), summary);
    }

    #[test]
    fn nothing_is_expected_of_tables_of_unknown_size() {
        let mut manifest = sampled();
        manifest.slaves[0].size = None;
        manifest.sample = None;

        let summary = serde_json::to_value(Fold::new(&manifest).finish(&Control::default())).unwrap();

        assert!(summary.get("estimated").is_none() && summary.get("sample").is_none(), "{summary}");
    }
}

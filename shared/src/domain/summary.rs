//! Where a job stands: the one shape of `status`, `summary.json` and the result of `sync`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::checkpoint::{Checkpoint, State};
use super::job::{JobKind, Manifest};
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
        }
    }

    /// Whether nothing more will happen unless someone resumes the job.
    #[must_use]
    pub fn has_ended(self) -> bool {
        match self {
            Self::Queued | Self::Running => false,
            Self::Succeeded | Self::Failed | Self::Cancelled => true,
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
    /// When the job was made.
    pub started_at: String,
    /// When it last moved.
    pub updated_at: String,
    /// When its last unit ended.
    pub ended_at: Option<String>,
    /// The units that failed, the first [`MAX_ERRORS`] of them.
    pub errors: Vec<UnitError>,
}

/// What the user last asked of a running job.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Wish {
    /// Go on.
    #[default]
    Run,
    /// Stop at the next checkpoint, until the job is resumed.
    Cancel,
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
    units: UnitCounts,
    tally: Tally,
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
            units: UnitCounts { total: manifest.unit_count() as u64, ..UnitCounts::default() },
            tally: Tally::zero(manifest.slaves.len()),
            errors: Vec::new(),
            updated_at: manifest.created_at.clone(),
            ended_at: None,
            taken: 0,
        }
    }

    /// Adds a unit that has a checkpoint. A unit that is not added is queued.
    pub fn add(&mut self, view: &UnitView) {
        let UnitView { checkpoint, lease } = view;
        match (&checkpoint.state, lease) {
            (State::Queued, _) | (State::Running { .. }, LeaseView::Expired) => {}
            (State::Running { .. }, LeaseView::Live) => self.units.running += 1,
            (State::Done, _) => self.units.done += 1,
            (State::Failed { error }, _) => {
                self.units.failed += 1;
                let Unit { pass, segment } = checkpoint.unit;
                if self.errors.len() < MAX_ERRORS {
                    self.errors.push(UnitError { segment, pass, error: error.clone() });
                }
            }
        }
        self.taken += 1;
        self.tally.add(&checkpoint.tally);
        if self.updated_at < checkpoint.updated_at {
            self.updated_at.clone_from(&checkpoint.updated_at);
        }
        if self.ended_at < checkpoint.ended_at {
            self.ended_at.clone_from(&checkpoint.ended_at);
        }
    }

    /// The view, given what the user last asked of the job.
    #[must_use]
    pub fn finish(self, wish: Wish) -> Summary {
        let Self { manifest, mut units, tally, errors, updated_at, ended_at, taken } = self;
        units.queued = units.total.saturating_sub(units.running + units.done + units.failed);
        let all_ended = units.done + units.failed == units.total;
        let state = match (all_ended, units.failed, wish) {
            (true, 0, _) => JobState::Succeeded,
            (true, _, _) => JobState::Failed,
            (false, _, Wish::Cancel) => JobState::Cancelled,
            (false, _, Wish::Run) if taken == 0 => JobState::Queued,
            (false, _, Wish::Run) => JobState::Running,
        };
        let labels = manifest.labels();
        let slaves =
            labels.iter().skip(1).zip(&tally.slaves).map(|(label, slave)| slave_summary(label, slave)).collect();
        Summary {
            job: manifest.job.clone(),
            kind: manifest.kind,
            state,
            units,
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
    /// Discrepancies that were not repaired, on all slaves.
    #[must_use]
    pub fn remaining(&self) -> u64 {
        self.slaves.iter().map(SlaveSummary::remaining).sum()
    }
}

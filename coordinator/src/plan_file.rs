//! The plan file of `dynamend run`: many table pairs, and what is done with each.
//!
//! A plan file of ddb-sync is one, and means the same. Our own fields come on top of it:
//!
//! ```yaml
//! concurrency: 4                 # entries at once; without it, all
//! parallel: 32                   # segments at once in this process, of all entries together
//! plan:
//!   - name: orders               # otherwise it is known by its tables
//!     input: {table: orders, region: us-west-2, role_arn: arn:aws:iam::123456789012:role/reader}
//!     outputs:                   # or `output`; region and table are the input's unless they are named
//!       - {region: us-east-2}
//!       - {table: "eu-west-1:orders", endpoint_url: "http://localhost:8000"}
//!     backfill: {total_segments: 8, only_missing: true}
//!     stream: {until_caught_up: 60}
//!     sync: {repair: true, ignore: [updatedAt]}
//!     verify: true
//!     read_capacity: 500         # or 20%; of each table, per second
//! ```
//!
//! Backfill and stream are done unless they are disabled, as in ddb-sync; in an entry with `sync`, which ddb-sync does
//! not know, only what is named is done. The steps of an entry come one after the other: backfill, stream, sync, verify.

use std::io::Read as _;
use std::path::Path;
use std::time::Duration;

use jiff::Timestamp;
use shared::domain::decide::{ExtraHandling, Policy};
use shared::domain::job::{OldImages, Side, SyncSettings};
use shared::domain::limits::Capacity;
use shared::domain::segment::SegmentSet;

use crate::failure::Failure;
use crate::live::course::StepKind;

mod entry;
mod fault;
mod fields;
mod side;
mod steps;
mod yaml;

#[cfg(test)]
mod tests;

pub use fault::{BadPlan, Fault, Place};

/// A plan that can be carried out as far as the file alone tells.
#[derive(Clone, Debug, PartialEq)]
pub struct PlanFile {
    /// Entries that are worked on at once; all when absent.
    pub concurrency: Option<u32>,
    /// Segments that this process works on at once, of all entries together.
    pub parallel: Option<u32>,
    /// What is to be done; at least one.
    pub entries: Vec<Entry>,
}

/// One table, and what becomes of its copies.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// What it is called: as the file says, or else by its tables. No two entries are called alike.
    pub name: String,
    /// Where it begins.
    pub place: Place,
    /// The table that is copied from.
    pub input: Side,
    /// The tables that are copied to; at least one.
    pub outputs: Vec<Side>,
    /// What is done, in this order; at least one step.
    pub steps: Vec<Step>,
    /// Read units per second of each table.
    pub read_capacity: Option<Capacity>,
    /// Write units per second of each table.
    pub write_capacity: Option<Capacity>,
}

/// One step of an entry.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// Copies the table as it is.
    Backfill(Backfill),
    /// Follows its changes.
    Stream(Stream),
    /// Compares, and repairs what it was asked to.
    Sync(Sync),
    /// Compares, extra items included, and writes nothing.
    Verify {
        /// Attributes and paths that do not count.
        ignore: Vec<String>,
    },
}

impl Step {
    /// Its kind.
    #[must_use]
    pub fn kind(&self) -> StepKind {
        match self {
            Self::Backfill(_) => StepKind::Backfill,
            Self::Stream(_) => StepKind::Stream,
            Self::Sync(_) => StepKind::Sync,
            Self::Verify { .. } => StepKind::Verify,
        }
    }

    /// How it compares, if it does; everything that plans do not say is as on the command line.
    #[must_use]
    pub fn comparison(&self) -> Option<SyncSettings> {
        match self {
            Self::Backfill(_) | Self::Stream(_) => None,
            Self::Sync(Sync { policy, ignore, version_attribute, old_images }) => Some(SyncSettings {
                policy: *policy,
                ignore: ignore.clone(),
                version_attribute: version_attribute.clone(),
                old_images: *old_images,
                ..SyncSettings::default()
            }),
            Self::Verify { ignore } => Some(SyncSettings {
                policy: Policy { extra: ExtraHandling::Report, ..Policy::default() },
                ignore: ignore.clone(),
                ..SyncSettings::default()
            }),
        }
    }
}

/// How the table is copied.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Backfill {
    /// Segments of the parallel scan; planned from the table's size when absent.
    pub total_segments: Option<u32>,
    /// The segments to copy; all when absent. There is a `total_segments` then, and each is below it.
    pub only_segments: Option<SegmentSet>,
    /// What becomes of items that a copy has already.
    pub existing: Existing,
}

/// What a backfill does with an item that is there already.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Existing {
    /// It is overwritten.
    #[default]
    Overwrite,
    /// It is left alone.
    Leave,
}

/// How changes are followed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stream {
    /// Where to begin.
    pub from: StreamFrom,
    /// Where to end.
    pub end: StreamEnd,
    /// The ARN of a Kinesis data stream; the table's own stream when absent.
    pub kinesis: Option<String>,
    /// The attribute that grows with every change of an item.
    pub version_attribute: Option<String>,
}

/// Where following begins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum StreamFrom {
    /// Right before the entry's backfill began; without one, at the oldest change that is still there.
    #[default]
    Backfill,
    /// At the oldest change that is still there.
    TrimHorizon,
    /// At the first change after the step began.
    Latest,
    /// At the first change that is not older.
    Time(Timestamp),
}

/// Where following ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum StreamEnd {
    /// When the program is stopped.
    #[default]
    Never,
    /// When the copies are hardly behind any more.
    CaughtUp {
        /// At most this long.
        within: Duration,
    },
}

/// How tables are compared and repaired.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sync {
    /// What is done about each kind of discrepancy.
    pub policy: Policy,
    /// Attributes and paths that do not count.
    pub ignore: Vec<String>,
    /// The attribute that holds an item's version.
    pub version_attribute: Option<String>,
    /// Whether what is overwritten or deleted is kept.
    pub old_images: OldImages,
}

/// What the command line says where the file says nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct Defaults<'a> {
    /// The region of inputs without one.
    pub region: Option<&'a str>,
    /// The profile of tables without one.
    pub profile: Option<&'a str>,
    /// The endpoint of tables without one.
    pub endpoint_url: Option<&'a str>,
    /// Who does the work.
    pub workers: Workers,
    /// Which regions there are.
    pub regions: Regions,
}

/// Who does the work of a plan.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Workers {
    /// This process.
    #[default]
    Here,
    /// Those behind a queue; they do not know the profiles of this machine.
    Fleet,
}

/// Which regions a table without an endpoint of its own may be in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Regions {
    /// Those that look like one of AWS's.
    #[default]
    OfAws,
    /// Any, for the environment names another endpoint than AWS's.
    Any,
}

impl PlanFile {
    /// Reads a plan.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn parse(bytes: &[u8], defaults: &Defaults<'_>) -> Result<Self, BadPlan> {
        let mut faults = fault::Faults::default();
        let plan = yaml::read(bytes, &mut faults).and_then(|root| entry::plan(&root, defaults, &mut faults));
        faults.judge(plan.ok())
    }

    /// Reads the plan in a file, or the one on standard input when it is called `-`.
    ///
    /// # Errors
    /// When it cannot be read, or cannot be carried out.
    pub fn load(path: &Path, defaults: &Defaults<'_>) -> Result<Self, Failure> {
        let is_stdin = path == Path::new("-");
        let name = if is_stdin { "standard input".to_owned() } else { path.display().to_string() };
        let mut bytes = Vec::new();
        // One byte more than a plan may have shows that there are more.
        let most = yaml::MAX_BYTES as u64 + 1;
        let read = if is_stdin {
            std::io::stdin().lock().take(most).read_to_end(&mut bytes)
        } else {
            std::fs::File::open(path).and_then(|file| file.take(most).read_to_end(&mut bytes))
        };
        read.map_err(|error| {
            Failure::usage(
                format!("the plan {name} cannot be read: {error}"),
                "give the path of a plan file, or - for standard input",
            )
        })?;
        Self::parse(&bytes, defaults).map_err(|bad| bad.failure(&name))
    }
}

//! The kinds of work, one folder each.

pub(crate) mod shard;
pub mod sync;
pub(crate) mod transfer;
pub mod undo;

use std::sync::Arc;

use shared::domain::job::JobKind;
use shared::domain::unit::{Pass, Unit};
use shared::journal::{JournalError, OwnedUnit};
use shared::ports::failure::Failure;
use shared::ports::queue::WorkQueue;
use tokio_util::sync::CancellationToken;

use crate::context::JobContext;

/// How a unit ended for this worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// It is finished and committed.
    Done,
    /// It was asked to stop, and everything it did is committed.
    Stopped,
}

/// Why a unit could not go on.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Stuck {
    /// A table, a stream or a store failed.
    #[error(transparent)]
    Port(#[from] Failure),
    /// The job's folder failed, or the unit was lost.
    #[error(transparent)]
    Journal(#[from] JournalError),
}

impl Stuck {
    /// What went wrong, by kind.
    #[must_use]
    pub fn kind_name(&self) -> &'static str {
        match self {
            Self::Port(failure) => failure.kind.name(),
            Self::Journal(_) => "journal",
        }
    }

    /// Whether another try may succeed.
    #[must_use]
    pub fn may_pass(&self) -> bool {
        match self {
            Self::Port(failure) => failure.may_pass(),
            Self::Journal(error) => error.may_pass(),
        }
    }
}

/// Works on one owned unit until its end, or until `stop`, which it looks at between pages.
///
/// # Errors
/// `Stuck`; everything up to the last commit stays.
pub(crate) async fn run(
    job: &Arc<JobContext>,
    owned: &OwnedUnit,
    unit: Unit,
    queue: &dyn WorkQueue,
    stop: &CancellationToken,
) -> Result<Ended, Stuck> {
    match (unit.pass, job.manifest.kind) {
        (Pass::Stream, _) => Box::pin(shard::run(job, owned, queue, stop)).await,
        (Pass::Master, JobKind::Sync) | (Pass::Slave(_), _) => Box::pin(sync::run(job, owned, stop)).await,
        (
            Pass::Master,
            JobKind::Backfill
            | JobKind::Replicate
            | JobKind::Backup
            | JobKind::Incremental
            | JobKind::Snapshot
            | JobKind::Restore
            | JobKind::Verify,
        ) => Box::pin(transfer::run(job, owned, stop)).await,
    }
}

//! What can go wrong with a job's folder.

use crate::domain::unit::Unit;
use crate::ports::failure::Failure;

/// A failure of the journal.
#[derive(Clone, Debug, thiserror::Error)]
pub enum JournalError {
    /// A job of this id is there already; nothing was changed.
    #[error("there is a job `{job}` already, at {url}")]
    JobExists {
        /// The id.
        job: String,
        /// Its manifest.
        url: String,
    },
    /// There is no such job.
    #[error("there is no job `{job}`: nothing is at {url}")]
    NoSuchJob {
        /// The id.
        job: String,
        /// Where its manifest would be.
        url: String,
    },
    /// No other job can go on where this one stood.
    #[error("no job can go on from job `{job}`: {what}")]
    NothingToGoOnFrom {
        /// The id.
        job: String,
        /// Why not.
        what: String,
    },
    /// Another worker took the unit over; whoever gets this writes nothing more.
    #[error("unit {unit} was taken over by another worker")]
    Lost {
        /// The unit.
        unit: Unit,
    },
    /// A file of the job cannot be understood.
    #[error("{url} is damaged: {what}")]
    Damaged {
        /// The file.
        url: String,
        /// What is wrong with it.
        what: String,
    },
    /// The store failed.
    #[error(transparent)]
    Store(#[from] Failure),
}

impl JournalError {
    /// Whether the same call may succeed later.
    #[must_use]
    pub fn may_pass(&self) -> bool {
        match self {
            Self::Store(failure) => failure.may_pass(),
            Self::JobExists { .. }
            | Self::NoSuchJob { .. }
            | Self::NothingToGoOnFrom { .. }
            | Self::Lost { .. }
            | Self::Damaged { .. } => false,
        }
    }
}

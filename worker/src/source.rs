//! Where a job reads items in batches: the master's segments, files of many items, objects of one item each.

mod files;
pub(crate) mod found;
mod items;
mod scan;

use std::sync::Arc;

use shared::domain::backup::{BackupTally, Holds, ItemFile, SourceSettings};
use shared::domain::checkpoint::{Position, Reached};
use shared::domain::unit::Unit;
use shared::domain::value::Item;
use shared::journal::{Journal, JournalError};
use shared::ports::objects::ObjectStore;

pub use items::just_before;

use crate::context::{CannotOpen, JobContext};
use crate::environment::Environment;
use crate::jobs::Stuck;

/// A backup that is read, opened.
#[derive(Clone)]
pub struct Source {
    store: Arc<dyn ObjectStore>,
    held: Held,
}

#[derive(Clone)]
enum Held {
    Files(Arc<[ItemFile]>),
    Items { as_of: Option<jiff::Timestamp> },
}

/// What was read at once.
#[derive(Default)]
pub(crate) struct Batch {
    /// The items.
    pub(crate) items: Vec<Item>,
    /// Where the unit stands once they are where they belong.
    pub(crate) next: Position,
    /// Read units of the master.
    pub(crate) read_units: f64,
    /// What was met besides.
    pub(crate) met: BackupTally,
    /// What is to be named in the list of what was left out, and why.
    pub(crate) left_out: Vec<String>,
}

/// A unit's reading, from its position on.
pub(crate) enum Reading<'a> {
    Scan(scan::Scan<'a>),
    Files(Box<files::Files<'a>>),
    Items(Box<items::Items<'a>>),
}

impl Source {
    /// Opens the store, and reads which files there are.
    ///
    /// # Errors
    /// When the store cannot be opened, or the job's folder cannot be read.
    pub(crate) async fn open(
        environment: &Environment,
        settings: &SourceSettings,
        journal: &Journal,
    ) -> Result<Self, CannotOpen> {
        let store = environment.place(&settings.at).await?;
        let held = match &settings.holds {
            Holds::Files { .. } => Held::Files(journal.files().await?.into()),
            Holds::Items { as_of_ms } => {
                let as_of = as_of_ms.and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok());
                Held::Items { as_of }
            }
        };
        Ok(Self { store, held })
    }
}

impl<'a> Reading<'a> {
    /// Goes on where a unit stands.
    ///
    /// # Errors
    /// `Damaged`, when the position is none of this kind of reading.
    pub(crate) fn begin(job: &'a JobContext, unit: Unit, position: &Position) -> Result<Self, Stuck> {
        let schema = &job.manifest.key_schema;
        let odd = || {
            let what = "its position is not one of this kind of job".to_owned();
            Stuck::from(JournalError::Damaged { url: format!("checkpoint of {unit}"), what })
        };
        Ok(match &job.source {
            None => Self::Scan(scan::Scan::begin(job, unit, position).map_err(|_| odd())?),
            Some(Source { store, held: Held::Files(files) }) => {
                let (file, lines) = match position {
                    Position::Start => (0, 0),
                    Position::Source(Reached::File { file, lines }) => (*file, *lines),
                    _ => return Err(odd()),
                };
                let stride = u64::from(job.manifest.total_segments);
                let own = Own { first: unit.segment.into(), stride };
                Self::Files(Box::new(files::Files::begin(&**store, files, own, (file, lines), schema, job.retry)))
            }
            Some(Source { store, held: Held::Items { as_of } }) => {
                let after = match position {
                    Position::Start => None,
                    Position::Source(Reached::Object(name)) => Some(name.clone()),
                    _ => return Err(odd()),
                };
                let range = items::Range::of(unit.segment, job.manifest.total_segments);
                Self::Items(Box::new(items::Items::begin(&**store, job.retry, schema, *as_of, range, after)))
            }
        })
    }

    /// The next items; none at the end. There may be no items in a batch though more follow.
    ///
    /// # Errors
    /// The master's or the store's; `Invalid`, when what is read is no backup.
    pub(crate) async fn next(&mut self) -> Result<Option<Batch>, Stuck> {
        match self {
            Self::Scan(scan) => scan.next().await,
            Self::Files(files) => Ok(files.next().await?),
            Self::Items(items) => Ok(items.next().await?),
        }
    }
}

/// The files that one unit reads: every so many, from one on.
#[derive(Clone, Copy)]
struct Own {
    first: u64,
    stride: u64,
}

impl Own {
    /// The unit's n-th file among all.
    fn nth(self, n: u64) -> Option<usize> {
        usize::try_from(n.checked_mul(self.stride)?.checked_add(self.first)?).ok()
    }
}

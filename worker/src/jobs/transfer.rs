//! One unit that moves items: from where they are read to a full backup or a table, batch by batch; or holds a table
//! against them.

mod archive;
mod compare;
mod restore;

pub(crate) use archive::DATA;

use std::sync::Arc;

use shared::domain::backup::StoredObject;
use shared::domain::checkpoint::Position;
use shared::domain::discrepancy::Discrepancy;
use shared::domain::job::JobKind;
use shared::domain::rejected::Rejected;
use shared::domain::tally::Tally;
use shared::domain::unit::Unit;
use shared::domain::value::Item;
use shared::journal::{OwnedUnit, Packed, Step};
use tokio_util::sync::CancellationToken;

use super::{Ended, Stuck};
use crate::context::JobContext;
use crate::source::{Batch, Reading};

/// Where items go.
enum Sink<'a> {
    Archive(Box<archive::Archive<'a>>),
    Restore(restore::Restore<'a>),
    Compare(compare::Compare<'a>),
}

/// What has to be committed before anything counts.
#[derive(Default)]
struct Outcome {
    tally: Tally,
    lines: Vec<Discrepancy>,
    rejected: Vec<Rejected>,
    objects: Vec<StoredObject>,
}

/// Moves items from the position to the end of the unit, or until `stop`.
///
/// # Errors
/// `Stuck`; everything up to the last commit stays.
pub(crate) async fn run(job: &Arc<JobContext>, owned: &OwnedUnit, stop: &CancellationToken) -> Result<Ended, Stuck> {
    let checkpoint = owned.checkpoint().await;
    let unit = checkpoint.unit;
    let mut transfer = Transfer {
        job,
        owned,
        unit,
        sink: Sink::of(job, owned, unit, checkpoint.generation),
        position: checkpoint.position,
        tally: checkpoint.tally,
        lines: Packed::default(),
        rejected: Packed::default(),
        objects: Vec::new(),
    };
    let ended = transfer.run(stop).await;
    if ended.is_err() {
        transfer.sink.give_up().await;
    }
    ended
}

struct Transfer<'a> {
    job: &'a Arc<JobContext>,
    owned: &'a OwnedUnit,
    unit: Unit,
    sink: Sink<'a>,
    position: Position,
    tally: Tally,
    lines: Packed<Discrepancy>,
    rejected: Packed<Rejected>,
    objects: Vec<StoredObject>,
}

/// Whether more follows a commit.
enum Commit {
    More,
    Last,
}

impl Transfer<'_> {
    async fn run(&mut self, stop: &CancellationToken) -> Result<Ended, Stuck> {
        if self.position == Position::End {
            self.commit(Commit::Last).await?;
            return Ok(Ended::Done);
        }
        let mut reading = Reading::begin(self.job, self.unit, &self.position)?;
        let mut upcoming = if stop.is_cancelled() { None } else { reading.next().await? };
        loop {
            let Some(batch) = upcoming.take() else {
                if stop.is_cancelled() && self.position != Position::End {
                    return self.stop().await;
                }
                self.position = Position::End;
                self.commit(Commit::Last).await?;
                return Ok(Ended::Done);
            };
            let more = async { if stop.is_cancelled() { Ok(None) } else { reading.next().await } };
            let Batch { items, next, read_units, met, left_out } = batch;
            let read = items.len() as u64;
            let (outcome, more) = futures::future::join(self.sink.take(items), more).await;
            self.add(outcome?);
            self.tally.scanned[0] += read;
            self.tally.consumed[0].read += read_units;
            self.tally.backup.add(&met);
            self.job.meter.add_scanned(read);
            self.note(left_out);
            self.position = next;
            let more = match more {
                Ok(more) => more,
                Err(stuck) => {
                    // What was read before that is not to be read again.
                    self.commit(Commit::More).await?;
                    return Err(stuck);
                }
            };
            if stop.is_cancelled() && more.is_none() && self.position != Position::End {
                return self.stop().await;
            }
            if self.sink.is_due() {
                self.commit(Commit::More).await?;
            }
            upcoming = more;
        }
    }

    async fn stop(&mut self) -> Result<Ended, Stuck> {
        self.commit(Commit::More).await?;
        Ok(Ended::Stopped)
    }

    fn add(&mut self, outcome: Outcome) {
        let Outcome { tally, lines, rejected, objects } = outcome;
        self.tally.add(&tally);
        tally.consumed.iter().for_each(|consumed| self.job.meter.add_write_units(consumed.write));
        lines.iter().for_each(|line| self.lines.push(line));
        rejected.iter().for_each(|line| self.rejected.push(line));
        self.objects.extend(objects);
    }

    fn note(&mut self, left_out: Vec<String>) {
        let at = format!("{:.3}", jiff::Timestamp::now());
        for error in left_out {
            let Unit { pass, segment } = self.unit;
            let (shard, sequence, slave, key) = (None, None, None, None);
            self.rejected.push(&Rejected { pass, segment, shard, sequence, slave, key, error, at: at.clone() });
        }
    }

    async fn commit(&mut self, how: Commit) -> Result<(), Stuck> {
        let closed = self.sink.close().await?;
        self.add(closed);
        let step = Step {
            position: self.position.clone(),
            tally: self.tally.clone(),
            lines: std::mem::take(&mut self.lines),
            rejected: std::mem::take(&mut self.rejected),
            objects: std::mem::take(&mut self.objects),
            ..Step::default()
        };
        match how {
            Commit::More => self.owned.commit(step).await?,
            Commit::Last => self.owned.finish(step).await?,
        }
        Ok(())
    }
}

impl<'a> Sink<'a> {
    fn of(job: &'a Arc<JobContext>, owned: &'a OwnedUnit, unit: Unit, take: u64) -> Self {
        match (&job.archive, job.manifest.kind) {
            (Some(store), _) => Self::Archive(Box::new(archive::Archive::new(job, owned, &**store, unit, take))),
            (None, JobKind::Verify) => Self::Compare(compare::Compare::new(job, unit)),
            (None, _) => Self::Restore(restore::Restore::new(job, owned, unit)),
        }
    }

    async fn take(&mut self, items: Vec<Item>) -> Result<Outcome, Stuck> {
        match self {
            Self::Archive(archive) => archive.take(items).await,
            Self::Restore(restore) => restore.take(items).await,
            Self::Compare(compare) => compare.take(items).await,
        }
    }

    /// Whether what was taken is to be committed now.
    fn is_due(&self) -> bool {
        match self {
            Self::Archive(archive) => archive.is_due(),
            Self::Restore(restore) => restore.committed.is_due(),
            Self::Compare(compare) => compare.committed.is_due(),
        }
    }

    /// Makes all that was taken fit to be committed.
    async fn close(&mut self) -> Result<Outcome, Stuck> {
        match self {
            Self::Archive(archive) => archive.close().await,
            Self::Restore(restore) => {
                restore.committed.now();
                Ok(Outcome::none(restore.slaves()))
            }
            Self::Compare(compare) => {
                compare.committed.now();
                Ok(Outcome::none(compare.slaves()))
            }
        }
    }

    /// Lets go of what was begun.
    async fn give_up(&mut self) {
        if let Self::Archive(archive) = self {
            archive.give_up().await;
        }
    }
}

impl Outcome {
    fn none(slaves: usize) -> Self {
        Self { tally: Tally::zero(slaves), ..Self::default() }
    }
}

/// When the last commit was.
struct Committed(tokio::time::Instant);

impl Committed {
    /// Longest time between two commits while batches come in; what lies behind the last one is done again after a
    /// crash.
    const EVERY: std::time::Duration = std::time::Duration::from_secs(2);

    fn just() -> Self {
        Self(tokio::time::Instant::now())
    }

    fn now(&mut self) {
        *self = Self::just();
    }

    fn is_due(&self) -> bool {
        self.0.elapsed() >= Self::EVERY
    }
}

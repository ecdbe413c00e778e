//! How a running job comes onto the board: counts from its folder, and, while it is done here, rates from this
//! process's meter.

use std::convert::Infallible;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::TryStreamExt as _;
use shared::domain::job::{JobKind, Manifest};
use shared::domain::shards::Gate;
use shared::domain::summary::{Fold, JobState, Summary};
use shared::domain::tally::Tally;
use shared::domain::unit::Pass;
use shared::journal::{Journal, JournalError};
use shared::pacing::{Meter, Reading};
use tokio_util::sync::CancellationToken;
use worker::following::behind;

use crate::live::board::Board;
use crate::live::course::{Early, StepKind};
use crate::live::due::TABLE_EVERY;
use crate::live::tracked::{Sample, Size};
use crate::progress::Show;

/// How often a job's folder is read; with many units reading takes longer, and then it is read less often.
const FOLDER_EVERY: Duration = Duration::from_secs(3);

/// Times longer than one reading of the folder that passes until the next.
const READING_SHARE: u32 = 4;

/// How long a job may stand still before that is said.
const STANDSTILL: Duration = Duration::from_secs(180);

/// A job that is watched as one entry of a board. Its first step must have begun there.
pub struct Watched<'a> {
    board: &'a Board,
    entry: usize,
    journal: &'a Journal,
    manifest: &'a Manifest,
    meter: Option<Arc<Meter>>,
    /// The step at work, what its checkpoints said last, and what the meter said when it began.
    step: StepKind,
    sample: Sample,
    began: Reading,
}

/// What a job's folder says, by what the job does.
struct Look {
    summary: Summary,
    /// The copying, or the comparison.
    first: Sample,
    /// The following, once it has begun.
    following: Option<Sample>,
}

impl<'a> Watched<'a> {
    /// A job, and the step of its entry with which it begins.
    pub fn new(
        board: &'a Board,
        entry: usize,
        (journal, manifest): (&'a Journal, &'a Manifest),
        step: StepKind,
        meter: Option<Arc<Meter>>,
    ) -> Self {
        if let Some(size) = manifest.master.size {
            board.describe(entry, Size { items: size.items, bytes: size.bytes });
        }
        let began = meter.as_ref().map(|meter| meter.read()).unwrap_or_default();
        Self { board, entry, journal, manifest, meter, step, sample: Sample::default(), began }
    }

    /// Keeps the board up to date until the work is over.
    pub async fn during<T>(&mut self, work: impl Future<Output = T>) -> T {
        let done = {
            let (work, looking) = (pin!(work), pin!(self.keep_looking()));
            tokio::select! {
                done = work => done,
                never = looking => match never {},
            }
        };
        // The board is for looking at: what is wrong with the folder is the work's to say.
        let _ = self.look().await;
        done
    }

    /// Keeps the board up to date until the job has ended or `stop`; returns the last look.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub async fn until_ended(&mut self, stop: &CancellationToken) -> Result<Summary, JournalError> {
        let mut moved = (Instant::now(), String::new());
        loop {
            let asked = Instant::now();
            let summary = self.look().await?;
            if summary.updated_at != moved.1 || summary.units.running > 0 {
                moved = (asked, summary.updated_at.clone());
            } else if moved.0.elapsed() >= STANDSTILL && !summary.state.has_ended() {
                moved.0 = asked;
                self.board.say(format!(
                    "job {}: nothing has moved for {} minutes, and no worker has any of it; if workers are running, \
                     its messages may be in the dead-letter queue: dynamend resume {}",
                    summary.job,
                    STANDSTILL.as_secs() / 60,
                    summary.job
                ));
            }
            if summary.state.has_ended() || stop.is_cancelled() {
                return Ok(summary);
            }
            tokio::select! {
                () = tokio::time::sleep(FOLDER_EVERY.max(asked.elapsed() * READING_SHARE)) => {}
                () = stop.cancelled() => {}
            }
        }
    }

    async fn keep_looking(&mut self) -> Infallible {
        loop {
            let asked = Instant::now();
            if let Err(error) = self.look().await {
                tracing::debug!(job = self.manifest.job, %error, "the job's folder cannot be shown now");
            }
            let next = Instant::now() + FOLDER_EVERY.max(asked.elapsed() * READING_SHARE);
            while Instant::now() < next {
                tokio::time::sleep(TABLE_EVERY).await;
                self.show();
            }
        }
    }

    /// Reads the folder and shows what it says.
    async fn look(&mut self) -> Result<Summary, JournalError> {
        let Look { summary, first, following } = look(self.journal, self.manifest).await?;
        let Some(following) = following else {
            self.sample = first;
            self.show();
            return Ok(summary);
        };
        if self.step != StepKind::Stream {
            self.board.take(self.entry, self.step, first);
            self.step = StepKind::Stream;
            self.board.begin(self.entry, self.step);
            self.began = self.meter.as_ref().map(|meter| meter.read()).unwrap_or_default();
        }
        self.sample = following;
        self.show();
        Ok(summary)
    }

    /// Shows the step at work; what the meter counts comes at every moment, what the folder counts at every commit.
    fn show(&self) {
        let mut sample = self.sample;
        if let Some(meter) = &self.meter {
            let (now, began) = (meter.read(), self.began);
            sample.read = now.scanned.saturating_sub(began.scanned);
            sample.read_units = (now.read_units - began.read_units).max(0.0);
            sample.write_units = (now.write_units - began.write_units).max(0.0);
        }
        self.board.take(self.entry, self.step, sample);
    }
}

/// Shows a job that copies or follows, and is done in this process, on a board of its own.
///
/// # Errors
/// The work's.
pub async fn work<E>(
    show: Show,
    job: (&Journal, &Manifest),
    meter: Arc<Meter>,
    work: impl Future<Output = Result<Summary, E>>,
) -> Result<Summary, E> {
    let (board, step) = board_of(job.1);
    board.shown(show, alone(&board, Watched::new(&board, 0, job, step, Some(meter)).during(work))).await
}

/// Shows a job that copies or follows, and is done elsewhere, until it has ended or `stop`; returns the last look.
///
/// # Errors
/// When the folder cannot be read.
pub async fn folder(show: Show, job: (&Journal, &Manifest), stop: &CancellationToken) -> Result<Summary, JournalError> {
    let (board, step) = board_of(job.1);
    board.shown(show, alone(&board, Watched::new(&board, 0, job, step, None).until_ended(stop))).await
}

/// A board with one job, which has begun its first step.
fn board_of(manifest: &Manifest) -> (Board, StepKind) {
    let mut steps = Vec::from_iter(manifest.backfill.map(|_| StepKind::Backfill));
    steps.extend(manifest.replicate.as_ref().map(|_| StepKind::Stream));
    let first = steps.first().copied().unwrap_or(StepKind::Sync);
    let slaves: Vec<String> = manifest.slaves.iter().map(|slave| slave.table.to_string()).collect();
    let board = Board::new([(format!("{} -> {}", manifest.master.table, slaves.join(", ")), steps)]);
    board.begin(0, first);
    (board, first)
}

/// Ends the one entry of a board as its job does.
async fn alone<E>(board: &Board, work: impl Future<Output = Result<Summary, E>>) -> Result<Summary, E> {
    let ended = work.await;
    match ended.as_ref().map(|summary| summary.state) {
        Ok(JobState::Succeeded) => board.finish(0),
        Ok(JobState::Failed) | Err(_) => board.end(0, Early::Failed),
        Ok(_) => board.end(0, Early::Stopped),
    }
    ended
}

async fn look(journal: &Journal, manifest: &Manifest) -> Result<Look, JournalError> {
    let control = journal.control().await?;
    let shards = journal.shards_of(manifest).await?;
    let mut fold = Fold::new(manifest);
    let mut of_tables = Tally::zero(manifest.slaves.len());
    let mut of_stream = of_tables.clone();
    if let Some(shards) = &shards {
        fold = fold.with_shards(shards);
        shards.retired.iter().for_each(|retired| of_stream.add(&retired.tally));
    }
    let mut looks = pin!(journal.look(manifest));
    while let Some((unit, view)) = looks.try_next().await? {
        let of_stream_unit = unit.pass == Pass::Stream;
        // One that became known since the shards were read is for the next look.
        let is_known = !of_stream_unit || shards.as_ref().is_some_and(|shards| shards.get(unit.segment).is_some());
        if let Some(view) = view.filter(|_| is_known) {
            if of_stream_unit { &mut of_stream } else { &mut of_tables }.add(&view.checkpoint.tally);
            fold.add(&view);
        }
    }
    let summary = fold.finish(&control);
    let caught_up_to_ms = summary.replication.as_ref().and_then(|replication| replication.caught_up_to_ms);
    let mut first = sample(&of_tables);
    first.read = match manifest.kind {
        JobKind::Sync => of_tables.scanned.iter().sum(),
        JobKind::Backfill
        | JobKind::Replicate
        | JobKind::Backup
        | JobKind::Incremental
        | JobKind::Snapshot
        | JobKind::Restore
        | JobKind::Verify => of_tables.scanned.first().copied().unwrap_or(0),
    };
    let is_following = shards.is_some_and(|shards| shards.gate == Gate::Open);
    let following = is_following.then(|| Sample {
        read: of_stream.stream.records,
        lag: caught_up_to_ms.map(behind),
        ..sample(&of_stream)
    });
    Ok(Look { summary, first, following })
}

/// What a tally says of a step, but for what the step reads.
fn sample(tally: &Tally) -> Sample {
    let of_backup = tally.stream.backed_up + tally.stream.unbacked;
    Sample {
        written: of_backup + tally.slaves.iter().map(|slave| slave.written + slave.deleted).sum::<u64>(),
        found: tally.slaves.iter().map(|slave| slave.missing + slave.differing + slave.extra).sum(),
        read_units: tally.consumed.iter().map(|consumed| consumed.read).sum(),
        write_units: tally.consumed.iter().map(|consumed| consumed.write).sum(),
        ..Sample::default()
    }
}

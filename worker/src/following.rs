//! A stream's shards as a job goes through them: which there are, which come next, when all of them are caught up with.

use std::collections::BTreeSet;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use shared::domain::checkpoint::{Checkpoint, Position, State};
use shared::domain::control::Wish;
use shared::domain::job::Manifest;
use shared::domain::overlap::SKEW_MS;
use shared::domain::position::{Reach, ShardPosition, Start};
use shared::domain::shards::{Gate, News, Shards, Stage};
use shared::domain::tally::Tally;
use shared::domain::unit::{Pass, Unit};
use shared::journal::{Journal, JournalError};
use shared::ports::queue::{MAX_MESSAGES_PER_BATCH, WorkQueue};
use shared::ports::stream::{ChangeStream, Shard};
use shared::retry::{self, RetryPolicy};
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::Instant;

use crate::context::JobContext;
use crate::jobs::Stuck;

/// Pages of records in hand at once, of all shards of a job that a worker follows. Each takes up to 1 MB as it comes.
const PAGES_AT_ONCE: usize = 8;

/// How often a worker looks for shards that it does not know; the end of a shard shows its children at once.
const LOOK_FOR_SHARDS_EVERY: Duration = Duration::from_secs(60);

/// How often a worker looks whether all shards are caught up with.
const LOOK_AT_ALL_EVERY: Duration = Duration::from_secs(3);

/// Times longer than such a look that passes until the next.
const LOOKING_SHARE: u32 = 4;

/// Checkpoints read at once when a job is taken up.
const READS_AT_ONCE: usize = 32;

/// Shards at once of which only the counts are kept.
const RETIRED_AT_ONCE: usize = 100;

/// What a worker shares among the shards of one job.
pub struct Following {
    pages: Semaphore,
    finishing: AtomicBool,
    looked_for_shards: Mutex<Instant>,
    look_at_all: Mutex<Instant>,
}

impl Default for Following {
    fn default() -> Self {
        let now = Instant::now();
        Self {
            pages: Semaphore::new(PAGES_AT_ONCE),
            finishing: AtomicBool::new(false),
            looked_for_shards: Mutex::new(now),
            look_at_all: Mutex::new(now),
        }
    }
}

impl Following {
    /// Waits until a page may be held.
    pub(crate) async fn turn(&self) -> Option<SemaphorePermit<'_>> {
        self.pages.acquire().await.ok()
    }

    /// Takes up what is asked of the job.
    pub(crate) fn heed(&self, wish: Wish) {
        self.finishing.store(wish == Wish::Finish, Ordering::Relaxed);
    }

    /// Whether shards end where they are caught up with.
    pub(crate) fn is_finishing(&self) -> bool {
        self.finishing.load(Ordering::Relaxed)
    }

    /// True once every so often, for one of the shards.
    pub(crate) fn is_time_for_shards(&self) -> bool {
        let mut looked = self.looked_for_shards.lock().unwrap_or_else(PoisonError::into_inner);
        let is_time = looked.elapsed() >= LOOK_FOR_SHARDS_EVERY;
        if is_time {
            *looked = Instant::now();
        }
        is_time
    }

    fn is_time_for_all(&self) -> bool {
        let mut next = self.look_at_all.lock().unwrap_or_else(PoisonError::into_inner);
        let is_time = Instant::now() >= *next;
        if is_time {
            *next = Instant::now() + LOOK_AT_ALL_EVERY;
        }
        is_time
    }

    fn looked_at_all_for(&self, took: Duration) {
        let mut next = self.look_at_all.lock().unwrap_or_else(PoisonError::into_inner);
        *next = (*next).max(Instant::now() + took * LOOKING_SHARE);
    }
}

/// All shards that a stream lists now.
///
/// # Errors
/// The stream's.
pub async fn list(stream: &dyn ChangeStream, policy: RetryPolicy) -> Result<Vec<Shard>, Stuck> {
    let mut shards = Vec::new();
    let mut after = None;
    loop {
        let page = retry::call(policy, || stream.shards(after.as_deref())).await?;
        shards.extend(page.shards);
        match page.next {
            Some(next) => after = Some(next),
            None => return Ok(shards),
        }
    }
}

/// Makes all shards known that the stream lists, and keeps only the counts of those that it has forgotten.
///
/// # Errors
/// The stream's, or the job's folder's.
pub(crate) async fn discover(job: &JobContext, stream: &dyn ChangeStream) -> Result<Shards, Stuck> {
    let listed = list(stream, job.retry).await?;
    let add_all = |shards: &mut Shards| {
        listed.iter().try_for_each(|shard| shards.add(&shard.id, &shard.parents, Start::TrimHorizon))
    };
    let (shards, ()) = job.journal.change_shards(add_all).await?;
    let ids: BTreeSet<&str> = listed.iter().map(|shard| shard.id.as_str()).collect();
    let outlived: Vec<u32> = shards.outlived(&ids).map(|shard| shard.number).take(RETIRED_AT_ONCE).collect();
    if outlived.is_empty() {
        return Ok(shards);
    }
    let mut retired: Vec<(u32, Option<Tally>)> = Vec::new();
    for segment in outlived {
        let view = job.journal.view(Unit { pass: Pass::Stream, segment }).await?;
        match view.map(|view| view.checkpoint) {
            // It has more to tell than counts.
            Some(checkpoint) if !checkpoint.rejected.is_empty() || has_gaps(&checkpoint.position) => {}
            checkpoint => retired.push((segment, checkpoint.map(|checkpoint| checkpoint.tally))),
        }
    }
    let retire_all = |shards: &mut Shards| {
        retired.iter().for_each(|(number, tally)| shards.retire(*number, tally.as_ref()));
        Ok(())
    };
    Ok(job.journal.change_shards(retire_all).await?.0)
}

fn has_gaps(position: &Position) -> bool {
    matches!(position, Position::Shard(position) if !position.gaps.is_empty())
}

/// Sends messages for all shards whose turn has come, and says how many there were; none of a job that follows nothing.
///
/// Nothing comes back to whoever dies here, so the messages are sent before that is noted; of two who hand out at once
/// both may send one. Where many do, at the ends of shards, each is taken first: see [`Shards::take`].
///
/// # Errors
/// The queue's, or the job's folder's.
pub async fn hand_out(journal: &Journal, manifest: &Manifest, queue: &dyn WorkQueue) -> Result<usize, Stuck> {
    let numbers = journal.shards_of(manifest).await?.map(|shards| shards.available()).unwrap_or_default();
    send(journal, manifest, queue, &numbers).await?;
    if !numbers.is_empty() {
        let note = |shards: &mut Shards| {
            shards.hand_out(&numbers);
            Ok(())
        };
        journal.change_shards(note).await?;
    }
    Ok(numbers.len())
}

async fn send(journal: &Journal, manifest: &Manifest, queue: &dyn WorkQueue, numbers: &[u32]) -> Result<(), Stuck> {
    let url = journal.manifest_url();
    for batch in numbers.chunks(MAX_MESSAGES_PER_BATCH) {
        let message = |&segment: &u32| manifest.message(&url, Unit { pass: Pass::Stream, segment }).to_body();
        let bodies = batch.iter().map(message).collect();
        retry::send_all(queue, RetryPolicy::default(), bodies, Duration::ZERO).await?;
    }
    Ok(())
}

/// Sends the messages of shards that were taken by someone who may have died before sending them: those that nobody has
/// begun with. Two messages for one shard do no harm, the second finds it taken.
async fn send_again(
    journal: &Journal,
    manifest: &Manifest,
    queue: &dyn WorkQueue,
    taken: Vec<u32>,
) -> Result<(), Stuck> {
    let mut untouched = Vec::new();
    for segment in taken {
        if journal.view(Unit { pass: Pass::Stream, segment }).await?.is_none() {
            untouched.push(segment);
        }
    }
    send(journal, manifest, queue, &untouched).await
}

/// Notes that a shard has ended, and hands out its children. Its message must not be settled before: when it comes back,
/// this finds the end known and sends again what may not have been sent.
///
/// # Errors
/// As for [`hand_out`].
pub(crate) async fn go_on_after(job: &JobContext, unit: Unit, queue: &dyn WorkQueue) -> Result<(), Stuck> {
    if unit.pass != Pass::Stream {
        return Ok(());
    }
    let (numbers, taken) = complete(&job.journal, unit).await?;
    send_again(&job.journal, &job.manifest, queue, taken).await?;
    send(&job.journal, &job.manifest, queue, &numbers).await
}

/// Notes that a shard has ended. What was read from the master for it may be later than what its children tell, and so
/// what it had in doubt at its end is in doubt for them too.
///
/// Takes the shards whose turn has come by it; of an end that was told before also says which children were taken then.
async fn complete(journal: &Journal, unit: Unit) -> Result<(Vec<u32>, Vec<u32>), JournalError> {
    let in_doubt_until_ms = match journal.view(unit).await?.map(|view| view.checkpoint.position) {
        Some(Position::Shard(position)) => position.in_doubt_until_ms,
        _ => i64::MIN,
    };
    let complete = |shards: &mut Shards| {
        let taken = match shards.complete(unit.segment)? {
            News::New => Vec::new(),
            News::Known => shards.taken(Some(unit.segment)),
        };
        shards.in_doubt_until_ms = shards.in_doubt_until_ms.max(in_doubt_until_ms);
        Ok((shards.take(), taken))
    };
    Ok(journal.change_shards(complete).await?.1)
}

/// Notes the end of all shards whose workers died, with their messages, before they did; takes the shards whose turn has
/// come by it.
async fn complete_all(journal: &Journal, shards: &Shards) -> Result<Vec<u32>, JournalError> {
    let mut numbers = Vec::new();
    let handed_out = shards.shards.iter().filter(|shard| shard.stage == Stage::HandedOut);
    let units: Vec<Unit> = handed_out.map(|shard| Unit { pass: Pass::Stream, segment: shard.number }).collect();
    let looks = units.into_iter().map(|unit| async move { Ok::<_, JournalError>((unit, journal.view(unit).await?)) });
    let looks: Vec<_> = looks.collect();
    let mut looks = pin!(stream::iter(looks).buffered(READS_AT_ONCE));
    while let Some((unit, view)) = looks.try_next().await? {
        if view.is_some_and(|view| view.checkpoint.state == State::Done) {
            numbers.extend(complete(journal, unit).await?.0);
        }
    }
    Ok(numbers)
}

/// Begins to follow once the backfill has ended. What it copied may be later than changes that are still to be read.
///
/// Again, it sends what may not have been sent the first time.
///
/// # Errors
/// As for [`hand_out`].
pub(crate) async fn begin(journal: &Journal, manifest: &Manifest, queue: &dyn WorkQueue) -> Result<(), Stuck> {
    let now_ms = crate::clock::now_ms();
    let open = |shards: &mut Shards| {
        let taken = match shards.gate {
            Gate::Open => shards.taken(None),
            Gate::Closed => {
                shards.gate = Gate::Open;
                shards.in_doubt_until_ms = shards.in_doubt_until_ms.max(now_ms.saturating_add(SKEW_MS));
                Vec::new()
            }
        };
        Ok((shards.take(), taken))
    };
    let (_, (numbers, taken)) = journal.change_shards(open).await?;
    send_again(journal, manifest, queue, taken).await?;
    send(journal, manifest, queue, &numbers).await
}

/// Hands out what waits for nothing any more, in a job that is taken up: its shards, once all of its segments are done.
///
/// # Errors
/// As for [`hand_out`].
pub async fn take_up(journal: &Journal, manifest: &Manifest, queue: &dyn WorkQueue) -> Result<(), Stuck> {
    let Some(shards) = journal.shards_of(manifest).await? else { return Ok(()) };
    if shards.gate == Gate::Open {
        let numbers = complete_all(journal, &shards).await?;
        send(journal, manifest, queue, &numbers).await?;
        hand_out(journal, manifest, queue).await?;
        return Ok(());
    }
    let survey = journal.survey(manifest).await?;
    match survey.unfinished {
        Some(Unit { pass: Pass::Stream, .. }) if survey.summary.units.failed == 0 => {
            begin(journal, manifest, queue).await
        }
        _ => Ok(()),
    }
}

/// Looks, every now and then, whether all shards are less than this far behind; if so, asks all workers to end there.
///
/// # Errors
/// The job's folder's.
pub(crate) async fn finish_if_caught_up(job: &JobContext, bound: Duration) -> Result<(), JournalError> {
    if !job.following.is_time_for_all() {
        return Ok(());
    }
    let began = Instant::now();
    let summary = job.journal.summary(&job.manifest).await?;
    job.following.looked_at_all_for(began.elapsed());
    let caught_up_to_ms = summary.replication.and_then(|replication| replication.caught_up_to_ms);
    let is_caught_up = caught_up_to_ms.is_some_and(|caught_up_to_ms| behind(caught_up_to_ms) <= bound);
    // With a shard that failed the job never is; the others end where they are, and the job fails.
    if is_caught_up || summary.units.failed > 0 {
        let finish = |control: &mut shared::domain::control::Control| {
            if control.wish == Wish::Run {
                control.wish = Wish::Finish;
            }
        };
        job.journal.change_control(finish).await?;
        job.following.heed(Wish::Finish);
    }
    Ok(())
}

/// Whether a shard ended where it was caught up, and not at its own end. It stays there; so where one did, the others of
/// its job have to end like it, or the job as a whole is never caught up.
#[must_use]
pub fn ended_caught_up(checkpoint: &Checkpoint) -> bool {
    let is_open = matches!(&checkpoint.position, Position::Shard(ShardPosition { reach: Reach::Open, .. }));
    is_open && checkpoint.state == State::Done
}

/// How long ago this was.
pub fn behind(time_ms: i64) -> Duration {
    let now_ms = crate::clock::now_ms();
    Duration::from_millis(u64::try_from(now_ms.saturating_sub(time_ms)).unwrap_or(0))
}

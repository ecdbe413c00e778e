//! One shard of a stream: read a page, apply it to the slaves, commit how far that is; and wait, where nothing comes.
//!
//! What is committed never claims more than what is on the slaves. What is on the slaves may be more than what is
//! committed: so before the first change is applied, it is committed that this may be so, and whoever takes the shard
//! over after a crash asks the master about every change that was made before that.

use std::sync::Arc;
use std::time::Duration;

use shared::domain::checkpoint::Position;
use shared::domain::follow::Batch;
use shared::domain::job::{Ends, ReplicateSettings};
use shared::domain::overlap::{Order, Overlap, SKEW_MS};
use shared::domain::position::{Beyond, Gap, Reach, ShardPosition, Start};
use shared::domain::rejected::Rejected;
use shared::domain::tally::Tally;
use shared::domain::unit::Unit;
use shared::journal::{JournalError, OwnedUnit, Packed, Step};
use shared::ports::failure::FailureKind;
use shared::ports::queue::WorkQueue;
use shared::ports::stream::{ChangeStream, Cursor, MAX_RECORDS_PER_PAGE, ReadFrom, RecordPage, StreamStatus};
use shared::retry;
use shared::telemetry::sample::{self, Sample};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{Ended, Stuck};
use crate::apply::Fence;
use crate::clock::now_ms;
use crate::context::JobContext;
use crate::following::{behind, discover, finish_if_caught_up, hand_out};
use crate::polling::{Polling, Seen};
use crate::rejects::rejected;

/// Longest time between two commits while records come in; what lies behind the last one is applied again after a
/// crash.
const COMMIT_EVERY: Duration = Duration::from_secs(2);

/// Longest time between two commits while nothing comes; they say how far the shard is caught up with.
const COMMIT_IDLE_EVERY: Duration = Duration::from_secs(20);

/// The same where the job ends once it is caught up.
const COMMIT_OFTEN: Duration = Duration::from_secs(2);

/// Every stream keeps its records at least this long.
///
/// Source: Amazon Kinesis Data Streams Developer Guide, "Change the data retention period"; Amazon DynamoDB Developer
/// Guide, "Change data capture for DynamoDB Streams".
const LEAST_RETENTION: Duration = Duration::from_secs(24 * 60 * 60);

/// How often a shard that ended is looked for children that must be there, and how many times.
const CHILDREN_AGAIN_AFTER: Duration = Duration::from_secs(2);
const CHILDREN_LOOKS: u32 = 30;

struct Shard<'a> {
    job: &'a Arc<JobContext>,
    owned: &'a OwnedUnit,
    queue: &'a dyn WorkQueue,
    stop: &'a CancellationToken,
    stream: Arc<dyn ChangeStream>,
    settings: &'a ReplicateSettings,
    unit: Unit,
    id: String,
    start: Start,
    position: ShardPosition,
    /// What the store has of it.
    committed: Committed,
    tally: Tally,
    overlap: Overlap,
    polling: Polling,
    cursor: Option<Cursor>,
    rejected: Packed<Rejected>,
}

/// The last commit.
struct Committed {
    at: Instant,
    position: Option<ShardPosition>,
}

/// What one reading of the shard came to.
enum Read {
    Records,
    Nothing,
    /// The shard was read to its end.
    End,
}

/// Follows an owned shard to its end, until the job is caught up if it ends there, or until `stop`.
///
/// # Errors
/// `Stuck`; everything up to the last commit stays.
pub(crate) async fn run(
    job: &Arc<JobContext>,
    owned: &OwnedUnit,
    queue: &dyn WorkQueue,
    stop: &CancellationToken,
) -> Result<Ended, Stuck> {
    let checkpoint = owned.checkpoint().await;
    let unit = checkpoint.unit;
    let damaged =
        |what: &str| Stuck::from(JournalError::Damaged { url: format!("checkpoint of {unit}"), what: what.to_owned() });
    let (Some(settings), Some(stream)) = (&job.manifest.replicate, &job.stream) else {
        return Err(damaged("the job follows no stream"));
    };
    let shards = job.journal.shards_of(&job.manifest).await?;
    let known = shards.as_ref().and_then(|shards| Some((shards, shards.get(unit.segment)?)));
    let (shards, known) = known.ok_or_else(|| damaged("the job has no such shard"))?;
    let (position, committed) = match checkpoint.position {
        Position::Shard(position) => (position.clone(), Some(position)),
        Position::Start => (known.first_position(shards.in_doubt_until_ms), None),
        Position::After(_) | Position::End | Position::Paired(_) | Position::Source(_) => {
            return Err(damaged("its position is not one in a shard"));
        }
    };
    let position = position.taken_over(now_ms(), SKEW_MS);
    let order = settings.source.order();
    let mut shard = Shard {
        job,
        owned,
        queue,
        stop,
        stream: Arc::clone(stream),
        settings,
        unit,
        id: known.id.clone(),
        start: known.start.clone(),
        overlap: Overlap::new(order, position.in_doubt_until_ms, rand::random()),
        polling: Polling::new(order),
        position,
        committed: Committed { at: Instant::now(), position: committed },
        tally: checkpoint.tally,
        cursor: None,
        rejected: Packed::default(),
    };
    shard.follow().await
}

impl Shard<'_> {
    async fn follow(&mut self) -> Result<Ended, Stuck> {
        if self.position.reach == Reach::End {
            return self.end_here().await;
        }
        if self.settings.source.order() == Order::ByTime || self.position.after.is_none() {
            self.look_for_silent_loss().await?;
        }
        loop {
            if self.stop.is_cancelled() {
                self.leave_in_order();
                self.commit().await?;
                return Ok(Ended::Stopped);
            }
            let read = {
                let job = Arc::clone(self.job);
                let _turn = job.following.turn().await;
                self.read().await?
            };
            if let Read::End = read {
                return self.end_of_shard().await;
            }
            if self.is_due() {
                self.commit().await?;
            }
            if self.is_finished().await? {
                return self.end_here().await;
            }
            if self.job.following.is_time_for_shards() {
                self.look_for_shards().await;
            }
            let seen = match read {
                Read::Records => Seen::Records,
                Read::Nothing | Read::End => Seen::Nothing,
            };
            tokio::select! {
                () = self.polling.pause(seen) => {}
                () = self.stop.cancelled() => {}
            }
        }
    }

    /// Reads one page and applies it.
    async fn read(&mut self) -> Result<Read, Stuck> {
        let Some(cursor) = self.cursor().await? else { return Ok(Read::End) };
        let asked_at_ms = now_ms();
        let page = match retry::call(self.job.retry, || self.stream.read(&cursor, MAX_RECORDS_PER_PAGE)).await {
            Ok(page) => page,
            Err(failure) if failure.kind == FailureKind::Expired => {
                self.cursor = None;
                return Ok(Read::Nothing);
            }
            Err(failure) if failure.kind == FailureKind::Trimmed => {
                self.note_loss().await?;
                return Ok(Read::Nothing);
            }
            Err(failure) => return Err(failure.into()),
        };
        let RecordPage { mut records, next, tip } = page;
        self.cursor.clone_from(&next);
        let any = !records.is_empty();
        let last = records.last().map(|record| record.sequence.clone());
        if let Start::Time(from_ms) = self.start {
            records.retain(|record| record.change.as_ref().map_or(true, |change| change.created.until_ms > from_ms));
        }
        let newest_ms = records.iter().filter_map(|record| Some(record.change.as_ref().ok()?.created.from_ms)).max();
        self.apply(records).await?;
        if let Some(last) = last {
            self.position.after = Some(last);
        }
        self.polling.told(asked_at_ms, if any { Seen::Records } else { Seen::Nothing }, tip);
        let read_up_to_ms = newest_ms.map(|newest_ms| self.polling.read_up_to_ms(newest_ms));
        let caught_up = read_up_to_ms.max(self.polling.caught_up_to_ms());
        self.position.caught_up_to_ms = self.position.caught_up_to_ms.max(caught_up);
        Ok(match (next, any) {
            (None, _) => Read::End,
            (Some(_), true) => Read::Records,
            (Some(_), false) => Read::Nothing,
        })
    }

    async fn apply(&mut self, records: Vec<shared::domain::change::Record>) -> Result<(), Stuck> {
        let batch = Batch::squash(records, self.settings.source.order());
        if batch.records == 0 {
            return Ok(());
        }
        let says_so = |position: &ShardPosition| position.beyond == Beyond::Perhaps;
        if !self.committed.position.as_ref().is_some_and(says_so) {
            self.position.beyond = Beyond::Perhaps;
            self.commit().await?;
        }
        let (job, fence) = (Arc::clone(self.job), Fence::Lease(self.owned));
        let outcomes = job.targets().apply(&batch, &job.manifest.job, &mut self.overlap, fence).await?;
        self.tally.add(&outcomes.tally);
        job.meter.add_scanned(batch.records);
        job.meter.add_read_units(outcomes.tally.consumed[0].read);
        outcomes.tally.consumed.iter().for_each(|consumed| job.meter.add_write_units(consumed.write));
        for refused in outcomes.refused {
            tracing::warn!(unit = %self.unit, shard = self.id, sequence = refused.sequence, error = refused.error, "a change is rejected");
            self.rejected.push(&rejected(self.job, self.unit, Some(&self.id), refused));
        }
        Ok(())
    }

    /// Where reading goes on; `None` when the shard is gone.
    async fn cursor(&mut self) -> Result<Option<Cursor>, Stuck> {
        loop {
            if let Some(cursor) = &self.cursor {
                return Ok(Some(cursor.clone()));
            }
            let from = match (&self.position.after, &self.start) {
                (Some(sequence), _) => ReadFrom::After(sequence.clone()),
                (None, Start::Time(from_ms)) => ReadFrom::Time(*from_ms),
                (None, Start::TrimHorizon | Start::Position(_) | Start::Over) => ReadFrom::TrimHorizon,
            };
            match retry::call(self.job.retry, || self.stream.open(&self.id, &from)).await {
                Ok(cursor) => self.cursor = Some(cursor),
                Err(failure) if failure.kind == FailureKind::Trimmed => self.note_loss().await?,
                Err(failure) if failure.kind == FailureKind::NotFound => {
                    // The stream itself may be gone, and that is another matter.
                    retry::call(self.job.retry, || self.stream.describe()).await?;
                    self.note_loss().await?;
                    return Ok(None);
                }
                Err(failure) => return Err(failure.into()),
            }
        }
    }

    /// The time from which on changes are wanted, if that is known.
    fn wanted_from_ms(&self) -> Option<i64> {
        match (self.position.caught_up_to_ms, &self.start) {
            (Some(caught_up_to_ms), _) => Some(caught_up_to_ms),
            (None, Start::Time(from_ms)) => Some(*from_ms),
            (None, Start::TrimHorizon | Start::Position(_) | Start::Over) => None,
        }
    }

    /// Kinesis does not say that the record to go on after is gone, and begins at what is left; so does any stream where
    /// no record was read yet.
    async fn look_for_silent_loss(&mut self) -> Result<(), Stuck> {
        let Some(from_ms) = self.wanted_from_ms().filter(|&from_ms| behind(from_ms) > LEAST_RETENTION) else {
            return Ok(());
        };
        let description = retry::call(self.job.retry, || self.stream.describe()).await?;
        if behind(from_ms) > description.retention {
            self.note_loss().await?;
        }
        Ok(())
    }

    /// The records that come next are gone: notes the time of which changes are lost, if there is any, and goes on with
    /// what is left. The master tells about what is there now.
    async fn note_loss(&mut self) -> Result<(), Stuck> {
        let description = retry::call(self.job.retry, || self.stream.describe()).await?;
        let retention_ms = i64::try_from(description.retention.as_millis()).unwrap_or(i64::MAX);
        let horizon_ms = now_ms().saturating_sub(retention_ms);
        let from_ms = self.wanted_from_ms();
        match self.position.gaps.last_mut() {
            // What is left was trimmed as well, before it could be read.
            Some(gap) if self.position.after.is_none() && gap.from_ms == from_ms => gap.to_ms = horizon_ms,
            _ if from_ms.is_none_or(|from_ms| from_ms < horizon_ms) => {
                tracing::error!(unit = %self.unit, shard = self.id, from_ms, to_ms = horizon_ms, "changes are lost: the stream does not keep them any more; compare the tables with sync");
                self.position.gaps.push(Gap { from_ms, to_ms: horizon_ms });
            }
            _ => {}
        }
        self.cursor = None;
        self.position.after = None;
        self.position.in_doubt_until_ms = now_ms().saturating_add(SKEW_MS);
        self.overlap = Overlap::new(self.settings.source.order(), self.position.in_doubt_until_ms, rand::random());
        self.commit().await
    }

    /// Whether the job ends when it is caught up, and is.
    async fn is_finished(&mut self) -> Result<bool, Stuck> {
        let Ends::CaughtUp(bound_ms) = self.settings.ends else { return Ok(false) };
        let bound = Duration::from_millis(bound_ms);
        let is_near = |shard: &Self| shard.position.caught_up_to_ms.is_some_and(|to_ms| behind(to_ms) <= bound);
        if is_near(self) && !self.job.following.is_finishing() {
            finish_if_caught_up(self.job, bound).await?;
        }
        Ok(self.job.following.is_finishing() && is_near(self))
    }

    /// Shards that come out of nothing, because the end of their parents was seen by nobody.
    async fn look_for_shards(&self) {
        let looked = async {
            discover(self.job, &*self.stream).await?;
            hand_out(&self.job.journal, &self.job.manifest, self.queue).await
        };
        if let Err(error) = looked.await {
            tracing::warn!(%error, "the stream's shards could not be listed; trying again later");
        }
    }

    /// A closed shard was read to its end: its children are made known before that is committed, for whoever reads them
    /// is found through it.
    async fn end_of_shard(&mut self) -> Result<Ended, Stuck> {
        for _ in 0..CHILDREN_LOOKS {
            let shards = discover(self.job, &*self.stream).await?;
            if shards.has_children(&self.id) {
                break;
            }
            let description = retry::call(self.job.retry, || self.stream.describe()).await?;
            if description.status != StreamStatus::Enabled {
                break;
            }
            tokio::select! {
                () = tokio::time::sleep(CHILDREN_AGAIN_AFTER) => {}
                () = self.stop.cancelled() => {
                    self.leave_in_order();
                    self.commit().await?;
                    return Ok(Ended::Stopped);
                }
            }
        }
        self.position.reach = Reach::End;
        self.end_here().await
    }

    async fn end_here(&mut self) -> Result<Ended, Stuck> {
        self.leave_in_order();
        let step = self.step();
        self.owned.finish(step).await?;
        Ok(Ended::Done)
    }

    /// Whoever goes on from here finds nothing on the slaves beyond the position.
    fn leave_in_order(&mut self) {
        self.position.beyond = Beyond::Nothing;
        self.position.in_doubt_until_ms = self.overlap.in_doubt_if_forgotten_ms();
    }

    fn is_due(&self) -> bool {
        let committed = self.committed.position.as_ref();
        let moved = committed.and_then(|position| position.after.as_ref()) != self.position.after.as_ref();
        let every = match self.settings.ends {
            _ if moved => COMMIT_EVERY,
            Ends::CaughtUp(_) => COMMIT_OFTEN,
            Ends::WithTheStream => COMMIT_IDLE_EVERY,
        };
        (moved || committed != Some(&self.position)) && self.committed.at.elapsed() >= every
    }

    async fn commit(&mut self) -> Result<(), Stuck> {
        let step = self.step();
        self.owned.commit(step).await?;
        if let Some(caught_up_to_ms) = self.position.caught_up_to_ms {
            sample::note(Sample::Lag { table: &self.job.labels[0], behind: behind(caught_up_to_ms) });
        }
        self.committed = Committed { at: Instant::now(), position: Some(self.position.clone()) };
        Ok(())
    }

    fn step(&mut self) -> Step {
        self.position.in_doubt_until_ms = self.position.in_doubt_until_ms.max(self.overlap.in_doubt_until_ms());
        Step {
            position: Position::Shard(self.position.clone()),
            tally: self.tally.clone(),
            rejected: std::mem::take(&mut self.rejected),
            ..Step::default()
        }
    }
}

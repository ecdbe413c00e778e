//! A unit in the hands of one worker: taking it, moving its checkpoint forward, giving it back.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Mutex;
use std::task::Poll;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::Value as Json;
use tokio::sync::MutexGuard;
use tokio::time::Instant;

use super::failure::JournalError;
use super::folder::{Journal, STORE_RETRY, Stored};
use super::parts::{Intent, Packed};
use super::undo::OldImages;
use crate::domain::backup::StoredObject;
use crate::domain::checkpoint::{Checkpoint, MAX_ATTEMPTS, Position, State, most_failures};
use crate::domain::discrepancy::Discrepancy;
use crate::domain::rejected::Rejected;
use crate::domain::tally::Tally;
use crate::domain::unit::Unit;
use crate::ports::failure::FailureKind;
use crate::ports::objects::{PutMode, Version};
use crate::retry;
use crate::telemetry::sample::{self, Sample};

/// How soon a unit is looked at again when another worker took it at the same moment.
const AFTER_A_RACE: Duration = Duration::from_secs(2);

/// What came of trying to take a unit.
pub enum Acquired {
    /// It is this worker's now.
    Owned(Box<OwnedUnit>),
    /// It is finished; its message can go.
    Done,
    /// It was given up; only `resume` brings it back, and its message belongs in the dead-letter queue.
    Failed,
    /// Another worker has it, for this long at least.
    Busy(Duration),
}

/// What came of giving a unit back after a failure.
pub enum GivenUp {
    /// It waits to be taken again.
    ForNow {
        /// Failures in a row without progress.
        failures: u32,
    },
    /// It failed.
    ForGood,
}

/// What one commit adds.
#[derive(Default)]
pub struct Step {
    /// The new position.
    pub position: Position,
    /// The new totals.
    pub tally: Tally,
    /// Report lines that are final.
    pub lines: Packed<Discrepancy>,
    /// Changes that could not be applied.
    pub rejected: Packed<Rejected>,
    /// Objects of a backup that were finished.
    pub objects: Vec<StoredObject>,
    /// Repairs about to be made. A step without any settles those of the step before.
    pub pending: Packed<Intent>,
}

/// A unit that this worker owns, until a commit says `Lost`.
pub struct OwnedUnit {
    journal: Journal,
    lease: Duration,
    current: tokio::sync::Mutex<Current>,
    good_until: Mutex<Instant>,
    /// Where old images go, begun with the first of them.
    pub(super) old_images: OldImages,
    /// The names of the tables in metrics, master first.
    labels: Vec<String>,
}

struct Current {
    checkpoint: Checkpoint,
    version: Version,
    /// Whether a put came to no answer, so that the store may hold a later checkpoint of ours than this one.
    unsure: bool,
}

impl Journal {
    /// Tries to take a unit for `owner`.
    ///
    /// `start` is where the message says to begin; a checkpoint that is there is always the later of the two.
    /// A unit taken [`MAX_ATTEMPTS`] times without getting any further is marked failed instead.
    ///
    /// # Errors
    /// `Damaged`, or the store's.
    pub async fn acquire(
        &self,
        unit: Unit,
        slaves: usize,
        start: Option<&Json>,
        owner: &str,
        lease: Duration,
    ) -> Result<Acquired, JournalError> {
        let now = now_text();
        let asked_at = Instant::now();
        let stored = self.stored(unit).await?;
        if stored.as_ref().is_some_and(|stored| !stored.checkpoint.tally.is_of(slaves)) {
            let url = self.store.url(&self.unit_key(unit, "checkpoint.json"));
            return Err(JournalError::Damaged { url, what: format!("its counts are not those of {slaves} slaves") });
        }
        let (mut checkpoint, mode) = match stored {
            None => (Checkpoint::fresh(unit, slaves, &now), PutMode::Create),
            Some(Stored { checkpoint, version, lease_left }) => match checkpoint.state {
                State::Done => return Ok(Acquired::Done),
                State::Failed { .. } => return Ok(Acquired::Failed),
                State::Running { .. } if lease_left.is_positive() => {
                    return Ok(Acquired::Busy(Duration::try_from(lease_left).unwrap_or(AFTER_A_RACE)));
                }
                State::Queued | State::Running { .. } => (checkpoint.next(&now), PutMode::ReplaceIf(version)),
            },
        };
        if checkpoint.position == Position::Start
            && let Some(key) = start
        {
            checkpoint.position = Position::After(key.clone());
        }
        checkpoint.attempts += 1;
        let given_up = checkpoint.attempts > MAX_ATTEMPTS;
        if given_up {
            checkpoint.ended_at = Some(now);
            let error = format!("given up: {MAX_ATTEMPTS} workers took it up and none got any further");
            checkpoint.state = State::Failed { error };
        } else {
            checkpoint.state = State::Running { owner: owner.to_owned(), lease_seconds: lease.as_secs() };
        }
        match put_checkpoint(self, &checkpoint, mode).await {
            Ok(_) if given_up => Ok(Acquired::Failed),
            Ok(version) => Ok(Acquired::Owned(Box::new(OwnedUnit {
                journal: self.clone(),
                lease,
                old_images: OldImages::of(self.clone(), unit, checkpoint.generation),
                current: tokio::sync::Mutex::new(Current { checkpoint, version, unsure: false }),
                good_until: Mutex::new(asked_at + lease),
                labels: Vec::new(),
            }))),
            Err(JournalError::Lost { .. }) => Ok(Acquired::Busy(AFTER_A_RACE)),
            Err(error) => Err(error),
        }
    }

    /// Makes a unit that is not done ready to be taken again, keeping its position; true when it needs a message.
    ///
    /// A unit whose lease is live is left to its worker, and still needs a message: nobody knows whether it has one.
    ///
    /// # Errors
    /// `Damaged`, or the store's.
    pub async fn requeue(&self, unit: Unit) -> Result<bool, JournalError> {
        loop {
            let Some(Stored { checkpoint, version, lease_left }) = self.stored(unit).await? else { return Ok(true) };
            match checkpoint.state {
                State::Done => return Ok(false),
                State::Queued if checkpoint.attempts == 0 && checkpoint.failures == 0 => return Ok(true),
                State::Running { .. } if lease_left.is_positive() => return Ok(true),
                State::Queued | State::Running { .. } | State::Failed { .. } => {}
            }
            let mut checkpoint = checkpoint.next(&now_text());
            checkpoint.state = State::Queued;
            checkpoint.attempts = 0;
            checkpoint.failures = 0;
            checkpoint.ended_at = None;
            match put_checkpoint(self, &checkpoint, PutMode::ReplaceIf(version)).await {
                Err(JournalError::Lost { .. }) => {}
                Err(error) => return Err(error),
                Ok(_) => return Ok(true),
            }
        }
    }
}

impl OwnedUnit {
    /// Has its commits measured under these names of the tables, master first.
    #[must_use]
    pub fn measured(mut self: Box<Self>, labels: &[String]) -> Box<Self> {
        self.labels = labels.to_vec();
        self
    }

    /// The unit.
    pub async fn checkpoint(&self) -> Checkpoint {
        self.current.lock().await.checkpoint.clone()
    }

    /// The unit's counts.
    pub async fn tally(&self) -> Tally {
        self.current.lock().await.checkpoint.tally.clone()
    }

    /// The repairs that the last commit left pending.
    ///
    /// # Errors
    /// `Damaged`, or the store's.
    pub async fn pending(&self) -> Result<Vec<Intent>, JournalError> {
        let Checkpoint { unit, pending, .. } = self.checkpoint().await;
        match pending {
            None => Ok(Vec::new()),
            Some(name) => self.journal.lines(unit, &name).await,
        }
    }

    /// Whether the lease is still good, by this process's own clock and without asking the store.
    ///
    /// Asked right before every write to a table ([`while_good`](Self::while_good)): a process that was stopped and wakes late learns here that it may
    /// no longer write, before it learns from the store that it was replaced.
    #[must_use]
    pub fn is_good(&self) -> bool {
        let good_until = *self.good_until.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        Instant::now() < good_until
    }

    /// Writes to a table as long as the lease is good; nothing when it is not, or ends while the write is on its way.
    ///
    /// A write may wait long for capacity before it is sent. So this looks at the clock before every step of it, and a
    /// write that was not sent by then never is.
    pub async fn while_good<T>(&self, write: impl Future<Output = T>) -> Option<T> {
        let mut write = pin!(write);
        poll_fn(|context| match self.is_good() {
            true => write.as_mut().poll(context).map(Some),
            false => Poll::Ready(None),
        })
        .await
    }

    /// Renews the lease without changing anything else.
    ///
    /// # Errors
    /// `Lost`, or the store's.
    pub async fn renew(&self) -> Result<(), JournalError> {
        self.replace(|_| {}).await
    }

    /// Commits one step: uploads its report part and pending list, then replaces the checkpoint that names them.
    ///
    /// # Errors
    /// `Lost` when another worker has taken over: nothing of this step counts, and the caller stops.
    pub async fn commit(&self, step: Step) -> Result<(), JournalError> {
        self.advance(step, None).await
    }

    /// Commits the last step.
    ///
    /// # Errors
    /// As for [`OwnedUnit::commit`].
    pub async fn finish(&self, step: Step) -> Result<(), JournalError> {
        self.advance(step, Some(State::Done)).await
    }

    /// Gives the unit back at its last commit, without holding this take against it.
    ///
    /// # Errors
    /// `Lost`, or the store's.
    pub async fn release(&self) -> Result<(), JournalError> {
        let back = |checkpoint: &mut Checkpoint| {
            checkpoint.state = State::Queued;
            checkpoint.attempts = checkpoint.attempts.saturating_sub(1);
        };
        self.write_no_more();
        self.replace(back).await
    }

    /// Gives the unit back after a failure that may pass. [`most_failures`] of these without any progress make it fail,
    /// with this error; tells how many there were. They count by themselves, and not as takes without progress too.
    ///
    /// # Errors
    /// `Lost`, or the store's.
    pub async fn give_up_for_now(&self, error: &str) -> Result<GivenUp, JournalError> {
        self.write_no_more();
        let Checkpoint { unit, failures, .. } = self.checkpoint().await;
        let failures = failures + 1;
        if failures >= most_failures(unit.pass) {
            self.fail(error).await?;
            return Ok(GivenUp::ForGood);
        }
        let back = |checkpoint: &mut Checkpoint| {
            checkpoint.state = State::Queued;
            checkpoint.attempts = checkpoint.attempts.saturating_sub(1);
            checkpoint.failures = failures;
        };
        self.replace(back).await?;
        Ok(GivenUp::ForNow { failures })
    }

    /// Marks the unit as failed.
    ///
    /// # Errors
    /// `Lost`, or the store's.
    pub async fn fail(&self, error: &str) -> Result<(), JournalError> {
        let failed = |checkpoint: &mut Checkpoint| {
            checkpoint.state = State::Failed { error: error.to_owned() };
            checkpoint.ended_at = Some(checkpoint.updated_at.clone());
        };
        self.write_no_more();
        self.replace(failed).await
    }

    async fn advance(&self, step: Step, end: Option<State>) -> Result<(), JournalError> {
        // A worker that wakes after its lease asks first whether it was replaced, and leaves not even a file behind.
        if !self.is_good() {
            self.renew().await?;
        }
        let Step { position, tally, lines, rejected, objects, pending } = step;
        let mut files = Vec::new();
        // One lock from the choice of the names to the commit, so that nothing is committed in between.
        let mut current = self.known(self.current.lock().await).await?;
        // The names hold the number of the commit that will name them. No two owners commit the same number, and so
        // a worker that was replaced can never overwrite a part that counts.
        let number = current.checkpoint.generation + 1;
        let mut add = |prefix: &str, body: std::io::Result<bytes::Bytes>| {
            let name = format!("{prefix}-{number:06}.jsonl.gz");
            let url = || self.journal.store.url(&name);
            let body = body.map_err(|error| JournalError::Damaged { url: url(), what: error.to_string() })?;
            files.push((name.clone(), body));
            Ok::<_, JournalError>(name)
        };
        let part = if lines.is_empty() { None } else { Some(add("discrepancies", lines.finish())?) };
        let rejected = if rejected.is_empty() { None } else { Some(add("rejected", rejected.finish())?) };
        let pending = if pending.is_empty() { None } else { Some(add("pending", pending.finish())?) };
        let change = |checkpoint: &mut Checkpoint| {
            if checkpoint.position != position || checkpoint.pending != pending {
                checkpoint.attempts = 0;
                checkpoint.failures = 0;
            }
            checkpoint.position = position;
            checkpoint.tally = tally;
            checkpoint.parts.extend(part);
            checkpoint.rejected.extend(rejected);
            checkpoint.objects.extend(objects);
            checkpoint.pending = pending;
            if let Some(state) = end {
                checkpoint.ended_at = Some(checkpoint.updated_at.clone());
                checkpoint.state = state;
            }
        };
        self.put(&mut current, change, files).await
    }

    async fn replace(&self, change: impl FnOnce(&mut Checkpoint)) -> Result<(), JournalError> {
        let mut current = self.known(self.current.lock().await).await?;
        self.put(&mut current, change, Vec::new()).await
    }

    async fn put(
        &self,
        current: &mut Current,
        change: impl FnOnce(&mut Checkpoint),
        files: Vec<(String, bytes::Bytes)>,
    ) -> Result<(), JournalError> {
        let asked_at = Instant::now();
        let mut checkpoint = current.checkpoint.next(&now_text());
        change(&mut checkpoint);
        for (name, body) in files {
            let key = self.journal.unit_key(checkpoint.unit, &name);
            let put = || self.journal.store.put(&key, body.clone(), PutMode::Overwrite);
            retry::call(STORE_RETRY, put).await?;
        }
        let mode = PutMode::ReplaceIf(current.version.clone());
        // Also when this future is dropped while it waits for the answer.
        current.unsure = true;
        match put_checkpoint(&self.journal, &checkpoint, mode).await {
            Ok(version) => {
                if let State::Running { .. } = checkpoint.state {
                    self.set_good_until(asked_at + self.lease);
                }
                let (before, after) = (&current.checkpoint.tally, &checkpoint.tally);
                sample::note(Sample::Committed { labels: &self.labels, before, after });
                *current = Current { checkpoint, version, unsure: false };
                Ok(())
            }
            Err(error) => {
                if matches!(error, JournalError::Lost { .. }) {
                    self.write_no_more();
                }
                Err(error)
            }
        }
    }

    /// Finds out what became of a put that came to no answer. Whatever this owner wrote is still its own.
    async fn known<'a>(&self, mut current: MutexGuard<'a, Current>) -> Result<MutexGuard<'a, Current>, JournalError> {
        if !current.unsure {
            return Ok(current);
        }
        let unit = current.checkpoint.unit;
        match self.journal.stored(unit).await? {
            Some(Stored { version, .. }) if version == current.version => {}
            Some(Stored { checkpoint, version, .. }) if is_of_same_owner(&checkpoint, &current.checkpoint) => {
                let (before, after) = (&current.checkpoint.tally, &checkpoint.tally);
                sample::note(Sample::Committed { labels: &self.labels, before, after });
                current.checkpoint = checkpoint;
                current.version = version;
            }
            _ => {
                self.write_no_more();
                return Err(JournalError::Lost { unit });
            }
        }
        current.unsure = false;
        Ok(current)
    }

    fn write_no_more(&self) {
        self.set_good_until(Instant::now());
    }

    fn set_good_until(&self, until: Instant) {
        *self.good_until.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = until;
    }
}

/// Whether both were committed by one take of the unit; an owner's id is new with every take.
fn is_of_same_owner(one: &Checkpoint, other: &Checkpoint) -> bool {
    match (&one.state, &other.state) {
        (State::Running { owner: one, .. }, State::Running { owner: other, .. }) => one == other,
        _ => false,
    }
}

/// Puts a checkpoint; a put that was answered with a failure but arrived all the same counts as made.
async fn put_checkpoint(journal: &Journal, checkpoint: &Checkpoint, mode: PutMode) -> Result<Version, JournalError> {
    let key = journal.unit_key(checkpoint.unit, "checkpoint.json");
    let body = journal.to_json(&key, checkpoint)?;
    let lost = || JournalError::Lost { unit: checkpoint.unit };
    let put = || async {
        match journal.store.put(&key, body.clone(), mode.clone()).await {
            Err(failure) if failure.kind == FailureKind::Conflict => match journal.store.get(&key).await? {
                Some(object) if object.body == body => Ok(Some(object.version)),
                _ => Ok(None),
            },
            answer => answer.map(Some),
        }
    };
    retry::call(STORE_RETRY, put).await?.ok_or_else(lost)
}

fn now_text() -> String {
    format!("{:.3}", Timestamp::now())
}

//! One message from receipt to its ending: take the unit, keep its lease, do the work, say what becomes of the message.

use std::sync::Arc;
use std::time::Duration;

use shared::domain::control::{Control, Wish};
use shared::domain::key::Key;
use shared::domain::shards::Stage;
use shared::domain::tally::{SlaveTally, Tally};
use shared::domain::unit::{Pass, Unit, WorkMessage};
use shared::journal::{Acquired, GivenUp, JournalError, OwnedUnit};
use shared::ports::failure::{Failure, FailureKind};
use shared::ports::queue::{Delivery, MAX_DELAY, WorkQueue};
use shared::retry::{self, RetryPolicy};
use shared::telemetry::field;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::context::{CannotOpen, JobContext, OpenJobs};
use crate::duty::Duty;
use crate::following;
use crate::jobs::{self, Ended, Stuck};

/// How often a running unit looks what is asked of its job.
const LOOK_AT_WISH_EVERY: Duration = Duration::from_secs(5);

/// How long one delivery is held at most. SQS ends a delivery 12 hours after its receipt, however often its
/// visibility was extended, so a longer segment goes on under a successor message.
///
/// Source: Amazon SQS API Reference, ChangeMessageVisibility.
const LONGEST_HOLD: Duration = Duration::from_secs(11 * 3600);

/// What becomes of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// It is deleted: its unit is finished, or `resume` will send another.
    Settle,
    /// It is sent again, held back for this long, and then deleted. So it does not count as received once more, and
    /// only messages that harm end in the dead-letter queue.
    Successor(Duration),
    /// It stays, and comes back until the queue moves it to the dead-letter queue.
    DeadLetter,
    /// Nothing: this delivery is no longer this worker's.
    Leave,
}

/// A unit that ended for good, and the job it belongs to.
pub struct Executed {
    /// What becomes of the message.
    pub ending: Ending,
    /// The job, when its unit is done or failed.
    pub ended: Option<Arc<JobContext>>,
    /// What came of the unit.
    pub outcome: Outcome,
}

/// What came of a unit, for traces and metrics; failures with their kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was not worked on: it is over, in other hands, or not due.
    Passed,
    /// It is done.
    Done,
    /// It was given back in good order.
    GivenBack,
    /// It failed in passing, and will be tried again.
    PutOff(&'static str),
    /// It failed for good, or its message was refused.
    Failed(&'static str),
    /// Another worker has it now.
    Lost,
}

impl Outcome {
    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::Done => "done",
            Self::GivenBack => "given_back",
            Self::PutOff(_) => "put_off",
            Self::Failed(_) => "failed",
            Self::Lost => "lost",
        }
    }

    /// What went wrong, by kind.
    #[must_use]
    pub fn error(self) -> Option<&'static str> {
        match self {
            Self::PutOff(error) | Self::Failed(error) => Some(error),
            Self::Passed | Self::Done | Self::GivenBack | Self::Lost => None,
        }
    }
}

impl From<Ending> for Executed {
    /// Of a message whose unit was not worked on.
    fn from(ending: Ending) -> Self {
        let outcome = match ending {
            Ending::DeadLetter => Outcome::Failed(REFUSED),
            Ending::Settle | Ending::Successor(_) | Ending::Leave => Outcome::Passed,
        };
        Self { ending, ended: None, outcome }
    }
}

impl Executed {
    /// After a failure of this kind.
    fn failed(ending: Ending, error: &'static str, job: &Arc<JobContext>) -> Self {
        match ending {
            Ending::DeadLetter => Self { ending, ended: Some(Arc::clone(job)), outcome: Outcome::Failed(error) },
            _ => Self { ending, ended: None, outcome: Outcome::PutOff(error) },
        }
    }

    /// After a failure of this kind that could not be written down, which may pass or not.
    fn unnoted(may_pass: bool, error: &'static str) -> Self {
        let ending = ending_of(may_pass);
        let outcome = if ending == Ending::DeadLetter { Outcome::Failed(error) } else { Outcome::PutOff(error) };
        Self { ending, ended: None, outcome }
    }
}

/// The kind of a failure that is a message's.
const REFUSED: &str = "refused";

/// The kind of a failure of a job that cannot be opened.
const CANNOT_OPEN: &str = "cannot_open";

/// The kind of a failure that is a job's folder's.
const JOURNAL: &str = "journal";

/// What came of holding on to a unit.
enum Hold {
    Renewed,
    /// The store did not answer; the lease goes on meanwhile.
    Unsure,
    Lost,
}

/// Whether a unit may be taken up.
enum Turn {
    Come,
    Later,
    Never,
}

/// What one execution needs beside its message.
pub struct Executor {
    /// The jobs that are open.
    pub jobs: Arc<OpenJobs>,
    /// The queue, for extending deliveries.
    pub queue: Arc<dyn WorkQueue>,
    /// Visibility of messages and lease of units.
    pub lease: Duration,
    /// What is asked of the worker; units in hand are counted here.
    pub duty: Duty,
}

impl Executor {
    /// Does what a message asks for.
    pub async fn execute(&self, message: &WorkMessage, delivery: &Delivery) -> Executed {
        let received_before = delivery.receive_count > 1;
        if received_before && self.is_healthy(message).await && self.insure(delivery).await.is_ok() {
            return Executed { ending: Ending::Leave, ..self.execute_held(message, None).await };
        }
        self.execute_held(message, Some(delivery)).await
    }

    async fn execute_held(&self, message: &WorkMessage, delivery: Option<&Delivery>) -> Executed {
        let unit = message.work_unit();
        match self.jobs.open(&message.job, &message.manifest).await {
            Ok(job) => self.execute_in(&job, message, delivery).await,
            Err(error @ CannotOpen::OtherJob { .. }) => {
                // It is no word about the unit of that other job.
                tracing::error!(job = message.job, %unit, %error, "a message contradicts itself");
                Ending::DeadLetter.into()
            }
            Err(error @ CannotOpen::NotAllowed(_)) => {
                tracing::error!(job = message.job, %unit, %error, "a message is refused; it is left for the dead-letter queue");
                Ending::DeadLetter.into()
            }
            Err(error) => {
                tracing::error!(job = message.job, %unit, %error, "a job cannot be opened");
                self.note_that_it_cannot_be_opened(message, &error).await
            }
        }
    }

    async fn execute_in(&self, job: &Arc<JobContext>, message: &WorkMessage, delivery: Option<&Delivery>) -> Executed {
        let unit = message.work_unit();
        if !job.manifest.admits(message) {
            tracing::error!(job = message.job, %unit, "the job has no such unit");
            return Ending::DeadLetter.into();
        }
        if let Err(why) = self.check_start(job, message) {
            tracing::error!(job = message.job, %unit, why, "a message is refused; it is left for the dead-letter queue");
            return Ending::DeadLetter.into();
        }
        match job.journal.control().await {
            Ok(control) if control.wish.goes_on() => heed(job, &control),
            Ok(_) => return Ending::Settle.into(),
            Err(error) => return self.journal_failed(unit, &error),
        }
        match self.is_its_turn(job, unit).await {
            Ok(Turn::Come) => {}
            // It is sent again when its turn has come.
            Ok(Turn::Later) => return Ending::Settle.into(),
            Ok(Turn::Never) => {
                tracing::error!(job = message.job, %unit, "the job has no such shard");
                return Ending::DeadLetter.into();
            }
            Err(error) => return self.journal_failed(unit, &error),
        }
        let start = message.start.get(&job.labels[unit.pass.scanned_table()]);
        let owner = format!("{:016x}", rand::random::<u64>());
        match job.journal.acquire(unit, job.manifest.slaves.len(), start, &owner, self.lease).await {
            Ok(Acquired::Owned(owned)) => self.work_counted(job, &owned.measured(&job.labels), unit, delivery).await,
            // Whoever ended it may have died before it handed out what comes next.
            Ok(Acquired::Done) => self.ended(job, unit).await,
            Ok(Acquired::Failed) => Executed { ended: Some(Arc::clone(job)), ..Ending::DeadLetter.into() },
            Ok(Acquired::Busy(left)) => {
                tracing::debug!(%unit, ?left, "another worker has the unit");
                Ending::Successor(left).into()
            }
            Err(error) => self.journal_failed(unit, &error),
        }
    }

    /// A unit is done: what waits for it is handed out before its message goes.
    async fn ended(&self, job: &Arc<JobContext>, unit: Unit) -> Executed {
        match following::go_on_after(job, unit, &*self.queue).await {
            Ok(()) => Executed { ending: Ending::Settle, ended: Some(Arc::clone(job)), outcome: Outcome::Done },
            Err(error) => {
                tracing::error!(job = job.manifest.job, %unit, %error, "the shards that come next could not be handed out");
                Executed::unnoted(error.may_pass(), error.kind_name())
            }
        }
    }

    /// Whether a shard's turn has come; a message that says so before is none of ours.
    async fn is_its_turn(&self, job: &JobContext, unit: Unit) -> Result<Turn, JournalError> {
        if unit.pass != Pass::Stream {
            return Ok(Turn::Come);
        }
        let shards = job.journal.shards_of(&job.manifest).await?;
        let stage = shards.as_ref().and_then(|shards| shards.get(unit.segment)).map(|shard| shard.stage);
        Ok(match stage {
            None => Turn::Never,
            Some(Stage::Waiting) if shards.is_some_and(|shards| shards.available().contains(&unit.segment)) => {
                // Its message was sent, and that was not noted yet.
                Turn::Come
            }
            Some(Stage::Waiting) => Turn::Later,
            Some(Stage::HandedOut | Stage::Ended) => Turn::Come,
        })
    }

    /// Whether the unit may begin where the message says. What is no key would be committed as the unit's position,
    /// which nothing but a new job gets rid of.
    fn check_start(&self, job: &JobContext, message: &WorkMessage) -> Result<(), &'static str> {
        let expected = job.manifest.message(&job.manifest_url, message.work_unit()).start;
        if !self.jobs.believe_messages() && message.start != expected {
            return Err("it begins at another key than the job's manifest says");
        }
        let is_key = |key| Key::from_json(&job.manifest.key_schema, key).is_ok();
        if message.start.values().all(is_key) { Ok(()) } else { Err("it begins at what is no key of the table") }
    }

    /// Whether a message that was received before may still come to a good end: its unit is there, and has not ended.
    async fn is_healthy(&self, message: &WorkMessage) -> bool {
        let look = async {
            let job = self.jobs.open_folder(&message.job, &message.manifest).await?;
            let view = job.journal.view(message.work_unit()).await?;
            let sensible = job.manifest.admits(message) && self.check_start(&job, message).is_ok();
            Ok::<_, CannotOpen>(sensible && !view.is_some_and(|view| view.checkpoint.has_ended()))
        };
        look.await.unwrap_or(false)
    }

    /// Trades a message that was received before for a successor that counts its receives from the start, hidden for
    /// one lease.
    ///
    /// Workers that were killed leave their count behind; without this, a healthy message would end in the
    /// dead-letter queue after a few of them. It comes before everything that takes time, so that the worker is
    /// unlikely to be killed before it. A unit that kills its workers is ended by its own count of attempts.
    async fn insure(&self, delivery: &Delivery) -> Result<(), Failure> {
        let successor = vec![delivery.body.clone()];
        retry::send_all(&*self.queue, RetryPolicy::default(), successor, self.lease.min(MAX_DELAY)).await?;
        // If this fails there are two messages, and the second to be received finds the unit taken or done.
        let _ = self.queue.settle(&delivery.receipt).await;
        Ok(())
    }

    /// Works on a unit, and notes in the trace what it adds to the unit's counts.
    async fn work_counted(
        &self,
        job: &Arc<JobContext>,
        owned: &OwnedUnit,
        unit: Unit,
        delivery: Option<&Delivery>,
    ) -> Executed {
        let counts = |tally: &Tally| {
            let sum = |figure: fn(&SlaveTally) -> u64| tally.slaves.iter().map(figure).sum::<u64>();
            [sum(|slave| slave.compared), sum(SlaveTally::discrepancies)]
        };
        let before = counts(&owned.tally().await);
        let executed = self.work(job, owned, unit, delivery).await;
        let after = counts(&owned.tally().await);
        let span = tracing::Span::current();
        for ((field, after), before) in [field::ITEMS_COMPARED, field::DISCREPANCIES].into_iter().zip(after).zip(before)
        {
            span.record(field, after.saturating_sub(before));
        }
        executed
    }

    /// Works on a unit under its lease, and the delivery's visibility if it still has one of its own.
    async fn work(
        &self,
        job: &Arc<JobContext>,
        owned: &OwnedUnit,
        unit: Unit,
        delivery: Option<&Delivery>,
    ) -> Executed {
        tracing::info!(job = job.manifest.job, %unit, "unit taken");
        let _in_hand = self.duty.take_in_hand(unit.pass);
        let halt = self.duty.halt(unit.pass);
        let started = Instant::now();
        let running = job.pacer.begin();
        let result = tokio::select! {
            result = jobs::run(job, owned, unit, &*self.queue, &halt) => result,
            () = self.keep(job, owned, unit, delivery, &halt) => Err(JournalError::Lost { unit }.into()),
            () = self.refuse_to_wait(job) => Err(JournalError::Lost { unit }.into()),
        };
        drop(running);
        let seconds = started.elapsed().as_secs_f64();
        match result {
            Ok(Ended::Done) => {
                tracing::info!(job = job.manifest.job, %unit, seconds, "unit done");
                job.meter.add_ended_unit();
                self.ended(job, unit).await
            }
            Ok(Ended::Stopped) => self.give_back(job, owned, unit).await,
            Err(Stuck::Port(failure)) if failure.kind == FailureKind::Halted => {
                // What was not committed is done again by whoever takes the unit up, as after a crash.
                tracing::info!(job = job.manifest.job, %unit, "the unit stops for want of capacity");
                self.give_back(job, owned, unit).await
            }
            Err(Stuck::Journal(JournalError::Lost { .. })) => {
                tracing::warn!(job = job.manifest.job, %unit, "the unit was lost to another worker");
                Executed { outcome: Outcome::Lost, ..Ending::Leave.into() }
            }
            Err(stuck) => {
                tracing::error!(job = job.manifest.job, %unit, error = %stuck, "the unit cannot go on");
                let ending = note_failure(owned, &stuck.to_string(), stuck.may_pass()).await;
                match ending {
                    Ok(ending) => Executed::failed(ending, stuck.kind_name(), job),
                    Err(error) => self.journal_failed(unit, &error),
                }
            }
        }
    }

    /// Gives a unit back at its last commit, and says what becomes of its message.
    async fn give_back(&self, job: &JobContext, owned: &OwnedUnit, unit: Unit) -> Executed {
        let spent = job.pacer.spent();
        // A budget that was changed since may have been raised.
        let spend_no_more = |control: &mut Control| {
            if control.wish.goes_on() && job.manifest.limits_now(control).budget == spent {
                control.wish = Wish::Spent;
            }
        };
        if spent.is_some()
            && let Err(error) = job.journal.change_control(spend_no_more).await
        {
            tracing::warn!(job = job.manifest.job, %error, "the other workers could not be told to stop");
        }
        let released = owned.release().await;
        let is_to_run = job.journal.control().await.map_or(true, |control| control.wish.goes_on());
        let ending = match (released, is_to_run) {
            (Err(error), _) => return self.journal_failed(unit, &error),
            (Ok(()), false) => Ending::Settle,
            (Ok(()), true) => Ending::Successor(Duration::ZERO),
        };
        Executed { outcome: Outcome::GivenBack, ..ending.into() }
    }

    /// Once the worker is to stop, has requests refused that wait for capacity. Never returns.
    async fn refuse_to_wait(&self, job: &JobContext) {
        self.duty.stops().cancelled().await;
        job.pacer.stop();
        std::future::pending().await
    }

    /// Keeps the unit's lease and the message's visibility; returns when either is lost.
    async fn keep(
        &self,
        job: &JobContext,
        owned: &OwnedUnit,
        unit: Unit,
        delivery: Option<&Delivery>,
        halt: &CancellationToken,
    ) {
        let every = self.lease / 3;
        let taken = Instant::now();
        let mut renewed = taken;
        loop {
            tokio::time::sleep(every.min(LOOK_AT_WISH_EVERY)).await;
            if renewed.elapsed() >= every {
                match self.hold(owned, unit, delivery).await {
                    Hold::Renewed => renewed = Instant::now(),
                    Hold::Unsure => {}
                    Hold::Lost => return,
                }
            }
            // A store that is slow must not hold up the next renewal.
            let look = tokio::time::timeout(every.min(LOOK_AT_WISH_EVERY), job.journal.control()).await;
            let control = look.ok().and_then(Result::ok);
            if let Some(control) = &control {
                heed(job, control);
            }
            if taken.elapsed() >= LONGEST_HOLD || control.is_some_and(|control| !control.wish.goes_on()) {
                halt.cancel();
            }
        }
    }

    /// Renews the unit's lease, and then the message's visibility.
    async fn hold(&self, owned: &OwnedUnit, unit: Unit, delivery: Option<&Delivery>) -> Hold {
        let hold = match owned.renew().await {
            Ok(()) => Hold::Renewed,
            Err(JournalError::Lost { .. }) => return Hold::Lost,
            Err(error) => {
                tracing::warn!(%unit, %error, "the lease could not be renewed");
                Hold::Unsure
            }
        };
        let Some(delivery) = delivery else { return hold };
        match self.queue.extend(&delivery.receipt, self.lease).await {
            Err(failure) if failure.kind == FailureKind::NotFound => {
                // Whoever receives the message next waits for this lease to end unless it is given back.
                let _ = owned.release().await;
                return Hold::Lost;
            }
            Err(failure) => tracing::warn!(%unit, error = %failure, "the message could not be extended"),
            Ok(()) => {}
        }
        hold
    }

    /// Leaves a trace of a job that cannot be opened in the unit's checkpoint, so that the job does not wait for ever.
    async fn note_that_it_cannot_be_opened(&self, message: &WorkMessage, error: &CannotOpen) -> Executed {
        let unit = message.work_unit();
        let otherwise = Executed::unnoted(error.may_pass(), CANNOT_OPEN);
        let Ok(job) = self.jobs.open_folder(&message.job, &message.manifest).await else { return otherwise };
        if !job.manifest.has(unit) {
            return otherwise;
        }
        let owner = format!("{:016x}", rand::random::<u64>());
        match job.journal.acquire(unit, job.manifest.slaves.len(), None, &owner, self.lease).await {
            Ok(Acquired::Owned(owned)) => match note_failure(&owned, &error.to_string(), error.may_pass()).await {
                Ok(ending) => Executed::failed(ending, CANNOT_OPEN, &Arc::new(job)),
                Err(error) => self.journal_failed(unit, &error),
            },
            // Whoever ended it may have died before the job's summary was written.
            Ok(Acquired::Done) => Executed { ended: Some(Arc::new(job)), ..Ending::Settle.into() },
            Ok(Acquired::Failed) => Executed { ended: Some(Arc::new(job)), ..Ending::DeadLetter.into() },
            Ok(Acquired::Busy(_)) | Err(_) => otherwise,
        }
    }

    fn journal_failed(&self, unit: Unit, error: &JournalError) -> Executed {
        if matches!(error, JournalError::Lost { .. }) {
            tracing::warn!(%unit, "the unit was lost to another worker");
            return Executed { outcome: Outcome::Lost, ..Ending::Leave.into() };
        }
        tracing::error!(%unit, %error, "the job's folder failed");
        Executed::unnoted(error.may_pass(), JOURNAL)
    }
}

/// Holds this worker's part of the job to what is asked of it now.
fn heed(job: &JobContext, control: &Control) {
    job.pacer.limit(job.manifest.limits_now(control));
    job.pacer.halt(!control.wish.goes_on());
    job.following.heed(control.wish);
}

/// What becomes of a message whose failure could not be written down.
fn ending_of(may_pass: bool) -> Ending {
    /// Long enough for an outage not to be hammered.
    const AGAIN_AFTER: Duration = Duration::from_secs(10);
    if may_pass { Ending::Successor(AGAIN_AFTER) } else { Ending::DeadLetter }
}

async fn note_failure(owned: &OwnedUnit, error: &str, may_pass: bool) -> Result<Ending, JournalError> {
    if !may_pass {
        owned.fail(error).await?;
        return Ok(Ending::DeadLetter);
    }
    Ok(match owned.give_up_for_now(error).await? {
        GivenUp::ForNow { failures } => Ending::Successor(Duration::from_secs(1 << failures.min(6))),
        GivenUp::ForGood => Ending::DeadLetter,
    })
}

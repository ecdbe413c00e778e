//! One entry of a plan, carried out: its jobs one after the other, each as its own command would do it.

use std::sync::Arc;

use shared::domain::job::Manifest;
use shared::domain::summary::{JobState, Summary};
use shared::journal::Journal;
use shared::ports::queue::WorkQueue;
use tokio_util::sync::CancellationToken;
use worker::embedded::Embedded;
use worker::following;

use super::super::sync::Wait;
use super::jobs::Job;
use crate::failure::{Exit, Failure};
use crate::live::board::Board;
use crate::live::course::{Early, StepKind};
use crate::publish::{Published, publish};
use crate::settings::Settings;
use crate::watch::Watched;

/// How entries are carried out.
pub(super) struct Doing<'a> {
    pub(super) settings: &'a Settings,
    pub(super) queue: Option<Arc<dyn WorkQueue>>,
    pub(super) wait: Wait,
    pub(super) parallel: u32,
    pub(super) board: &'a Board,
    pub(super) stop: &'a CancellationToken,
}

/// How an entry ended.
#[derive(Default)]
pub(super) struct Ended {
    /// Where its jobs stand, as far as they were made.
    pub(super) jobs: Vec<Summary>,
    /// The last of them when it was interrupted: what `resume` goes on with, or `cancel` stops.
    pub(super) interrupted: Option<String>,
    /// Jobs that were not begun, by their first steps.
    pub(super) left: Vec<StepKind>,
    /// Why it could not go on.
    pub(super) failure: Option<Failure>,
    /// The worst of its jobs' ends.
    pub(super) exit: Option<Exit>,
}

impl Ended {
    fn worsen(&mut self, exit: Exit) {
        self.exit = self.exit.max(Some(exit));
    }
}

impl Doing<'_> {
    /// Carries out the jobs of entry `entry` of the board.
    pub(super) async fn carry_out(&self, entry: usize, name: &str, jobs: Vec<Job>) -> Ended {
        let mut ended = Ended::default();
        let mut jobs = jobs.into_iter();
        for job in jobs.by_ref() {
            if self.stop.is_cancelled() {
                ended.worsen(Exit::Interrupted);
                ended.left.push(job.step);
                self.board.end(entry, Early::Stopped);
                break;
            }
            let exit = match Box::pin(self.job(entry, name, job, &mut ended)).await {
                Ok(exit) => exit,
                Err(failure) => {
                    self.board.say(format!("{name}: {}", failure.message));
                    let exit = failure.exit;
                    ended.failure = Some(failure);
                    exit
                }
            };
            ended.worsen(exit);
            if exit > Exit::Differ {
                let was_stopped = matches!(exit, Exit::Interrupted)
                    || ended.failure.is_none() && ended.jobs.last().is_some_and(|job| job.state != JobState::Failed);
                self.board.end(entry, if was_stopped { Early::Stopped } else { Early::Failed });
                break;
            }
        }
        ended.left.extend(jobs.map(|job| job.step));
        if ended.exit <= Some(Exit::Differ) && self.wait == Wait::Yes {
            self.board.finish(entry);
        }
        ended
    }

    async fn job(&self, entry: usize, name: &str, job: Job, ended: &mut Ended) -> Result<Exit, Failure> {
        self.board.begin(entry, job.step);
        let (manifest, shards) = job.asked.plan(&self.settings.environment()).await?;
        let journal = self.settings.journal(&manifest.job).await?;
        match &shards {
            Some(shards) => journal.create_following(&manifest, shards).await?,
            None => journal.create(&manifest).await?,
        }
        self.board.say(format!("{name}: this is job {}", manifest.job));
        let summary = match &self.queue {
            None => self.here(entry, job.step, &journal, &manifest).await?,
            Some(queue) => {
                if self.enqueue(&**queue, name, &journal, &manifest).await? == Published::Some {
                    ended.interrupted = Some(manifest.job.clone());
                    ended.jobs.push(journal.summary(&manifest).await?);
                    return Ok(Exit::Interrupted);
                }
                match self.wait {
                    Wait::No => {
                        ended.jobs.push(journal.summary(&manifest).await?);
                        return Ok(Exit::Agree);
                    }
                    Wait::Yes => {
                        let mut watched = Watched::new(self.board, entry, (&journal, &manifest), job.step, None);
                        watched.until_ended(self.stop).await?
                    }
                }
            }
        };
        let exit = if self.stop.is_cancelled() && !matches!(summary.state, JobState::Succeeded | JobState::Failed) {
            ended.interrupted = Some(manifest.job);
            Exit::Interrupted
        } else {
            Exit::of(&summary)
        };
        ended.jobs.push(summary);
        Ok(exit)
    }

    async fn here(
        &self,
        entry: usize,
        step: StepKind,
        journal: &Journal,
        manifest: &Manifest,
    ) -> Result<Summary, Failure> {
        let parallel = usize::try_from(self.parallel).unwrap_or(1);
        let mut embedded = Embedded::new(self.settings.environment(), parallel);
        embedded.stop = self.stop.clone();
        let meter = Arc::clone(&embedded.meter);
        let mut watched = Watched::new(self.board, entry, (journal, manifest), step, Some(meter));
        let done = watched.during(embedded.work(journal, manifest, manifest.units().collect())).await;
        done.map_err(|error| {
            let failure = Failure::from(error);
            let hint = format!("{}; then continue with `dynamend resume {}`", failure.hint, manifest.job);
            Failure { hint, ..failure }
        })
    }

    async fn enqueue(
        &self,
        queue: &dyn WorkQueue,
        name: &str,
        journal: &Journal,
        manifest: &Manifest,
    ) -> Result<Published, Failure> {
        let with_resume = |failure: Failure| {
            let hint = format!("{}; then enqueue the rest with `dynamend resume {}`", failure.hint, manifest.job);
            Failure { hint, ..failure }
        };
        let units: Vec<_> = manifest.units().collect();
        let count = units.len();
        let published = publish(queue, manifest, &journal.manifest_url(), units, self.stop).await;
        let published = published.map_err(|failure| with_resume(failure.into()))?;
        if published == Published::All {
            let handed_out = following::hand_out(journal, manifest, queue).await;
            let shards = handed_out.map_err(|stuck| with_resume(Failure::from(stuck)))?;
            self.board.say(format!("{name}: {count} segments and {shards} shards are on the queue"));
        }
        Ok(published)
    }
}

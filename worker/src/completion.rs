//! Noticing that a job's last unit has ended, without looking at every unit each time.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use shared::domain::summary::{JobState, UnitView};
use shared::domain::unit::{Pass, Unit};
use shared::ports::queue::WorkQueue;

use crate::context::JobContext;
use crate::jobs::Stuck;
use crate::{finishing, following};

/// What this worker knows of the ends of jobs.
///
/// The worker that ends a job's last unit has no other unit of it in work from then on, so it looks only at that
/// moment. And it remembers one unit that had not ended: as long as that is so, the job has not ended either.
#[derive(Default)]
pub(crate) struct Completion {
    jobs: Mutex<HashMap<String, Known>>,
}

#[derive(Default)]
struct Known {
    /// Messages of the job in hand.
    running: usize,
    /// The job, when a unit of it ended since the last look.
    ended: Option<Arc<JobContext>>,
    /// Whether a segment was among them.
    segment_ended: bool,
    /// A unit that had not ended at the last look.
    witness: Option<Unit>,
}

/// A message of a job is in hand as long as this lives.
pub(crate) struct Running<'a> {
    completion: &'a Completion,
    manifest_url: String,
}

impl Completion {
    pub(crate) fn running(&self, manifest_url: &str) -> Running<'_> {
        self.lock().entry(manifest_url.to_owned()).or_default().running += 1;
        Running { completion: self, manifest_url: manifest_url.to_owned() }
    }

    /// Notes that a unit of the job is done or failed.
    pub(crate) fn unit_ended(&self, job: Arc<JobContext>, unit: Unit) {
        let mut jobs = self.lock();
        let known = jobs.entry(job.manifest_url.clone()).or_default();
        known.segment_ended |= unit.pass != Pass::Stream;
        known.ended = Some(job);
    }

    /// Writes the job's summary if its last unit has ended, and begins to follow its stream if its backfill has. To be called after the message is out of hand.
    pub(crate) async fn check(&self, manifest_url: &str, queue: &dyn WorkQueue) -> Result<(), Stuck> {
        let (job, segment_ended, witness) = {
            let mut jobs = self.lock();
            let Some(known) = jobs.get_mut(manifest_url).filter(|known| known.running == 0) else { return Ok(()) };
            let Some(job) = known.ended.take() else { return Ok(()) };
            (job, std::mem::take(&mut known.segment_ended), known.witness)
        };
        if let Some(unit) = witness
            && !has_ended(job.journal.view(unit).await?.as_ref())
        {
            return Ok(());
        }
        let survey = job.journal.survey(&job.manifest).await?;
        match survey.unfinished {
            // All segments have ended; what waits for that are the shards.
            Some(Unit { pass: Pass::Stream, .. }) if segment_ended && survey.summary.units.failed == 0 => {
                following::begin(&job.journal, &job.manifest, queue).await?;
            }
            Some(Unit { pass: Pass::Stream, .. }) => {}
            Some(unit) => self.lock().entry(job.manifest_url.clone()).or_default().witness = Some(unit),
            None => {}
        }
        if matches!(survey.summary.state, JobState::Succeeded | JobState::Failed) {
            self.lock().remove(&job.manifest_url);
            finishing::conclude(job.archive.as_deref(), &job.journal, &job.manifest, &survey.summary).await?;
            tracing::info!(job = job.manifest.job, state = survey.summary.state.name(), "job ended");
        }
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Known>> {
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        let mut jobs = self.completion.lock();
        if let Some(known) = jobs.get_mut(&self.manifest_url) {
            known.running = known.running.saturating_sub(1);
            // Nothing is kept of jobs that only their messages know.
            if known.running == 0 && known.ended.is_none() && known.witness.is_none() {
                jobs.remove(&self.manifest_url);
            }
        }
    }
}

fn has_ended(view: Option<&UnitView>) -> bool {
    view.is_some_and(|view| view.checkpoint.has_ended())
}

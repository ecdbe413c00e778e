//! A whole job in one process: the same worker, over an in-process queue.

use std::sync::Arc;
use std::time::Duration;

use shared::domain::job::Manifest;
use shared::domain::summary::Summary;
use shared::domain::unit::Unit;
use shared::journal::{Journal, JournalError};
use shared::local::queue::LocalQueue;
use shared::pacing::Meter;
use shared::ports::failure::Failure;
use shared::ports::queue::MAX_MESSAGES_PER_BATCH;
use shared::retry::{self, RetryPolicy};
use shared::telemetry::field;
use tokio_util::sync::CancellationToken;

use crate::consume::{DeadLetters, Drain, Settings, consume};
use crate::context::OpenJobs;
use crate::environment::Environment;
use crate::following;
use crate::hooks::{Hooks, NoHooks};
use crate::jobs::Stuck;
use crate::plan::{CannotPlan, SyncRequest, plan};

/// Lease of a unit inside one process: how long a job that was killed stays locked to its next `resume`.
const LEASE: Duration = Duration::from_secs(15);

/// Times a message of a failed unit is delivered before it is set aside.
const MAX_RECEIVES: u32 = 2;

/// Messages in the in-process queue at once; a million segments must not be held in memory as messages.
const UNITS_AT_ONCE: usize = 10_000;

/// Shards followed at once: all of them, because nobody else follows the others.
const SHARDS_AT_ONCE: usize = 100_000;

/// Why a job in this process could not be carried out.
#[derive(Clone, Debug, thiserror::Error)]
pub enum CannotRun {
    /// The request cannot become a job.
    #[error(transparent)]
    Plan(#[from] CannotPlan),
    /// The job's folder failed.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// A table or the store failed.
    #[error(transparent)]
    Port(#[from] Failure),
}

impl From<Stuck> for CannotRun {
    fn from(stuck: Stuck) -> Self {
        match stuck {
            Stuck::Port(failure) => failure.into(),
            Stuck::Journal(error) => error.into(),
        }
    }
}

/// How a job is carried out in this process.
pub struct Embedded {
    /// How tables and stores are reached.
    pub environment: Environment,
    /// Segments at once.
    pub concurrency: usize,
    /// Time for the work in hand when asked to stop.
    pub grace: Duration,
    /// The embedding program's word.
    pub hooks: Arc<dyn Hooks>,
    /// Shows what is being done.
    pub meter: Arc<Meter>,
    /// Stops the job at its next commits; `resume` continues it.
    pub stop: CancellationToken,
}

impl Embedded {
    /// An ordinary run: this many segments at once, no hooks.
    #[must_use]
    pub fn new(environment: Environment, concurrency: usize) -> Self {
        Self {
            environment,
            concurrency,
            grace: Duration::from_secs(25),
            hooks: Arc::new(NoHooks),
            meter: Arc::default(),
            stop: CancellationToken::new(),
        }
    }

    /// Plans a sync, creates its job in a store, and carries it out.
    ///
    /// Stopped or killed, the job stays in the store; [`Embedded::work`] with its unfinished units goes on with it.
    ///
    /// # Errors
    /// See [`CannotRun`]. Units that fail are no error here: the summary counts and lists them.
    pub async fn sync(self, request: SyncRequest, store: &shared::journal::StoreUrl) -> Result<Summary, CannotRun> {
        let manifest = plan(request, &self.environment).await?;
        let journal = Journal::new(self.environment.store(store).await?, &manifest.job);
        journal.create(&manifest).await?;
        let units = manifest.units().collect();
        self.work(&journal, &manifest, units).await
    }

    /// Carries out these units of a job that is in its store already; returns where the job stands after.
    ///
    /// # Errors
    /// See [`CannotRun`].
    pub async fn work(self, journal: &Journal, manifest: &Manifest, units: Vec<Unit>) -> Result<Summary, CannotRun> {
        tracing::Span::current().record(field::JOB_ID, &manifest.job);
        let url = journal.manifest_url();
        let jobs = Arc::new(OpenJobs::new(self.environment, self.hooks, self.meter));
        let mut chunks: Vec<&[Unit]> = units.chunks(UNITS_AT_ONCE).collect();
        if chunks.is_empty() && manifest.replicate.is_some() {
            chunks.push(&[]);
        }
        for units in chunks {
            let queue = Arc::new(LocalQueue::new(MAX_RECEIVES));
            for batch in units.chunks(MAX_MESSAGES_PER_BATCH) {
                let bodies = batch.iter().map(|&unit| manifest.message(&url, unit).to_body()).collect();
                retry::send_all(&*queue, RetryPolicy::default(), bodies, Duration::ZERO).await?;
            }
            following::take_up(journal, manifest, &*queue).await?;
            let settings = Settings {
                concurrency: self.concurrency,
                shards: SHARDS_AT_ONCE,
                lease: LEASE,
                grace: self.grace,
                drain: Drain::WhenIdle(Arc::clone(&queue)),
                dead_letters: DeadLetters::Kept,
            };
            consume(queue, Arc::clone(&jobs), settings, self.stop.clone()).await?;
            if self.stop.is_cancelled() {
                break;
            }
        }
        Ok(journal.summary(manifest).await?)
    }
}

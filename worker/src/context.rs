//! What a worker keeps of a job while it works on it: manifest, tables, ignore rules.

use std::sync::Arc;

use shared::domain::compare::{Ignore, differing_paths};
use shared::domain::follow::FollowRules;
use shared::domain::job::{JobKind, Manifest, Origin};
use shared::domain::mend::Rules;
use shared::domain::value::Item;
use shared::journal::{AllowedStores, BadLocation, Journal, JournalError, NotAllowed, manifest_location};
use shared::pacing::{Meter, Pacer};
use shared::ports::failure::Failure;
use shared::ports::objects::ObjectStore;
use shared::ports::stream::ChangeStream;
use shared::ports::table::{Readiness, Table};
use shared::retry::RetryPolicy;

use crate::apply::Targets;
use crate::backup::ItemObjects;
use crate::environment::{Environment, Followed};
use crate::following::Following;
use crate::hooks::Hooks;
use crate::source::Source;

/// Jobs kept open at once, beside those that are worked on; of the others, the one that was opened first goes first.
const KEPT: usize = 8;

/// A job, opened.
pub struct JobContext {
    /// What was asked for.
    pub manifest: Manifest,
    /// The URL that messages name.
    pub manifest_url: String,
    /// The job's folder.
    pub journal: Journal,
    /// The tables: the master, then the slaves.
    pub tables: Vec<Arc<dyn Table>>,
    /// One name per table.
    pub labels: Vec<String>,
    /// What does not count.
    pub ignore: Ignore,
    /// What repairs go by.
    pub rules: Rules,
    /// How patiently requests are repeated.
    pub retry: RetryPolicy,
    /// The embedding program's word.
    pub hooks: Arc<dyn Hooks>,
    /// The display's meter.
    pub meter: Arc<Meter>,
    /// Holds this worker's part of the job to the job's limits.
    pub pacer: Pacer,
    /// The master's stream of changes, if the job follows one.
    pub stream: Option<Arc<dyn ChangeStream>>,
    /// Where items are kept as objects, if the job does that.
    pub backup: Option<ItemObjects>,
    /// The store of the full backup that the job makes, if it makes one.
    pub archive: Option<Arc<dyn ObjectStore>>,
    /// The backup that the job reads, if it reads one.
    pub source: Option<Source>,
    /// What the shards that are followed here share.
    pub following: Following,
}

/// Why a job cannot be worked on.
#[derive(Clone, Debug, thiserror::Error)]
pub enum CannotOpen {
    /// The message does not say where the job is.
    #[error("the message's manifest: {0}")]
    Location(#[from] BadLocation),
    /// The message leads to a store that this worker does not serve.
    #[error("the message's manifest: {0}")]
    NotAllowed(#[from] NotAllowed),
    /// The message names one job and the manifest another.
    #[error("the message is for job `{message}`, and its manifest is that of job `{manifest}`")]
    OtherJob {
        /// In the message.
        message: String,
        /// In the manifest.
        manifest: String,
    },
    /// The job's folder cannot be read.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// A table or the store cannot be reached.
    #[error(transparent)]
    Port(#[from] Failure),
    /// A table is not the one that the job was made for.
    #[error("table {table} is not the one that the job was made for: {what}")]
    OtherTable {
        /// The table.
        table: String,
        /// How that shows.
        what: &'static str,
    },
    /// A table cannot be read now.
    #[error("table {table} is {status}")]
    NotReady {
        /// The table.
        table: String,
        /// In the service's words.
        status: String,
    },
}

impl CannotOpen {
    /// Whether it may work later.
    #[must_use]
    pub fn may_pass(&self) -> bool {
        match self {
            Self::Journal(error) => error.may_pass(),
            Self::Port(failure) => failure.may_pass(),
            Self::Location(_)
            | Self::NotAllowed(_)
            | Self::OtherJob { .. }
            | Self::OtherTable { .. }
            | Self::NotReady { .. } => false,
        }
    }
}

impl JobContext {
    /// The paths at which two items differ, by the embedding program's rule or else by dynamend's own.
    #[must_use]
    pub fn differing(&self, master: &Item, slave: &Item) -> Vec<String> {
        self.hooks.differing(master, slave).unwrap_or_else(|| differing_paths(master, slave, &self.ignore))
    }

    /// Where copies and changes go.
    #[must_use]
    pub fn targets(&self) -> Targets {
        let replicate = self.manifest.replicate.as_ref();
        Targets {
            master: Arc::clone(&self.tables[0]),
            slaves: self.labels.iter().cloned().zip(self.tables.iter().cloned()).skip(1).collect(),
            backup: self.backup.clone(),
            rules: FollowRules {
                schema: self.manifest.key_schema.clone(),
                version_attribute: self.manifest.sync.version_attribute.clone(),
                origin_attribute: replicate.and_then(|replicate| replicate.origin_attribute.clone()),
            },
            retry: self.retry,
        }
    }

    /// Opens the stores of backups.
    async fn open_backups(&mut self, environment: &Environment) -> Result<(), CannotOpen> {
        if let Some(backup) = &self.manifest.backup {
            let store = environment.place(&backup.to).await?;
            match self.manifest.kind {
                JobKind::Incremental => {
                    let schema = self.manifest.key_schema.clone();
                    self.backup = Some(ItemObjects::new(store, self.manifest.master.table.name(), schema));
                }
                _ => self.archive = Some(store),
            }
        }
        if let Some(source) = &self.manifest.source {
            self.source = Some(Source::open(environment, source, &self.journal).await?);
        }
        Ok(())
    }

    /// Opens the stream that the job follows, and the store that it backs items up to.
    async fn open_stream(&mut self, environment: &Environment) -> Result<(), CannotOpen> {
        let Some(replicate) = &self.manifest.replicate else { return Ok(()) };
        let schema = self.manifest.key_schema.clone();
        let source = replicate.source.clone();
        if let Some(backup) = &replicate.backup {
            let store = environment.store(&backup.parse()?).await?;
            self.backup = Some(ItemObjects::new(store, self.manifest.master.table.name(), schema.clone()));
        }
        let followed = Followed { source, side: self.manifest.master.clone(), schema };
        self.stream = Some(environment.stream(followed).await?);
        Ok(())
    }

    /// Opens the tables and makes sure that they still are what the manifest says.
    ///
    /// # Errors
    /// See [`CannotOpen`].
    pub async fn open_tables(&mut self, environment: &Environment) -> Result<(), CannotOpen> {
        let sides: Vec<_> = match self.manifest.kind.origin() {
            Origin::Master => self.manifest.sides().cloned().collect(),
            Origin::Backup => self.manifest.slaves.clone(),
        };
        let expected = &self.manifest.key_schema;
        let opened = sides.iter().map(|side| async move {
            let table = environment.table(side).await?;
            let description = table.describe().await?;
            let other = |what| CannotOpen::OtherTable { table: side.table.to_string(), what };
            if description.key_schema != *expected {
                return Err(other("its key schema is another"));
            }
            if side.table_id.is_some() && description.id.is_some() && side.table_id != description.id {
                return Err(other("it was deleted and made again since"));
            }
            match description.readiness {
                Readiness::Ready => Ok(table),
                Readiness::NotReady(status) => Err(CannotOpen::NotReady { table: side.table.to_string(), status }),
            }
        });
        let opened = futures::future::try_join_all(opened).await?;
        let first = self.manifest.slaves.len() + 1 - sides.len();
        let numbered = opened.into_iter().zip(&sides).enumerate();
        let tables: Vec<_> =
            numbered.map(|(number, (table, side))| self.pacer.paced(first + number, table, side.size)).collect();
        // What is read from a backup has no master; its place is taken, and nobody asks it.
        let in_place = tables.first().filter(|_| first > 0).cloned();
        self.tables = in_place.into_iter().chain(tables).collect();
        Ok(())
    }
}

/// The jobs that a worker has open.
pub struct OpenJobs {
    environment: Environment,
    hooks: Arc<dyn Hooks>,
    meter: Arc<Meter>,
    allowed: AllowedStores,
    kept: tokio::sync::Mutex<Vec<Arc<JobContext>>>,
}

impl OpenJobs {
    /// None yet.
    #[must_use]
    pub fn new(environment: Environment, hooks: Arc<dyn Hooks>, meter: Arc<Meter>) -> Self {
        let kept = tokio::sync::Mutex::new(Vec::new());
        Self { environment, hooks, meter, allowed: AllowedStores::Any, kept }
    }

    /// The same, for jobs of these stores only.
    #[must_use]
    pub fn only_from(self, allowed: AllowedStores) -> Self {
        Self { allowed, ..self }
    }

    /// Whether a message may ask for what its job's manifest does not say: to begin at another key.
    #[must_use]
    pub fn believe_messages(&self) -> bool {
        self.allowed.believes_messages()
    }

    /// Opens the folder of the job that a message names, and none of its tables.
    ///
    /// # Errors
    /// See [`CannotOpen`].
    pub async fn open_folder(&self, job: &str, manifest_url: &str) -> Result<JobContext, CannotOpen> {
        self.allowed.check(manifest_url)?;
        let (root, id) = manifest_location(manifest_url)?;
        if id != job {
            return Err(CannotOpen::OtherJob { message: job.to_owned(), manifest: id });
        }
        let journal = Journal::new(self.environment.store(&root).await?, &id);
        let manifest = journal.manifest().await?;
        if manifest.job != job {
            return Err(CannotOpen::OtherJob { message: job.to_owned(), manifest: manifest.job });
        }
        Ok(JobContext {
            pacer: Pacer::new(journal.clone(), manifest.slaves.len() + 1),
            labels: manifest.labels(),
            ignore: Ignore::new(&manifest.sync.ignore),
            rules: Rules {
                schema: manifest.key_schema.clone(),
                policy: manifest.sync.policy,
                ignore: Ignore::new(&manifest.sync.ignore),
                version_attribute: manifest.sync.version_attribute.clone(),
                time_to_live: manifest.master.time_to_live.clone(),
                after_write: manifest.sync.after_write,
                old_images: manifest.sync.old_images,
            },
            retry: RetryPolicy {
                max_retries: manifest.sync.max_retries,
                base: std::time::Duration::from_millis(manifest.sync.retry_delay_base_ms),
            },
            manifest,
            manifest_url: manifest_url.to_owned(),
            journal,
            tables: Vec::new(),
            hooks: Arc::clone(&self.hooks),
            meter: Arc::clone(&self.meter),
            stream: None,
            backup: None,
            archive: None,
            source: None,
            following: Following::default(),
        })
    }

    /// Opens the job that a message names, or hands out the one that is open.
    ///
    /// Messages that arrive together wait here for the first of them to open the job.
    ///
    /// # Errors
    /// See [`CannotOpen`].
    pub async fn open(&self, job: &str, manifest_url: &str) -> Result<Arc<JobContext>, CannotOpen> {
        let mut kept = self.kept.lock().await;
        if let Some(open) = kept.iter().find(|open| open.manifest_url == manifest_url && open.manifest.job == job) {
            return Ok(Arc::clone(open));
        }
        let mut context = self.open_folder(job, manifest_url).await?;
        context.open_tables(&self.environment).await?;
        context.open_stream(&self.environment).await?;
        context.open_backups(&self.environment).await?;
        let context = Arc::new(context);
        // One that is worked on and opened a second time would be held to its limits twice, as if by two workers.
        let mut evicted = Vec::new();
        while kept.len() >= KEPT
            && let Some(oldest) = kept.iter().position(|open| Arc::strong_count(open) == 1)
        {
            evicted.push(kept.remove(oldest));
        }
        kept.push(Arc::clone(&context));
        drop(kept);
        futures::future::join_all(evicted.iter().map(|job| job.pacer.leave())).await;
        Ok(context)
    }

    /// The worker leaves all jobs in good order.
    pub async fn leave(&self) {
        let kept = self.kept.lock().await.clone();
        futures::future::join_all(kept.iter().map(|job| job.pacer.leave())).await;
    }
}

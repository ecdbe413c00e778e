//! Tables, a store and workers in one process, on a clock that tests hold.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use futures::stream::TryStreamExt as _;
use shared::domain::backup::ItemFile;
use shared::domain::checkpoint::State;
use shared::domain::decide::{ExtraHandling, Handling, Kind, Policy, Repair};
use shared::domain::discrepancy::{Discrepancy, Outcome};
use shared::domain::job::{BackfillSettings, Ends, Manifest, Side, SyncSettings};
use shared::domain::key::KeySchema;
use shared::domain::shards::{Shards, Stage};
use shared::domain::summary::{JobState, Summary, UnitView, Wish};
use shared::domain::unit::Unit;
use shared::domain::value::Item;
use shared::journal::{Journal, JournalError};
use shared::local::memory::MemoryStore;
use shared::local::queue::LocalQueue;
use shared::local::stream::MemoryStream;
use shared::local::table::MemoryTable;
use shared::ports::failure::{Failure, FailureKind};
use shared::ports::faulty::{FaultPlan, FaultyQueue, FaultyStore, FaultyStream, FaultyTable};
use shared::ports::objects::ObjectStore;
use shared::ports::queue::{MAX_MESSAGES_PER_BATCH, WorkQueue as _};
use shared::ports::stream::{ChangeStream, View};
use shared::ports::table::{Table, TableStream};
use tokio_util::sync::CancellationToken;
use worker::consume::{DeadLetters, Drain, Settings, consume};
use worker::context::{JobContext, OpenJobs};
use worker::environment::Environment;
use worker::following;
use worker::hooks::{Hooks, NoHooks};
use worker::plan::{GlobalTables, LimitsAsked, Segments, SyncRequest, plan};
use worker::plan_replicate::{From, ReplicateRequest, plan_replicate};

use crate::generate::Pair;
use crate::ledger::{Charging, Ledger};
use crate::oracle::{Differences, brute_force, key_text_of_json};
use crate::watch::{Watch, WatchedStore, WatchedTable, failure};

/// Visibility of messages and lease of units.
pub const LEASE: Duration = Duration::from_secs(30);

/// After so long a lease is over by any clock.
pub const PAST_THE_LEASE: Duration = Duration::from_secs(32);

/// Times a message is received before it is a dead letter.
pub const MAX_RECEIVES: u32 = 5;

/// The job's id.
pub const JOB: &str = "20261120T231500Z-7f3a";

/// A policy that repairs everything.
pub const REPAIR: Policy =
    Policy { missing: Handling::Repair, differing: Handling::Repair, extra: ExtraHandling::Delete };

/// A policy that reports everything and repairs nothing.
pub const DRY_RUN: Policy =
    Policy { missing: Handling::Report, differing: Handling::Report, extra: ExtraHandling::Report };

/// Tables and a store.
pub struct World {
    /// The key schema of all tables.
    pub schema: KeySchema,
    /// The master, then the slaves.
    pub tables: Vec<Arc<MemoryTable>>,
    /// Where jobs live.
    pub store: Arc<MemoryStore>,
    /// What the tables charge.
    pub ledger: Ledger,
    /// The master's stream of changes, if it has one.
    pub stream: Option<Arc<MemoryStream>>,
    /// Other stores, by their URLs.
    pub places: BTreeMap<String, Arc<MemoryStore>>,
}

/// A job in the world's store.
pub struct Job {
    /// What was asked for.
    pub manifest: Manifest,
    /// Its folder.
    pub journal: Journal,
    /// The store of the full backup that it makes.
    pub archive: Option<Arc<dyn ObjectStore>>,
}

/// What came of a job.
#[derive(Debug)]
pub struct Report {
    /// Its figures.
    pub summary: Summary,
    /// Its lines.
    pub lines: Vec<Discrepancy>,
}

/// What is asked of a replication.
pub struct Asked {
    /// The job's id.
    pub job: String,
    /// Where it begins.
    pub from: From,
    /// The ARN of a Kinesis stream, if it follows one.
    pub kinesis: Option<String>,
    /// A backfill that comes first.
    pub backfill: Option<BackfillSettings>,
    /// When it ends.
    pub ends: Ends,
    /// How tables are read and written.
    pub settings: SyncSettings,
    /// The attribute that tells whose write it was.
    pub origin_attribute: Option<String>,
    /// The store of one object per item.
    pub backup: Option<String>,
}

impl Default for Asked {
    fn default() -> Self {
        Self {
            job: JOB.to_owned(),
            from: From::TrimHorizon,
            kinesis: None,
            backfill: None,
            ends: Ends::WithTheStream,
            settings: SyncSettings::default(),
            origin_attribute: None,
            backup: None,
        }
    }
}

/// A worker, and what happens to it.
#[derive(Clone)]
pub struct Worker {
    /// What goes wrong around it.
    pub faults: FaultPlan,
    /// Who is told of its calls.
    pub watch: Option<Watch>,
    /// Its hooks.
    pub hooks: Arc<dyn Hooks>,
    /// Stops it.
    pub stop: CancellationToken,
    /// Segments at once.
    pub concurrency: usize,
}

impl Default for Worker {
    fn default() -> Self {
        let stop = CancellationToken::new();
        Self { faults: FaultPlan::new(0), watch: None, hooks: Arc::new(NoHooks), stop, concurrency: 2 }
    }
}

impl World {
    /// Tables with these items, master first, whose pages have so many items.
    #[must_use]
    pub fn new<'a>(schema: &KeySchema, items: impl IntoIterator<Item = &'a [Item]>, per_page: usize) -> Self {
        let table = |items: &[Item]| {
            let table = MemoryTable::new(schema.clone()).with_pages_of(per_page, 1 << 20);
            items.iter().for_each(|item| table.put(item.clone()).expect("the item fits"));
            Arc::new(table)
        };
        let tables = items.into_iter().map(table).collect();
        Self {
            schema: schema.clone(),
            tables,
            store: Arc::new(MemoryStore::new("memory")),
            ledger: Ledger::default(),
            stream: None,
            places: BTreeMap::new(),
        }
    }

    /// A master with these items and a stream, and so many empty slaves.
    #[must_use]
    pub fn streamed(schema: &KeySchema, items: &[Item], slaves: usize, stream: &Arc<MemoryStream>) -> Self {
        let nothing: &[Item] = &[];
        let all = std::iter::once(items).chain(std::iter::repeat_n(nothing, slaves));
        let mut world = Self::new(schema, all, 7);
        let master = MemoryTable::new(schema.clone()).with_pages_of(7, 1 << 20);
        let told =
            TableStream { arn: "arn:aws:dynamodb:us-east-1:1:table/table-0/stream/1".into(), view: View::NewAndOld };
        let master = master.with_stream(told);
        items.iter().for_each(|item| master.put(item.clone()).expect("the item fits"));
        world.tables[0] = Arc::new(master);
        world.stream = Some(Arc::clone(stream));
        world
    }

    /// Plans a replication and creates its job; the request's tables and id are the world's.
    pub async fn replication(&self, asked: Asked) -> Job {
        let Asked { job, from, kinesis, backfill, ends, settings, origin_attribute, backup } = asked;
        let tables = self.request(&job, 2, settings, LimitsAsked::default());
        let request = ReplicateRequest { tables, backfill, from, kinesis, ends, origin_attribute, backup };
        let environment = self.environment(&Worker::default());
        let (manifest, shards) = plan_replicate(request, &environment).await.expect("it can be planned");
        let journal = Journal::new(Arc::clone(&self.store) as Arc<dyn ObjectStore>, &manifest.job);
        journal.create_following(&manifest, &shards).await.expect("it can be created");
        Job { manifest, journal, archive: None }
    }

    /// One master, and one slave per pair; all pairs have the same master.
    #[must_use]
    pub fn of_pair(pair: &Pair, per_page: usize) -> Self {
        Self::new(&pair.schema, [pair.master.as_slice(), pair.slave.as_slice()], per_page)
    }

    /// What differs between master and slaves now.
    #[must_use]
    pub fn differences(&self) -> Vec<Differences> {
        let master = self.tables[0].items();
        self.tables[1..].iter().map(|slave| brute_force(&master, &slave.items(), &self.schema)).collect()
    }

    /// Panics unless every slave is equal to the master.
    pub fn assert_in_step(&self) {
        for (slave, differences) in self.differences().into_iter().enumerate() {
            assert!(differences.is_empty(), "slave {slave}: {differences:?}");
        }
    }

    /// Plans a job and creates it.
    pub async fn job(&self, segments: u32, settings: SyncSettings) -> Job {
        self.job_named(JOB, segments, settings).await
    }

    /// Plans a job with these limits and creates it.
    pub async fn limited_job(&self, segments: u32, settings: SyncSettings, limits: LimitsAsked) -> Job {
        self.job_asked(JOB, segments, settings, limits).await
    }

    /// Plans a job of this id and creates it.
    pub async fn job_named(&self, job: &str, segments: u32, settings: SyncSettings) -> Job {
        self.job_asked(job, segments, settings, LimitsAsked::default()).await
    }

    async fn job_asked(&self, job: &str, segments: u32, settings: SyncSettings, limits: LimitsAsked) -> Job {
        let request = self.request(job, segments, settings, limits);
        let manifest = plan(request, &self.environment(&Worker::default())).await.expect("it can be planned");
        self.job_of(manifest, job).await
    }

    /// A request about the world's tables.
    #[must_use]
    pub fn request(&self, job: &str, segments: u32, settings: SyncSettings, limits: LimitsAsked) -> SyncRequest {
        let side =
            |name: String| Side::new(name.parse().expect("it is a name"), shared::domain::job::Access::default());
        SyncRequest {
            job: job.to_owned(),
            master: side("us-east-1:table-0".to_owned()),
            slaves: (1..self.tables.len()).map(|n| side(format!("eu-west-{n}:table-{n}"))).collect(),
            segments: Segments::Fixed(segments),
            only_segments: None,
            sample: None,
            starting_keys: BTreeMap::new(),
            global_tables: GlobalTables::default(),
            encryption: None,
            limits,
            settings,
        }
    }

    /// Creates a job of this manifest, and the files it reads, if it reads files.
    pub async fn job_with(&self, manifest: Manifest, files: Option<&[ItemFile]>) -> Job {
        let journal = Journal::new(Arc::clone(&self.store) as Arc<dyn ObjectStore>, &manifest.job);
        let created = match files {
            Some(files) => journal.create_reading(&manifest, files).await,
            None => journal.create(&manifest).await,
        };
        created.expect("it can be created");
        let place = manifest.backup.as_ref().and_then(|backup| self.places.get(&backup.to.url));
        let archive = place.map(|place| Arc::clone(place) as Arc<dyn ObjectStore>);
        Job { manifest, journal, archive }
    }

    /// Creates a job of this manifest under another id.
    pub async fn job_of(&self, manifest: Manifest, job: &str) -> Job {
        let manifest = Manifest { job: job.to_owned(), ..manifest };
        let journal = Journal::new(Arc::clone(&self.store) as Arc<dyn ObjectStore>, job);
        journal.create(&manifest).await.expect("it can be created");
        Job { manifest, journal, archive: None }
    }

    /// How a worker reaches the world.
    #[must_use]
    pub fn environment(&self, worker: &Worker) -> Environment {
        let tables: Vec<Arc<dyn Table>> = (0..)
            .zip(&self.tables)
            .map(|(number, table)| {
                let ledger = self.ledger.clone();
                let table: Arc<dyn Table> = Arc::new(Charging { inner: Arc::clone(table) as _, number, ledger });
                let inner: Arc<dyn Table> = match &worker.watch {
                    None => table,
                    Some(watch) => Arc::new(WatchedTable { inner: table, number, watch: watch.clone() }),
                };
                Arc::new(FaultyTable::new(inner, worker.faults.clone())) as Arc<dyn Table>
            })
            .collect();
        let around = |store: &Arc<MemoryStore>| {
            let inner: Arc<dyn ObjectStore> = match &worker.watch {
                None => Arc::clone(store) as _,
                Some(watch) => Arc::new(WatchedStore { inner: Arc::clone(store) as _, watch: watch.clone() }),
            };
            Arc::new(FaultyStore::new(inner, worker.faults.clone())) as Arc<dyn ObjectStore>
        };
        let store = around(&self.store);
        let places: BTreeMap<String, _> = self.places.iter().map(|(url, place)| (url.clone(), around(place))).collect();
        let faulty = |stream| Arc::new(FaultyStream::new(stream, worker.faults.clone())) as Arc<dyn ChangeStream>;
        let stream = self.stream.clone().map(|stream| faulty(stream as _));
        Environment::new(
            move |side| {
                let number = side.table.name().trim_start_matches("table-").parse::<usize>().expect("it has a number");
                let table = Arc::clone(&tables[number]);
                Box::pin(async move { Ok(table) })
            },
            move |url| {
                let store = Arc::clone(places.get(&url.to_string()).unwrap_or(&store));
                Box::pin(async move { Ok(store) })
            },
        )
        .with_streams(move |_| {
            let stream = stream.clone();
            Box::pin(async move { stream.ok_or_else(|| failure(FailureKind::NotFound)) })
        })
    }

    /// Opens a job as a worker does.
    pub async fn open(&self, job: &Job, worker: &Worker) -> Arc<JobContext> {
        let jobs = OpenJobs::new(self.environment(worker), Arc::clone(&worker.hooks), Arc::default());
        jobs.open(&job.manifest.job, &job.journal.manifest_url()).await.expect("it can be opened")
    }

    /// Lets a worker take messages until the queue holds nothing any more, or it is stopped or dies.
    pub async fn work(&self, worker: &Worker, queue: &Arc<LocalQueue>) -> Result<(), Failure> {
        let jobs = OpenJobs::new(self.environment(worker), Arc::clone(&worker.hooks), Arc::default());
        let settings = Settings {
            concurrency: worker.concurrency,
            shards: 1000,
            lease: LEASE,
            grace: Duration::from_secs(25),
            drain: Drain::WhenIdle(Arc::clone(queue)),
            dead_letters: DeadLetters::Kept,
        };
        let faulty = Arc::new(FaultyQueue::new(Arc::clone(queue) as _, worker.faults.clone()));
        tokio::select! {
            ended = consume(faulty, Arc::new(jobs), settings, worker.stop.clone()) => ended,
            () = worker.faults.crashed() => Ok(()),
        }
    }

    /// Creates a job, does it with one worker, and reports.
    pub async fn sync(&self, segments: u32, settings: SyncSettings, worker: &Worker) -> Report {
        let job = self.job(segments, settings).await;
        let queue = job.enqueue().await;
        self.work(worker, &queue).await.expect("the worker ends in good order");
        job.report().await
    }
}

impl Job {
    /// A queue with a message for every unit whose turn has come.
    pub async fn enqueue(&self) -> Arc<LocalQueue> {
        let queue = Arc::new(LocalQueue::new(MAX_RECEIVES));
        self.send(&queue, self.manifest.units().collect()).await;
        following::take_up(&self.journal, &self.manifest, &*queue).await.expect("the store works");
        queue
    }

    /// Sends messages for these units.
    pub async fn send(&self, queue: &LocalQueue, units: Vec<Unit>) {
        let url = self.journal.manifest_url();
        for units in units.chunks(MAX_MESSAGES_PER_BATCH) {
            let bodies: Vec<String> = units.iter().map(|&unit| self.manifest.message(&url, unit).to_body()).collect();
            let unsent = queue.send(&bodies, Duration::ZERO).await.expect("it takes them");
            assert!(unsent.is_empty());
        }
    }

    /// Makes every unfinished unit ready again, as `resume` does; a queue with their messages.
    pub async fn resume(&self) -> Arc<LocalQueue> {
        let views = self.views().await.expect("the folder is whole");
        let is_done = |unit: &Unit| views.get(unit).is_some_and(|view| view.checkpoint.state == State::Done);
        let shards = self.journal.shards_of(&self.manifest).await.expect("the folder is whole");
        let handed_out = |shards: &Shards| -> Vec<Unit> {
            let stage = |unit: &Unit| shards.get(unit.segment).map(|shard| shard.stage);
            shards.units().filter(|unit| stage(unit) != Some(Stage::Waiting)).collect()
        };
        let of_shards = shards.iter().flat_map(handed_out);
        let unfinished: Vec<Unit> = self.manifest.units().chain(of_shards).filter(|unit| !is_done(unit)).collect();
        let queue = Arc::new(LocalQueue::new(MAX_RECEIVES));
        if unfinished.is_empty() && shards.is_none() {
            let summary = self.journal.survey(&self.manifest).await.expect("the folder is whole").summary;
            let archive = self.archive.as_deref();
            let concluded = worker::finishing::conclude(archive, &self.journal, &self.manifest, &summary).await;
            concluded.expect("the store works");
            return queue;
        }
        self.journal.withdraw_summary().await.expect("the store works");
        let wish = if views.values().any(|view| following::ended_caught_up(&view.checkpoint)) {
            Wish::Finish
        } else {
            Wish::Run
        };
        self.journal.set_wish(wish).await.expect("the store works");
        let mut units = Vec::new();
        for unit in unfinished {
            if self.journal.requeue(unit).await.expect("the store works") {
                units.push(unit);
            }
        }
        self.send(&queue, units).await;
        following::take_up(&self.journal, &self.manifest, &*queue).await.expect("the store works");
        queue
    }

    /// The checkpoints of all units that have one.
    ///
    /// # Errors
    /// The journal's.
    pub async fn views(&self) -> Result<BTreeMap<Unit, UnitView>, JournalError> {
        let looks: Vec<_> = self.journal.look(&self.manifest).try_collect().await?;
        Ok(looks.into_iter().filter_map(|(unit, view)| Some((unit, view?))).collect())
    }

    /// What the job's folder says.
    pub async fn report(&self) -> Report {
        let views = self.views().await.expect("the folder is whole");
        let mut lines = Vec::new();
        for (unit, view) in &views {
            for part in &view.checkpoint.parts {
                lines.extend(self.journal.part(*unit, part).await.expect("the part is whole"));
            }
        }
        Report { summary: self.journal.summary(&self.manifest).await.expect("the folder is whole"), lines }
    }

    /// Panics unless `summary.json` is there and says the same as the checkpoints.
    pub async fn assert_summary_is_written(&self) {
        let written = self.journal.written_summary().await.expect("the store works");
        assert_eq!(written, Some(self.report().await.summary), "summary.json");
    }
}

impl Report {
    /// Panics unless the report is exactly what differed, with the outcomes of this policy, and the figures fit.
    ///
    /// `master_items` is how many items the master has; nothing may have changed while the job ran.
    pub fn assert_exact(&self, expected: &[Differences], policy: Policy, master_items: usize) {
        let Self { summary, lines } = self;
        assert_eq!(summary.state, JobState::Succeeded, "{:?}", summary.errors);
        assert_eq!(summary.units.done, summary.units.total);
        assert_eq!(summary.slaves.len(), expected.len());
        let mut reported = 0;
        for (figures, expected) in summary.slaves.iter().zip(expected) {
            let lines: Vec<&Discrepancy> = lines.iter().filter(|line| line.slave == figures.table).collect();
            let nothing = BTreeSet::new();
            let extra = if policy.seeks_extra() { &expected.extra } else { &nothing };
            assert_keys(&lines, Kind::Missing, &expected.missing);
            assert_keys(&lines, Kind::Differing, &expected.differing.keys().cloned().collect());
            assert_keys(&lines, Kind::Extra, extra);
            for line in &lines {
                let outcome = match policy.repair(line.kind) {
                    Repair::None => Outcome::Reported,
                    Repair::Put => Outcome::Written,
                    Repair::Delete => Outcome::Deleted,
                };
                assert_eq!((line.outcome, &line.reason), (outcome, &None), "{line:?}");
                assert_attributes(line, expected.differing.get(&key_text_of_json(&line.key)));
            }
            let (missing, differing) = (expected.missing.len() as u64, expected.differing.len() as u64);
            let compared = master_items as u64;
            let if_repaired = |kind, count| if policy.repair(kind) == Repair::None { 0 } else { count };
            let figures = (
                [figures.compared, figures.identical, figures.missing, figures.differing, figures.extra],
                [figures.written, figures.deleted, figures.skipped, figures.failed, figures.healed],
            );
            let written = if_repaired(Kind::Missing, missing) + if_repaired(Kind::Differing, differing);
            let deleted = if_repaired(Kind::Extra, extra.len() as u64);
            let due = [compared, compared - missing - differing, missing, differing, extra.len() as u64];
            assert_eq!(figures, (due, [written, deleted, 0, 0, 0]));
            reported += lines.len();
        }
        assert_eq!(reported, lines.len(), "lines of no slave");
        assert_eq!(summary.scanned.get("us-east-1:table-0"), Some(&(master_items as u64)));
    }
}

fn assert_keys(lines: &[&Discrepancy], kind: Kind, expected: &BTreeSet<String>) {
    let of_kind = lines.iter().filter(|line| line.kind == kind);
    let mut found: Vec<String> = of_kind.map(|line| key_text_of_json(&line.key)).collect();
    found.sort();
    assert_eq!(found, expected.iter().cloned().collect::<Vec<_>>(), "{kind:?}");
}

fn assert_attributes(line: &Discrepancy, expected: Option<&BTreeSet<String>>) {
    let nothing = BTreeSet::new();
    let expected = expected.filter(|_| line.kind == Kind::Differing).unwrap_or(&nothing);
    let leads_into = |path: &str, attribute: &str| {
        path.strip_prefix(attribute).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
    };
    let paths = &line.attributes;
    let all_known = paths.iter().all(|path| expected.iter().any(|name| leads_into(path, name)));
    let all_named = expected.iter().all(|name| paths.iter().any(|path| leads_into(path, name)));
    assert!(all_known && all_named, "{paths:?} are not {expected:?}");
    assert!(paths.is_sorted());
}

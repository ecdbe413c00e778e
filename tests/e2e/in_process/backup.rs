//! Backups and restores whose workers die at any call: each item is in a backup once, and comes back once.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::sync::Arc;

use flate2::read::MultiGzDecoder;
use serde_json::Value as Json;
use shared::domain::backup::Place;
use shared::domain::job::SyncSettings;
use shared::domain::json::item_from_json;
use shared::domain::key::{Key, KeySchema, KeyType};
use shared::domain::summary::JobState;
use shared::domain::value::Item;
use shared::local::memory::MemoryStore;
use shared::packing::Compression;
use shared::ports::faulty::{FaultPlan, Moment};
use tests::generate::{schema, table};
use tests::world::{JOB, Job, PAST_THE_LEASE, Worker, World};
use worker::plan::LimitsAsked;
use worker::plan_backup::{BackupRequest, SnapshotRequest, plan_full, plan_incremental, plan_snapshot};
use worker::plan_restore::{Into, NoTable, RestoreRequest, plan_restore};

use super::exact::seed;

pub(super) const BACKUPS: &str = "s3://backups/all";

/// What is made of a table with items, and where it is kept.
pub(super) struct Scene {
    pub(super) world: World,
    pub(super) items: Vec<Item>,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Work {
    Full,
    Incremental,
    Snapshot,
    RestoreFull,
    RestoreItems,
}

pub(super) const ALL: [Work; 5] =
    [Work::Full, Work::Incremental, Work::Snapshot, Work::RestoreFull, Work::RestoreItems];

pub(super) fn place(url: &str) -> Place {
    Place { url: url.to_owned(), region: None, encryption: None }
}

impl Scene {
    pub(super) fn new(schema: &KeySchema, count: usize) -> Self {
        let items = table(schema, 3, count);
        let nothing: &[Item] = &[];
        let mut world = World::new(schema, [&items[..], nothing], 3);
        // The folder of items is seen from its own place, and as a folder of the backups'.
        let backups = Arc::new(MemoryStore::new("backups"));
        world.places.insert(BACKUPS.to_owned(), backups);
        Self { world, items }
    }

    pub(super) fn store(&self, url: &str) -> &Arc<MemoryStore> {
        &self.world.places[url]
    }

    pub(super) fn backup_request(&self, job: &str) -> BackupRequest {
        let mut tables = self.world.request(job, 2, SyncSettings::default(), LimitsAsked::default());
        tables.slaves.clear();
        let metric_namespace = None;
        BackupRequest { tables, to: place(BACKUPS), compression: Compression::Gzip, metric_namespace }
    }

    pub(super) async fn job(&mut self, work: Work) -> Job {
        let environment = self.world.environment(&Worker::default());
        match work {
            Work::Full => {
                let manifest = plan_full(self.backup_request(JOB), &environment).await.expect("it can be planned");
                self.world.job_with(manifest, None).await
            }
            Work::Incremental => {
                let manifest =
                    plan_incremental(self.backup_request(JOB), &environment).await.expect("it can be planned");
                self.world.job_with(manifest, None).await
            }
            Work::Snapshot => {
                let from = place(&self.folder_of_items().await);
                let environment = self.world.environment(&Worker::default());
                let backup = self.backup_request(JOB);
                let request = SnapshotRequest { backup, from, key_schema: None, as_of_ms: None };
                let manifest = plan_snapshot(request, &environment).await.expect("it can be planned");
                self.world.job_with(manifest, None).await
            }
            Work::RestoreFull => {
                let manifest = plan_full(self.backup_request("B"), &environment).await.expect("it can be planned");
                let backup = self.world.job_with(manifest, None).await;
                self.world.work(&Worker::default(), &backup.enqueue().await).await.expect("it works");
                let from = self.below(BACKUPS, "B/");
                self.restore(&from).await
            }
            Work::RestoreItems => {
                let from = self.folder_of_items().await;
                self.restore(&from).await
            }
        }
    }

    async fn restore(&self, from: &str) -> Job {
        let mut tables = self.world.request(JOB, 3, SyncSettings::default(), LimitsAsked::default());
        tables.master = tables.slaves.remove(0);
        let (into, no_table) = (Into::Empty, NoTable::Refuse);
        let request = RestoreRequest { tables, from: place(from), into, no_table, as_of_ms: None };
        let restore =
            plan_restore(request, &self.world.environment(&Worker::default())).await.expect("it can be planned");
        self.world.job_with(restore.manifest, restore.files.as_deref()).await
    }

    /// Makes an incremental backup; its folder as a place of its own.
    pub(super) async fn folder_of_items(&mut self) -> String {
        let environment = self.world.environment(&Worker::default());
        let manifest = plan_incremental(self.backup_request("I"), &environment).await.expect("it can be planned");
        let job = self.world.job_with(manifest, None).await;
        self.world.work(&Worker::default(), &job.enqueue().await).await.expect("it works");
        self.below(BACKUPS, "table-0/")
    }

    /// Copies what is below a prefix into a place of its own, as the prefix would be seen.
    pub(super) fn below(&mut self, url: &str, prefix: &str) -> String {
        let (from, to) = (Arc::clone(self.store(url)), MemoryStore::new("below"));
        for key in from.keys() {
            if let Some(name) = key.strip_prefix(prefix) {
                to.write(name, from.read(&key).expect("it is there"));
            }
        }
        let url = format!("{url}/{}", prefix.trim_end_matches('/'));
        self.world.places.insert(url.clone(), Arc::new(to));
        url
    }

    /// The items of a full backup, by its list of objects; nothing else may lie among them.
    fn full(&self, job: &str) -> Vec<Item> {
        let store = self.store(BACKUPS);
        let manifest: Json = serde_json::from_slice(&store.read(&format!("{job}/manifest.json")).expect("a backup"))
            .expect("its manifest is JSON");
        let unpacked = |key: &str| {
            let mut text = String::new();
            MultiGzDecoder::new(&store.read(key).expect("it is there")[..])
                .read_to_string(&mut text)
                .expect("it is there");
            text
        };
        let list = unpacked(&format!("{job}/{}", manifest["list"]["name"].as_str().expect("it has a name")));
        let mut names: Vec<String> = Vec::new();
        let mut items = Vec::new();
        for object in list.lines() {
            let object: Json = serde_json::from_str(object).expect("it is JSON");
            let name = format!("{job}/{}", object["name"].as_str().expect("it has a name"));
            let text = unpacked(&name);
            assert_eq!(object["items"], text.lines().count());
            for line in text.lines() {
                let line: Json = serde_json::from_str(line).expect("it is JSON");
                items.push(item_from_json(&line["Item"]).expect("it is an item"));
            }
            names.push(name);
        }
        names.sort_unstable();
        let data = format!("{job}/data/");
        let there: Vec<String> = store.keys().into_iter().filter(|key| key.starts_with(&data)).collect();
        assert_eq!(there, names, "what lies among the objects is imported with them");
        assert_eq!(manifest["items"], items.len());
        items
    }

    pub(super) fn sorted(&self, items: &[Item]) -> BTreeMap<Vec<u8>, Item> {
        let schema = &self.world.schema;
        let keyed =
            items.iter().map(|item| (Key::of(schema, item).expect("it has its key").identity().to_vec(), item.clone()));
        keyed.collect()
    }

    pub(super) async fn assert_done(&self, work: Work, job: &Job, what: &str) {
        let report = job.report().await;
        assert_eq!(report.summary.state, JobState::Succeeded, "{what}: {:?}", report.summary);
        assert_eq!(report.summary.remaining(), 0, "{what}");
        job.assert_summary_is_written().await;
        let expected = self.sorted(&self.items);
        match work {
            Work::Full | Work::Snapshot => {
                let items = self.full(JOB);
                assert_eq!(items.len(), self.items.len(), "{what}: each item is there once");
                assert_eq!(self.sorted(&items), expected, "{what}");
                let counted = report.summary.backup.expect("it made one").counted;
                assert_eq!(counted.items, items.len() as u64, "{what}");
            }
            Work::Incremental => {
                let objects = self.store(BACKUPS).keys().into_iter().filter(|key| !key.ends_with("_dynamend.json"));
                assert_eq!(objects.count(), self.items.len(), "{what}");
            }
            Work::RestoreFull | Work::RestoreItems => {
                assert_eq!(self.sorted(&self.world.tables[1].items()), expected, "{what}");
                assert_eq!(report.summary.slaves[0].written, self.items.len() as u64, "{what}");
            }
        }
    }
}

pub(super) fn key() -> KeySchema {
    schema(KeyType::S, Some(KeyType::N))
}

pub(super) async fn scene(work: Work) -> (Scene, Job) {
    let mut scene = Scene::new(&key(), 17);
    let job = scene.job(work).await;
    (scene, job)
}

#[tokio::test(start_paused = true)]
async fn resume_after_a_crash_at_any_call_has_each_item_once() {
    for work in ALL {
        let (scene_, job) = scene(work).await;
        let worker = Worker { concurrency: 1, ..Worker::default() };
        scene_.world.work(&worker, &job.enqueue().await).await.unwrap();
        scene_.assert_done(work, &job, "without a crash").await;
        let calls = worker.faults.calls();
        assert!(calls > 20, "{work:?}: {calls} calls are no test");
        for moment in [Moment::Before, Moment::After] {
            for n in 1..=calls {
                let (scene, job) = scene(work).await;
                let faults = FaultPlan::new(seed()).crash_at(n, moment);
                let dying = Worker { faults, concurrency: 1, ..Worker::default() };
                scene.world.work(&dying, &job.enqueue().await).await.unwrap();
                assert!(dying.faults.has_crashed(), "call {n} of {calls} was not made");
                tokio::task::yield_now().await;
                tokio::time::advance(PAST_THE_LEASE).await;

                scene.world.work(&Worker::default(), &job.resume().await).await.unwrap();

                scene.assert_done(work, &job, &format!("{work:?} {moment:?} call {n}")).await;
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn workers_that_die_one_after_the_other_get_it_done_without_resume() {
    for work in ALL {
        for every in [31, 37, 43] {
            let (scene, job) = scene(work).await;
            let queue = job.enqueue().await;
            for round in 0..300 {
                let faults = FaultPlan::new(round)
                    .failing(0.05)
                    .crash_at(every + round % 5, [Moment::Before, Moment::After][round as usize % 2]);
                let worker = Worker { faults, ..Worker::default() };
                scene.world.work(&worker, &queue).await.unwrap();
                tokio::task::yield_now().await;
                tokio::time::advance(PAST_THE_LEASE).await;
                if !worker.faults.has_crashed() {
                    break;
                }
            }
            assert!(queue.is_idle() && queue.dead_letters().is_empty(), "{work:?}");
            scene.assert_done(work, &job, &format!("{work:?}: a death every {every} calls")).await;
        }
    }
}

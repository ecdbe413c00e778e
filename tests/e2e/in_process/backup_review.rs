//! Backups and restores where it is least expected: other jobs' objects, broken and repeated items, deleted folders,
//! stores that fail for a while, and stops between any two calls.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use serde_json::json;
use shared::domain::backup::{BACKUP_VERSION, FOLDER_FORMAT, FolderMarker, MARKER, NAMES};
use shared::domain::checkpoint::Position;
use shared::domain::item_object::{Naming, name};
use shared::domain::json::item_to_json;
use shared::domain::key::{Key, KeySchema, KeyType};
use shared::domain::number::Number;
use shared::domain::segment::SegmentSet;
use shared::domain::summary::JobState;
use shared::domain::value::{Item, Value};
use shared::local::memory::MemoryStore;
use shared::local::table::MemoryTable;
use shared::ports::failure::FailureKind;
use shared::ports::faulty::{FaultPlan, Moment};
use shared::ports::objects::ObjectStore as _;
use tests::generate::schema;
use tests::watch::{Access, Call, Watch, failure};
use tests::world::{JOB, Job, PAST_THE_LEASE, Worker};
use worker::plan::{CannotPlan, LimitsAsked};
use worker::plan_backup::{SnapshotRequest, plan_full, plan_incremental, plan_snapshot};
use worker::plan_restore::{Into, NoTable, Restore, RestoreRequest, plan_restore};

use super::backup::{ALL, BACKUPS, Scene, Work, key, place, scene};

const OLD: &str = "s3://old/folder";

fn by_text() -> KeySchema {
    schema(KeyType::S, None)
}

fn item(id: &str, n: u32) -> Item {
    let n = Number::parse(&n.to_string()).expect("it is a number");
    [("id".to_owned(), Value::S(id.to_owned())), ("n".to_owned(), Value::N(n))].into()
}

fn name_by(naming: Naming, item: &Item) -> String {
    naming.name(&by_text(), &Key::of(&by_text(), item).expect("it has its key"))
}

fn body(item: &Item) -> String {
    item_to_json(item).to_string()
}

/// An empty table to restore into, and a store to restore from.
fn scene_with(store: MemoryStore) -> Scene {
    let mut scene = Scene::new(&by_text(), 0);
    scene.world.places.insert(OLD.to_owned(), Arc::new(store));
    scene
}

async fn plan_from(scene: &Scene, from: &str, as_of_ms: Option<i64>) -> Result<Restore, CannotPlan> {
    let mut tables = scene.world.request(JOB, 1, Default::default(), LimitsAsked::default());
    tables.master = tables.slaves.remove(0);
    let (into, no_table) = (Into::Empty, NoTable::Refuse);
    let request = RestoreRequest { tables, from: place(from), into, no_table, as_of_ms };
    plan_restore(request, &scene.world.environment(&Worker::default())).await
}

async fn restore_from(scene: &Scene, from: &str, as_of_ms: Option<i64>) -> Job {
    let restore = plan_from(scene, from, as_of_ms).await.expect("it works");
    scene.world.job_with(restore.manifest, restore.files.as_deref()).await
}

async fn snapshot_of(scene: &Scene, from: &str) -> Job {
    let mut backup = scene.backup_request(JOB);
    backup.tables.segments = worker::plan::Segments::Fixed(1);
    let request = SnapshotRequest { backup, from: place(from), key_schema: Some(by_text()), as_of_ms: None };
    let manifest = plan_snapshot(request, &scene.world.environment(&Worker::default())).await.expect("it works");
    scene.world.job_with(manifest, None).await
}

#[tokio::test(start_paused = true)]
async fn a_job_whose_place_was_taken_meanwhile_has_not_succeeded() {
    for other in ["{}", "{\"format\":\"dynamend-backup\",\"version\":1}"] {
        let (scene, job) = scene(Work::Full).await;
        scene.store(BACKUPS).write(&format!("{JOB}/manifest.json"), other);

        scene.world.work(&Worker::default(), &job.enqueue().await).await.expect("it works");

        assert_ne!(job.report().await.summary.state, JobState::Succeeded);
        assert_eq!(job.journal.written_summary().await.expect("it works"), None);
        let there = scene.store(BACKUPS).read(&format!("{JOB}/manifest.json")).expect("it is there");
        assert_eq!(there, other, "it is somebody else's");
    }
}

#[tokio::test(start_paused = true)]
async fn a_place_with_anything_of_another_job_of_that_name_is_refused() {
    let scene = Scene::new(&key(), 3);
    scene.store(BACKUPS).write(&format!("{JOB}/data/000000-0001-0000.json.gz"), "another job's");
    let environment = scene.world.environment(&Worker::default());

    let refused = plan_full(scene.backup_request(JOB), &environment).await;

    assert!(matches!(refused, Err(CannotPlan::BackupExists { .. })), "{refused:?}");
    assert!(plan_full(scene.backup_request(&JOB[..4]), &environment).await.is_ok(), "a name that begins alike");
}

#[tokio::test(start_paused = true)]
async fn part_of_a_table_is_no_full_backup() {
    let scene = Scene::new(&key(), 3);
    let environment = scene.world.environment(&Worker::default());
    let mut some = scene.backup_request(JOB);
    some.tables.only_segments = Some(SegmentSet::of(0..1));
    let mut late = scene.backup_request(JOB);
    let start = Key::of(&scene.world.schema, &scene.items[0]).expect("it has its key").to_json().to_string();
    late.tables.starting_keys.insert(0, start);

    for part in [some, late] {
        let refused = plan_full(part.clone(), &environment).await;
        assert!(matches!(refused, Err(CannotPlan::Unfit(_))), "{refused:?}");
        plan_incremental(part, &environment).await.expect("a folder of items may be filled bit by bit");
    }
}

#[tokio::test(start_paused = true)]
async fn the_folder_of_another_table_of_that_name_is_refused() {
    let scene = Scene::new(&key(), 3);
    let environment = scene.world.environment(&Worker::default());
    let first = scene.backup_request("A");
    plan_incremental(first.clone(), &environment).await.expect("it works");
    let mut other = scene.backup_request("B");
    other.tables.master.table = "eu-west-1:table-0".parse().expect("it is a name");

    let refused = plan_incremental(other, &environment).await;

    assert!(matches!(refused, Err(CannotPlan::OtherFolder { .. })), "{refused:?}");
    plan_incremental(first, &environment).await.expect("it is its own");
}

#[tokio::test(start_paused = true)]
async fn no_value_of_a_broken_object_is_told() {
    let old = MemoryStore::new("old");
    for (n, broken) in [
        json!({"id": {"S": "a"}, "n": {"N": "secret"}}),
        json!({"id": {"S": "a"}, "n": {"secret": "x"}}),
        json!({"id": {"S": "a"}, "b": {"B": "secret!"}}),
        json!("secret"),
    ]
    .iter()
    .enumerate()
    {
        old.write(&format!("{n:064}"), broken.to_string());
    }
    let scene = scene_with(old);
    let job = snapshot_of(&scene, OLD).await;

    scene.world.work(&Worker::default(), &job.enqueue().await).await.expect("it works");

    assert_eq!(job.report().await.summary.backup.expect("it made one").counted.damaged, 4);
    for (unit, view) in job.views().await.expect("the folder is whole") {
        for list in &view.checkpoint.rejected {
            for line in job.journal.rejected(unit, list).await.expect("it works") {
                assert!(line.error.contains("has the name of an item"), "{}", line.error);
                assert!(!line.error.contains("secret"), "{}", line.error);
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn of_an_item_that_is_in_a_file_twice_the_later_one_stays() {
    for seed in 0..10 {
        let lines: String = (0..120).map(|n| body(&item(["a", "b", "c"][n % 3], n as u32)) + "\r\n").collect();
        let old = MemoryStore::new("old");
        old.write("0", lines);
        let scene = scene_with(old);
        let job = restore_from(&scene, OLD, None).await;
        let worker = Worker { faults: FaultPlan::new(seed).failing(0.2), ..Worker::default() };

        scene.world.work(&worker, &job.enqueue().await).await.expect("it works");

        let report = job.report().await;
        assert_eq!(report.summary.state, JobState::Succeeded, "{:?}", report.summary.errors);
        assert_eq!(
            scene.sorted(&scene.world.tables[1].items()),
            scene.sorted(&[item("a", 117), item("b", 118), item("c", 119)]),
            "seed {seed}"
        );
        assert_eq!(report.summary.slaves[0].written, 120);
    }
}

#[tokio::test(start_paused = true)]
async fn a_file_that_cannot_be_read_for_a_while_is_asked_for_again() {
    let old = MemoryStore::new("old");
    old.write("0", body(&item("a", 1)));
    let scene = scene_with(old);
    let job = restore_from(&scene, OLD, None).await;
    let reads = Arc::new(AtomicU32::new(0));
    let watch = Watch::plain(move |call| match call {
        Call::Get(key) if key == "0" && reads.fetch_add(1, Ordering::Relaxed) < 8 => {
            Some(failure(FailureKind::Unavailable))
        }
        _ => None,
    });

    scene
        .world
        .work(&Worker { watch: Some(watch), ..Worker::default() }, &job.enqueue().await)
        .await
        .expect("it works");

    let summary = job.report().await.summary;
    assert_eq!((summary.state, summary.slaves[0].written), (JobState::Succeeded, 1), "{:?}", summary.errors);
}

#[tokio::test(start_paused = true)]
async fn a_unit_gets_on_also_where_there_is_nothing_to_back_up() {
    let old = MemoryStore::new("old");
    (0..400).for_each(|n| old.write(&format!("{n:064}"), "\n"));
    let scene = scene_with(old);
    let job = snapshot_of(&scene, OLD).await;
    let reads = Arc::new(AtomicU64::new(0));
    let faults = FaultPlan::new(1);
    let crashing = {
        let reads = Arc::clone(&reads);
        Watch::new(move |call| {
            let number = match &call {
                Call::Get(key) if key.len() == 64 => reads.fetch_add(1, Ordering::Relaxed),
                _ => return futures::future::Either::Left(std::future::ready(None)),
            };
            futures::future::Either::Right(async move {
                match number {
                    // It never answers, until the program is killed.
                    350.. => std::future::pending().await,
                    _ => tokio::time::sleep(Duration::from_secs(60)).await,
                }
                None
            })
        })
    };
    let worker = Worker { watch: Some(crashing), faults, concurrency: 1, ..Worker::default() };

    let queue = job.enqueue().await;
    let work = scene.world.work(&worker, &queue);
    let killed = tokio::time::timeout(Duration::from_secs(3600), work).await;

    assert!(killed.is_err(), "it stood still at the end");
    let views = job.views().await.expect("the folder is whole");
    let checkpoint = &views.values().next().expect("there is one").checkpoint;
    assert_ne!(checkpoint.position, Position::Start);
    assert!(checkpoint.tally.backup.blank >= 100, "{:?}", checkpoint.tally.backup);
    tokio::time::advance(PAST_THE_LEASE).await;
    scene.world.work(&Worker::default(), &job.resume().await).await.expect("it works");
    let summary = job.report().await.summary;
    assert_eq!((summary.state, summary.backup.expect("it made one").counted.blank), (JobState::Succeeded, 400));
}

/// A time well between what was put until now and what is put from now on.
fn now_of(store: &MemoryStore) -> i64 {
    store.put_clock_forward(Duration::from_secs(10));
    store.write("clock", "");
    let at = futures::executor::block_on(store.get("clock")).expect("it works").expect("it is there").modified;
    futures::executor::block_on(store.delete("clock")).expect("it works");
    store.put_clock_forward(Duration::from_secs(10));
    at.as_millisecond()
}

#[tokio::test(start_paused = true)]
async fn an_item_that_was_deleted_under_its_name_of_today_does_not_come_back_under_an_old_one() {
    let old = MemoryStore::versioned("old");
    let (gone, back) = (item("gone", 1), item("back", 1));
    old.write(&name_by(Naming::Md5, &gone), body(&gone));
    old.write(&name_by(Naming::Sha256, &back), body(&back));
    let at_first = now_of(&old);
    old.write(&name_by(Naming::Sha256, &gone), body(&item("gone", 2)));
    let in_between = now_of(&old);
    old.delete(&name_by(Naming::Sha256, &gone)).await.expect("it works");
    old.delete(&name_by(Naming::Sha256, &back)).await.expect("it works");
    let deleted = now_of(&old);
    // Somebody went back to the old program.
    old.write(&name_by(Naming::Md5, &back), body(&item("back", 2)));
    let at_last = now_of(&old);

    let old = Arc::new(old);
    for (as_of, expected) in [
        (at_first, vec![gone.clone(), back.clone()]),
        (in_between, vec![item("gone", 2), back.clone()]),
        (deleted, vec![]),
        (at_last, vec![item("back", 2)]),
    ] {
        let mut scene = Scene::new(&by_text(), 0);
        scene.world.places.insert(OLD.to_owned(), Arc::clone(&old));
        let job = restore_from(&scene, OLD, Some(as_of)).await;

        scene.world.work(&Worker::default(), &job.enqueue().await).await.expect("it works");

        assert_eq!(job.report().await.summary.state, JobState::Succeeded);
        assert_eq!(scene.sorted(&scene.world.tables[1].items()), scene.sorted(&expected), "as of {as_of}");
    }
}

fn marker() -> String {
    let marker = FolderMarker {
        format: FOLDER_FORMAT.to_owned(),
        version: BACKUP_VERSION,
        names: NAMES.to_owned(),
        table: "us-east-1:table-0".parse().expect("it is a name"),
        key_schema: by_text(),
        definition: None,
    };
    serde_json::to_string(&marker).expect("it works")
}

#[tokio::test(start_paused = true)]
async fn a_folder_of_which_all_was_deleted_is_restored_as_it_was_before() {
    for has_marker in [true, false] {
        let old = MemoryStore::versioned("old");
        let items: Vec<Item> = (0..25).map(|n| item(&n.to_string(), n)).collect();
        let put = |item: &Item| old.write(&name(&by_text(), &Key::of(&by_text(), item).expect("a key")), body(item));
        items.iter().for_each(put);
        if has_marker {
            old.write(MARKER, marker());
        }
        let before = now_of(&old);
        for key in old.keys() {
            old.delete(&key).await.expect("it works");
        }
        assert_eq!(old.keys(), Vec::<String>::new());
        let scene = scene_with(old);

        let job = restore_from(&scene, OLD, Some(before)).await;
        scene.world.work(&Worker::default(), &job.enqueue().await).await.expect("it works");

        assert_eq!(scene.sorted(&scene.world.tables[1].items()), scene.sorted(&items));
        let nothing = plan_from(&scene, OLD, None).await;
        assert!(matches!(nothing, Err(CannotPlan::BadSource { .. })), "{nothing:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn files_that_are_all_empty_are_no_backup() {
    let old = MemoryStore::new("old");
    old.write("0", "");
    old.write("1", "");
    let scene = scene_with(old);

    let refused = plan_from(&scene, OLD, None).await;

    assert!(matches!(&refused, Err(CannotPlan::BadSource { why, .. }) if why.contains("empty")), "{refused:?}");
    scene.world.places[OLD].write("1", body(&item("a", 1)));
    assert_eq!(plan_from(&scene, OLD, None).await.expect("it works").files.expect("there are some").len(), 1);
}

#[tokio::test(start_paused = true)]
async fn names_that_only_look_like_hashes_are_those_of_files() {
    let old = MemoryStore::new("old");
    old.write(&"AB".repeat(32), body(&item("a", 1)));
    let scene = scene_with(old);
    let job = restore_from(&scene, OLD, None).await;

    scene.world.work(&Worker::default(), &job.enqueue().await).await.expect("it works");

    assert_eq!(scene.world.tables[1].items(), [item("a", 1)]);
}

#[tokio::test(start_paused = true)]
async fn the_comparison_after_a_restore_has_an_id_however_long_the_restores_is() {
    let old = MemoryStore::new("old");
    old.write("0", body(&item("a", 1)));
    let scene = scene_with(old);
    let mut restore = plan_from(&scene, OLD, None).await.expect("it works");
    for length in [1, 93, 94, 100] {
        restore.manifest.job = "j".repeat(length);
        restore.manifest.check().expect("it is an id");

        let verification = restore.verification().manifest;

        verification.check().expect("it is an id");
        assert!(verification.job.ends_with("-verify"));
    }
}

#[tokio::test(start_paused = true)]
async fn a_table_without_items_is_backed_up_and_restored_like_any_other() {
    for work in ALL {
        let mut scene = Scene::new(&key(), 0);
        let job = scene.job(work).await;

        scene.world.work(&Worker::default(), &job.enqueue().await).await.expect("it works");

        scene.assert_done(work, &job, &format!("{work:?} of nothing")).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_table_that_an_earlier_try_created_and_left_unfinished_is_told() {
    for dies in [true, false] {
        let mut scene = Scene::new(&by_text(), 0);
        let deleting = MemoryTable::new(by_text()).with_time_to_live("until");
        scene.world.tables = vec![Arc::new(deleting), Arc::new(MemoryTable::missing())];
        let environment = scene.world.environment(&Worker::default());
        let manifest = plan_full(scene.backup_request("B"), &environment).await.expect("it works");
        let backup = scene.world.job_with(manifest, None).await;
        scene.world.work(&Worker::default(), &backup.enqueue().await).await.expect("it works");
        let from = scene.below(BACKUPS, "B/");
        let create = async |watch| {
            let mut tables = scene.world.request(JOB, 1, Default::default(), LimitsAsked::default());
            tables.master = tables.slaves.remove(0);
            let (into, no_table) = (Into::Empty, NoTable::Create);
            let request = RestoreRequest { tables, from: place(&from), into, no_table, as_of_ms: None };
            plan_restore(request, &scene.world.environment(&Worker { watch, ..Worker::default() })).await
        };
        let creations = AtomicU32::new(0);
        let watch = Watch::plain(move |call| match call {
            Call::Table(1, Access::Create) if creations.fetch_add(1, Ordering::Relaxed) > 0 && dies => {
                Some(failure(FailureKind::Denied))
            }
            _ => None,
        });

        let first = create(Some(watch)).await;
        let second = create(None).await.expect("it works");

        assert_eq!(first.is_err(), dies);
        assert_eq!(second.notes.len(), usize::from(dies), "{:?}", second.notes);
        assert!(second.notes.iter().all(|note| note.contains("AttributeName=until")), "{:?}", second.notes);
    }
}

#[tokio::test(start_paused = true)]
async fn a_job_that_is_stopped_at_any_call_and_resumed_has_each_item_once() {
    for work in ALL {
        let (plain, job) = scene(work).await;
        let worker = Worker { concurrency: 1, ..Worker::default() };
        plain.world.work(&worker, &job.enqueue().await).await.expect("it works");
        let calls = worker.faults.calls();
        for n in 1..=calls {
            let (scene, job) = scene(work).await;
            let worker = Worker { concurrency: 1, ..Worker::default() };
            let (seen, stop) = (AtomicU64::new(0), worker.stop.clone());
            let watch = Watch::plain(move |_| {
                if seen.fetch_add(1, Ordering::Relaxed) + 1 == n {
                    stop.cancel();
                }
                None
            });
            let worker = Worker { watch: Some(watch), ..worker };
            scene.world.work(&worker, &job.enqueue().await).await.expect("it works");
            tokio::time::advance(PAST_THE_LEASE).await;

            scene.world.work(&Worker::default(), &job.resume().await).await.expect("it works");

            scene.assert_done(work, &job, &format!("{work:?} stopped at call {n}")).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_worker_that_dies_over_the_manifest_leaves_a_backup_that_resume_ends() {
    let (plain, job) = scene(Work::Full).await;
    let worker = Worker { concurrency: 1, ..Worker::default() };
    plain.world.work(&worker, &job.enqueue().await).await.expect("it works");
    let calls = worker.faults.calls();
    for n in calls.saturating_sub(12)..=calls {
        for moment in [Moment::Before, Moment::After] {
            let (scene, job) = scene(Work::Full).await;
            let faults = FaultPlan::new(1).crash_at(n, moment);
            let dying = Worker { faults, concurrency: 1, ..Worker::default() };
            scene.world.work(&dying, &job.enqueue().await).await.expect("it works");
            tokio::task::yield_now().await;
            tokio::time::advance(PAST_THE_LEASE).await;
            // A put may be made although its answer was lost, and each is made again.
            let failing = Worker { faults: FaultPlan::new(n).failing(0.2), ..Worker::default() };
            scene.world.work(&failing, &job.resume().await).await.expect("it works");
            job.resume().await;

            scene.assert_done(Work::Full, &job, &format!("{moment:?} call {n}")).await;
        }
    }
}

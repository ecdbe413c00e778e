//! What careful repairs still have to get right: undoing what others wrote, several writes to one item, stops.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use shared::domain::condition::Write;
use shared::domain::job::{AfterWrite, StrategyChoice, SyncSettings};
use shared::domain::key::{Key, KeyType};
use shared::domain::value::{Item, Value};
use tests::generate::schema;
use tests::watch::{Access, Call, Watch};
use tests::world::{REPAIR, Worker, World};
use tokio_util::sync::CancellationToken;
use worker::jobs::undo::Counts;

use super::exact::settings_by;
use super::undo::{keeping, sorted, undone};

fn item(id: &str, v: &str) -> Item {
    [("id".to_owned(), Value::S(id.to_owned())), ("v".to_owned(), Value::S(v.to_owned()))].into()
}

#[tokio::test(start_paused = true)]
async fn what_replication_wrote_is_not_undone() {
    let by_id = schema(KeyType::S, None);
    let (master, slave) = ([item("a", "new"), item("b", "new")], [item("b", "old")]);
    let world = World::new(&by_id, [&master[..], &slave], 10);
    let job = world.job(1, keeping(StrategyChoice::Lookup)).await;
    let table = Arc::clone(&world.tables[1]);
    let watch = Watch::plain(move |call| {
        if let Call::Table(1, Access::Write(Write::Put(item))) = call {
            table.put(item).unwrap();
        }
        None
    });
    let worker = Worker { watch: Some(watch), ..Worker::default() };
    world.work(&worker, &job.enqueue().await).await.unwrap();
    world.assert_in_step();
    let report = job.report().await;
    assert_eq!(report.summary.slaves[0].written, 0);

    let _ = undone(&world, &job).await;

    assert_eq!(sorted(&by_id, &world.tables[1].items()), sorted(&by_id, &master));
}

#[tokio::test(start_paused = true)]
async fn an_item_that_was_written_twice_is_back_the_second_time() {
    let by_id = schema(KeyType::S, None);
    let world = World::new(&by_id, [&[item("a", "1")][..], &[item("a", "0")]], 10);
    let job = world.job(1, SyncSettings { after_write: AfterWrite::Verify, ..keeping(StrategyChoice::Lookup) }).await;
    let (table, done) = (Arc::clone(&world.tables[0]), AtomicBool::new(false));
    let watch = Watch::plain(move |call| {
        if let Call::Table(1, Access::Write(_)) = call
            && !done.swap(true, Ordering::SeqCst)
        {
            table.put(item("a", "2")).unwrap();
        }
        None
    });
    let worker = Worker { watch: Some(watch), ..Worker::default() };
    world.work(&worker, &job.enqueue().await).await.unwrap();
    world.assert_in_step();

    let _ = undone(&world, &job).await;
    assert_eq!(world.tables[1].items(), [item("a", "0")]);
    let again = undone(&world, &job).await[0];

    assert_eq!(again, Counts { already_back: 1, ..Counts::default() });
}

#[tokio::test(start_paused = true)]
async fn two_passes_are_undone_in_the_order_of_time() {
    let by_id = schema(KeyType::S, None);
    let world = World::new(&by_id, [&[item("a", "1")][..], &[]], 10);
    let job = world.job(1, keeping(StrategyChoice::Lookup)).await;
    let table = Arc::clone(&world.tables[0]);
    let key = Key::of(&by_id, &item("a", "1")).unwrap();
    let watch = Watch::plain(move |call| {
        if let Call::Table(1, Access::Scan(_)) = call {
            table.remove(&key).unwrap();
        }
        None
    });
    let worker = Worker { watch: Some(watch), concurrency: 1, ..Worker::default() };
    world.work(&worker, &job.enqueue().await).await.unwrap();
    world.assert_in_step();
    assert_eq!(world.tables[1].items(), []);

    let _ = undone(&world, &job).await;
    let left = world.tables[1].items();
    assert_eq!(left, [], "the slave had nothing before the job");
}

#[tokio::test(start_paused = true)]
async fn a_taken_back_put_is_not_put_again_by_undo() {
    let by_id = schema(KeyType::S, None);
    let world = World::new(&by_id, [&[item("a", "1")][..], &[]], 10);
    let job = world.job(1, keeping(StrategyChoice::Lookup)).await;
    let (table, done) = (Arc::clone(&world.tables[0]), AtomicBool::new(false));
    let key = Key::of(&by_id, &item("a", "1")).unwrap();
    let watch = Watch::plain(move |call| {
        if let Call::Table(1, Access::Write(_)) = call
            && !done.swap(true, Ordering::SeqCst)
        {
            table.remove(&key).unwrap();
        }
        None
    });
    let worker = Worker { watch: Some(watch), ..Worker::default() };
    world.work(&worker, &job.enqueue().await).await.unwrap();
    assert_eq!(world.tables[1].items(), []);

    let first = undone(&world, &job).await[0];
    let again = undone(&world, &job).await[0];

    assert_eq!((first.restored, again.restored), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_master_that_keeps_changing_is_unstable_however_early_its_item_was_met() {
    let by_id = schema(KeyType::S, None);
    let of = |v: &str| -> Vec<Item> { (0..40).map(|n| item(&format!("{n}"), v)).collect() };
    let world = World::new(&by_id, [&of("0")[..], &of("old")], 1);
    let settings =
        SyncSettings { max_lag_ms: Some(10_000), scan_limit: Some(1), ..settings_by(StrategyChoice::Lookup, REPAIR) };
    let master = Arc::clone(&world.tables[0]);
    let version = Arc::new(AtomicU64::new(0));
    let watch = Watch::new(move |call| {
        let (master, version) = (Arc::clone(&master), Arc::clone(&version));
        async move {
            if let Call::Table(0, _) = call {
                if let Call::Table(0, Access::Scan(_)) = call {
                    tokio::time::sleep(Duration::from_secs(1)).await;
                }
                let v = version.fetch_add(1, Ordering::SeqCst).to_string();
                (0..40).for_each(|n| master.put(item(&format!("{n}"), &v)).unwrap());
            }
            None
        }
    });
    let worker = Worker { watch: Some(watch), concurrency: 1, ..Worker::default() };
    let report = world.sync(1, settings, &worker).await;
    let slave = &report.summary.slaves[0];
    assert_eq!((slave.written, slave.unstable), (0, 40));
}

#[tokio::test(start_paused = true)]
async fn what_was_never_tried_is_not_reported_as_written() {
    let by_id = schema(KeyType::S, None);
    let master: Vec<Item> = (0..600).map(|n| item(&format!("{n}"), "1")).collect();
    let world = World::new(&by_id, [&master[..], &[]], 2000);
    let job = world.job(1, settings_by(StrategyChoice::Lookup, REPAIR)).await;
    let writes = Arc::new(AtomicU64::new(0));
    let (count, stop) = (Arc::clone(&writes), CancellationToken::new());
    let cancel = stop.clone();
    let watch = Watch::plain(move |call| {
        if let Call::Table(1, Access::Write(_)) = call
            && count.fetch_add(1, Ordering::SeqCst) == 10
        {
            cancel.cancel();
        }
        None
    });
    let worker = Worker { watch: Some(watch.clone()), stop, concurrency: 1, ..Worker::default() };
    world.work(&worker, &job.enqueue().await).await.unwrap();
    // Replication heals the rest while the job is stopped.
    master.iter().for_each(|item| world.tables[1].put(item.clone()).unwrap());
    let worker = Worker { watch: Some(watch), concurrency: 1, ..Worker::default() };
    world.work(&worker, &job.resume().await).await.unwrap();
    let slave = &job.report().await.summary.slaves[0];
    assert_eq!(slave.written, writes.load(Ordering::SeqCst));
}

#[tokio::test(start_paused = true)]
async fn what_was_overwritten_of_ignored_attributes_is_kept_too() {
    let by_id = schema(KeyType::S, None);
    let noted = |v: &str, note: &str| {
        let mut item = item("a", v);
        item.insert("note".to_owned(), Value::S(note.to_owned()));
        item
    };
    let world = World::new(&by_id, [&[noted("1", "m")][..], &[noted("0", "first")]], 10);
    let settings = SyncSettings { ignore: vec!["note".to_owned()], ..keeping(StrategyChoice::Lookup) };
    let job = world.job(1, settings).await;
    let slave = Arc::clone(&world.tables[1]);
    let watch = Watch::plain(move |call| {
        if let Call::Table(1, Access::Write(_)) = call {
            slave.put(noted("0", "second")).unwrap();
        }
        None
    });
    let worker = Worker { watch: Some(watch), ..Worker::default() };
    world.work(&worker, &job.enqueue().await).await.unwrap();
    let _ = undone(&world, &job).await;
    assert_eq!(world.tables[1].items(), [noted("0", "second")]);
}

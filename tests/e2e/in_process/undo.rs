//! What repairs overwrote or deleted is put back exactly, whatever happened to the workers in between.

use std::sync::Arc;

use shared::domain::job::{OldImages, StrategyChoice, SyncSettings};
use shared::domain::key::{Key, KeySchema, KeyType};
use shared::domain::value::{Item, Value};
use shared::local::queue::LocalQueue;
use shared::ports::faulty::{FaultPlan, Moment};
use tests::generate::{Shares, pair_of_tables, schema};
use tests::watch::{Access, Call, Watch};
use tests::world::{Job, PAST_THE_LEASE, REPAIR, Worker, World};
use tokio_util::sync::CancellationToken;
use worker::jobs::undo::{Counts, Ended, undo};

use super::exact::{STRATEGIES, seed, settings_by};

const SHARES: Shares = Shares { missing: 0.3, differing: 0.3, extra: 0.3 };

pub(super) fn keeping(strategy: StrategyChoice) -> SyncSettings {
    SyncSettings { old_images: OldImages::Keep, ..settings_by(strategy, REPAIR) }
}

pub(super) async fn undone(world: &World, job: &Job) -> Vec<Counts> {
    let context = world.open(job, &Worker::default()).await;
    let mut counts = vec![Counts::default(); job.manifest.slaves.len()];
    let ended = undo(&context, &CancellationToken::new(), |slave, _, undone| counts[slave].add(undone))
        .await
        .expect("it works");
    assert_eq!(ended, Ended::Whole);
    counts
}

/// The items by key, whatever their order.
pub(super) fn sorted(schema: &KeySchema, items: &[Item]) -> Vec<(Vec<u8>, Item)> {
    let mut items: Vec<_> = items
        .iter()
        .map(|item| (Key::of(schema, item).expect("it has the key").identity().to_vec(), item.clone()))
        .collect();
    items.sort_by(|one, other| one.0.cmp(&other.0));
    items
}

#[tokio::test(start_paused = true)]
async fn a_repair_that_is_undone_leaves_the_slave_as_it_was_also_when_it_is_undone_twice() {
    for strategy in STRATEGIES {
        let pair = pair_of_tables(&schema(KeyType::S, Some(KeyType::N)), seed(), 40, SHARES);
        let world = World::of_pair(&pair, 7);
        let job = world.job(3, keeping(strategy)).await;
        world.work(&Worker::default(), &job.enqueue().await).await.unwrap();
        world.assert_in_step();

        let counts = undone(&world, &job).await[0];
        let again = undone(&world, &job).await[0];

        assert_eq!(sorted(&pair.schema, &world.tables[1].items()), sorted(&pair.schema, &pair.slave));
        let (missing, differing, extra) =
            (pair.expected.missing.len(), pair.expected.differing.len(), pair.expected.extra.len());
        let restored = (differing + extra) as u64;
        assert_eq!(counts, Counts { restored, removed: missing as u64, ..Counts::default() });
        assert_eq!(again, Counts { already_back: restored + missing as u64, ..Counts::default() });
    }
}

#[tokio::test(start_paused = true)]
async fn nothing_is_kept_unless_it_is_asked_for() {
    let pair = pair_of_tables(&schema(KeyType::S, None), seed(), 20, SHARES);
    let world = World::of_pair(&pair, 7);
    let job = world.job(1, settings_by(StrategyChoice::Paired, REPAIR)).await;
    world.work(&Worker::default(), &job.enqueue().await).await.unwrap();

    for unit in job.manifest.units() {
        assert_eq!(job.journal.kept(unit).await.unwrap(), Vec::<String>::new());
    }
}

#[tokio::test(start_paused = true)]
async fn the_old_image_is_there_before_the_write_whenever_a_worker_dies() {
    let pair = pair_of_tables(&schema(KeyType::S, Some(KeyType::N)), seed(), 6, SHARES);
    let fresh = async || {
        let world = World::of_pair(&pair, 3);
        let job = world.job(1, keeping(StrategyChoice::Lookup)).await;
        (world, job)
    };
    let calls = {
        let ((world, job), worker) = (fresh().await, Worker { concurrency: 1, ..Worker::default() });
        world.work(&worker, &job.enqueue().await).await.unwrap();
        worker.faults.calls()
    };
    for moment in [Moment::Before, Moment::After] {
        for n in 1..=calls {
            for goes_on in [false, true] {
                let (world, job) = fresh().await;
                let faults = FaultPlan::new(seed()).crash_at(n, moment);
                let dying = Worker { faults, concurrency: 1, ..Worker::default() };
                world.work(&dying, &job.enqueue().await).await.unwrap();
                tokio::task::yield_now().await;
                tokio::time::advance(PAST_THE_LEASE).await;
                if goes_on {
                    let queue: Arc<LocalQueue> = job.resume().await;
                    world.work(&Worker::default(), &queue).await.unwrap();
                    world.assert_in_step();
                }

                let counts = undone(&world, &job).await[0];

                let left = sorted(&pair.schema, &world.tables[1].items());
                assert_eq!(left, sorted(&pair.schema, &pair.slave), "{moment:?} call {n} of {calls}, {goes_on}");
                assert_eq!(counts.changed, 0, "{moment:?} call {n} of {calls}, {goes_on}");
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn what_changed_since_the_repair_or_right_before_it_is_kept_right() {
    let by_id = schema(KeyType::S, None);
    let item = |id: &str, v: &str| -> Item {
        [("id".to_owned(), Value::S(id.to_owned())), ("v".to_owned(), Value::S(v.to_owned()))].into()
    };
    let (master, slave) = ([item("a", "new"), item("b", "new")], [item("a", "old"), item("b", "old")]);
    let world = World::new(&by_id, [&master[..], &slave], 10);
    let job = world.job(1, keeping(StrategyChoice::Lookup)).await;
    let (table, done) = (Arc::clone(&world.tables[1]), std::sync::atomic::AtomicBool::new(false));
    let other = item("a", "in between");
    let watch = Watch::plain(move |call| {
        let is_first = |item: &Item| item["id"] == Value::S("a".to_owned());
        if let Call::Table(1, Access::Write(shared::domain::condition::Write::Put(item))) = call
            && is_first(&item)
            && !done.swap(true, std::sync::atomic::Ordering::SeqCst)
        {
            table.put(other.clone()).unwrap();
        }
        None
    });
    let worker = Worker { watch: Some(watch), ..Worker::default() };
    world.work(&worker, &job.enqueue().await).await.unwrap();
    world.assert_in_step();
    world.tables[1].put(item("b", "since")).unwrap();

    let counts = undone(&world, &job).await[0];

    let left = sorted(&by_id, &world.tables[1].items());
    assert_eq!(left, sorted(&by_id, &[item("a", "in between"), item("b", "since")]));
    assert_eq!(counts, Counts { restored: 1, changed: 1, ..Counts::default() });
}

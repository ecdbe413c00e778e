//! The paired scan: exact in any order of the tables, as cheap as the scans where they agree, and exact after crashes
//! with several slaves.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use rand::SeedableRng as _;
use rand::rngs::StdRng;
use shared::domain::checkpoint::{Lane, Mark, Method, Position};
use shared::domain::decide::Policy;
use shared::domain::job::{Confirm, Strategy, StrategyChoice, SyncSettings};
use shared::domain::key::{Key, KeySchema, KeyType};
use shared::domain::tally::Tally;
use shared::domain::value::{Item, Value};
use shared::journal::{Acquired, Step};
use shared::local::memory::MemoryStore;
use shared::local::table::MemoryTable;
use shared::ports::faulty::{FaultPlan, Moment};
use shared::ports::table::Table as _;
use tests::generate::{Pair, Shares, cases, pair_of_tables, schema, table};
use tests::oracle::{Differences, key_text};
use tests::vary::mutate;
use tests::watch::{Access, Call, Watch};
use tests::world::{DRY_RUN, Job, LEASE, PAST_THE_LEASE, REPAIR, Worker, World};

use super::exact::settings_by;

const SHARES: Shares = Shares { missing: 0.2, differing: 0.2, extra: 0.2 };

fn settings(policy: Policy) -> SyncSettings {
    settings_by(StrategyChoice::Paired, policy)
}

/// A world whose tables lie in orders of their own; the first is the master.
fn world(pairs: &[&Pair], orders: &[u64], per_page: usize) -> World {
    let first = pairs[0];
    let tables = std::iter::once(&first.master).chain(pairs.iter().map(|pair| &pair.slave));
    let table = |(items, &order): (&Vec<Item>, &u64)| {
        let table = MemoryTable::new(first.schema.clone()).with_pages_of(per_page, 1 << 20).with_order(order);
        items.iter().for_each(|item| table.put(item.clone()).expect("the item fits"));
        Arc::new(table)
    };
    World {
        schema: first.schema.clone(),
        tables: tables.zip(orders).map(table).collect(),
        store: Arc::new(MemoryStore::new("memory")),
        ledger: tests::ledger::Ledger::default(),
        stream: None,
        places: Default::default(),
    }
}

fn small(n: u32, version: &str) -> Item {
    [("id".to_owned(), Value::S(format!("{n:06}"))), ("v".to_owned(), Value::S(version.to_owned()))].into()
}

/// Each difference of the tables is in the report, whatever had to be read twice.
fn assert_finds_all(world: &World, report: &tests::world::Report, policy: Policy, before: &[Differences]) {
    for slave in &report.summary.slaves {
        assert_eq!(slave.compared, world.tables[0].len() as u64, "{:?}", report.summary);
        assert_eq!(slave.compared, slave.identical + slave.missing + slave.differing);
    }
    let found: u64 = report.summary.slaves.iter().map(|slave| slave.discrepancies()).sum();
    let due: usize = before.iter().map(|one| one.missing.len() + one.differing.len() + one.extra.len()).sum();
    assert_eq!(found, due as u64);
    assert_eq!(report.lines.len(), due);
    if policy == REPAIR {
        world.assert_in_step();
    }
}

#[test]
fn whatever_the_order_of_the_tables_the_result_is_that_of_brute_force() {
    let shape = (0..2_u64, 0..2_u64, 1..9_usize, 1..5_u32, 0..80_usize, any::<u64>(), any::<bool>());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
    let mut runner = TestRunner::new(cases(48));
    let outcome = runner.run(&shape, |(order, other_order, per_page, segments, items, seed, with_sort)| {
        let schema = schema(KeyType::S, with_sort.then_some(KeyType::N));
        let one = pair_of_tables(&schema, seed, items, SHARES);
        let two = pair_of_tables(&schema, seed, items, Shares { missing: 0.0, differing: 0.5, extra: 0.0 });
        // The second slave holds the same keys as its own master, which is the first's up to the extra items.
        let two = Pair { master: one.master.clone(), ..two };
        runtime.block_on(async {
            for policy in [DRY_RUN, REPAIR] {
                let world = world(&[&one, &two], &[0, order, other_order], per_page);
                let before = world.differences();
                let report = world.sync(segments, settings(policy), &Worker::default()).await;
                assert_finds_all(&world, &report, policy, &before);
            }
        });
        Ok(())
    });
    outcome.unwrap_or_else(|error| panic!("{error}"));
}

#[tokio::test(start_paused = true)]
async fn one_difference_is_found_wherever_it_lies() {
    // With a sort key, four items make a collection; pages have five.
    let schema = schema(KeyType::S, Some(KeyType::N));
    let items = table(&schema, 7, 30);
    let mut random = StdRng::seed_from_u64(7);
    let key = |item: &Item| key_text(&schema, item);
    for at in 0..items.len() {
        let without: Vec<Item> =
            items.iter().enumerate().filter(|(n, _)| *n != at).map(|(_, item)| item.clone()).collect();
        let mut changed = items.clone();
        let (mutated, name) = mutate(&items[at], &schema, &mut random);
        changed[at] = mutated;
        let found = key(&items[at]);
        let missing = Differences { missing: [found.clone()].into(), ..Differences::default() };
        let extra = Differences { extra: [found.clone()].into(), ..Differences::default() };
        let differing = Differences { differing: [(found, [name].into())].into(), ..Differences::default() };
        for (master, slave, expected) in
            [(&items, &without, missing), (&without, &items, extra), (&items, &changed, differing)]
        {
            let world = World::new(&schema, [master.as_slice(), slave.as_slice()], 5);
            let report = world.sync(2, settings(REPAIR), &Worker::default()).await;
            report.assert_exact(&[expected], REPAIR, master.len());
            world.assert_in_step();
        }
    }
}

#[tokio::test(start_paused = true)]
async fn another_order_and_other_segments_give_way_to_lookups_and_say_so() {
    let schema = schema(KeyType::S, None);
    let items: Vec<Item> = (0..6000).map(|n| small(n, "1")).collect();
    let pair = Pair { schema, master: items.clone(), slave: items[..5990].to_vec(), expected: Default::default() };
    for (segments, order) in [(1, 1), (4, 1)] {
        let world = world(&[&pair, &pair], &[0, order, 0], 500);
        let before = world.differences();

        let report = world.sync(segments, settings(DRY_RUN), &Worker::default()).await;

        assert_finds_all(&world, &report, DRY_RUN, &before);
        let gave_way: Vec<u64> = report.summary.slaves.iter().map(|slave| slave.gave_way).collect();
        assert_eq!(gave_way, [u64::from(segments), 0], "of {segments} segments");
        // Looking up costs half a unit an item, looking at every candidate twice would cost four times that.
        let consumed = report.summary.consumed["eu-west-1:table-1"].read;
        assert!(consumed < 6000.0, "{consumed}");
    }
}

#[tokio::test(start_paused = true)]
async fn tables_that_agree_cost_what_their_scans_cost() {
    let schema = schema(KeyType::S, None);
    let items: Vec<Item> = (0..9000).map(|n| small(n, &"x".repeat(200))).collect();
    let pair = Pair { schema, master: items.clone(), slave: items, expected: Default::default() };
    for slaves in [1, 3] {
        let world = world(&vec![&pair; slaves], &vec![0; slaves + 1], usize::MAX);
        let report = world.sync(4, settings(REPAIR), &Worker::default()).await;

        let bytes = world.tables[0].describe().await.unwrap().size.bytes;
        #[expect(clippy::cast_precision_loss, reason = "it is small")]
        let bare = bytes as f64 / 4096.0 / 2.0;
        for (table, consumed) in &report.summary.consumed {
            assert!(consumed.read < bare * 1.01, "{table}: {} of {bare}", consumed.read);
        }
        assert_eq!(report.summary.slaves[0].identical, 9000);
    }
}

#[tokio::test(start_paused = true)]
async fn several_slaves_are_exact_after_a_crash_at_any_call() {
    let schema = schema(KeyType::S, None);
    let shares = |missing, differing, extra| Shares { missing, differing, extra };
    let pairs = [shares(0.4, 0.2, 0.1), shares(0.0, 0.0, 0.5), shares(0.1, 0.3, 0.0)]
        .map(|shares| pair_of_tables(&schema, 5, 24, shares));
    // All of them have the first one's master; what is extra in the others is another matter.
    let master = pairs[0].master.clone();
    let pairs = pairs.map(|pair| Pair { master: master.clone(), ..pair });
    let all: Vec<&Pair> = pairs.iter().collect();
    let settings = SyncSettings { confirm: Confirm::AfterMillis(0), ..settings(REPAIR) };
    let fresh = async || {
        let world = world(&all, &[0; 4], 3);
        let job = world.job(1, settings.clone()).await;
        (world, job)
    };
    let (world, job) = fresh().await;
    let expected = world.differences();
    let worker = Worker { concurrency: 1, ..Worker::default() };
    world.work(&worker, &job.enqueue().await).await.unwrap();
    job.report().await.assert_exact(&expected, REPAIR, 24);
    let calls = worker.faults.calls();
    for n in 1..=calls {
        let (world, job) = fresh().await;
        let faults = FaultPlan::new(0).crash_at(n, if n % 2 == 0 { Moment::Before } else { Moment::After });
        let dying = Worker { faults, concurrency: 1, ..Worker::default() };
        world.work(&dying, &job.enqueue().await).await.unwrap();
        tokio::task::yield_now().await;
        tokio::time::advance(PAST_THE_LEASE).await;

        world.work(&Worker::default(), &job.resume().await).await.unwrap();

        job.report().await.assert_exact(&expected, REPAIR, 24);
        world.assert_in_step();
    }
}

/// Stops after so many scans, again and again, and goes on each time; returns the positions in between.
async fn in_many_steps(world: &World, job: &Job, scans: usize) -> Vec<Position> {
    let mut positions = Vec::new();
    let mut queue = job.enqueue().await;
    for _ in 0..500 {
        let worker = Worker { concurrency: 1, ..Worker::default() };
        let (stop, left) = (worker.stop.clone(), AtomicUsize::new(scans));
        let watch = Watch::plain(move |call| {
            if let Call::Table(_, Access::Scan(_)) = call
                && left.fetch_sub(1, Ordering::SeqCst) == 1
            {
                stop.cancel();
            }
            None
        });
        world.work(&Worker { watch: Some(watch), ..worker }, &queue).await.expect("the worker ends in good order");
        let views = job.views().await.expect("the folder is whole");
        if views.values().all(|view| view.checkpoint.has_ended()) {
            return positions;
        }
        positions.extend(views.into_values().map(|view| view.checkpoint.position));
        queue = job.resume().await;
    }
    panic!("it does not end");
}

#[tokio::test(start_paused = true)]
async fn lanes_that_stand_apart_go_on_together_and_count_each_item_once() {
    let schema = schema(KeyType::S, None);
    for (seed, shares) in [
        (1, [(0.5, 0.1, 0.0), (0.0, 0.1, 0.9)]),
        (2, [(0.9, 0.0, 0.0), (0.0, 0.0, 0.0)]),
        (3, [(0.3, 0.3, 0.3), (1.0, 0.0, 0.2)]),
    ] {
        let pairs = shares.map(|(missing, differing, extra)| {
            pair_of_tables(&schema, seed, 200, Shares { missing, differing, extra })
        });
        let master = pairs[0].master.clone();
        let pairs = pairs.map(|pair| Pair { master: master.clone(), ..pair });
        let all: Vec<&Pair> = pairs.iter().collect();
        for scans in [9, 14, 23] {
            let world = world(&all, &[0; 3], 6);
            let expected = world.differences();
            let job = world.job(1, settings(REPAIR)).await;

            let positions = in_many_steps(&world, &job, scans).await;

            let apart = |position: &Position| match position {
                Position::Paired(lanes) => lanes.iter().any(|lane| lane.rank > 0),
                _ => false,
            };
            assert!(positions.iter().any(apart), "seed {seed}: no two lanes ever stood apart");
            let mut report = job.report().await;
            // What a worker gave up early when it was stopped looks like a change in flight to the next.
            report.summary.slaves.iter_mut().for_each(|slave| slave.healed = 0);
            report.assert_exact(&expected, REPAIR, 200);
            world.assert_in_step();
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_slave_that_is_slow_does_not_hold_up_the_others_and_follows_them() {
    let schema = schema(KeyType::S, None);
    let pairs = [1, 2].map(|seed| pair_of_tables(&schema, seed, 200, SHARES));
    let pairs = pairs.clone().map(|pair| Pair { master: pairs[0].master.clone(), ..pair });
    let world = world(&[&pairs[0], &pairs[1]], &[0; 3], 20);
    let expected = world.differences();
    let job = world.job(1, settings(REPAIR)).await;
    let queue = job.enqueue().await;
    let watch = Watch::new(|call| async move {
        if let Call::Table(2, Access::Scan(_)) = call {
            tokio::time::sleep(Duration::from_secs(40)).await;
        }
        None
    });
    let worker = Worker { watch: Some(watch), ..Worker::default() };
    let stop = async {
        tokio::time::sleep(Duration::from_secs(90)).await;
        worker.stop.cancel();
    };
    tokio::join!(async { world.work(&worker, &queue).await.expect("it ends in good order") }, stop);

    let views = job.views().await.unwrap();
    let Position::Paired(lanes) = &views.values().next().expect("it was begun").checkpoint.position else {
        panic!("it is done, or was not begun: {views:?}");
    };
    assert_eq!((&lanes[0].master, &lanes[0].slave), (&Mark::End, &Mark::End));
    assert_ne!(lanes[1].master, Mark::End);

    world.work(&Worker::default(), &queue).await.unwrap();
    job.report().await.assert_exact(&expected, REPAIR, 200);
    world.assert_in_step();
}

#[tokio::test(start_paused = true)]
async fn a_lane_that_gave_way_to_lookups_is_resumed_with_lookups() {
    let schema = schema(KeyType::S, None);
    let items: Vec<Item> = (0..4000).map(|n| small(n, "1")).collect();
    let pair = Pair { schema, master: items.clone(), slave: items, expected: Default::default() };
    let world = world(&[&pair], &[0, 1], 200);
    let job = world.job(1, settings(DRY_RUN)).await;

    let positions = in_many_steps(&world, &job, 9).await;

    let method = |position: &Position| match position {
        Position::Paired(lanes) => Some(lanes[0].method),
        _ => None,
    };
    assert!(positions.iter().filter_map(method).any(|method| method == Method::Lookup));
    let report = job.report().await;
    let slave = &report.summary.slaves[0];
    assert_eq!((slave.compared, slave.identical, slave.gave_way), (4000, 4000, 1));
    let scanned: BTreeMap<&str, u64> = report.summary.scanned.iter().map(|(t, n)| (t.as_str(), *n)).collect();
    assert_eq!(scanned, BTreeMap::from([("us-east-1:table-0", 4000), ("eu-west-1:table-1", 4000)]));
}

#[tokio::test(start_paused = true)]
async fn a_job_may_hold_one_slave_by_scans_and_another_by_lookups() {
    let schema = schema(KeyType::S, Some(KeyType::N));
    let pairs = [1, 1].map(|seed| pair_of_tables(&schema, seed, 70, SHARES));
    for policy in [DRY_RUN, REPAIR] {
        let world = world(&[&pairs[0], &pairs[1]], &[0; 3], 9);
        let expected = world.differences();
        let mut job = world.job(3, settings(policy)).await;
        job.manifest.strategies = vec![Strategy::Lookup, Strategy::Paired];
        let job = world.job_of(job.manifest, "mixed").await;
        assert_eq!(job.manifest.passes().count(), if policy.seeks_extra() { 2 } else { 1 });

        world.work(&Worker::default(), &job.enqueue().await).await.unwrap();

        job.report().await.assert_exact(&expected, policy, 70);
    }
}

#[tokio::test(start_paused = true)]
async fn a_change_in_flight_while_both_are_scanned_is_never_reported() {
    let schema = schema(KeyType::S, None);
    let items: Vec<Item> = (0..300).map(|n| small(n, "1")).collect();
    let pair = Pair { schema: schema.clone(), master: items.clone(), slave: items, expected: Default::default() };
    let world = world(&[&pair], &[0; 2], 10);
    let (master, slave) = (Arc::clone(&world.tables[0]), Arc::clone(&world.tables[1]));
    let writes = std::sync::atomic::AtomicU32::new(0);
    // With every page, an application writes to the master, and replication is some milliseconds behind.
    let watch = Watch::plain(move |call| {
        if let Call::Table(_, Access::Scan(_)) = call {
            let n = writes.fetch_add(1, Ordering::SeqCst);
            let changed = small(n * 7 % 300, "2");
            let (added, removed) = (small(1000 + n, "1"), small(n * 11 % 300, ""));
            let removed = Key::of(&schema, &removed).unwrap();
            for item in [&changed, &added] {
                master.put(item.clone()).unwrap();
            }
            master.remove(&removed).unwrap();
            let slave = Arc::clone(&slave);
            tokio::spawn(async move {
                tokio::time::sleep(Duration::from_millis(300)).await;
                slave.put(changed).unwrap();
                slave.put(added).unwrap();
                slave.remove(&removed).unwrap();
            });
            tokio::spawn(tokio::time::sleep(Duration::from_millis(1)));
        }
        None
    });
    let worker = Worker { watch: Some(watch), ..Worker::default() };

    let report = world.sync(2, settings(REPAIR), &worker).await;

    assert_eq!((report.lines.len(), worker.faults.writes()), (0, 0));
    assert!(report.summary.slaves[0].healed > 0, "nothing was in flight");
}

/// Items in the order of a scan.
fn in_order(schema: &KeySchema, count: u32) -> Vec<Item> {
    let items: Vec<Item> = (0..count).map(|n| small(n, "1")).collect();
    World::new(schema, [items.as_slice()], 10).tables[0].items()
}

/// A worker each of whose scans takes as long as `time` says, by table and by how many that table had before.
fn scanning_for(time: impl Fn(usize, usize) -> Duration + Send + Sync + 'static) -> Worker {
    let counts: [AtomicUsize; 3] = Default::default();
    let shared = Arc::new((counts, time));
    let watch = Watch::new(move |call| {
        let shared = Arc::clone(&shared);
        async move {
            if let Call::Table(table, Access::Scan(_)) = call {
                let count = shared.0[table].fetch_add(1, Ordering::SeqCst);
                tokio::time::sleep((shared.1)(table, count)).await;
            }
            None
        }
    });
    Worker { watch: Some(watch), ..Worker::default() }
}

#[tokio::test(start_paused = true)]
async fn a_stretch_that_one_side_lacks_is_passed_over_many_commits() {
    let schema = schema(KeyType::S, None);
    let all = in_order(&schema, 6000);
    let slave = [&all[..1500], &all[2500..]].concat();
    let world = World::new(&schema, [all.as_slice(), slave.as_slice()], 100);
    let worker = scanning_for(|_, _| Duration::from_millis(500));

    let report = world.sync(1, settings(DRY_RUN), &worker).await;

    let slave = &report.summary.slaves[0];
    assert_eq!((slave.gave_way, slave.missing, slave.identical, slave.healed), (0, 1000, 5000, 0));
    let consumed = report.summary.consumed["eu-west-1:table-1"].read;
    assert!(consumed < 1000.0 + 50.0, "{consumed}: more than the missing ones were looked at");
}

#[tokio::test(start_paused = true)]
async fn slaves_that_are_slow_together_are_waited_for() {
    let schema = schema(KeyType::S, None);
    let all = in_order(&schema, 3000);
    let world = World::new(&schema, [all.as_slice(), all.as_slice(), all.as_slice()], 100);
    let worker = scanning_for(|table, count| match (table, count) {
        (1 | 2, 20) => Duration::from_secs(35),
        _ => Duration::from_millis(100),
    });

    let report = world.sync(1, settings(DRY_RUN), &worker).await;

    for slave in &report.summary.slaves {
        assert_eq!((slave.gave_way, slave.identical), (0, 3000));
        assert!(report.summary.consumed[&slave.table].read < 100.0, "{:?}", report.summary.consumed);
    }
}

/// Commits a checkpoint with one lane after the 10th item and another after the 50th, each counted as identical.
async fn stand_apart(job: &Job, items: &[Item]) {
    let schema = &job.manifest.key_schema;
    let lane = |decided: usize, rank| {
        let mark = Mark::After(Key::of(schema, &items[decided - 1]).expect("it has a key").to_json());
        Lane { master: mark.clone(), slave: mark, rank, method: Method::Join, left_behind: false }
    };
    let mut tally = Tally::zero(2);
    for (slave, decided) in tally.slaves.iter_mut().zip([10, 50]) {
        (slave.compared, slave.identical) = (decided, decided);
    }
    tally.scanned = vec![10, 10, 50];
    let unit = job.manifest.units().next().expect("there is one");
    let Ok(Acquired::Owned(owned)) = job.journal.acquire(unit, 2, None, "me", LEASE).await else {
        panic!("nobody else has it");
    };
    let position = Position::Paired(vec![lane(10, 0), lane(50, 1)]);
    owned.commit(Step { position, tally, ..Step::default() }).await.expect("the store works");
    owned.release().await.expect("the store works");
}

fn assert_counted_once(report: &tests::world::Report, at_most: u64) {
    for slave in &report.summary.slaves {
        assert!(slave.compared <= at_most && slave.compared == slave.identical, "{slave:?}");
    }
    assert!(report.summary.scanned["us-east-1:table-0"] <= at_most, "{:?}", report.summary.scanned);
}

#[tokio::test(start_paused = true)]
async fn lanes_find_each_other_when_the_items_between_them_are_deleted() {
    let schema = schema(KeyType::S, None);
    let all = in_order(&schema, 200);
    let world = World::new(&schema, [all.as_slice(), all.as_slice(), all.as_slice()], 2);
    let job = world.job(1, settings(DRY_RUN)).await;
    stand_apart(&job, &all).await;
    let tables = world.tables.clone();
    // The whole page after the second lane's place, its own key too, once that page was read.
    let keys: Vec<Key> = all[49..52].iter().map(|item| Key::of(&schema, item).unwrap()).collect();
    let last = keys[2].clone();
    let watch = Watch::plain(move |call| {
        if let Call::Table(0, Access::Scan(request)) = &call
            && request.after.as_ref() == Some(&last)
        {
            for table in &tables {
                keys.iter().for_each(|key| drop(table.remove(key).unwrap()));
            }
        }
        None
    });
    let worker = Worker { watch: Some(watch), concurrency: 1, ..Worker::default() };

    world.work(&worker, &job.resume().await).await.unwrap();

    let report = job.report().await;
    assert_eq!(report.summary.units.done, 1);
    assert_counted_once(&report, 200);
}

#[tokio::test(start_paused = true)]
async fn lanes_find_each_other_when_many_items_are_added_between_them() {
    let schema = schema(KeyType::S, None);
    let all = in_order(&schema, 400);
    // The items 10 to 130 are there only every third at first.
    let is_there = |n: usize| !(10..130).contains(&n) || n.is_multiple_of(3);
    let (then, added): (Vec<_>, Vec<_>) = all.iter().cloned().enumerate().partition(|(n, _)| is_there(*n));
    let then: Vec<Item> = then.into_iter().map(|(_, item)| item).collect();
    let world = World::new(&schema, [then.as_slice(), then.as_slice(), then.as_slice()], 5);
    let job = world.job(1, settings(DRY_RUN)).await;
    stand_apart(&job, &then).await;
    for (_, item) in &added {
        world.tables.iter().for_each(|table| table.put(item.clone()).unwrap());
    }

    in_many_steps(&world, &job, 28).await;

    assert_counted_once(&job.report().await, 400);
}

#[tokio::test(start_paused = true)]
async fn a_slave_is_not_scanned_for_extra_items_that_nobody_asked_for() {
    let schema = schema(KeyType::S, None);
    let all = in_order(&schema, 3000);
    let world = World::new(&schema, [&all[..10], all.as_slice()], 100);
    let only_missing = Policy { missing: DRY_RUN.missing, ..Policy::default() };

    let report = world.sync(1, settings(only_missing), &Worker::default()).await;

    assert_eq!(report.summary.slaves[0].identical, 10);
    assert!(report.summary.scanned["eu-west-1:table-1"] < 300, "{:?}", report.summary.scanned);
}

//! What is not to be repaired: newer versions, expired items, items that are still on their way.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use shared::domain::condition::Write;
use shared::domain::decide::Kind;
use shared::domain::discrepancy::Outcome;
use shared::domain::job::{AfterWrite, Confirm, StrategyChoice, SyncSettings};
use shared::domain::key::{Key, KeySchema, KeyType};
use shared::domain::number::Number;
use shared::domain::value::{Item, Value};
use shared::local::table::MemoryTable;
use shared::ports::failure::FailureKind;
use tests::generate::schema;
use tests::watch::{Access, Call, Watch, failure};
use tests::world::{DRY_RUN, REPAIR, Report, Worker, World};

use super::exact::{settings, settings_by};

fn by_id() -> KeySchema {
    schema(KeyType::S, None)
}

fn item(id: &str, version: i64) -> Item {
    let version = Value::N(Number::parse(&version.to_string()).expect("it is a number"));
    [("id".to_owned(), Value::S(id.to_owned())), ("v".to_owned(), version)].into()
}

fn key(id: &str) -> Key {
    Key::of(&by_id(), &item(id, 0)).expect("it has the key")
}

fn outcomes(report: &Report) -> Vec<(Kind, Outcome, Option<&str>)> {
    let mut lines = report.lines.iter().collect::<Vec<_>>();
    lines.sort_by_key(|line| line.key.to_string());
    lines.iter().map(|line| (line.kind, line.outcome, line.reason.as_deref())).collect()
}

fn is_write(call: &Call) -> bool {
    matches!(call, Call::Table(_, Access::Write(_)))
}

#[tokio::test(start_paused = true)]
async fn a_newer_slave_is_reported_and_never_overwritten() {
    for strategy in [StrategyChoice::Lookup, StrategyChoice::Paired] {
        for (policy, outcome) in [(DRY_RUN, Outcome::Reported), (REPAIR, Outcome::Skipped)] {
            for confirm in [Confirm::AfterMillis(1000), Confirm::Never] {
                let (master, slave) = ([item("a", 2), item("b", 2)], [item("a", 3), item("b", 1)]);
                let world = World::new(&by_id(), [&master[..], &slave], 10);
                let by_version = Some("v".to_owned());
                let settings = SyncSettings { version_attribute: by_version, confirm, ..settings_by(strategy, policy) };

                let report = world.sync(1, settings, &Worker::default()).await;

                let newer = (Kind::Differing, outcome, Some("slave is newer"));
                assert_eq!(outcomes(&report)[0], newer, "{strategy:?} {confirm:?}");
                let figures = &report.summary.slaves[0];
                let skipped = u64::from(outcome == Outcome::Skipped);
                assert_eq!((figures.differing, figures.skipped, figures.written), (2, skipped, skipped));
                assert!(world.tables[1].items().contains(&item("a", 3)));
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_version_that_comes_right_before_the_write_is_not_overwritten() {
    let world = World::new(&by_id(), [&[item("a", 2)][..], &[item("a", 1)]], 10);
    let slave = Arc::clone(&world.tables[1]);
    let watch = Watch::plain(move |call| {
        if is_write(&call) {
            slave.put(item("a", 3)).unwrap();
        }
        None
    });
    let settings = SyncSettings { version_attribute: Some("v".to_owned()), ..settings(REPAIR) };

    let report = world.sync(1, settings, &Worker { watch: Some(watch), ..Worker::default() }).await;

    assert_eq!(outcomes(&report), [(Kind::Differing, Outcome::Skipped, Some("slave is newer"))]);
    assert_eq!(world.tables[1].items(), [item("a", 3)]);
}

/// Tables that delete by `v`, and what is long past in it, or far ahead.
fn with_time_to_live(master: &[Item], slave: &[Item]) -> World {
    let mut world = World::new(&by_id(), [], 10);
    for items in [master, slave] {
        let table = MemoryTable::new(by_id()).with_time_to_live("v");
        items.iter().for_each(|item| table.put(item.clone()).expect("it works without faults"));
        world.tables.push(Arc::new(table));
    }
    world
}

#[tokio::test(start_paused = true)]
async fn expired_items_are_a_class_of_their_own_and_not_created_again() {
    let now = jiff::Timestamp::now().as_second();
    let (past, ahead) = (now - 3600, now + 3600);
    for strategy in [StrategyChoice::Lookup, StrategyChoice::Paired] {
        for (policy, outcome) in [(DRY_RUN, Outcome::Reported), (REPAIR, Outcome::Skipped)] {
            for confirm in [Confirm::AfterMillis(1000), Confirm::Never] {
                let world = with_time_to_live(
                    &[item("a", past), item("b", ahead), item("same", past)],
                    &[item("c", past), item("d", ahead), item("same", past)],
                );
                let settings = SyncSettings { confirm, ..settings_by(strategy, policy) };

                let report = world.sync(1, settings, &Worker::default()).await;

                let lines = outcomes(&report);
                let expired = |kind| (kind, outcome, Some("expired"));
                assert_eq!((lines[0], lines[2]), (expired(Kind::Missing), expired(Kind::Extra)), "{strategy:?}");
                let figures = &report.summary.slaves[0];
                assert_eq!((figures.compared, figures.identical, figures.expired), (3, 1, 2));
                assert_eq!((figures.missing, figures.extra), (1, 1));
                let repairs = u64::from(outcome == Outcome::Skipped);
                assert_eq!((figures.written, figures.deleted, figures.skipped), (repairs, repairs, 2 * repairs));
                let left = world.tables[1].items().len();
                assert_eq!(left, 3, "the expired extra is DynamoDB's to delete, and the expired missing is not put");
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn verification_follows_a_master_that_moves_behind_the_write() {
    for (after_write, left) in [(AfterWrite::Trust, 2), (AfterWrite::Verify, 3)] {
        let world = World::new(&by_id(), [&[item("a", 2)][..], &[item("a", 1)]], 10);
        let master = Arc::clone(&world.tables[0]);
        let watch = Watch::plain(move |call| {
            if is_write(&call) {
                master.put(item("a", 3)).unwrap();
            }
            None
        });
        let settings = SyncSettings { after_write, ..settings(REPAIR) };

        let report = world.sync(1, settings, &Worker { watch: Some(watch), ..Worker::default() }).await;

        assert_eq!(world.tables[1].items(), [item("a", left)]);
        assert_eq!(outcomes(&report), [(Kind::Differing, Outcome::Written, None)]);
    }
}

#[tokio::test(start_paused = true)]
async fn an_item_that_is_deleted_while_it_is_put_does_not_come_back() {
    let world = World::new(&by_id(), [&[item("a", 2)][..], &[]], 10);
    let master = Arc::clone(&world.tables[0]);
    let watch = Watch::plain(move |call| {
        if is_write(&call) {
            drop(master.remove(&key("a")).unwrap());
        }
        None
    });

    let report = world.sync(1, settings(REPAIR), &Worker { watch: Some(watch), ..Worker::default() }).await;

    assert!(world.tables[1].is_empty());
    assert_eq!(outcomes(&report), [(Kind::Missing, Outcome::Skipped, Some("changed meanwhile"))]);
}

#[tokio::test(start_paused = true)]
async fn a_put_that_may_not_be_taken_back_is_reported_as_unstable() {
    let world = World::new(&by_id(), [&[item("a", 2)][..], &[]], 10);
    let master = Arc::clone(&world.tables[0]);
    let watch = Watch::plain(move |call| match call {
        Call::Table(1, Access::Write(Write::Put(_))) => {
            drop(master.remove(&key("a")).unwrap());
            None
        }
        Call::Table(1, Access::Write(Write::Delete(_))) => Some(failure(FailureKind::Denied)),
        _ => None,
    });

    let report = world.sync(1, settings(REPAIR), &Worker { watch: Some(watch), ..Worker::default() }).await;

    let [(Kind::Missing, Outcome::Unstable, Some(reason))] = outcomes(&report)[..] else { panic!("{report:?}") };
    assert!(reason.contains("not permitted"), "{reason}");
    assert_eq!((report.summary.units.failed, report.summary.slaves[0].unstable), (0, 1));
}

/// A slave that gets what the master has so long after the first look at it.
fn lagging(world: &World, lag: Duration) -> Worker {
    let (master, slave) = (Arc::clone(&world.tables[0]), Arc::clone(&world.tables[1]));
    let started = tokio::time::Instant::now();
    let watch = Watch::plain(move |_| {
        if started.elapsed() >= lag {
            for item in master.items() {
                slave.put(item).expect("it works without faults");
            }
        }
        None
    });
    Worker { watch: Some(watch), ..Worker::default() }
}

#[tokio::test(start_paused = true)]
async fn a_slave_that_lags_no_more_than_it_may_is_not_reported() {
    for strategy in [StrategyChoice::Lookup, StrategyChoice::Paired] {
        let items: Vec<Item> = (0..30).map(|n| item(&format!("{n}"), 1)).collect();
        let of = |max_lag_ms| SyncSettings { max_lag_ms, ..settings_by(strategy, DRY_RUN) };

        let world = World::new(&by_id(), [&items[..], &[]], 10);
        let impatient = world.sync(1, of(None), &lagging(&world, Duration::from_secs(20))).await;
        let world = World::new(&by_id(), [&items[..], &[]], 10);
        let patient = world.sync(1, of(Some(30_000)), &lagging(&world, Duration::from_secs(20))).await;

        assert!(impatient.summary.slaves[0].missing > 0, "{strategy:?}");
        let figures = &patient.summary.slaves[0];
        assert_eq!((figures.missing, figures.healed, figures.identical), (0, 30, 30), "{strategy:?}");
        assert_eq!(patient.lines, []);
    }
}

#[tokio::test(start_paused = true)]
async fn what_stands_still_for_as_long_as_a_slave_may_lag_is_a_discrepancy() {
    let world = World::new(&by_id(), [&[item("a", 2)][..], &[item("a", 1)]], 10);
    let settings = SyncSettings { max_lag_ms: Some(30_000), ..settings(REPAIR) };
    let started = tokio::time::Instant::now();

    let report = world.sync(1, settings, &Worker::default()).await;

    assert!(started.elapsed() >= Duration::from_secs(30));
    assert_eq!(outcomes(&report), [(Kind::Differing, Outcome::Written, None)]);
    world.assert_in_step();
}

#[tokio::test(start_paused = true)]
async fn a_master_that_changes_as_long_as_a_slave_may_lag_is_unstable_and_not_repaired() {
    let world = World::new(&by_id(), [&[item("a", 0)][..], &[item("a", -1)]], 10);
    let (master, version) = (Arc::clone(&world.tables[0]), AtomicI64::new(0));
    let watch = Watch::plain(move |call| {
        if matches!(call, Call::Table(0, Access::Get(_))) {
            master.put(item("a", version.fetch_add(1, Ordering::SeqCst))).unwrap();
        }
        None
    });
    let settings = SyncSettings { max_lag_ms: Some(10_000), ..settings(REPAIR) };

    let report = world.sync(1, settings, &Worker { watch: Some(watch), ..Worker::default() }).await;

    assert_eq!(outcomes(&report), [(Kind::Differing, Outcome::Unstable, Some("the master's item kept changing"))]);
    let figures = &report.summary.slaves[0];
    assert_eq!((figures.differing, figures.unstable, figures.written, figures.remaining()), (1, 1, 0, 1));
    assert_eq!(world.tables[1].items(), [item("a", -1)]);
}

#[tokio::test(start_paused = true)]
async fn a_job_slows_down_while_what_looks_different_keeps_healing() {
    // Each suspect is in step a moment after the first look at it: a replication that is always a little behind.
    let items: Vec<Item> = (0..20).map(|n| item(&format!("{n:02}"), 1)).collect();
    let mut took = Vec::new();
    for heals in [true, false] {
        let world = World::new(&by_id(), [&items[..], &[]], 1);
        let (master, slave) = (Arc::clone(&world.tables[0]), Arc::clone(&world.tables[1]));
        let watch = Watch::new(move |call| {
            let (master, slave) = (Arc::clone(&master), Arc::clone(&slave));
            async move {
                if let Call::Table(0, Access::Scan(_)) = call {
                    tokio::time::sleep(Duration::from_secs(3)).await;
                }
                if let Call::Table(1, Access::Get(request)) = &call
                    && request.consistency == shared::domain::job::Consistency::Strong
                    && heals
                {
                    let asked =
                        |item: &Item| request.keys.iter().any(|key| Key::of(&by_id(), item).as_ref() == Ok(key));
                    master.items().into_iter().filter(asked).for_each(|item| slave.put(item).unwrap());
                }
                None
            }
        });
        let started = tokio::time::Instant::now();
        let settings = settings_by(StrategyChoice::Lookup, DRY_RUN);
        world.sync(1, settings, &Worker { watch: Some(watch), ..Worker::default() }).await;
        took.push(started.elapsed());
    }
    assert!(took[0] > 2 * took[1], "{took:?}");
}

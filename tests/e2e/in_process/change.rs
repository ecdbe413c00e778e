//! Tables that change while they are compared and repaired: what heals is no discrepancy, and nothing gets worse.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use shared::domain::condition::Write;
use shared::domain::decide::Kind;
use shared::domain::discrepancy::{Discrepancy, Outcome};
use shared::domain::job::{Confirm, Consistency, SyncSettings};
use shared::domain::key::{Key, KeySchema, KeyType};
use shared::domain::value::{Item, Value};
use shared::local::table::MemoryTable;
use shared::ports::faulty::{FaultPlan, Moment};
use tests::generate::schema;
use tests::watch::{Access, Call, Watch};
use tests::world::{DRY_RUN, PAST_THE_LEASE, REPAIR, Report, Worker, World};
use worker::hooks::{Consent, Hooks};

use super::exact::settings;

fn by_id() -> KeySchema {
    schema(KeyType::S, None)
}

fn item(id: &str, version: &str) -> Item {
    [("id".to_owned(), Value::S(id.to_owned())), ("v".to_owned(), Value::S(version.to_owned()))].into()
}

fn key(id: &str) -> Key {
    Key::of(&by_id(), &item(id, "")).expect("it works without faults")
}

fn world(master: &[Item], slave: &[Item]) -> World {
    World::new(&by_id(), [master, slave], 10)
}

/// Does something once, at the first moment that fits.
fn once(fits: impl Fn(&Call) -> bool + Send + Sync + 'static, act: impl Fn() + Send + Sync + 'static) -> Worker {
    let done = AtomicBool::new(false);
    let watch = Watch::plain(move |call| {
        if fits(&call) && !done.swap(true, Ordering::SeqCst) {
            act();
        }
        None
    });
    Worker { watch: Some(watch), ..Worker::default() }
}

/// The second look: strongly consistent reads by key, while scans are not.
fn is_second_look(call: &Call) -> bool {
    matches!(call, Call::Table(_, Access::Get(request)) if request.consistency == Consistency::Strong)
}

fn is_write(call: &Call) -> bool {
    matches!(call, Call::Table(_, Access::Write(_)))
}

/// The commit that names the repairs about to be made; a list of them is uploaded just before.
fn is_pending(call: &Call) -> bool {
    matches!(call, Call::Put(_, key) if key.contains("pending"))
}

fn outcomes(report: &Report) -> Vec<(Kind, Outcome, Option<&str>)> {
    report.lines.iter().map(|line| (line.kind, line.outcome, line.reason.as_deref())).collect()
}

#[tokio::test(start_paused = true)]
async fn what_heals_before_the_second_look_is_counted_and_not_reported() {
    for policy in [DRY_RUN, REPAIR] {
        let world = world(
            &[item("late", "1"), item("stale", "2"), item("same", "1")],
            &[item("stale", "1"), item("same", "1"), item("going", "1")],
        );
        let slave = Arc::clone(&world.tables[1]);
        let worker = once(is_second_look, move || {
            slave.put(item("late", "1")).unwrap();
            slave.put(item("stale", "2")).unwrap();
            slave.remove(&key("going")).unwrap();
        });

        // Segment 0 of 1: both passes look for the second time; the extra heals in its own pass or before it.
        let report = world.sync(1, settings(policy), &Worker { concurrency: 1, ..worker.clone() }).await;

        assert_eq!(outcomes(&report), []);
        assert_eq!(worker.faults.writes(), 0);
        let figures = &report.summary.slaves[0];
        assert_eq!((figures.healed, figures.compared, figures.identical), (2, 3, 3));
        assert_eq!((figures.missing, figures.differing, figures.extra), (0, 0, 0));
    }
}

#[tokio::test(start_paused = true)]
async fn an_extra_that_is_gone_at_the_second_look_is_counted_as_healed() {
    let world = world(&[], &[item("going", "1")]);
    let slave = Arc::clone(&world.tables[1]);
    let worker = once(is_second_look, move || drop(slave.remove(&key("going")).unwrap()));

    let report = world.sync(1, settings(REPAIR), &worker).await;

    assert_eq!((outcomes(&report).len(), report.summary.slaves[0].healed, worker.faults.writes()), (0, 1, 0));
}

#[tokio::test(start_paused = true)]
async fn the_newest_image_of_the_master_is_put() {
    for confirm in [Confirm::AfterMillis(1000), Confirm::Never] {
        for slave in [vec![], vec![item("a", "0")]] {
            let world = world(&[item("a", "1")], &slave);
            let master = Arc::clone(&world.tables[0]);
            let worker = once(is_second_look, move || master.put(item("a", "2")).unwrap());

            let report = world.sync(1, SyncSettings { confirm, ..settings(REPAIR) }, &worker).await;

            assert_eq!(world.tables[1].items(), [item("a", "2")], "{confirm:?}");
            assert_eq!(report.summary.slaves[0].written, 1);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_image_that_waited_long_for_its_commit_is_read_again() {
    let world = world(&[item("a", "1")], &[]);
    let master = Arc::clone(&world.tables[0]);
    let done = Arc::new(AtomicBool::new(false));
    let watch = Watch::new(move |call| {
        let (master, done) = (Arc::clone(&master), Arc::clone(&done));
        async move {
            if is_pending(&call) && !done.swap(true, Ordering::SeqCst) {
                tokio::time::sleep(std::time::Duration::from_secs(2)).await;
                master.put(item("a", "2")).unwrap();
            }
            None
        }
    });

    world.sync(1, settings(REPAIR), &Worker { watch: Some(watch), ..Worker::default() }).await;

    assert_eq!(world.tables[1].items(), [item("a", "2")]);
}

#[tokio::test(start_paused = true)]
async fn an_item_deleted_from_the_master_meanwhile_is_not_made_again() {
    for confirm in [Confirm::AfterMillis(1000), Confirm::Never] {
        let world = world(&[item("a", "1")], &[]);
        let master = Arc::clone(&world.tables[0]);
        let worker = once(is_second_look, move || drop(master.remove(&key("a")).unwrap()));

        let report = world.sync(1, SyncSettings { confirm, ..settings(REPAIR) }, &worker).await;

        assert!(world.tables[1].is_empty(), "{confirm:?}");
        assert_eq!((outcomes(&report).len(), report.summary.slaves[0].healed), (0, 1));
    }
}

#[tokio::test(start_paused = true)]
async fn an_extra_that_appears_in_the_master_meanwhile_is_not_deleted() {
    // Before the second look, and after it: while the repairs that it led to are committed.
    for fits in [is_second_look, is_pending] {
        for image in ["1", "other"] {
            let world = world(&[], &[item("a", "1")]);
            let master = Arc::clone(&world.tables[0]);
            let worker = once(fits, move || master.put(item("a", image)).unwrap());

            let report = world.sync(1, settings(REPAIR), &worker).await;

            assert_eq!(world.tables[1].items(), [item("a", "1")]);
            assert_eq!((worker.faults.writes(), report.summary.slaves[0].deleted), (0, 0));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_slave_that_changes_right_before_the_write_is_decided_again() {
    // What the slave's own writers do at the last moment, what is there in the end, and what is reported.
    let one = |version: &str| vec![item("a", version)];
    let cases = [
        (one("2"), vec![], Some(item("a", "1")), one("2"), Outcome::Written),
        (one("2"), one("0"), Some(item("a", "1")), one("2"), Outcome::Written),
        (one("2"), one("0"), None, one("2"), Outcome::Written),
        (vec![], one("0"), Some(item("a", "1")), vec![], Outcome::Deleted),
    ];
    for (master, slave, change, left, outcome) in cases {
        let world = world(&master, &slave);
        let table = Arc::clone(&world.tables[1]);
        let worker = once(is_write, move || match &change {
            Some(item) => table.put(item.clone()).unwrap(),
            None => drop(table.remove(&key("a")).unwrap()),
        });

        let report = world.sync(1, settings(REPAIR), &worker).await;

        assert_eq!(report.lines.iter().map(|line| line.outcome).collect::<Vec<_>>(), [outcome]);
        assert_eq!(world.tables[1].items(), left);
        assert!(worker.faults.writes() >= 2, "the first write met a change");
    }
}

#[tokio::test(start_paused = true)]
async fn a_slave_that_gets_the_masters_image_right_before_the_write_has_healed() {
    let world = world(&[item("a", "2")], &[item("a", "1")]);
    let slave = Arc::clone(&world.tables[1]);
    let worker = once(is_write, move || slave.put(item("a", "2")).unwrap());

    let report = world.sync(1, settings(REPAIR), &worker).await;

    let figures = &report.summary.slaves[0];
    assert_eq!(outcomes(&report), []);
    assert_eq!((figures.healed, figures.differing, figures.identical, figures.written), (1, 0, 1, 0));
}

/// A slave with a writer that is always quicker.
fn restless(table: Arc<MemoryTable>) -> Worker {
    let count = AtomicU32::new(0);
    let watch = Watch::plain(move |call| {
        if is_write(&call) {
            let count = count.fetch_add(1, Ordering::SeqCst);
            table.put(item("a", &format!("restless {count}"))).expect("it works without faults");
        }
        None
    });
    Worker { watch: Some(watch), ..Worker::default() }
}

#[tokio::test(start_paused = true)]
async fn a_slave_that_never_stands_still_is_left_alone() {
    for master in [vec![item("a", "2")], vec![]] {
        let world = world(&master, &[item("a", "0")]);
        let worker = restless(Arc::clone(&world.tables[1]));

        let report = world.sync(1, settings(REPAIR), &worker).await;

        let figures = &report.summary.slaves[0];
        assert_eq!((figures.skipped, figures.written, figures.deleted), (1, 0, 0));
        assert_eq!(report.lines[0].reason.as_deref(), Some("changed meanwhile"));
        assert_eq!(world.tables[1].len(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn a_successor_claims_no_repair_that_the_slave_does_not_show() {
    for (moment, left) in [(Moment::Before, 1), (Moment::After, 0)] {
        let world = world(&[], &[item("a", "1")]);
        let job = world.job(1, settings(REPAIR)).await;
        let calls = {
            // The call that deletes, found by a run on tables of its own.
            let dry = self::world(&[], &[item("a", "1")]);
            let job = dry.job(1, settings(REPAIR)).await;
            let (worker, at) = (Worker { concurrency: 1, ..Worker::default() }, Arc::new(AtomicU64::new(0)));
            let watch = {
                let (faults, at) = (worker.faults.clone(), Arc::clone(&at));
                Watch::plain(move |call| {
                    if is_write(&call) {
                        at.store(faults.calls(), Ordering::SeqCst);
                    }
                    None
                })
            };
            dry.work(&Worker { watch: Some(watch), ..worker }, &job.enqueue().await).await.unwrap();
            at.load(Ordering::SeqCst)
        };
        let faults = FaultPlan::new(0).crash_at(calls, moment);
        let dying = Worker { faults, concurrency: 1, ..Worker::default() };
        world.work(&dying, &job.enqueue().await).await.unwrap();
        assert!(dying.faults.has_crashed());
        tokio::task::yield_now().await;
        tokio::time::advance(PAST_THE_LEASE).await;
        assert_eq!(world.tables[1].len(), left);
        // The master gets the very item, so that both sides agree where it was not deleted.
        world.tables[0].put(item("a", "1")).unwrap();

        world.work(&Worker::default(), &job.resume().await).await.unwrap();

        let report = job.report().await;
        assert_eq!(outcomes(&report), [(Kind::Extra, Outcome::Skipped, Some("changed meanwhile"))]);
        assert_eq!((report.summary.slaves[0].deleted, world.tables[1].len()), (0, left));
    }
}

/// Refuses some writes, and remembers what it is told.
#[derive(Default)]
struct Strict {
    told: Mutex<Vec<(String, Outcome)>>,
}

impl Hooks for Strict {
    fn differing(&self, master: &Item, slave: &Item) -> Option<Vec<String>> {
        // Case does not count for this program.
        let lower = |item: &Item| format!("{:?}", item.get("v")).to_lowercase();
        Some(if lower(master) == lower(slave) { vec![] } else { vec!["v".to_owned()] })
    }

    fn before_write(&self, _: &str, write: &Write) -> Consent {
        match write {
            Write::Put(item) if item["v"] == Value::S("secret".into()) => Consent::Refuse("it is secret".into()),
            Write::Put(_) | Write::Delete(_) => Consent::Proceed,
        }
    }

    fn on_outcome(&self, settled: &Discrepancy) {
        self.told.lock().expect("it works without faults").push((settled.key.to_string(), settled.outcome));
    }
}

#[tokio::test(start_paused = true)]
async fn an_embedding_program_compares_vetoes_and_is_told() {
    let world = world(
        &[item("a", "Case"), item("b", "secret"), item("c", "plain")],
        &[item("a", "cASE"), item("c", "other"), item("d", "extra")],
    );
    let strict = Arc::new(Strict::default());
    let worker = Worker { hooks: Arc::clone(&strict) as _, ..Worker::default() };

    let report = world.sync(1, settings(REPAIR), &worker).await;

    let figures = &report.summary.slaves[0];
    assert_eq!((figures.identical, figures.skipped, figures.written, figures.deleted), (1, 1, 1, 1));
    let refused = report.lines.iter().find(|line| line.outcome == Outcome::Skipped).unwrap();
    assert_eq!(refused.reason.as_deref(), Some("it is secret"));
    assert_eq!(strict.told.lock().unwrap().len(), 3);
    assert!(world.tables[1].items().contains(&item("a", "cASE")) && world.tables[1].len() == 2);
}

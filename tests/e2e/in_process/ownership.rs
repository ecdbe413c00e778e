//! One owner per unit: who was replaced writes nothing more, and who comes second does not begin.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use shared::domain::checkpoint::State;
use shared::domain::key::KeyType;
use shared::domain::unit::{Pass, Unit};
use shared::journal::{Acquired, Journal};
use tests::generate::{Pair, Shares, pair_of_tables, schema};
use tests::watch::{Access, Call, Watch, When, sleep_through};
use tests::world::{Job, LEASE, PAST_THE_LEASE, REPAIR, Worker, World};

use super::exact::settings;

/// So many calls that fit are let through before the one that is meant.
type Moment = (u32, fn(&Call) -> bool);

const UNIT: Unit = Unit { pass: Pass::Master, segment: 0 };

fn pair() -> Pair {
    pair_of_tables(&schema(KeyType::S, None), 7, 12, Shares { missing: 0.5, differing: 0.3, extra: 0.0 })
}

async fn world_and_job(pair: &Pair) -> (World, Job) {
    let world = World::of_pair(pair, 4);
    let policy = shared::domain::decide::Policy { extra: Default::default(), ..REPAIR };
    let job = world.job(1, settings(policy)).await;
    (world, job)
}

async fn take(journal: &Journal) -> Box<shared::journal::OwnedUnit> {
    match journal.acquire(UNIT, 1, None, "the heir", LEASE).await.expect("it works without faults") {
        Acquired::Owned(owned) => owned,
        _ => panic!("the unit is not free"),
    }
}

/// A worker that is stopped for longer than its lease at the first call that fits, or at a later one, and replaced
/// meanwhile.
fn stopped_at(
    (skipped, fits): (u32, fn(&Call) -> bool),
    journal: Journal,
) -> (Worker, Arc<Mutex<Vec<Call>>>, Arc<AtomicBool>) {
    let (later, replaced) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicBool::new(false)));
    let (seen, stopping) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicBool::new(false)));
    let watch = {
        let (later, replaced) = (Arc::clone(&later), Arc::clone(&replaced));
        Watch::new(move |call| {
            let (journal, later, replaced) = (journal.clone(), Arc::clone(&later), Arc::clone(&replaced));
            let (seen, stopping) = (Arc::clone(&seen), Arc::clone(&stopping));
            async move {
                if replaced.load(Ordering::SeqCst) {
                    later.lock().expect("it works without faults").push(call);
                } else if stopping.load(Ordering::SeqCst) {
                    // A process that is stopped makes no call at all, and renews no lease.
                    while !replaced.load(Ordering::SeqCst) {
                        tokio::time::sleep(Duration::from_millis(1)).await;
                    }
                    later.lock().expect("it works without faults").push(call);
                } else if fits(&call) && seen.fetch_add(1, Ordering::SeqCst) == skipped {
                    stopping.store(true, Ordering::SeqCst);
                    sleep_through(PAST_THE_LEASE).await;
                    // Dropped without a word, as by a worker that is killed: the message comes back to the test.
                    drop(take(&journal).await);
                    replaced.store(true, Ordering::SeqCst);
                }
                None
            }
        })
    };
    (Worker { watch: Some(watch), concurrency: 1, ..Worker::default() }, later, replaced)
}

#[tokio::test(start_paused = true)]
async fn a_worker_that_was_stopped_and_replaced_writes_nothing_more() {
    let moments: [Moment; 5] = [
        (0, |call| matches!(call, Call::Table(0, Access::Scan(request)) if request.after.is_some())),
        (0, |call| matches!(call, Call::Table(1, Access::Get(_)))),
        (0, |call| matches!(call, Call::Put(When::After, key) if key.contains("pending"))),
        (0, |call| matches!(call, Call::Put(When::Before, key) if key.contains("discrepancies"))),
        // The first commit takes the unit, and right after the second the repairs are made.
        (1, |call| matches!(call, Call::Put(When::After, key) if key.ends_with("checkpoint.json"))),
    ];
    for (n, fits) in moments.into_iter().enumerate() {
        let pair = pair();
        let (world, job) = world_and_job(&pair).await;
        let (worker, later, replaced) = stopped_at(fits, job.journal.clone());
        let queue = job.enqueue().await;
        let stop = worker.stop.clone();
        tokio::select! {
            ended = world.work(&worker, &queue) => ended.unwrap(),
            () = async {
                while !replaced.load(Ordering::SeqCst) {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
                // Long enough to do harm, and shorter than the heir's lease.
                tokio::time::sleep(LEASE / 2).await;
            } => {}
        }
        stop.cancel();
        let later = later.lock().unwrap().clone();
        let wrote = later.iter().any(|call| matches!(call, Call::Table(_, Access::Write(_))));
        let puts = later.iter().filter(|call| matches!(call, Call::Put(When::After, _))).count();
        // It was stopped in the middle of a put, which nobody can call back: that of a part that no checkpoint names.
        let in_flight = usize::from(n == 3);
        assert!(replaced.load(Ordering::SeqCst), "moment {n} did not come");
        assert!(!wrote && puts == in_flight, "moment {n}: {later:?}");

        tokio::time::advance(PAST_THE_LEASE).await;
        world.work(&Worker::default(), &job.resume().await).await.unwrap();
        let expected = tests::oracle::Differences { extra: Default::default(), ..pair.expected.clone() };
        job.report().await.assert_exact(&[expected], job.manifest.sync.policy, pair.master.len());
    }
}

#[tokio::test(start_paused = true)]
async fn a_store_that_is_slow_to_say_what_is_asked_does_not_cost_a_worker_its_lease() {
    let (world, job) = world_and_job(&pair()).await;
    let began = tokio::time::Instant::now();
    let watch = Watch::new(move |call| async move {
        match call {
            Call::Table(0, Access::Scan(_)) => tokio::time::sleep(LEASE * 4).await,
            Call::Get(key) if key.ends_with("control.json") && began.elapsed() > Duration::from_secs(1) => {
                tokio::time::sleep(LEASE * 10).await;
            }
            _ => {}
        }
        None
    });
    let worker = Worker { watch: Some(watch), concurrency: 1, ..Worker::default() };
    let queue = job.enqueue().await;

    tokio::select! {
        _ = world.work(&worker, &queue) => panic!("it ended too soon"),
        () = tokio::time::sleep(LEASE * 2) => {}
    }

    let acquired = job.journal.acquire(UNIT, 1, None, "another", LEASE).await.unwrap();
    assert!(matches!(acquired, Acquired::Busy(_)), "the lease was not renewed");
}

#[tokio::test(start_paused = true)]
async fn a_message_for_a_unit_that_is_taken_waits_and_does_not_begin() {
    let (world, job) = world_and_job(&pair()).await;
    let owned = take(&job.journal).await;
    let accesses = Arc::new(AtomicU32::new(0));
    let looks = Arc::new(AtomicU32::new(0));
    let worker = counting(&accesses, &looks);
    let queue = job.enqueue().await;
    let expected_from = tokio::time::Instant::now() + LEASE;

    let watched = async {
        tokio::time::sleep(LEASE * 9 / 10).await;
        assert_eq!(accesses.load(Ordering::SeqCst), 0, "it began beside the owner");
        assert!(looks.load(Ordering::SeqCst) < 5, "it asks all the time");
        std::future::pending::<()>().await;
    };
    tokio::select! {
        ended = world.work(&worker, &queue) => ended.unwrap(),
        () = watched => {}
    }

    assert!(tokio::time::Instant::now() >= expected_from);
    assert!(owned.renew().await.is_err(), "it was taken over in the end");
    assert_eq!(job.report().await.summary.units.done, 1);
    assert_eq!(queue.dead_letters(), Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn a_message_for_a_unit_that_is_done_is_settled_without_a_look_at_the_tables() {
    let (world, job) = world_and_job(&pair()).await;
    world.work(&Worker::default(), &job.enqueue().await).await.unwrap();
    let accesses = Arc::new(AtomicU32::new(0));
    let before = job.report().await;

    let queue = job.enqueue().await;
    world.work(&counting(&accesses, &Arc::default()), &queue).await.unwrap();

    assert!(queue.is_idle() && queue.dead_letters().is_empty());
    assert_eq!(accesses.load(Ordering::SeqCst), 0);
    assert_eq!(job.report().await.summary, before.summary);
}

#[tokio::test(start_paused = true)]
async fn a_long_unit_keeps_its_lease_and_its_message() {
    let (world, job) = world_and_job(&pair()).await;
    let watch = Watch::new(|call| async move {
        if let Call::Table(0, Access::Scan(_)) = call {
            tokio::time::sleep(LEASE * 3).await;
        }
        None
    });
    let queue = job.enqueue().await;
    let owners = Arc::new(Mutex::new(std::collections::BTreeSet::new()));
    let slow = Worker { watch: Some(watch), ..Worker::default() };
    let look = async {
        loop {
            tokio::time::sleep(LEASE / 4).await;
            if let Some(view) = job.journal.view(UNIT).await.unwrap()
                && let State::Running { owner, .. } = view.checkpoint.state
            {
                assert_eq!(view.lease, shared::domain::summary::LeaseView::Live);
                owners.lock().unwrap().insert(owner);
            }
        }
    };
    tokio::select! {
        (one, other) = async { tokio::join!(world.work(&slow, &queue), world.work(&slow, &queue)) } => {
            one.and(other).unwrap();
        }
        () = look => {}
    }

    assert_eq!(owners.lock().unwrap().len(), 1, "the second worker never got it");
    assert_eq!(job.report().await.summary.units.done, 1);
}

/// A worker whose accesses to tables and looks at checkpoints are counted.
fn counting(accesses: &Arc<AtomicU32>, looks: &Arc<AtomicU32>) -> Worker {
    let (accesses, looks) = (Arc::clone(accesses), Arc::clone(looks));
    let watch = Watch::plain(move |call| {
        match call {
            Call::Table(_, Access::Scan(_) | Access::Get(_) | Access::Write(_)) => {
                accesses.fetch_add(1, Ordering::SeqCst);
            }
            Call::Get(key) if key.ends_with("checkpoint.json") => {
                looks.fetch_add(1, Ordering::SeqCst);
            }
            Call::Table(_, Access::Describe | Access::Create) | Call::Put(..) | Call::Part(_) | Call::Get(_) => {}
        }
        None
    });
    Worker { watch: Some(watch), ..Worker::default() }
}

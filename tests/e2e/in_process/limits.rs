//! Limits of capacity: held by all workers of a job together, however many there are and whatever becomes of them.

use std::sync::Arc;
use std::time::Duration;

use shared::domain::job::{Consistency, StrategyChoice, SyncSettings};
use shared::domain::key::KeyType;
use shared::domain::limits::{Capacity, Direction};
use shared::domain::value::{Item, Value};
use shared::local::queue::LocalQueue;
use tests::generate::schema;
use tests::ledger::{Charge, WINDOW, units_within, worst_window};
use tests::watch::{Call, Watch};
use tests::world::{DRY_RUN, Job, Worker, World};
use tokio::time::Instant;
use worker::plan::LimitsAsked;

use super::exact::settings_by;

const SECOND: Duration = Duration::from_secs(1);

/// Longest time until the shares are right again after workers came or went.
const REBALANCED: Duration = Duration::from_secs(15);

fn items(count: usize, bytes: usize) -> Vec<Item> {
    let note = || ("note".to_owned(), Value::S("x".repeat(bytes.saturating_sub(20))));
    (0..count).map(|n| [("id".to_owned(), Value::S(format!("order-{n:08}"))), note()].into()).collect()
}

/// Two equal tables of which every item is large enough for the rate to keep the job busy.
fn world(count: usize, bytes: usize) -> World {
    let items = items(count, bytes);
    World::new(&schema(KeyType::S, None), [items.as_slice(), items.as_slice()], usize::MAX)
}

fn settings() -> SyncSettings {
    SyncSettings { scan_consistency: Consistency::Strong, ..settings_by(StrategyChoice::Paired, DRY_RUN) }
}

fn reads(units: f64) -> LimitsAsked {
    LimitsAsked { read: Some(Capacity::Units(units)), ..LimitsAsked::default() }
}

/// A worker whose requests take a moment, as they do over a network.
fn remote() -> Worker {
    let watch = Watch::new(|call| async move {
        if let Call::Table(..) = call {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        None
    });
    Worker { watch: Some(watch), concurrency: 4, ..Worker::default() }
}

async fn work_for(world: &World, queue: &Arc<LocalQueue>, workers: &[Worker], time: Duration) {
    let all = futures::future::join_all(workers.iter().map(|worker| world.work(worker, queue)));
    let ended = tokio::time::timeout(time, all).await;
    assert!(ended.is_err(), "the work ended before its time");
}

fn of_master(world: &World) -> Vec<Charge> {
    world.ledger.of(0, Direction::Read)
}

fn assert_held(world: &World, rate: f64, what: &str) {
    for table in 0..world.tables.len() {
        let worst = worst_window(&world.ledger.of(table, Direction::Read)) / (rate * WINDOW.as_secs_f64());
        assert!(worst <= 1.05 + 1e-9, "{what}: 10 seconds of table {table} had {worst:.3} of the rate");
    }
}

/// How much of the rate was used between two moments.
fn used(charges: &[Charge], rate: f64, from: Instant, to: Instant) -> f64 {
    let time = to.duration_since(from);
    units_within(charges, from, time) / (rate * time.as_secs_f64())
}

#[tokio::test(start_paused = true)]
async fn every_ten_seconds_are_within_the_rate_and_nearly_all_of_it_is_used() {
    for (rate, workers, count, bytes) in [
        (1.0, 1, 4000, 300),
        (1.0, 8, 4000, 300),
        (10.0, 1, 6000, 1000),
        (10.0, 8, 6000, 1000),
        (400.0, 1, 18_000, 4000),
        (400.0, 8, 18_000, 4000),
    ] {
        let what = format!("{rate} units, {workers} workers");
        let world = world(count, bytes);
        let job = world.limited_job(64, settings(), reads(rate)).await;
        let queue = job.enqueue().await;
        let began = Instant::now();
        let workers: Vec<Worker> = (0..workers).map(|_| remote()).collect();

        work_for(&world, &queue, &workers, 40 * SECOND).await;

        assert_held(&world, rate, &what);
        let used = used(&of_master(&world), rate, began + REBALANCED, began + 40 * SECOND);
        assert!(used >= 0.95, "{what}: only {used:.3} of the rate was used");
    }
}

#[tokio::test(start_paused = true)]
async fn shares_follow_the_workers_that_come_go_and_die() {
    let rate = 100.0;
    let world = world(30_000, 2000);
    let job = world.limited_job(64, settings(), reads(rate)).await;
    let queue = job.enqueue().await;
    let began = Instant::now();
    let (first, second, third) = (remote(), remote(), remote());

    let comes = async {
        tokio::time::sleep(20 * SECOND).await;
        let stops = async {
            tokio::time::sleep(40 * SECOND).await;
            second.stop.cancel();
        };
        let (ended, ()) = tokio::join!(world.work(&second, &queue), stops);
        ended.unwrap();
    };
    let dies = async {
        tokio::time::sleep(20 * SECOND).await;
        work_for(&world, &queue, std::slice::from_ref(&third), 60 * SECOND).await;
    };
    let all = async { tokio::join!(world.work(&first, &queue), comes, dies) };
    assert!(tokio::time::timeout(110 * SECOND, all).await.is_err());

    assert_held(&world, rate, "in all");
    let charges = of_master(&world);
    for (what, from, to) in [("alone", 5, 20), ("three", 35, 60), ("one left", 75, 80), ("one was killed", 95, 110)] {
        let used = used(&charges, rate, began + from * SECOND, began + to * SECOND);
        assert!(used >= 0.93, "{what}: only {used:.3} of the rate was used");
    }
}

#[tokio::test(start_paused = true)]
async fn a_worker_that_cannot_tell_the_others_of_itself_takes_nothing() {
    let rate = 50.0;
    let world = world(20_000, 2000);
    let job = world.limited_job(64, settings(), reads(rate)).await;
    let queue = job.enqueue().await;
    let began = Instant::now();
    let watch = Watch::new(move |call| async move {
        match call {
            Call::Put(_, key) if key.contains("/workers/") && began.elapsed() > 10 * SECOND => {
                Some(tests::watch::failure(shared::ports::failure::FailureKind::Unavailable))
            }
            _ => None,
        }
    });
    let cut_off = Worker { watch: Some(watch), ..Worker::default() };

    work_for(&world, &queue, std::slice::from_ref(&cut_off), 40 * SECOND).await;

    let charges = of_master(&world);
    assert!(used(&charges, rate, began, began + 10 * SECOND) > 0.9);
    assert_eq!(used(&charges, rate, began + 20 * SECOND, began + 40 * SECOND), 0.0);
}

#[tokio::test(start_paused = true)]
async fn a_limit_can_be_changed_and_lifted_while_the_job_runs() {
    let world = world(60_000, 2000);
    let job = world.limited_job(16, settings(), reads(20.0)).await;
    let queue = job.enqueue().await;
    let began = Instant::now();
    let change = async {
        for (at, units) in [(20, Some(200.0)), (50, Some(10.0)), (80, None)] {
            tokio::time::sleep_until(began + at * SECOND).await;
            limit(&job, units).await;
        }
    };
    let worker = remote();
    let (ended, ()) = tokio::join!(world.work(&worker, &queue), change);
    ended.unwrap();

    let charges = of_master(&world);
    for (rate, from, to) in [(20.0, 2, 20), (200.0, 30, 50), (10.0, 60, 80)] {
        let used = used(&charges, rate, began + from * SECOND, began + to * SECOND);
        assert!((0.95..1.05).contains(&used), "{rate} units: {used:.3} of the rate were used");
    }
    assert!(began.elapsed() < 95 * SECOND, "the limit was not lifted: {:?}", began.elapsed());
    assert_eq!(job.report().await.summary.slaves[0].identical, 60_000);
}

async fn limit(job: &Job, units: Option<f64>) {
    let change = |control: &mut shared::domain::control::Control| {
        let mut limits = job.manifest.limits_now(control).clone();
        limits.set(Direction::Read, &[units, units]);
        control.limits = Some(limits);
    };
    job.journal.change_control(change).await.expect("the store works");
}

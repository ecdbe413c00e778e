//! Budgets, pauses and throttling: the job stops where it is told to, and loses nothing by it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use shared::domain::control::{Control, Wish};
use shared::domain::cost::Prices;
use shared::domain::job::StrategyChoice;
use shared::domain::key::KeyType;
use shared::domain::limits::{Capacity, Direction};
use shared::domain::summary::{JobState, StoppedBy};
use shared::ports::failure::FailureKind;
use tests::generate::{Pair, Shares, pair_of_tables, schema};
use tests::ledger::{Ledger, units_within, worst_window};
use tests::watch::{Access, Call, Watch, When, failure};
use tests::world::{DRY_RUN, Job, REPAIR, Worker, World};
use tokio::time::Instant;
use worker::plan::LimitsAsked;

use super::exact::{STRATEGIES, settings_by};

const SECOND: Duration = Duration::from_secs(1);

fn pair(items: usize) -> Pair {
    pair_of_tables(&schema(KeyType::S, None), 7, items, Shares { missing: 0.3, differing: 0.3, extra: 0.3 })
}

fn dollars(ledger: &Ledger) -> f64 {
    let prices = Prices::US_EAST_ON_DEMAND;
    let of = |direction: Direction| {
        ledger.all().iter().filter(|charge| charge.direction == direction).map(|charge| charge.units).sum::<f64>()
    };
    prices.dollars(of(Direction::Read), of(Direction::Write))
}

fn budget(max_cost: f64) -> LimitsAsked {
    LimitsAsked { max_cost: Some(max_cost), ..LimitsAsked::default() }
}

async fn raise(job: &Job, max_cost: f64) {
    let change = |control: &mut Control| {
        let mut limits = job.manifest.limits_now(control).clone();
        limits.budget.as_mut().expect("it has one").max_cost = max_cost;
        control.limits = Some(limits);
    };
    job.journal.change_control(change).await.expect("the store works");
}

#[tokio::test(start_paused = true)]
async fn a_job_stops_before_it_costs_more_than_its_budget_and_goes_on_with_a_larger_one() {
    let pair = pair(400);
    for (strategy, workers) in STRATEGIES.into_iter().flat_map(|strategy| [1, 3].map(|workers| (strategy, workers))) {
        let world = World::of_pair(&pair, 20);
        let mut max_cost = 0.00004;
        let job = world.limited_job(8, settings_by(strategy, REPAIR), budget(max_cost)).await;
        let mut queue = job.enqueue().await;
        let mut stops = 0;
        loop {
            let workers: Vec<Worker> = (0..workers).map(|_| Worker::default()).collect();
            let ended = futures::future::join_all(workers.iter().map(|worker| world.work(worker, &queue))).await;
            ended.into_iter().collect::<Result<Vec<()>, _>>().unwrap();
            assert!(queue.is_idle() && queue.dead_letters().is_empty());

            let summary = job.report().await.summary;
            let spent = dollars(&world.ledger);
            assert!(spent <= max_cost, "{spent} of {max_cost} dollars were spent");
            if summary.state == JobState::Succeeded {
                break;
            }
            assert_eq!((summary.state, summary.stopped_by), (JobState::Cancelled, Some(StoppedBy::MaxCost)));
            assert_eq!(summary.units.running, 0);
            stops += 1;
            assert!(stops < 100, "it does not come to an end");
            max_cost += 0.00008;
            raise(&job, max_cost).await;
            queue = job.resume().await;
        }

        assert!(stops > 2, "it never stopped for its price");
        job.report().await.assert_exact(std::slice::from_ref(&pair.expected), REPAIR, pair.master.len());
        world.assert_in_step();
        job.assert_summary_is_written().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_budget_that_is_raised_while_the_last_one_runs_out_is_not_taken_for_spent() {
    let pair = pair(400);
    let world = World::of_pair(&pair, 20);
    let job = Arc::new(world.limited_job(4, settings_by(StrategyChoice::Lookup, DRY_RUN), budget(0.00004)).await);
    let raised = Arc::new(AtomicU32::new(0));
    let watch = {
        let (job, raised) = (Arc::clone(&job), Arc::clone(&raised));
        Watch::new(move |call| {
            let (job, raised) = (Arc::clone(&job), Arc::clone(&raised));
            async move {
                let says_spent = matches!(&call, Call::Put(When::Before, key) if key.ends_with("control.json"));
                if says_spent && raised.fetch_add(1, Ordering::SeqCst) == 0 {
                    raise(&job, 1.0).await;
                }
                None
            }
        })
    };
    let worker = Worker { watch: Some(watch), ..Worker::default() };

    world.work(&worker, &job.enqueue().await).await.unwrap();

    assert!(raised.load(Ordering::SeqCst) > 0, "the first budget was not spent");
    assert_eq!(job.report().await.summary.state, JobState::Succeeded);
}

#[tokio::test(start_paused = true)]
async fn what_a_killed_worker_claimed_is_not_spent_again() {
    let pair = pair(400);
    let world = World::of_pair(&pair, 5);
    let max_cost = 0.0001;
    let job = world.limited_job(4, settings_by(StrategyChoice::Lookup, DRY_RUN), budget(max_cost)).await;
    let queue = job.enqueue().await;
    for _ in 0..20 {
        let killed = tokio::time::timeout(2 * SECOND, world.work(&Worker::default(), &queue)).await;
        if killed.is_ok() {
            break;
        }
        tokio::time::sleep(40 * SECOND).await;
    }
    world.work(&Worker::default(), &job.resume().await).await.unwrap();

    assert!(dollars(&world.ledger) <= max_cost, "{} dollars were spent", dollars(&world.ledger));
}

#[tokio::test(start_paused = true)]
async fn a_paused_job_rests_until_it_is_resumed_even_while_it_waits_for_capacity() {
    let pair = pair(300);
    for strategy in STRATEGIES {
        let world = World::of_pair(&pair, 20);
        let asked = Some(Capacity::Units(1.0));
        let limits = LimitsAsked { read: asked, write: asked, ..LimitsAsked::default() };
        let job = world.limited_job(4, settings_by(strategy, REPAIR), limits).await;
        let queue = job.enqueue().await;
        let worker = Worker::default();
        let pause = async {
            tokio::time::sleep(30 * SECOND).await;
            job.journal.set_wish(Wish::Pause).await.unwrap();
            Instant::now()
        };
        let (ended, paused) = tokio::join!(world.work(&worker, &queue), pause);
        ended.unwrap();

        assert!(paused.elapsed() < 20 * SECOND, "it took {:?} to stop", paused.elapsed());
        assert!(queue.is_idle() && queue.dead_letters().is_empty());
        let summary = job.report().await.summary;
        assert_eq!((summary.state, summary.units.running), (JobState::Paused, 0));
        let charged = world.ledger.all().len();
        world.work(&Worker::default(), &job.enqueue().await).await.unwrap();
        assert_eq!(world.ledger.all().len(), charged, "a paused job read something");

        let lift = |control: &mut Control| control.limits = Some(shared::domain::limits::Limits::default());
        job.journal.change_control(lift).await.unwrap();
        world.work(&Worker::default(), &job.resume().await).await.unwrap();
        job.report().await.assert_exact(std::slice::from_ref(&pair.expected), REPAIR, pair.master.len());
        world.assert_in_step();
    }
}

#[tokio::test(start_paused = true)]
async fn a_stopped_worker_does_not_wait_for_capacity() {
    let pair = pair(300);
    let world = World::of_pair(&pair, 20);
    let limits = LimitsAsked { write: Some(Capacity::Units(1.0)), ..LimitsAsked::default() };
    let job = world.limited_job(2, settings_by(StrategyChoice::Paired, REPAIR), limits).await;
    let queue = job.enqueue().await;
    let worker = Worker::default();
    let stop = async {
        tokio::time::sleep(20 * SECOND).await;
        worker.stop.cancel();
        Instant::now()
    };
    let (ended, stopped) = tokio::join!(world.work(&worker, &queue), stop);
    ended.unwrap();

    assert!(stopped.elapsed() < 10 * SECOND, "it took {:?} to stop", stopped.elapsed());
    assert!(worst_window(&world.ledger.of(1, Direction::Write)) <= 10.5);
    let began = Instant::now();
    world.work(&Worker::default(), &queue).await.unwrap();
    job.report().await.assert_exact(std::slice::from_ref(&pair.expected), REPAIR, pair.master.len());
    world.assert_in_step();
    let (writes, seconds) = (world.ledger.of(1, Direction::Write), began.elapsed().as_secs_f64());
    let after: f64 = units_within(&writes, began, Duration::from_secs(3600));
    assert!(seconds <= 1.1 * after + 20.0, "{after} write units took {seconds} seconds");
}

/// A worker whose scans of the master fail so, every tenth time.
fn throttled(kind: FailureKind) -> Worker {
    let calls = Arc::new(AtomicU32::new(0));
    let watch = Watch::new(move |call| {
        let calls = Arc::clone(&calls);
        async move {
            let Call::Table(table, Access::Scan(_)) = call else { return None };
            tokio::time::sleep(Duration::from_millis(20)).await;
            let fails = table == 0 && calls.fetch_add(1, Ordering::Relaxed) % 10 == 9;
            fails.then(|| failure(kind))
        }
    });
    Worker { watch: Some(watch), ..Worker::default() }
}

#[tokio::test(start_paused = true)]
async fn throttling_of_the_table_slows_the_whole_job_and_hot_keys_only_their_segment() {
    let pair = pair(600);
    let mut times = Vec::new();
    for kind in [FailureKind::HotKeys, FailureKind::Throttled] {
        let world = World::of_pair(&pair, 2);
        let job = world.job(8, settings_by(StrategyChoice::Paired, DRY_RUN)).await;
        let queue = job.enqueue().await;
        let began = Instant::now();

        world.work(&throttled(kind), &queue).await.unwrap();

        times.push(began.elapsed());
        job.report().await.assert_exact(std::slice::from_ref(&pair.expected), DRY_RUN, pair.master.len());
    }
    assert!(times[1] > 2 * times[0], "hot keys and throttling took {times:?}");
}

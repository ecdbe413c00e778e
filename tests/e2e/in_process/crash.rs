//! A worker that dies at any call of any port, before or after its effect, costs nothing but time.

use shared::domain::job::{Confirm, SyncSettings};
use shared::domain::key::KeyType;
use shared::ports::faulty::{FaultPlan, Moment};
use tests::generate::{Pair, Shares, pair_of_tables, schema};
use tests::world::{Job, PAST_THE_LEASE, REPAIR, Worker, World};

use super::exact::{STRATEGIES, seed, settings_by};

const SHARES: Shares = Shares { missing: 0.3, differing: 0.3, extra: 0.3 };

fn pair() -> Pair {
    pair_of_tables(&schema(KeyType::S, Some(KeyType::N)), seed(), 8, SHARES)
}

async fn fresh(pair: &Pair, settings: &SyncSettings) -> (World, Job) {
    let world = World::of_pair(pair, 3);
    let job = world.job(2, settings.clone()).await;
    (world, job)
}

async fn calls_of_a_whole_job(pair: &Pair, settings: &SyncSettings, concurrency: usize) -> u64 {
    let (world, job) = fresh(pair, settings).await;
    let worker = Worker { concurrency, ..Worker::default() };
    world.work(&worker, &job.enqueue().await).await.expect("it works without faults");
    worker.faults.calls()
}

async fn assert_ended(pair: &Pair, world: &World, job: &Job, settings: &SyncSettings, what: &str) {
    let report = job.report().await;
    assert_eq!(report.summary.units.done, report.summary.units.total, "{what}: {:?}", report.summary);
    report.assert_exact(std::slice::from_ref(&pair.expected), settings.policy, pair.master.len());
    world.assert_in_step();
    job.assert_summary_is_written().await;
}

/// Lets a worker die at its `n`-th call; tells whether it did.
async fn die(world: &World, queue: &std::sync::Arc<shared::local::queue::LocalQueue>, worker: &Worker) -> bool {
    world.work(worker, queue).await.expect("it works without faults");
    // What was dropped is gone only after the runtime had its turn.
    tokio::task::yield_now().await;
    tokio::time::advance(PAST_THE_LEASE).await;
    worker.faults.has_crashed()
}

#[tokio::test(start_paused = true)]
async fn resume_after_a_crash_at_any_call_is_exact() {
    let pair = pair();
    let confirms = [Confirm::AfterMillis(1000), Confirm::Never];
    for (confirm, strategy) in confirms.into_iter().flat_map(|confirm| STRATEGIES.map(|strategy| (confirm, strategy))) {
        let settings = SyncSettings { confirm, ..settings_by(strategy, REPAIR) };
        let calls = calls_of_a_whole_job(&pair, &settings, 1).await;
        assert!(calls > 40, "{calls} calls are no test");
        for moment in [Moment::Before, Moment::After] {
            for n in 1..=calls {
                let (world, job) = fresh(&pair, &settings).await;
                let faults = FaultPlan::new(seed()).crash_at(n, moment);
                let dying = Worker { faults, concurrency: 1, ..Worker::default() };
                assert!(die(&world, &job.enqueue().await, &dying).await, "call {n} of {calls} was not made");

                world.work(&Worker::default(), &job.resume().await).await.unwrap();

                assert_ended(&pair, &world, &job, &settings, &format!("{moment:?} call {n}")).await;
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn another_worker_of_the_same_queue_goes_on_without_resume() {
    let pair = pair();
    for settings in STRATEGIES.map(|strategy| settings_by(strategy, REPAIR)) {
        let calls = calls_of_a_whole_job(&pair, &settings, 2).await;
        for moment in [Moment::Before, Moment::After] {
            for n in 1..=calls {
                let (world, job) = fresh(&pair, &settings).await;
                let queue = job.enqueue().await;
                let faults = FaultPlan::new(seed()).crash_at(n, moment);
                die(&world, &queue, &Worker { faults, ..Worker::default() }).await;

                world.work(&Worker::default(), &queue).await.unwrap();

                assert!(queue.is_idle() && queue.dead_letters().is_empty());
                assert_ended(&pair, &world, &job, &settings, &format!("{moment:?} call {n}")).await;
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn workers_that_die_one_after_the_other_get_it_done_between_them() {
    let pair = pair();
    for (every, strategy) in [31, 37, 43].into_iter().flat_map(|every| STRATEGIES.map(|strategy| (every, strategy))) {
        let settings = settings_by(strategy, REPAIR);
        let (world, job) = fresh(&pair, &settings).await;
        let queue = job.enqueue().await;
        let mut deaths = 0;
        for round in 0..200 {
            let faults = FaultPlan::new(round)
                .failing(0.05)
                .crash_at(every + round % 7, [Moment::Before, Moment::After][round as usize % 2]);
            if !die(&world, &queue, &Worker { faults, ..Worker::default() }).await {
                break;
            }
            deaths += 1;
        }
        assert!(deaths > 1, "nobody died");
        assert!(queue.is_idle(), "{deaths} workers died in vain");
        assert_eq!(queue.dead_letters(), Vec::<String>::new());
        assert_ended(&pair, &world, &job, &settings, &format!("a death every {every} calls")).await;
    }
}

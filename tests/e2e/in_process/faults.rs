//! Calls that fail, batches that are done in part, messages that come twice: the job ends exact all the same.

use shared::domain::job::SyncSettings;
use shared::domain::key::KeyType;
use shared::ports::faulty::FaultPlan;
use tests::generate::{Shares, pair_of_tables, schema};
use tests::world::{DRY_RUN, PAST_THE_LEASE, REPAIR, Worker, World};

use super::exact::{STRATEGIES, seed, settings};

const SHARES: Shares = Shares { missing: 0.2, differing: 0.2, extra: 0.2 };

/// Works until the job has ended, as a fleet would whose workers are replaced and whose job is resumed.
async fn until_it_ends(faults: impl Fn(u64) -> FaultPlan, settings: SyncSettings, seed: u64) {
    for strategy in STRATEGIES {
        until_it_ends_by(&faults, SyncSettings { strategy, ..settings.clone() }, seed).await;
    }
}

async fn until_it_ends_by(faults: &impl Fn(u64) -> FaultPlan, settings: SyncSettings, seed: u64) {
    let pair = pair_of_tables(&schema(KeyType::S, Some(KeyType::N)), seed, 24, SHARES);
    let world = World::of_pair(&pair, 3);
    let policy = settings.policy;
    let job = world.job(3, settings).await;
    let mut queue = job.enqueue().await;
    for round in 0..20 {
        let worker = Worker { faults: faults(seed * 1000 + round), ..Worker::default() };
        world.work(&worker, &queue).await.expect("it works without faults");
        assert!(queue.is_idle());
        let report = job.report().await;
        if report.summary.units.done == report.summary.units.total {
            report.assert_exact(std::slice::from_ref(&pair.expected), policy, pair.master.len());
            job.assert_summary_is_written().await;
            if policy == REPAIR {
                world.assert_in_step();
            } else {
                assert_eq!(worker.faults.writes(), 0);
            }
            return;
        }
        tokio::time::advance(PAST_THE_LEASE).await;
        queue = job.resume().await;
    }
    panic!("seed {seed}: the job does not end: {:?}", job.report().await.summary);
}

#[tokio::test(start_paused = true)]
async fn failures_in_passing_change_nothing() {
    for seed in seed()..seed() + 20 {
        until_it_ends(|seed| FaultPlan::new(seed).failing(0.1), settings(REPAIR), seed).await;
    }
}

#[tokio::test(start_paused = true)]
async fn answers_in_part_change_nothing() {
    for seed in seed()..seed() + 20 {
        until_it_ends(|seed| FaultPlan::new(seed).partial(0.5), settings(REPAIR), seed).await;
    }
}

#[tokio::test(start_paused = true)]
async fn messages_that_come_twice_change_nothing() {
    for seed in seed()..seed() + 20 {
        until_it_ends(|seed| FaultPlan::new(seed).duplicating(0.3), settings(REPAIR), seed).await;
    }
}

#[tokio::test(start_paused = true)]
async fn all_of_it_together_changes_nothing() {
    let faults = |seed| FaultPlan::new(seed).failing(0.15).partial(0.3).duplicating(0.15);
    for seed in seed()..seed() + 30 {
        until_it_ends(faults, settings(REPAIR), seed).await;
        until_it_ends(faults, settings(DRY_RUN), seed).await;
    }
}

#[tokio::test(start_paused = true)]
async fn with_few_retries_units_are_given_back_and_done_later() {
    let faults = |seed| FaultPlan::new(seed).failing(0.2).partial(0.3);
    for seed in seed()..seed() + 10 {
        until_it_ends(faults, SyncSettings { max_retries: 1, ..settings(REPAIR) }, seed).await;
    }
}

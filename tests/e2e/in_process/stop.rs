//! Stopping and cancelling: what is in hand is committed and handed back, and nothing happens after.

use std::sync::Arc;
use std::time::Duration;

use shared::domain::checkpoint::{Position, State};
use shared::domain::key::KeyType;
use shared::domain::summary::{JobState, Wish};
use tests::generate::{Pair, Shares, pair_of_tables, schema};
use tests::watch::{Access, Call, Watch};
use tests::world::{DRY_RUN, LEASE, REPAIR, Worker, World};

use super::exact::{STRATEGIES, settings, settings_by};

const SECOND: Duration = Duration::from_secs(1);

fn pair() -> Pair {
    pair_of_tables(&schema(KeyType::S, None), 3, 40, Shares { missing: 0.3, differing: 0.3, extra: 0.3 })
}

/// A worker whose scans take a second each.
fn slow() -> Worker {
    let watch = Watch::new(|call| async move {
        if let Call::Table(_, Access::Scan(_)) = call {
            tokio::time::sleep(SECOND).await;
        }
        None
    });
    Worker { watch: Some(watch), ..Worker::default() }
}

#[tokio::test(start_paused = true)]
async fn a_stopped_worker_commits_and_hands_its_messages_back_at_once() {
    let pair = pair();
    for (after, strategy) in [1, 3, 5, 9, 14].into_iter().flat_map(|after| STRATEGIES.map(|strategy| (after, strategy)))
    {
        let world = World::of_pair(&pair, 2);
        let job = world.job(2, settings_by(strategy, REPAIR)).await;
        let queue = job.enqueue().await;
        let first = slow();
        let stop = async {
            tokio::time::sleep(SECOND * after + SECOND / 2).await;
            first.stop.cancel();
        };
        let (ended, ()) = tokio::join!(world.work(&first, &queue), stop);
        ended.unwrap();

        let views = job.views().await.unwrap();
        assert!(views.values().all(|view| !matches!(view.checkpoint.state, State::Running { .. })), "{views:?}");
        let moved = views.values().filter(|view| view.checkpoint.position != Position::Start).count();
        assert!(after < 5 || moved > 0, "nothing was committed");
        let began = tokio::time::Instant::now();
        world.work(&Worker::default(), &queue).await.unwrap();

        assert!(began.elapsed() < LEASE / 2, "the messages were not handed back: {:?}", began.elapsed());
        assert!(queue.dead_letters().is_empty());
        job.report().await.assert_exact(std::slice::from_ref(&pair.expected), REPAIR, pair.master.len());
        world.assert_in_step();
    }
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_job_is_left_where_it_stands_until_it_is_resumed() {
    let pair = pair();
    let world = World::of_pair(&pair, 2);
    let job = world.job(2, settings(REPAIR)).await;
    let queue = job.enqueue().await;
    let worker = slow();
    let cancel = async {
        tokio::time::sleep(SECOND * 4).await;
        job.journal.set_wish(Wish::Cancel).await.unwrap();
    };
    let (ended, ()) = tokio::join!(world.work(&worker, &queue), cancel);
    ended.unwrap();

    assert!(queue.is_idle() && queue.dead_letters().is_empty());
    let summary = job.report().await.summary;
    assert_eq!((summary.state, summary.units.running), (JobState::Cancelled, 0));
    assert!(summary.units.done < summary.units.total);
    let (items, puts) = (world.tables[1].items(), world.store.puts());
    let late = job.enqueue().await;
    world.work(&Worker::default(), &late).await.unwrap();
    assert!(late.is_idle());
    assert_eq!((world.tables[1].items(), world.store.puts()), (items, puts), "something was done all the same");

    world.work(&Worker::default(), &job.resume().await).await.unwrap();
    job.report().await.assert_exact(std::slice::from_ref(&pair.expected), REPAIR, pair.master.len());
    world.assert_in_step();
    job.assert_summary_is_written().await;
}

#[tokio::test(start_paused = true)]
async fn a_worker_that_does_not_end_in_its_grace_time_is_dropped_and_its_work_redone() {
    let pair = pair();
    let world = World::of_pair(&pair, 3);
    let job = world.job(2, settings(DRY_RUN)).await;
    let queue = job.enqueue().await;
    let watch = Watch::new(|call| async move {
        if let Call::Table(0, Access::Get(_)) = call {
            std::future::pending::<()>().await;
        }
        None
    });
    let stuck = Worker { watch: Some(watch), ..Worker::default() };
    let stop = async {
        tokio::time::sleep(SECOND * 5).await;
        stuck.stop.cancel();
    };
    let (ended, ()) = tokio::join!(world.work(&stuck, &queue), stop);
    ended.unwrap();

    world.work(&Worker::default(), &queue).await.unwrap();

    job.report().await.assert_exact(std::slice::from_ref(&pair.expected), DRY_RUN, pair.master.len());
}

#[tokio::test(start_paused = true)]
async fn two_workers_of_one_queue_share_a_job() {
    let pair = pair();
    let world = World::of_pair(&pair, 2);
    let job = world.job(8, settings(REPAIR)).await;
    let queue = job.enqueue().await;
    let workers = [slow(), slow(), slow()];

    let ended = futures::future::join_all(workers.iter().map(|worker| world.work(worker, &queue))).await;

    ended.into_iter().collect::<Result<Vec<()>, _>>().unwrap();
    assert!(workers.iter().all(|worker| worker.faults.calls() > 20), "one did it all");
    job.report().await.assert_exact(std::slice::from_ref(&pair.expected), REPAIR, pair.master.len());
    job.assert_summary_is_written().await;
    assert_eq!(Arc::strong_count(&queue), 1);
}

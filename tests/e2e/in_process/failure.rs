//! Failures that last: the unit fails with its reason, the others finish, and `resume` takes it up where it stood.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use shared::domain::checkpoint::State;
use shared::domain::discrepancy::Outcome;
use shared::domain::job::SyncSettings;
use shared::domain::key::KeyType;
use shared::domain::summary::JobState;
use shared::ports::failure::FailureKind;
use tests::generate::{Pair, Shares, pair_of_tables, schema};
use tests::watch::{Access, Call, Watch, failure};
use tests::world::{DRY_RUN, REPAIR, Worker, World};

use super::exact::settings;

fn pair() -> Pair {
    pair_of_tables(&schema(KeyType::S, None), 5, 40, Shares { missing: 0.2, differing: 0.2, extra: 0.2 })
}

fn failing(kind: FailureKind, fits: impl Fn(&Call) -> bool + Send + Sync + 'static) -> Worker {
    let watch = Watch::plain(move |call| fits(&call).then(|| failure(kind)));
    Worker { watch: Some(watch), ..Worker::default() }
}

#[tokio::test(start_paused = true)]
async fn a_unit_that_is_denied_fails_with_its_reason_and_the_others_finish() {
    let pair = pair();
    let world = World::of_pair(&pair, 2);
    let job = world.job(4, settings(REPAIR)).await;
    let queue = job.enqueue().await;
    // The second page of the master's segment 2.
    let denied = failing(
        FailureKind::Denied,
        |call| matches!(call, Call::Table(0, Access::Scan(request)) if request.segment == 2 && request.after.is_some()),
    );
    world.work(&denied, &queue).await.unwrap();

    let summary = job.report().await.summary;
    assert_eq!((summary.state, summary.units.done, summary.units.failed), (JobState::Failed, 7, 1));
    assert_eq!(summary.errors.len(), 1);
    assert_eq!(summary.errors[0].segment, 2);
    assert!(summary.errors[0].error.contains("the test made it fail"), "{:?}", summary.errors);
    assert_eq!(queue.dead_letters().len(), 1);
    job.assert_summary_is_written().await;

    world.work(&Worker::default(), &job.resume().await).await.unwrap();
    job.report().await.assert_exact(std::slice::from_ref(&pair.expected), REPAIR, pair.master.len());
    world.assert_in_step();
    job.assert_summary_is_written().await;
}

#[tokio::test(start_paused = true)]
async fn a_job_that_may_not_write_fails_and_is_exact_once_it_may() {
    let pair = pair();
    let world = World::of_pair(&pair, 3);
    let job = world.job(3, settings(REPAIR)).await;
    let count = AtomicU32::new(0);
    // Some writes of a batch succeed before the permission is taken away.
    let denied = failing(FailureKind::Denied, move |call| {
        matches!(call, Call::Table(1, Access::Write(_))) && count.fetch_add(1, Ordering::SeqCst) > 2
    });
    let queue = job.enqueue().await;
    world.work(&denied, &queue).await.unwrap();
    assert_eq!(job.report().await.summary.state, JobState::Failed);

    world.work(&Worker::default(), &job.resume().await).await.unwrap();

    job.report().await.assert_exact(std::slice::from_ref(&pair.expected), REPAIR, pair.master.len());
    world.assert_in_step();
}

#[tokio::test(start_paused = true)]
async fn throttling_beyond_the_retries_gives_a_unit_back_and_it_is_done_later() {
    let pair = pair();
    let world = World::of_pair(&pair, 3);
    let job = world.job(2, SyncSettings { max_retries: 2, ..settings(REPAIR) }).await;
    let count = AtomicU32::new(0);
    let throttled = failing(FailureKind::Throttled, move |call| {
        // Twelve in a row are more than one unit's three tries, and fewer than make it fail for good.
        matches!(call, Call::Table(1, Access::Get(_))) && count.fetch_add(1, Ordering::SeqCst) < 12
    });
    let queue = job.enqueue().await;

    world.work(&throttled, &queue).await.unwrap();

    assert!(queue.dead_letters().is_empty());
    job.report().await.assert_exact(std::slice::from_ref(&pair.expected), REPAIR, pair.master.len());
    world.assert_in_step();
}

#[tokio::test(start_paused = true)]
async fn throttling_that_never_ends_fails_the_job_in_the_end() {
    let world = World::of_pair(&pair(), 3);
    let job = world.job(2, SyncSettings { max_retries: 1, ..settings(DRY_RUN) }).await;
    let throttled =
        failing(FailureKind::Throttled, |call| matches!(call, Call::Table(1, Access::Get(_) | Access::Scan(_))));
    let queue = job.enqueue().await;

    world.work(&throttled, &queue).await.unwrap();

    let summary = job.report().await.summary;
    assert_eq!((summary.state, summary.units.failed), (JobState::Failed, 4));
    assert_eq!(queue.dead_letters().len(), 4);
}

#[tokio::test(start_paused = true)]
async fn one_item_that_cannot_be_written_fails_alone() {
    let pair = pair();
    let world = World::of_pair(&pair, 3);
    let count = AtomicU32::new(0);
    let refused = failing(FailureKind::Invalid, move |call| {
        matches!(call, Call::Table(1, Access::Write(_))) && count.fetch_add(1, Ordering::SeqCst) == 0
    });

    let report = world.sync(2, settings(REPAIR), &refused).await;

    let figures = &report.summary.slaves[0];
    assert_eq!((report.summary.state, figures.failed), (JobState::Succeeded, 1));
    let failed: Vec<_> = report.lines.iter().filter(|line| line.outcome == Outcome::Failed).collect();
    assert!(failed.len() == 1 && failed[0].reason.as_ref().unwrap().contains("the test made it fail"));
    assert_eq!(figures.written + figures.deleted + 1, figures.discrepancies());
    assert_eq!(report.lines.len() as u64, figures.discrepancies());
}

#[tokio::test(start_paused = true)]
async fn tables_that_cannot_be_opened_fail_every_unit_with_the_reason() {
    let pair = pair();
    let world = World::of_pair(&pair, 3);
    let job = world.job(2, settings(DRY_RUN)).await;
    let denied = failing(FailureKind::Denied, |call| matches!(call, Call::Table(1, Access::Describe)));
    let queue = job.enqueue().await;
    world.work(&denied, &queue).await.unwrap();

    let summary = job.report().await.summary;
    assert_eq!((summary.units.failed, queue.dead_letters().len()), (4, 4));
    assert!(summary.errors.iter().all(|error| error.error.contains("the test made it fail")));

    world.work(&Worker::default(), &job.resume().await).await.unwrap();
    job.report().await.assert_exact(std::slice::from_ref(&pair.expected), DRY_RUN, pair.master.len());
}

#[tokio::test(start_paused = true)]
async fn a_table_that_was_made_again_since_is_not_touched() {
    let pair = pair();
    let mut world = World::of_pair(&pair, 3);
    let job = world.job(2, settings(REPAIR)).await;
    world.tables[1] = Arc::clone(&World::new(&pair.schema, [[].as_slice()], 3).tables[0]);

    world.work(&Worker::default(), &job.enqueue().await).await.unwrap();

    assert!(world.tables[1].is_empty());
    let views = job.views().await.unwrap();
    assert!(views.values().all(
        |view| matches!(&view.checkpoint.state, State::Failed { error } if error.contains("deleted and made again"))
    ));
}

//! `resume` finishes what was left behind by workers and coordinators that were killed.

use std::time::Duration;

use tests::ministack::MiniStack;
use tests::queues::Counts;
use tests::slow::Slow;
use tests::wait::{DEADLINE, eventually};

use crate::stage::{Fleet, MASTER, SLAVE, SYNC, Stage, assert_reported, programs};

/// For jobs whose leases must run out first.
const LONG: Duration = Duration::from_secs(120);

#[tokio::test]
async fn a_job_whose_workers_all_died_is_finished() {
    const ITEMS: usize = 500;
    let (stage, pair) = Stage::far_away(ITEMS).await;
    let fleet = Fleet::around(stage, 5).await;
    fleet.enqueue("job", &["--segments", "2", "--scan-limit", "1", "--repair"]);
    let workers = [fleet.worker(&["--concurrency", "2"]), fleet.worker(&["--concurrency", "2"])];
    eventually("something is committed", DEADLINE, async || {
        fleet.status("job")["scanned"][MASTER].as_u64().filter(|scanned| *scanned > 0)
    })
    .await;
    workers.into_iter().for_each(|worker| assert_eq!(worker.kill().code, None));
    // As if the messages had been lost as well: `resume` needs none of them.
    fleet.queue.client().purge_queue().queue_url(&fleet.queue.url).send().await.expect("the queue is purged");
    assert_eq!(fleet.queue.counts().await, Counts::default());

    let resumed = fleet.spawn(&["resume", "job", "--wait"]);
    let worker = fleet.worker(&[]);
    let resumed = resumed.wait(LONG);

    assert_eq!(resumed.code, Some(0), "{}", resumed.stderr);
    let summary = fleet.status("job");
    assert_eq!((&summary["state"], &summary["scanned"][MASTER]), (&"succeeded".into(), &ITEMS.into()), "{summary}");
    assert_eq!(summary["slaves"][0]["compared"], ITEMS, "{summary}");
    assert_reported(&fleet.report("job"), SLAVE, &pair.expected);
    assert!(fleet.stage.differences().await.is_empty());
    worker.terminate();
    assert_eq!(worker.wait(DEADLINE).code, Some(0));
}

#[tokio::test]
async fn a_job_whose_coordinator_died_while_enqueuing_is_finished() {
    const SEGMENTS: u64 = 400;
    let (stage, pair) = Stage::differing(100).await;
    let fleet = Fleet::around(stage, 5).await;
    // The emulated bucket is too slow for so many checkpoints.
    let store = fleet.stage.programs.home().join("store").to_string_lossy().into_owned();
    let place = ["--queue", &fleet.queue.url, "--store", &store];
    let flags = ["--segments", &SEGMENTS.to_string(), "--job-id", "job"];
    // Messages are sent by the hundred, and each hundred takes a second.
    let far_away = Slow::before(&MiniStack::shared().endpoint(), Duration::from_secs(1));
    let elsewhere = programs().with_dynamodb(&fleet.stage.endpoint()).with_services(&far_away.endpoint());
    let coordinator = elsewhere.spawn_dynamend(&[&SYNC[..], &flags, &place].concat());
    eventually("some messages are there", DEADLINE, async || (fleet.queue.counts().await.visible > 0).then_some(()))
        .await;
    assert_eq!(coordinator.kill().code, None, "it was not killed in time");
    let sent = fleet.queue.counts().await.visible;
    assert!(sent < SEGMENTS, "all messages had been sent already");

    let resumed = fleet.stage.programs.dynamend(&[&["resume", "job"][..], &place].concat());
    assert_eq!(resumed.code, Some(0), "{}", resumed.stderr);
    // Those that had been sent are there twice now.
    assert!(fleet.queue.counts().await.visible >= SEGMENTS + sent);
    let drained = fleet.worker(&["--drain", "--concurrency", "8"]).wait(LONG);

    assert_eq!(drained.code, Some(0), "{}", drained.stderr);
    let status = fleet.stage.programs.dynamend(&["status", "job", "--store", &store, "--output", "json"]);
    let summary = crate::stage::document(&status);
    assert_eq!((&summary["state"], &summary["scanned"][MASTER]), (&"succeeded".into(), &100.into()), "{summary}");
    assert_eq!(summary["slaves"][0]["compared"], 100, "{summary}");
    let mut expected = pair.expected;
    expected.extra.clear();
    let report = crate::stage::report(&fleet.stage.programs, &["job", "--store", &store]);
    assert_reported(&report, SLAVE, &expected);
    assert_eq!(fleet.queue.counts().await, Counts::default());
}

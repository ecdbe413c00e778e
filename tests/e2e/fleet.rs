//! A queue, a bucket and workers that come and go: every discrepancy is found and repaired, and counted once.

use std::collections::VecDeque;
use std::net::{Ipv4Addr, TcpListener};
use std::time::{Duration, Instant};

use serde_json::Value as Json;
use tests::process::Running;
use tests::queues::Counts;
use tests::wait::{DEADLINE, eventually, until};

use crate::stage::{Fleet, MASTER, SLAVE, SYNC, Stage, assert_reported, document, programs};

/// For jobs whose workers die; in debug builds, on a busy machine.
const LONG: Duration = Duration::from_secs(150);

/// Waits until the queue and what is behind it hold nothing.
async fn drained(fleet: &Fleet) {
    eventually("the queue drains", LONG, async || {
        let counts = fleet.queue.counts().await;
        assert_eq!(counts.dead, 0, "a healthy message is among the dead letters");
        (counts == Counts::default()).then_some(())
    })
    .await;
}

fn assert_all_compared(summary: &Json, items: usize) {
    assert_eq!(summary["state"], "succeeded", "{summary}");
    assert_eq!(summary["slaves"][0]["compared"], items, "{summary}");
    assert_eq!(summary["scanned"][MASTER], items, "{summary}");
}

#[tokio::test]
async fn workers_that_are_killed_every_second_still_finish_and_count_right() {
    // One after the other: either takes all that a small machine has.
    for strategy in ["lookup", "paired"] {
        killed_every_second(strategy).await;
    }
}

async fn killed_every_second(strategy: &str) {
    const ITEMS: usize = 900;
    let (stage, pair) = Stage::differing(ITEMS).await;
    let fleet = Fleet::around(stage, 5).await;
    let arguments = ["--repair", "--segments", "30", "--scan-limit", "2", "--strategy", strategy];
    fleet.enqueue("job", &arguments);
    let worker = || fleet.worker(&["--concurrency", "3"]);
    let mut workers: VecDeque<Running> = (0..3).map(|_| worker()).collect();
    let mut killed = 0;
    let mut last_kill = Instant::now();

    eventually("the job ends", LONG, async || {
        if last_kill.elapsed() > Duration::from_secs(1) {
            let oldest = workers.pop_front().expect("there are workers");
            assert_eq!(oldest.kill().code, None, "a worker ended by itself");
            workers.push_back(worker());
            killed += 1;
            last_kill = Instant::now();
        }
        fleet.bucket.get("fleet/jobs/job/summary.json").await
    })
    .await;

    assert!(killed >= 5, "only {killed} workers were killed; the job is too small");
    assert_all_compared(&fleet.status("job"), ITEMS);
    assert_reported(&fleet.report("job"), SLAVE, &pair.expected);
    assert!(fleet.stage.differences().await.is_empty());
    drained(&fleet).await;
    assert_all_compared(&fleet.summary("job", DEADLINE).await, ITEMS);
}

#[tokio::test]
async fn a_job_is_enqueued_and_drained_by_a_worker_that_then_exits() {
    let (stage, pair) = Stage::differing(100).await;
    let fleet = Fleet::around(stage, 3).await;
    fleet.enqueue("job", &["--segments", "4", "--scan-for-extra", "--strategy", "lookup"]);
    assert_eq!(fleet.queue.counts().await, Counts { visible: 8, ..Counts::default() });
    assert_eq!(fleet.status("job")["state"], "queued");

    let drained = fleet.worker(&["--drain"]).wait(DEADLINE);

    assert_eq!((drained.code, drained.stdout.as_str()), (Some(0), ""), "{}", drained.stderr);
    assert_all_compared(&fleet.status("job"), 100);
    assert_reported(&fleet.report("job"), SLAVE, &pair.expected);
    assert_eq!(fleet.queue.counts().await, Counts::default());
    assert!(!fleet.stage.programs.home().join(".dynamend").exists());
}

#[tokio::test]
async fn waiting_follows_the_job_to_its_end_and_exits_as_it_does() {
    let (stage, pair) = Stage::differing(50).await;
    let fleet = Fleet::around(stage, 3).await;
    let worker = fleet.worker(&[]);

    let compare = fleet.dynamend(&[&SYNC[..], &["--wait", "--segments", "3", "--job-id", "one"]].concat());
    let repair = ["--wait", "--segments", "3", "--repair", "--output", "json"];
    let repair = fleet.dynamend(&[&SYNC[..], &repair].concat());

    assert_eq!((compare.code, repair.code), (Some(1), Some(0)), "{}{}", compare.stderr, repair.stderr);
    assert!(compare.stdout.starts_with("job one: succeeded; 3 of 3 units done"), "{}", compare.stdout);
    let discrepancies = pair.expected.missing.len() + pair.expected.differing.len();
    assert_eq!(document(&repair)["slaves"][0]["written"], discrepancies);
    worker.terminate();
    assert_eq!(worker.wait(DEADLINE).code, Some(0));
}

#[tokio::test]
async fn a_worker_that_is_asked_to_stop_hands_its_work_over() {
    const ITEMS: usize = 300;
    let (stage, pair) = Stage::far_away(ITEMS).await;
    let fleet = Fleet::around(stage, 3).await;
    fleet.enqueue("job", &["--segments", "1", "--scan-limit", "1"]);
    let first = fleet.worker(&[]);
    let before = eventually("something is committed", DEADLINE, async || {
        fleet.status("job")["scanned"][MASTER].as_u64().filter(|scanned| *scanned > 0)
    })
    .await;
    let asked = Instant::now();
    first.terminate();
    let first = first.wait(DEADLINE);

    assert_eq!(first.code, Some(0), "{}", first.stderr);
    assert!(asked.elapsed() < Duration::from_secs(10), "it took {:?}", asked.elapsed());
    let between = fleet.status("job");
    let committed = between["scanned"][MASTER].as_u64().expect("a count");
    assert!(committed >= before && committed < ITEMS as u64, "{between}");
    assert_eq!(between["units"]["queued"], 1, "{between}");
    // Or it is in flight: the emulator hands it to the receive that the worker gave up.
    let Counts { visible, in_flight, delayed, dead } = fleet.queue.counts().await;
    assert_eq!((visible + in_flight + delayed, dead), (1, 0));

    let second = fleet.worker(&["--drain"]).wait(Duration::from_secs(60));

    assert_eq!(second.code, Some(0), "{}", second.stderr);
    assert_all_compared(&fleet.status("job"), ITEMS);
    let mut expected = pair.expected;
    expected.extra.clear();
    assert_reported(&fleet.report("job"), SLAVE, &expected);
    assert_eq!(fleet.queue.counts().await, Counts::default());
}

#[tokio::test]
async fn a_cancelled_job_idles_the_workers_until_it_is_resumed() {
    const ITEMS: usize = 300;
    let (stage, pair) = Stage::far_away(ITEMS).await;
    let fleet = Fleet::around(stage, 3).await;
    fleet.enqueue("job", &["--segments", "1", "--scan-limit", "1", "--repair"]);
    let mut worker = fleet.worker(&["--concurrency", "2"]);
    eventually("something is committed", DEADLINE, async || {
        fleet.status("job")["scanned"][MASTER].as_u64().filter(|scanned| *scanned > 0)
    })
    .await;

    let cancelled = fleet.dynamend(&["cancel", "job", "--output", "json"]);

    assert_eq!((cancelled.code, &document(&cancelled)["state"]), (Some(0), &"cancelled".into()));
    drained(&fleet).await;
    let idle = fleet.status("job");
    assert_eq!((&idle["state"], &idle["units"]["running"]), (&"cancelled".into(), &0.into()), "{idle}");
    assert!(worker.is_running());

    let resumed = fleet.dynamend(&["resume", "job", "--wait"]);

    assert_eq!(resumed.code, Some(0), "{}", resumed.stderr);
    assert_all_compared(&fleet.status("job"), ITEMS);
    assert_reported(&fleet.report("job"), SLAVE, &pair.expected);
    assert!(fleet.stage.differences().await.is_empty());
}

#[test]
fn a_worker_that_is_asked_to_stop_while_it_starts_exits_in_good_order() {
    let silent = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a loopback port is free");
    silent.set_nonblocking(true).expect("a listener can be made not to block");
    let endpoint = format!("http://{}", silent.local_addr().expect("a bound port has an address"));
    let queue = format!("{endpoint}/000000000000/work");
    let programs = programs().with_services(&endpoint);
    let worker = programs.spawn_worker(&["--queue", &queue]);
    let _asked = until("the worker asks for its queue", DEADLINE, || silent.accept().ok());

    worker.terminate();

    let finished = worker.wait(DEADLINE);
    assert_eq!(finished.code, Some(0), "{}", finished.stderr);
}

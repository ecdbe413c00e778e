//! A worker on EC2: what its instance is told of its end, and what becomes of the work in hand.

use std::net::{Ipv4Addr, TcpListener};
use std::time::{Duration, Instant};

use aws_sdk_dynamodb::types::StreamViewType;
use tests::metadata::{INTERRUPTION, Metadata, REBALANCE, SCALE_IN, variables};
use tests::process::{Finished, Running};
use tests::queues::Counts;
use tests::wait::{DEADLINE, eventually, until};

use crate::protection::{NOBODY, assert_in_good_order, begun, worker};
use crate::stage::{Fleet, MASTER, SLAVE, Stage, order_schema, orders};

/// For jobs whose segments are finished; in debug builds, on a busy machine.
const LONG: Duration = Duration::from_secs(120);

/// Some twenty seconds of work, of which a worker is told within five.
const ITEMS: usize = 600;

/// What the worker says when nothing can be read, once.
const UNREADABLE: &str = "EC2 notices cannot be read";

/// A job that takes a while, of `ITEMS` pages, and a worker that has one of its segments in hand.
async fn working(metadata: &Metadata, segments: &str, more: &[&str]) -> (Fleet, Running) {
    let (stage, _) = Stage::far_away(ITEMS).await;
    let fleet = Fleet::around(stage, 3).await;
    fleet.enqueue("job", &["--segments", segments, "--scan-limit", "1"]);
    let worker = worker(&fleet, &metadata.variables(), &[&["--concurrency", "1"], more].concat());
    begun(&fleet, "job").await;
    (fleet, worker)
}

/// How many segments it took, and how many of them it finished.
fn taken_and_done(finished: &Finished) -> (usize, usize) {
    (finished.stderr.matches("unit taken").count(), finished.stderr.matches("unit done").count())
}

/// Another worker ends the job, and finds all of it.
async fn assert_another_ends_it(fleet: &Fleet) {
    let another = fleet.worker(&["--drain"]).wait(LONG);
    assert_eq!(another.code, Some(0), "{}", another.stderr);
    let status = fleet.status("job");
    assert_eq!((&status["state"], &status["scanned"][MASTER]), (&"succeeded".into(), &ITEMS.into()), "{status}");
    eventually("the queue is empty", DEADLINE, async || {
        (fleet.queue.counts().await == Counts::default()).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_spot_interruption_stops_the_worker_in_good_order_and_in_time() {
    let metadata = Metadata::start();
    let (fleet, worker) = working(&metadata, "1", &[]).await;

    metadata.tell(INTERRUPTION);
    let told = Instant::now();
    let finished = worker.wait(DEADLINE);

    assert_in_good_order(&finished);
    assert!(told.elapsed() < Duration::from_secs(20), "it took {:?}", told.elapsed());
    assert!(finished.stderr.contains("a Spot interruption"), "{}", finished.stderr);
    assert_eq!(taken_and_done(&finished), (1, 0), "{}", finished.stderr);
    let status = fleet.status("job");
    assert_eq!((&status["units"]["queued"], &status["units"]["running"]), (&1.into(), &0.into()), "{status}");
    assert!(status["scanned"][MASTER].as_u64() > Some(0), "nothing was committed: {status}");
    assert_another_ends_it(&fleet).await;
}

#[tokio::test]
async fn a_worker_that_is_scaled_in_or_advised_to_move_finishes_its_segment_and_takes_no_other() {
    for (notice, words) in [(REBALANCE, "a rebalance recommendation"), (SCALE_IN, "scale-in")] {
        let metadata = Metadata::start();
        let (fleet, worker) = working(&metadata, "10", &[]).await;

        metadata.tell(notice);
        let finished = worker.wait(LONG);

        assert_in_good_order(&finished);
        assert!(finished.stderr.contains(words), "{}", finished.stderr);
        let (taken, done) = taken_and_done(&finished);
        assert!(taken == done && (1..10).contains(&done), "{taken} taken and {done} done: {}", finished.stderr);
        let status = fleet.status("job");
        assert_eq!((&status["units"]["done"], &status["units"]["running"]), (&done.into(), &0.into()), "{status}");
        assert_another_ends_it(&fleet).await;
    }
}

#[tokio::test]
async fn a_worker_that_is_scaled_in_has_only_so_much_time_for_its_segment() {
    let metadata = Metadata::start();
    let (fleet, worker) = working(&metadata, "1", &["--scale-in-grace", "1"]).await;

    metadata.tell(SCALE_IN);
    let told = Instant::now();
    let finished = worker.wait(DEADLINE);

    assert_in_good_order(&finished);
    assert!(told.elapsed() < Duration::from_secs(25), "it took {:?}", told.elapsed());
    assert!(finished.stderr.contains("the time for the work in hand is over"), "{}", finished.stderr);
    assert_eq!(taken_and_done(&finished), (1, 0), "{}", finished.stderr);
    let status = fleet.status("job");
    assert_eq!((&status["units"]["queued"], &status["units"]["running"]), (&1.into(), &0.into()), "{status}");
}

#[tokio::test]
async fn a_worker_that_is_scaled_in_gives_its_shards_back() {
    let stage = Stage::of(&order_schema(), &orders(20, &[]), &[]).await;
    stage.server.enable_stream("orders", StreamViewType::NewAndOldImages).await;
    let fleet = Fleet::around(stage, 3).await;
    let replicate = ["replicate", "-m", MASTER, "-s", SLAVE, "--backfill", "--segments", "1", "--job-id", "job"];
    let enqueued = fleet.dynamend(&replicate);
    assert_eq!(enqueued.code, Some(0), "{}", enqueued.stderr);
    let metadata = Metadata::start();
    let mut first = worker(&fleet, &metadata.variables(), &[]);
    first.wait_for_stderr("unit=stream", LONG);

    metadata.tell(SCALE_IN);
    let finished = first.wait(DEADLINE);

    assert_in_good_order(&finished);
    assert_eq!(fleet.queue.counts().await.dead, 0);
    let mut second = fleet.worker(&[]);
    second.wait_for_stderr("unit=stream", LONG);
    assert!(fleet.stage.differences().await.is_empty());
}

#[tokio::test]
async fn a_token_that_has_expired_is_renewed() {
    let fleet = Fleet::around(Stage::of(&order_schema(), &[], &[]).await, 3).await;
    let metadata = Metadata::start();
    let worker = worker(&fleet, &metadata.variables(), &[]);
    until("the worker has asked", DEADLINE, || (metadata.answers() >= 3).then_some(()));

    metadata.expire_tokens();
    metadata.tell(REBALANCE);
    let finished = worker.wait(DEADLINE);

    assert_in_good_order(&finished);
    assert_eq!(metadata.tokens(), 2);
    assert!(!finished.stderr.contains(UNREADABLE), "{}", finished.stderr);
}

#[tokio::test]
async fn a_metadata_service_that_does_not_answer_changes_nothing() {
    let pair = crate::stage::pair(50);
    let fleet = Fleet::around(Stage::of(&pair.schema, &pair.master, &pair.slave).await, 3).await;
    // It is never accepted from.
    let silent = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a loopback port is free");
    let silent_endpoint = format!("http://{}", silent.local_addr().expect("a bound port has an address"));
    let mut off = variables(NOBODY);
    off.retain(|(name, _)| name != "AWS_EC2_METADATA_DISABLED");
    let places = [
        ("silent", variables(&silent_endpoint), UNREADABLE),
        ("absent", variables(NOBODY), UNREADABLE),
        ("off", off, "AWS_EC2_METADATA_DISABLED turns the metadata service off"),
    ];
    for (job, variables, words) in places {
        fleet.enqueue(job, &["--segments", "2"]);

        let finished = worker(&fleet, &variables, &["--drain"]).wait(LONG);

        assert_in_good_order(&finished);
        assert_eq!(fleet.status(job)["state"], "succeeded");
        assert_eq!(finished.stderr.matches(words).count(), 1, "{job}: {}", finished.stderr);
    }
}

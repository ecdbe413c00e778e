//! Jobs in one process that are interrupted or killed, and go on from what was committed.

use std::time::Duration;

use serde_json::Value as Json;
use tests::process::Running;
use tests::wait::{DEADLINE, until};

use crate::stage::{MASTER, SLAVE, SYNC, Stage, assert_reported, document};

const ITEMS: usize = 300;

/// One item per page: long enough to be in the middle of it.
const SLOWLY: [&str; 8] = ["--scan-limit", "1", "--segments", "1", "--scan-for-extra", "--job-id", "job", "-v"];

/// Starts a slow repair and waits until it has repaired something and is far from its end.
async fn in_the_middle(stage: &Stage) -> Running {
    let mut running = stage.programs.spawn_dynamend(&[&SYNC[..], &SLOWLY, &["--repair"]].concat());
    running.wait_for_stderr("unit taken", DEADLINE);
    until("something is committed", DEADLINE, || {
        assert!(running.is_running(), "it ended too early:\n{}", running.stderr());
        let finished = stage.programs.dynamend(&["status", "job", "--output", "json"]);
        let scanned = document(&finished)["scanned"][MASTER].as_u64().expect("a count");
        (scanned > 0).then_some(())
    });
    running
}

fn assert_exact(summary: &Json) {
    assert_eq!(summary["state"], "succeeded", "{summary}");
    assert_eq!(summary["slaves"][0]["compared"], ITEMS, "{summary}");
    // The slave's count depends on whether a page was read before or after its missing items were put.
    assert_eq!(summary["scanned"][MASTER], ITEMS, "{summary}");
}

#[tokio::test]
async fn an_interrupted_job_says_how_to_go_on_and_does() {
    let (stage, pair) = Stage::far_away(ITEMS).await;
    let running = in_the_middle(&stage).await;
    running.interrupt();
    let interrupted = running.wait(DEADLINE);

    assert_eq!(interrupted.code, Some(130), "{}", interrupted.stderr);
    assert!(interrupted.stderr.contains("dynamend resume job"), "{}", interrupted.stderr);
    let status = stage.programs.dynamend(&["status", "job", "--output", "json", "--exit-code"]);
    assert_eq!((status.code, &document(&status)["units"]["running"]), (Some(4), &0.into()));

    let resumed = stage.programs.dynamend(&["resume", "job", "--output", "json"]);

    assert_eq!(resumed.code, Some(0), "{}", resumed.stderr);
    assert_exact(&document(&resumed));
    assert_reported(&stage.report("job"), SLAVE, &pair.expected);
    assert!(stage.differences().await.is_empty());
}

#[tokio::test]
async fn a_killed_job_goes_on_when_its_lease_is_over() {
    let (stage, pair) = Stage::far_away(ITEMS).await;
    let running = in_the_middle(&stage).await;
    assert_eq!(running.kill().code, None);

    let resumed = stage.programs.spawn_dynamend(&["resume", "job", "--output", "json"]).wait(Duration::from_secs(90));

    assert_eq!(resumed.code, Some(0), "{}", resumed.stderr);
    assert_exact(&document(&resumed));
    assert_reported(&stage.report("job"), SLAVE, &pair.expected);
    assert!(stage.differences().await.is_empty());
}

#[tokio::test]
async fn a_cancelled_job_stops_and_is_taken_up_again() {
    let (stage, pair) = Stage::far_away(ITEMS).await;
    let running = in_the_middle(&stage).await;

    let cancelled = stage.programs.dynamend(&["cancel", "job", "--output", "json"]);
    let stopped = running.wait(DEADLINE);

    assert_eq!((cancelled.code, &document(&cancelled)["state"]), (Some(0), &"cancelled".into()));
    assert_eq!(stopped.code, Some(4), "{}", stopped.stderr);
    let resumed = stage.programs.dynamend(&["resume", "job", "--output", "json"]);
    assert_eq!(resumed.code, Some(0), "{}", resumed.stderr);
    assert_exact(&document(&resumed));
    assert_reported(&stage.report("job"), SLAVE, &pair.expected);
}

//! A worker on ECS: its task is protected from being scaled in while it holds a unit, whatever the agent does.

use std::time::{Duration, Instant};

use tests::agent::{Agent, Asked, Manner, variable};
use tests::process::{Finished, Running};
use tests::wait::{DEADLINE, eventually, until};

use crate::stage::{Fleet, MASTER, Stage, assert_reported, pair};

/// As the worker asks for it.
const PROTECT: Asked = Asked::Protect { minutes: 15 };

/// What it says when it cannot have it, once.
const UNPROTECTED: &str = "the task is not protected from being scaled in; its work goes on";

/// Where nobody listens.
pub(crate) const NOBODY: &str = "http://127.0.0.1:1";

/// Starts a worker with these variables.
pub(crate) fn worker(fleet: &Fleet, variables: &[(String, String)], more: &[&str]) -> Running {
    let arguments = [&["--queue", &fleet.queue.url, "--lease", "4"], more].concat();
    fleet.stage.programs.spawn_worker_in(variables, &arguments)
}

/// Waits until something of the job is committed.
pub(crate) async fn begun(fleet: &Fleet, job: &str) {
    eventually("something is committed", DEADLINE, async || {
        fleet.status(job)["scanned"][MASTER].as_u64().filter(|scanned| *scanned > 0)
    })
    .await;
}

pub(crate) fn assert_in_good_order(finished: &Finished) {
    assert_eq!(finished.code, Some(0), "{}", finished.stderr);
    assert!(finished.stderr.contains("worker stopped"), "{}", finished.stderr);
}

#[tokio::test]
async fn a_task_is_protected_while_its_worker_holds_segments_and_not_before_nor_after() {
    let (stage, pair) = Stage::far_away(60).await;
    let fleet = Fleet::around(stage, 3).await;
    let agent = Agent::start(Manner::Obeys);
    let mut worker = worker(&fleet, &[agent.variable()], &["--concurrency", "1"]);
    worker.wait_for_stderr("worker started", DEADLINE);
    assert_eq!(agent.asked(), []);

    fleet.enqueue("job", &["--segments", "3", "--scan-limit", "2"]);
    until("the task is protected", DEADLINE, || (agent.asked() == [PROTECT]).then_some(()));
    let summary = fleet.summary("job", DEADLINE).await;

    // Three segments, and between them nothing was asked.
    assert_eq!((&summary["state"], &summary["slaves"][0]["compared"]), (&"succeeded".into(), &60.into()), "{summary}");
    assert_eq!(agent.asked(), [PROTECT]);
    let mut expected = pair.expected;
    expected.extra.clear();
    assert_reported(&fleet.report("job"), crate::stage::SLAVE, &expected);
    worker.terminate();
    assert_in_good_order(&worker.wait(DEADLINE));
    assert_eq!(agent.asked(), [PROTECT, Asked::Lift]);
}

#[tokio::test]
async fn a_protected_worker_that_is_asked_to_stop_gives_its_segment_back_and_lifts_the_protection() {
    let (stage, _) = Stage::far_away(300).await;
    let fleet = Fleet::around(stage, 3).await;
    fleet.enqueue("job", &["--segments", "1", "--scan-limit", "1"]);
    let agent = Agent::start(Manner::Obeys);
    let worker = worker(&fleet, &[agent.variable()], &[]);
    begun(&fleet, "job").await;
    assert_eq!(agent.asked(), [PROTECT]);

    let asked = Instant::now();
    worker.terminate();
    let finished = worker.wait(DEADLINE);

    assert_in_good_order(&finished);
    assert!(asked.elapsed() < Duration::from_secs(10), "it took {:?}", asked.elapsed());
    assert_eq!(agent.asked(), [PROTECT, Asked::Lift]);
    assert_eq!(fleet.status("job")["units"]["queued"], 1);
}

#[tokio::test]
async fn an_agent_that_fails_hangs_or_is_not_there_costs_nothing() {
    let pair = pair(50);
    let stage = Stage::of(&pair.schema, &pair.master, &pair.slave).await;
    let fleet = Fleet::around(stage, 3).await;
    let (fails, hangs) = (Agent::start(Manner::Fails), Agent::start(Manner::Hangs));
    let agents = [
        ("fails", fails.variable(), "on purpose (ServerException)"),
        ("hangs", hangs.variable(), "no answer within 6 seconds"),
        ("absent", variable(NOBODY), "refused"),
        ("odd", ("ECS_AGENT_URI".to_owned(), "no URL".to_owned()), "ECS_AGENT_URI is no URL of HTTP"),
    ];
    for (job, variable, why) in agents {
        let mut worker = worker(&fleet, &[variable], &[]);
        fleet.enqueue(job, &["--segments", "2"]);

        let summary = fleet.summary(job, DEADLINE).await;

        assert_eq!(summary["state"], "succeeded", "{job}: {summary}");
        worker.wait_for_stderr(UNPROTECTED, DEADLINE);
        let asked = Instant::now();
        worker.terminate();
        let finished = worker.wait(DEADLINE);
        assert_in_good_order(&finished);
        assert!(asked.elapsed() < Duration::from_secs(10), "{job}: it took {:?}", asked.elapsed());
        assert!(finished.stderr.contains(why), "{job}: {}", finished.stderr);
        assert_eq!(finished.stderr.matches(UNPROTECTED).count(), 1, "{job}: {}", finished.stderr);
    }
    assert_eq!((fails.asked()[0], hangs.asked()[0]), (PROTECT, PROTECT));
}

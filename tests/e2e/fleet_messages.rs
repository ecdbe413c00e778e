//! Messages that come twice, and messages that nobody can do.

use std::collections::BTreeSet;

use serde_json::{Value as Json, json};
use tests::queues::Counts;
use tests::wait::{DEADLINE, eventually};

use crate::stage::{Fleet, MASTER, SLAVE, Stage, assert_reported};

#[tokio::test]
async fn messages_that_come_twice_do_not_count_twice() {
    let (stage, pair) = Stage::differing(120).await;
    let fleet = Fleet::around(stage, 5).await;
    fleet.enqueue("job", &["--segments", "6", "--repair", "--scan-limit", "5"]);
    let again = fleet.dynamend(&["resume", "job"]);
    assert_eq!((again.code, again.stdout.trim()), (Some(0), "job"), "{}", again.stderr);
    assert_eq!(fleet.queue.counts().await, Counts { visible: 12, ..Counts::default() });

    let workers = [fleet.worker(&["--drain"]), fleet.worker(&["--drain"])];
    for worker in workers {
        let worker = worker.wait(2 * DEADLINE);
        assert_eq!(worker.code, Some(0), "{}", worker.stderr);
    }

    let summary = fleet.status("job");
    assert_eq!((&summary["state"], &summary["scanned"][MASTER]), (&"succeeded".into(), &120.into()), "{summary}");
    assert_eq!(summary["slaves"][0]["compared"], 120, "{summary}");
    assert_reported(&fleet.report("job"), SLAVE, &pair.expected);
    assert!(fleet.stage.differences().await.is_empty());
    assert_eq!(fleet.queue.counts().await, Counts::default());
}

#[tokio::test]
async fn messages_follow_the_contract() {
    let (stage, _) = Stage::differing(20).await;
    let fleet = Fleet::around(stage, 5).await;
    let flags = ["--segments", "2", "--scan-for-extra", "--starting-key", r#"1={"id":"key 000003 é","at":-9.50}"#];
    fleet.enqueue("job", &[&flags[..], &["--strategy", "lookup"]].concat());
    let mut messages = Vec::new();
    while let Some((body, _)) = fleet.queue.receive().await {
        messages.push(serde_json::from_str::<Json>(&body).expect("a message is JSON"));
    }

    assert_eq!(messages.len(), 4);
    for message in messages {
        let names: BTreeSet<&String> = message.as_object().expect("an object").keys().collect();
        assert_eq!((&message["version"], &message["job"]), (&1.into(), &"job".into()));
        assert_eq!(message["manifest"], format!("{}/jobs/job/manifest.json", fleet.store));
        let unit = &message["unit"];
        assert_eq!((&unit["kind"], &unit["total_segments"]), (&"scan".into(), &2.into()));
        let table = if unit["pass"] == "master" { MASTER } else { SLAVE };
        assert!(table == MASTER || unit["pass"] == "slave-0", "{message}");
        if unit["segment"] == 1 {
            assert_eq!(message["start"], json!({ table: {"id": {"S": "key 000003 é"}, "at": {"N": "-9.50"}} }));
        } else {
            assert!(!names.iter().any(|name| *name == "start"), "{message}");
        }
    }
}

#[tokio::test]
async fn messages_that_nobody_can_do_end_among_the_dead_letters() {
    let (stage, pair) = Stage::differing(60).await;
    let fleet = Fleet::around(stage, 2).await;
    let message = |version: u32, kind: &str, job: &str, segment: u32| {
        let manifest = format!("{}/jobs/{job}/manifest.json", fleet.store);
        let unit = json!({ "kind": kind, "pass": "master", "segment": segment, "total_segments": 3 });
        json!({ "version": version, "job": job, "manifest": manifest, "unit": unit }).to_string()
    };
    let bad = [
        "this is not JSON".to_owned(),
        message(99, "scan", "job", 0),
        message(1, "teleport", "job", 0),
        message(1, "scan", "nobody", 0),
        json!({ "version": 1 }).to_string(),
        message(1, "scan", "job", 0).replace("\"total_segments\":3", "\"total_segments\":4"),
        message(1, "scan", "job", 0).replace("s3://", "nowhere://"),
    ];
    for body in &bad {
        fleet.queue.send(body).await;
    }
    fleet.enqueue("job", &["--segments", "3", "--scan-for-extra"]);
    let mut worker = fleet.worker(&[]);

    let summary = fleet.summary("job", DEADLINE).await;
    eventually("the bad messages are dead", 2 * DEADLINE, async || {
        let dead = Counts { dead: bad.len() as u64, ..Counts::default() };
        (fleet.queue.counts().await == dead).then_some(())
    })
    .await;

    let bodies: BTreeSet<String> = fleet.queue.take_dead_letters().await.into_iter().collect();
    assert_eq!(bodies, bad.into_iter().collect());
    assert_eq!(summary["state"], "succeeded", "{summary}");
    assert_reported(&fleet.report("job"), SLAVE, &pair.expected);
    assert!(worker.is_running(), "{}", worker.stderr());
    worker.terminate();
    let worker = worker.wait(DEADLINE);
    assert_eq!(worker.code, Some(0), "{}", worker.stderr);
    assert!(worker.stderr.contains("version 99") && worker.stderr.contains("teleport"), "{}", worker.stderr);
    assert!(!worker.stderr.contains("panicked"), "{}", worker.stderr);
}

#[tokio::test]
async fn a_job_whose_table_is_gone_fails_with_the_reason() {
    let (stage, _) = Stage::differing(20).await;
    let fleet = Fleet::around(stage, 2).await;
    fleet.enqueue("job", &["--segments", "2"]);
    fleet.stage.server.client().delete_table().table_name("copy").send().await.expect("the table is deleted");
    let _worker = fleet.worker(&[]);

    let summary = fleet.summary("job", 2 * DEADLINE).await;

    assert_eq!((&summary["state"], &summary["units"]["failed"]), (&"failed".into(), &2.into()), "{summary}");
    let error = summary["errors"][0]["error"].as_str().expect("there is a reason");
    assert!(error.contains("copy"), "{error}");
    let status = fleet.stage.programs.dynamend(&["status", "job", "--store", &fleet.store, "--exit-code"]);
    assert_eq!(status.code, Some(4));
    assert!(status.stderr.contains("dynamend resume job"), "{}", status.stderr);
}

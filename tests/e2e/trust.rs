//! `--allow-store`: messages lead a worker to the stores that it was started for, and to nothing else.

use serde_json::json;
use tests::process::Programs;
use tests::queues::Counts;
use tests::relay::Relay;
use tests::wait::{DEADLINE, eventually};

use crate::stage::{Fleet, MASTER, Stage, programs};

/// The programs of this fleet, with its S3, SQS and STS behind the relay.
fn behind(relay: &Relay, fleet: &Fleet) -> Programs {
    programs().with_dynamodb(&fleet.stage.endpoint()).with_services(&relay.endpoint())
}

async fn assert_dead(fleet: &Fleet, count: usize) {
    eventually("the refused messages are dead", 2 * DEADLINE, async || {
        let counts = fleet.queue.counts().await;
        (counts == Counts { dead: count as u64, ..Counts::default() }).then_some(())
    })
    .await;
}

#[tokio::test]
async fn messages_that_lead_elsewhere_are_refused_unread_and_the_others_done() {
    let (stage, _) = Stage::differing(40).await;
    let fleet = Fleet::around(stage, 2).await;
    let other = fleet.bucket.url("fleet-of-others");
    fleet.enqueue("job", &["--segments", "2"]);
    let copied = fleet.bucket.get("fleet/jobs/job/manifest.json").await.expect("there is a manifest");
    fleet.bucket.put("fleet-of-others/jobs/job/manifest.json", &copied).await;
    let outside = fleet.stage.programs.home().join("outside");
    std::fs::create_dir_all(outside.join("jobs/job")).expect("a folder can be made");
    std::fs::write(outside.join("jobs/job/manifest.json"), &copied).expect("a file can be written");
    let message = |manifest: &str, job: &str| {
        let unit = json!({ "kind": "scan", "pass": "master", "segment": 0, "total_segments": 2 });
        json!({ "version": 1, "job": job, "manifest": manifest, "unit": unit })
    };
    let mut bad: Vec<String> = [
        (format!("{other}/jobs/job/manifest.json"), "job"),
        ("s3://somebody-elses-bucket/fleet/jobs/job/manifest.json".to_owned(), "job"),
        (format!("{}/../fleet-of-others/jobs/job/manifest.json", fleet.store), "job"),
        (format!("{}/%2e%2e/fleet-of-others/jobs/job/manifest.json", fleet.store), "job"),
        (format!("file://{}/jobs/job/manifest.json", outside.display()), "job"),
        (format!("{}/jobs/../../manifest.json", fleet.store), "../.."),
    ]
    .map(|(manifest, job)| message(&manifest, job).to_string())
    .into();
    let mut later = message(&format!("{}/jobs/job/manifest.json", fleet.store), "job");
    later["start"] = json!({ MASTER: { "id": { "S": "zzz" }, "at": { "N": "1" } } });
    bad.push(later.to_string());
    for body in &bad {
        fleet.queue.send(body).await;
    }
    let relay = Relay::before(&tests::ministack::MiniStack::shared().endpoint());
    let programs = behind(&relay, &fleet);

    let mut worker = programs.spawn_worker(&[
        "--queue",
        &fleet.queue.url,
        "--lease",
        "4",
        "--allow-store",
        "s3://unrelated",
        "--allow-store",
        &fleet.store,
    ]);
    let summary = fleet.summary("job", DEADLINE).await;
    assert_dead(&fleet, bad.len()).await;

    assert_eq!((&summary["state"], &summary["scanned"][MASTER]), (&"succeeded".into(), &40.into()), "{summary}");
    assert!(worker.is_running(), "{}", worker.stderr());
    worker.terminate();
    let worker = worker.wait(DEADLINE);
    assert_eq!(worker.code, Some(0), "{}", worker.stderr);
    assert!(worker.stderr.contains("--allow-store s3://unrelated,"), "{}", worker.stderr);
    for words in ["is none of those", "is not written as dynamend writes it", "no id of a job", "another key"] {
        assert!(worker.stderr.contains(words), "`{words}` is not in:\n{}", worker.stderr);
    }
    assert!(!worker.stderr.contains("panicked"), "{}", worker.stderr);
    let store = format!("/{}/fleet/jobs/job/", fleet.bucket.name);
    for call in relay.take_calls() {
        let is_queue = call.request.headers.get("x-amz-target").is_some_and(|target| target.starts_with("AmazonSQS."));
        assert!(is_queue || call.request.target.starts_with(&store), "{}", call.request.target);
    }
    assert_eq!(fleet.bucket.keys("fleet-of-others/").await, ["fleet-of-others/jobs/job/manifest.json"]);
    let files = crate::stage::files(&outside);
    assert_eq!(files.len(), 1, "something was written: {:?}", files.keys());
}

#[tokio::test]
async fn the_list_may_come_from_the_environment_and_one_that_cannot_be_read_stops_the_worker() {
    let (stage, _) = Stage::differing(10).await;
    let fleet = Fleet::around(stage, 2).await;
    fleet.enqueue("job", &["--segments", "1"]);
    let relay = Relay::before(&tests::ministack::MiniStack::shared().endpoint());
    let list = format!("s3://unrelated,{}", fleet.store);
    let flags = ["--queue", &fleet.queue.url, "--drain"];

    for list in ["", "s3://", "gs://bucket", "s3://a,,s3://b"] {
        let refused = behind(&relay, &fleet).with("DYNAMEND_ALLOW_STORE", list).worker(&flags);
        assert_eq!(refused.code, Some(2), "`{list}`: {}", refused.stderr);
        assert!(refused.stderr.contains("is no store"), "{}", refused.stderr);
    }
    let done = behind(&relay, &fleet).with("DYNAMEND_ALLOW_STORE", &list).worker(&flags);

    assert_eq!(done.code, Some(0), "{}", done.stderr);
    assert_eq!(fleet.status("job")["state"], "succeeded");
    assert_eq!(fleet.queue.counts().await, Counts::default());
}

#[tokio::test]
async fn a_start_that_is_no_key_never_gets_into_a_checkpoint() {
    let (stage, _) = Stage::differing(20).await;
    let fleet = Fleet::around(stage, 2).await;
    let manifest = format!("{}/jobs/job/manifest.json", fleet.store);
    let unit = json!({ "kind": "scan", "pass": "master", "segment": 0, "total_segments": 1 });
    let start = json!({ MASTER: { "id": { "S": "a key without its other half" } } });
    let bad = json!({ "version": 1, "job": "job", "manifest": manifest, "unit": unit, "start": start });
    fleet.enqueue("job", &["--segments", "1"]);
    while let Some((_, receipt)) = fleet.queue.receive().await {
        fleet.queue.delete(&receipt).await;
    }
    fleet.queue.send(&bad.to_string()).await;
    let _worker = fleet.worker(&[]);
    assert_dead(&fleet, 1).await;

    let resumed = fleet.dynamend(&["resume", "job", "--wait"]);

    assert_eq!(resumed.code, Some(1), "{}", resumed.stderr);
    assert_eq!(fleet.status("job")["scanned"][MASTER], 20);
}

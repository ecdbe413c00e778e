//! Replication with the real programs: a master that changes at full speed, workers that are killed, and slaves that
//! end as the master is, without ever having gone back.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::{AttributeValue, StreamViewType};
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use serde_json::Value as Json;
use shared::aws::streams::DynamoDbStream;
use shared::domain::change::{Event, Image};
use shared::domain::number::Number;
use shared::domain::value::{Item, Value};
use shared::ports::stream::{ChangeStream as _, ReadFrom};
use tests::process::Running;
use tests::wait::{DEADLINE, eventually};
use tokio::task::JoinHandle;

use crate::stage::{Fleet, MASTER, SLAVE, Stage, document, holds, order_schema, orders, report};
use crate::streams::{clients, side};

/// For jobs whose workers die; in debug builds, on a busy machine.
const LONG: Duration = Duration::from_secs(150);

/// A master that changes until it is told to stop: puts, updates and deletes, each put with the next version of its key.
struct Writer {
    stop: Arc<AtomicBool>,
    writing: JoinHandle<u64>,
}

impl Writer {
    /// Begins, and makes so many changes at most.
    fn start(client: &Client, seed: u64, most: u64) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let (client, stopped) = (client.clone(), Arc::clone(&stop));
        let writing = tokio::spawn(async move {
            let mut dice = StdRng::seed_from_u64(seed);
            let mut versions: HashMap<u32, u64> = HashMap::new();
            let mut made = 0;
            while made < most && !stopped.load(Ordering::Relaxed) {
                let order = dice.random_range(0..150);
                let id = AttributeValue::S(format!("order-{order:05}"));
                let version = versions.entry(order).or_default();
                *version += 1;
                let answer = match dice.random_range(0..4) {
                    0 => client.delete_item().table_name("orders").key("id", id).send().await.map(drop).map_err(drop),
                    1 => client
                        .update_item()
                        .table_name("orders")
                        .key("id", id)
                        .update_expression("SET version = :v, touched = :t")
                        .expression_attribute_values(":v", AttributeValue::N(version.to_string()))
                        .expression_attribute_values(":t", AttributeValue::Bool(true))
                        .send()
                        .await
                        .map(drop)
                        .map_err(drop),
                    _ => client
                        .put_item()
                        .table_name("orders")
                        .item("id", id)
                        .item("version", AttributeValue::N(version.to_string()))
                        .item("content", AttributeValue::S("x".repeat(dice.random_range(0..200))))
                        .send()
                        .await
                        .map(drop)
                        .map_err(drop),
                };
                answer.expect("the master takes it");
                made += 1;
            }
            made
        });
        Self { stop, writing }
    }

    /// Stops, and says how many changes were made.
    async fn stop(self) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        self.writing.await.expect("the writer does not panic")
    }
}

async fn stage() -> Stage {
    let items = orders(200, &[("version", Value::N(Number::parse("0").expect("a number")))]);
    let stage = Stage::of(&order_schema(), &items, &[]).await;
    stage.server.enable_stream("orders", StreamViewType::NewAndOldImages).await;
    stage.server.enable_stream("copy", StreamViewType::NewAndOldImages).await;
    stage
}

/// Panics if the slave's own stream tells of a version that follows a higher one.
async fn assert_never_went_back(stage: &Stage) {
    let described = stage.server.client().describe_table().table_name("copy").send().await.expect("it is there");
    let arn = described.table.and_then(|table| table.latest_stream_arn).expect("it has a stream");
    let client = clients(&stage.server.endpoint()).dynamodb_streams(&side("copy")).await.expect("a client is had");
    let stream = DynamoDbStream::new(client, arn, stage.schema.clone());
    let mut seen: HashMap<String, u64> = HashMap::new();
    let mut records = 0;
    for shard in stream.shards(None).await.expect("the stream is there").shards {
        let mut cursor = Some(stream.open(&shard.id, &ReadFrom::TrimHorizon).await.expect("the shard is there"));
        while let Some(at) = cursor {
            let page = stream.read(&at, 1000).await.expect("the records are there");
            if page.records.is_empty() {
                break;
            }
            for record in page.records {
                let change = record.change.expect("it is a change");
                records += 1;
                let key = change.key.to_json().to_string();
                if let (Event::Insert | Event::Modify, Image::Item(item)) = (change.event, &change.image) {
                    let version = version_of(item);
                    let last = seen.entry(key.clone()).or_default();
                    assert!(version >= *last, "{key} went from version {last} back to {version}");
                    *last = version;
                }
            }
            cursor = page.next;
        }
    }
    assert!(records > 200, "{records} records are no test");
}

fn version_of(item: &Item) -> u64 {
    match item.get("version") {
        Some(Value::N(version)) => version.text().parse().expect("a version is a number"),
        other => panic!("{other:?} is no version"),
    }
}

const REPLICATE: [&str; 5] = ["replicate", "-m", MASTER, "-s", SLAVE];

/// R10: README's walk through a migration.
#[tokio::test]
async fn r10_a_migration_copies_follows_verifies_and_says_when_to_cut_over() {
    let stage = stage().await;
    let writer = Writer::start(stage.server.client(), 1, 1500);
    let arguments = ["--backfill", "--job-id", "move", "--segments", "4"];
    let mut running = stage.programs.spawn_dynamend(&[&REPLICATE[..], &arguments].concat());
    eventually("it follows", LONG, async || {
        assert!(running.is_running(), "it ended early: {}", running.stderr());
        let status = stage.programs.dynamend(&["status", "move", "--output", "json"]);
        (status.code == Some(0) && document(&status)["replication"]["records"].as_u64()? > 200).then_some(())
    })
    .await;
    let made = writer.stop().await;
    running.interrupt();
    let moved = running.wait(DEADLINE);
    assert_eq!(moved.code, Some(130), "{}", moved.stderr);

    let arguments = ["--from", "move", "--until-caught-up", "--verify", "--job-id", "cut-over"];
    let finished = stage.programs.dynamend(&[&REPLICATE[..], &arguments].concat());

    assert_eq!(finished.code, Some(0), "{}\n{}", finished.stdout, finished.stderr);
    assert!(made > 100, "{made} changes are no test");
    for words in ["every write to the master up to 20", "job cut-over: succeeded", "job cut-over-verify: succeeded"] {
        assert!(finished.stdout.contains(words), "{words}: {}", finished.stdout);
    }
    assert!(stage.differences().await.is_empty());
    Box::pin(assert_never_went_back(&stage)).await;
}

/// R13, with the real programs: three workers, one killed again and again.
#[tokio::test]
async fn r13_workers_that_are_killed_lose_nothing_and_set_nothing_back() {
    let fleet = Fleet::around(stage().await, 8).await;
    let writer = Writer::start(fleet.stage.server.client(), 2, 2500);
    let arguments = ["--backfill", "--job-id", "job", "--segments", "6", "--scan-limit", "10"];
    let enqueued = fleet.dynamend(&[&REPLICATE[..], &arguments].concat());
    assert_eq!((enqueued.code, enqueued.stdout.trim()), (Some(0), "job"), "{}", enqueued.stderr);
    let mut workers: Vec<Running> = (0..3).map(|_| fleet.worker(&["--concurrency", "2"])).collect();
    let mut dice = StdRng::seed_from_u64(3);
    let began = Instant::now();
    let mut killed = 0;
    while began.elapsed() < Duration::from_secs(20) {
        tokio::time::sleep(Duration::from_millis(dice.random_range(500..2500))).await;
        let victim = workers.swap_remove(dice.random_range(0..workers.len()));
        assert_eq!(victim.kill().code, None, "a worker ended by itself");
        workers.push(fleet.worker(&["--concurrency", "2"]));
        killed += 1;
    }
    let made = writer.stop().await;
    assert!(killed >= 6 && made > 500, "{killed} kills and {made} changes are no test");

    eventually("the slave is as the master", LONG, async || fleet.stage.differences().await.is_empty().then_some(()))
        .await;

    Box::pin(assert_never_went_back(&fleet.stage)).await;
    let summary = fleet.status("job");
    assert_eq!(summary["replication"]["malformed"], 0, "{summary}");
    assert_eq!(summary["replication"]["gaps"], Json::Array(vec![]), "{summary}");
    let cancelled = fleet.dynamend(&["cancel", "job"]);
    assert_eq!(cancelled.code, Some(0), "{}", cancelled.stderr);
}

#[tokio::test]
async fn a_replication_that_was_interrupted_is_resumed_where_it_stood() {
    let stage = stage().await;
    let client = stage.server.client();
    let mut running = stage.programs.spawn_dynamend(&[&REPLICATE[..], &["--backfill", "--job-id", "job"]].concat());
    eventually("it follows", LONG, async || {
        assert!(running.is_running(), "{}", running.stderr());
        (stage.differences().await.is_empty()).then_some(())
    })
    .await;
    running.interrupt();
    let interrupted = running.wait(DEADLINE);
    assert_eq!(interrupted.code, Some(130), "{}", interrupted.stderr);
    assert!(interrupted.stderr.contains("dynamend resume job"), "{}", interrupted.stderr);
    Writer::start(client, 4, 100).writing.await.expect("the writer does not panic");
    assert!(!stage.differences().await.is_empty());

    let resumed = stage.programs.spawn_dynamend(&["resume", "job"]);
    eventually("the slave is as the master", LONG, async || stage.differences().await.is_empty().then_some(())).await;

    assert_eq!(resumed.kill().code, None);
    Box::pin(assert_never_went_back(&stage)).await;
}

#[tokio::test]
async fn two_tables_that_follow_each_other_do_not_send_changes_round_and_round() {
    let stage = stage().await;
    let client = stage.server.client();
    let both = |master, slave, job| {
        let flags = ["--origin-attribute", "origin", "--job-id", job];
        stage.programs.spawn_dynamend(&[&["replicate", "-m", master, "-s", slave], &flags[..]].concat())
    };
    let (mut there, mut back) = (both(MASTER, SLAVE, "there"), both(SLAVE, MASTER, "back"));
    for running in [&mut there, &mut back] {
        running.wait_for_stderr("following", DEADLINE);
    }
    let put = async |table: &str, id: &str, version: u32| {
        let item = [("id", AttributeValue::S(id.into())), ("version", AttributeValue::N(version.to_string()))];
        let item = item.map(|(name, value)| (name.to_owned(), value)).into_iter().collect();
        client.put_item().table_name(table).set_item(Some(item)).send().await.expect("it fits");
    };
    put("orders", "made-here", 1).await;
    put("copy", "made-there", 1).await;
    let arrived = async |table: &str, id: &str, version: u32| {
        let items = stage.server.read_all(table).await;
        let is_it =
            |item: &&Item| item.get("id") == Some(&Value::S(id.into())) && version_of(item) == u64::from(version);
        items.iter().any(|item| is_it(&item)).then_some(())
    };
    eventually("each has the other's item", LONG, async || {
        arrived("copy", "made-here", 1).await?;
        arrived("orders", "made-there", 1).await
    })
    .await;
    put("copy", "made-here", 2).await;
    eventually("a change of a copy comes back", LONG, async || arrived("orders", "made-here", 2).await).await;

    let records = async || {
        let status = |job| document(&stage.programs.dynamend(&["status", job, "--output", "json"]));
        [status("there"), status("back")].map(|status| status["replication"]["looped"].as_u64())
    };
    put("orders", "again", 1).await;
    eventually("it arrives", LONG, async || arrived("copy", "again", 1).await).await;
    eventually("both have seen the other's writes", LONG, async || {
        let looped = records().await;
        looped.iter().all(|looped| looped.is_some_and(|looped| looped > 0)).then_some(())
    })
    .await;
    let writes = stage.server.read_all("orders").await.len() + stage.server.read_all("copy").await.len();
    assert_eq!(writes, 203 + 3, "nothing but the three items was copied");
}

#[tokio::test]
async fn each_item_becomes_an_object_and_goes_with_it() {
    let stage = stage().await;
    let arguments = ["replicate", "-m", MASTER, "--to-backup", "backup", "--backfill", "--until-caught-up"];
    let finished = stage.programs.dynamend(&[&arguments[..], &["--job-id", "one", "--output", "json"]].concat());
    assert_eq!(finished.code, Some(0), "{}", finished.stderr);
    assert_eq!(document(&finished)["replication"]["backed_up"], 200, "{}", finished.stdout);
    let folder = stage.programs.home().join("backup/orders");
    let files = || {
        let files = std::fs::read_dir(&folder).expect("it is there").map(|file| file.expect("it is there").path());
        // The marker is no item.
        files.filter(|file| !file.ends_with("_dynamend.json")).collect::<Vec<_>>()
    };
    assert_eq!(files().len(), 200);
    let id = AttributeValue::S("order-00007".into());
    stage.server.client().delete_item().table_name("orders").key("id", id).send().await.expect("it is deleted");

    let arguments = ["replicate", "-m", MASTER, "--to-backup", "backup", "--from", "one", "--until-caught-up"];
    let finished = stage.programs.dynamend(&arguments);

    assert_eq!(finished.code, Some(0), "{}", finished.stderr);
    assert_eq!(files().len(), 199);
    let bodies = files().into_iter().map(|file| std::fs::read(file).unwrap());
    assert!(bodies.into_iter().all(|body| !holds(&body, "order-00007") && holds(&body, r#""version":{"N":"0"}"#)));
}

/// R11.
#[tokio::test]
async fn r11_what_cannot_be_replicated_is_refused_before_anything_is_written() {
    let stage = stage().await;
    let without_stream = Stage::of(&order_schema(), &[], &[]).await;
    for (stage, arguments, code, words) in [
        (&stage, vec!["replicate"], 2, "--master"),
        (&stage, vec!["replicate", "-m", MASTER], 2, "--slave"),
        (&stage, vec!["replicate", "-m"], 2, "--master"),
        (&stage, vec!["replicate", "-m", MASTER, "-s", MASTER], 2, "same table"),
        (&stage, [&REPLICATE[..], &["--from", "not a place!"]].concat(), 2, "trim-horizon"),
        (&stage, [&REPLICATE[..], &["--from", "no-such-job"]].concat(), 3, "no-such-job"),
        (&stage, [&REPLICATE[..], &["--verify"]].concat(), 2, "--until-caught-up"),
        (&stage, [&REPLICATE[..], &["--only-missing"]].concat(), 2, "--backfill"),
        (&stage, [&REPLICATE[..], &["--segments", "3"]].concat(), 2, "--backfill"),
        (
            &stage,
            [&REPLICATE[..], &["--backfill", "--segments", "3", "--only-segments", "1"]].concat(),
            2,
            "cannot follow",
        ),
        (&stage, [&REPLICATE[..], &["--kinesis", "stream"]].concat(), 3, "ARN"),
        (&without_stream, REPLICATE.to_vec(), 3, "StreamViewType=NEW_AND_OLD_IMAGES"),
    ] {
        let finished = stage.programs.dynamend(&arguments);
        assert_eq!(finished.code, Some(code), "{arguments:?}: {}", finished.stderr);
        assert!(finished.stderr.contains(words), "{arguments:?}: {}", finished.stderr);
        assert!(finished.stderr.contains("hint: "), "{arguments:?}: {}", finished.stderr);
    }
    assert!(!stage.programs.home().join(".dynamend").exists());
    let help = stage.programs.dynamend(&["replicate", "--help"]);
    assert_eq!(help.code, Some(0));
    assert!(help.stdout.contains(" replicate [OPTIONS] --master <TABLE>"), "{}", help.stdout);
}

#[tokio::test]
async fn a_backfill_copies_the_segments_it_is_told_to() {
    let items = orders(120, &[]);
    let stage = Stage::of(&order_schema(), &items, &items[..3]).await;
    let backfill = ["backfill", "-m", MASTER, "-s", SLAVE, "--segments", "4", "--output", "json"];

    let some = stage.programs.dynamend(&[&backfill[..], &["--only-segments", "0,2"]].concat());
    assert_eq!(some.code, Some(0), "{}", some.stderr);
    assert!((document(&some)["slaves"][0]["written"].as_u64().unwrap_or(120)) < 120, "{}", some.stdout);
    let rest = ["--only-segments", "1,3", "--only-missing"];
    let rest = stage.programs.dynamend(&[&backfill[..], &rest].concat());

    assert_eq!(rest.code, Some(0), "{}", rest.stderr);
    assert!(stage.differences().await.is_empty());
    let nothing_rejected = report(&stage.programs, &[document(&rest)["job"].as_str().expect("an id")]);
    assert!(nothing_rejected.is_empty());
}

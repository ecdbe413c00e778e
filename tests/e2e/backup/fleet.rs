//! Workers that are killed one after the other while they back up and restore: each item is in a backup once, and comes back.

use std::collections::{BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use serde_json::Value as Json;
use shared::domain::key::KeyType;
use tests::generate::{schema, table};
use tests::process::Running;
use tests::wait::eventually;

use crate::stage::{Fleet, MASTER, SLAVE, Stage, unpacked};

const ITEMS: usize = 240;

/// For jobs whose workers die; in debug builds, on a busy machine.
const LONG: Duration = Duration::from_secs(240);

/// Three workers live three times as long.
const KILL_EVERY: Duration = Duration::from_millis(1500);

/// Puts a job onto the queue, and kills the oldest of three workers again and again until it has ended.
async fn while_workers_die(fleet: &Fleet, job: &str, arguments: &[&str]) -> Json {
    let enqueued = fleet.dynamend(&[arguments, &["--job-id", job]].concat());
    assert_eq!((enqueued.code, enqueued.stdout.trim()), (Some(0), job), "{}", enqueued.stderr);
    let worker = || fleet.worker(&["--concurrency", "2"]);
    let mut workers: VecDeque<Running> = (0..3).map(|_| worker()).collect();
    let (mut killed, mut last_kill) = (0, Instant::now());
    let summary = eventually("the job ends", LONG, async || {
        if last_kill.elapsed() > KILL_EVERY {
            let oldest = workers.pop_front().expect("there are workers");
            assert_eq!(oldest.kill().code, None, "a worker ended by itself");
            workers.push_back(worker());
            killed += 1;
            last_kill = Instant::now();
        }
        fleet.bucket.get(&format!("fleet/jobs/{job}/summary.json")).await
    })
    .await;
    assert!(killed > 0, "no worker was killed; the job {job} is too small");
    serde_json::from_slice(&summary).expect("a summary is JSON")
}

async fn fleet() -> Fleet {
    let schema = schema(KeyType::S, Some(KeyType::N));
    let stage = Stage::of(&schema, &table(&schema, 14, ITEMS), &[]).await;
    // On a busy machine a unit is received often before a worker lives long enough to make any of it.
    Fleet::around(stage, 30).await
}

async fn assert_each_line_once(fleet: &Fleet, job: &str) {
    let mut lines = Vec::new();
    for key in fleet.bucket.keys(&format!("backups/{job}/data/")).await {
        let body = unpacked(&key, fleet.bucket.get(&key).await.expect("it is there"));
        lines.extend(String::from_utf8(body).expect("it is text").lines().map(str::to_owned));
    }
    assert_eq!((lines.len(), lines.iter().collect::<BTreeSet<_>>().len()), (ITEMS, ITEMS), "{job}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_backup_and_its_restore_survive_the_death_of_workers() {
    let fleet = fleet().await;
    let (dest, from) = (fleet.bucket.url("backups"), fleet.bucket.url("backups/B"));

    let full = ["backup", "full", MASTER, &dest, "--segments", "24", "--scan-limit", "2"];
    let summary = while_workers_die(&fleet, "B", &full).await;

    assert_eq!((&summary["state"], &summary["backup"]["items"]), (&"succeeded".into(), &ITEMS.into()), "{summary}");
    assert!(fleet.bucket.get("backups/B/manifest.json").await.is_some(), "it has ended");
    assert_each_line_once(&fleet, "B").await;
    let summary = while_workers_die(&fleet, "R", &["restore", &from, SLAVE]).await;
    assert_eq!(summary["state"], "succeeded", "{summary}");
    assert_eq!(summary["slaves"][0]["written"], ITEMS, "{summary}");
    assert!(fleet.stage.differences().await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_of_items_its_snapshot_and_their_restore_survive_the_death_of_workers() {
    let fleet = fleet().await;
    let (items, folder) = (fleet.bucket.url("items"), fleet.bucket.url("items/orders"));
    let dest = fleet.bucket.url("backups");

    let incremental = ["backup", "incremental", MASTER, &items, "--segments", "24", "--scan-limit", "2"];
    let summary = while_workers_die(&fleet, "I", &incremental).await;

    assert_eq!(summary["state"], "succeeded", "{summary}");
    assert_eq!(fleet.bucket.keys("items/orders/").await.len(), ITEMS + 1);
    let snapshot = ["backup", "snapshot", &folder, &dest, "--segments", "24"];
    let summary = while_workers_die(&fleet, "S", &snapshot).await;
    assert_eq!((&summary["state"], &summary["backup"]["items"]), (&"succeeded".into(), &ITEMS.into()), "{summary}");
    assert_each_line_once(&fleet, "S").await;
    let summary = while_workers_die(&fleet, "R", &["restore", &folder, SLAVE, "--segments", "24"]).await;
    assert_eq!(summary["slaves"][0]["written"], ITEMS, "{summary}");
    assert!(fleet.stage.differences().await.is_empty());
}

//! Backups and restores in one process that are interrupted or killed, and go on: each item once.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use serde_json::Value as Json;
use shared::domain::key::KeyType;
use tests::generate::{schema, table};
use tests::process::{Finished, Running};
use tests::slow::Slow;
use tests::wait::{DEADLINE, until};

use super::scene::{COPY, Scene, TABLE};
use crate::stage::{document, programs};

const ITEMS: usize = 240;

/// For what has to wait until a lease is over.
const LONG: Duration = Duration::from_secs(90);

/// What is done and undone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Work {
    Full,
    Snapshot,
    Restore,
    RestoreItems,
}

/// A table that is far away, with what the work begins from. The job is called J.
async fn far_away(work: Work) -> (Scene, Slow) {
    let schema = schema(KeyType::S, Some(KeyType::N));
    let mut scene = Scene::of(&schema, &table(&schema, 12, ITEMS)).await;
    match work {
        Work::Full => {}
        Work::Snapshot | Work::RestoreItems => drop(scene.incremental("I")),
        Work::Restore => drop(scene.full("B", &["--segments", "8"])),
    }
    scene.create_copy().await;
    let slow = Slow::before(&scene.server.endpoint(), Duration::from_millis(15));
    scene.programs = programs().with_dynamodb(&slow.endpoint());
    (scene, slow)
}

fn start(scene: &Scene, work: Work) -> Running {
    let (backups, items) = (scene.at("backups"), scene.at("items/orders"));
    let backup = scene.at("backups/B");
    let arguments: &[&str] = match work {
        Work::Full => &["backup", "full", TABLE, &backups, "--segments", "8", "--scan-limit", "1"],
        Work::Snapshot => &["backup", "snapshot", &items, &backups, "--segments", "8"],
        Work::Restore => &["restore", &backup, COPY],
        Work::RestoreItems => &["restore", &items, COPY, "--segments", "8"],
    };
    scene.spawn(&[arguments, &["--job-id", "J", "--parallel", "1"]].concat())
}

fn status(scene: &Scene) -> Json {
    let finished = scene.run(&["status", "J", "--output", "json"]);
    assert_eq!(finished.code, Some(0), "{}", finished.stderr);
    document(&finished)
}

/// Whether the work has left something behind.
async fn has_begun(scene: &Scene, work: Work) -> bool {
    match work {
        Work::Full | Work::Snapshot => !scene.keys("backups/J/data").await.is_empty(),
        Work::Restore | Work::RestoreItems => !scene.server.read_all("copy").await.is_empty(),
    }
}

async fn in_the_middle(scene: &Scene, work: Work) -> Running {
    let mut running = start(scene, work);
    tests::wait::eventually("something is done", DEADLINE, async || {
        assert!(running.is_running(), "it ended too early:\n{}", running.stderr());
        has_begun(scene, work).await.then_some(())
    })
    .await;
    running
}

async fn assert_done(scene: &Scene, work: Work, finished: &Finished) {
    assert_eq!(finished.code, Some(0), "{work:?}: {}{}", finished.stdout, finished.stderr);
    let summary = status(scene);
    assert_eq!(summary["state"], "succeeded", "{work:?}: {summary}");
    match work {
        Work::Full | Work::Snapshot => {
            let lines: Vec<String> = scene.lines("backups/J").await.into_iter().flat_map(|(_, lines)| lines).collect();
            assert_eq!(lines.len(), ITEMS, "{work:?}");
            assert_eq!(lines.iter().collect::<BTreeSet<_>>().len(), ITEMS, "{work:?}");
            assert_eq!(summary["backup"]["items"], ITEMS, "{summary}");
            scene.restore("backups/J", &["--verify"]);
        }
        Work::Restore | Work::RestoreItems => assert_eq!(summary["slaves"][0]["written"], ITEMS, "{summary}"),
    }
    scene.assert_same(&format!("{work:?}")).await;
}

async fn assert_unfinished(scene: &Scene, work: Work) {
    assert_ne!(status(scene)["state"], "succeeded", "{work:?}");
    if matches!(work, Work::Full | Work::Snapshot) {
        assert_eq!(scene.get("backups/J/manifest.json").await, None, "{work:?}");
        scene.refused(&["restore", &scene.at("backups/J"), COPY], 3, &["was not finished", "dynamend resume"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_interrupted_says_how_to_go_on_and_does() {
    for work in [Work::Full, Work::Restore] {
        let (scene, _slow) = far_away(work).await;
        let running = in_the_middle(&scene, work).await;
        running.interrupt();
        let interrupted = running.wait(DEADLINE);

        assert_eq!(interrupted.code, Some(130), "{work:?}: {}", interrupted.stderr);
        assert!(interrupted.stderr.contains("dynamend resume J"), "{work:?}: {}", interrupted.stderr);
        assert_unfinished(&scene, work).await;
        let resumed = scene.run(&["resume", "J"]);

        assert_done(&scene, work, &resumed).await;
    }
}

/// Kills it, and what goes on with it, at random moments; and lets it end.
async fn killed_at_random(work: Work, seed: u64) {
    let (scene, _slow) = far_away(work).await;
    let mut dice = StdRng::seed_from_u64(seed);
    let mut running = in_the_middle(&scene, work).await;
    for _ in 0..2 {
        let (since, moment) = (Instant::now(), Duration::from_millis(dice.random_range(0..1500)));
        until("its moment has come", DEADLINE, || (since.elapsed() >= moment || !running.is_running()).then_some(()));
        drop(running.kill());
        if status(&scene)["state"] != "succeeded" {
            assert_unfinished(&scene, work).await;
        }
        running = scene.spawn(&["resume", "J"]);
    }

    let resumed = running.wait(LONG);

    assert_done(&scene, work, &resumed).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_that_is_killed_at_random_moments_has_each_item_once() {
    killed_at_random(Work::Full, 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restore_that_is_killed_at_random_moments_brings_each_item_back() {
    killed_at_random(Work::Restore, 3).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restore_of_a_folder_that_is_killed_at_random_moments_brings_each_item_back() {
    killed_at_random(Work::RestoreItems, 4).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_that_is_killed_before_it_began_is_made_by_resume() {
    let (scene, _slow) = far_away(Work::Snapshot).await;
    let running = start(&scene, Work::Snapshot);
    until("the job is there", DEADLINE, || {
        let jobs = scene.run(&["jobs", "--output", "json"]);
        jobs.stdout.contains("\"J\"").then_some(())
    });
    drop(running.kill());
    let resumed = scene.spawn(&["resume", "J"]).wait(LONG);

    assert_done(&scene, Work::Snapshot, &resumed).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_never_says_that_it_succeeded_before_its_manifest_is_there() {
    let (scene, _slow) = far_away(Work::Full).await;
    let mut running = start(&scene, Work::Full);
    let mut looks = 0;
    let mut job_is_there = false;
    while running.is_running() {
        // First the status, then the manifest: what is looked at later may be there later.
        let finished = scene.run(&["status", "J", "--output", "json"]);
        let jobs = scene.run(&["jobs", "--output", "json"]);
        let manifest = scene.get("backups/J/manifest.json").await;
        if finished.code == Some(0) {
            job_is_there = true;
            looks += 1;
            let says = document(&finished)["state"] == "succeeded" || jobs.stdout.contains("succeeded");
            assert!(!says || manifest.is_some(), "{}{}", finished.stdout, jobs.stdout);
        } else {
            assert!(!job_is_there, "{}", finished.stderr);
        }
    }
    assert!(looks > 2, "it was looked at {looks} times");
    assert_done(&scene, Work::Full, &running.wait(DEADLINE)).await;
}

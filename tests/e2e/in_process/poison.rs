//! Messages that nobody can do end as dead letters, and everybody else's work goes on.

use std::time::Duration;

use shared::domain::key::KeyType;
use shared::ports::queue::WorkQueue as _;
use tests::generate::{Shares, pair_of_tables, schema};
use tests::world::{DRY_RUN, Worker, World};

use super::exact::settings;

#[tokio::test(start_paused = true)]
async fn a_message_that_nobody_can_do_ends_as_a_dead_letter_and_the_others_are_done() {
    let pair = pair_of_tables(&schema(KeyType::S, None), 1, 10, Shares { missing: 0.5, ..Shares::default() });
    let world = World::of_pair(&pair, 3);
    let job = world.job(2, settings(DRY_RUN)).await;
    let other = world.job_named("other", 2, settings(DRY_RUN)).await;
    let queue = job.enqueue().await;
    let unit = job.manifest.units().next().unwrap();
    let good = job.manifest.message(&job.journal.manifest_url(), unit).to_body();
    let poison = [
        "not json".to_owned(),
        "{}".to_owned(),
        good.replace("\"version\":1", "\"version\":2"),
        good.replace("\"kind\":\"scan\"", "\"kind\":\"teleport\""),
        // The job has no such segment, pass, or number of segments.
        good.replace("\"total_segments\":2", "\"total_segments\":99").replace("\"segment\":0", "\"segment\":50"),
        good.replace("\"total_segments\":2", "\"total_segments\":3"),
        good.replace("\"pass\":\"master\"", "\"pass\":\"slave-5\""),
        // No such store, and no such job in it.
        good.replace("s3://memory/", "gopher://memory/"),
        good.replace("20261120T231500Z-7f3a", "no-such-job"),
        // Two jobs in one message.
        good.replace("jobs/20261120T231500Z-7f3a", "jobs/other"),
    ];
    for body in &poison {
        assert_ne!(body, &good);
        queue.send(std::slice::from_ref(body), Duration::ZERO).await.unwrap();
    }

    world.work(&Worker::default(), &queue).await.unwrap();

    let (mut dead, mut expected) = (queue.dead_letters(), poison.to_vec());
    dead.sort();
    expected.sort();
    assert_eq!(dead, expected);
    job.report().await.assert_exact(std::slice::from_ref(&pair.expected), DRY_RUN, pair.master.len());
    assert!(other.journal.view(unit).await.unwrap().is_none(), "the other job was touched");
    let of_jobs = |key: &String| key.contains("7f3a/") || key == "jobs/other/manifest.json";
    assert!(world.store.keys().iter().all(of_jobs), "{:?}", world.store.keys());
}

#[tokio::test(start_paused = true)]
async fn a_damaged_checkpoint_stops_its_unit_and_no_other() {
    let pair = pair_of_tables(&schema(KeyType::S, None), 1, 10, Shares::default());
    let world = World::of_pair(&pair, 3);
    let job = world.job(4, settings(DRY_RUN)).await;
    let key = format!("jobs/{}/units/master/000002/checkpoint.json", job.manifest.job);
    world.store.write(&key, "{\"version\": 1, \"unit\": ");
    let queue = job.enqueue().await;

    world.work(&Worker::default(), &queue).await.unwrap();

    assert_eq!(queue.dead_letters().len(), 1);
    let error = job.views().await.unwrap_err().to_string();
    assert!(error.contains(&key), "{error}");
    assert_eq!(world.store.read(&key).unwrap(), "{\"version\": 1, \"unit\": ");
}

//! Full backups: what is in their files, what the summary counts, and the metrics of mapbox's tool.

use std::collections::BTreeSet;

use serde_json::{Value as Json, json};
use shared::domain::key::KeyType;
use tests::generate::{schema, table};
use tests::process::Finished;

use super::scene::{Scene, TABLE, item};
use crate::stage::{order_schema, orders, text};

/// The metric lines among those of standard error.
fn metrics(finished: &Finished) -> Vec<Json> {
    let lines = finished.stderr.lines().filter(|line| line.contains("\"_aws\""));
    lines.map(|line| serde_json::from_str(line).expect("the line is nothing but JSON")).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn b1_three_items_are_three_lines_of_dynamodb_json_and_are_counted() {
    let items = [
        json!({"id": {"S": "a"}, "blob": {"B": "aGVsbG8="}}),
        json!({"id": {"S": "b"}, "n": {"N": "12345678901234567890123456789012345678"}}),
        json!({"id": {"S": "c"}, "m": {"M": {"l": {"L": [{"BOOL": true}, {"NULL": true}]}}}}),
    ];
    let scene = Scene::of(&order_schema(), &items.clone().map(item)).await;

    let summary = scene.full("B", &["--segments", "1"]);

    let files = scene.lines("backups/B").await;
    let [(file, lines)] = &files[..] else { panic!("{files:?}") };
    assert!(file.ends_with(".json.gz"), "{file}");
    let expected: BTreeSet<String> = items.iter().map(|item| json!({ "Item": item }).to_string()).collect();
    assert_eq!(lines.len(), 3, "{lines:?}");
    assert_eq!(lines.iter().cloned().collect::<BTreeSet<_>>(), expected);
    let stored = scene.get(file).await.expect("it is there").len();
    let bytes: usize = lines.iter().map(|line| line.len() + 1).sum();
    let counted = &summary["backup"];
    assert_eq!((&counted["items"], &counted["objects"]), (&3.into(), &1.into()), "{counted}");
    assert_eq!((&counted["bytes"], &counted["stored_bytes"]), (&bytes.into(), &stored.into()), "{counted}");
    assert!(counted["at"].as_str().is_some_and(|at| at.ends_with("backups/B")), "{counted}");
    let manifest: Json = serde_json::from_slice(&scene.get("backups/B/manifest.json").await.unwrap()).unwrap();
    assert_eq!((&manifest["items"], &manifest["stored_bytes"]), (&3.into(), &stored.into()), "{manifest}");
}

#[tokio::test(flavor = "multi_thread")]
async fn b2_a_thousand_items_in_two_segments_are_in_the_files_of_two_segments() {
    let schema = schema(KeyType::S, Some(KeyType::N));
    let scene = Scene::of(&schema, &table(&schema, 2, 1000)).await;

    let summary = scene.full("B", &["--segments", "2"]);

    let files = scene.lines("backups/B").await;
    let segments: BTreeSet<&str> = files.iter().map(|(file, _)| &file["backups/B/data/".len()..][..6]).collect();
    assert_eq!(segments, ["000000", "000001"].into(), "{:?}", files.iter().map(|(file, _)| file).collect::<Vec<_>>());
    assert_eq!(files.iter().map(|(_, lines)| lines.len()).sum::<usize>(), 1000);
    assert_eq!(files.iter().flat_map(|(_, lines)| lines).collect::<BTreeSet<_>>().len(), 1000, "each line once");
    let counted = &summary["backup"];
    assert_eq!((&counted["items"], &counted["objects"]), (&1000.into(), &files.len().into()), "{counted}");
}

#[tokio::test(flavor = "multi_thread")]
async fn b3_metrics_are_published_once_and_tell_of_a_failure() {
    let scene = Scene::of(&order_schema(), &orders(100, &[("x", text("y"))])).await;
    let dest = scene.at("backups");
    let with = ["--metric-namespace", "Mapbox/Backups", "--output", "json"];

    let full = ["backup", "full", TABLE, &dest, "--job-id", "B", "--segments", "4"];
    let full = scene.run(&[&full[..], &with].concat());
    let items = scene.run(&[&["backup", "incremental", TABLE, &scene.at("items")][..], &with].concat());
    let from = scene.at("items/orders");
    let snapshot = scene.run(&[&["backup", "snapshot", &from, &dest, "--job-id", "S"][..], &with].concat());
    let missing = scene.run(&[&["backup", "full", "us-east-1:nobody", &dest][..], &with].concat());

    for (finished, job) in [(&full, Some("B")), (&items, None), (&snapshot, Some("S"))] {
        assert_eq!(finished.code, Some(0), "{}", finished.stderr);
        let [line] = &metrics(finished)[..] else { panic!("it is not there once: {}", finished.stderr) };
        let directive = &line["_aws"]["CloudWatchMetrics"][0];
        assert_eq!(directive["Namespace"], "Mapbox/Backups");
        assert_eq!(directive["Dimensions"], json!([["TableName"]]));
        assert_eq!(line["TableName"], "orders");
        assert_eq!((&line["BackupRecordCount"], &line["BackupErrors"]), (&100.into(), &0.into()), "{line}");
        let mut size = 0;
        let folder = job.map_or("items/orders".to_owned(), |job| format!("backups/{job}/data"));
        for key in scene.keys(&folder).await.iter().filter(|key| !key.ends_with("_dynamend.json")) {
            size += scene.get(key).await.expect("it is there").len();
        }
        assert_eq!(line["BackupSize"], size, "{folder}");
    }
    assert_eq!(missing.code, Some(3), "{}", missing.stderr);
    let [line] = &metrics(&missing)[..] else { panic!("it is not there once: {}", missing.stderr) };
    assert_eq!((&line["TableName"], &line["BackupErrors"]), (&"nobody".into(), &1.into()), "{line}");
}

#[tokio::test(flavor = "multi_thread")]
async fn b3_on_s3_the_backup_is_where_the_summary_says() {
    let scene = Scene::on_s3(&order_schema(), &orders(50, &[])).await;

    let summary = scene.full("B", &["--segments", "2"]);

    assert_eq!(summary["backup"]["at"], scene.at("backups/B"));
    let keys = scene.keys("backups/B").await;
    let (data, others): (Vec<&str>, Vec<&str>) =
        keys.iter().map(String::as_str).partition(|key| key.contains("/data/"));
    assert_eq!(others, ["backups/B/job.json", "backups/B/manifest.json", "backups/B/objects.jsonl.gz"]);
    assert_eq!(summary["backup"]["objects"], data.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_is_listed_with_its_place_and_has_no_records_to_compare() {
    let scene = Scene::of(&order_schema(), &orders(3, &[])).await;
    scene.full("B", &[]);

    let listed = scene.run(&["jobs"]);

    let row = format!("{TABLE} -> {}", scene.at("backups/B"));
    assert!(listed.stdout.contains(&row), "{}", listed.stdout);
    scene.refused(&["record", "diff", "--from-report", "B"], 2, &["job B has no two tables"]);
}

//! Folders of one object per item: how the objects are named, and what a snapshot makes of those that are none.

use serde_json::json;
use shared::domain::item_object::Naming;
use shared::domain::json::item_to_json;
use shared::domain::key::KeyType;
use shared::domain::value::Item;
use tests::generate::{schema, table};

use super::scene::{COPY, Scene, item, key};
use crate::stage::{order_schema, orders};

/// `printf '{"id":{"S":"order-00000"}}' | sha256sum`.
const OF_THE_FIRST: &str = "dc019bdf18401457640dd1fc3bb9c5b763cbdd671f2c2b91438c89f37f9b56b1";

fn object(schema: &shared::domain::key::KeySchema, item: &Item) -> String {
    format!("items/orders/{}", Naming::Sha256.name(schema, &key(schema, item)))
}

#[tokio::test(flavor = "multi_thread")]
async fn b8_fifty_items_become_fifty_objects_with_the_right_hash_and_body() {
    let items = orders(50, &[("n", shared::domain::value::Value::Bool(true))]);
    let scene = Scene::of(&order_schema(), &items).await;

    let summary = scene.incremental("I");

    let mut expected: Vec<String> = items.iter().map(|item| object(&scene.schema, item)).collect();
    assert_eq!(expected[0], format!("items/orders/{OF_THE_FIRST}"));
    expected.push("items/orders/_dynamend.json".to_owned());
    expected.sort_unstable();
    assert_eq!(scene.keys("items").await, expected);
    for item in &items {
        let body = scene.get(&object(&scene.schema, item)).await.expect("it is there");
        assert_eq!(String::from_utf8(body).unwrap(), item_to_json(item).to_string());
    }
    let counted = &summary["backup"];
    assert_eq!((&counted["items"], &counted["objects"]), (&50.into(), &50.into()), "{counted}");
    let marker = scene.get("items/orders/_dynamend.json").await.unwrap();
    let marker: serde_json::Value = serde_json::from_slice(&marker).unwrap();
    assert!(marker["names"].as_str().is_some_and(|names| names.contains("SHA-256")), "{marker}");
}

/// Puts a blank object, one whose name is no hash, and one with the hash of something else among the items.
async fn litter(scene: &Scene, stranger: &Item) {
    scene.put(&format!("items/orders/{}", "0".repeat(64)), " \n").await;
    scene.put("items/orders/README", "not an item").await;
    scene.put(&format!("items/orders/{}", "f".repeat(32)), item_to_json(stranger).to_string()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn b9_a_snapshot_has_the_items_and_names_what_is_none() {
    let scene = Scene::of(&order_schema(), &orders(50, &[])).await;
    scene.incremental("I");
    litter(&scene, &item(json!({"id": {"S": "elsewhere"}}))).await;

    let summary = scene.snapshot("S", &["--segments", "4"]);

    let counted = &summary["backup"];
    assert_eq!((&counted["items"], &counted["blank"], &counted["foreign"]), (&50.into(), &1.into(), &2.into()));
    assert_eq!((&counted["damaged"], &counted["vanished"]), (&0.into(), &0.into()), "{counted}");
    let lines: Vec<String> = scene.lines("backups/S").await.into_iter().flat_map(|(_, lines)| lines).collect();
    assert_eq!(lines.len(), 50);
    assert!(lines.iter().all(|line| !line.contains("elsewhere")));
    let named: Vec<String> = scene.report("S").iter().map(|line| line["error"].to_string()).collect();
    assert_eq!(named.len(), 3, "{named:?}");
    for name in ["README", &"0".repeat(64), &"f".repeat(32)] {
        assert_eq!(named.iter().filter(|error| error.contains(&format!("`{name}`"))).count(), 1, "{named:?}");
    }
    let done = scene.restore("backups/S", &["--create"]);
    assert_eq!(done["slaves"][0]["written"], 50);
    scene.assert_same("the snapshot").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn b9_a_damaged_object_is_named_and_the_rest_is_kept() {
    let items = orders(20, &[]);
    let scene = Scene::of(&order_schema(), &items).await;
    scene.incremental("I");
    let broken = object(&scene.schema, &items[7]);
    scene.put(&broken, r#"{"id":{"S":"order-0"#).await;
    let name = broken.rsplit('/').next().unwrap();
    let (from, to) = (scene.at("items/orders"), scene.at("backups"));
    let with = ["--metric-namespace", "Backups"];

    let snapshot = ["backup", "snapshot", &from, &to, "--job-id", "S"];
    let finished = scene.refused(&[&snapshot[..], &with].concat(), 1, &["dynamend report S"]);

    assert!(finished.stderr.contains("\"BackupErrors\":1"), "{}", finished.stderr);
    let report = scene.report("S");
    let [line] = &report[..] else { panic!("{report:?}") };
    assert!(line["error"].as_str().is_some_and(|error| error.contains(name)), "{line}");
    let lines: usize = scene.lines("backups/S").await.iter().map(|(_, lines)| lines.len()).sum();
    assert_eq!(lines, 19);
    scene.create_copy().await;
    scene.refused(&["restore", &from, COPY, "--job-id", "R"], 1, &["dynamend report R"]);
    let kept: Vec<Item> = items.iter().filter(|item| **item != items[7]).cloned().collect();
    scene.assert_copy_is(&kept, "what is not damaged").await;
    assert!(scene.report("R")[0]["error"].as_str().is_some_and(|error| error.contains(name)));
}

#[tokio::test(flavor = "multi_thread")]
async fn b9_on_s3_a_snapshot_passes_over_strangers_as_well() {
    let schema = schema(KeyType::N, Some(KeyType::S));
    let items = table(&schema, 9, 60);
    let scene = Scene::on_s3(&schema, &items).await;
    scene.incremental("I");
    litter(&scene, &items[0]).await;

    let summary = scene.snapshot("S", &[]);

    let counted = &summary["backup"];
    assert_eq!((&counted["items"], &counted["blank"], &counted["foreign"]), (&60.into(), &1.into(), &2.into()));
    scene.restore("backups/S", &["--create"]);
    scene.assert_same("the snapshot").await;
}

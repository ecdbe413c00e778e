//! There and back again: every type, every key, every way to keep a table, in a directory and on S3.

use serde_json::{Value as Json, json};
use shared::domain::key::{KeySchema, KeyType};
use shared::domain::value::{Item, Value};
use tests::generate::{schema, table};

use super::scene::{COPY, Scene, TABLE, item, sort_key_first};

/// 38 digits, the most that a number has.
const LONG: &str = "12345678901234567890123456789012345678";

fn key_schemas() -> [KeySchema; 5] {
    [
        schema(KeyType::S, None),
        schema(KeyType::B, Some(KeyType::B)),
        schema(KeyType::N, None),
        sort_key_first(KeyType::S, KeyType::N),
        sort_key_first(KeyType::N, KeyType::B),
    ]
}

/// Everything that other tools are known to lose, under this key.
fn extremes(key: &Json, sort: &Json) -> Item {
    item(json!({
        "zone": key, "at": sort,
        "longest": {"N": LONG}, "negative": {"N": format!("-{LONG}")},
        "smallest": {"N": "1E-130"}, "largest": {"N": format!("{LONG}E+88")},
        "fraction": {"N": "0.1234567890123456789012345678901234567"}, "zeros": {"N": "100000000000000000000"},
        "empty": {"S": ""}, "no_bytes": {"B": ""}, "bytes": {"B": "AAECA//+"},
        "text": {"S": "line\nline\r\u{2028}\"\\\u{0}é\u{1f980}"},
        "texts": {"SS": ["a", "b", ""]}, "numbers": {"NS": [LONG, "-0.5", "9007199254740993"]},
        "blobs": {"BS": ["", "AA==", "//8="]},
        "true": {"BOOL": true}, "false": {"BOOL": false}, "null": {"NULL": true},
        "no_list": {"L": []}, "no_map": {"M": {}},
        "nested": {"M": {"Item": {"L": [{"M": {"a.b[0]": {"S": "no path"}, "n": {"N": LONG}}}, {"SS": ["x"]}]}}},
        "Item": {"S": "wrapped"},
    }))
}

/// Items with numeric keys that floats cannot tell apart.
fn extreme_table() -> (KeySchema, Vec<Item>) {
    let keys = ["9007199254740992", "9007199254740993", "9007199254740994", LONG, &LONG.replace("78", "79"), "-0.5"];
    let items = keys.iter().map(|number| extremes(&json!({"N": number}), &json!({"B": "//4="}))).collect();
    (sort_key_first(KeyType::N, KeyType::B), items)
}

/// All ways of one table; each restored table is deleted.
async fn all_ways(scene: &Scene, count: usize, compressions: &[&str]) {
    for compression in compressions {
        let backup = format!("full-{compression}");
        let made = scene.full(&backup, &["--compression", compression, "--segments", "3"]);
        assert_eq!(made["backup"]["items"], count, "{made}");
        restored(scene, &format!("backups/{backup}"), &backup, count).await;
    }
    scene.incremental("incremental");
    restored(scene, "items/orders", "from-items", count).await;
    let made = scene.snapshot("snapshot", &["--segments", "3"]);
    assert_eq!(made["backup"]["items"], count, "{made}");
    restored(scene, "backups/snapshot", "from-snapshot", count).await;
}

async fn restored(scene: &Scene, folder: &str, job: &str, count: usize) {
    let job = format!("restore-{job}");
    let arguments = ["restore", &scene.at(folder), COPY, "--job-id", &job, "--create", "--verify"];
    let done = scene.done(&arguments);
    assert_eq!(done["restore"]["slaves"][0]["written"], count, "{folder}: {done}");
    assert_eq!(done["verify"]["slaves"][0]["identical"], count, "{folder}: {done}");
    scene.assert_same(folder).await;
    scene.server.client().delete_table().table_name("copy").send().await.expect("it can be deleted");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_of_every_key_comes_back_from_every_kind_of_backup() {
    for schema in key_schemas() {
        let items = table(&schema, 5, 150);
        let scene = Scene::of(&schema, &items).await;
        all_ways(&scene, 150, &["gzip", "zstd", "none"]).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_comes_back_from_every_kind_of_backup_on_s3() {
    let schema = sort_key_first(KeyType::B, KeyType::N);
    let scene = Scene::on_s3(&schema, &table(&schema, 7, 120)).await;
    all_ways(&scene, 120, &["gzip", "zstd"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_extremes_of_every_type_come_back_to_the_last_digit() {
    let (schema, items) = extreme_table();
    let scene = Scene::of(&schema, &items).await;
    all_ways(&scene, items.len(), &["gzip", "none"]).await;
    // What the backup says is what was put, digit by digit, apart from any reader of ours.
    let lines = scene.lines("backups/full-none").await;
    let text: String = lines.into_iter().flat_map(|(_, lines)| lines).collect();
    for digits in ["\"9007199254740993\"", &format!("\"{LONG}\""), "\"0.1234567890123456789012345678901234567\""] {
        assert!(text.contains(digits), "{digits} is not in {text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_table_has_a_backup_that_makes_an_empty_table() {
    let scene = Scene::of(&schema(KeyType::S, Some(KeyType::S)), &[]).await;
    all_ways(&scene, 0, &["gzip"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_table_has_a_backup_on_s3_as_well() {
    let scene = Scene::on_s3(&schema(KeyType::S, None), &[]).await;
    all_ways(&scene, 0, &["zstd"]).await;
}

/// More than one part of an upload, and more than one slice of a file that is read.
#[tokio::test(flavor = "multi_thread")]
async fn items_as_large_as_can_be_come_back_from_s3() {
    let blob = |seed: u8| Value::B((0..380 * 1024_u32).map(|n| seed.wrapping_mul(n.to_le_bytes()[1]) ^ 0x5a).collect());
    let items: Vec<Item> = (0..24_u8)
        .map(|number| [("id".to_owned(), Value::S(format!("{number}"))), ("blob".to_owned(), blob(number))].into())
        .collect();
    let scene = Scene::on_s3(&schema(KeyType::S, None), &items).await;
    let made = scene.full("B", &["--segments", "1", "--compression", "none"]);
    let stored = made["backup"]["stored_bytes"].as_u64().expect("a count");
    assert!(stored > 10 * 1024 * 1024, "{made}");

    scene.restore("backups/B", &["--create", "--verify"]);

    scene.assert_same("large items").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_itself_is_a_place_and_a_slash_at_the_end_does_not_matter() {
    let schema = schema(KeyType::S, None);
    let items = table(&schema, 1, 20);
    for scene in [Scene::of(&schema, &items).await, Scene::on_s3(&schema, &items).await] {
        let top = scene.at("");
        scene.done(&["backup", "full", TABLE, &top, "--job-id", "B"]);
        scene.done(&["backup", "incremental", TABLE, &top]);
        assert!(scene.get("B/manifest.json").await.is_some() && scene.get("orders/_dynamend.json").await.is_some());
        let snapshot = ["backup", "snapshot", &scene.at("orders/"), top.trim_end_matches('/'), "--job-id", "S"];
        scene.done(&snapshot);

        for source in ["B/", "B", "orders/", "S/"] {
            scene.done(&["restore", &scene.at(source), COPY, "--create"]);
            scene.assert_same(source).await;
            scene.server.client().delete_table().table_name("copy").send().await.expect("it can be deleted");
        }
    }
}

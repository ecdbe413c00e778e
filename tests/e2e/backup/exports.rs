//! DynamoDB's own exports, built by hand as the service writes them.

use std::io::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use flate2::Compression;
use flate2::write::GzEncoder;
use md5::{Digest as _, Md5};
use serde_json::{Value as Json, json};
use shared::domain::json::item_to_json;
use shared::domain::key::KeyType;
use shared::domain::value::Item;
use tests::generate::table;

use super::scene::{COPY, Scene, sort_key_first};

/// The export's folder; `exports` is its prefix.
const FOLDER: &str = "exports/AWSDynamoDB/01693685827463-2d8752fd";

/// The names that the service gives files, which say nothing.
const FILES: [&str; 3] = ["7t6lwbzdtu5gdpq4vfbfvglbxa", "asdl123dasas", "zzyzx"];

fn packed(items: &[Item]) -> Vec<u8> {
    let mut packer = GzEncoder::new(Vec::new(), Compression::default());
    for item in items {
        writeln!(packer, "{}", json!({ "Item": item_to_json(item) })).expect("a vector takes it");
    }
    packer.finish().expect("a vector takes it")
}

fn summary(count: usize) -> Json {
    json!({
        "version": "2020-06-30",
        "exportArn": "arn:aws:dynamodb:us-east-1:123456789012:table/orders/export/01693685827463-2d8752fd",
        "startTime": "2020-11-04T07:28:34.028Z", "endTime": "2020-11-04T07:33:43.897Z",
        "tableArn": "arn:aws:dynamodb:us-east-1:123456789012:table/orders",
        "tableId": "12345a12-abcd-123a-ab12-1234abc12345",
        "exportTime": "2020-11-04T07:28:34.028Z",
        "s3Bucket": "of-another-time", "s3Prefix": "exports", "s3SseAlgorithm": "AES256", "s3SseKmsKeyId": null,
        "manifestFilesS3Key": format!("{FOLDER}/manifest-files.json"),
        "billedSizeBytes": 0, "itemCount": count, "outputFormat": "DYNAMODB_JSON", "exportType": "FULL_EXPORT",
    })
}

/// Puts an export of these items, the last file of which has none.
async fn export(scene: &Scene, items: &[Item]) {
    let half = items.len() / 2;
    let mut list = String::new();
    for (name, items) in FILES.iter().zip([&items[..half], &items[half..], &[]]) {
        let (key, body) = (format!("{FOLDER}/data/{name}.json.gz"), packed(items));
        let sum = Md5::digest(&body);
        scene.put(&key, &body).await;
        let file = json!({
            "itemCount": items.len(), "md5Checksum": BASE64.encode(sum), "etag": "af83d6f217c19b8b0fff8023d8ca4716-1",
            "dataFileS3Key": key,
        });
        list.push_str(&format!("{file}\n"));
    }
    scene.put(&format!("{FOLDER}/manifest-files.json"), list).await;
    scene.put(&format!("{FOLDER}/manifest-files.md5"), "not looked at").await;
    scene.put(&format!("{FOLDER}/manifest-summary.json"), summary(items.len()).to_string()).await;
    scene.put(&format!("{FOLDER}/manifest-summary.md5"), "not looked at").await;
    scene.put(&format!("{FOLDER}/_started"), "").await;
}

async fn scenes() -> [(Scene, Vec<Item>); 2] {
    let schema = sort_key_first(KeyType::S, KeyType::N);
    let items = table(&schema, 6, 81);
    let scenes = [Scene::of(&schema, &items).await, Scene::on_s3(&schema, &items).await];
    for scene in &scenes {
        export(scene, &items).await;
        scene.create_copy().await;
    }
    scenes.map(|scene| (scene, items.clone()))
}

async fn scene() -> (Scene, Vec<Item>) {
    let [(scene, items), _] = scenes().await;
    (scene, items)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_export_of_dynamodb_is_restored_from_a_directory_and_from_s3() {
    for (scene, items) in scenes().await {
        let done = scene.restore(FOLDER, &["--verify"]);

        assert_eq!(done["restore"]["slaves"][0]["written"], items.len(), "{done}");
        assert_eq!(done["verify"]["slaves"][0]["identical"], items.len(), "{done}");
        scene.assert_same("the export").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_export_whose_file_has_another_md5_is_not_restored_and_goes_on_when_it_is_put_right() {
    for (scene, items) in scenes().await {
        let key = format!("{FOLDER}/data/{}.json.gz", FILES[0]);
        let right = scene.get(&key).await.expect("it is there");
        let half = items.len() / 2;
        let mut other = items[..half].to_vec();
        other[0].insert("forged".to_owned(), shared::domain::value::Value::Bool(true));
        // Packed without loss, with as many items, and still another file.
        scene.put(&key, packed(&other)).await;
        let restore = ["restore", &scene.at(FOLDER), COPY, "--job-id", "R"];
        let words = [FILES[0], "cut off or changed", "dynamend resume R"];

        scene.refused(&restore, 4, &words);

        scene.assert_copy_is(&items[half..], "what is not damaged").await;
        scene.put(&key, right).await;
        let done = scene.done(&["resume", "R"]);
        assert_eq!(done["slaves"][0]["written"], items.len(), "{done}");
        scene.assert_same("the export").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_export_without_one_of_its_files_is_refused() {
    let (scene, _) = scene().await;
    scene.delete(&format!("{FOLDER}/data/{}.json.gz", FILES[1])).await;

    scene.refused(&["restore", &scene.at(FOLDER), COPY], 3, &["lacks the file", FILES[1], "manifest-files.json"]);

    scene.assert_copy_is(&[], "a refused export").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn exports_that_are_no_whole_table_in_dynamodb_json_are_refused() {
    let (scene, _) = scene().await;
    let key = format!("{FOLDER}/manifest-summary.json");
    for (name, value, words) in [
        ("exportType", "INCREMENTAL_EXPORT", ["incremental export", "FULL_EXPORT"]),
        ("exportType", "SIDEWAYS_EXPORT", ["SIDEWAYS_EXPORT", "FULL_EXPORT"]),
        ("outputFormat", "ION", ["`ION`", "DYNAMODB_JSON"]),
    ] {
        let mut summary = summary(81);
        summary[name] = value.into();
        scene.put(&key, summary.to_string()).await;

        scene.refused(&["restore", &scene.at(FOLDER), COPY], 3, &words);
    }
    scene.put(&key, summary(82).to_string()).await;
    scene.refused(&["restore", &scene.at(FOLDER), COPY], 3, &["82", "81"]);
    scene.put(&key, "{").await;
    scene.refused(&["restore", &scene.at(FOLDER), COPY], 3, &["manifest-summary.json"]);
    scene.put(&key, summary(81).to_string()).await;
    scene.delete(&format!("{FOLDER}/manifest-files.json")).await;
    scene.refused(&["restore", &scene.at(FOLDER), COPY], 3, &["no manifest-files.json"]);
    scene.assert_copy_is(&[], "refused exports").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_export_cannot_create_its_table() {
    let (scene, _) = scene().await;
    let words = ["does not say how it is made", "without --create"];
    scene.refused(&["restore", &scene.at(FOLDER), "us-east-1:nobody", "--create"], 3, &words);
}

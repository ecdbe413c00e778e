//! What backups and restores refuse, and what they leave alone.

use serde_json::json;
use shared::domain::key::KeyType;
use tests::generate::schema;

use super::scene::{COPY, Scene, TABLE, item};
use crate::stage::{order_schema, orders, text};

const COUNT: u32 = 30;

/// A table with its full backup B.
async fn scene() -> Scene {
    let scene = Scene::of(&order_schema(), &orders(COUNT, &[("state", text("right"))])).await;
    scene.full("B", &["--segments", "2"]);
    scene
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_that_are_not_there_or_have_another_key_are_refused() {
    let scene = scene().await;
    let (backup, dest) = (scene.at("backups/B"), scene.at("backups"));
    for kind in ["full", "incremental"] {
        scene.refused(&["backup", kind, "us-east-1:nobody", &dest], 3, &["nobody"]);
    }
    scene.refused(&["restore", &backup, COPY], 3, &["copy", "is not there", "--create"]);
    scene.server.create_table("copy", &schema(KeyType::S, Some(KeyType::N))).await;

    scene.refused(&["restore", &backup, COPY], 3, &["key", "copy"]);
    scene.refused(&["restore", &backup, COPY, "--create"], 3, &["key", "copy"]);

    assert!(scene.server.read_all("copy").await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_is_not_empty_is_refused_and_left_alone() {
    let scene = scene().await;
    scene.create_copy().await;
    let there = [item(json!({"id": {"S": "other"}}))];
    scene.server.put_all("copy", &there).await;

    scene.refused(&["restore", &scene.at("backups/B"), COPY], 2, &["not empty", "--only-missing", "--overwrite"]);

    scene.assert_copy_is(&there, "what was there").await;
}

/// What is in the copy before and after: an item that differs, and one of which the backup knows nothing.
async fn with_others(scene: &Scene) -> Vec<shared::domain::value::Item> {
    scene.create_copy().await;
    let there = vec![
        item(json!({"id": {"S": "order-00003"}, "state": {"S": "wrong"}, "more": {"BOOL": true}})),
        item(json!({"id": {"S": "other"}})),
    ];
    scene.server.put_all("copy", &there).await;
    there
}

#[tokio::test(flavor = "multi_thread")]
async fn overwrite_overwrites_what_is_in_the_backup_and_leaves_others_alone() {
    for folder in ["backups/B", "items/orders"] {
        let scene = scene().await;
        scene.incremental("I");
        let there = with_others(&scene).await;
        let mut expected = orders(COUNT, &[("state", text("right"))]);
        expected.push(there[1].clone());

        let done = scene.restore(folder, &["--overwrite", "--verify"]);

        assert_eq!(done["restore"]["slaves"][0]["written"], COUNT, "{done}");
        scene.assert_copy_is(&expected, folder).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn only_missing_leaves_alone_what_is_there_and_verify_finds_it() {
    for folder in ["backups/B", "items/orders"] {
        let scene = scene().await;
        scene.incremental("I");
        let there = with_others(&scene).await;
        let mut expected = orders(COUNT, &[("state", text("right"))]);
        expected[3] = there[0].clone();
        expected.push(there[1].clone());
        let restore = ["restore", &scene.at(folder), COPY, "--job-id", "R", "--only-missing"];

        let finished = scene.refused(&[&restore[..], &["--verify", "--output", "json"]].concat(), 1, &[]);

        let done = crate::stage::document(&finished);
        let (restored, verified) = (&done["restore"]["slaves"][0], &done["verify"]["slaves"][0]);
        assert_eq!((&restored["written"], &restored["skipped"]), (&(COUNT - 1).into(), &1.into()), "{done}");
        assert_eq!((&verified["identical"], &verified["differing"]), (&(COUNT - 1).into(), &1.into()), "{done}");
        scene.assert_copy_is(&expected, folder).await;
        let report = scene.report("R-verify");
        assert_eq!((&report[0]["kind"], &report[0]["key"]["id"]["S"]), (&"differing".into(), &"order-00003".into()));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn only_missing_brings_back_what_someone_deleted() {
    let scene = scene().await;
    scene.restore("backups/B", &["--create"]);
    let gone = orders(COUNT, &[]).remove(5);
    scene.server.delete("copy", &scene.schema, &gone).await;

    let done = scene.done(&["restore", &scene.at("backups/B"), COPY, "--only-missing", "--verify"]);
    assert_eq!(done["restore"]["slaves"][0]["written"], 1, "{done}");
    assert_eq!(done["verify"]["slaves"][0]["identical"], COUNT, "{done}");
    scene.assert_same("what was brought back").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn times_are_refused_where_there_is_only_one() {
    let scene = scene().await;
    scene.incremental("I");
    scene.create_copy().await;
    let (backup, items, dest) = (scene.at("backups/B"), scene.at("items/orders"), scene.at("backups"));
    let as_of = ["--as-of", "2026-11-21T10:00:00Z"];

    scene.refused(&[&["restore", &backup, COPY][..], &as_of].concat(), 3, &["full backup", "one time only"]);
    scene.refused(&[&["restore", &items, COPY][..], &as_of].concat(), 3, &["keeps no versions"]);
    scene.refused(&[&["backup", "snapshot", &items, &dest][..], &as_of].concat(), 3, &["keeps no versions"]);
    scene.refused(&["restore", &items, COPY, "--as-of", "yesterday"], 2, &["a time such as"]);

    assert!(scene.server.read_all("copy").await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_is_never_put_where_one_is() {
    let scene = scene().await;
    scene.incremental("I");
    let (dest, items) = (scene.at("backups"), scene.at("items/orders"));
    let before = scene.lines("backups/B").await;
    let elsewhere = scene.path("other-jobs").display().to_string();
    // Another store knows nothing of the job B.
    let same = |arguments: &[&str]| {
        let finished = scene.programs.dynamend(&[arguments, &["--job-id", "B", "--store", &elsewhere]].concat());
        assert_eq!(finished.code, Some(2), "{arguments:?}: {}", finished.stderr);
        assert!(finished.stderr.contains("there already"), "{}", finished.stderr);
    };

    same(&["backup", "full", TABLE, &dest]);
    same(&["backup", "snapshot", &items, &dest]);

    assert_eq!(scene.lines("backups/B").await, before);
    // The folder of a table with the same name and another key.
    scene.server.client().delete_table().table_name("orders").send().await.expect("it can be deleted");
    scene.server.create_table("orders", &schema(KeyType::N, None)).await;
    let incremental = ["backup", "incremental", TABLE, &scene.at("items")];
    scene.refused(&incremental, 2, &["_dynamend.json", "another key"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn places_that_are_none_are_refused() {
    let scene = scene().await;
    scene.create_copy().await;
    for place in ["s3://", "ftp://backups/orders", "s3:///orders"] {
        scene.refused(&["backup", "full", TABLE, place], 2, &[]);
        scene.refused(&["restore", place, COPY], 2, &[]);
    }
    scene.refused(&["backup", "full", TABLE, &scene.at("new"), "--sse", "aws:kms"], 2, &["--sse"]);
    assert!(scene.keys("new").await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn sources_that_are_none_are_refused_and_the_right_folder_is_named() {
    let scene = scene().await;
    scene.incremental("I");
    scene.create_copy().await;
    std::fs::create_dir(scene.path("empty")).unwrap();
    scene.put("notes/today.txt", "nothing to restore").await;

    scene.refused(&["restore", &scene.at("empty"), COPY], 3, &["holds nothing"]);
    scene.refused(&["restore", &scene.at("nowhere"), COPY], 3, &["nowhere"]);
    scene.refused(&["restore", &scene.at("backups"), COPY], 3, &["name a folder in it", &scene.at("backups/B")]);
    scene.refused(&["restore", &scene.at("items"), COPY], 3, &["name a folder in it", &scene.at("items/orders")]);
    scene.refused(&["restore", &scene.at("notes"), COPY], 3, &["today.txt", "no file of items"]);
    let dest = scene.at("backups");
    scene.full("another", &[]);
    let full = scene.at("backups/another");
    scene.refused(&["backup", "snapshot", &full, &dest], 3, &["is a full backup already"]);
    scene.refused(&["backup", "snapshot", &scene.at("items"), &dest], 3, &[&scene.at("items/orders")]);

    assert!(scene.server.read_all("copy").await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_is_refused_on_s3() {
    let scene = Scene::on_s3(&order_schema(), &orders(COUNT, &[])).await;
    scene.full("B", &[]);
    scene.create_copy().await;
    scene.refused(&["restore", &scene.at("backups"), COPY], 3, &["name a folder in it", &scene.at("backups/B")]);
    scene.refused(&["restore", &scene.at("nowhere"), COPY], 3, &["holds nothing"]);
    scene.refused(&["restore", "s3://no-such-bucket-here/x", COPY], 3, &["no-such-bucket-here"]);
    scene.refused(&["backup", "full", TABLE, "s3://no-such-bucket-here/x"], 3, &["no-such-bucket-here"]);
}

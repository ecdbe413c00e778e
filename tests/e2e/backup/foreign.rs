//! What mapbox's tools left: folders of one object per item under any of its names, and files of `backup-table`.

use std::io::Write as _;

use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::json;
use shared::domain::item_object::Naming;
use shared::domain::json::item_to_json;
use shared::domain::key::{KeySchema, KeyType};
use shared::domain::value::Item;
use tests::generate::{schema, table};

use super::scene::{COPY, Scene, item, key, sort_key_first};

/// The names of the item `a` at 1, as `sha256sum` and `md5sum` make them of its key.
const NAMES: [(Naming, &str); 4] = [
    (Naming::Sha256, "2b013c839de1fed40f9c327b9ef6f68f861de7f8a40b75880af398dbaba463eb"),
    (Naming::Sha256Sorted, "ef1d69d16ef83868c45054d26f63c41b05da9046130de6ac46b7a1d45132e177"),
    (Naming::Md5, "af646959d0c13a36e096cd5e4dca4d35"),
    (Naming::Md5Sorted, "0a1615043dced5390df2ec6e4cfb2cf5"),
];

/// Puts items as mapbox's tool does: no marker, one object each.
async fn keep(scene: &Scene, items: &[Item], naming: Naming) {
    for item in items {
        let name = naming.name(&scene.schema, &key(&scene.schema, item));
        scene.put(&format!("items/orders/{name}"), item_to_json(item).to_string()).await;
    }
}

/// An item of which nothing but this attribute changes.
fn version(text: &str) -> Item {
    item(json!({"zone": {"S": "a"}, "at": {"N": "1"}, "version": {"S": text}}))
}

fn zones() -> KeySchema {
    sort_key_first(KeyType::S, KeyType::N)
}

#[tokio::test(flavor = "multi_thread")]
async fn b10_folders_of_mapbox_are_restored_whatever_their_names() {
    let items = table(&zones(), 4, 60);
    for (naming, name) in NAMES {
        assert_eq!(naming.name(&zones(), &key(&zones(), &version("1"))), name);
        let scene = Scene::of(&zones(), &items).await;
        keep(&scene, &items, naming).await;
        scene.create_copy().await;

        let done = scene.restore("items/orders", &["--verify"]);

        assert_eq!(done["restore"]["slaves"][0]["written"], 60, "{naming:?}: {done}");
        scene.assert_same(&format!("{naming:?}")).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn b10_a_snapshot_of_a_folder_of_mapbox_needs_to_be_told_the_key() {
    let items = table(&zones(), 4, 60);
    let scene = Scene::on_s3(&zones(), &items).await;
    // Half of it is from before the tool was updated.
    keep(&scene, &items[..30], Naming::Md5).await;
    keep(&scene, &items[30..], Naming::Sha256).await;
    let (from, to) = (scene.at("items/orders"), scene.at("backups"));
    scene.refused(&["backup", "snapshot", &from, &to, "--job-id", "S"], 2, &["--key-schema", "id:S,at:N"]);

    let summary = scene.snapshot("S", &["--key-schema", "zone:S,at:N"]);

    assert_eq!(summary["backup"]["items"], 60, "{summary}");
    // Nobody knows how the table is made.
    scene.refused(&["restore", &scene.at("backups/S"), COPY, "--create"], 3, &["does not say how it is made"]);
    scene.create_copy().await;
    scene.restore("backups/S", &["--verify"]);
    scene.assert_same("the snapshot").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn b10_the_newer_name_of_an_item_wins_over_an_older_one() {
    for (newer, (naming, _)) in NAMES.into_iter().enumerate() {
        for (older, _) in NAMES.into_iter().skip(newer + 1) {
            let scene = Scene::of(&zones(), &[version("new")]).await;
            keep(&scene, &[version("new")], naming).await;
            keep(&scene, &[version("old")], older).await;
            scene.create_copy().await;

            let done = scene.restore("items/orders", &[]);

            let what = format!("{naming:?} over {older:?}: {done}");
            assert_eq!(done["slaves"][0]["written"], 1, "{what}");
            assert_eq!(done["backup"]["superseded"], 1, "{what}");
            scene.assert_copy_is(&[version("new")], &what).await;
        }
    }
}

fn packed(items: &[Item]) -> Vec<u8> {
    let mut packer = GzEncoder::new(Vec::new(), Compression::default());
    for item in items {
        writeln!(packer, "{}", item_to_json(item)).expect("a vector takes it");
    }
    packer.finish().expect("a vector takes it")
}

#[tokio::test(flavor = "multi_thread")]
async fn b10_files_of_backup_table_are_restored() {
    for mut schema in [schema(KeyType::S, None), schema(KeyType::B, Some(KeyType::S)), zones()] {
        if schema == zones() {
            // Lines of bare items whose key has the name that wraps other lines.
            schema.partition.name = "Item".to_owned();
        }
        let items = table(&schema, 8, 90);
        let scene = Scene::of(&schema, &items).await;
        scene.put("old/0a1b2c3d/0", packed(&items[..50])).await;
        scene.put("old/0a1b2c3d/1", packed(&items[50..])).await;
        scene.create_copy().await;

        let done = scene.restore("old/0a1b2c3d", &["--verify"]);

        assert_eq!(done["verify"]["slaves"][0]["identical"], 90, "{done}");
        scene.assert_same("backup-table").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn b10_files_of_backup_table_are_restored_from_s3_and_not_when_they_are_cut_off() {
    let schema = schema(KeyType::N, None);
    let items = table(&schema, 8, 90);
    let scene = Scene::on_s3(&schema, &items).await;
    let (first, second) = (packed(&items[..50]), packed(&items[50..]));
    scene.put("old/0a1b2c3d/0", &first).await;
    scene.put("old/0a1b2c3d/1", &second[..second.len() - 20]).await;
    scene.create_copy().await;
    let from = scene.at("old/0a1b2c3d");
    scene.refused(&["restore", &from, COPY, "--job-id", "R"], 4, &["old/0a1b2c3d/1", "dynamend resume R"]);
    scene.put("old/0a1b2c3d/1", &second).await;

    // What it was to read is another file now.
    let done = scene.done(&["restore", &from, COPY, "--overwrite", "--verify"]);

    assert_eq!(done["verify"]["slaves"][0]["identical"], 90, "{done}");
    scene.assert_same("backup-table").await;
}

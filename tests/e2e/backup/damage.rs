//! Backups that are damaged: a clear message that names the object, and nothing of it in the table.

use serde_json::Value as Json;
use shared::domain::key::KeyType;
use shared::domain::value::Item;
use tests::generate::{schema, table};
use tests::oracle::brute_force;

use super::scene::{COPY, Scene, TABLE};

const ITEMS: usize = 80;

/// What is done to a data file.
#[derive(Clone, Copy, Debug)]
enum Damage {
    CutOff,
    Emptied,
    OneByte,
    Replaced,
    Deleted,
}

const ALL: [Damage; 5] = [Damage::CutOff, Damage::Emptied, Damage::OneByte, Damage::Replaced, Damage::Deleted];

/// A table, its backup B in at least two files, and an empty copy.
async fn scene(compression: &str, on_s3: bool) -> Scene {
    let schema = schema(KeyType::S, Some(KeyType::N));
    let items = table(&schema, 3, ITEMS);
    let scene = if on_s3 { Scene::on_s3(&schema, &items).await } else { Scene::of(&schema, &items).await };
    scene.full("B", &["--segments", "3", "--compression", compression]);
    scene.create_copy().await;
    scene
}

/// The items that are not in this file.
async fn outside(scene: &Scene, file: &str) -> Vec<Item> {
    let mut items = Vec::new();
    for (name, lines) in scene.lines("backups/B").await {
        if name != file {
            let of = |line: &String| {
                let line: Json = serde_json::from_str(line).expect("it is JSON");
                super::scene::item(line["Item"].clone())
            };
            items.extend(lines.iter().map(of));
        }
    }
    items
}

/// Damages the first file, and says what it was.
async fn damage(scene: &Scene, damage: Damage, [file, other]: [&str; 2]) -> Vec<u8> {
    let right = scene.get(file).await.expect("it is there");
    let mut body = right.clone();
    match damage {
        Damage::CutOff => body.truncate(body.len() - 1),
        Damage::Emptied => body.clear(),
        Damage::OneByte => {
            let middle = body.len() / 2;
            body[middle] ^= 1;
        }
        Damage::Replaced => body = scene.get(other).await.expect("it is there"),
        Damage::Deleted => {
            scene.delete(file).await;
            return right;
        }
    }
    scene.put(file, body).await;
    right
}

async fn assert_refused_and_put_right(scene: &Scene, how: Damage, outside: &[Item]) {
    let files: Vec<String> = scene.keys("backups/B/data").await;
    assert!(files.len() > 1, "{files:?}");
    let (first, last) = (&files[0], &files[files.len() - 1]);
    let right = damage(scene, how, [first, last]).await;
    let name = first.rsplit('/').next().expect("a name");
    let why = if matches!(how, Damage::Deleted) { "it is gone" } else { "cut off or changed" };

    let restore = ["restore", &scene.at("backups/B"), COPY, "--job-id", "R"];
    scene.refused(&restore, 4, &[name, why, "dynamend resume R"]);

    let found = brute_force(outside, &scene.server.read_all("copy").await, &scene.schema);
    assert!(found.is_empty(), "{how:?}: nothing of the damaged file is in the table: {found:?}");
    let again = scene.refused(&["resume", "R"], 4, &[name, why]);
    assert!(!again.stdout.contains("succeeded"), "{}", again.stdout);
    scene.put(first, right).await;
    let done = scene.done(&["resume", "R"]);
    assert_eq!(
        (&done["state"], &done["slaves"][0]["written"]),
        (&"succeeded".into(), &ITEMS.into()),
        "{how:?}: {done}"
    );
    scene.assert_same(&format!("{how:?}")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_of_a_damaged_file_is_restored_until_it_is_put_right() {
    for how in ALL {
        for compression in ["gzip", "none"] {
            let scene = scene(compression, false).await;
            let files = scene.keys("backups/B/data").await;
            let outside = outside(&scene, &files[0]).await;
            assert_refused_and_put_right(&scene, how, &outside).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_of_a_damaged_file_on_s3_is_restored_until_it_is_put_right() {
    for how in [Damage::CutOff, Damage::OneByte, Damage::Deleted] {
        let scene = scene("gzip", true).await;
        let files = scene.keys("backups/B/data").await;
        let outside = outside(&scene, &files[0]).await;
        assert_refused_and_put_right(&scene, how, &outside).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_whose_list_or_manifest_is_damaged_is_refused_before_anything_is_written() {
    let scene = scene("gzip", false).await;
    let (list, manifest) = ("backups/B/objects.jsonl.gz", "backups/B/manifest.json");
    let (right_list, right_manifest) = (scene.get(list).await.unwrap(), scene.get(manifest).await.unwrap());
    let restore = ["restore", &scene.at("backups/B"), COPY];
    let text = String::from_utf8(right_manifest.clone()).unwrap();
    let later = text.replace("\"version\": 1", "\"version\": 2");
    assert_ne!(text, later);
    let mut changed = right_list.clone();
    *changed.last_mut().unwrap() ^= 1;

    for (key, body, words) in [
        (list, &changed[..], ["objects.jsonl.gz", "another SHA-256"]),
        (list, &right_list[..right_list.len() - 1], ["objects.jsonl.gz", "another SHA-256"]),
        (manifest, later.as_bytes(), ["manifest.json", "version 2"]),
        (manifest, &right_manifest[..right_manifest.len() / 2], ["manifest.json", "is not JSON"]),
        (manifest, b"{}".as_slice(), ["manifest.json", "none of dynamend's"]),
    ] {
        scene.put(key, body).await;
        scene.refused(&restore, 3, &words);
        scene.put(list, &right_list).await;
        scene.put(manifest, &right_manifest).await;
    }
    scene.delete(list).await;
    scene.refused(&restore, 3, &["objects.jsonl.gz", "is gone"]);
    scene.delete(manifest).await;
    scene.refused(&restore, 3, &["was not finished", "dynamend resume"]);
    scene.assert_copy_is(&[], "refused backups").await;
    let jobs = scene.done(&["jobs"]);
    assert!(!jobs.to_string().contains("restore"), "{jobs}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_file_is_found_by_verify_as_well() {
    let scene = scene("gzip", false).await;
    let files = scene.keys("backups/B/data").await;
    // The restore itself reads the right file; then the file is damaged, and the comparison is another job.
    scene.restore("backups/B", &[]);
    let name = files[0].rsplit('/').next().unwrap();
    damage(&scene, Damage::OneByte, [&files[0], &files[1]]).await;

    let restore = ["restore", &scene.at("backups/B"), COPY, "--only-missing", "--verify"];
    scene.refused(&restore, 4, &[name, "cut off or changed"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_that_lost_a_file_before_it_ended_is_never_finished() {
    let scene = scene("gzip", false).await;
    let files = scene.keys("backups/B/data").await;
    scene.delete("backups/B/manifest.json").await;
    scene.delete(&files[0]).await;

    // As if the file had gone before the manifest was written.
    scene.refused(&["resume", "B"], 3, &[files[0].rsplit('/').next().unwrap(), "not whole"]);

    assert_eq!(scene.get("backups/B/manifest.json").await, None);
    scene.refused(&["restore", &scene.at("backups/B"), COPY], 3, &["was not finished"]);
    scene.full("C", &[]);
    scene.restore("backups/C", &[]);
    scene.assert_same(TABLE).await;
}

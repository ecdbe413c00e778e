//! A table as it was at a time between two versions of its objects.

use jiff::Timestamp;
use serde_json::{Value as Json, json};
use shared::domain::key::KeyType;
use shared::domain::value::Item;
use tests::generate::schema;
use tests::wait::{DEADLINE, until};

use super::scene::{COPY, Scene, TABLE, item};

/// A time that all earlier versions are before and all later ones behind: S3 tells times in whole seconds.
fn between() -> String {
    let second_after = |second: i64| {
        until("the second is over", DEADLINE, || {
            let now = Timestamp::now().as_second();
            (now > second).then_some(now)
        })
    };
    let time = second_after(Timestamp::now().as_second());
    second_after(time);
    Timestamp::from_second(time).expect("it is a time").to_string()
}

fn of(id: &str, version: u32) -> Item {
    item(json!({"id": {"S": id}, "version": {"N": version.to_string()}}))
}

/// A folder that tells three states of a table apart, and times right behind the first two.
///
/// - At first there are `changed` 1, `deleted` 1, `same` 1 and `back` 1.
/// - Then there are `changed` 2, `same` 1 and `created` 1.
/// - At last there are `changed` 3, `same` 1 and `back` 2.
async fn states() -> (Scene, [String; 2], [Vec<Item>; 3]) {
    let states = [
        vec![of("changed", 1), of("deleted", 1), of("same", 1), of("back", 1)],
        vec![of("changed", 2), of("same", 1), of("created", 1)],
        vec![of("changed", 3), of("same", 1), of("back", 2)],
    ];
    let scene = Scene::on_s3(&schema(KeyType::S, None), &states[0]).await;
    scene.incremental("first");
    let first = between();
    to_state(&scene, &["deleted", "back"], &[of("changed", 2), of("created", 1)]).await;
    let second = between();
    to_state(&scene, &["created"], &[of("changed", 3), of("back", 2)]).await;
    (scene, [first, second], states)
}

/// Deletes items and puts others, and keeps the folder up to date.
async fn to_state(scene: &Scene, deleted: &[&str], put: &[Item]) {
    for id in deleted {
        scene.server.delete("orders", &scene.schema, &of(id, 0)).await;
    }
    scene.server.put_all("orders", put).await;
    let changed = put.iter().map(|item| super::scene::key(&scene.schema, item).to_json().to_string());
    let deleted = deleted.iter().map(|id| json!({"id": {"S": id}}).to_string());
    for key in changed.chain(deleted) {
        scene.done_record(&["record", "backup", TABLE, &scene.at("items"), &key]);
    }
}

impl Scene {
    fn done_record(&self, arguments: &[&str]) {
        let finished = self.programs.dynamend(arguments);
        assert_eq!(finished.code, Some(0), "{arguments:?}: {}", finished.stderr);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn b10_a_folder_is_restored_as_it_was_at_a_time_between_two_versions() {
    let (scene, times, states) = states().await;
    for (number, state) in states.iter().enumerate() {
        let job = format!("R{number}");
        let as_of = times.get(number).map(|time| ["--as-of", time]);
        let restore = ["restore", &scene.at("items/orders"), COPY, "--create", "--verify", "--job-id", &job];

        let done = scene.done(&[&restore[..], as_of.as_ref().map_or(&[], |as_of| &as_of[..])].concat());

        assert_eq!(done["verify"]["slaves"][0]["identical"], state.len(), "{number}: {done}");
        scene.assert_copy_is(state, &format!("state {number}")).await;
        scene.server.client().delete_table().table_name("copy").send().await.expect("it can be deleted");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn b10_a_snapshot_is_made_as_of_a_time_between_two_versions() {
    let (scene, times, states) = states().await;
    for (number, state) in states.iter().enumerate() {
        let job = format!("S{number}");
        let as_of = times.get(number).map(|time| ["--as-of", time]);

        let summary = scene.snapshot(&job, as_of.as_ref().map_or(&[], |as_of| &as_of[..]));

        assert_eq!(summary["backup"]["items"], state.len(), "{number}: {summary}");
        let manifest: Json =
            serde_json::from_slice(&scene.get(&format!("backups/{job}/manifest.json")).await.unwrap()).unwrap();
        let said = manifest["as_of"].as_str().map(|time| time.parse::<Timestamp>().expect("it is a time"));
        assert_eq!(said, times.get(number).map(|time| time.parse().unwrap()), "{manifest}");
        scene.done(&["restore", &scene.at(&format!("backups/{job}")), COPY, "--create"]);
        scene.assert_copy_is(state, &format!("state {number}")).await;
        scene.server.client().delete_table().table_name("copy").send().await.expect("it can be deleted");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn before_the_first_version_there_is_nothing() {
    let (scene, ..) = states().await;

    let done = scene.restore("items/orders", &["--create", "--as-of", "2020-01-01T00:00:00Z"]);

    assert_eq!(done["slaves"][0]["written"], 0, "{done}");
    scene.assert_copy_is(&[], "2020").await;
}

//! `record`: single records by the real programs, where the originals of these commands are wrong and elsewhere.

use aws_sdk_s3::types::{BucketVersioningStatus, VersioningConfiguration};
use serde_json::{Value as Json, json};
use shared::domain::item_object::Naming;
use shared::domain::json::item_from_json;
use shared::domain::key::{Key, KeyAttribute, KeySchema, KeyType};
use shared::domain::value::Item;
use tests::buckets::Bucket;
use tests::generate::schema;
use tests::ministack::MiniStack;
use tests::process::Finished;

use crate::stage::{MASTER, SLAVE, Stage, document};

/// 38 digits, and the neighbour that a float cannot tell from it.
const LONG: [&str; 2] = ["12345678901234567890123456789012345678", "12345678901234567890123456789012345677"];

fn items(items: &[Json]) -> Vec<Item> {
    items.iter().map(|item| item_from_json(item).expect("it is an item")).collect()
}

async fn stage(schema: &KeySchema, master: &[Json], slave: &[Json]) -> Stage {
    Stage::of(schema, &items(master), &items(slave)).await
}

fn record(stage: &Stage, arguments: &[&str]) -> Finished {
    stage.programs.dynamend(&[&["record"], arguments].concat())
}

fn diff(stage: &Stage, key: &str) -> Finished {
    record(stage, &["diff", MASTER, SLAVE, key, "--no-confirm"])
}

/// Runs it with these lines on standard input.
fn with_input(stage: &Stage, arguments: &[&str], input: &str) -> Finished {
    let file = stage.programs.home().join("keys");
    std::fs::write(&file, input).expect("it can be written");
    let script = format!("exec \"$0\" \"$@\" < '{}'", file.display());
    let program = env!("CARGO_BIN_EXE_dynamend-under-test");
    let running = stage.programs.spawn("/bin/sh".as_ref(), &[&["-c", &script, program, "record"], arguments].concat());
    running.wait(tests::wait::DEADLINE)
}

/// The name of the object of this key, in the folder of a table.
fn object(schema: &KeySchema, key: &Json, naming: Naming) -> String {
    let key = Key::from_json(schema, key).expect("it is a key");
    format!("orders/{}", naming.name(schema, &key))
}

#[tokio::test]
async fn c7_a_differing_record_is_told_from_an_equal_binary_one() {
    let of = |id: &str, data: Json| json!({"hash": {"S": "h"}, "range": {"S": id}, "other": data});
    let attribute = |name: &str| KeyAttribute { name: name.to_owned(), kind: KeyType::S };
    let schema = KeySchema { partition: attribute("hash"), sort: Some(attribute("range")) };
    let stage = stage(
        &schema,
        &[of("id:2", json!({"N": "2"})), of("id:4", json!({"B": "aGVsbG8="}))],
        &[of("id:2", json!({"N": "10000"})), of("id:4", json!({"B": "aGVsbG8="}))],
    )
    .await;

    let different = diff(&stage, r#"{"hash":"h","range":"id:2"}"#);
    let same = diff(&stage, r#"{"hash":{"S":"h"},"range":{"S":"id:4"}}"#);

    assert_eq!((different.code, different.stderr.as_str()), (Some(1), ""));
    let lines: Vec<&str> = different.stdout.lines().collect();
    assert_eq!(
        lines,
        [
            r#"differing  {"hash":{"S":"h"},"range":{"S":"id:2"}}"#,
            "< us-east-1:orders (master)",
            "> us-east-1:copy (slave)",
            r#"  hash       {"S":"h"}"#,
            r#"  range      {"S":"id:2"}"#,
            r#"< other      {"N":"2"}"#,
            r#"> other      {"N":"10000"}"#,
        ]
    );
    assert_eq!((same.code, same.stderr.as_str()), (Some(0), ""));
    assert!(same.stdout.starts_with("same  ") && same.stdout.contains(r#"  other      {"B":"aGVsbG8="}"#));
    let absent = diff(&stage, r#"{"hash":"h","range":"none"}"#);
    assert_eq!((absent.code, absent.stdout.starts_with("absent  ")), (Some(0), true));
}

#[tokio::test]
async fn numbers_are_compared_to_the_last_digit() {
    let [one, other] = LONG;
    let of = |id: &str, n: &str| json!({"id": {"N": id}, "n": {"N": n}});
    let schema = schema(KeyType::N, None);
    let stage = stage(
        &schema,
        &[of("9007199254740993", one), of("7", one), of("9007199254740992", one)],
        &[of("9007199254740993", other), of("7", one)],
    )
    .await;

    let found = record(&stage, &["diff", MASTER, SLAVE, r#"{"id":9007199254740993}"#, "--output", "json"]);

    assert_eq!(found.code, Some(1), "{}", found.stderr);
    let document = document(&found);
    assert_eq!(
        document,
        json!({
            "master": MASTER,
            "records": [{
                "slave": SLAVE,
                "key": {"id": {"N": "9007199254740993"}},
                "result": "differing",
                "reason": null,
                "attributes": ["n"],
                "values": {"master": of("9007199254740993", one), "slave": of("9007199254740993", other)},
            }],
            "totals": {"keys": 1, "same": 0, "absent": 0, "missing": 0, "differing": 1, "extra": 0, "expired": 0},
            "complete": true,
        })
    );
    assert_eq!(diff(&stage, r#"{"id":"9007199254740992"}"#).code, Some(1), "its neighbour is missing");
    assert_eq!(diff(&stage, r#"{"id":"7.0"}"#).code, Some(0));
}

#[tokio::test]
async fn records_are_made_equal_by_a_put_a_delete_or_nothing() {
    let of = |id: &str, x: &str| json!({"id": {"B": id}, "x": {"S": x}, "seen": {"S": x}});
    let schema = schema(KeyType::B, None);
    let stage =
        stage(&schema, &[of("AQ==", "new"), of("Ag==", "only")], &[of("AQ==", "old"), of("Aw==", "extra")]).await;
    let keys =
        "{\"id\":\"AQ==\"}\n\n{\"id\":{\"B\":\"Ag==\"}}\n{\"id\":\"Aw==\"}\n{\"id\":\"AQ==\"}\n{\"id\":\"/w==\"}\n";
    let sync = ["sync", MASTER, SLAVE, "--keys-from", "-"];

    let before = with_input(&stage, &["diff", MASTER, SLAVE, "--keys-from", "-", "--no-confirm"], keys);
    let synced = with_input(&stage, &[&sync[..], &["--output", "json"]].concat(), keys);
    let again = with_input(&stage, &sync, keys);

    assert_eq!(before.code, Some(1), "{}", before.stderr);
    assert_eq!(before.stdout.lines().last(), Some("4 keys: 1 absent, 1 missing, 1 differing, 1 extra"));
    assert_eq!(synced.code, Some(0), "{}", synced.stderr);
    let document = document(&synced);
    let outcomes: Vec<&str> =
        document["records"].as_array().unwrap().iter().map(|record| record["outcome"].as_str().unwrap()).collect();
    assert_eq!(outcomes, ["written", "written", "deleted", "same"]);
    assert_eq!((again.code, again.stdout.as_str()), (Some(0), "4 keys: 4 same\n"));
    assert!(stage.differences().await.is_empty());
    let one = record(&stage, &["sync", MASTER, SLAVE, r#"{"id":"AQ=="}"#]);
    assert_eq!(one.stdout, "already the same  us-east-1:copy  {\"id\":{\"B\":\"AQ==\"}}\n");
}

#[tokio::test]
async fn the_discrepancies_of_a_job_are_looked_at_again_and_repaired_by_their_report() {
    let (stage, pair) = Stage::differing(60).await;
    let dry = stage.sync(&["--ignore", "nothing-of-this-name", "--scan-for-extra", "--job-id", "dry"]);
    assert_eq!(dry.code, Some(1), "{}", dry.stderr);
    let all = pair.expected.missing.len() + pair.expected.differing.len() + pair.expected.extra.len();

    let before = record(&stage, &["diff", "--from-report", "dry", "--no-confirm", "--output", "json"]);
    let synced = record(&stage, &["sync", "--from-report", "dry"]);
    let after = record(&stage, &["diff", "--from-report", "dry", "--output", "json"]);

    assert_eq!(before.code, Some(1), "{}", before.stderr);
    let totals = &document(&before)["totals"];
    assert_eq!((&totals["keys"], &totals["missing"]), (&json!(all), &json!(pair.expected.missing.len())));
    assert_eq!((&totals["differing"], &totals["same"]), (&json!(pair.expected.differing.len()), &json!(0)));
    assert_eq!(synced.code, Some(0), "{}{}", synced.stdout, synced.stderr);
    assert_eq!((after.code, &document(&after)["totals"]["same"]), (Some(0), &json!(all - pair.expected.extra.len())));
    assert!(stage.differences().await.is_empty());
    let unknown = record(&stage, &["diff", "--from-report", "nobody"]);
    assert_eq!(unknown.code, Some(3), "{}", unknown.stderr);
}

#[tokio::test]
async fn ignored_attributes_are_shown_and_do_not_count() {
    let of = |seen: &str| json!({"id": {"S": "a"}, "seen": {"S": seen}, "aws:rep:updatetime": {"S": seen}});
    let stage = stage(&schema(KeyType::S, None), &[of("1")], &[of("2")]).await;
    let key = r#"{"id":"a"}"#;

    let found = record(&stage, &["diff", MASTER, SLAVE, key, "--ignore", "seen", "--color", "always"]);

    assert_eq!(found.code, Some(0), "{}", found.stderr);
    assert!(found.stdout.contains("\u{1b}[2m~ seen"), "{}", found.stdout);
    assert_eq!(diff(&stage, key).code, Some(1));
    let synced = record(&stage, &["sync", MASTER, SLAVE, key, "--ignore", "seen"]);
    assert_eq!((synced.code, synced.stdout.starts_with("already the same")), (Some(0), true));
}

#[tokio::test]
async fn what_cannot_be_is_refused_before_anything_is_written() {
    let of = |x: &str| json!({"id": {"S": "a"}, "x": {"S": x}});
    let stage = stage(&schema(KeyType::S, None), &[of("1")], &[of("2")]).await;
    let dest = stage.programs.home().join("backup");
    let dest = dest.to_str().unwrap();
    let good = r#"{"id":"a"}"#;

    for (arguments, code, words) in [
        (&["diff", MASTER, SLAVE, r#"{"no":"a"}"#][..], 2, &["with key id (S)", "hint: "][..]),
        (&["diff", MASTER, SLAVE, "{"], 2, &["`{`", "not JSON"]),
        (&["sync", MASTER, MASTER, good], 2, &["the same table"]),
        (&["diff", MASTER, "us-east-1:nobody", good], 3, &["nobody", "hint: "]),
        (&["diff", MASTER, SLAVE], 2, &["KEY"]),
        (&["diff", MASTER, SLAVE, "--keys-from", "no-such-file"], 3, &["no-such-file"]),
        (&["diff", "--from-report", "job", "--role-arn", "arn:aws:iam::1:role/r"], 2, &["--role-arn"]),
        (&["backup", "us-east-1:nobody", dest, good], 3, &["nobody", "hint: "]),
        (&["backup", MASTER, "gs://x", good], 2, &["no place of a backup"]),
        (&["backup", MASTER, dest, r#"{"id":5}"#], 2, &["with key id (S)"]),
        (&["diff-backup", MASTER, dest, good], 3, &["no backup"]),
        (&["history", MASTER, dest, good, "--key-schema", "id:X"], 2, &["id:S,at:N"]),
    ] {
        let finished = record(&stage, arguments);

        assert_eq!((finished.code, finished.stdout.as_str()), (Some(code), ""), "{arguments:?}: {}", finished.stderr);
        assert!(words.iter().all(|word| finished.stderr.contains(word)), "{arguments:?}: {}", finished.stderr);
    }
    let list = with_input(&stage, &["sync", MASTER, SLAVE, "--keys-from", "-"], "{\"id\":\"a\"}\n{\"id\":}\n");
    assert_eq!(list.code, Some(2));
    assert!(list.stderr.contains("line 2 of the keys"), "{}", list.stderr);
    assert_eq!(stage.tables().await.1, items(&[of("2")]), "nothing was written");
}

#[tokio::test]
async fn a_record_is_kept_as_one_object_and_held_against_it() {
    let attribute = |name: &str, kind| KeyAttribute { name: name.to_owned(), kind };
    let schema = KeySchema { partition: attribute("id", KeyType::B), sort: Some(attribute("at", KeyType::N)) };
    let of = |x: &str| json!({"id": {"B": "AQ=="}, "at": {"N": "1.5"}, "x": {"N": x}});
    let stage = stage(&schema, &[of(LONG[0])], &[]).await;
    let (typed, key) = (r#"{"id":"AQ==","at":1.50}"#, json!({"id": {"B": "AQ=="}, "at": {"N": "1.5"}}));
    let dest = stage.programs.home().join("backup");
    let old = dest.join(object(&schema, &key, Naming::Md5Sorted));
    std::fs::create_dir_all(old.parent().unwrap()).unwrap();
    std::fs::write(&old, of(LONG[1]).to_string()).unwrap();
    let dest_text = dest.to_str().unwrap();
    let diff = || record(&stage, &["diff-backup", MASTER, dest_text, typed, "--no-confirm", "--output", "json"]);

    let before = diff();
    let kept = record(&stage, &["backup", MASTER, dest_text, typed, "--output", "json"]);
    let after = diff();

    assert_eq!((before.code, &document(&before)["attributes"]), (Some(1), &json!(["x"])), "{}", before.stderr);
    assert_eq!((kept.code, &document(&kept)["outcome"]), (Some(0), &json!("written")), "{}", kept.stderr);
    assert_eq!((after.code, &document(&after)["result"]), (Some(0), &json!("same")), "{}", after.stderr);
    assert!(!old.exists());
    let own = dest.join(object(&schema, &key, Naming::Sha256));
    let body: Json = serde_json::from_slice(&std::fs::read(&own).unwrap()).unwrap();
    assert_eq!(body, of(LONG[0]));

    let history = record(&stage, &["history", MASTER, dest_text, typed, "--output", "json"]);
    assert_eq!(history.code, Some(0), "{}", history.stderr);
    assert!(history.stderr.contains("keeps no versions"), "{}", history.stderr);
    let versions = &document(&history)["versions"];
    assert_eq!((versions[0]["change"].as_str(), &versions[0]["item"]), (Some("created"), &of(LONG[0])));

    std::fs::write(&own, "not an item").unwrap();
    let broken = diff();
    assert_eq!((broken.code, broken.stdout.as_str()), (Some(3), ""));
    assert!(broken.stderr.contains("does not hold the item") && broken.stderr.contains("hint: "), "{}", broken.stderr);

    stage.server.delete("orders", &schema, &items(&[of("1")])[0]).await;
    let gone = record(&stage, &["backup", MASTER, dest_text, typed]);
    assert_eq!((gone.code, gone.stdout.starts_with("deleted  ")), (Some(0), true), "{}", gone.stderr);
    assert!(!own.exists());
    assert_eq!(diff().code, Some(0));
}

/// A stage whose programs find S3 as well, and a bucket there that keeps versions.
async fn versioned(schema: &KeySchema, master: &[Json]) -> (Stage, Bucket) {
    let services = MiniStack::shared();
    let mut stage = stage(schema, master, &[]).await;
    stage.programs =
        crate::stage::programs().with_dynamodb(&stage.server.endpoint()).with_services(&services.endpoint());
    let bucket = Bucket::create(services).await;
    let enabled = VersioningConfiguration::builder().status(BucketVersioningStatus::Enabled).build();
    let request = bucket.client().put_bucket_versioning().bucket(&bucket.name).versioning_configuration(enabled);
    request.send().await.expect("the bucket keeps versions");
    (stage, bucket)
}

#[tokio::test]
async fn the_versions_of_a_record_come_newest_first_and_its_deletion_is_one_of_them() {
    let schema = schema(KeyType::S, None);
    let of = |x: &str| json!({"id": {"S": "a"}, "x": {"S": x}});
    let (stage, bucket) = versioned(&schema, &[of("one")]).await;
    let (key, dest) = (r#"{"id":"a"}"#, bucket.url("kept"));
    let back_up = || {
        let kept = record(&stage, &["backup", MASTER, &dest, key]);
        assert_eq!(kept.code, Some(0), "{}", kept.stderr);
    };
    back_up();
    stage.server.put_all("orders", &items(&[of("two")])).await;
    back_up();
    stage.server.delete("orders", &schema, &items(&[of("two")])[0]).await;
    back_up();

    let history = ["history", MASTER, &dest, key, "--output", "json"];
    let found = record(&stage, &history);
    let newest = record(&stage, &[&history[..], &["--limit", "1"]].concat());
    // A backup outlives its table.
    let gone = "us-east-1:nobody";
    let old = object(&schema, &json!({"id": {"S": "a"}}), Naming::Sha256).replace("orders", "nobody");
    bucket.put(&format!("kept/{old}"), of("old").to_string().as_bytes()).await;
    let without_table = record(&stage, &["history", gone, &dest, key, "--key-schema", "id:S"]);

    assert_eq!((found.code, found.stderr.as_str()), (Some(0), ""));
    let versions = document(&found)["versions"].clone();
    let told: Vec<(Json, Json)> = versions
        .as_array()
        .unwrap()
        .iter()
        .map(|version| (version["change"].clone(), version["item"].clone()))
        .collect();
    let expected = [(json!("deleted"), Json::Null), (json!("changed"), of("two")), (json!("created"), of("one"))];
    assert_eq!(told, expected, "{versions}");
    assert_eq!(versions[1]["attributes"], json!(["x"]));
    assert_eq!((document(&newest)["versions"].as_array().unwrap().len(), &document(&newest)["older"]), (1, &json!(2)));
    assert_eq!(without_table.code, Some(0), "{}", without_table.stderr);
    assert!(without_table.stdout.contains("created"), "{}", without_table.stdout);
    assert_eq!(record(&stage, &["history", gone, &dest, key]).code, Some(3));
}

#[tokio::test]
async fn a_bucket_that_is_not_there_is_named() {
    let (stage, _) = versioned(&schema(KeyType::S, None), &[json!({"id": {"S": "a"}})]).await;
    let key = r#"{"id":"a"}"#;

    for command in ["backup", "diff-backup", "history"] {
        let finished = record(&stage, &[command, MASTER, "s3://no-such-bucket-here/kept", key]);

        assert_eq!((finished.code, finished.stdout.as_str()), (Some(3), ""), "{command}");
        assert!(finished.stderr.contains("no-such-bucket-here") && finished.stderr.contains("hint: "), "{command}");
    }
}

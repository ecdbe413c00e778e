//! `sync --undo` and `undo`, and flags that make repairs safe, by the real programs.

use std::collections::BTreeSet;

use shared::domain::key::KeyType;
use shared::domain::number::Number;
use shared::domain::value::{Item, Value};
use tests::generate::schema;

use crate::stage::{SLAVE, Stage, document, files};

#[tokio::test]
async fn a_repair_is_undone_and_what_changed_since_is_left_alone() {
    let (stage, pair) = Stage::differing(60).await;
    let before = stage.tables().await.1;
    let repair = stage.sync(&["--repair", "--undo", "--segments", "3", "--job-id", "job"]);
    assert_eq!(repair.code, Some(0), "{}", repair.stderr);
    assert!(stage.differences().await.is_empty());

    let undone = stage.programs.dynamend(&["undo", "job", "--output", "json"]);

    assert_eq!(undone.code, Some(0), "{}", undone.stderr);
    let slave = &document(&undone)["slaves"][0];
    assert_eq!(slave["table"], SLAVE);
    assert_eq!(slave["restored"], pair.expected.differing.len() + pair.expected.extra.len());
    assert_eq!(slave["removed"], pair.expected.missing.len());
    let after = stage.tables().await.1;
    assert!(tests::oracle::brute_force(&before, &after, &stage.schema).is_empty());

    let text = stage.programs.dynamend(&["undo", "job"]);
    assert_eq!((text.code, text.stdout.contains("were as before")), (Some(0), true), "{}", text.stdout);
}

#[tokio::test]
async fn a_job_that_kept_nothing_cannot_be_undone_and_one_that_runs_neither() {
    let (stage, _) = Stage::differing(10).await;
    let repair = stage.sync(&["--repair", "--job-id", "plain"]);
    assert_eq!(repair.code, Some(0), "{}", repair.stderr);

    let undone = stage.programs.dynamend(&["undo", "plain"]);

    assert_eq!((undone.code, undone.stdout.as_str()), (Some(2), ""));
    assert!(undone.stderr.contains("kept no old images") && undone.stderr.contains("hint: "), "{}", undone.stderr);
    let home = stage.programs.home().join(".dynamend");
    assert!(!files(&home).keys().any(|name| name.contains("undo-")));
}

/// An item with a version and a time to live, seconds from now.
fn item(id: &str, version: i64, seconds: i64) -> Item {
    let number = |n: i64| Value::N(Number::parse(&n.to_string()).expect("it is a number"));
    let ttl = number(jiff::Timestamp::now().as_second() + seconds);
    let id = Value::S(id.to_owned());
    [("id".to_owned(), id), ("version".to_owned(), number(version)), ("ttl".to_owned(), ttl)].into()
}

#[tokio::test]
async fn newer_items_and_expired_ones_are_named_and_left_alone() {
    let (old, young) = (item("old", 1, -3600), item("young", 1, 3600));
    let (mine, theirs) = (item("changed", 1, 3600), item("changed", 2, 3600));
    let schema = schema(KeyType::S, None);
    let stage = Stage::of(&schema, &[old, young.clone(), mine], std::slice::from_ref(&theirs)).await;
    stage.server.delete_by("orders", "ttl").await;

    let repair = ["--repair", "--version-attribute", "version", "--verify", "--max-lag", "0"];
    let repair = stage.sync(&[&repair[..], &["--job-id", "job", "--output", "json"]].concat());

    assert_eq!(repair.code, Some(1), "{}", repair.stderr);
    let figures = &document(&repair)["slaves"][0];
    let counts = ["compared", "missing", "differing", "written", "skipped", "expired", "unstable"];
    assert_eq!(counts.map(|name| figures[name].as_u64()), [3, 1, 1, 1, 2, 1, 0].map(Some));
    let reasons: BTreeSet<String> = stage.report("job").iter().map(|line| line["reason"].to_string()).collect();
    assert_eq!(reasons, ["null", "\"expired\"", "\"slave is newer\""].map(str::to_owned).into());
    let mut left = stage.tables().await.1;
    left.sort_by_key(|item| format!("{:?}", item["id"]));
    assert_eq!(left, [theirs, young]);
}

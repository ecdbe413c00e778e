//! Shares of a table, starting keys, and the flags that change how tables are read but not what is found.

use serde_json::{Value as Json, json};
use shared::domain::key::{Key, KeyType};
use shared::domain::value::{Item, Value};
use tests::generate::{Shares, pair_of_tables, schema};
use tests::oracle::brute_force;

use crate::stage::{MASTER, SLAVE, Stage, assert_reported, document, order_schema, orders};

fn scanned(summary: &Json, table: &str) -> u64 {
    summary["scanned"][table].as_u64().expect("a count")
}

#[tokio::test]
async fn shares_of_the_segments_add_up_to_the_whole() {
    let (stage, pair) = Stage::differing(200).await;
    let (mut lines, mut of_master, mut of_slave) = (Vec::new(), 0, 0);

    for (number, share) in ["0,2-4", "1", "5-7"].into_iter().enumerate() {
        let job = format!("share-{number}");
        let flags = ["--segments", "8", "--only-segments", share, "--scan-for-extra", "--output", "json"];
        let finished = stage.sync(&[&flags[..], &["--job-id", &job]].concat());
        let summary = document(&finished);
        assert!(matches!(finished.code, Some(0 | 1)), "{}", finished.stderr);
        of_master += scanned(&summary, MASTER);
        of_slave += scanned(&summary, SLAVE);
        lines.extend(stage.report(&job));
    }

    assert_eq!((of_master, of_slave), (200, 200));
    assert_reported(&lines, SLAVE, &pair.expected);
}

#[tokio::test]
async fn a_starting_key_is_where_the_scan_begins() {
    let master = orders(30, &[]);
    let stage = Stage::of(&order_schema(), &master, &[]).await;
    // The emulator's order depends on the number of segments, as that of the service may.
    let page = stage.server.client().scan().table_name("orders").segment(0).total_segments(1).send().await;
    let in_scan_order: Vec<Item> = page.expect("a page").items().iter().map(tests::attribute::from_sdk).collect();
    let id = |item: &Item| match &item["id"] {
        Value::S(id) => id.clone(),
        other => panic!("{other:?}"),
    };
    let after = id(&in_scan_order[9]);
    let expected = brute_force(&in_scan_order[10..], &[], &stage.schema);
    let bare = json!({ "id": after }).to_string();
    let typed = json!({ "id": { "S": after } }).to_string();
    let of_segment = format!("0={bare}");
    let all: [&[&str]; 4] = [
        &["--starting-key", &bare],
        &["--starting-key", &typed],
        &["--starting-key", &typed, "--segments", "1"],
        &["--starting-key", &of_segment, "--segments", "1"],
    ];
    for (number, flags) in all.into_iter().enumerate() {
        let job = format!("job-{number}");

        let finished = stage.sync(&[flags, &["--job-id", &job, "--output", "json"]].concat());

        assert_eq!(scanned(&document(&finished), MASTER), 20, "{flags:?}: {}", finished.stderr);
        assert_reported(&stage.report(&job), SLAVE, &expected);
    }
}

#[tokio::test]
async fn each_segment_has_its_own_starting_key() {
    let pair = pair_of_tables(&schema(KeyType::B, Some(KeyType::N)), 5, 60, Shares::default());
    let stage = Stage::of(&pair.schema, &pair.master, &[]).await;
    let mut flags = vec!["--segments".to_owned(), "2".to_owned()];
    let mut left = Vec::new();
    for (segment, skipped) in [(0, 4), (1, 7)] {
        let request = stage.server.client().scan().table_name("orders").segment(segment).total_segments(2);
        let page = request.send().await.expect("the table can be scanned");
        let items: Vec<Item> = page.items().iter().map(tests::attribute::from_sdk).collect();
        let key = Key::of(&pair.schema, &items[skipped - 1]).expect("it has a key");
        flags.extend(["--starting-key".to_owned(), format!("{segment}={}", key.to_json())]);
        left.extend_from_slice(&items[skipped..]);
    }
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();

    let finished = stage.sync(&[&flags[..], &["--job-id", "job", "--output", "json"]].concat());

    assert_eq!(scanned(&document(&finished), MASTER), 60 - 11, "{}", finished.stderr);
    assert_reported(&stage.report("job"), SLAVE, &brute_force(&left, &[], &pair.schema));
}

#[tokio::test]
async fn how_the_tables_are_read_does_not_change_what_is_found() {
    let (stage, pair) = Stage::differing(60).await;
    let read_units = |flags: &[&str], job: &str| {
        let tables = ["sync", "-m", MASTER, "-s", SLAVE];
        let flags = [&tables, flags, &["--scan-for-extra", "--job-id", job, "--output", "json"]].concat();
        let finished = stage.programs.dynamend(&flags);
        assert_eq!(finished.code, Some(1), "{flags:?}: {}", finished.stderr);
        assert_reported(&stage.report(job), SLAVE, &pair.expected);
        let summary = document(&finished);
        assert_eq!((scanned(&summary, MASTER), scanned(&summary, SLAVE)), (60, 60), "{flags:?}");
        summary["consumed"][SLAVE]["read"].as_f64().expect("a number")
    };
    let plain = read_units(&["--no-confirm", "--strategy", "lookup"], "plain");
    let all: [(&str, &[&str]); 8] = [
        ("limit", &["--scan-limit", "1"]),
        ("pages", &["--scan-limit", "7", "--segments", "3"]),
        ("single", &["--batch-read-limit", "1"]),
        ("lookup", &["--strategy", "lookup", "--parallel", "5"]),
        ("paired", &["--strategy", "paired", "--consistent-read"]),
        ("typed", &["--strategy", "paired", "--typed-reader", "--segments", "3"]),
        ("many", &["--segments", "50", "--parallel", "2"]),
        ("auto", &["--segments", "auto", "--max-retries", "0", "--retry-delay-base", "1"]),
    ];
    for (job, flags) in all {
        read_units(&[flags, &["--confirm-delay", "0"]].concat(), job);
    }
    let consistent = read_units(&["--no-confirm", "--strategy", "lookup", "--consistent-read"], "consistent");

    // Strongly consistent reads cost twice as much.
    assert!((1.9 * plain..=2.1 * plain).contains(&consistent), "{plain} and {consistent}");
}

//! `sync` without a queue: what it finds is what the oracle finds, and what it writes is what it was asked to write.

use std::collections::BTreeSet;

use serde_json::Value as Json;
use shared::domain::key::KeyType;
use shared::domain::number::Number;
use shared::domain::value::{Item, Value};
use tests::dynamodb::DynamoDb;
use tests::generate::{Shares, pair_of_tables, schema};
use tests::oracle::{Differences, brute_force};

use crate::stage::{
    MASTER, SLAVE, Stage, assert_reported, document, files, holds, order_schema, orders, programs, text,
};

#[tokio::test]
async fn several_slaves_of_every_key_type_are_reported_as_the_oracle_sees_them() {
    let server = DynamoDb::start();
    let programs = programs().with_dynamodb(&server.endpoint());
    let shares = Shares { missing: 0.1, differing: 0.2, extra: 0.1 };
    let kinds = [(KeyType::S, None), (KeyType::N, Some(KeyType::B)), (KeyType::B, Some(KeyType::N))];
    for (number, (kind, sort)) in kinds.into_iter().enumerate() {
        let pair = pair_of_tables(&schema(kind, sort), 31 + number as u64, 150, shares);
        let name = |table: &str| format!("{table}-{number}");
        let tables = [("orders", &pair.master), ("copy", &pair.slave), ("same", &pair.master), ("empty", &Vec::new())];
        for (table, items) in tables {
            server.create_filled(&name(table), &pair.schema, items).await;
        }
        let named = ["orders", "copy", "same", "empty"].map(|table| format!("us-east-1:{}", name(table)));
        let job = name("job");

        let finished = programs.dynamend(&[
            "sync",
            "-m",
            &named[0],
            "-s",
            &named[1],
            "-s",
            &named[2],
            "--slave",
            &named[3],
            "--job-id",
            &job,
            "--scan-for-extra",
            "--confirm-delay",
            "0",
            "--segments",
            "5",
            "--output",
            "json",
        ]);

        assert_eq!(finished.code, Some(1), "{}", finished.stderr);
        let report = crate::stage::report(&programs, &[&job]);
        assert_reported(&report, &named[1], &pair.expected);
        assert_reported(&report, &named[2], &Differences::default());
        assert_reported(&report, &named[3], &brute_force(&pair.master, &[], &pair.schema));
        assert!(report.iter().all(|line| line["outcome"] == "reported" && line["reason"].is_null()));
        let summary = document(&finished);
        let counts = |slave: usize, name: &str| summary["slaves"][slave][name].as_u64().expect("a count");
        assert_eq!(["compared", "missing", "differing", "extra"].map(|name| counts(0, name)), [150, 15, 30, 15]);
        assert_eq!(["compared", "identical", "missing"].map(|name| counts(1, name)), [150, 150, 0]);
        assert_eq!(["compared", "identical", "missing"].map(|name| counts(2, name)), [150, 0, 150]);
    }
}

#[tokio::test]
async fn without_a_write_flag_nothing_is_written() {
    let (stage, _) = Stage::differing(100).await;
    let before = stage.tables().await;

    let finished = stage.sync(&["--scan-for-extra", "--output", "json"]);

    assert_eq!(finished.code, Some(1), "{}", finished.stderr);
    assert_eq!(stage.tables().await, before);
    let summary = document(&finished);
    for table in [MASTER, SLAVE] {
        assert_eq!(summary["consumed"][table]["write"], 0.0, "{table}");
        assert!(summary["consumed"][table]["read"].as_f64() > Some(0.0), "{table}");
    }
}

#[tokio::test]
async fn each_write_flag_repairs_its_own_kind_only() {
    for flag in ["--write-missing", "--write-differing", "--delete-extra"] {
        let (stage, pair) = Stage::differing(100).await;
        let master = stage.server.read_all("orders").await;
        let mut left = pair.expected.clone();
        let (kind, outcome) = match flag {
            "--write-missing" => (std::mem::take(&mut left.missing).len(), "written"),
            "--write-differing" => (std::mem::take(&mut left.differing).len(), "written"),
            _ => (std::mem::take(&mut left.extra).len(), "deleted"),
        };

        let finished = stage.sync(&[flag, "--job-id", "job", "--output", "json"]);

        assert_eq!(finished.code, Some(1), "{flag}: {}", finished.stderr);
        assert_eq!(stage.differences().await, left, "{flag}");
        assert_eq!(stage.server.read_all("orders").await, master, "{flag}: the master was written to");
        assert_eq!(document(&finished)["slaves"][0][outcome], kind, "{flag}");
        // Without a flag for them, extra items are not looked for.
        let mut found = pair.expected;
        if flag != "--delete-extra" {
            found.extra.clear();
        }
        let report = stage.report("job");
        assert_reported(&report, SLAVE, &found);
        assert_eq!(report.iter().filter(|line| line["outcome"] == outcome).count(), kind, "{flag}");
    }
}

#[tokio::test]
async fn a_repair_leaves_nothing_to_find() {
    let (stage, pair) = Stage::differing(200).await;

    let first = stage.sync(&["--repair", "--job-id", "first"]);
    let second = stage.sync(&["--scan-for-extra", "--output", "json"]);

    assert_eq!(first.code, Some(0), "{}", first.stderr);
    assert_reported(&stage.report("first"), SLAVE, &pair.expected);
    assert_eq!(stage.differences().await, Differences::default());
    assert_eq!(second.code, Some(0), "{}", second.stderr);
    let summary = document(&second);
    assert_eq!(summary["slaves"][0]["identical"], 200);
    assert_eq!(summary["slaves"][0]["extra"], 0);
}

#[tokio::test]
async fn ignored_attributes_and_paths_do_not_count() {
    let map = |one: &str, other: &str| {
        Value::M([("updatedAt".to_owned(), text(one)), ("source".to_owned(), text(other))].into())
    };
    let master = orders(3, &[("seen", text("now")), ("meta", map("now", "web")), ("aws:rep:time", text("1"))]);
    let mut slave = orders(3, &[("seen", text("then")), ("meta", map("then", "web")), ("aws:rep:time", text("2"))]);
    slave[2].insert("meta".into(), map("then", "app"));
    let stage = Stage::of(&order_schema(), &master, &slave).await;

    let strict = stage.sync(&["--job-id", "strict"]);
    let finished = stage.sync(&["--ignore", "seen", "--ignore-att", "meta.updatedAt", "--job-id", "loose"]);

    let paths =
        |job: &str| -> Vec<Json> { stage.report(job).into_iter().map(|line| line["attributes"].clone()).collect() };
    assert_eq!((strict.code, finished.code), (Some(1), Some(1)));
    assert_eq!(paths("strict").len(), 3);
    assert_eq!(paths("loose"), [serde_json::json!(["meta.source"])]);
    assert_eq!(stage.sync(&["--ignore", "seen", "--ignore", "meta"]).code, Some(0));
}

#[tokio::test]
async fn values_are_kept_only_when_asked_for() {
    let planted = ["MASTER-VALUE-5d1f", "SLAVE-VALUE-88ab", "ONLY-MASTER-c3c3", "ONLY-SLAVE-0e0e"];
    let mut master = orders(2, &[("total", text(planted[0])), ("same", text("EQUAL-VALUE-77"))]);
    let mut slave = orders(1, &[("total", text(planted[1])), ("same", text("EQUAL-VALUE-77"))]);
    // Of an item that a slave lacks, everything is reported.
    master[1].remove("same");
    master[1].insert("total".into(), text(planted[2]));
    slave.push([("id".to_owned(), text("z")), ("total".to_owned(), text(planted[3]))].into());
    let stage = Stage::of(&order_schema(), &master, &slave).await;
    let left = |store: &str| files(&stage.programs.home().join(store));

    stage.sync(&["--scan-for-extra", "--store", "without"]);
    stage.sync(&["--scan-for-extra", "--store", "with", "--report-values", "--job-id", "job"]);

    for (name, body) in left("without") {
        assert!(planted.iter().all(|value| !holds(&body, value)), "{name} holds values");
    }
    let with = left("with");
    for value in planted {
        assert!(with.values().any(|body| holds(body, value)), "{value} is not reported");
    }
    assert!(with.values().all(|body| !holds(body, "EQUAL-VALUE-77")), "a value that does not differ is reported");
    let report = crate::stage::report(&stage.programs, &["job", "--store", "with"]);
    let differing = report.iter().find(|line| line["kind"] == "differing").expect("one differs");
    assert_eq!(differing["values"]["master"]["total"]["S"], planted[0]);
    assert_eq!(differing["values"]["slave"]["total"]["S"], planted[1]);
}

#[tokio::test]
async fn a_repair_of_an_item_with_every_type_copies_it_whole() {
    let deep = (0..20).fold(Value::L(vec![Value::Null]), |inner, _| Value::L(vec![inner]));
    let number = |text: &str| Number::parse(text).expect("it is a number");
    let item: Item = [
        ("id", text("all")),
        ("exact", Value::N(number("12345678901234567890123456789012345678"))),
        ("set", Value::Ns(vec![number("1"), number("2.50"), number("-3E-7")])),
        ("binaries", Value::Bs(vec![vec![0, 255], vec![]])),
        ("empty", text("")),
        ("deep", deep),
        ("#n :v", Value::M([("a.b[0]".to_owned(), Value::Bool(false))].into())),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .into();
    let mut drifted = item.clone();
    drifted.insert("#n :v".into(), Value::M([("a.b[0]".to_owned(), Value::Bool(true))].into()));
    let stage = Stage::of(&order_schema(), &[item], &[drifted]).await;

    let finished = stage.sync(&["--write-differing"]);

    assert_eq!(finished.code, Some(0), "{}", finished.stderr);
    let (master, slave) = stage.tables().await;
    assert_eq!(master, slave);
}

#[tokio::test]
async fn the_json_result_has_the_shape_of_the_contract() {
    let (stage, _) = Stage::differing(50).await;

    let finished = stage.sync(&["--output", "json", "--segments", "3", "--job-id", "job", "--scan-for-extra", "-vv"]);

    let summary = document(&finished);
    let names = |json: &Json| -> BTreeSet<String> { json.as_object().expect("an object").keys().cloned().collect() };
    let expected = |names: &str| -> BTreeSet<String> { names.split(' ').map(str::to_owned).collect() };
    let top = "job kind state units slaves scanned consumed estimated started_at updated_at ended_at errors";
    assert_eq!(names(&summary), expected(top));
    assert_eq!(names(&summary["units"]), expected("total queued running done failed"));
    let slave = "table compared identical missing differing extra healed written deleted skipped failed unstable \
                 expired";
    assert_eq!(names(&summary["slaves"][0]), expected(slave));
    assert_eq!(names(&summary["consumed"]), expected("us-east-1:orders us-east-1:copy"));
    assert_eq!(names(&summary["consumed"][MASTER]), expected("read write"));
    assert_eq!(names(&summary["estimated"]), expected("us-east-1:orders us-east-1:copy"));
    assert_eq!(names(&summary["estimated"][SLAVE]), expected("read"));
    assert_eq!(summary["units"], serde_json::json!({"total": 3, "queued": 0, "running": 0, "done": 3, "failed": 0}));
    assert_eq!(summary["scanned"], serde_json::json!({MASTER: 50, SLAVE: 50}));
    assert_eq!(
        (&summary["job"], &summary["kind"], &summary["state"]),
        (&"job".into(), &"sync".into(), &"succeeded".into())
    );
    for time in ["started_at", "updated_at", "ended_at"] {
        let text = summary[time].as_str().expect("a time");
        assert!(text.parse::<jiff::Timestamp>().is_ok(), "{time}: {text}");
    }
    let kept = files(&stage.programs.home().join(".dynamend/jobs/job"));
    let (_, written) = kept.iter().find(|(name, _)| name.ends_with("/summary.json")).expect("a summary");
    assert_eq!(serde_json::from_slice::<Json>(written).expect("JSON"), summary);
}

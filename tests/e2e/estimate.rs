//! What `estimate` says before a run, what a sync says of it after, and what a sample says about the whole.

use aws_sdk_dynamodb::types::{BillingMode, ProvisionedThroughput};
use serde_json::{Value as Json, json};
use tests::process::Finished;

use crate::bad_input::assert_refused;
use crate::stage::{MASTER, SLAVE, Stage, document, order_schema, orders, text};

const TABLES: [&str; 5] = ["estimate", "-m", MASTER, "-s", SLAVE];

/// 400 orders of about 1,000 bytes; the slave lacks half of them.
async fn stage() -> Stage {
    let total = text(&"x".repeat(980));
    let master = orders(400, &[("total", total)]);
    Stage::of(&order_schema(), &master, &master[..200]).await
}

fn estimate(stage: &Stage, more: &[&str]) -> Finished {
    let finished = stage.programs.dynamend(&[&TABLES, more].concat());
    assert_eq!((finished.code, finished.stderr.as_str()), (Some(0), ""), "{more:?}");
    finished
}

fn number(json: &Json) -> f64 {
    json.as_f64().unwrap_or_else(|| panic!("{json} is no number"))
}

fn assert_close(one: f64, other: f64) {
    assert!((one - other).abs() <= 1e-9 * one.abs().max(1.0), "{one} and {other}");
}

#[tokio::test]
async fn the_estimate_is_one_document_that_adds_up() {
    let stage = stage().await;

    let quote = document(&estimate(&stage, &["--output", "json"]));

    let bytes = number(&quote["tables"][0]["bytes"]);
    assert_eq!((&quote["tables"][0]["table"], &quote["tables"][1]["items"]), (&json!(MASTER), &json!(200)));
    assert_eq!(quote["tables"][0]["billing"], "on_demand");
    assert_eq!(quote["tables"][0]["read_capacity"], 12_000.0);
    let (paired, lookup) = (&quote["strategies"][0], &quote["strategies"][1]);
    assert_eq!((&paired["strategy"], &lookup["strategy"]), (&json!("paired"), &json!("lookup")));
    // 400 items of about 1,000 bytes are scanned, and 200 of them are there twice.
    let of_master = number(&paired["tables"][MASTER]["read_units"]);
    assert!((of_master - bytes / 8192.0).abs() < 0.01 * of_master, "{of_master} for {bytes} bytes");
    assert_close(number(&lookup["tables"][SLAVE]["read_units"]), 200.0);
    assert_close(number(&lookup["read_units"]), of_master + 200.0);
    assert_close(number(&lookup["dollars"]), (of_master + 200.0) * 0.125 / 1e6);
    assert_close(number(&lookup["minutes"]), 200.0 / 12_000.0 / 60.0);
    assert_eq!(quote["auto"]["slaves"], json!([{ "table": SLAVE, "strategy": "paired" }]));
    assert_eq!((&quote["auto"]["read_units"], &quote["auto"]["tables"]), (&paired["read_units"], &paired["tables"]));
    assert_eq!(
        quote["prices"],
        json!({ "source": "listed", "read_per_million": 0.125, "write_per_million": 0.625, "since": "2024-11-01" })
    );
    assert_close(number(&quote["divergence"]["confirm_read_units"]), 0.8);
    assert_close(number(&quote["divergence"]["repair_write_units"]), 0.4);
    assert!(!stage.programs.home().join(".dynamend").exists(), "an estimate writes nothing");
}

#[tokio::test]
async fn prices_capacity_share_and_the_search_for_extra_items_count() {
    let stage = stage().await;
    let quote = |more: &[&str]| document(&estimate(&stage, &[more, &["--output", "json"]].concat()));
    let plain = quote(&[]);
    let lookup = |quote: &Json, figure: &str| number(&quote["strategies"][1][figure]);

    let dear = quote(&["--read-price", "2", "--write-price", "0"]);
    let slow = quote(&["--read-capacity", "10"]);
    let strong = quote(&["--consistent-read"]);
    let tenth = quote(&["--sample", "0.1"]);
    let extra: Vec<Json> =
        ["--scan-for-extra", "--delete-extra", "--repair"].iter().map(|flag| quote(&[flag])).collect();

    assert_close(lookup(&dear, "dollars"), 16.0 * lookup(&plain, "dollars"));
    assert_eq!((&dear["prices"]["source"], &dear["divergence"]["repair_dollars"]), (&json!("given"), &json!(0.0)));
    assert_close(lookup(&slow, "minutes"), 1200.0 * lookup(&plain, "minutes"));
    assert_close(lookup(&strong, "read_units"), 2.0 * lookup(&plain, "read_units"));
    assert_close(lookup(&tenth, "read_units"), 0.1 * lookup(&plain, "read_units"));
    for extra in extra {
        assert_eq!((&extra["seeks_extra"], &plain["seeks_extra"]), (&json!(true), &json!(false)));
        let (of_master, of_slave) =
            (lookup(&plain, "read_units") - 200.0, number(&plain["auto"]["tables"][SLAVE]["read_units"]));
        // The slave is scanned, and its 200 items are looked up in the master.
        assert_close(lookup(&extra, "read_units"), of_master + 200.0 + of_slave + 100.0);
        assert_eq!(extra["strategies"][0], plain["strategies"][0], "a paired scan finds them anyway");
    }
}

#[tokio::test]
async fn people_read_the_same_with_its_reasons() {
    let stage = stage().await;
    stage.server.create_table("empty", &order_schema()).await;

    let shown = estimate(&stage, &["-s", "us-east-1:empty"]).stdout;

    for words in [
        "strategy      read units",
        "auto takes paired for us-east-1:copy, us-east-1:empty: the size of a table is not known",
        "$0.125 per million read units",
        "since 2024-11-01",
        "at 12,000 read units per second",
        "us-east-1:empty says it has no items",
        "refreshed about every six hours",
        "the transfer is not in the dollars",
        "repairs",
    ] {
        assert!(shown.contains(words), "`{words}` is missing:\n{shown}");
    }
    assert!(shown.lines().all(|line| line.chars().count() <= 130), "too wide:\n{shown}");
}

#[tokio::test]
async fn a_provisioned_table_gives_what_it_is_provisioned_for() {
    let stage = stage().await;
    let capacity = ProvisionedThroughput::builder().read_capacity_units(50).write_capacity_units(5).build();
    let update = stage.server.client().update_table().table_name("copy").billing_mode(BillingMode::Provisioned);
    update.provisioned_throughput(capacity.expect("it is set")).send().await.expect("the table is changed");

    let quote = document(&estimate(&stage, &["--output", "json"]));
    let shown = estimate(&stage, &[]).stdout;

    assert_eq!(
        (&quote["tables"][1]["billing"], &quote["tables"][1]["read_capacity"]),
        (&json!("provisioned"), &json!(50.0))
    );
    assert_close(number(&quote["strategies"][1]["minutes"]), 200.0 / 50.0 / 60.0);
    assert!(shown.contains("us-east-1:copy is provisioned") && shown.contains("50 (us-east-1:copy)"), "{shown}");
}

#[tokio::test]
async fn a_sync_holds_its_consumption_against_the_estimate() {
    let stage = stage().await;
    let quote = document(&estimate(&stage, &["--output", "json"]));
    let flags = ["--strategy", "lookup", "--segments", "2", "--no-confirm"];

    let finished = stage
        .programs
        .dynamend(&[&["sync"], &TABLES[1..], &flags[..], &["--job-id", "job", "--output", "json"]].concat());
    let shown = stage.programs.dynamend(&["status", "job"]).stdout;

    let summary = document(&finished);
    let expected = &quote["strategies"][1]["tables"];
    for table in [MASTER, SLAVE] {
        let (estimated, read) = (&summary["estimated"][table]["read"], &summary["consumed"][table]["read"]);
        assert!((number(estimated) - number(&expected[table]["read_units"])).abs() <= 0.25, "{table}: {estimated}");
        assert!((number(estimated) - number(read)).abs() <= 0.05 * number(read), "{table}: {estimated} and {read}");
    }
    assert!(shown.contains("read units consumed (the estimate was "), "{shown}");
    let said = "strategy: lookup for us-east-1:copy, as asked for (";
    assert!(finished.stderr.contains(said) && finished.stderr.contains("paired would take"), "{}", finished.stderr);
}

#[tokio::test]
async fn a_sample_reads_its_share_and_estimates_the_rest() {
    let stage = stage().await;
    let flags = ["--strategy", "lookup", "--scan-for-extra", "--segments", "40", "--sample", "0.3"];

    let finished = stage.sync(&[&flags[..], &["--job-id", "job", "--output", "json"]].concat());
    let shown = stage.programs.dynamend(&["status", "job"]).stdout;
    let resumed = stage.programs.dynamend(&["resume", "job", "--output", "json"]);

    let summary = document(&finished);
    assert_eq!(finished.code, Some(1), "{}", finished.stderr);
    assert_eq!(summary["units"]["total"], 24, "12 segments, in two passes");
    let sample = &summary["sample"];
    assert_eq!((&sample["segments"], &sample["of"]), (&json!(12), &json!(40)));
    let estimates = &sample["estimates"][0];
    assert_eq!(estimates["table"], SLAVE);
    for count in ["compared", "missing", "differing", "extra"] {
        let counted = &summary["slaves"][0][count];
        let [estimate, low, high] = ["estimate", "low", "high"].map(|end| number(&estimates[count][end]));
        assert!(number(counted) <= low && low <= estimate && estimate <= high, "{count}: {estimates}");
    }
    let scaled = number(&summary["slaves"][0]["compared"]) * 40.0 / 12.0;
    assert!((number(&estimates["compared"]["estimate"]) - scaled).abs() <= 0.5, "{estimates}");
    assert!(shown.contains("a random sample of 12 of 40 segments"), "{shown}");
    assert_eq!(document(&resumed), summary, "there is nothing to resume");
}

#[tokio::test]
async fn a_sample_is_of_enough_segments_and_of_those_that_are_named() {
    let stage = stage().await;
    let run = |more: &[&str]| document(&stage.sync(&[more, &["--strategy", "lookup", "--output", "json"]].concat()));

    let planned = run(&["--sample", "0.1", "--parallel", "4"]);
    let named = run(&["--sample", "0.5", "--segments", "40", "--only-segments", "0-9"]);
    let few = run(&["--sample", "0.01", "--segments", "5"]);

    assert_eq!((&planned["sample"]["segments"], &planned["sample"]["of"]), (&json!(20), &json!(200)));
    assert_eq!((&named["sample"]["segments"], &named["sample"]["of"]), (&json!(5), &json!(10)));
    assert_eq!((&few["sample"]["segments"], &few["sample"]["of"]), (&json!(2), &json!(5)));
}

#[tokio::test]
async fn what_no_sample_can_be_taken_of_is_refused() {
    let stage = stage().await;
    let refused = |more: &[&str], words: &[&str]| {
        assert_refused(&stage.sync(more), 2, words);
        assert!(!stage.programs.home().join(".dynamend").exists(), "the store was written to");
    };

    for fraction in ["0", "1", "1.5", "-0.1", "NaN", "5%", "x"] {
        let flag = format!("--sample={fraction}");
        refused(&[&flag], &["--sample", "above 0 and below 1"]);
        let finished = stage.programs.dynamend(&[&TABLES[..], &[&flag]].concat());
        assert_refused(&finished, 2, &["--sample", "above 0 and below 1"]);
    }
    refused(&["--sample", "0.5", "--segments", "1"], &["2 segments", "--segments N"]);
    refused(&["--sample", "0.5", "--segments", "9", "--only-segments", "3"], &["2 segments", "--segments N"]);
    refused(&["--sample", "0.5", "--segments", "9", "--starting-key", r#"1={"id":"a"}"#], &["--starting-key"]);
}

#[tokio::test]
async fn what_cannot_be_estimated_is_refused() {
    let stage = stage().await;
    for (more, words) in [
        (["--read-price", "1e9"], ["--read-price", "0.125"]),
        (["--write-price", "x"], ["--write-price", "dollars"]),
        (["--read-capacity", "0"], ["--read-capacity", "12000"]),
        (["--slave", "us-east-1/orders"], ["are the same table", "name each table once"]),
    ] {
        assert_refused(&stage.programs.dynamend(&[&TABLES[..], &more].concat()), 2, &words);
    }
    let missing = stage.programs.dynamend(&["estimate", "-m", MASTER, "-s", "us-east-1:nowhere"]);
    assert_refused(&missing, 3, &["nowhere", "check the name"]);
}

//! What cannot be is refused in one short paragraph that says what to do, and nothing is written.

use tests::buckets::Bucket;
use tests::generate::schema;
use tests::ministack::MiniStack;
use tests::process::{Finished, Programs};
use tests::queues::Queue;

use crate::stage::{SYNC, Stage, order_schema, orders, programs, text};

/// Nobody listens here.
const CLOSED: &str = "http://127.0.0.1:1";

/// Holds what a program said to the form of a refusal, and to its words.
pub(crate) fn assert_refused(finished: &Finished, code: i32, words: &[&str]) {
    assert_eq!(finished.stdout, "", "a refusal is no result");
    assert_failed(finished, code, words);
}

/// The same of a program that had begun to write its result when it failed.
pub(crate) fn assert_failed(finished: &Finished, code: i32, words: &[&str]) {
    let said = &finished.stderr;
    assert_eq!(finished.code, Some(code), "{said}");
    let lines: Vec<&str> = said.lines().filter(|line| !line.is_empty()).collect();
    assert!(lines.len() <= 3 && said.len() < 700, "too long:\n{said}");
    assert!(lines.first().is_some_and(|line| line.starts_with("error: ")), "{said}");
    assert!(lines.iter().any(|line| line.starts_with("hint: ")), "{said}");
    for word in ["panicked", "RUST_BACKTRACE", "Error {", "Some(", "Error(", "\\\""] {
        assert!(!said.contains(word), "`{word}` is for programmers:\n{said}");
    }
    for word in words {
        assert!(said.contains(word), "`{word}` is missing:\n{said}");
    }
}

/// Runs a command that must be refused on tables that differ, and must change neither tables nor store.
async fn refused(programs: Programs, arguments: &[&str], code: i32, words: &[&str]) {
    let master = orders(3, &[("total", text("1"))]);
    let mut stage = Stage::of(&order_schema(), &master, &orders(2, &[])).await;
    stage.programs = programs.with("AWS_ENDPOINT_URL_DYNAMODB", &stage.server.endpoint());
    let before = stage.tables().await;

    let finished = stage.programs.dynamend(arguments);

    assert_refused(&finished, code, words);
    assert_eq!(stage.tables().await, before, "a table was written to");
    assert!(!stage.programs.home().join(".dynamend").exists(), "the store was written to");
}

/// As [`refused`], with these flags on a repair of the usual tables.
async fn sync_refused(more: &[&str], code: i32, words: &[&str]) {
    refused(programs(), &[&SYNC[..], &["--repair"], more].concat(), code, words).await;
}

#[tokio::test]
async fn a_table_cannot_be_its_own_slave() {
    for slave in [
        "us-east-1:orders",
        "us-east-1/orders",
        // The emulator has no regions, so this is one table under two names, as an ARN and a name may be.
        "eu-west-1:orders",
    ] {
        let arguments = ["sync", "-m", "us-east-1:orders", "-s", "us-east-1:copy", "-s", slave, "--repair"];
        refused(programs(), &arguments, 2, &["are the same table"]).await;
    }
    let arn = "arn:aws:dynamodb:us-east-1:000000000000:table/orders";
    refused(programs(), &["sync", "-m", arn, "-s", arn], 2, &["are the same table"]).await;
    sync_refused(&["-s", "us-east-1/copy"], 2, &["us-east-1:copy", "are the same table"]).await;
}

#[test]
fn a_region_that_is_none() {
    for region in ["orders", "useast1", "us-east", "US-EAST-1"] {
        let programs = programs();
        let finished = programs.dynamend(&["sync", "-m", &format!("{region}:orders"), "-s", "us-east-1:copy"]);
        assert_refused(&finished, 2, &[region, "is no AWS region", "us-east-1"]);
        assert!(!programs.home().join(".dynamend").exists());
    }
}

#[tokio::test]
async fn a_text_that_names_no_table() {
    for table in ["orders", "us-east-1:", ":orders", "us-east-1:or ders", "arn:aws:s3:::bucket", ""] {
        refused(programs(), &["sync", "-m", "us-east-1:orders", "-s", table], 2, &["--slave", "table"]).await;
    }
}

#[tokio::test]
async fn a_table_that_is_not_there() {
    refused(programs(), &["sync", "-m", "us-east-1:nowhere", "-s", "us-east-1:copy"], 3, &["nowhere", "us-east-1"])
        .await;
    sync_refused(&["-s", "eu-west-1:nowhere"], 3, &["nowhere", "eu-west-1", "check the name"]).await;
}

#[tokio::test]
async fn tables_with_other_keys() {
    use shared::domain::key::KeyType;
    let stage = Stage::of(&order_schema(), &[], &[]).await;
    stage.server.create_table("numbers", &schema(KeyType::N, None)).await;
    stage.server.create_table("pairs", &schema(KeyType::S, Some(KeyType::S))).await;

    for slave in ["us-east-1:numbers", "us-east-1:pairs"] {
        let finished = stage.sync(&["-s", slave, "--repair"]);
        assert_refused(&finished, 3, &["key schemas differ", slave]);
    }
    assert!(!stage.programs.home().join(".dynamend").exists());
}

#[tokio::test]
async fn a_service_that_nobody_answers_for() {
    let finished = programs().with_dynamodb(CLOSED).dynamend(&SYNC);
    assert_refused(&finished, 3, &["us-east-1", "check the region, the endpoint and the network"]);
}

#[tokio::test]
async fn a_queue_that_cannot_be_reached_or_is_not_there() {
    let url = "http://127.0.0.1:1/000000000000/work";
    let closed = programs().with_services(CLOSED);
    refused(closed, &[&SYNC[..], &["--repair", "--queue", url]].concat(), 3, &[url]).await;
    let services = MiniStack::shared();
    let missing = format!("{}/000000000000/nowhere", services.endpoint());
    let there = || programs().with_services(&services.endpoint());
    refused(there(), &[&SYNC[..], &["--queue", &missing]].concat(), 3, &[&missing, "check the name"]).await;

    let worker = there().worker(&["--queue", &missing]);
    assert_refused(&worker, 3, &[&missing, "check the name"]);
}

#[tokio::test]
async fn a_bucket_that_cannot_be_reached_or_is_not_there() {
    let closed = || programs().with_services(CLOSED);
    let store = ["--repair", "--store", "s3://nowhere-at-all/prefix"];
    refused(closed(), &[&SYNC[..], &store].concat(), 3, &["s3://nowhere-at-all/prefix"]).await;
    let there = || programs().with_services(&MiniStack::shared().endpoint());
    refused(there(), &[&SYNC[..], &store].concat(), 3, &["s3://nowhere-at-all/prefix", "check the name"]).await;
    for command in [&["status", "job"][..], &["report", "job"], &["resume", "job"], &["cancel", "job"], &["jobs"]] {
        refused(there(), &[command, &store[1..]].concat(), 3, &["nowhere-at-all"]).await;
    }
}

#[tokio::test]
async fn a_segment_that_is_not_there() {
    sync_refused(&["--segments", "8", "--only-segments", "9"], 2, &["segment 9", "0 to 7"]).await;
    sync_refused(&["--only-segments", "1"], 2, &["--segments"]).await;
    sync_refused(&["--segments", "8", "--only-segments", "5-3"], 2, &["5-3"]).await;
}

#[tokio::test]
async fn a_starting_key_that_does_not_fit() {
    for (key, word) in [
        (r#"{"id":5}"#, "`id`"),
        (r#"{"id":{"N":"5"}}"#, "`id`"),
        (r#"{"other":"a"}"#, "`other`"),
        ("{}", "`id`"),
        ("[1]", "JSON object"),
        ("{oops", "JSON"),
        (r#"{"id":""}"#, "id"),
    ] {
        sync_refused(&["--starting-key", key], 2, &["starting key", word]).await;
    }
    sync_refused(&["--starting-key", r#"{"id":"a"}"#, "--segments", "2"], 2, &["SEGMENT=KEY"]).await;
    sync_refused(&["--starting-key", r#"7={"id":"a"}"#, "--segments", "2"], 2, &["segment 7"]).await;
    sync_refused(&["--starting-key", r#"x={"id":"a"}"#, "--segments", "2"], 2, &["segment"]).await;
}

#[tokio::test]
async fn a_second_factor_that_cannot_be_used() {
    let queue = Queue::create(MiniStack::shared(), std::time::Duration::from_secs(30), 3).await;
    let bucket = Bucket::create(MiniStack::shared()).await;
    let there = programs().with_services(&MiniStack::shared().endpoint());
    let role =
        ["--role-arn", "arn:aws:iam::123456789012:role/reader", "--mfa-serial", "device", "--mfa-token", "123456"];
    let store = bucket.url("x");
    let fleet = ["--queue", &queue.url, "--store", &store];
    refused(there, &[&SYNC[..], &role, &fleet].concat(), 2, &["MFA device", "--queue"]).await;
    assert_eq!(bucket.keys("").await, Vec::<String>::new());
    sync_refused(&["--mfa-serial", "device", "--mfa-token", "123456"], 2, &["--role-arn"]).await;
    sync_refused(&[&role[..4]].concat(), 2, &["--mfa-token"]).await;
}

#[tokio::test]
async fn flags_that_do_not_exist_or_do_not_fit() {
    sync_refused(&["--frobnicate"], 2, &["--frobnicate"]).await;
    sync_refused(&["--segments", "0"], 2, &["--segments", "1000000"]).await;
    sync_refused(&["--segments", "1000001"], 2, &["--segments"]).await;
    sync_refused(&["--batch-read-limit", "101"], 2, &["--batch-read-limit", "100"]).await;
    sync_refused(&["--job-id", "../up"], 2, &["--job-id"]).await;
    sync_refused(&["--store", "gs://bucket"], 2, &["gs://bucket", "s3://BUCKET/PREFIX"]).await;
    refused(programs(), &["sync", "-s", "us-east-1:copy"], 2, &["--master"]).await;
    refused(programs(), &["snyc"], 2, &["snyc", "sync"]).await;
    refused(programs(), &["status"], 2, &["JOB"]).await;
}

#[tokio::test]
async fn a_store_that_is_a_file() {
    let stage = Stage::of(&order_schema(), &orders(1, &[]), &[]).await;
    let file = stage.programs.home().join("file");
    std::fs::write(&file, "precious").expect("the file can be written");
    let store = file.to_string_lossy().into_owned();

    let on_jobs = [["status", "job"], ["report", "job"], ["resume", "job"], ["cancel", "job"]];
    for command in on_jobs.iter().map(|command| &command[..]).chain([&SYNC[..], &["jobs"]]) {
        let finished = stage.programs.dynamend(&[command, &["--store", &store]].concat());
        assert_refused(&finished, 3, &["not a directory", &store]);
    }

    assert_eq!(std::fs::read_to_string(file).expect("it is there"), "precious");
}

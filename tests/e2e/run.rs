//! Plan files with the real programs: many tables in one command, judged as a whole before anything is written.

use std::time::Duration;

use aws_sdk_dynamodb::types::StreamViewType;
use serde_json::Value as Json;
use shared::domain::key::KeyType;
use shared::domain::value::Item;
use tests::generate::schema;
use tests::ministack::MiniStack;
use tests::oracle::brute_force;
use tests::process::{Finished, Running};
use tests::wait::{DEADLINE, eventually};

use crate::stage::{Fleet, MASTER, SLAVE, Stage, document, order_schema, orders, text};

/// For streams to be caught up with; in debug builds, on a busy machine.
const LONG: Duration = Duration::from_secs(150);

/// The usual tables, `orders` full and with a stream, and these others, empty.
async fn stage(others: &[&str]) -> Stage {
    let stage = Stage::of(&order_schema(), &orders(120, &[]), &[]).await;
    for other in others {
        stage.server.create_table(other, &stage.schema).await;
    }
    stage.server.enable_stream("orders", StreamViewType::NewAndOldImages).await;
    stage
}

/// Writes the plan into the programs' home.
fn write(stage: &Stage, plan: &str) {
    std::fs::write(stage.programs.home().join("plan.yaml"), plan).expect("a plan can be written");
}

fn run(stage: &Stage, plan: &str, more: &[&str]) -> Finished {
    write(stage, plan);
    stage.programs.spawn_dynamend(&[&["run", "plan.yaml"], more].concat()).wait(LONG)
}

fn start(stage: &Stage, plan: &str, more: &[&str]) -> Running {
    write(stage, plan);
    stage.programs.spawn_dynamend(&[&["run", "plan.yaml"], more].concat())
}

async fn differ(stage: &Stage, one: &str, other: &str) -> bool {
    let (one, other) = (stage.server.read_all(one).await, stage.server.read_all(other).await);
    !brute_force(&one, &other, &stage.schema).is_empty()
}

async fn put(stage: &Stage, table: &str, id: &str) {
    let item: Item = [("id".to_owned(), text(id))].into_iter().collect();
    stage.server.put_all(table, &[item]).await;
}

/// As its documentation has it, but for the names of tables and the account.
const PLAN_OF_DDB_SYNC: &str = "---
plan:
  - input:
      table: orders
      region: us-west-2
      role_arn: arn:aws:iam::123456789012:role/ddb-sync-READ_ONLY_SOURCE
    output:
      table: copy
      region: us-east-2
      role_arn: arn:aws:iam::123456789012:role/ddb-sync_WRITE_ONLY_DEST
    stream:
      disabled: true
    backfill:
      disabled: false
      segments: 0,1,2 # This is 0-indexed, 0 through 3 are valid in this case
      total_segments: 4
  - input:
      table: orders-2
      region: us-west-2
      role_arn: arn:aws:iam::123456789012:role/ddb-sync-READ_ONLY_SOURCE
    output:
      table: copy-2
      region: us-east-2
      role_arn: arn:aws:iam::123456789012:role/ddb-sync_WRITE_ONLY_DEST
";

#[tokio::test]
async fn a_plan_of_ddb_sync_is_carried_out_as_it_is() {
    let mut stage = stage(&["orders-2", "copy-2"]).await;
    stage.programs = stage.programs.with_services(&MiniStack::shared().endpoint());
    stage.server.put_all("orders-2", &orders(70, &[])).await;
    stage.server.enable_stream("orders-2", StreamViewType::NewImage).await;

    let mut running = start(&stage, PLAN_OF_DDB_SYNC, &["--job-id", "move", "--output", "json"]);
    running.wait_for_stderr("us-west-2:orders-2 -> us-east-2:copy-2: stream started", LONG);
    put(&stage, "orders-2", "made-meanwhile").await;
    eventually("the copy follows", LONG, async || {
        assert!(running.is_running(), "{}", running.stderr());
        (!differ(&stage, "orders-2", "copy-2").await).then_some(())
    })
    .await;
    running.wait_for_stderr("us-west-2:orders -> us-east-2:copy: backfill complete", LONG);
    running.interrupt();
    let finished = running.wait(DEADLINE);

    assert_eq!(finished.code, Some(130), "{}", finished.stderr);
    assert!(finished.stderr.contains("dynamend resume move-2"), "{}", finished.stderr);
    assert!(!finished.stderr.contains("resume move-1"), "{}", finished.stderr);
    let told = document(&finished);
    assert_eq!(told["run"], "move");
    let states = |job: &Json| (job["job"].clone(), job["kind"].clone(), job["units"]["total"].clone());
    assert_eq!(states(&told["entries"][0]["jobs"][0]), ("move-1".into(), "backfill".into(), 3.into()), "{told}");
    assert_eq!(told["entries"][1]["jobs"][0]["kind"], "replicate", "{told}");
    let name = "us-west-2:orders-2 -> us-east-2:copy-2";
    for line in ["backfill complete: 70 items written over ", "stream stopped: 1 items written over "] {
        assert!(finished.stderr.contains(&format!("{name}: {line}")), "{line}: {}", finished.stderr);
    }
    let copied = stage.server.read_all("copy").await.len();
    assert!(copied > 0 && copied < 120, "{copied} of 120 items are no three quarters");
    assert_eq!(told["entries"][0]["jobs"][0]["slaves"][0]["written"], copied);
}

#[tokio::test]
async fn entries_with_several_copies_are_followed_until_caught_up_and_verified() {
    let stage = stage(&["copy-2", "other", "other-copy"]).await;
    stage.server.put_all("other", &orders(30, &[])).await;
    let plan = "
concurrency: 1
parallel: 4
plan:
  - name: both
    input: {table: orders, region: us-east-1}
    outputs: [{table: copy}, {table: copy-2}]
    stream: {until_caught_up: 10}
    verify: true
  - name: other
    input: {table: 'us-east-1:other'}
    output: {table: other-copy}
    stream: {disabled: true}
    verify: true
";
    let finished = run(&stage, plan, &["--job-id", "run"]);

    assert_eq!(finished.code, Some(0), "{}\n{}", finished.stdout, finished.stderr);
    for words in [
        "== both ==",
        "job run-1: succeeded",
        "every write to the master up to 20",
        "job run-1-verify: succeeded",
        "job run-2: succeeded",
        "job run-2-verify: succeeded",
    ] {
        assert!(finished.stdout.contains(words), "{words}: {}", finished.stdout);
    }
    for line in [
        "both: backfill started",
        "both: backfill complete: 240 items written over ",
        "both: stream started",
        "both: stream complete: 0 items written over ",
        "both: verify complete: 0 discrepancies found over ",
        "other: backfill complete: 30 items written over ",
        "other: verify complete",
    ] {
        assert!(finished.stderr.contains(line), "{line}: {}", finished.stderr);
    }
    let at = |text: &str| finished.stderr.find(text).expect("it is there");
    assert!(at("both: verify complete") < at("other: backfill started"), "more than one at once: {}", finished.stderr);
    for (one, other) in [("orders", "copy"), ("orders", "copy-2"), ("other", "other-copy")] {
        assert!(!differ(&stage, one, other).await, "{one} and {other}");
    }
}

#[tokio::test]
async fn the_worst_end_of_all_entries_is_the_exit_code() {
    let stage = stage(&["copy-2"]).await;
    let plan = "
plan:
  - {name: look, input: {table: 'us-east-1:orders'}, output: {table: copy}, sync: {scan_for_extra: true}, verify: true}
  - {name: repair, input: {table: 'us-east-1:orders'}, output: {table: copy-2}, sync: {repair: true}, verify: true}
";
    let finished = run(&stage, plan, &["--output", "json"]);

    assert_eq!(finished.code, Some(1), "{}", finished.stderr);
    let told = document(&finished);
    let run = told["run"].as_str().expect("an id");
    for (entry, name, found) in [(0, "look", [120, 120]), (1, "repair", [120, 0])] {
        let entry = &told["entries"][entry];
        assert_eq!((&entry["name"], &entry["error"]), (&name.into(), &Json::Null), "{told}");
        assert_eq!([0, 1].map(|job| entry["jobs"][job]["slaves"][0]["missing"].clone()), found.map(Json::from));
    }
    assert_eq!(told["entries"][1]["jobs"][1]["job"], format!("{run}-2-verify"));
    assert!(!differ(&stage, "orders", "copy-2").await);
    assert!(stage.server.read_all("copy").await.is_empty());
}

#[tokio::test]
async fn an_entry_that_fails_does_not_stop_the_others() {
    let stage = stage(&["other", "other-copy"]).await;
    stage.server.put_all("other", &orders(30, &[])).await;
    stage.server.enable_stream("other", StreamViewType::NewAndOldImages).await;
    let plan = "
plan:
  - {name: fails, input: {table: 'us-east-1:orders'}, output: {table: copy}}
  - {name: goes on, input: {table: 'us-east-1:other'}, output: {table: other-copy}}
";
    let mut running = start(&stage, plan, &["--job-id", "run"]);
    for name in ["fails", "goes on"] {
        running.wait_for_stderr(&format!("{name}: stream started"), LONG);
    }
    stage.server.client().delete_table().table_name("copy").send().await.expect("it is deleted");
    put(&stage, "orders", "made-meanwhile").await;
    running.wait_for_stderr("fails: stream failed", LONG);
    put(&stage, "other", "made-meanwhile").await;
    eventually("the other copy follows", LONG, async || {
        assert!(running.is_running(), "{}", running.stderr());
        (!differ(&stage, "other", "other-copy").await).then_some(())
    })
    .await;
    running.interrupt();
    let finished = running.wait(DEADLINE);

    assert_eq!(finished.code, Some(130), "{}", finished.stderr);
    assert!(finished.stdout.contains("job run-1: failed"), "{}", finished.stdout);
    assert!(!finished.stdout.contains("job run-2: failed"), "{}", finished.stdout);
    for words in ["dynamend resume run-1", "dynamend resume run-2"] {
        assert!(finished.stderr.contains(words), "{words}: {}", finished.stderr);
    }
}

#[tokio::test]
async fn a_replication_by_itself_shows_what_it_copied_and_how_far_behind_it_is() {
    let stage = stage(&[]).await;
    let pair = ["replicate", "-m", MASTER, "-s", SLAVE, "--backfill", "--until-caught-up"];

    let finished = stage.programs.dynamend(&pair);

    assert_eq!(finished.code, Some(0), "{}", finished.stderr);
    let line = |words: &str| finished.stderr.lines().any(|line| line.contains(words));
    assert!(line("us-east-1:orders -> us-east-1:copy: backfill complete: 120 items written over "));
    let stream = finished.stderr.lines().find(|line| line.contains("stream complete: 0 items written over "));
    assert!(stream.is_some_and(|stream| stream.ends_with(" behind")), "{}", finished.stderr);
}

#[tokio::test]
async fn everything_in_the_way_of_all_entries_is_told_before_anything_is_written() {
    let stage = stage(&["other", "other-copy"]).await;
    stage.server.create_table("numbers", &schema(KeyType::N, None)).await;
    let plan = "
plan:
  - name: fine
    input: {table: orders, region: us-east-1}
    output: {table: copy}
  - name: bad
    input: {table: other, region: us-east-1}
    outputs: [{table: nowhere}, {table: numbers}, {table: other-copy}]
  - name: share
    input: {table: orders, region: us-east-1}
    output: {table: other-copy}
    stream: {disabled: true}
    read_capacity: 20%
";
    let finished = run(&stage, plan, &[]);

    assert_eq!(finished.code, Some(3), "{}", finished.stderr);
    for words in [
        "plan.yaml cannot be carried out; 4 things are in the way",
        "plan.yaml:6: entry 2 (bad): ",
        "table `nowhere` in us-east-1",
        "the key schemas differ: master us-east-1:other",
        "table us-east-1:other has no stream that is enabled\n      enable one: aws dynamodb update-table",
        "plan.yaml:9: entry 3 (share): 20% of the provisioned capacity was asked for",
        "hint: put it right",
    ] {
        assert!(finished.stderr.contains(words), "{words}: {}", finished.stderr);
    }
    assert!(finished.stdout.is_empty() && !finished.stderr.contains("(fine)"), "{}", finished.stderr);
    assert!(stage.server.read_all("copy").await.is_empty());
    assert!(!stage.programs.home().join(".dynamend").exists());

    let fine = "plan: [{name: a, input: {table: 'us-east-1:orders'}, output: {table: copy}, stream: {disabled: true}}]";
    assert_eq!(run(&stage, fine, &["--job-id", "again"]).code, Some(0));
    let again = run(&stage, fine, &["--job-id", "again"]);
    assert_eq!(again.code, Some(2), "{}", again.stderr);
    assert!(again.stderr.contains("there is a job again-1 already"), "{}", again.stderr);
}

#[tokio::test]
async fn a_bad_plan_file_is_refused_with_all_its_faults_and_their_lines() {
    let stage = stage(&["copy-2"]).await;
    let plan = "
plan:
  - input: {table: orders, regoin: us-east-1}
    output: {table: copy}
  - name: two
    input: {table: orders, region: us-east-1}
    output: {table: copy}
    stream: {until_caught_up: soon}
";
    let finished = run(&stage, plan, &[]);
    assert_eq!(finished.code, Some(2), "{}", finished.stderr);
    for words in ["plan.yaml:3:28: entry 1 (orders): ", "`regoin`", "plan.yaml:8:31: entry 2 (two): ", "`soon`"] {
        assert!(finished.stderr.contains(words), "{words}: {}", finished.stderr);
    }

    let endless = "
concurrency: 1
plan:
  - {input: {table: orders, region: us-east-1}, output: {table: copy}}
  - {input: {table: orders, region: us-east-1}, output: {table: copy-2}, stream: {disabled: true}}
";
    let finished = run(&stage, endless, &[]);
    assert_eq!(finished.code, Some(2), "{}", finished.stderr);
    assert!(finished.stderr.contains("plan.yaml:5: entry 2"), "{}", finished.stderr);
    assert!(finished.stderr.contains("never gets its turn"), "{}", finished.stderr);

    for (arguments, words) in [(["run", "-"], "standard input:1:1: the file is empty"), (["run", "no.yaml"], "no.yaml")]
    {
        let finished = stage.programs.dynamend(&arguments);
        assert_eq!(finished.code, Some(2), "{}", finished.stderr);
        assert!(finished.stderr.contains(words), "{}", finished.stderr);
    }
    assert!(stage.server.read_all("copy").await.is_empty());
    assert!(!stage.programs.home().join(".dynamend").exists());
}

#[tokio::test]
async fn workers_behind_a_queue_carry_out_the_entries_of_a_plan() {
    let fleet = Fleet::around(stage(&[]).await, 8).await;
    let plan = "
plan:
  - name: both
    input: {table: orders, region: us-east-1}
    output: {table: copy}
    stream: {until_caught_up: 10}
    verify: true
";
    write(&fleet.stage, plan);
    let mut running = fleet.spawn(&["run", "plan.yaml", "--job-id", "run"]);
    running.wait_for_stderr("are on the queue", DEADLINE);
    let _worker = fleet.worker(&[]);
    let finished = running.wait(LONG);

    assert_eq!(finished.code, Some(0), "{}\n{}", finished.stdout, finished.stderr);
    for line in ["both: backfill complete: 120 items", "both: stream complete", "both: verify complete: 0 disc"] {
        assert!(finished.stderr.contains(line), "{line}: {}", finished.stderr);
    }
    assert!(!differ(&fleet.stage, "orders", "copy").await);

    write(&fleet.stage, &plan.replace("    verify: true\n", "").replace("    stream: {until_caught_up: 10}\n", ""));
    let enqueued = fleet.dynamend(&["run", "plan.yaml", "--job-id", "later", "--output", "json"]);
    assert_eq!(enqueued.code, Some(0), "{}", enqueued.stderr);
    assert_eq!(document(&enqueued)["entries"][0]["jobs"][0]["state"], "queued", "{}", enqueued.stdout);
    assert_eq!(fleet.dynamend(&["cancel", "later-1"]).code, Some(0));
}

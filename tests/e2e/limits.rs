//! Limits, pauses and budgets, as the command line has them.

use std::time::Duration;

use aws_sdk_dynamodb::types::{BillingMode, ProvisionedThroughput};
use serde_json::Value as Json;
use tests::wait::{DEADLINE, until};

use crate::stage::{MASTER, SLAVE, SYNC, Stage, assert_reported, document};

const ITEMS: usize = 300;

#[tokio::test]
async fn a_budget_ends_a_job_with_exit_code_4_and_says_how_to_go_on() {
    let (stage, pair) = Stage::differing(ITEMS).await;

    let stopped = stage.sync(&["--scan-for-extra", "--strategy", "lookup", "--max-cost", "0.00004", "--job-id", "job"]);

    assert_eq!(stopped.code, Some(4), "{}", stopped.stderr);
    assert!(
        stopped.stdout.contains("stopped by --max-cost") && stopped.stdout.contains("$0.00004"),
        "{}",
        stopped.stdout
    );
    assert!(stopped.stderr.contains("dynamend limit job --max-cost"), "{}", stopped.stderr);
    let status = stage.programs.dynamend(&["status", "job", "--output", "json", "--exit-code"]);
    let summary = document(&status);
    assert_eq!(
        (status.code, &summary["state"], &summary["stopped_by"]),
        (Some(4), &"cancelled".into(), &"max_cost".into())
    );

    let raised = stage.programs.dynamend(&["limit", "job", "--max-cost", "1", "--output", "json"]);
    let resumed = stage.programs.dynamend(&["resume", "job", "--output", "json"]);

    assert_eq!((raised.code, &document(&raised)["limits"]["budget"]["max_cost"]), (Some(0), &1.0.into()));
    let summary = document(&resumed);
    assert_eq!((resumed.code, &summary["state"]), (Some(1), &"succeeded".into()), "{}", resumed.stderr);
    assert_eq!((&summary["slaves"][0]["compared"], &summary["stopped_by"]), (&ITEMS.into(), &Json::Null));
    assert_reported(&stage.report("job"), SLAVE, &pair.expected);
}

#[tokio::test]
async fn a_slow_job_is_paused_sped_up_and_taken_up_again() {
    let (stage, pair) = Stage::differing(ITEMS).await;
    let slowly = ["--read-capacity", "1", "--scan-for-extra", "--strategy", "lookup", "--job-id", "job", "-v"];
    let mut running = stage.programs.spawn_dynamend(&[&SYNC[..], &slowly].concat());
    running.wait_for_stderr("unit taken", DEADLINE);

    let paused = stage.programs.dynamend(&["pause", "job", "--output", "json"]);
    let stopped = running.wait(DEADLINE);

    assert_eq!((paused.code, &document(&paused)["state"]), (Some(0), &"paused".into()));
    assert_eq!(stopped.code, Some(4), "{}", stopped.stderr);
    assert!(stopped.stdout.contains("limits: 1 read units per second of each table"), "{}", stopped.stdout);
    let resumed = stage.programs.spawn_dynamend(&["resume", "job", "--output", "json"]);
    until("it is running again", DEADLINE, || {
        let status = document(&stage.programs.dynamend(&["status", "job", "--output", "json"]));
        (status["units"]["running"].as_u64() > Some(0)).then_some(())
    });
    let limited = stage.programs.dynamend(&["limit", "job", "--read-capacity", "none"]);
    assert_eq!(limited.code, Some(0), "{}", limited.stderr);
    let resumed = resumed.wait(Duration::from_secs(60));

    assert_eq!(resumed.code, Some(1), "{}", resumed.stderr);
    assert_eq!(document(&resumed)["slaves"][0]["compared"], ITEMS);
    assert_reported(&stage.report("job"), SLAVE, &pair.expected);
}

#[tokio::test]
async fn a_share_is_one_of_provisioned_capacity() {
    let (stage, _) = Stage::differing(20).await;

    let refused = stage.sync(&["--read-capacity", "50%"]);

    assert_eq!(refused.code, Some(2), "{}", refused.stderr);
    assert!(refused.stderr.contains(&format!("table {MASTER} is on demand")), "{}", refused.stderr);
    assert!(refused.stderr.contains("hint: say it in units per second"), "{}", refused.stderr);
    for table in ["orders", "copy"] {
        let capacity = ProvisionedThroughput::builder().read_capacity_units(200).write_capacity_units(10).build();
        let update = stage.server.client().update_table().table_name(table).billing_mode(BillingMode::Provisioned);
        let capacity = capacity.expect("it is set");
        update.provisioned_throughput(capacity).send().await.expect("the table is changed");
    }

    let synced =
        stage.sync(&["--read-capacity", "50%", "--write-capacity", "40%", "--output", "json", "--job-id", "job"]);

    assert_eq!(synced.code, Some(1), "{}", synced.stderr);
    let tables = &document(&synced)["limits"]["tables"];
    assert_eq!((&tables[0]["read"], &tables[1]["write"]), (&100.0.into(), &4.0.into()));
}

#[tokio::test]
async fn limits_that_mean_nothing_are_refused() {
    let (stage, _) = Stage::differing(20).await;
    for (arguments, text) in [
        (&["--read-capacity", "0"][..], "units per second are expected"),
        (&["--write-capacity", "120%"], "units per second are expected"),
        (&["--max-cost", "free"], "dollars are expected"),
    ] {
        let refused = stage.sync(arguments);
        assert_eq!(refused.code, Some(2), "{}", refused.stderr);
        assert!(refused.stderr.contains(text), "{}", refused.stderr);
    }
    assert_eq!(stage.sync(&["--job-id", "job"]).code, Some(1));

    let nothing = stage.programs.dynamend(&["limit", "job"]);
    let late = stage.programs.dynamend(&["limit", "job", "--read-capacity", "5"]);

    assert_eq!((nothing.code, late.code), (Some(2), Some(0)));
    assert!(nothing.stderr.contains("no limit was given"), "{}", nothing.stderr);
    assert!(late.stderr.contains("has ended already"), "{}", late.stderr);
}

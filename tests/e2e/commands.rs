//! The commands around a job: what they print, and how they exit.

use serde_json::{Value as Json, json};
use tests::process::Finished;

use crate::stage::{SLAVE, Stage, assert_reported, document, files, order_schema, orders, programs, text};

/// Three orders, of which one is missing and one differs; they have nothing that a CSV reader would trip over.
async fn small() -> Stage {
    let master = orders(3, &[("total", text("1,5")), ("state", text("open"))]);
    let mut slave = orders(2, &[("total", text("1,5")), ("state", text("open"))]);
    slave[1].insert("state".into(), text("closed"));
    slave[1].insert("total".into(), text("2"));
    let stage = Stage::of(&order_schema(), &master, &slave).await;
    assert_eq!(stage.sync(&["--job-id", "job"]).code, Some(1));
    stage
}

fn run(stage: &Stage, arguments: &[&str]) -> Finished {
    let finished = stage.programs.dynamend(arguments);
    assert!(!finished.stderr.contains("error:"), "{arguments:?}: {}", finished.stderr);
    finished
}

#[tokio::test]
async fn a_job_is_shown_by_status_and_listed_by_jobs() {
    let stage = small().await;
    stage.sync(&["--job-id", "later", "--repair"]);

    let status = document(&run(&stage, &["status", "job", "--output", "json"]));
    let jobs = document(&run(&stage, &["jobs", "--output", "json"]));

    assert_eq!(status["state"], "succeeded");
    assert_eq!(jobs["jobs"][0], status);
    assert_eq!((&jobs["jobs"][1]["job"], jobs["jobs"].as_array().map(Vec::len)), (&"later".into(), Some(2)));
    let shown = run(&stage, &["status", "job"]).stdout;
    assert!(shown.contains("job job: succeeded") && shown.contains(SLAVE), "{shown}");
    let listed = run(&stage, &["jobs"]).stdout;
    assert!(listed.lines().count() == 3 && listed.contains("us-east-1:orders -> us-east-1:copy"), "{listed}");
    assert_eq!(run(&stage, &["status", "job", "--watch"]).stdout, shown);
}

#[tokio::test]
async fn the_report_comes_in_every_format() {
    let stage = small().await;
    let report = |more: &[&str]| run(&stage, &[&["report", "job"], more].concat()).stdout;

    let lines: Vec<Json> = stage.report("job");
    let mut keys: Vec<&str> = lines.iter().filter_map(|line| line["key"]["id"]["S"].as_str()).collect();
    keys.sort_unstable();
    assert_eq!(keys, ["order-00001", "order-00002"]);
    let document: Json = serde_json::from_str(&report(&["--output", "json"])).expect("one document");
    assert_eq!(document, json!({ "job": "job", "discrepancies": lines }));
    let csv = report(&["--format", "csv"]);
    assert!(csv.starts_with("segment,slave,kind,key,attributes,outcome,reason,at\n"), "{csv}");
    assert_eq!(csv.lines().count(), 3, "{csv}");
    assert!(csv.contains(r#","{""id"":{""S"":""order-00001""}}",state total,reported,,20"#), "{csv}");
    let shown = report(&[]);
    assert_eq!(shown.lines().count(), 2, "{shown}");
    assert!(shown.contains("[state, total]  reported"), "{shown}");
}

#[tokio::test]
async fn a_report_of_equal_tables_says_so() {
    let items = orders(3, &[]);
    let stage = Stage::of(&order_schema(), &items, &items).await;
    assert_eq!(stage.sync(&["--job-id", "job"]).code, Some(0));

    assert_eq!(run(&stage, &["report", "job"]).stdout, "no discrepancies\n");
    assert_eq!(run(&stage, &["report", "job", "--format", "jsonl"]).stdout, "");
    assert_eq!(
        document(&run(&stage, &["report", "job", "--output", "json"])),
        json!({ "job": "job", "discrepancies": [] })
    );
}

#[tokio::test]
async fn commands_exit_as_the_job_would_only_when_asked() {
    let stage = small().await;

    for command in [&["status", "job"][..], &["report", "job"], &["jobs"]] {
        assert_eq!(run(&stage, command).code, Some(0), "{command:?}");
        assert_eq!(run(&stage, &[command, &["--exit-code"]].concat()).code, Some(1), "{command:?}");
    }
    stage.sync(&["--job-id", "repaired", "--repair"]);
    assert_eq!(run(&stage, &["status", "repaired", "--exit-code"]).code, Some(0));
}

#[tokio::test]
async fn a_job_that_has_ended_is_neither_cancelled_nor_resumed() {
    let stage = small().await;
    let before = files(&stage.programs.home().join(".dynamend"));

    let cancelled = run(&stage, &["cancel", "job", "--output", "json"]);
    let resumed = run(&stage, &["resume", "job", "--output", "json"]);

    assert_eq!((cancelled.code, resumed.code), (Some(0), Some(1)));
    assert!(cancelled.stderr.contains("has ended already"), "{}", cancelled.stderr);
    assert!(resumed.stderr.contains("nothing to resume"), "{}", resumed.stderr);
    assert_eq!(document(&cancelled)["state"], "succeeded");
    assert_eq!(document(&resumed), document(&cancelled));
    assert_eq!(files(&stage.programs.home().join(".dynamend")), before, "the store changed");
}

#[tokio::test]
async fn standard_output_holds_the_result_and_nothing_else() {
    let (stage, _) = Stage::differing(30).await;

    let loud = stage.sync(&["-vv", "--log-format", "json", "--output", "json"]);
    let quiet = stage.sync(&["-q", "--output", "json"]);
    let shown = stage.sync(&["--color", "never"]);

    assert_eq!(document(&loud)["state"], "succeeded");
    assert!(loud.stderr.contains("unit done"), "{}", loud.stderr);
    assert_eq!(document(&quiet)["state"], "succeeded");
    assert_eq!(quiet.stderr, "");
    assert!(shown.stdout.starts_with("job 2") && !shown.stdout.contains('\u{1b}'), "{}", shown.stdout);
}

#[tokio::test]
async fn the_environment_names_the_store_too() {
    let mut stage = small().await;
    let elsewhere = stage.programs.home().join("elsewhere").to_string_lossy().into_owned();
    stage.programs = stage.programs.with("DYNAMEND_STORE", &format!("file://{elsewhere}"));

    assert_eq!(stage.sync(&["--job-id", "job"]).code, Some(1), "the id is not taken in this store");

    assert_eq!(stage.report("job").len(), 2);
    assert!(std::path::Path::new(&elsewhere).join("jobs/job/manifest.json").exists());
}

#[test]
fn the_demo_needs_nothing_and_ends_in_agreement() {
    let programs = programs();

    let shown = programs.dynamend(&["demo"]);
    let finished = programs.dynamend(&["demo", "--output", "json"]);

    assert_eq!((shown.code, finished.code), (Some(0), Some(0)), "{}{}", shown.stderr, finished.stderr);
    assert!(shown.stdout.ends_with("The tables agree.\n"), "{}", shown.stdout);
    let demo = document(&finished);
    assert_eq!(demo["report"].as_array().map(Vec::len), Some(11));
    assert_eq!(demo["compare_again"]["slaves"][0]["identical"], 1000);
    assert!(!programs.home().join(".dynamend").exists(), "the demo leaves a store behind");
}

#[test]
fn completions_are_a_script() {
    let finished = programs().dynamend(&["completions", "bash"]);

    assert_eq!((finished.code, finished.stderr.as_str()), (Some(0), ""));
    assert!(finished.stdout.contains("--only-segments") && finished.stdout.contains("complete -F"), "no script");
}

#[test]
fn the_manual_has_a_page_for_the_program_and_one_for_each_command() {
    let finished = programs().dynamend(&["man"]);

    assert_eq!((finished.code, finished.stderr.as_str()), (Some(0), ""));
    let pages: Vec<&str> = finished.stdout.lines().filter_map(|line| line.strip_prefix(".TH ")).collect();
    assert!(pages[0].starts_with("dynamend 1"), "{pages:?}");
    for command in ["sync", "status", "resume", "report", "record", "record-diff", "completions", "man"] {
        assert!(pages.iter().any(|page| page.starts_with(&format!("dynamend-{command} 1"))), "{command}: {pages:?}");
    }
    assert!(finished.stdout.contains(r"\fB\-\-only\-segments\fR"), "the options of sync are missing");
    let described = finished.stdout.matches(".TP\n\\fB\\-\\-store\\fR").count();
    assert_eq!(described, 1, "options of every command stand on the first page, and only there");
}

#[tokio::test]
async fn a_reader_who_goes_away_is_no_error() {
    let (stage, pair) = Stage::differing(300).await;
    stage.sync(&["--job-id", "job", "--scan-for-extra"]);
    assert_reported(&stage.report("job"), SLAVE, &pair.expected);
    let script = format!("{} report job --format jsonl | head -n 1", env!("CARGO_BIN_EXE_dynamend-under-test"));
    let shell = std::process::Command::new("sh").args(["-c", &script]).current_dir(stage.programs.home()).output();

    let output = shell.expect("the shell runs");

    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    assert_eq!(output.stdout.split(|byte| *byte == b'\n').count(), 2);
}

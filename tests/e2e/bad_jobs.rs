//! Jobs that are there when they should not be, are not there when they should be, or are damaged.

use std::fs;

use crate::bad_input::{assert_failed, assert_refused};
use crate::stage::{Stage, document, files};

#[tokio::test]
async fn the_id_of_another_job_is_refused() {
    let (stage, _) = Stage::differing(20).await;
    assert_eq!(stage.sync(&["--job-id", "job"]).code, Some(1));
    let (tables, store) = (stage.tables().await, files(&stage.programs.home().join(".dynamend")));

    let finished = stage.sync(&["--job-id", "job", "--repair"]);

    assert_refused(&finished, 2, &["`job`", "--job-id", "dynamend resume job"]);
    assert_eq!(stage.tables().await, tables);
    assert_eq!(files(&stage.programs.home().join(".dynamend")), store);
}

#[tokio::test]
async fn a_job_that_is_not_there() {
    let (stage, _) = Stage::differing(5).await;
    for command in ["status", "resume", "report", "cancel"] {
        let finished = stage.programs.dynamend(&[command, "nobody"]);
        assert_refused(&finished, 3, &["`nobody`", ".dynamend/jobs/nobody", "dynamend jobs"]);
    }
    for format in ["csv", "jsonl"] {
        let finished = stage.programs.dynamend(&["report", "nobody", "--format", format]);
        assert_refused(&finished, 3, &["`nobody`"]);
    }
    assert!(!stage.programs.home().join(".dynamend").exists());
    assert_eq!(stage.programs.dynamend(&["jobs"]).code, Some(0), "a store without jobs is no mistake");
}

#[tokio::test]
async fn a_damaged_file_is_named_and_left_alone() {
    for (name, is_part) in [("checkpoint.json", false), ("manifest.json", false), (".jsonl.gz", true)] {
        let (stage, _) = Stage::differing(60).await;
        assert_eq!(stage.sync(&["--job-id", "job", "--segments", "1"]).code, Some(1));
        let home = stage.programs.home().join(".dynamend");
        // A summary that was written says how the job ended, whatever became of its checkpoints since.
        fs::remove_file(home.join("jobs/job/summary.json")).expect("it is there");
        let found = raw(&home).into_iter().find(|path| path.ends_with(name)).expect("it is there");
        let body = fs::read(&found).expect("it can be read");
        fs::write(&found, &body[..body.len() / 2]).expect("it can be written");
        let (tables, before) = (stage.tables().await, contents(&home));

        let commands: &[&[&str]] = match is_part {
            true => &[&["report", "job"], &["report", "job", "--output", "json"]],
            false => &[
                &["status", "job"],
                &["resume", "job"],
                &["report", "job"],
                &["report", "job", "--format", "csv"],
                &["report", "job", "--output", "json"],
            ],
        };
        for command in commands {
            let finished = stage.programs.dynamend(command);
            // A report is written as it is read, so that one of any size can be.
            let check = if command[0] == "report" { assert_failed } else { assert_refused };
            check(&finished, 3, &["is damaged", &found]);
        }

        assert_eq!(contents(&home), before, "{name}");
        assert_eq!(stage.tables().await, tables, "{name}");
    }
}

#[tokio::test]
async fn a_damaged_job_hides_no_other() {
    let (stage, _) = Stage::differing(5).await;
    stage.sync(&["--job-id", "one"]);
    stage.sync(&["--job-id", "two"]);
    fs::write(stage.programs.home().join(".dynamend/jobs/one/manifest.json"), "{").expect("it can be written");

    let listed = stage.programs.dynamend(&["jobs", "--output", "json"]);

    assert_eq!(listed.code, Some(0), "{}", listed.stderr);
    let jobs = document(&listed);
    assert!(jobs["jobs"][0]["error"].as_str().is_some_and(|error| error.contains("is damaged")), "{jobs}");
    assert_eq!(jobs["jobs"][1]["state"], "succeeded");
    assert_eq!(stage.programs.dynamend(&["jobs", "--exit-code"]).code, Some(3));
}

/// The paths of all files in a folder, but for the locks of the store.
fn raw(folder: &std::path::Path) -> Vec<String> {
    let entries = fs::read_dir(folder).expect("the folder can be listed");
    let paths = entries.map(|entry| entry.expect("the folder can be listed").path());
    paths
        .filter(|path| !path.ends_with(".locks"))
        .flat_map(|path| if path.is_dir() { raw(&path) } else { vec![path.to_string_lossy().into_owned()] })
        .collect()
}

fn contents(folder: &std::path::Path) -> Vec<(String, Vec<u8>)> {
    let mut all: Vec<_> =
        raw(folder).into_iter().map(|path| (path.clone(), fs::read(path).expect("it can be read"))).collect();
    all.sort();
    all
}

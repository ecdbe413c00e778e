//! What must be true when a job has ended, whatever happened on the way.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value as Json;

use super::plan::{Policy, What};
use super::stage::{JOB, MASTER, Stage, label, slave_name};
use super::zombies;
use crate::oracle::{Differences, brute_force, key_text_of_json};
use crate::proxy::{Effect, Question, Record};

/// Everything about tables, report, counts and writes; what is wrong, if anything.
pub(super) async fn all(stage: &Stage) -> Vec<String> {
    let mut problems = Vec::new();
    let expected: Vec<Differences> =
        stage.slaves.iter().map(|slave| brute_force(&stage.master, slave, &stage.plan.schema)).collect();
    check_tables(stage, &mut problems).await;
    let report = report(stage, &mut problems);
    let record = stage.proxy.record();
    for (slave, expected) in expected.iter().enumerate() {
        check_report(stage, &report, slave, expected, &mut problems);
        check_writes(stage, &record, slave, expected, &mut problems);
    }
    let slaves: BTreeSet<String> = (0..stage.plan.slaves).map(slave_name).collect();
    let mut writes = record.asked.iter().filter(|asked| asked.what == Question::Write);
    if let Some(other) = writes.find(|asked| !slaves.contains(&asked.table)) {
        problems.push(format!("something else than a slave was written to: {other:?}"));
    }
    check_counts(stage, &expected, &mut problems).await;
    problems.extend(zombies::find(stage, &record, &report));
    if stage.plan.is_undone() && problems.is_empty() {
        check_undo(stage, &mut problems).await;
    }
    problems
}

/// A repair that kept the old images is undone, and the slaves are as they were, however often its workers died.
async fn check_undo(stage: &Stage, problems: &mut Vec<String>) {
    let finished = stage.look(&["undo", JOB]);
    if finished.code != Some(0) {
        problems.push(format!("undo exits {:?}: {}{}", finished.code, finished.stdout, finished.stderr));
    }
    for (number, before) in stage.slaves.iter().enumerate() {
        let slave = stage.server.read_all(&slave_name(number)).await;
        let differences = brute_force(before, &slave, &stage.plan.schema);
        if !differences.is_empty() {
            problems.push(format!("slave {number} is not as it was before the repair: {differences:?}"));
        }
    }
}

/// Whether every process ended as a program should.
pub(super) fn processes(stage: &Stage) -> Vec<String> {
    let mut problems = Vec::new();
    for end in &stage.ends {
        if end.stderr.contains("panicked") {
            problems.push(format!("something panicked: {}", end.title()));
        }
        let silent = end.stdout.is_empty();
        if end.name.ends_with("worker") && !silent {
            problems.push(format!("a worker wrote to standard output: {}", end.title()));
        }
    }
    problems
}

async fn check_tables(stage: &Stage, problems: &mut Vec<String>) {
    let schema = &stage.plan.schema;
    let master = stage.server.read_all(MASTER).await;
    if !brute_force(&stage.master, &master, schema).is_empty() {
        problems.push("the master was changed".to_owned());
    }
    for (number, before) in stage.slaves.iter().enumerate() {
        let slave = stage.server.read_all(&slave_name(number)).await;
        let (wanted, what) = match stage.plan.policy {
            Policy::Repair => (&master, "differs from the master still"),
            Policy::DryRun => (before, "was changed by a dry run"),
        };
        let differences = brute_force(wanted, &slave, schema);
        if !differences.is_empty() {
            problems.push(format!("slave {number} {what}: {differences:?}"));
        }
    }
}

fn report(stage: &Stage, problems: &mut Vec<String>) -> Vec<Json> {
    let finished = stage.look(&["report", "--format", "jsonl", JOB]);
    if finished.code != Some(0) {
        problems.push(format!("`report` exits with {:?}: {}", finished.code, finished.stderr));
    }
    finished.stdout.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

/// Each discrepancy once, of the right kind, with the outcome it must have; and no other.
fn check_report(stage: &Stage, report: &[Json], slave: usize, expected: &Differences, problems: &mut Vec<String>) {
    let label = label(&slave_name(slave));
    let mut wanted = BTreeMap::new();
    let repairs = stage.plan.policy == Policy::Repair;
    let mut want = |key: &String, kind: &'static str, outcome: &'static str| {
        wanted.insert(key.clone(), (kind, if repairs { outcome } else { "reported" }));
    };
    expected.missing.iter().for_each(|key| want(key, "missing", "written"));
    expected.differing.keys().for_each(|key| want(key, "differing", "written"));
    expected.extra.iter().for_each(|key| want(key, "extra", "deleted"));
    for line in report.iter().filter(|line| line["slave"] == label.as_str()) {
        let key = key_text_of_json(&line["key"]);
        match wanted.remove(&key) {
            None => problems.push(format!("reported twice, or for nothing: {line}")),
            Some((kind, outcome)) => {
                let has_paths = line["attributes"].as_array().is_some_and(|paths| !paths.is_empty());
                let fits = line["kind"] == kind && line["outcome"] == outcome && line["reason"].is_null();
                if !fits || has_paths != (kind == "differing") {
                    problems.push(format!("not {kind} and {outcome}: {line}"));
                }
            }
        }
    }
    problems.extend(wanted.iter().map(|(key, what)| format!("not reported on {label}: {key}, {what:?}")));
}

/// Each discrepancy was repaired by one write that took effect, and nothing else was written; in a dry run, nothing
/// was even asked for.
fn check_writes(stage: &Stage, record: &Record, slave: usize, expected: &Differences, problems: &mut Vec<String>) {
    let name = slave_name(slave);
    let mut wanted = BTreeMap::new();
    if stage.plan.policy == Policy::Repair {
        let puts = expected.missing.iter().chain(expected.differing.keys()).map(|key| (key.clone(), Effect::Put));
        wanted.extend(puts.chain(expected.extra.iter().map(|key| (key.clone(), Effect::Deleted))));
    }
    let asked = record.asked.iter().filter(|asked| asked.what == Question::Write && asked.table == name);
    if stage.plan.policy == Policy::DryRun {
        problems.extend(asked.map(|asked| format!("a dry run asks for a write: {asked:?}")));
    }
    for written in record.written.iter().filter(|written| written.table == name) {
        if wanted.remove(&written.key) != Some(written.effect) {
            problems.push(format!("written twice, or for nothing: {written:?}"));
        }
    }
    problems.extend(wanted.iter().map(|(key, effect)| format!("never written to {name}: {key}, {effect:?}")));
}

async fn check_counts(stage: &Stage, expected: &[Differences], problems: &mut Vec<String>) {
    let finished = stage.look(&["status", JOB, "--output", "json", "--exit-code"]);
    let remain = stage.plan.policy == Policy::DryRun && expected.iter().any(|expected| !expected.is_empty());
    let code = Some(i32::from(remain));
    if finished.code != code {
        problems.push(format!("`status --exit-code` exits with {:?} and not {code:?}", finished.code));
    }
    let interrupted = |happened: &[What]| happened.iter().any(|what| matches!(what, What::Terminate | What::Interrupt));
    if let Some(last) = stage.ends.iter().rev().find(|end| end.name.ends_with("coordinator"))
        && stage.queue.is_none()
        && last.code != code
        && !interrupted(&last.happened)
    {
        problems.push(format!("the job's last process did not exit with {code:?}: {}", last.title()));
    }
    let Ok(status) = serde_json::from_str::<Json>(&finished.stdout) else {
        problems.push(format!("`status` gives no document: {}{}", finished.stdout, finished.stderr));
        return;
    };
    if stage.queue.is_some() && stage.summary().await.as_ref() != Some(&status) {
        problems.push(format!("summary.json is not what `status` says: {:?}, {status}", stage.summary().await));
    }
    if status["state"] != "succeeded" || status["units"]["done"] != status["units"]["total"] {
        problems.push(format!("the job has not succeeded: {status}"));
    }
    let repairs = stage.plan.policy == Policy::Repair;
    for (number, expected) in expected.iter().enumerate() {
        let counts = &status["slaves"][number];
        let (missing, differing) = (expected.missing.len(), expected.differing.len());
        let compared = stage.master.len();
        let wanted = [
            ("compared", compared),
            ("identical", compared - missing - differing),
            ("missing", missing),
            ("differing", differing),
            ("extra", expected.extra.len()),
            ("written", if repairs { missing + differing } else { 0 }),
            ("deleted", if repairs { expected.extra.len() } else { 0 }),
            ("healed", 0),
            ("skipped", 0),
            ("failed", 0),
        ];
        for (name, wanted) in wanted {
            if counts[name] != wanted {
                problems.push(format!("slave {number}: {name} is {} and not {wanted}", counts[name]));
            }
        }
    }
}

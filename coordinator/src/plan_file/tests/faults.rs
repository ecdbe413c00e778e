//! What is wrong with plans, and where.

use super::*;
use crate::failure::Exit;

const GOOD: &str = "plan: [{input: {table: orders, region: us-west-2}, output: {table: copy}}]";

#[test]
fn what_is_wrong_with_the_whole_is_told_with_its_place() {
    for (text, line, column, what) in [
        ("", 1, 1, "the file is empty"),
        ("- input", 1, 1, "this has to be a mapping, not a list"),
        ("concurrency: 2", 1, 1, "`plan` is missing"),
        ("plan:", 1, 1, "`plan` is empty"),
        ("plan: []", 1, 1, "`plan` is empty"),
        ("plan: {input: 1}", 1, 7, "`plan` has to be a list, not a mapping"),
        ("plan: [1]", 1, 8, "not `1`"),
        (&format!("plam: []\n{GOOD}"), 1, 1, "there is no field `plam`"),
        (&format!("{GOOD}\n{GOOD}"), 2, 1, "`plan` is here for the second time; the first is in line 1"),
        (&format!("concurrency: 0\n{GOOD}"), 1, 14, "`concurrency` has to be a number from 1 to 1024, not `0`"),
        (&format!("{GOOD}\nparallel: many"), 2, 11, "`parallel` has to be a number from 1 to 1024, not `many`"),
    ] {
        expect(text, line, column, what);
    }
}

#[test]
fn what_is_wrong_with_tables_is_told_with_its_place() {
    for (text, line, column, what) in [
        ("plan:\n  - output: {table: copy}", 2, 5, "`input` is missing"),
        ("plan:\n  - input: {table: orders, region: us-west-2}", 2, 5, "`output` is missing"),
        ("plan:\n  - input: {table: orders}\n    output: {table: copy}", 2, 5, "`input.region` is missing"),
        ("plan:\n  - input: {region: us-west-2}\n    output: {table: copy}", 2, 5, "`input.table` is missing"),
        (
            "plan:\n  - input: {table: '', region: us-west-2}\n    output: {table: copy}",
            2,
            5,
            "`input.table` is missing",
        ),
        (
            "plan:\n  - input: {table: [a], region: us-west-2}\n    output: {}",
            2,
            20,
            "`input.table` has to be a text, not a list",
        ),
        (
            "plan:\n  - input: {table: a, region: us-west-2}\n    output: {table: copy}",
            2,
            20,
            "`us-west-2:a` names no table",
        ),
        ("plan:\n  - input: {table: orders, region: us_west}\n    output: {table: copy}", 2, 36, "the region"),
        (
            "plan:\n  - input: {table: orders, region: local}\n    output: {table: copy}",
            2,
            36,
            "`local` is no AWS region",
        ),
        ("plan:\n  - input: {table: 'eu-west-1:orders', region: us-west-2}\n    output: {}", 2, 48, "leave"),
        ("plan:\n  - input: {table: 'arn:aws:s3:::b', region: us-west-2}\n    output: {}", 2, 20, "an ARN is expected"),
        (
            "plan:\n  - input: {table: orders, region: us-west-2}\n    output: {}",
            3,
            5,
            "input and output are the same table",
        ),
        (
            "plan:\n  - input: {table: orders, region: us-west-2}\n    output:\n",
            3,
            5,
            "input and output are the same table",
        ),
        (
            "plan:\n  - input: {table: orders, region: us-west-2}\n    output: {tabel: copy}",
            3,
            14,
            "`output` has no field `tabel`",
        ),
        (
            "plan:\n  - input: {table: orders, region: us-west-2}\n    output: copy",
            3,
            13,
            "`output` has to be a mapping, not `copy`",
        ),
        (
            "plan:\n  - input: {table: orders, region: us-west-2}\n    outputs: []",
            3,
            14,
            "`outputs` has to be a list of tables",
        ),
        (
            "plan:\n  - input: {table: orders, region: us-west-2}\n    outputs: [{table: copy}, {table: copy}]",
            3,
            30,
            "two outputs are the same table",
        ),
        (
            "plan:\n  - input: {table: orders, region: us-west-2}\n    output: {}\n    outputs: [{table: copy}]",
            4,
            5,
            "both `output` and `outputs`",
        ),
    ] {
        expect(text, line, column, what);
    }
    for (field, what) in [
        ("role_arn: admin", "`input.role_arn` is `admin`, and that is no role"),
        ("external_id: abc", "`input.external_id` is here without a role"),
        ("endpoint_url: localhost:8000", "`input.endpoint_url` is `localhost:8000`, and that is no address"),
        ("endpoint_url: 'http://'", "and that is no address"),
    ] {
        let text =
            format!("plan:\n  - input: {{table: orders, region: us-west-2, {field}}}\n    output: {{table: copy}}");
        expect(&text, 2, 49 + field.find(": ").unwrap_or_default(), what);
    }
}

#[test]
fn what_is_wrong_with_steps_is_told_with_its_place() {
    for (more, line, column, what) in [
        ("backfil: {}", 4, 5, "there is no field `backfil`"),
        ("backfill: {disabled: maybe}", 4, 26, "`backfill.disabled` has to be true or false, not `maybe`"),
        ("backfill: {disabled: 'true'}", 4, 26, "not the text `true`"),
        (
            "backfill: {total_segments: -1}",
            4,
            32,
            "`backfill.total_segments` has to be a number from 0 to 1000000, not `-1`",
        ),
        ("backfill: {total_segments: 1000001}", 4, 32, "not `1000001`"),
        ("backfill: {segments: [0]}", 4, 26, "means nothing without their number"),
        (
            "backfill: {segments: [0, 4], total_segments: 4}",
            4,
            26,
            "there is no segment 4 where `backfill.total_segments` is 4",
        ),
        (
            "backfill: {segments: [0, x], total_segments: 4}",
            4,
            30,
            "a list of segments such as [0, 1] or 0,3,8-15, not `x`",
        ),
        ("backfill: {segments: {}, total_segments: 4}", 4, 26, "not a mapping"),
        ("backfill: {segments: [], total_segments: 4}", 4, 26, "not a list"),
        ("backfill: {segments: 3-1, total_segments: 4}", 4, 26, "not `3-1`"),
        ("backfill: {segments: [0], total_segments: 4}", 2, 5, "the stream has to be disabled"),
        ("stream: {}\nbackfill: {segments: [0], total_segments: 4}", 4, 5, "the stream has to be disabled"),
        ("sync: {}\nbackfill: {segments: [0], total_segments: 4}", 4, 5, "whole tables are compared"),
        ("stream: {from: yesterday}", 4, 20, "trim-horizon, latest or a time"),
        ("stream: {until_caught_up: soon}", 4, 31, "a number from 5 to 86400, not `soon`"),
        ("stream: {until_caught_up: 4}", 4, 31, "a number from 5 to 86400, not `4`"),
        ("stream: {kinesis: orders}", 4, 23, "that is no Kinesis data stream"),
        ("sync: {}\nstream: {}", 4, 5, "this never gets its turn"),
        ("verify: true", 4, 13, "this never gets its turn"),
        ("verify: {}", 4, 13, "`verify` has to be true or false, not a mapping"),
        ("sync: {ignore: {a: b}}", 4, 20, "`sync.ignore` has to be a list of texts, not a mapping"),
        ("sync: {repare: true}", 4, 12, "`sync` has no field `repare`"),
        ("sync: true", 4, 11, "`sync` has to be a mapping, not `true`"),
        ("sync: {disabled: true}", 2, 5, "there is nothing to do"),
        ("backfill: {disabled: true}\nstream: {disabled: true}", 2, 5, "there is nothing to do"),
        ("read_capacity: fast", 4, 20, "`read_capacity` has to be units per second"),
        ("write_capacity: 0", 4, 21, "`write_capacity` has to be units per second"),
        ("name: [a]", 4, 11, "`name` has to be a text, not a list"),
    ] {
        expect(&entry(more), line, column, what);
    }
}

/// Expects this fault and no other; what a text breaks once is not told twice.
fn expect(text: &str, line: usize, column: usize, what: &str) {
    let found = faults(text);
    let matches = |fault: &Fault| {
        let said = format!("{} {}", fault.message, fault.hint.as_deref().unwrap_or_default());
        fault.place == Place { line, column } && said.contains(what)
    };
    assert!(found.iter().any(matches), "{text}\n{found:#?}");
    assert_eq!(found.len(), 1, "{text}\n{found:#?}");
}

#[test]
fn all_errors_of_all_entries_come_in_one_message() {
    let text = "\
concurrency: none
plan:
  - name: a
    input: {table: orders}
    output: {table: copy}
    verify: maybe
    backfill: {disabled: 1, total_segments: -1}
  - input: {table: lines, region: us-west-2, role: x}
    output: {}
    backfill: {segments: [9], total_segments: 4}
  - name: a
    input: {table: orders, region: us-west-2}
    output: {table: copy}
  - name: a
    input: {table: orders, region: us-west-2}
    output: {table: copy}
  - 3
";
    let bad = PlanFile::parse(text.as_bytes(), &Defaults::default()).unwrap_err();
    let failure = bad.failure("plan.yaml");

    assert_eq!(failure.exit, Exit::Usage);
    let heads: Vec<&str> = failure.message.lines().filter(|line| line.starts_with("  plan.yaml:")).collect();
    for (head, start) in heads.iter().zip([
        "  plan.yaml:1:14: `concurrency` has to be",
        "  plan.yaml:4:5: entry 1 (a): `input.region` is missing",
        "  plan.yaml:6:13: entry 1 (a): `verify` has to be true or false, not `maybe`",
        "  plan.yaml:7:26: entry 1 (a): `backfill.disabled` has to be true or false, not `1`",
        "  plan.yaml:7:45: entry 1 (a): `backfill.total_segments` has to be",
        "  plan.yaml:8:46: entry 2 (lines): `input` has no field `role`",
        "  plan.yaml:9:5: entry 2 (lines): input and output are the same table",
        "  plan.yaml:10:26: entry 2 (lines): there is no segment 9",
        "  plan.yaml:14:11: entry 4 (a): entry 3 is called `a` as well",
        "  plan.yaml:17:5: entry 5: this has to be a mapping",
    ]) {
        assert!(head.starts_with(start), "{start}\n{}", failure.message);
    }
    assert_eq!(heads.len(), 10, "{}", failure.message);
}

#[test]
fn a_plan_is_loaded_from_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("plan.yaml");
    std::fs::write(&path, DDB_SYNC).unwrap();

    assert_eq!(PlanFile::load(&path, &Defaults::default()).unwrap().entries.len(), 2);
    std::fs::write(&path, "plan:").unwrap();
    let failure = PlanFile::load(&path, &Defaults::default()).unwrap_err();
    assert!(failure.message.contains("plan.yaml:1:1: `plan` is empty"), "{}", failure.message);
    let failure = PlanFile::load(&folder.path().join("none"), &Defaults::default()).unwrap_err();
    assert!(failure.exit == Exit::Usage && failure.message.contains("cannot be read"));
}

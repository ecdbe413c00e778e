//! What plans mean.

use std::time::Duration;

use shared::domain::decide::{ExtraHandling, Handling};
use shared::domain::job::OldImages;
use shared::domain::limits::Capacity;

use super::*;

mod any_bytes;
mod faults;

/// The example of ddb-sync's README.
const DDB_SYNC: &str = "\
---
plan:
- input:
    table: ddb-sync-source
    region: us-west-2
    role_arn: arn:aws:iam::<account_num>:role/ddb-sync-READ_ONLY_SOURCE
  output:
    table: ddb-sync-dest
    region: us-east-2
    role_arn: arn:aws:iam::<account_num>:role/ddb-sync_WRITE_ONLY_DEST
  stream:
    disabled: true
  backfill:
    disabled: false
    segments: 0,1,2 # This is 0-indexed, 0 through 3 are valid in this case
    total_segments: 4
- input:
    table: ddb-sync-source-2
    region: us-west-2
    role_arn: arn:aws:iam::<account_num>:role/ddb-sync-READ_ONLY_SOURCE
  output:
    table: ddb-sync-dest-2
    region: us-east-2
    role_arn: arn:aws:iam::<account_num>:role/ddb-sync_WRITE_ONLY_DEST
";

/// Everything that is ours.
const OURS: &str = r#"
concurrency: 4
parallel: 32
plan:
  - name: orders
    input: {table: orders, region: us-west-2, profile: reader, endpoint_url: "http://localhost:8000"}
    outputs:
      - {region: us-east-2}
      - {table: "eu-west-1:orders"}
      - table: arn:aws:dynamodb:eu-west-1:123456789012:table/orders
        role_arn: arn:aws:iam::123456789012:role/writer
        external_id: abc
    backfill: {total_segments: 8, only_missing: yes}
    stream:
      from: 2026-11-20T23:15:00Z
      until_caught_up: 60
      kinesis: arn:aws:kinesis:us-west-2:123456789012:stream/orders
      version_attribute: version
    sync: {repair: true, ignore: [updatedAt, meta.seen], version_attribute: version, undo: true}
    verify: true
    read_capacity: 500
    write_capacity: 20%
"#;

fn parsed(text: &str) -> PlanFile {
    PlanFile::parse(text.as_bytes(), &Defaults::default()).unwrap_or_else(|bad| panic!("{}", bad.failure("f").message))
}

fn faults_with(text: &str, defaults: &Defaults<'_>) -> Vec<Fault> {
    PlanFile::parse(text.as_bytes(), defaults).map_or_else(|bad| bad.faults, |plan| panic!("{plan:?}"))
}

fn faults(text: &str) -> Vec<Fault> {
    faults_with(text, &Defaults::default())
}

/// An entry with two good tables; `more` follows in lines of its own, from line 4 on.
fn entry(more: &str) -> String {
    let more: String = more.lines().map(|line| format!("    {line}\n")).collect();
    format!("plan:\n  - input: {{table: orders, region: us-west-2}}\n    output: {{table: copy}}\n{more}")
}

fn steps(more: &str) -> Vec<Step> {
    parsed(&entry(more)).entries.swap_remove(0).steps
}

fn tables(plan: &PlanFile) -> Vec<(String, Vec<String>)> {
    let text = |side: &Side| side.table.to_string();
    plan.entries.iter().map(|entry| (text(&entry.input), entry.outputs.iter().map(text).collect())).collect()
}

#[test]
fn a_plan_of_ddb_sync_means_what_it_meant() {
    let plan = parsed(DDB_SYNC);

    assert_eq!((plan.concurrency, plan.parallel), (None, None));
    assert_eq!(
        tables(&plan),
        [
            ("us-west-2:ddb-sync-source".to_owned(), vec!["us-east-2:ddb-sync-dest".to_owned()]),
            ("us-west-2:ddb-sync-source-2".to_owned(), vec!["us-east-2:ddb-sync-dest-2".to_owned()]),
        ]
    );
    let [first, second] = plan.entries.as_slice() else { panic!("{plan:?}") };
    let role = |side: &Side| side.access.role_arn.clone().unwrap_or_default();
    assert!(role(&first.input).ends_with("READ_ONLY_SOURCE") && role(&first.outputs[0]).ends_with("WRITE_ONLY_DEST"));
    let backfill =
        Backfill { total_segments: Some(4), only_segments: Some(SegmentSet::of(0..3)), existing: Existing::Overwrite };
    assert_eq!(first.steps, [Step::Backfill(backfill)]);
    assert_eq!(second.steps, [Step::Backfill(Backfill::default()), Step::Stream(Stream::default())]);
    assert_eq!((first.place.line, second.place.line), (3, 17));
    assert_eq!(first.name, "us-west-2:ddb-sync-source -> us-east-2:ddb-sync-dest");
}

#[test]
fn the_editor_and_the_notation_make_no_difference() {
    let plain = parsed(DDB_SYNC);

    assert_eq!(parsed(&DDB_SYNC.replace('\n', "\r\n")), plain);
    assert_eq!(parsed(&format!("\u{feff}{DDB_SYNC}")), plain);
    let json = r#"{"plan": [{"input": {"table": "orders", "region": "us-west-2"}, "output": {"table": "copy"}}]}"#;
    assert_eq!(parsed(json).entries[0].steps, parsed(&entry("")).entries[0].steps);
}

#[test]
fn our_own_fields_become_typed_steps() {
    let plan = parsed(OURS);

    assert_eq!((plan.concurrency, plan.parallel), (Some(4), Some(32)));
    let arn = "arn:aws:dynamodb:eu-west-1:123456789012:table/orders";
    let outputs = ["us-east-2:orders", "eu-west-1:orders", arn].map(str::to_owned).to_vec();
    assert_eq!(tables(&plan), [("us-west-2:orders".to_owned(), outputs)]);
    let entry = &plan.entries[0];
    assert_eq!(entry.name, "orders");
    assert_eq!(entry.input.access.profile.as_deref(), Some("reader"));
    assert_eq!(entry.input.access.endpoint_url.as_deref(), Some("http://localhost:8000"));
    assert_eq!(entry.outputs[0].access, shared::domain::job::Access::default());
    assert_eq!(entry.outputs[2].access.external_id.as_deref(), Some("abc"));
    assert_eq!(
        (entry.read_capacity, entry.write_capacity),
        (Some(Capacity::Units(500.0)), Some(Capacity::Percent(20.0)))
    );
    let ignore = vec!["updatedAt".to_owned(), "meta.seen".to_owned()];
    let version_attribute = Some("version".to_owned());
    assert_eq!(
        entry.steps,
        [
            Step::Backfill(Backfill { total_segments: Some(8), only_segments: None, existing: Existing::Leave }),
            Step::Stream(Stream {
                from: StreamFrom::Time("2026-11-20T23:15:00Z".parse().unwrap()),
                end: StreamEnd::CaughtUp { within: Duration::from_secs(60) },
                kinesis: Some("arn:aws:kinesis:us-west-2:123456789012:stream/orders".to_owned()),
                version_attribute: version_attribute.clone(),
            }),
            Step::Sync(Sync {
                policy: Policy { missing: Handling::Repair, differing: Handling::Repair, extra: ExtraHandling::Delete },
                ignore: ignore.clone(),
                version_attribute,
                old_images: OldImages::Keep,
            }),
            Step::Verify { ignore },
        ]
    );
}

#[test]
fn backfill_and_stream_are_done_unless_disabled_but_beside_sync_only_what_is_named() {
    let kinds = |more: &str| -> Vec<&'static str> { steps(more).iter().map(|step| step.kind().name()).collect() };
    assert_eq!(kinds(""), ["backfill", "stream"]);
    assert_eq!(kinds("backfill:\nstream:"), ["backfill", "stream"]);
    assert_eq!(kinds("backfill: {disabled: true}"), ["stream"]);
    assert_eq!(kinds("stream: {disabled: on}"), ["backfill"]);
    assert_eq!(kinds("sync:"), ["sync"]);
    assert_eq!(kinds("sync: {}\nbackfill:"), ["backfill", "sync"]);
    assert_eq!(kinds("sync: {disabled: true}\nbackfill:"), ["backfill"]);
    assert_eq!(kinds("stream: {disabled: true}\nverify: true"), ["backfill", "verify"]);
    assert_eq!(kinds("verify: false\nstream: {disabled: false}"), ["backfill", "stream"]);
    assert_eq!(kinds("sync: {}\nstream: {until_caught_up: 5}"), ["stream", "sync"]);
}

#[test]
fn comparisons_have_the_settings_of_the_command_sync() {
    let repair = Policy { missing: Handling::Repair, differing: Handling::Repair, extra: ExtraHandling::Delete };
    let steps = steps("sync: {repair: true, ignore: a, version_attribute: v, undo: true}\nverify: true\nbackfill:");
    let settings: Vec<Option<SyncSettings>> = steps.iter().map(Step::comparison).collect();

    let sync = SyncSettings {
        policy: repair,
        ignore: vec!["a".to_owned()],
        version_attribute: Some("v".to_owned()),
        old_images: OldImages::Keep,
        ..SyncSettings::default()
    };
    let looks = Policy { missing: Handling::Report, differing: Handling::Report, extra: ExtraHandling::Report };
    let verify = SyncSettings { policy: looks, ignore: vec!["a".to_owned()], ..SyncSettings::default() };
    assert_eq!(settings, [None, Some(sync), Some(verify)]);
}

#[test]
fn segments_are_written_as_a_list_or_as_a_text() {
    for text in ["[0, 1, 2, 5]", "0,1,2,5", "\"0, 1,2,5\"", "0-2,5", "[5, 2, 1, 0, 0]"] {
        let steps = steps(&format!("stream: {{disabled: true}}\nbackfill:\n  total_segments: 6\n  segments: {text}"));
        let [Step::Backfill(Backfill { only_segments: Some(set), .. })] = steps.as_slice() else { panic!("{steps:?}") };
        assert_eq!(set.to_string(), "0-2,5", "{text}");
    }
    let whole = steps("backfill: {total_segments: 0}\nstream: {disabled: true}");
    assert_eq!(whole, [Step::Backfill(Backfill::default())]);
}

#[test]
fn a_stream_begins_where_it_is_told_to() {
    for (text, from) in [
        ("trim-horizon", StreamFrom::TrimHorizon),
        ("TRIM_HORIZON", StreamFrom::TrimHorizon),
        ("latest", StreamFrom::Latest),
        ("2026-11-20T23:15:00+01:00", StreamFrom::Time("2026-11-20T22:15:00Z".parse().unwrap())),
    ] {
        let steps = steps(&format!("stream: {{from: {text}}}"));
        assert_eq!(steps[1], Step::Stream(Stream { from, ..Stream::default() }));
    }
}

#[test]
fn what_the_file_leaves_out_comes_from_the_command_line() {
    let defaults = Defaults {
        region: Some("eu-west-1"),
        profile: Some("ops"),
        endpoint_url: Some("http://localhost:1"),
        ..Defaults::default()
    };
    let text = "plan: [{input: {table: orders}, output: {table: copy, profile: other, endpoint_url: 'https://two'}}]";
    let plan = PlanFile::parse(text.as_bytes(), &defaults).unwrap();

    assert_eq!(tables(&plan), [("eu-west-1:orders".to_owned(), vec!["eu-west-1:copy".to_owned()])]);
    let access = |side: &Side| (side.access.profile.clone(), side.access.endpoint_url.clone());
    let some = |profile: &str, url: &str| (Some(profile.to_owned()), Some(url.to_owned()));
    assert_eq!(access(&plan.entries[0].input), some("ops", "http://localhost:1"));
    assert_eq!(access(&plan.entries[0].outputs[0]), some("other", "https://two"));

    let fleet = Defaults { workers: Workers::Fleet, ..defaults };
    let found = faults_with(text, &fleet);
    assert!(found[0].message.contains("workers do not know the profiles"), "{found:?}");
    let plan = PlanFile::parse(text.replace("profile: other, ", "").as_bytes(), &fleet).unwrap();
    assert_eq!(plan.entries[0].input.access.profile, None);
}

#[test]
fn tables_of_the_same_name_and_region_differ_by_role_profile_or_endpoint() {
    for other in
        ["role_arn: 'arn:aws:iam::1:role/r'", "profile: p", "endpoint_url: 'http://localhost:1'", "region: us-west-1"]
    {
        parsed(&format!("plan: [{{input: {{table: orders, region: us-west-2}}, output: {{{other}}}}}]"));
    }
}

#[test]
fn entries_with_the_same_tables_are_told_apart() {
    let one = entry("backfill: {segments: [0], total_segments: 2}\nstream: {disabled: true}");
    let two = one.trim_start_matches("plan:\n").replace("[0]", "[1]");
    let plan = parsed(&format!("{one}{two}{two}"));

    let names: Vec<&str> = plan.entries.iter().map(|entry| entry.name.as_str()).collect();
    let name = "us-west-2:orders -> us-west-2:copy";
    assert_eq!(names, [name.to_owned(), format!("{name} #2"), format!("{name} #3")]);
}

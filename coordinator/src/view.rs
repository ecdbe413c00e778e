//! Summaries and discrepancies as text for people.

use shared::domain::backup::{BackupSummary, BackupTally};
use shared::domain::discrepancy::Discrepancy;
use shared::domain::job::{Covers, JobKind};
use shared::domain::limits::{Direction, Limits};
use shared::domain::rejected::Rejected;
use shared::domain::sample::Estimate;
use shared::domain::summary::{JobState, Replication, SampleSummary, SlaveSummary, StoppedBy, Summary};
use shared::domain::tally::{Consumed, StreamTally};

use crate::figures::grouped;

/// A job's summary in a few lines.
#[must_use]
pub fn summary(summary: &Summary) -> String {
    let Summary { job, state, units, slaves, scanned, consumed, estimated, sample, .. } = summary;
    let Summary { started_at, updated_at, ended_at, errors, .. } = summary;
    let mut lines = vec![format!(
        "job {job}: {}; {} of {} units done{}{}",
        state.name(),
        units.done,
        units.total,
        nonzero(", ", units.running, " running"),
        nonzero(", ", units.failed, " failed"),
    )];
    let width = slaves.iter().map(|slave| slave.table.len()).max().unwrap_or(0).max("slave".len());
    lines.push(String::new());
    let columns: &[Column] = match summary.kind {
        JobKind::Sync => &COLUMNS,
        JobKind::Verify => &COLUMNS[..4],
        JobKind::Backfill
        | JobKind::Replicate
        | JobKind::Backup
        | JobKind::Incremental
        | JobKind::Snapshot
        | JobKind::Restore => &COPY_COLUMNS,
    };
    if !slaves.is_empty() {
        let names: Vec<String> = columns.iter().map(|(name, _)| (*name).to_owned()).collect();
        lines.push(row(width, if summary.backup.is_some() { "table" } else { "slave" }, &names));
    }
    for slave in slaves {
        let counts: Vec<String> = columns.iter().map(|(_, value)| grouped(value(slave))).collect();
        lines.push(row(width, &slave.table, &counts));
    }
    lines.extend(summary.backup.iter().flat_map(|of_backup| backup(summary.kind, of_backup)));
    lines.extend(sample.iter().flat_map(|sample| estimates(width, sample)));
    lines.push(String::new());
    let mut total = Consumed::default();
    consumed.values().for_each(|consumed| total.add(*consumed));
    let estimate = estimated.as_ref().map(|tables| tables.values().map(|table| table.read).sum::<f64>());
    lines.push(format!(
        "{} items scanned; {:.1} read units consumed{}; {:.1} write units consumed",
        grouped(scanned.values().sum()),
        total.read,
        estimate.map_or_else(String::new, |read| format!(" (the estimate was {read:.1})")),
        total.write
    ));
    lines.push(match ended_at {
        Some(ended_at) => format!("started {started_at}, ended {ended_at}"),
        None => format!("started {started_at}, last moved {updated_at}"),
    });
    for slave in slaves {
        let what = [
            (slave.unstable, "unstable: the master kept changing, so nobody can tell"),
            (slave.expired, "expired: only one side has them, and their time to live has passed"),
        ];
        for (count, what) in what.into_iter().filter(|(count, _)| *count > 0) {
            lines.push(format!("{}: {} {what}", slave.table, counted(count, "item")));
        }
    }
    lines.extend(summary.replication.iter().flat_map(|replication| following(summary, replication)));
    lines.extend(summary.limits.as_ref().map(|limits| format!("limits: {}", limits_line(limits))));
    lines.extend(summary.stopped_by.map(|StoppedBy::MaxCost| out_of_money(summary)));
    for slave in slaves.iter().filter(|slave| slave.gave_way > 0) {
        lines.push(format!(
            "{} of {} gave up on the paired scan and looked its keys up instead: its scan did not follow the master's",
            counted(slave.gave_way, "segment"),
            slave.table
        ));
    }
    for error in errors {
        lines.push(format!("failed: {} segment {}: {}", error.pass, error.segment, error.error));
    }
    lines.join("\n")
}

/// What a backup got, or what was met in one.
fn backup(kind: JobKind, summary: &BackupSummary) -> Vec<String> {
    let BackupSummary { at, counted: of_backup } = summary;
    let BackupTally { items, bytes, stored_bytes, objects, blank, foreign, vanished, superseded, damaged } = *of_backup;
    let mut lines = vec![match kind {
        JobKind::Backup | JobKind::Snapshot => format!(
            "{at}: {} in {}, {} bytes of text, {} bytes stored",
            counted(items, "item"),
            counted(objects, "file"),
            grouped(bytes),
            grouped(stored_bytes)
        ),
        JobKind::Incremental => format!("{at}: {} put", counted(objects, "object")),
        _ => format!("read from {at}"),
    }];
    for (count, what) in [
        (blank, "blank: nothing is in it"),
        (foreign, "foreign: neither name nor content is an item's of this table"),
        (vanished, "vanished: deleted after it was listed"),
        (superseded, "superseded: another object holds the item under its name of today"),
        (damaged, "damaged: it has the name of an item and holds none"),
    ] {
        lines.extend((count > 0).then(|| format!("left out: {} {what}", grouped(count))));
    }
    lines
}

/// How far a replication is, and what it lost.
fn following(summary: &Summary, replication: &Replication) -> Vec<String> {
    let Replication { shards, waiting, ended, counted: of_records, .. } = replication;
    let StreamTally { records, squashed, reread, known, looped, malformed, backed_up, unbacked } = of_records;
    let mut lines = vec![format!(
        "{} of the stream in {} ({} ended, {} waiting): {} needless because of later ones, {} answered by reading the \
         master, {} on the slaves already{}{}",
        counted(*records, "record"),
        counted(*shards, "shard"),
        grouped(*ended),
        grouped(*waiting),
        grouped(*squashed),
        grouped(*reread),
        grouped(*known),
        nonzero(", ", *looped, " from the other direction"),
        nonzero(", ", *malformed, " malformed"),
    )];
    if backed_up + unbacked > 0 {
        lines.push(format!(
            "{} put into the backup, {} deleted from it",
            counted(*backed_up, "object"),
            grouped(*unbacked)
        ));
    }
    let but = match summary.remaining() {
        0 => "",
        _ => ", but for what was lost or rejected",
    };
    lines.push(match replication.caught_up_to_ms.and_then(time) {
        Some(time) => match replication.covers {
            Covers::Table => format!("every write to the master up to {time} is on the slaves{but}"),
            Covers::Changes => format!("every change that was followed, up to {time}, is on the slaves{but}"),
        },
        None => "not caught up with the master yet".to_owned(),
    });
    for lost in &replication.gaps {
        let from = lost.from_ms.and_then(time).unwrap_or_else(|| "the beginning".to_owned());
        let to = time(lost.to_ms).unwrap_or_default();
        lines.push(format!(
            "gap: changes of shard {} from {from} to {to} were gone before they could be read",
            lost.shard
        ));
    }
    lines
}

/// A time in milliseconds since 1970, as people write it.
fn time(ms: i64) -> Option<String> {
    Some(format!("{:.3}", jiff::Timestamp::from_millisecond(ms).ok()?))
}

/// `500 read units per second of each table, $2.50 in all`, or table by table where they differ.
fn limits_line(limits: &Limits) -> String {
    let by_direction = [Direction::Read, Direction::Write].into_iter().filter_map(|direction| {
        let name = match direction {
            Direction::Read => "read",
            Direction::Write => "write",
        };
        let ceilings: Vec<Option<f64>> =
            (0..limits.tables.len()).map(|table| limits.ceiling(table, direction)).collect();
        let first = *ceilings.first()?;
        if ceilings.iter().all(|ceiling| *ceiling == first) {
            return first.map(|units| format!("{units} {name} units per second of each table"));
        }
        let each = ceilings.iter().map(|ceiling| ceiling.map_or_else(|| "none".to_owned(), |units| units.to_string()));
        Some(format!("{} {name} units per second, table by table", each.collect::<Vec<_>>().join(", ")))
    });
    let budget = limits.budget.map(|budget| format!("${} in all", budget.max_cost));
    by_direction.chain(budget).collect::<Vec<_>>().join(", ")
}

/// Why a job stopped at its price.
fn out_of_money(summary: &Summary) -> String {
    let Some(budget) = summary.limits.as_ref().and_then(|limits| limits.budget) else {
        return "stopped: its budget was spent".to_owned();
    };
    let units = summary.consumed.values().map(|consumed| budget.prices.dollars(consumed.read, consumed.write));
    format!(
        "stopped by --max-cost: ${:.6} of ${} are in its checkpoints, and what is left is less than the next request may cost",
        units.sum::<f64>(),
        budget.max_cost
    )
}

/// What a sample says about the whole tables.
fn estimates(width: usize, sample: &SampleSummary) -> Vec<String> {
    let SampleSummary { segments, of, estimates } = sample;
    let (segments, of) = (grouped(*segments), grouped(*of));
    let mut lines = vec![String::new()];
    lines.push(if estimates.is_empty() {
        format!("a random sample of {segments} of {of} segments; it says something when two of them are done")
    } else {
        format!("a random sample of {segments} of {of} segments; estimated totals of all {of}, with 95 % intervals:")
    });
    for slave in estimates {
        let counts = [
            ("compared", Some(slave.compared)),
            ("missing", Some(slave.missing)),
            ("differing", Some(slave.differing)),
            ("extra", slave.extra),
        ];
        for (name, estimate) in counts {
            let Some(Estimate { estimate, low, high }) = estimate else { continue };
            let (estimate, low, high) = (grouped(estimate), grouped(low), grouped(high));
            lines.push(format!("{:<width$}  {name:<9}  {estimate} ({low} to {high})", slave.table));
        }
    }
    lines
}

/// A column: its head, and what is under it.
type Column = (&'static str, fn(&SlaveSummary) -> u64);

const COLUMNS: [Column; 10] = [
    ("compared", |slave| slave.compared),
    ("identical", |slave| slave.identical),
    ("missing", |slave| slave.missing),
    ("differing", |slave| slave.differing),
    ("extra", |slave| slave.extra),
    ("healed", |slave| slave.healed),
    ("written", |slave| slave.written),
    ("deleted", |slave| slave.deleted),
    ("skipped", |slave| slave.skipped),
    ("failed", |slave| slave.failed),
];

/// Where nothing is compared. What a slave has newer, or has already, is skipped; what it refused is rejected.
const COPY_COLUMNS: [Column; 4] = [
    ("written", |slave| slave.written),
    ("deleted", |slave| slave.deleted),
    ("skipped", |slave| slave.skipped),
    ("rejected", |slave| slave.failed),
];

fn row(width: usize, name: &str, cells: &[String]) -> String {
    let cells: Vec<String> = cells.iter().map(|cell| format!("{cell:>10}")).collect();
    format!("{name:<width$}{}", cells.concat())
}

/// What to do next about a job that stands like this, if anything.
#[must_use]
pub fn next_step(summary: &Summary) -> Option<String> {
    let job = &summary.job;
    let compares = matches!(summary.kind, JobKind::Sync | JobKind::Verify);
    match summary.state {
        JobState::Succeeded if summary.replication.as_ref().is_some_and(|replication| !replication.gaps.is_empty()) => {
            Some(heal(summary))
        }
        JobState::Succeeded if summary.backup.as_ref().is_some_and(|backup| backup.counted.left_out() > 0) => {
            Some(format!("what was left out: dynamend report {job}"))
        }
        JobState::Succeeded if !compares && summary.remaining() == 0 => None,
        JobState::Succeeded if !compares => Some(format!("what was rejected: dynamend report {job}")),
        JobState::Succeeded if summary.slaves.iter().all(|slave| slave.discrepancies() == 0) => None,
        JobState::Succeeded => Some(format!("the discrepancies: dynamend report {job}")),
        JobState::Cancelled if summary.stopped_by.is_some() => Some(format!(
            "to go on: dynamend limit {job} --max-cost DOLLARS, with more than before, and then dynamend resume {job}"
        )),
        JobState::Failed | JobState::Cancelled | JobState::Paused => Some(format!("to go on: dynamend resume {job}")),
        JobState::Queued | JobState::Running => {
            Some(format!("to follow it: dynamend status {job} --watch; if no worker has it: dynamend resume {job}"))
        }
    }
}

/// How what a replication lost is found and put right.
fn heal(summary: &Summary) -> String {
    let master = summary.replication.as_ref().map_or("MASTER", |replication| &replication.master);
    let slaves: Vec<String> = summary.slaves.iter().map(|slave| format!(" -s {}", slave.table)).collect();
    format!("what was lost is found and put right by: dynamend sync -m {master}{} --repair", slaves.concat())
}

/// A discrepancy in one line.
#[must_use]
pub fn discrepancy(line: &Discrepancy) -> String {
    let Discrepancy { slave, kind, key, attributes, outcome, reason, values, .. } = line;
    let mut text = format!("{:<9}  {slave}  {key}", kind.name());
    if !attributes.is_empty() {
        text.push_str(&format!("  [{}]", attributes.join(", ")));
    }
    text.push_str(&format!("  {}", outcome.name()));
    if let Some(reason) = reason {
        text.push_str(&format!(": {reason}"));
    }
    if let Some(values) = values {
        let side =
            |value: &Option<serde_json::Value>| value.as_ref().map_or_else(|| "-".to_owned(), ToString::to_string);
        text.push_str(&format!("\n    master {}\n    slave  {}", side(&values.master), side(&values.slave)));
    }
    text
}

/// A change that could not be applied, in one line.
#[must_use]
pub fn rejected(line: &Rejected) -> String {
    let Rejected { slave, key, sequence, shard, error, .. } = line;
    let slave = slave.as_deref().unwrap_or("-");
    let key = key.as_ref().map_or_else(|| "-".to_owned(), ToString::to_string);
    let record = match (shard, sequence) {
        (Some(shard), Some(sequence)) => format!("  (record {sequence} of {shard})"),
        _ => String::new(),
    };
    format!("rejected   {slave}  {key}{record}  {error}")
}

fn counted(n: u64, what: &str) -> String {
    format!("{} {what}{}", grouped(n), if n == 1 { "" } else { "s" })
}

fn nonzero(before: &str, n: u64, after: &str) -> String {
    if n == 0 { String::new() } else { format!("{before}{n}{after}") }
}

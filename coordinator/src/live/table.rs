//! The status of all entries: a table for a terminal, lines for everything else.

use unicode_width::UnicodeWidthStr as _;

use super::course::{Early, Phase, Standing, StepKind};
use super::layout::{cut, lines};
use super::short::{self, Fill};
use super::tracked::{Row, Sample};

/// What stands between columns.
const SEPARATOR: &str = "  ";

/// Fewest characters of a name that are shown where names have to give way.
const SHORTEST_NAME: usize = 12;

/// The room that a terminal has, in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Room {
    /// Of a line.
    pub width: usize,
    /// Lines.
    pub height: usize,
}

/// All rows as a table. Where the terminal has too little room, those at work come first, and the last line counts
/// what is not shown.
#[must_use]
pub fn table(rows: &[Row], room: Option<Room>) -> Vec<String> {
    let columns = columns(rows);
    let head: Vec<&str> = ["TABLE", "DETAILS"]
        .into_iter()
        .chain(columns.iter().map(|step| title(*step)))
        .chain(["RATES & BUFFER"])
        .collect();
    let room_for = room.map_or(usize::MAX, |room| room.height.saturating_sub(1));
    let shown: Vec<&Row> = if rows.len() <= room_for {
        rows.iter().collect()
    } else {
        let mut order: Vec<&Row> = rows.iter().collect();
        order.sort_by_key(|row| urgency(row.phase));
        order.truncate(room_for.saturating_sub(1));
        order
    };
    let mut cells: Vec<Vec<String>> = shown.iter().map(|row| cells(row, &columns)).collect();
    let width = room.map(|room| room.width);
    if let Some(width) = width {
        shorten_names(&head, &mut cells, width);
    }
    let mut table = lines(&head, &cells, SEPARATOR, width);
    if shown.len() < rows.len() {
        table.push(cut(format!("… and {} more", rows.len() - shown.len()), width));
    }
    table
}

/// Makes names as short as the screen asks for, so that what they are about is seen; but not shorter than
/// [`SHORTEST_NAME`].
fn shorten_names(head: &[&str], cells: &mut [Vec<String>], screen: usize) {
    let wide = |lines: &[String]| lines.iter().skip(1).map(|line| line.width()).max().unwrap_or(0);
    let over = wide(&lines(head, cells, SEPARATOR, None)).saturating_sub(screen);
    let longest = cells.iter().filter_map(|row| row.first()).map(|name| name.width()).max().unwrap_or(0);
    let limit = longest.saturating_sub(over).max(SHORTEST_NAME);
    for name in cells.iter_mut().filter_map(|row| row.first_mut()) {
        *name = cut(std::mem::take(name), Some(limit));
    }
}

/// All rows as lines that are understood by themselves.
#[must_use]
pub fn plain_lines(rows: &[Row]) -> Vec<String> {
    rows.iter().map(plain_line).collect()
}

fn plain_line(row: &Row) -> String {
    let mut parts = vec![row.name.clone(), details(row)];
    for (step, standing, sample) in &row.steps {
        if *standing != Standing::Absent {
            parts.push(format!("{step} {}", cell(*step, *standing, sample)));
        }
    }
    parts.push(rates(row));
    parts.retain(|part| !part.is_empty());
    parts.join(SEPARATOR)
}

/// Steps that have a column: those of ddb-sync always, and others when an entry has them.
fn columns(rows: &[Row]) -> Vec<StepKind> {
    let has = |kind: StepKind| {
        rows.iter()
            .any(|row| row.steps.iter().any(|(step, standing, _)| *step == kind && *standing != Standing::Absent))
    };
    let always = |kind: StepKind| matches!(kind, StepKind::Backfill | StepKind::Stream);
    StepKind::ALL.into_iter().filter(|kind| always(*kind) || has(*kind)).collect()
}

fn title(step: StepKind) -> &'static str {
    match step {
        StepKind::Backfill => "BACKFILL",
        StepKind::Stream => "STREAM",
        StepKind::Sync => "SYNC",
        StepKind::Verify => "VERIFY",
    }
}

/// What is shown first when not all can be.
fn urgency(phase: Phase) -> u8 {
    match phase {
        Phase::At(_) => 0,
        Phase::Ended(_, Early::Failed) => 1,
        Phase::Ended(_, Early::Stopped) => 2,
        Phase::Pending => 3,
        Phase::Done => 4,
    }
}

fn cells(row: &Row, columns: &[StepKind]) -> Vec<String> {
    let mut cells = vec![row.name.clone(), details(row)];
    for (step, standing, sample) in &row.steps {
        if columns.contains(step) {
            cells.push(cell(*step, *standing, sample));
        }
    }
    cells.extend(Some(rates(row)).filter(|rates| !rates.is_empty()));
    cells
}

fn details(row: &Row) -> String {
    row.size
        .map_or_else(String::new, |size| format!("{} items ({})", short::number(size.items), short::bytes(size.bytes)))
}

fn cell(step: StepKind, standing: Standing, sample: &Sample) -> String {
    match standing {
        Standing::Absent => "--".to_owned(),
        Standing::Pending => "-PENDING-".to_owned(),
        Standing::Skipped => "-SKIPPED-".to_owned(),
        Standing::Ended(Early::Failed) => "-ERRORED-".to_owned(),
        Standing::Ended(Early::Stopped) => "-STOPPED-".to_owned(),
        // What a comparison found is worth more than that it has ended.
        Standing::Complete if matches!(step, StepKind::Backfill | StepKind::Stream) => "-COMPLETE-".to_owned(),
        Standing::Running | Standing::Complete => done(step, sample),
    }
}

fn done(step: StepKind, sample: &Sample) -> String {
    let (written, found) = (short::number(sample.written), short::number(sample.found));
    match (step, sample.lag) {
        (StepKind::Stream, Some(lag)) => format!("{written} written (~{} latent)", short::duration(lag)),
        (StepKind::Backfill | StepKind::Stream, _) => format!("{written} written"),
        (StepKind::Sync, _) => format!("{found} found, {written} written"),
        (StepKind::Verify, _) => format!("{found} found"),
    }
}

/// From the table into the buffer, and from there into the copies.
fn rates(row: &Row) -> String {
    let Some(sample) = row.running() else { return String::new() };
    let buffer = sample.buffered.map_or_else(String::new, |fill: Fill| format!(" {} ⇨", fill.glyph()));
    let (items, read) = (short::rate(row.rates.items), short::rate(row.rates.read_units));
    format!("{items} items/s {read} RCU/s ⇨{buffer} {} WCU/s", short::rate(row.rates.write_units))
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::super::tracked::{Size, Tracked};
    use super::*;
    use StepKind::{Backfill, Stream, Sync, Verify};

    const SIZE: Size = Size { items: 46_000, bytes: 27_262_976 };

    /// Five seconds at work at its last step.
    fn entry(name: &str, steps: &[StepKind], begun: &[(StepKind, Sample)], start: Instant) -> Tracked {
        let mut entry = Tracked::new(name, steps.to_vec(), start);
        entry.describe(SIZE);
        for (step, sample) in begun {
            entry.begin(*step, start).unwrap();
            entry.take(*step, *sample, start + Duration::from_secs(5));
        }
        entry
    }

    fn rows(entries: &[Tracked], start: Instant) -> Vec<Row> {
        entries.iter().map(|entry| entry.row(start + Duration::from_secs(5))).collect()
    }

    fn written(written: u64) -> Sample {
        Sample { read: 60, written, read_units: 15.0, write_units: 160.0, ..Sample::default() }
    }

    #[test]
    fn the_table_shows_what_ddb_sync_shows() {
        let start = Instant::now();
        let half = Some(Fill { used: 70, capacity: 100 });
        let stream = Sample { lag: Some(Duration::from_secs(68_220)), buffered: half, ..written(2019) };
        let both = [Backfill, Stream];
        let mut failed = entry("d", &both, &[(Backfill, written(1))], start);
        failed.end(Early::Failed, start).unwrap();
        let entries = [
            entry("a", &both, &[(Backfill, written(9)), (Stream, stream)], start),
            entry("b", &[Stream], &[], start),
            entry("c", &both, &[(Backfill, written(267_164))], start),
            failed,
        ];

        assert_eq!(
            table(&rows(&entries, start), None),
            [
                "TABLE  DETAILS              BACKFILL       STREAM                        RATES & BUFFER",
                "a      ~46k items (~26MiB)  -COMPLETE-     ~2k written (~18h57m latent)  12 items/s 3.0 RCU/s ⇨ ◕ ⇨ 32 WCU/s",
                "b      ~46k items (~26MiB)  --             -PENDING-",
                "c      ~46k items (~26MiB)  ~267k written  -PENDING-                     12 items/s 3.0 RCU/s ⇨ 32 WCU/s",
                "d      ~46k items (~26MiB)  -ERRORED-      -SKIPPED-",
            ]
        );
    }

    #[test]
    fn comparisons_have_columns_when_an_entry_has_them() {
        let start = Instant::now();
        let found = Sample { found: 12, written: 10, ..written(10) };
        let entries = [
            entry("a", &[Sync, Verify], &[(Sync, found), (Verify, Sample { found: 0, ..written(0) })], start),
            entry("b", &[Backfill], &[], start),
        ];
        let table = table(&rows(&entries, start), None);

        assert!(table[0].contains("SYNC") && table[0].contains("VERIFY"), "{table:#?}");
        assert!(table[1].contains("12 found, 10 written  0 found  12 items/s"), "{table:#?}");
        let without = super::table(&rows(&entries[1..], start), None);
        assert!(!without[0].contains("SYNC") && !without[0].contains("VERIFY"), "{without:#?}");
    }

    #[test]
    fn a_small_screen_shows_first_what_is_at_work() {
        let start = Instant::now();
        let mut done = entry("done", &[Backfill], &[(Backfill, written(1))], start);
        done.finish(start).unwrap();
        let entries = [
            done,
            entry("wait", &[Backfill], &[], start),
            entry("work", &[Backfill], &[(Backfill, written(1))], start),
            entry("toil", &[Backfill], &[(Backfill, written(1))], start),
        ];
        let names = |height: usize| -> Vec<String> {
            let table = table(&rows(&entries, start), Some(Room { width: 6, height }));
            table.iter().map(|line| line.trim_end_matches('…').trim().to_owned()).collect()
        };
        assert_eq!(names(5), ["TABLE", "done", "wait", "work", "toil"]);
        assert_eq!(names(4), ["TABLE", "work", "toil", "… and"]);
        assert_eq!(names(1), ["TABLE", "… and"]);
        let cut = table(&rows(&entries, start), Some(Room { width: 80, height: 3 }));
        assert_eq!(cut[2], "… and 3 more");
    }

    #[test]
    fn long_names_give_way_on_a_narrow_screen() {
        let start = Instant::now();
        let entries = [entry("us-west-2:orders -> eu-west-1:orders", &[Stream], &[], start)];
        let line = |width: usize| table(&rows(&entries, start), Some(Room { width, height: 24 }))[1].clone();

        assert_eq!(line(78), "us-west-2:orders -> eu-west-1:orders  ~46k items (~26MiB)  --        -PENDING-");
        assert_eq!(line(60), "us-west-2:orders …  ~46k items (~26MiB)  --        -PENDING-");
        assert_eq!(line(40), "us-west-2:o…  ~46k items (~26MiB)  --  …");
    }

    #[test]
    fn plain_lines_are_understood_by_themselves() {
        let start = Instant::now();
        let stream = Sample { lag: Some(Duration::from_secs(5)), ..written(789) };
        let entries = [
            entry("orders", &[Backfill, Stream], &[(Backfill, written(9)), (Stream, stream)], start),
            Tracked::new("lines", [Backfill], start),
        ];
        assert_eq!(
            plain_lines(&rows(&entries, start)),
            [
                "orders  ~46k items (~26MiB)  backfill -COMPLETE-  stream 789 written (~5s latent)  12 items/s 3.0 RCU/s ⇨ 32 WCU/s",
                "lines  backfill -PENDING-",
            ]
        );
    }
}

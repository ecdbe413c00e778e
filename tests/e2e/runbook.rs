//! The runbook's figures are those of the estimate's own arithmetic.

use std::path::Path;

use shared::domain::cost::{Prices, Reading, TableSize, confirmation_units, minutes, reads, repair_units, total_units};
use shared::domain::job::{Consistency, Strategy};
use shared::domain::segment::planned_segments;

/// Bytes of the items of the examples.
const ITEM: u64 = 1000;

/// The share of items that the examples repair.
const DIFFERING: f64 = 0.001;

/// Read units per second that a new table on demand gives, and the default quota of a table.
const RATES: [f64; 2] = [12_000.0, 40_000.0];

/// One example: two tables of this size.
fn row(name: &str, bytes: u64) -> String {
    let table = TableSize { items: bytes / ITEM, bytes };
    let reading = Reading { seeks_extra: true, consistency: Consistency::Eventual, share: 1.0 };
    let dollars = |read, write| Prices::US_EAST_ON_DEMAND.dollars(read, write);
    let compared = |strategy| reads(table, &[(table, strategy)], reading);
    let (paired, lookup) = (compared(Strategy::Paired), compared(Strategy::Lookup));
    let differing = table.items as f64 * DIFFERING;
    let repair = dollars(confirmation_units(differing, table, table), repair_units(differing, table));
    let took = RATES.map(|rate| time(minutes(&paired, &[rate, rate])));
    let cells = [
        name.to_owned(),
        planned_segments(bytes, 1).to_string(),
        money(dollars(total_units(&paired), 0.0)),
        money(dollars(total_units(&lookup), 0.0)),
        money(repair),
        took[0].clone(),
        took[1].clone(),
    ];
    format!("| {} |", cells.join(" | "))
}

fn money(dollars: f64) -> String {
    if dollars < 10.0 { format!("${dollars:.2}") } else { format!("${}", thousands(dollars.round())) }
}

fn thousands(number: f64) -> String {
    let digits = format!("{number:.0}");
    let first = (digits.len() + 2) % 3 + 1;
    let rest = digits.as_bytes()[first..].chunks(3).map(|three| String::from_utf8_lossy(three).into_owned());
    std::iter::once(digits[..first].to_owned()).chain(rest).collect::<Vec<_>>().join(",")
}

fn time(minutes: f64) -> String {
    match minutes {
        ..1.0 => format!("{:.0} s", minutes * 60.0),
        ..120.0 => format!("{minutes:.0} min"),
        ..2880.0 => format!("{:.1} h", minutes / 60.0),
        _ => format!("{:.1} days", minutes / 1440.0),
    }
}

#[test]
fn the_costs_of_the_runbook_are_those_of_the_estimate() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the crate is in the workspace");
    let runbook = std::fs::read_to_string(path.join("infra/README.md")).expect("there is a runbook");
    for (name, bytes) in [("1 GB", 1_000_000_000), ("1 TB", 1_000_000_000_000), ("100 TB", 100_000_000_000_000)] {
        let row = row(name, bytes);

        assert!(runbook.lines().any(|line| line == row), "the runbook lacks this line:\n{row}");
    }
}

#[test]
fn money_and_time_are_written_as_people_do() {
    assert_eq!([0.031, 31.2, 3052.0, 1_234_567.0].map(money), ["$0.03", "$31", "$3,052", "$1,234,567"]);
    assert_eq!([0.5, 90.0, 170.0, 5000.0].map(time), ["30 s", "90 min", "2.8 h", "3.5 days"]);
}

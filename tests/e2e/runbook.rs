//! The runbook's figures are those of the estimate's own arithmetic, and its commands do what it says.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use shared::domain::cost::{Prices, Reading, TableSize, confirmation_units, minutes, reads, repair_units, total_units};
use shared::domain::job::{Consistency, Strategy};
use shared::domain::segment::planned_segments;
use tests::ministack::free_port;
use tests::python::{self, Environment};
use tests::wait::DEADLINE;

use crate::stage::programs;

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

fn runbook() -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the crate is in the workspace");
    fs::read_to_string(root.join("infra/README.md")).expect("there is a runbook")
}

/// A program of this name that runs this command.
fn shim(folder: &Path, name: &str, command: &str) {
    let path = folder.join(name);
    fs::write(&path, format!("#!/bin/sh\nexec {command} \"$@\"\n")).expect("a script can be written");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("a script can be made a program");
}

#[test]
fn the_commands_for_ones_own_machine_make_a_fleet_that_repairs() {
    let runbook = runbook();
    let block = runbook.split_once("<!-- The tests run these lines. -->\n```sh\n").expect("there are commands").1;
    let block = block.split_once("\n```").expect("they end").0;
    let (install, commands) = block.split_once('\n').expect("there are several");
    let pinned = |requirements: &str, name: &str| {
        let line = requirements.lines().find(|line| line.starts_with(&format!("{name}==")));
        line.unwrap_or_else(|| panic!("{name} is not pinned")).to_owned()
    };
    // What it installs is here already.
    let (ministack, awscli) = (
        pinned(include_str!("../requirements.txt"), "ministack"),
        pinned(include_str!("../requirements-aws.txt"), "awscli"),
    );
    assert_eq!(install, format!("python3 -m venv emulator && emulator/bin/pip install --quiet {ministack} {awscli}"));
    let programs = programs();
    let bin = programs.home().join("emulator/bin");
    fs::create_dir_all(&bin).expect("a folder can be created");
    let emulators = python::interpreter(Environment::Emulators);
    shim(&bin, "ministack", &format!("{} -c 'from ministack.app import main; main()'", emulators.display()));
    shim(&bin, "aws", &format!("{} -m awscli", python::interpreter(Environment::Aws).display()));
    shim(&bin, "dynamend", env!("CARGO_BIN_EXE_dynamend-under-test"));
    shim(&bin, "dynamend-worker", env!("CARGO_BIN_EXE_dynamend-worker-under-test"));
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the crate is in the workspace");
    std::os::unix::fs::symlink(root.join("infra"), programs.home().join("infra")).expect("a link can be made");
    let port = free_port().to_string();
    // What runs in the background ends with the script, and with `timeout` whatever happens to it.
    let script = format!(
        "set -eu\nexport GATEWAY_PORT={port}\ntrap 'kill $(jobs -p) || true' EXIT\n{}\n",
        commands.replace("4566", &port)
    );

    let shell = ["--kill-after=5", "230", "bash", "-c", script.as_str()];
    let finished = programs.spawn(Path::new("timeout"), &shell).wait(8 * DEADLINE);

    let logs = || {
        let log = |name: &str| fs::read_to_string(programs.home().join("emulator").join(name)).unwrap_or_default();
        format!("{}\n{}\n{}\n{}", finished.stdout, finished.stderr, log("log"), log("worker"))
    };
    assert_eq!(finished.code, Some(0), "{}", logs());
    let rows: Vec<Vec<&str>> = finished
        .stdout
        .lines()
        .filter(|line| line.starts_with("us-east-1:orders-replica"))
        .map(|line| line.split_whitespace().collect())
        .collect();
    // Compared, identical, missing, differing, extra, …: first three that the slave lacks and one too many; then none.
    assert!(
        matches!(&rows[..], [first, second] if first[1..6] == ["3", "0", "3", "0", "1"] && second[1..6] == ["3", "3", "0", "0", "0"]),
        "{}",
        logs()
    );
}

#[test]
fn the_costs_of_the_runbook_are_those_of_the_estimate() {
    let runbook = runbook();
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

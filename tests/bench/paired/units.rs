//! Read units: a paired scan, and lookups, against scanning every table once and no more.

use std::time::Duration;

use super::{programs, sync};
use crate::fetch;
use crate::replay::Replay;
use crate::replay::tables::ITEM_BYTES;

const SEGMENTS: u64 = 2;
const ITEMS_PER_SEGMENT: u64 = 100_000;

/// Bytes that one unit of an eventually consistent read pays for.
const BYTES_PER_UNIT: u64 = 8192;

pub(crate) async fn compare() {
    let items = SEGMENTS * ITEMS_PER_SEGMENT;
    println!("\nRead units, tables of {items} items of {ITEM_BYTES} bytes:");
    let replay = Replay::start(ITEMS_PER_SEGMENT, Duration::ZERO);
    let programs = programs(&replay);
    for (differing, name) in [(0, "same"), (1000, "differing-1000")] {
        for slaves in [1, 3] {
            let slaves: Vec<String> = (0..slaves).map(|number| format!("{name}-slave{number}")).collect();
            let slaves: Vec<&str> = slaves.iter().map(String::as_str).collect();
            let tables: Vec<&str> = ["master"].into_iter().chain(slaves.iter().copied()).collect();
            let by_size = (tables.len() as u64 * items * ITEM_BYTES) as f64 / BYTES_PER_UNIT as f64;
            fetch::all(&programs, &tables, SEGMENTS, ITEMS_PER_SEGMENT, 1);
            let bare = replay.metered().units();
            println!(
                "  {} slave(s), {}: {by_size:.0} for bare scans by the tables' size, {bare:.0} as metered",
                slaves.len(),
                if differing == 0 { "which agree".to_owned() } else { format!("1 in {differing} items differs") }
            );
            for strategy in ["paired", "lookup"] {
                sync(&programs, &slaves, &["--strategy", strategy, "--segments", "2", "--confirm-delay", "0"]);
                let metered = replay.metered();
                println!(
                    "    {strategy}  {:9.0}   {:6.3} x the bare scans   ({:.0} by scans, {:.0} by key)",
                    metered.units(),
                    metered.units() / bare,
                    metered.scans,
                    metered.gets
                );
            }
        }
    }
}

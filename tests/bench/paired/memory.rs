//! Peak memory of the process with one segment in work, however the tables differ, against its bound.

use std::time::Duration;

use super::{programs, sync};
use crate::replay::Replay;
use crate::replay::tables::{ITEM_BYTES, ITEMS_PER_PAGE};

const ITEMS: u64 = 300_000;

/// Items of a collection that one side lacks.
const COLLECTION: u64 = 100_000;

/// The bound: this much, and so much more for each entry that waits for its match.
const MEGABYTES: f64 = 64.0;
const BYTES_PER_UNMATCHED: f64 = 48.0;

pub(crate) async fn compare() {
    println!("\nPeak memory with one segment in work, {ITEMS} items of {ITEM_BYTES} bytes:");
    let replay = Replay::start(ITEMS, Duration::ZERO);
    let programs = programs(&replay);
    let lacking = format!("lacking-{COLLECTION}");
    for (what, slave, unmatched) in [
        ("which agree", "same", 0),
        ("0.1 % of the items differ", "differing-1000", 0),
        ("50 % of the items differ", "differing-2", 0),
        ("100 % of the items differ", "differing-1", 0),
        ("the slave lacks 100,000 neighbours", lacking.as_str(), COLLECTION),
        // Lookups take over once so much is unmatched; a page of each side is held by then.
        ("no key is in both", "apart", 2 * ITEMS_PER_PAGE),
    ] {
        let arguments = ["--strategy", "paired", "--segments", "1", "--parallel", "1", "--confirm-delay", "0"];
        let started = std::time::Instant::now();
        let (_, usage) = sync(&programs, &[slave], &arguments);
        let bound = MEGABYTES + BYTES_PER_UNMATCHED * unmatched as f64 / 1e6;
        println!(
            "  {what:<35}  {:5.1} MB   {:4.2} x the bound of {bound:.1} MB   ({:.1} s)",
            usage.megabytes,
            usage.megabytes / bound,
            started.elapsed().as_secs_f64()
        );
    }
}

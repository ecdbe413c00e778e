//! CPU time for a million pairs that agree: the paired scan as users run it, against other ways through the same pages.

use std::time::Duration;

use tests::python::{self, Environment};

use super::{programs, sync};
use crate::fetch;
use crate::replay::Replay;
use crate::replay::tables::ITEM_BYTES;
use crate::usage::{Usage, watch};

const SEGMENTS: u64 = 4;
const SEGMENTS_AT_ONCE: u64 = 2;

/// Pairs for the fast ones, for the SDK's types, and for Python; each takes some seconds.
const MANY: u64 = 2_000_000;
const FEWER: u64 = 500_000;
const FEW: u64 = 100_000;

pub(crate) async fn compare() {
    println!("\nCPU seconds per million pairs of {ITEM_BYTES} bytes, tables that agree:");
    let fetched = per_million(MANY, |replay, per_segment| {
        fetch::all(&programs(replay), &["master", "same"], SEGMENTS, per_segment, SEGMENTS_AT_ONCE)
    });
    let paired = per_million(MANY, |replay, _| run(replay, &[]));
    let typed = per_million(FEWER, |replay, _| run(replay, &["--typed-reader"]));
    let python = per_million(FEW, |replay, _| python(replay));
    println!("  pages fetched and thrown away   {fetched:7.2}");
    println!("  paired                          {paired:7.2}   {:6.2} x the fetch", paired / fetched);
    println!("  paired, --typed-reader          {typed:7.2}   {:6.2} x paired", typed / paired);
    println!("  boto3, in step, sorted JSON     {python:7.2}   {:6.2} x paired", python / paired);
    println!("  pairs per CPU second: {:.0} paired, {:.0} boto3", 1e6 / paired, 1e6 / python);
}

/// What a run over this many pairs takes, brought to a million.
fn per_million(pairs: u64, run: impl FnOnce(&Replay, u64) -> Usage) -> f64 {
    let per_segment = pairs / SEGMENTS;
    let replay = Replay::start(per_segment, Duration::ZERO);
    run(&replay, per_segment).cpu_seconds * 1e6 / pairs as f64
}

fn run(replay: &Replay, more: &[&str]) -> Usage {
    let (segments, at_once) = (SEGMENTS.to_string(), SEGMENTS_AT_ONCE.to_string());
    let mut arguments = vec!["--strategy", "paired", "--segments", &segments, "--parallel", &at_once];
    arguments.extend(more);
    let (finished, usage) = sync(&programs(replay), &["same"], &arguments);
    assert_eq!(finished.code, Some(0), "the tables agree: {}", finished.stdout);
    usage
}

fn python(replay: &Replay) -> Usage {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/bench/lockstep.py");
    let arguments = [script, "master", "same", &SEGMENTS.to_string()];
    let (finished, usage) = watch(programs(replay).spawn(&python::interpreter(Environment::Emulators), &arguments));
    assert_eq!(finished.code, Some(0), "{}", finished.stderr);
    usage
}

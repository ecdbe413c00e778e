//! The benchmarks, in one command: `cargo bench -p tests`, or one part of them: `cargo bench -p tests -- paired-cpu`.
//!
//! Everything is compared within one run and printed as ratios where there is something to compare with. Nothing is
//! asserted: the machine decides. `DYNAMEND_BENCH_ITEMS` sets the size of the large tables (1,000,000).
//!
//! - [`main_job`]: segments, slaves and pages that wait together, enqueueing, and a worker's memory.
//! - [`pacing`]: rates that were asked for against those that were charged.
//! - [`paired`]: what the paired scan costs in read units, CPU and memory, and what more workers give it.
//! - [`replay`]: tables of any size that are made up while they are read, as a process; [`fetch`]: a client that throws
//!   them away; [`delay`]: a service far away; [`usage`]: what a process took.
#![expect(clippy::print_stdout, reason = "a benchmark prints its figures")]

mod delay;
mod fetch;
mod main_job;
mod pacing;
mod paired;
mod replay;
mod usage;

use std::time::Duration;

use futures::future::LocalBoxFuture;
use tests::process::Programs;

/// The longest that anything here may take.
const DEADLINE: Duration = Duration::from_secs(3600);

/// A name, and what it measures.
type Part = (&'static str, fn() -> LocalBoxFuture<'static, ()>);

/// All parts in their order; what is given on the command line is how the wanted ones begin.
const PARTS: [Part; 8] = [
    ("waiting", || Box::pin(main_job::waiting())),
    ("enqueueing", || Box::pin(main_job::enqueueing())),
    ("memory", || Box::pin(main_job::memory())),
    ("pacing", || Box::pin(pacing::rates())),
    ("paired-units", || Box::pin(paired::units::compare())),
    ("paired-cpu", || Box::pin(paired::cpu::compare())),
    ("paired-memory", || Box::pin(paired::memory::compare())),
    ("paired-workers", || Box::pin(paired::workers::compare())),
];

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    // Flags are Cargo's.
    let words: Vec<&str> = arguments.iter().map(String::as_str).filter(|word| !word.starts_with("--")).collect();
    let runtime = tokio::runtime::Runtime::new().expect("a runtime can be made");
    match words.as_slice() {
        [replay::CHILD, settings @ ..] => return runtime.block_on(replay::serve(settings)),
        [fetch::CHILD, settings @ ..] => return runtime.block_on(fetch::run(settings)),
        _ if arguments.iter().any(|argument| argument == "--list") => return,
        _ => {}
    }
    let wanted = |name: &str| words.is_empty() || words.iter().any(|word| name.starts_with(word));
    for (_, part) in PARTS.iter().filter(|(name, _)| wanted(name)) {
        runtime.block_on(part());
    }
}

fn programs() -> Programs {
    Programs::new(env!("CARGO_BIN_EXE_dynamend-under-test"), env!("CARGO_BIN_EXE_dynamend-worker-under-test"))
}

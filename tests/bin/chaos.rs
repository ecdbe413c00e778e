//! Runs the chaos suite: `chaos --runs 500 --seed 1 [--at-once 6]`.
//!
//! It is all programs in one, so that those under test are built whenever it is: under the name of one of them it is
//! that one.

use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::ExitCode;

use tests::chaos::Paths;
use tests::chaos::many::run_all;

fn main() -> ExitCode {
    let name = std::env::args_os().next().unwrap_or_default();
    match Path::new(&name).file_name().and_then(|name| name.to_str()) {
        Some("dynamend") => coordinator::main(),
        Some("dynamend-worker") => worker::main(),
        _ => chaos(),
    }
}

#[expect(clippy::print_stderr, reason = "it is a program for people")]
fn chaos() -> ExitCode {
    let Some(task) = task(std::env::args().skip(1)) else {
        eprintln!("usage: chaos [--runs N] [--seed N] [--at-once N]");
        return ExitCode::from(2);
    };
    let folder = tempfile::tempdir().expect("a temporary directory can be created");
    let paths = Paths { dynamend: folder.path().join("dynamend"), worker: folder.path().join("dynamend-worker") };
    let program = std::env::current_exe().expect("a program knows its path");
    for path in [&paths.dynamend, &paths.worker] {
        symlink(&program, path).expect("a link can be made");
    }
    let seeds: Vec<u64> = (task.seed..task.seed.saturating_add(task.runs)).collect();
    let total = run_all(&seeds, task.at_once, &paths, &|line| eprintln!("{line}"));
    eprintln!("{}", total.text());
    if total.failures.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

struct Task {
    seed: u64,
    runs: u64,
    at_once: usize,
}

fn task(mut arguments: impl Iterator<Item = String>) -> Option<Task> {
    let mut task = Task { seed: 1, runs: 20, at_once: 8 };
    while let Some(flag) = arguments.next() {
        let value = arguments.next()?;
        match flag.as_str() {
            "--runs" => task.runs = value.parse().ok()?,
            "--seed" => task.seed = value.parse().ok()?,
            "--at-once" => task.at_once = value.parse().ok()?,
            _ => return None,
        }
    }
    Some(task)
}

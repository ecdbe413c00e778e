//! Many runs, several side by side: most of a run's time is waiting.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use super::{Outcome, Paths, Plan, run, words};
use crate::ministack::MiniStack;
use crate::python::target_folder;

/// Runs that share one emulator of SQS and S3, which does one thing at a time.
const RUNS_PER_EMULATOR: usize = 4;

/// The last lines of a failed run that are printed; all of them are in a file.
const LINES: usize = 40;

/// What came of many runs.
#[derive(Clone, Debug, Default)]
pub struct Total {
    /// How many there were.
    pub runs: usize,
    /// Seeds of those that failed, and what was wrong.
    pub failures: BTreeMap<u64, Vec<String>>,
    /// Faults injected, by kind.
    pub injected: BTreeMap<String, u64>,
    /// How long it all took.
    pub took: Duration,
    /// The longest run and its seed.
    pub longest: (Duration, u64),
}

impl Total {
    /// For people.
    #[must_use]
    pub fn text(&self) -> String {
        let mut lines = vec![format!("faults injected: {}", self.injected.values().sum::<u64>())];
        lines.extend(self.injected.iter().map(|(kind, count)| format!("{count:8} {kind}")));
        lines.extend(
            self.failures.iter().map(|(seed, problems)| format!("seed {seed} failed: {}", problems.join("; "))),
        );
        let (longest, seed) = self.longest;
        lines.push(format!(
            "{} runs in {:.0} s, the longest took {:.0} s (seed {seed}); {} failed",
            self.runs,
            self.took.as_secs_f64(),
            longest.as_secs_f64(),
            self.failures.len()
        ));
        lines.join("\n")
    }
}

/// Carries out a run for each seed, so many at once, and says of each how it ended.
#[must_use]
pub fn run_all(seeds: &[u64], at_once: usize, paths: &Paths, say: &(dyn Fn(&str) + Sync)) -> Total {
    let at_once = at_once.clamp(1, seeds.len().max(1));
    let emulators: Vec<MiniStack> = (0..at_once.div_ceil(RUNS_PER_EMULATOR)).map(|_| MiniStack::start()).collect();
    let started = Instant::now();
    let (next, total) = (AtomicUsize::new(0), Mutex::new(Total::default()));
    std::thread::scope(|scope| {
        for lane in 0..at_once {
            let (next, total, emulators) = (&next, &total, &emulators);
            scope.spawn(move || {
                while let Some(&seed) = seeds.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let outcome = attempt(seed, paths, &emulators[lane / RUNS_PER_EMULATOR]);
                    let mut total = total.lock().unwrap_or_else(PoisonError::into_inner);
                    add(&mut total, seed, &outcome);
                    say(&story(seed, &outcome, total.runs, seeds.len()));
                }
            });
        }
    });
    let total = total.into_inner().unwrap_or_else(PoisonError::into_inner);
    Total { took: started.elapsed(), ..total }
}

/// One run, in a thread of its own, so that one that panics fails alone.
fn attempt(seed: u64, paths: &Paths, services: &MiniStack) -> Outcome {
    let started = Instant::now();
    let ended = std::thread::scope(|scope| scope.spawn(|| run(seed, paths, services)).join());
    ended.unwrap_or_else(|panic| Outcome {
        title: Plan::of(seed).title(),
        problems: vec![words(&*panic)],
        injected: BTreeMap::new(),
        logs: Vec::new(),
        took: started.elapsed(),
    })
}

fn add(total: &mut Total, seed: u64, outcome: &Outcome) {
    total.runs += 1;
    total.longest = total.longest.max((outcome.took, seed));
    for (kind, count) in &outcome.injected {
        *total.injected.entry(kind.clone()).or_default() += count;
    }
    if !outcome.problems.is_empty() {
        total.failures.insert(seed, outcome.problems.clone());
    }
}

fn story(seed: u64, outcome: &Outcome, done: usize, of: usize) -> String {
    let took = outcome.took.as_secs_f64();
    let faults: u64 = outcome.injected.values().sum();
    let Outcome { title, problems, injected, logs, .. } = outcome;
    if problems.is_empty() {
        return format!("[{done}/{of}] ok, {took:.1} s, {faults} faults: {title}");
    }
    let file = target_folder().join("tmp").join(format!("chaos-{seed}.log"));
    let mut lines = vec![title.clone(), format!("{injected:#?}")];
    lines.extend(problems.iter().cloned().chain(logs.iter().cloned()));
    keep(&file, &lines.join("\n"));
    let tail = logs[logs.len().saturating_sub(LINES)..].join("\n");
    format!(
        "[{done}/{of}] FAILED after {took:.1} s: {title}\n  {}\nfaults: {injected:?}\n{tail}\nall of it: {}\nonce more: \
         cargo run -p tests --bin chaos -- --runs 1 --seed {seed}",
        problems.join("\n  "),
        file.display()
    )
}

/// The file is for people; without it there is still what is printed.
fn keep(file: &Path, text: &str) {
    if let Some(folder) = file.parent() {
        drop(fs::create_dir_all(folder));
    }
    drop(fs::write(file, text));
}

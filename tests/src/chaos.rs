//! Whole jobs of the real programs amid faults of services, processes, clocks and disks: one run, one seed.
//!
//! `plan` draws a run, `stage` builds it up, `fleet` and `embedded` conduct it as a user would who looks now and then
//! and resumes what is incomplete, `hand` lets things happen to one process, and `check` says whether what came of it
//! is exact. [`many`] runs many seeds side by side.

mod check;
mod embedded;
mod fleet;
mod hand;
pub mod many;
mod plan;
mod shim;
mod stage;
mod zombies;

use std::any::Any;
use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use futures::FutureExt as _;

pub use self::plan::Plan;

use self::plan::Place;
use self::stage::Stage;
use crate::ministack::MiniStack;

/// Where the programs are.
#[derive(Clone, Debug)]
pub struct Paths {
    /// The coordinator.
    pub dynamend: PathBuf,
    /// The worker.
    pub worker: PathBuf,
}

/// How a run ended.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The run, in a line.
    pub title: String,
    /// What was wrong; nothing if all was well.
    pub problems: Vec<String>,
    /// Faults injected, by kind; what happened to processes too.
    pub injected: BTreeMap<String, u64>,
    /// What the services and the processes had to say, if something was wrong.
    pub logs: Vec<String>,
    /// How long it took.
    pub took: Duration,
}

/// Carries out one run.
///
/// # Panics
/// When what the run stands on fails, or a process does not end in time.
#[must_use]
pub fn run(seed: u64, paths: &Paths, services: &MiniStack) -> Outcome {
    let plan = Plan::of(seed);
    let (title, started) = (plan.title(), Instant::now());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime can be built");
    runtime.block_on(async {
        let mut stage = Stage::build(plan, paths, services).await;
        let conducted = AssertUnwindSafe(conduct(&mut stage)).catch_unwind().await;
        let mut problems = conducted.unwrap_or_else(|panic| vec![words(&*panic)]);
        if problems.is_empty() {
            problems = check::all(&stage).await;
        }
        problems.extend(check::processes(&stage));
        let logs = if problems.is_empty() { Vec::new() } else { stage.logs() };
        Outcome { title, problems, injected: stage.injected(), logs, took: started.elapsed() }
    })
}

async fn conduct(stage: &mut Stage) -> Vec<String> {
    match stage.plan.place {
        Place::Fleet { concurrency } => fleet::conduct(stage, concurrency).await,
        Place::Embedded { parallel } => embedded::conduct(stage, parallel).await,
    }
}

/// What a panic says.
fn words(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().cloned();
    let text = text.or_else(|| panic.downcast_ref::<&str>().map(|&text| text.to_owned()));
    text.unwrap_or_else(|| "it panicked".to_owned())
}

//! How much more gets done at once: where each waits for the service, 16 should do 16 times as much as one.

use std::time::Duration;

use tests::process::Running;

use super::{programs, sync};
use crate::DEADLINE;
use crate::main_job::Fleet;
use crate::replay::{Metered, Replay};

/// How far the service is away.
const LATENCY: Duration = Duration::from_millis(20);

/// Small, so that this machine's own work is not the limit.
const ITEMS_PER_PAGE: u64 = 50;
const PAGES_PER_SEGMENT: u64 = 20;
const SEGMENTS: u64 = 160;

pub(crate) async fn compare() {
    let replay = Replay::start(PAGES_PER_SEGMENT * ITEMS_PER_PAGE, LATENCY);
    let (segments, limit) = (SEGMENTS.to_string(), ITEMS_PER_PAGE.to_string());
    let job = ["--strategy", "paired", "--segments", &segments, "--scan-limit", &limit];
    println!(
        "\nA service {} ms away, {SEGMENTS} segments of {PAGES_PER_SEGMENT} pages of each table, one slave:",
        LATENCY.as_millis()
    );
    let mut alone = None;
    for at_once in [1, 2, 4, 8, 16] {
        let parallel = at_once.to_string();
        let arguments: Vec<&str> = job.iter().copied().chain(["--parallel", parallel.as_str()]).collect();
        sync(&programs(&replay), &["same"], &arguments);
        say("at once in one process", at_once, &replay.metered(), &mut alone);
    }
    let mut alone = None;
    for workers in [1, 16] {
        let fleet = Fleet::create().await;
        let programs = programs(&replay).with_services(&fleet.server.endpoint());
        let finished = fleet.sync(&programs, "same", &job);
        assert_eq!(finished.code, Some(0), "{}", finished.stderr);
        let arguments = ["--queue", &fleet.queue.url, "--concurrency", "1", "--drain", "-q"];
        let started: Vec<Running> = (0..workers).map(|_| programs.spawn_worker(&arguments)).collect();
        for worker in started {
            let finished = worker.wait(DEADLINE);
            assert_eq!(finished.code, Some(0), "{}", finished.stderr);
        }
        say("workers, --concurrency 1", workers, &replay.metered(), &mut alone);
    }
}

/// From page to page, which leaves out what programs do before and after their work.
fn say(what: &str, number: u64, metered: &Metered, alone: &mut Option<f64>) {
    let seconds = metered.seconds;
    let alone = *alone.get_or_insert(seconds);
    println!("  {number:2} {what:<24}   {seconds:6.1} s   {:5.2} x the work of one", alone / seconds);
}

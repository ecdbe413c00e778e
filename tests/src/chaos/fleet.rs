//! A job on a queue: workers die, hang and are replaced, the coordinator too, until the job has ended.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::hand::{End, Hand};
use super::plan::{Mishap, User};
use super::stage::{JOB, Stage};
use crate::proxy::Weather;
use crate::queues::Counts;

/// How long a job may take that lasts seconds without faults: on a machine so busy that leases run out, too.
const LONG: Duration = Duration::from_secs(240);

/// How long the queue may take to become empty: messages of the dead, and successors, are hidden for one lease.
const DRAINING: Duration = Duration::from_secs(90);

/// How long a worker may take to stop; its grace time is 25 s, and the machine may be busy.
const STOPPING: Duration = Duration::from_secs(60);

/// Times the job is enqueued amid faults; from then on there are none.
const FOUL_STARTS: usize = 3;

/// Of all receives that make a message a dead letter, so many at least must have ended in a late deletion.
const LATE_DELETIONS: u64 = 5;

const PAUSE: Duration = Duration::from_millis(20);

/// How often the services are asked how far the job is.
const LOOK_EVERY: Duration = Duration::from_millis(250);

struct Slot {
    hand: Hand,
    ahead: VecDeque<Mishap>,
}

/// What the coordinator is asked for next, if anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wanted {
    Sync,
    Resume,
    Nothing,
}

/// Conducts the run; says what went wrong.
pub(super) async fn conduct(stage: &mut Stage, concurrency: u32) -> Vec<String> {
    let mut problems = Vec::new();
    let mut slots: Vec<Slot> = Vec::new();
    for mishaps in stage.plan.to_workers.clone() {
        let mut ahead: VecDeque<Mishap> = mishaps.into();
        let first = ahead.pop_front();
        slots.push(Slot { hand: stage.worker(concurrency, first), ahead });
    }
    let (mut coordinator, mut wanted, mut starts): (Option<Hand>, _, _) = (None, Wanted::Sync, 0);
    let (mut user, mut looked) = (stage.plan.user, Instant::now());
    let started = Instant::now();
    loop {
        if started.elapsed() > LONG {
            problems.push(format!("the job has not ended after {LONG:?}"));
            break;
        }
        tokio::time::sleep(PAUSE).await;
        for slot in &mut slots {
            tend(stage, slot, concurrency, &mut problems);
        }
        match coordinator.as_mut().map(Hand::tick) {
            None => {
                coordinator = start(stage, wanted, starts);
                starts += usize::from(coordinator.is_some());
            }
            Some(None) => continue,
            Some(Some(end)) => {
                wanted = after(&end, &mut problems);
                coordinator = None;
                stage.ends.push(end);
                continue;
            }
        }
        if !problems.is_empty() {
            break;
        }
        let all_at_rest = slots.iter().all(|slot| slot.hand.is_at_rest());
        if coordinator.is_some() || wanted != Wanted::Nothing || !all_at_rest {
            continue;
        }
        match user {
            User::Resumes(after) if started.elapsed() >= after => (user, wanted) = (User::Patient, Wanted::Resume),
            User::Cancels(after, and_then) if started.elapsed() >= after => {
                let cancelled = stage.look(&["cancel", JOB]);
                if cancelled.code != Some(0) {
                    problems.push(format!("`cancel` exits with {:?}: {}", cancelled.code, cancelled.stderr));
                }
                user = User::Resumes(started.elapsed() + and_then);
            }
            User::Patient | User::Resumes(_) | User::Cancels(..) => {}
        }
        if user != User::Patient || wanted != Wanted::Nothing || looked.elapsed() < LOOK_EVERY {
            continue;
        }
        looked = Instant::now();
        match stage.summary().await {
            Some(summary) if summary["state"] == "succeeded" => break,
            Some(summary) => {
                if stage.injected().is_empty() {
                    problems.push(format!("the job failed without any fault: {summary}"));
                    break;
                }
                stage.proxy.calm();
                wanted = Wanted::Resume;
            }
            None => {}
        }
    }
    if problems.is_empty() {
        problems.extend(drain(stage, &mut slots, concurrency).await);
    }
    for slot in slots {
        if let Some(end) = slot.hand.terminate(STOPPING) {
            problems.extend(odd_worker(&end));
            stage.ends.push(end);
        }
    }
    problems
}

/// Lets happen to a worker what is due, and replaces it when it has ended.
fn tend(stage: &mut Stage, slot: &mut Slot, concurrency: u32, problems: &mut Vec<String>) {
    if let Some(end) = slot.hand.tick() {
        problems.extend(odd_worker(&end));
        stage.ends.push(end);
        slot.hand = stage.worker(concurrency, slot.ahead.pop_front());
    } else if slot.hand.is_at_rest()
        && !slot.hand.has_mishap_ahead()
        && let Some(mishap) = slot.ahead.pop_front()
    {
        slot.hand.prepare(mishap);
    }
}

/// What is wrong with the way a worker ended: it goes on until it is asked to stop, unless it could not even begin.
fn odd_worker(end: &End) -> Option<String> {
    let fine = match end.code {
        // One that has only just begun does not listen yet.
        None => end.was_killed() || (end.was_asked_to_stop() && end.stderr.is_empty()),
        Some(0) => end.was_asked_to_stop(),
        Some(3) => end.was_hindered() && end.stderr.contains("hint: "),
        Some(_) => false,
    };
    (!fine).then(|| format!("a worker ended in a way of its own: {}", end.title()))
}

fn start(stage: &mut Stage, wanted: Wanted, starts: usize) -> Option<Hand> {
    let weather = if starts < FOUL_STARTS { Weather::Foul } else { Weather::Fair };
    let mishap = stage.plan.to_coordinator.get(starts).copied();
    let arguments = match wanted {
        Wanted::Sync => stage.sync(),
        Wanted::Resume => vec!["resume".to_owned(), JOB.to_owned(), "-v".to_owned()],
        Wanted::Nothing => return None,
    };
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    Some(stage.coordinator(&arguments, weather, mishap))
}

/// What the user does after the coordinator ended.
fn after(end: &End, problems: &mut Vec<String>) -> Wanted {
    match end.code {
        // `resume` answers as the job would when there is nothing left to do.
        Some(0 | 1) => Wanted::Nothing,
        // It may have been killed before there was a job, or after.
        None if end.was_killed() => Wanted::Resume,
        Some(3) if end.stderr.contains("there is no job") => Wanted::Sync,
        Some(3) if end.was_hindered() && end.stderr.contains("hint: ") => Wanted::Resume,
        _ => {
            problems.push(format!("the coordinator ended in a way of its own: {}", end.title()));
            Wanted::Nothing
        }
    }
}

/// Waits until the queue holds nothing; its dead letters are those of units that failed.
async fn drain(stage: &mut Stage, slots: &mut [Slot], concurrency: u32) -> Vec<String> {
    let queue = stage.queue.clone().expect("a fleet has a queue");
    let (started, mut problems) = (Instant::now(), Vec::new());
    loop {
        let counts = queue.counts().await;
        if (Counts { dead: 0, ..counts }) == Counts::default() {
            let failed = stage.ends.iter().any(|end| end.stderr.contains("the unit cannot go on"));
            let running = slots.iter().any(|slot| slot.hand.stderr().contains("the unit cannot go on"));
            // Where the machine is so busy that a message comes back before it is deleted, time and again, it ends there.
            let late = stage.proxy.record().late_deletions;
            if late < LATE_DELETIONS * counts.dead && !failed && !running {
                problems.push(format!("{} healthy messages are dead letters", counts.dead));
            }
            return problems;
        }
        if started.elapsed() > DRAINING || !problems.is_empty() {
            problems.push(format!("messages are left: {counts:?}"));
            return problems;
        }
        let looked = Instant::now();
        while looked.elapsed() < LOOK_EVERY {
            tokio::time::sleep(PAUSE).await;
            for slot in &mut *slots {
                tend(stage, slot, concurrency, &mut problems);
            }
        }
    }
}

//! Before anything is started: can every entry of the plan be carried out? All that is in the way is told at once.

use futures::stream::{self, StreamExt as _};
use shared::domain::job::Side;
use shared::journal::JournalError;
use worker::environment::Environment;
use worker::plan::{CannotPlan, look_at};

use super::jobs::{Asked, Job};
use crate::failure::{Exit, Failure};
use crate::plan_file::{Entry, PlanFile, Step, StreamEnd};
use crate::settings::Settings;

/// Entries that are looked at at once; DescribeTimeToLive is allowed ten times per second.
///
/// Source: Amazon DynamoDB API Reference, DescribeTimeToLive.
const ENTRIES_AT_ONCE: usize = 4;

/// Whether the ids of the jobs were chosen by a person, who may have used them before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ids {
    New,
    Chosen,
}

/// Looks at everything that the plan names, and writes nothing.
///
/// # Errors
/// Everything that is in the way, of all entries.
pub(super) async fn check(
    settings: &Settings,
    file: &str,
    plan: &PlanFile,
    jobs: &[Vec<Job>],
    ids: Ids,
) -> Result<(), Failure> {
    let environment = settings.environment();
    let looks = plan.entries.iter().zip(jobs).map(|(entry, jobs)| {
        let environment = &environment;
        async move {
            let mut found = of_tables(entry, jobs, environment).await;
            if ids == Ids::Chosen {
                found.extend(used_ids(settings, jobs).await);
            }
            found
        }
    });
    let mut found: Vec<Vec<Failure>> = stream::iter(looks).buffered(ENTRIES_AT_ONCE).collect().await;
    for (found, never) in found.iter_mut().zip(never_in_turn(plan)) {
        found.extend(never);
    }
    let all: Vec<(usize, &Entry, Failure)> = (1..)
        .zip(plan.entries.iter().zip(found))
        .flat_map(|(number, (entry, found))| found.into_iter().map(move |failure| (number, entry, failure)))
        .collect();
    let Some(exit) = all.iter().map(|(_, _, failure)| failure.exit).max() else { return Ok(()) };
    let what = match all.len() {
        1 => "one thing is in the way".to_owned(),
        n => format!("{n} things are in the way"),
    };
    let mut message = format!("{file} cannot be carried out; {what}:");
    for (number, entry, Failure { message: why, hint, .. }) in &all {
        let line = entry.place.line;
        message.push_str(&format!("\n  {file}:{line}: entry {number} ({}): {why}\n      {hint}", entry.name));
    }
    Err(Failure { exit, message, hint: "put it right and run the plan again; nothing was started".to_owned() })
}

/// What is wrong with the tables of an entry and their streams: all of it, though a plan stops at the first.
async fn of_tables(entry: &Entry, jobs: &[Job], environment: &Environment) -> Vec<Failure> {
    let mut found: Vec<CannotPlan> = Vec::new();
    let of_input = look_at(&entry.input, &[], environment).await.map_err(|error| found.push(error)).ok();
    let mut fit: Vec<Side> = Vec::new();
    for output in &entry.outputs {
        let alone = look_at(output, &[], environment).await;
        let looked = match (alone, &of_input) {
            (Ok(_), Some(_)) => look_at(&entry.input, std::slice::from_ref(output), environment).await.map(drop),
            (alone, _) => alone.map(drop),
        };
        match looked {
            Ok(()) => fit.push(output.clone()),
            Err(error) => found.push(error),
        }
    }
    if let Some((of_input, _)) = of_input {
        // The rest is judged with the outputs that can be used at all.
        for mut asked in jobs.iter().map(|job| job.asked.clone()) {
            if fit.is_empty() {
                let lacks_stream = matches!(&asked, Asked::Replicate(request) if request.kinesis.is_none())
                    && of_input.stream.is_none();
                found.extend(lacks_stream.then(|| CannotPlan::NoStream { table: entry.input.table.to_string() }));
            } else {
                asked.tables().slaves.clone_from(&fit);
                found.extend(asked.plan(environment).await.err());
            }
        }
    }
    let mut failures: Vec<Failure> = Vec::new();
    for failure in found.into_iter().map(Failure::from) {
        if failures.iter().all(|other| other.message != failure.message) {
            failures.push(failure);
        }
    }
    failures
}

/// Ids of jobs that the store has already.
async fn used_ids(settings: &Settings, jobs: &[Job]) -> Vec<Failure> {
    let mut found = Vec::new();
    for mut asked in jobs.iter().map(|job| job.asked.clone()) {
        let job = asked.tables().job.clone();
        let manifest = match settings.journal(&job).await {
            Ok(journal) => journal.manifest().await,
            Err(failure) => {
                found.push(failure);
                continue;
            }
        };
        match manifest {
            Err(JournalError::NoSuchJob { .. }) => {}
            Ok(_) => found.push(Failure::usage(
                format!("there is a job {job} already"),
                format!("choose another --job-id, or continue that job with `dynamend resume {job}`"),
            )),
            Err(error) => found.push(error.into()),
        }
    }
    found
}

/// Entries that would wait for ever, because as many before them as are worked on at once have no end.
fn never_in_turn(plan: &PlanFile) -> impl Iterator<Item = Option<Failure>> {
    let at_once = plan.concurrency.map_or(usize::MAX, |at_once| usize::try_from(at_once).unwrap_or(usize::MAX));
    let mut endless = 0;
    plan.entries.iter().map(move |entry| {
        let never = endless >= at_once;
        let is_endless = |step: &Step| matches!(step, Step::Stream(stream) if stream.end == StreamEnd::Never);
        endless += usize::from(entry.steps.iter().any(is_endless));
        never.then(|| Failure {
            exit: Exit::Usage,
            message: "this entry never gets its turn: the streams of those before it have no end".to_owned(),
            hint: "raise `concurrency`, or say `until_caught_up: SECONDS` in their `stream`".to_owned(),
        })
    })
}

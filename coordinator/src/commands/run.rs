//! `run`: a plan file, carried out: everything is looked at first, and then the entries are worked on, several at once.

mod entry;
mod jobs;
mod preflight;

use futures::stream::{self, StreamExt as _};
use serde_json::json;
use tokio_util::sync::CancellationToken;
use worker::plan::{GlobalTables, new_job_id};

use self::entry::{Doing, Ended};
use self::jobs::{Common, Job, jobs_of};
use self::preflight::Ids;
use super::sync::Wait;
use crate::cli::{OutputFormat, RunArgs};
use crate::failure::{Exit, Failure};
use crate::live::board::Board;
use crate::output::{Output, note, say_failure};
use crate::plan_file::{Entry, PlanFile, Step};
use crate::settings::{Settings, default_parallel};
use crate::view;

pub(super) async fn run(settings: &Settings, args: RunArgs, stop: CancellationToken) -> Result<Exit, Failure> {
    let plan = PlanFile::load(&args.plan, &settings.plan_defaults())?;
    let file = if args.plan.as_os_str() == "-" { "standard input".into() } else { args.plan.display().to_string() };
    let queue = match &settings.queue {
        Some(url) => Some(settings.open_queue(url).await?),
        None => None,
    };
    let at_once = plan.concurrency.map_or(plan.entries.len(), |most| usize::try_from(most).unwrap_or(usize::MAX));
    let common = Common {
        run: args.new_job.job_id.clone().unwrap_or_else(new_job_id),
        parallel: share(plan.parallel.unwrap_or_else(default_parallel), at_once.min(plan.entries.len())),
        global_tables: if args.allow_global_table { GlobalTables::Allow } else { GlobalTables::Refuse },
        encryption: settings.encryption(&args.encryption)?,
    };
    let jobs: Vec<Vec<Job>> = (1..).zip(&plan.entries).map(|(number, entry)| jobs_of(entry, number, &common)).collect();
    let ids = if args.new_job.job_id.is_some() { Ids::Chosen } else { Ids::New };
    tokio::select! {
        checked = preflight::check(settings, &file, &plan, &jobs, ids) => checked?,
        () = stop.cancelled() => {
            note("interrupted; nothing was started");
            return Ok(Exit::Interrupted);
        }
    }
    // What comes after a job needs somebody who waits for that.
    let wait = Wait::from(queue.is_none() || args.new_job.wait || jobs.iter().any(|jobs| jobs.len() > 1));
    let watched = plan.entries.iter().filter(|_| wait == Wait::Yes);
    let board = Board::new(watched.map(|entry| (entry.name.clone(), entry.steps.iter().map(Step::kind))));
    let is_queued = queue.is_some();
    let doing = Doing { settings, queue, wait, parallel: common.parallel, board: &board, stop: &stop };
    let work = plan.entries.iter().zip(jobs).enumerate().map(|(index, (entry, jobs))| {
        let doing = &doing;
        async move { (index, doing.carry_out(index, &entry.name, jobs).await) }
    });
    let work = stream::iter(work).buffer_unordered(at_once.max(1)).collect::<Vec<(usize, Ended)>>();
    let mut ended = Box::pin(board.shown(settings.progress, work)).await;
    ended.sort_by_key(|(index, _)| *index);
    let ended: Vec<(&Entry, Ended)> = plan.entries.iter().zip(ended.into_iter().map(|(_, ended)| ended)).collect();
    write(settings, &common.run, &ended)?;
    advise(settings, &ended, is_queued);
    Ok(ended.iter().filter_map(|(_, ended)| ended.exit).max().unwrap_or(Exit::Agree))
}

/// Each entry's part of the segments that are worked on at once; none has less than one.
fn share(parallel: u32, entries: usize) -> u32 {
    (parallel / u32::try_from(entries.max(1)).unwrap_or(u32::MAX)).max(1)
}

/// Writes where the jobs of all entries stand.
fn write(settings: &Settings, run: &str, ended: &[(&Entry, Ended)]) -> Result<(), Failure> {
    let mut output = Output::new();
    match settings.output {
        OutputFormat::Json => {
            let entries: Vec<_> = ended
                .iter()
                .map(|(entry, ended)| {
                    let error = ended.failure.as_ref().map(|failure| &failure.message);
                    json!({ "name": entry.name, "jobs": ended.jobs, "error": error })
                })
                .collect();
            output.json(&json!({ "run": run, "entries": entries }))?;
        }
        OutputFormat::Text => {
            output.line(&format!("run {run}"))?;
            for (entry, ended) in ended {
                output.line(&format!("\n== {} ==", entry.name))?;
                for summary in &ended.jobs {
                    output.line(&format!("\n{}", view::summary(summary)))?;
                }
                if let Some(failure) = &ended.failure {
                    output.line(&format!("\nfailed: {}", failure.message))?;
                } else if ended.jobs.is_empty() {
                    output.line("\nnot begun")?;
                }
            }
        }
    }
    output.finish()?;
    Ok(())
}

/// Says what failed, and how to go on with what was interrupted.
fn advise(settings: &Settings, ended: &[(&Entry, Ended)], is_queued: bool) {
    for (entry, Ended { failure, .. }) in ended {
        if let Some(Failure { exit, message, hint }) = failure {
            let message = format!("entry {}: {message}", entry.name);
            say_failure(&Failure { exit: *exit, message, hint: hint.clone() });
        }
    }
    let interrupted: Vec<&String> = ended.iter().filter_map(|(_, ended)| ended.interrupted.as_ref()).collect();
    if settings.output == OutputFormat::Text {
        let jobs = ended.iter().flat_map(|(_, ended)| &ended.jobs);
        let others = jobs.filter(|summary| !interrupted.contains(&&summary.job));
        others.filter_map(view::next_step).for_each(|next| settings.note(&format!("\n{next}")));
    }
    if ended.iter().any(|(_, ended)| ended.exit == Some(Exit::Interrupted)) {
        let (what, command) = if is_queued {
            ("the workers go on", "stop them with `dynamend cancel")
        } else {
            ("what was done is saved", "continue with `dynamend resume")
        };
        let mut text = format!("interrupted; {what}\n");
        for job in interrupted {
            text.push_str(&format!("\nhint: {command} {job}`"));
        }
        for (entry, Ended { left, .. }) in ended.iter().filter(|(_, ended)| !ended.left.is_empty()) {
            let left: Vec<&str> = left.iter().map(|step| step.name()).collect();
            text.push_str(&format!("\nhint: not begun of {}: {}", entry.name, left.join(", ")));
        }
        note(&text);
    }
}

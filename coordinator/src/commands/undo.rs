//! `undo`: what a job's repairs overwrote or deleted is put back, where nothing has changed since.

use std::sync::Arc;

use serde_json::{Value as Json, json};
use shared::domain::job::OldImages;
use shared::domain::summary::JobState;
use shared::pacing::Meter;
use tokio_util::sync::CancellationToken;
use worker::context::OpenJobs;
use worker::hooks::NoHooks;
use worker::jobs::Stuck;
use worker::jobs::undo::{Counts, Ended, Undone, undo};

use crate::cli::{OutputFormat, UndoArgs};
use crate::failure::{Exit, Failure};
use crate::output::{Output, note};
use crate::settings::{Settings, sides_of};

/// Keys of changed items that a JSON result lists; of any more it only has the count.
const MAX_LISTED: usize = 1000;

pub(super) async fn run(settings: &Settings, args: &UndoArgs, stop: CancellationToken) -> Result<Exit, Failure> {
    let id = &args.job.job;
    let journal = settings.journal(id).await?;
    let manifest = journal.manifest().await?;
    if manifest.sync.old_images == OldImages::Drop {
        return Err(Failure::usage(
            format!("job {id} kept no old images"),
            "only repairs of a `sync --undo` can be undone; other slaves are restored from a backup",
        ));
    }
    let summary = journal.summary(&manifest).await?;
    if matches!(summary.state, JobState::Queued | JobState::Running) || summary.units.running > 0 {
        return Err(Failure::failed(
            format!("job {id} still runs"),
            format!(
                "stop it with `dynamend cancel {id}`, and undo it when `dynamend status {id}` shows no segment running"
            ),
        ));
    }
    settings.sign_in(&sides_of(&manifest), &args.mfa).await?;
    let jobs = OpenJobs::new(settings.environment(), Arc::new(NoHooks), Arc::new(Meter::default()));
    let job = jobs.open(id, &journal.manifest_url()).await?;
    let mut counts = vec![Counts::default(); manifest.slaves.len()];
    let mut output = Output::new();
    let mut changed: Vec<Json> = Vec::new();
    let slaves = &job.labels[1..];
    let told = |slave: usize, key: &shared::domain::key::Key, undone: Undone| {
        counts[slave].add(undone);
        if undone == Undone::Changed && changed.len() < MAX_LISTED {
            changed.push(json!({"slave": slaves[slave], "key": key.to_json()}));
        }
    };
    let ended = undo(&job, &stop, told).await?;
    let remaining: u64 = counts.iter().map(|counts| counts.changed).sum();
    match settings.output {
        OutputFormat::Json => output.json(&json!({
            "job": id,
            "slaves": slaves.iter().zip(&counts).map(|(table, counts)| json!({
                "table": table,
                "restored": counts.restored,
                "removed": counts.removed,
                "already_back": counts.already_back,
                "changed": counts.changed,
            })).collect::<Vec<_>>(),
            "changed": changed,
        }))?,
        OutputFormat::Text => {
            for (table, Counts { restored, removed, already_back, changed }) in slaves.iter().zip(&counts) {
                output.line(&format!(
                    "{table}: {restored} items put back, {removed} removed, {already_back} were as before, \
                     {changed} changed since and were left alone"
                ))?;
            }
            for line in &changed {
                output.line(&format!(
                    "changed since  {}  {}",
                    line["slave"].as_str().unwrap_or_default(),
                    line["key"]
                ))?;
            }
        }
    }
    output.finish()?;
    Ok(match (ended, remaining) {
        (Ended::Stopped, _) => {
            note(&format!("interrupted; what was put back stays so\n\nhint: go on with `dynamend undo {id}`"));
            Exit::Interrupted
        }
        (Ended::Whole, 0) => Exit::Agree,
        (Ended::Whole, _) => Exit::Differ,
    })
}

impl From<Stuck> for Failure {
    fn from(stuck: Stuck) -> Self {
        match stuck {
            Stuck::Port(failure) => failure.into(),
            Stuck::Journal(error) => error.into(),
        }
    }
}

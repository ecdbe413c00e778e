//! `sync`: plan, create the job, and either do its work here or put it onto the queue.

use std::sync::Arc;

use shared::domain::control::Control;
use shared::domain::job::{JobKind, Manifest};
use shared::domain::summary::{Fold, JobState, Summary};
use shared::domain::unit::{Pass, Unit};
use shared::journal::Journal;
use shared::ports::queue::WorkQueue;
use tokio_util::sync::CancellationToken;
use worker::embedded::Embedded;
use worker::plan::plan;

use crate::cli::{OutputFormat, SyncArgs};
use crate::failure::{Exit, Failure};
use crate::output::{Output, note};
use crate::publish::{Published, publish};
use crate::settings::{Settings, default_parallel};
use crate::{follow, quote, view, watch};

/// Whether a queued job is followed to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wait {
    Yes,
    No,
}

impl From<bool> for Wait {
    fn from(asked: bool) -> Self {
        if asked { Self::Yes } else { Self::No }
    }
}

pub(super) async fn run(settings: &Settings, args: SyncArgs, stop: CancellationToken) -> Result<Exit, Failure> {
    let request = settings.sync_request(&args)?;
    let sides: Vec<_> = std::iter::once(&request.master).chain(&request.slaves).collect();
    settings.sign_in(&sides, &args.mfa).await?;
    let queue = match &settings.queue {
        Some(url) => Some(settings.open_queue(url).await?),
        None => None,
    };
    let manifest = plan(request, &settings.environment()).await?;
    let journal = settings.journal(&manifest.job).await?;
    journal.create(&manifest).await?;
    settings.note(&quote::strategy_note(&manifest));
    let parallel = args.scan.parallel.unwrap_or_else(default_parallel);
    carry_out(settings, (&journal, &manifest), queue.as_deref(), parallel, args.new_job.wait.into(), stop).await
}

/// Does the segments of a new job here, or puts them onto the queue.
pub(super) async fn carry_out(
    settings: &Settings,
    (journal, manifest): (&Journal, &Manifest),
    queue: Option<&dyn WorkQueue>,
    parallel: u32,
    wait: Wait,
    stop: CancellationToken,
) -> Result<Exit, Failure> {
    let units = manifest.units().collect();
    match queue {
        Some(queue) => {
            let queued = Fold::new(manifest).finish(&Control::default());
            let published = enqueue(settings, queue, journal, manifest, units, &stop).await?;
            after_enqueuing(settings, journal, manifest, &queued, published, wait, &stop).await
        }
        None => work_here(settings, journal, manifest, units, parallel, stop).await,
    }
}

/// Does these units in this process and shows where the job stands after.
pub(super) async fn work_here(
    settings: &Settings,
    journal: &Journal,
    manifest: &Manifest,
    units: Vec<Unit>,
    parallel: u32,
    stop: CancellationToken,
) -> Result<Exit, Failure> {
    let summary = work_quietly(settings, journal, manifest, units, parallel, &stop).await?;
    show(settings, &summary)?;
    Ok(exit_of(settings, &summary, &stop))
}

/// Does these units in this process.
pub(super) async fn work_quietly(
    settings: &Settings,
    journal: &Journal,
    manifest: &Manifest,
    units: Vec<Unit>,
    parallel: u32,
    stop: &CancellationToken,
) -> Result<Summary, Failure> {
    let mut embedded = Embedded::new(settings.environment(), usize::try_from(parallel).unwrap_or(1));
    embedded.stop = stop.clone();
    let meter = Arc::clone(&embedded.meter);
    let total = manifest.unit_count();
    let segments = units.iter().filter(|unit| unit.pass != Pass::Stream).count();
    let ended_before = total.saturating_sub(segments) as u64;
    settings.note(&match (segments, &manifest.replicate) {
        (0, Some(replicate)) => format!("job {}: following {}", manifest.job, replicate.source.arn()),
        _ => format!("job {}: {segments} segments, {parallel} at once", manifest.job),
    });
    let work = embedded.work(journal, manifest, units);
    if matches!(manifest.kind, JobKind::Backfill | JobKind::Replicate) {
        return Ok(Box::pin(watch::work(settings.progress, (journal, manifest), meter, work)).await?);
    }
    Ok(follow::meter(settings.progress, meter, ended_before, total as u64, work).await?)
}

/// Puts these units onto the queue.
pub(super) async fn enqueue(
    settings: &Settings,
    queue: &dyn WorkQueue,
    journal: &Journal,
    manifest: &Manifest,
    units: Vec<Unit>,
    stop: &CancellationToken,
) -> Result<Published, Failure> {
    let count = units.len();
    let published = publish(queue, manifest, &journal.manifest_url(), units, stop).await.map_err(|failure| {
        let failure = Failure::from(failure);
        let hint = format!("{}; then enqueue the rest with `dynamend resume {}`", failure.hint, manifest.job);
        Failure { hint, ..failure }
    })?;
    if published == Published::All {
        settings.note(&format!("job {}: {count} segments are on the queue", manifest.job));
    }
    Ok(published)
}

/// Says what was enqueued, or follows the job to its end if asked.
pub(super) async fn after_enqueuing(
    settings: &Settings,
    journal: &Journal,
    manifest: &Manifest,
    queued: &Summary,
    published: Published,
    wait: Wait,
    stop: &CancellationToken,
) -> Result<Exit, Failure> {
    let job = &manifest.job;
    if published == Published::Some {
        note(&format!("interrupted: not every segment is on the queue\n\nhint: dynamend resume {job}"));
        return Ok(Exit::Interrupted);
    }
    if wait == Wait::No {
        let mut output = Output::new();
        match settings.output {
            OutputFormat::Text => output.line(job)?,
            OutputFormat::Json => output.json(queued)?,
        }
        output.finish()?;
        if settings.output == OutputFormat::Text {
            settings.note(&format!("to follow it: dynamend status {job} --watch"));
        }
        return Ok(Exit::Agree);
    }
    let summary = follow::folder(settings.progress, journal, manifest, stop).await?;
    show(settings, &summary)?;
    if stop.is_cancelled() && !summary.state.has_ended() {
        note(&format!("interrupted; the workers go on\n\nhint: stop them with `dynamend cancel {job}`"));
        return Ok(Exit::Interrupted);
    }
    Ok(exit_of(settings, &summary, stop))
}

/// Writes where a job stands.
pub(super) fn show(settings: &Settings, summary: &Summary) -> Result<(), Failure> {
    let mut output = Output::new();
    match settings.output {
        OutputFormat::Text => output.line(&view::summary(summary))?,
        OutputFormat::Json => output.json(summary)?,
    }
    output.finish()?;
    Ok(())
}

/// Says what to do next about a job, if anything.
pub(super) fn advise(settings: &Settings, summary: &Summary) {
    if let (OutputFormat::Text, Some(next)) = (settings.output, view::next_step(summary)) {
        settings.note(&format!("\n{next}"));
    }
}

/// How a command ends whose job stands like this.
pub(super) fn exit_of(settings: &Settings, summary: &Summary, stop: &CancellationToken) -> Exit {
    if stop.is_cancelled() && !matches!(summary.state, JobState::Succeeded | JobState::Failed) {
        note(&format!("interrupted; what was done is saved\n\nhint: continue with `dynamend resume {}`", summary.job));
        return Exit::Interrupted;
    }
    advise(settings, summary);
    Exit::of(summary)
}

//! `restore`: plan, create the table if asked, create the job, restore, and hold the table against the backup if asked.

use serde_json::json;
use shared::domain::control::Control;
use shared::domain::summary::{Fold, Summary};
use shared::journal::Journal;
use shared::ports::queue::WorkQueue;
use tokio_util::sync::CancellationToken;
use worker::plan_restore::{Restore, plan_restore};

use super::sync::{after_enqueuing, enqueue, exit_of, show, work_quietly};
use crate::cli::OutputFormat;
use crate::cli::backup::RestoreArgs;
use crate::failure::{Exit, Failure};
use crate::output::Output;
use crate::settings::{Settings, default_parallel};
use crate::{follow, view};

pub(super) async fn run(settings: &Settings, args: RestoreArgs, stop: CancellationToken) -> Result<Exit, Failure> {
    if args.verify && settings.queue.is_some() && !args.new_job.wait {
        return Err(Failure::usage(
            "--verify comes at the end, and nobody waits for it",
            "give --wait as well, or leave out --verify and compare with `dynamend sync` when the job has ended",
        ));
    }
    let request = settings.restore_request(&args)?;
    settings.sign_in(&[&request.tables.master], &args.access.mfa()).await?;
    let queue = match &settings.queue {
        Some(url) => Some(settings.open_queue(url).await?),
        None => None,
    };
    let restore = plan_restore(request, &settings.environment()).await?;
    restore.notes.iter().for_each(|note| settings.note(&format!("note: {note}")));
    let parallel = args.cut.parallel.unwrap_or_else(default_parallel);
    let journal = create(settings, &restore).await?;
    let manifest = &restore.manifest;
    let units: Vec<_> = manifest.units().collect();
    let summary = match &queue {
        Some(queue) => {
            let queued = Fold::new(manifest).finish(&Control::default());
            let published = enqueue(settings, &**queue, &journal, manifest, units, &stop).await?;
            if !args.verify {
                let wait = args.new_job.wait.into();
                return after_enqueuing(settings, &journal, manifest, &queued, published, wait, &stop).await;
            }
            follow::folder(settings.progress, &journal, manifest, &stop).await?
        }
        None => work_quietly(settings, &journal, manifest, units, parallel, &stop).await?,
    };
    let exit = exit_of(settings, &summary, &stop);
    if !args.verify || exit > Exit::Differ {
        show(settings, &summary)?;
        return Ok(exit);
    }
    if settings.output == OutputFormat::Text {
        show(settings, &summary)?;
    }
    let verified = verify(settings, &restore, queue.as_deref(), parallel, &stop).await?;
    let mut output = Output::new();
    match settings.output {
        OutputFormat::Json => output.json(&json!({ "restore": summary, "verify": verified }))?,
        OutputFormat::Text => output.line(&format!("\n{}", view::summary(&verified)))?,
    }
    output.finish()?;
    Ok(exit.max(exit_of(settings, &verified, &stop)))
}

async fn create(settings: &Settings, restore: &Restore) -> Result<Journal, Failure> {
    let journal = settings.journal(&restore.manifest.job).await?;
    match &restore.files {
        Some(files) => journal.create_reading(&restore.manifest, files).await?,
        None => journal.create(&restore.manifest).await?,
    }
    Ok(journal)
}

/// Holds the table against the backup, where the restore was done.
async fn verify(
    settings: &Settings,
    restore: &Restore,
    queue: Option<&dyn WorkQueue>,
    parallel: u32,
    stop: &CancellationToken,
) -> Result<Summary, Failure> {
    let verification = restore.verification();
    let manifest = &verification.manifest;
    let journal = create(settings, &verification).await?;
    settings.note(&format!("job {}: holding the table against the backup", manifest.job));
    let units = manifest.units().collect();
    match queue {
        Some(queue) => {
            enqueue(settings, queue, &journal, manifest, units, stop).await?;
            Ok(follow::folder(settings.progress, &journal, manifest, stop).await?)
        }
        None => work_quietly(settings, &journal, manifest, units, parallel, stop).await,
    }
}

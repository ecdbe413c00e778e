//! `backfill`: plan, create the job, and either copy here or put the segments onto the queue.

use shared::domain::job::{BackfillSettings, Existing};
use tokio_util::sync::CancellationToken;
use worker::plan::plan_backfill;

use super::sync::carry_out;
use crate::cli::BackfillArgs;
use crate::failure::{Exit, Failure};
use crate::settings::{Settings, default_parallel};

pub(super) async fn run(settings: &Settings, args: BackfillArgs, stop: CancellationToken) -> Result<Exit, Failure> {
    let request = settings.backfill_request(&args)?;
    let sides: Vec<_> = std::iter::once(&request.master).chain(&request.slaves).collect();
    settings.sign_in(&sides, &args.copy.mfa).await?;
    let queue = match &settings.queue {
        Some(url) => Some(settings.open_queue(url).await?),
        None => None,
    };
    let manifest = plan_backfill(request, backfill_settings(args.only_missing), &settings.environment()).await?;
    let journal = settings.journal(&manifest.job).await?;
    journal.create(&manifest).await?;
    let parallel = args.copy.scan.parallel.unwrap_or_else(default_parallel);
    let wait = args.copy.new_job.wait.into();
    carry_out(settings, (&journal, &manifest), queue.as_deref(), parallel, wait, stop).await
}

/// What is done about an item that a slave has already.
pub(super) fn backfill_settings(only_missing: bool) -> BackfillSettings {
    BackfillSettings { existing: if only_missing { Existing::Keep } else { Existing::Overwrite } }
}

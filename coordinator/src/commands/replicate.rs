//! `replicate`: plan, create the job, and either follow here or leave it to the workers; then compare, if asked.

use serde_json::json;
use shared::domain::decide::{ExtraHandling, Policy};
use shared::domain::job::{Ends, Manifest, Side, SyncSettings};
use shared::domain::summary::Summary;
use shared::journal::StoreUrl;
use tokio_util::sync::CancellationToken;
use worker::following;
use worker::plan::{GlobalTables, LimitsAsked, Segments, SyncRequest, plan};
use worker::plan_backup::mark_followed;
use worker::plan_replicate::{From, ReplicateRequest, Stood, plan_replicate};

use super::backfill::backfill_settings;
use super::sync::{after_enqueuing, enqueue, exit_of, show, work_quietly};
use crate::cli::{FromArg, OutputFormat, ReplicateArgs};
use crate::failure::{Exit, Failure};
use crate::output::Output;
use crate::settings::{Settings, default_parallel};
use crate::{follow, view};

pub(super) async fn run(settings: &Settings, args: ReplicateArgs, stop: CancellationToken) -> Result<Exit, Failure> {
    if args.verify && settings.queue.is_some() && !args.copy.new_job.wait {
        return Err(Failure::usage(
            "--verify comes at the end, and nobody waits for it",
            "give --wait as well, or run `dynamend sync` when the job has ended",
        ));
    }
    let request = request(settings, &args).await?;
    let tables = &request.tables;
    let sides: Vec<_> = std::iter::once(&tables.master).chain(&tables.slaves).collect();
    settings.sign_in(&sides, &args.copy.mfa).await?;
    let queue = match &settings.queue {
        Some(url) => Some(settings.open_queue(url).await?),
        None => None,
    };
    let (manifest, shards) = plan_replicate(request, &settings.environment()).await?;
    mark_followed(&settings.environment(), &manifest).await?;
    let journal = settings.journal(&manifest.job).await?;
    journal.create_following(&manifest, &shards).await?;
    let units: Vec<_> = manifest.units().collect();
    let parallel = args.copy.scan.parallel.unwrap_or_else(default_parallel);
    let summary = match queue {
        Some(queue) => {
            let queued = journal.summary(&manifest).await?;
            let published = enqueue(settings, &*queue, &journal, &manifest, units, &stop).await?;
            following::hand_out(&journal, &manifest, &*queue).await?;
            if !args.verify {
                let wait = args.copy.new_job.wait.into();
                return after_enqueuing(settings, &journal, &manifest, &queued, published, wait, &stop).await;
            }
            follow::folder(settings.progress, &journal, &manifest, &stop).await?
        }
        None => work_quietly(settings, &journal, &manifest, units, parallel, &stop).await?,
    };
    let exit = exit_of(settings, &summary, &stop);
    if !args.verify || exit > Exit::Differ {
        show(settings, &summary)?;
        return Ok(exit);
    }
    if settings.output == OutputFormat::Text {
        show(settings, &summary)?;
    }
    let (verified, found) = verify(settings, &manifest, parallel, &stop).await?;
    let mut output = Output::new();
    match settings.output {
        OutputFormat::Json => output.json(&json!({ "replicate": summary, "verify": verified }))?,
        OutputFormat::Text => output.line(&format!("\n{}", view::summary(&verified)))?,
    }
    output.finish()?;
    Ok(exit.max(found))
}

async fn request(settings: &Settings, args: &ReplicateArgs) -> Result<ReplicateRequest, Failure> {
    let tables = settings.replicate_request(args)?;
    let from = match &args.from {
        FromArg::Latest => From::Latest,
        FromArg::TrimHorizon => From::TrimHorizon,
        FromArg::Time(from_ms) => From::Time(*from_ms),
        FromArg::Job(job) => From::Stood(Stood::of(&settings.journal(job).await?).await?),
    };
    let backup = match &args.to_backup {
        Some(url) => Some(url.parse::<StoreUrl>()?.absolute()?.to_string()),
        None => None,
    };
    Ok(ReplicateRequest {
        tables,
        backfill: args.backfill.then(|| backfill_settings(args.only_missing)),
        from,
        kinesis: args.kinesis.clone(),
        ends: args.until_caught_up.map_or(Ends::WithTheStream, |seconds| Ends::CaughtUp(u64::from(seconds) * 1000)),
        origin_attribute: args.origin_attribute.clone(),
        backup,
    })
}

/// Compares the tables of a replication that has ended, and repairs nothing.
async fn verify(
    settings: &Settings,
    replicated: &Manifest,
    parallel: u32,
    stop: &CancellationToken,
) -> Result<(Summary, Exit), Failure> {
    let side = |side: &Side| Side::new(side.table.clone(), side.access.clone());
    let marks = replicated.replicate.as_ref().and_then(|replicate| replicate.origin_attribute.clone());
    let request = SyncRequest {
        job: format!("{}-verify", replicated.job),
        master: side(&replicated.master),
        slaves: replicated.slaves.iter().map(side).collect(),
        segments: Segments::Auto { at_once: parallel },
        only_segments: None,
        sample: None,
        starting_keys: std::collections::BTreeMap::new(),
        global_tables: GlobalTables::default(),
        encryption: replicated.encryption.clone(),
        limits: LimitsAsked::default(),
        settings: SyncSettings {
            policy: Policy { extra: ExtraHandling::Report, ..Policy::default() },
            ignore: marks.into_iter().collect(),
            version_attribute: replicated.sync.version_attribute.clone(),
            ..SyncSettings::default()
        },
    };
    let mut manifest = plan(request, &settings.environment()).await?;
    manifest.limits = replicated.limits.clone();
    let journal = settings.journal(&manifest.job).await?;
    journal.create(&manifest).await?;
    settings.note(&format!("job {}: comparing the tables", manifest.job));
    let units = manifest.units().collect();
    let summary = work_quietly(settings, &journal, &manifest, units, parallel, stop).await?;
    let exit = exit_of(settings, &summary, stop);
    Ok((summary, exit))
}

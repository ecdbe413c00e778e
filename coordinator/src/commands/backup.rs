//! `backup full`, `incremental` and `snapshot`: plan, create the job, and do its work here or put it onto the queue.

use shared::domain::control::Control;
use shared::domain::job::Manifest;
use shared::domain::summary::Fold;
use tokio_util::sync::CancellationToken;
use worker::finishing;
use worker::plan::CannotPlan;
use worker::plan_backup::{plan_full, plan_incremental, plan_snapshot};

use super::sync::{Wait, after_enqueuing, enqueue, work_here};
use crate::cli::backup::{BackupArgs, BackupCommand};
use crate::failure::{Exit, Failure};
use crate::settings::{Settings, default_parallel};

pub(super) async fn run(settings: &Settings, args: BackupArgs, stop: CancellationToken) -> Result<Exit, Failure> {
    let environment = settings.environment();
    // Whether it is begun at all is part of what the metrics tell.
    let (planned, namespace, table, parallel, wait) = match args.command {
        BackupCommand::Full(args) => {
            let request = settings.full_request(&args)?;
            settings.sign_in(&[&request.tables.master], &args.of.access.mfa()).await?;
            let of = &args.of;
            let planned = plan_full(request, &environment).await;
            (planned, of.metric_namespace.clone(), of.table.name().to_owned(), of.scan.parallel, of.new_job.wait)
        }
        BackupCommand::Incremental(args) => {
            let request = settings.incremental_request(&args)?;
            settings.sign_in(&[&request.tables.master], &args.of.access.mfa()).await?;
            let of = &args.of;
            let planned = plan_incremental(request, &environment).await;
            (planned, of.metric_namespace.clone(), of.table.name().to_owned(), of.scan.parallel, of.new_job.wait)
        }
        BackupCommand::Snapshot(args) => {
            let request = settings.snapshot_request(&args)?;
            let table = request.backup.tables.master.table.name().to_owned();
            let planned = plan_snapshot(request, &environment).await;
            (planned, args.metric_namespace.clone(), table, args.cut.parallel, args.new_job.wait)
        }
    };
    let begun = Box::pin(begin(settings, planned, parallel, wait.into(), stop)).await;
    if let (Err(_), Some(namespace)) = (&begun, &namespace) {
        finishing::publish_metrics(namespace, &table, (0, 0, 1));
    }
    begun
}

async fn begin(
    settings: &Settings,
    planned: Result<Manifest, CannotPlan>,
    parallel: Option<u32>,
    wait: Wait,
    stop: CancellationToken,
) -> Result<Exit, Failure> {
    let manifest = planned?;
    let queue = match &settings.queue {
        Some(url) => Some(settings.open_queue(url).await?),
        None => None,
    };
    let journal = settings.journal(&manifest.job).await?;
    journal.create(&manifest).await?;
    let units = manifest.units().collect();
    match queue {
        Some(queue) => {
            let queued = Fold::new(&manifest).finish(&Control::default());
            let published = enqueue(settings, &*queue, &journal, &manifest, units, &stop).await?;
            after_enqueuing(settings, &journal, &manifest, &queued, published, wait, &stop).await
        }
        None => {
            let parallel = parallel.unwrap_or_else(default_parallel);
            work_here(settings, &journal, &manifest, units, parallel, stop).await
        }
    }
}

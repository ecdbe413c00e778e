//! `resume`: every unit that is not done gets a message again, and goes on from its checkpoint.

use std::pin::pin;

use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use shared::domain::checkpoint::State;
use shared::domain::shards::Stage;
use shared::domain::summary::Wish;
use shared::domain::unit::{Pass, Unit};
use tokio_util::sync::CancellationToken;
use worker::embedded::CannotRun;
use worker::{finishing, following};

use super::sync::{after_enqueuing, enqueue, show, work_here};
use crate::cli::ResumeArgs;
use crate::failure::{Exit, Failure};
use crate::settings::{Settings, default_parallel, sides_of};

/// Checkpoints made ready at once.
const REQUEUES_AT_ONCE: usize = 32;

pub(super) async fn run(settings: &Settings, args: &ResumeArgs, stop: CancellationToken) -> Result<Exit, Failure> {
    let journal = settings.journal(&args.job.job).await?;
    let manifest = journal.manifest().await?;
    if let Some(only) = &args.only_segments
        && only.highest() >= manifest.total_segments
    {
        return Err(Failure::usage(
            format!("segment {} is named, and the job has {} segments", only.highest(), manifest.total_segments),
            "segments are counted from 0",
        ));
    }
    settings.sign_in(&sides_of(&manifest), &args.mfa).await?;
    let queue = match &settings.queue {
        Some(url) => Some(settings.open_queue(url).await?),
        None => None,
    };
    // All checkpoints are read before any is changed, so that a damaged one stops it all.
    let chosen = |unit: &Unit| args.only_segments.as_ref().is_none_or(|only| only.contains(unit.segment));
    // What waits for its turn gets its message when that has come.
    let waiting: Vec<u32> = match journal.shards_of(&manifest).await? {
        Some(shards) => {
            let waiting = shards.shards.iter().filter(|shard| shard.stage == Stage::Waiting);
            waiting.map(|shard| shard.number).collect()
        }
        None => Vec::new(),
    };
    let mut unfinished = Vec::new();
    let mut wish = Wish::Run;
    let mut looks = pin!(journal.look(&manifest));
    while let Some((unit, view)) = looks.try_next().await? {
        if view.as_ref().is_some_and(|view| following::ended_caught_up(&view.checkpoint)) {
            wish = Wish::Finish;
        }
        let done = view.is_some_and(|view| view.checkpoint.state == State::Done);
        let waits = unit.pass == Pass::Stream && waiting.contains(&unit.segment);
        if chosen(&unit) && !done && !waits {
            unfinished.push(unit);
        }
    }
    if unfinished.is_empty() && waiting.is_empty() {
        settings.note("there is nothing to resume");
        let summary = journal.survey(&manifest).await?.summary;
        if summary.ended_at.is_some() {
            // The worker that ended the last unit may have died right after it.
            let archive = match &manifest.backup {
                Some(backup) => Some(settings.environment().place(&backup.to).await?),
                None => None,
            };
            let concluded = finishing::conclude(archive.as_deref(), &journal, &manifest, &summary).await;
            concluded.map_err(CannotRun::from)?;
        }
        show(settings, &summary)?;
        return Ok(Exit::of(&summary));
    }
    journal.withdraw_summary().await?;
    journal.set_wish(wish).await?;
    let requeues: Vec<_> = unfinished
        .into_iter()
        .map(|unit| {
            let journal = &journal;
            async move { Ok::<_, Failure>((unit, journal.requeue(unit).await?)) }
        })
        .collect();
    let requeued: Vec<(Unit, bool)> = stream::iter(requeues).buffered(REQUEUES_AT_ONCE).try_collect().await?;
    let units: Vec<Unit> =
        requeued.into_iter().filter(|(_, needs_message)| *needs_message).map(|(unit, _)| unit).collect();
    match queue {
        Some(queue) => {
            let published = enqueue(settings, &*queue, &journal, &manifest, units, &stop).await?;
            following::take_up(&journal, &manifest, &*queue).await?;
            let queued = journal.summary(&manifest).await?;
            after_enqueuing(settings, &journal, &manifest, &queued, published, args.wait.into(), &stop).await
        }
        None => {
            let parallel = args.parallel.unwrap_or_else(default_parallel);
            work_here(settings, &journal, &manifest, units, parallel, stop).await
        }
    }
}

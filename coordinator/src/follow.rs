//! Watching a job until it ends: from this process's meter while it works here, else from the job's folder.

use std::sync::Arc;
use std::time::{Duration, Instant};

use shared::domain::job::{JobKind, Manifest};
use shared::domain::summary::Summary;
use shared::journal::{Journal, JournalError};
use shared::pacing::Meter;
use tokio_util::sync::CancellationToken;

use crate::output::note;
use crate::progress::{Display, Progress, Show};
use crate::watch;

/// How often the meter of this process is shown.
const METER_EVERY: Duration = Duration::from_millis(500);

/// How often a job's folder is read; with many units reading takes longer, and then it is read less often.
const FOLDER_EVERY: Duration = Duration::from_secs(2);

/// How long a job may stand still before that is said.
const STANDSTILL: Duration = Duration::from_secs(180);

/// Times longer than one reading of the folder that passes until the next.
const READING_SHARE: u32 = 4;

/// Shows the meter until the work is over.
pub async fn meter<T>(
    show: Show,
    meter: Arc<Meter>,
    ended_before: u64,
    units: u64,
    work: impl Future<Output = T>,
) -> T {
    let mut display = Display::new(show);
    let mut work = std::pin::pin!(work);
    loop {
        tokio::select! {
            done = &mut work => {
                display.clear();
                return done;
            }
            () = tokio::time::sleep(METER_EVERY) => {
                display.update(Progress::of_meter(meter.read(), ended_before, units));
            }
        }
    }
}

/// Reads the folder until the job has ended or `stop`; returns the last look.
///
/// # Errors
/// When the folder cannot be read.
pub async fn folder(
    show: Show,
    journal: &Journal,
    manifest: &Manifest,
    stop: &CancellationToken,
) -> Result<Summary, JournalError> {
    if matches!(manifest.kind, JobKind::Backfill | JobKind::Replicate) {
        if let Some(summary) = journal.written_summary().await? {
            return Ok(summary);
        }
        return Box::pin(watch::folder(show, (journal, manifest), stop)).await;
    }
    let mut display = Display::new(show);
    let mut moved = (Instant::now(), String::new());
    loop {
        let asked = Instant::now();
        let summary = where_it_stands(journal, manifest).await?;
        if summary.updated_at != moved.1 || summary.units.running > 0 {
            moved = (asked, summary.updated_at.clone());
        } else if moved.0.elapsed() >= STANDSTILL && !summary.state.has_ended() {
            moved.0 = asked;
            note(&format!(
                "nothing has moved for {} minutes, and no worker has a segment; if workers are running, its messages \
                 may be in the dead-letter queue: dynamend resume {}",
                STANDSTILL.as_secs() / 60,
                manifest.job
            ));
        }
        if summary.state.has_ended() || stop.is_cancelled() {
            display.clear();
            return Ok(summary);
        }
        display.update(Progress::of_summary(&summary));
        let pause = FOLDER_EVERY.max(asked.elapsed() * READING_SHARE);
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = stop.cancelled() => {}
        }
    }
}

/// The summary that was written at the job's end, or else the fold of all its checkpoints.
///
/// # Errors
/// When the folder cannot be read.
pub async fn where_it_stands(journal: &Journal, manifest: &Manifest) -> Result<Summary, JournalError> {
    match journal.written_summary().await? {
        Some(summary) => Ok(summary),
        None => journal.summary(manifest).await,
    }
}

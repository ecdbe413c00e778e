//! `cancel`: workers stop at their next checkpoint, and `resume` takes the job up again.

use shared::domain::control::Wish;
use shared::domain::summary::JobState;

use super::sync::{advise, show};
use crate::failure::{Exit, Failure};
use crate::follow;
use crate::settings::Settings;

pub(super) async fn run(settings: &Settings, job: &str) -> Result<Exit, Failure> {
    stop(settings, job, Wish::Cancel).await
}

/// Asks the workers of a job to stop, and says where it stands.
pub(super) async fn stop(settings: &Settings, job: &str, wish: Wish) -> Result<Exit, Failure> {
    let journal = settings.journal(job).await?;
    let manifest = journal.manifest().await?;
    let before = follow::where_it_stands(&journal, &manifest).await?;
    if matches!(before.state, JobState::Succeeded | JobState::Failed) {
        let what = if wish == Wish::Pause { "pause" } else { "cancel" };
        settings.note(&format!("job {job} has ended already; there is nothing to {what}"));
        show(settings, &before)?;
        return Ok(Exit::Agree);
    }
    journal.set_wish(wish).await?;
    let after = journal.summary(&manifest).await?;
    show(settings, &after)?;
    advise(settings, &after);
    Ok(Exit::Agree)
}

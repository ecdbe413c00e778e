//! Taking the repairs of a job back: the old images that they kept are put back, the latest first.

use std::collections::HashSet;

use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use shared::domain::condition::Write;
use shared::domain::job::Consistency;
use shared::domain::json::item_from_json;
use shared::domain::key::Key;
use shared::domain::limits::Limits;
use shared::domain::undo::{Back, OldImage, take_back};
use shared::domain::unit::Unit;
use shared::domain::value::Item;
use shared::journal::JournalError;
use shared::ports::table::{Applied, Content, GetRequest};
use shared::retry;
use tokio_util::sync::CancellationToken;

use super::sync::Stuck;
use crate::context::JobContext;

/// Items looked at and written at once.
const AT_ONCE: usize = 16;

/// Times one item is looked at that changes between the look and the write.
const LOOKS: u32 = 4;

/// What became of one item.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Undone {
    /// The old item was put back.
    Restored,
    /// The slave had no item there, and has none again.
    Removed,
    /// It was as before already.
    AlreadyBack,
    /// It has changed since the repair, and was left alone.
    Changed,
}

/// Counts of one slave.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Old items put back.
    pub restored: u64,
    /// Items removed that the repair had put where there was none.
    pub removed: u64,
    /// Items that were as before already.
    pub already_back: u64,
    /// Items that changed since, and were left alone.
    pub changed: u64,
}

/// Whether it came to an end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// Everything was looked at.
    Whole,
    /// It was asked to stop. Doing it again goes on: what is back already is left alone.
    Stopped,
}

/// Takes back everything that the job's repairs wrote, unit by unit; `told` hears of each item.
///
/// Doing it again, also after a crash, changes nothing that is back already.
///
/// # Errors
/// `Stuck`; what was taken back until then stays so.
pub async fn undo(
    job: &JobContext,
    stop: &CancellationToken,
    told: impl FnMut(usize, &Key, Undone),
) -> Result<Ended, Stuck> {
    // The job's capacity limits hold; its budget was for the comparison.
    let limits = job.manifest.limits_now(&job.journal.control().await?).clone();
    job.pacer.limit(&Limits { budget: None, ..limits });
    let running = job.pacer.begin();
    let ended = undo_all(job, stop, told).await;
    drop(running);
    job.pacer.leave().await;
    ended
}

async fn undo_all(
    job: &JobContext,
    stop: &CancellationToken,
    mut told: impl FnMut(usize, &Key, Undone),
) -> Result<Ended, Stuck> {
    for unit in job.manifest.units() {
        // Keys whose latest write was looked at, of those that have several.
        let mut looked_at = HashSet::new();
        for name in job.journal.kept(unit).await? {
            let images = job.journal.old_images(unit, &name).await?;
            let taken_back: Vec<_> = images.into_iter().map(|image| undo_one(job, unit, image)).collect();
            let mut done = stream::iter(taken_back).buffer_unordered(AT_ONCE);
            while let Some((slave, key, attempt, undone)) = done.try_next().await? {
                let is_latest = !looked_at.contains(&(slave, key.clone()));
                if attempt > 1 {
                    looked_at.insert((slave, key.clone()));
                }
                // An earlier write that was refused, or overwritten by a later one.
                if is_latest || matches!(undone, Undone::Restored | Undone::Removed) {
                    told(slave, &key, undone);
                }
            }
            if stop.is_cancelled() {
                return Ok(Ended::Stopped);
            }
        }
    }
    Ok(Ended::Whole)
}

impl Counts {
    /// Counts one item.
    pub fn add(&mut self, undone: Undone) {
        *match undone {
            Undone::Restored => &mut self.restored,
            Undone::Removed => &mut self.removed,
            Undone::AlreadyBack => &mut self.already_back,
            Undone::Changed => &mut self.changed,
        } += 1;
    }
}

async fn undo_one(job: &JobContext, unit: Unit, image: OldImage) -> Result<(usize, Key, u32, Undone), Stuck> {
    let OldImage { slave, key, attempt, old, new } = image;
    let damaged = |what: String| {
        Stuck::from(JournalError::Damaged { url: format!("an old image of {unit} in {}", job.manifest_url), what })
    };
    let schema = &job.manifest.key_schema;
    let item = |json: Option<serde_json::Value>| -> Result<Option<Item>, Stuck> {
        json.map(|json| item_from_json(&json).map_err(|error| damaged(error.to_string()))).transpose()
    };
    let (old, new) = (item(old)?, item(new)?);
    let key = Key::from_json(schema, &key).map_err(|error| damaged(error.to_string()))?;
    let table = job.tables.get(slave + 1).ok_or_else(|| damaged(format!("the job has no slave {slave}")))?;
    for _ in 0..LOOKS {
        let request = GetRequest { keys: vec![key.clone()], consistency: Consistency::Strong, content: Content::Items };
        let now = retry::get_all(&**table, job.retry, request).await?.items.pop();
        let (write, condition) = match take_back(schema, &key, old.clone(), new.as_ref(), now.as_ref()) {
            Back::AlreadyBack => return Ok((slave, key, attempt, Undone::AlreadyBack)),
            Back::Changed => return Ok((slave, key, attempt, Undone::Changed)),
            Back::Write(write, condition) => (write, condition),
        };
        let answer = retry::call(job.retry, || table.write_if(&write, &condition)).await?;
        match (answer.applied, write) {
            (Applied::Written, Write::Put(_)) => return Ok((slave, key, attempt, Undone::Restored)),
            (Applied::Written, Write::Delete(_)) => return Ok((slave, key, attempt, Undone::Removed)),
            // It changed in between, or the answer to our own write was lost.
            (Applied::ConditionFailed, _) => {}
        }
    }
    Ok((slave, key, attempt, Undone::Changed))
}

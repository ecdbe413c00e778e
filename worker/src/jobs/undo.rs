//! Taking the repairs of a job back: what each key held before the first of them is put back, segment by segment.

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher as _, RandomState};

use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use shared::domain::condition::Write;
use shared::domain::job::Consistency;
use shared::domain::json::item_from_json;
use shared::domain::key::Key;
use shared::domain::limits::Limits;
use shared::domain::undo::{Back, Kept, OldImage, Step, take_back};
use shared::domain::unit::{Pass, Unit};
use shared::domain::value::Item;
use shared::journal::JournalError;
use shared::ports::table::{Applied, Content, GetRequest};
use shared::retry;
use tokio_util::sync::CancellationToken;

use super::Stuck;
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

/// Takes back everything that the job's repairs wrote, segment by segment; `told` hears of each item once.
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
    for segment in (0..job.manifest.total_segments).filter(|&segment| job.manifest.has(master_unit(segment))) {
        let known = Known::of(job, segment).await?;
        // Keys that were written once, as they come; the others wait until all of their writes are known.
        let mut written_again: HashMap<(usize, Key), Vec<(String, Step)>> = HashMap::new();
        for (unit, name) in &known.names {
            let kept = job.journal.kept_together(*unit, name).await?;
            let mut once = Vec::new();
            for image in kept.into_iter().filter_map(|kept| known.made(kept)) {
                let at = image.at.clone();
                let (slave, key, step) = parse(job, *unit, image)?;
                if known.is_only_write(slave, &key) {
                    once.push(undo_key(job, slave, key, vec![step]));
                } else {
                    written_again.entry((slave, key)).or_default().push((at, step));
                }
            }
            undo_together(once, &mut told).await?;
            if stop.is_cancelled() {
                return Ok(Ended::Stopped);
            }
        }
        let mut again = Vec::new();
        for ((slave, key), mut steps) in written_again {
            steps.sort_by(|one, other| one.0.cmp(&other.0));
            again.push(undo_key(job, slave, key, steps.into_iter().map(|(_, step)| step).collect()));
        }
        undo_together(again, &mut told).await?;
    }
    Ok(Ended::Whole)
}

/// Every segment has a unit in the master's pass.
fn master_unit(segment: u32) -> Unit {
    Unit { pass: Pass::Master, segment }
}

/// What there is to undo in a segment, in all passes. It takes a few bytes for each write.
struct Known {
    names: Vec<(Unit, String)>,
    refused: HashSet<String>,
    writes: HashMap<u64, u32>,
    hasher: RandomState,
}

impl Known {
    async fn of(job: &JobContext, segment: u32) -> Result<Self, Stuck> {
        let mut known =
            Self { names: Vec::new(), refused: HashSet::new(), writes: HashMap::new(), hasher: RandomState::new() };
        for unit in job.manifest.passes().map(|pass| Unit { pass, segment }) {
            known.names.extend(job.journal.kept(unit).await?.into_iter().map(|name| (unit, name)));
        }
        let mut writes = Vec::new();
        for (unit, name) in &known.names {
            for kept in job.journal.kept_together(*unit, name).await? {
                match kept {
                    Kept::Refused(id) => drop(known.refused.insert(id)),
                    Kept::Before(image) => {
                        let id = image.id.clone();
                        let (slave, key, _) = parse(job, *unit, image)?;
                        writes.push((id, known.place(slave, &key)));
                    }
                }
            }
        }
        for (_, place) in writes.into_iter().filter(|(id, _)| !known.refused.contains(id)) {
            *known.writes.entry(place).or_default() += 1;
        }
        Ok(known)
    }

    fn place(&self, slave: usize, key: &Key) -> u64 {
        self.hasher.hash_one((slave, key))
    }

    /// The write, unless it was refused.
    fn made(&self, kept: Kept) -> Option<OldImage> {
        match kept {
            Kept::Before(image) => Some(image).filter(|image| !self.refused.contains(&image.id)),
            Kept::Refused(_) => None,
        }
    }

    /// Keys that fall together by chance wait as well, which does no harm.
    fn is_only_write(&self, slave: usize, key: &Key) -> bool {
        self.writes.get(&self.place(slave, key)) == Some(&1)
    }
}

fn parse(job: &JobContext, unit: Unit, image: OldImage) -> Result<(usize, Key, Step), Stuck> {
    let damaged = |what: String| {
        Stuck::from(JournalError::Damaged { url: format!("an old image of {unit} in {}", job.manifest_url), what })
    };
    let item = |json: Option<serde_json::Value>| -> Result<Option<Item>, Stuck> {
        json.map(|json| item_from_json(&json).map_err(|error| damaged(error.to_string()))).transpose()
    };
    let OldImage { slave, key, old, new, .. } = image;
    let key = Key::from_json(&job.manifest.key_schema, &key).map_err(|error| damaged(error.to_string()))?;
    if slave >= job.manifest.slaves.len() {
        return Err(damaged(format!("the job has no slave {slave}")));
    }
    Ok((slave, key, Step { old: item(old)?, new: item(new)? }))
}

async fn undo_together(
    keys: Vec<impl Future<Output = Result<(usize, Key, Undone), Stuck>>>,
    told: &mut impl FnMut(usize, &Key, Undone),
) -> Result<(), Stuck> {
    let mut done = stream::iter(keys).buffer_unordered(AT_ONCE);
    while let Some((slave, key, undone)) = done.try_next().await? {
        told(slave, &key, undone);
    }
    Ok(())
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

async fn undo_key(job: &JobContext, slave: usize, key: Key, steps: Vec<Step>) -> Result<(usize, Key, Undone), Stuck> {
    let (table, schema) = (&job.tables[slave + 1], &job.manifest.key_schema);
    for _ in 0..LOOKS {
        let request = GetRequest { keys: vec![key.clone()], consistency: Consistency::Strong, content: Content::Items };
        let now = retry::get_all(&**table, job.retry, request).await?.items.pop();
        let (write, condition) = match take_back(schema, &key, &steps, now.as_ref()) {
            Back::AlreadyBack => return Ok((slave, key, Undone::AlreadyBack)),
            Back::Changed => return Ok((slave, key, Undone::Changed)),
            Back::Write(write, condition) => (write, condition),
        };
        let answer = retry::call(job.retry, || table.write_if(&write, &condition)).await?;
        match (answer.applied, write) {
            (Applied::Written, Write::Put(_)) => return Ok((slave, key, Undone::Restored)),
            (Applied::Written, Write::Delete(_)) => return Ok((slave, key, Undone::Removed)),
            // It changed in between, or the answer to our own write was lost.
            (Applied::ConditionFailed, _) => {}
        }
    }
    Ok((slave, key, Undone::Changed))
}

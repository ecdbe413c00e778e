//! The shards of a stream as a job knows them: which come before which, which are being read, which were read to
//! their end. Kept in `shards.json` in the job's folder.

use std::collections::{BTreeSet, HashMap};

use serde::{Deserialize, Serialize};

use super::position::{ShardPosition, Start};
use super::tally::Tally;
use super::unit::{Pass, Unit};

/// The version of `shards.json` that this program reads and writes.
pub const SHARDS_VERSION: u32 = 1;

/// A shard that a job knows.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct KnownShard {
    /// Its number in this job, in the order in which shards became known; its unit's.
    pub number: u32,
    /// Its id in the stream.
    pub id: String,
    /// The ids of the shards that come before it, as the stream names them.
    pub parents: Vec<String>,
    /// Where reading it begins.
    pub start: Start,
    /// How far it is.
    pub stage: Stage,
}

/// How far a shard is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// It waits for its parents.
    Waiting,
    /// Its message was sent.
    HandedOut,
    /// It was read to its end, or was over before the job began.
    Ended,
}

/// Whether shards are handed out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Gate {
    /// Not before the backfill has ended.
    Closed,
    /// As soon as their parents have ended.
    Open,
}

/// Whether something was known before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum News {
    /// It was not.
    New,
    /// It was: whoever told it before may have died over what follows from it.
    Known,
}

/// All shards of a job.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Shards {
    /// Always [`SHARDS_VERSION`].
    pub version: u32,
    /// Whether they are handed out.
    pub gate: Gate,
    /// Changes made before this (milliseconds since 1970) may be older than what the slaves hold.
    pub in_doubt_until_ms: i64,
    /// The number of the next shard that becomes known.
    pub next_number: u32,
    /// The shards that are known, by number.
    pub shards: Vec<KnownShard>,
    /// What was counted in shards that the stream does not know any more, and that are not kept here either.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retired: Option<Retired>,
}

/// Shards that are over and gone.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Retired {
    /// How many.
    pub count: u64,
    /// What was counted in them.
    pub tally: Tally,
}

/// What cannot be of a stream's shards.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadShard {
    /// A shard is told to come after others than before.
    #[error("shard {id} comes after {now:?}, and before that it came after {before:?}")]
    OtherParents {
        /// The shard.
        id: String,
        /// Its parents as they are told now.
        now: Vec<String>,
        /// And before.
        before: Vec<String>,
    },
    /// There is no such shard.
    #[error("the job knows no shard {0}")]
    Unknown(u32),
    /// It cannot have ended.
    #[error("shard {id} cannot have ended before its parent {parent}")]
    ParentFirst {
        /// The shard.
        id: String,
        /// Its parent.
        parent: String,
    },
}

impl Shards {
    /// None yet.
    #[must_use]
    pub fn new(gate: Gate, in_doubt_until_ms: i64) -> Self {
        Self { version: SHARDS_VERSION, gate, in_doubt_until_ms, next_number: 0, shards: Vec::new(), retired: None }
    }

    /// Makes a shard known; one that is known stays as it is.
    ///
    /// # Errors
    /// `OtherParents`. The stream may leave out parents that are gone.
    pub fn add(&mut self, id: &str, parents: &[String], start: Start) -> Result<(), BadShard> {
        if let Some(known) = self.shards.iter().find(|known| known.id == id) {
            if parents.iter().all(|parent| known.parents.contains(parent)) {
                return Ok(());
            }
            let (now, before) = (parents.to_vec(), known.parents.clone());
            return Err(BadShard::OtherParents { id: id.to_owned(), now, before });
        }
        let stage = if start == Start::Over { Stage::Ended } else { Stage::Waiting };
        let shard = KnownShard { number: self.next_number, id: id.to_owned(), parents: parents.to_vec(), start, stage };
        self.next_number += 1;
        self.shards.push(shard);
        Ok(())
    }

    /// The units of work: all shards but those that were over before the job began.
    pub fn units(&self) -> impl Iterator<Item = Unit> {
        let read = self.shards.iter().filter(|shard| shard.start != Start::Over);
        read.map(|shard| Unit { pass: Pass::Stream, segment: shard.number })
    }

    /// A shard by its number.
    #[must_use]
    pub fn get(&self, number: u32) -> Option<&KnownShard> {
        let place = self.shards.binary_search_by_key(&number, |shard| shard.number).ok()?;
        self.shards.get(place)
    }

    /// Whether any shard names this one as its parent.
    #[must_use]
    pub fn has_children(&self, id: &str) -> bool {
        self.shards.iter().any(|shard| shard.parents.iter().any(|parent| parent == id))
    }

    /// The shards that can be handed out: those that wait for no parent that is known. A parent that is not known is
    /// gone, and so its children are roots.
    #[must_use]
    pub fn available(&self) -> Vec<u32> {
        if self.gate == Gate::Closed {
            return Vec::new();
        }
        let stages = self.stages();
        let is_over = |parent: &String| stages.get(parent.as_str()).is_none_or(|stage| *stage == Stage::Ended);
        let waiting = self.shards.iter().filter(|shard| shard.stage == Stage::Waiting);
        waiting.filter(|shard| shard.parents.iter().all(is_over)).map(|shard| shard.number).collect()
    }

    /// Takes the shards that can be handed out: whoever takes them sends their messages.
    pub fn take(&mut self) -> Vec<u32> {
        let numbers = self.available();
        self.hand_out(&numbers);
        numbers
    }

    /// Notes that the messages of these were sent.
    pub fn hand_out(&mut self, numbers: &[u32]) {
        let waiting = self.shards.iter_mut().filter(|shard| shard.stage == Stage::Waiting);
        waiting.filter(|shard| numbers.contains(&shard.number)).for_each(|shard| shard.stage = Stage::HandedOut);
    }

    /// The shards that were taken, of this parent or of all: if whoever took them died, their messages were not sent.
    #[must_use]
    pub fn taken(&self, parent: Option<u32>) -> Vec<u32> {
        let parent = parent.and_then(|number| self.get(number)).map(|shard| shard.id.as_str());
        let is_child = |shard: &&KnownShard| parent.is_none_or(|id| shard.parents.iter().any(|of| of == id));
        let taken = self.shards.iter().filter(|shard| shard.stage == Stage::HandedOut);
        taken.filter(is_child).map(|shard| shard.number).collect()
    }

    /// Notes that a shard was read to its end, and says whether that is new.
    ///
    /// # Errors
    /// `Unknown`, or `ParentFirst`; nothing is changed then.
    pub fn complete(&mut self, number: u32) -> Result<News, BadShard> {
        let stages = self.stages();
        let shard = self.get(number).ok_or(BadShard::Unknown(number))?;
        let is_open = |parent: &&String| stages.get(parent.as_str()).is_some_and(|stage| *stage != Stage::Ended);
        if let Some(parent) = shard.parents.iter().find(is_open) {
            return Err(BadShard::ParentFirst { id: shard.id.clone(), parent: parent.clone() });
        }
        if shard.stage == Stage::Ended {
            return Ok(News::Known);
        }
        self.shards.iter_mut().filter(|shard| shard.number == number).for_each(|shard| shard.stage = Stage::Ended);
        Ok(News::New)
    }

    /// The shards that are over and that the stream does not list any more; none of their children waits for them.
    pub fn outlived<'a>(&'a self, listed: &'a BTreeSet<&str>) -> impl Iterator<Item = &'a KnownShard> {
        self.shards.iter().filter(|shard| shard.stage == Stage::Ended && !listed.contains(shard.id.as_str()))
    }

    /// Keeps nothing more of a shard than what was counted in it.
    pub fn retire(&mut self, number: u32, counted: Option<&Tally>) {
        let before = self.shards.len();
        self.shards.retain(|shard| shard.number != number || shard.stage != Stage::Ended);
        if self.shards.len() == before {
            return;
        }
        let retired = self.retired.get_or_insert_with(|| Retired { count: 0, tally: Tally::default() });
        retired.count += 1;
        if let Some(counted) = counted {
            if retired.tally == Tally::default() {
                retired.tally = Tally::zero(counted.slaves.len());
            }
            retired.tally.add(counted);
        }
    }

    fn stages(&self) -> HashMap<&str, Stage> {
        self.shards.iter().map(|shard| (shard.id.as_str(), shard.stage)).collect()
    }
}

impl KnownShard {
    /// The position of a unit that has none yet.
    #[must_use]
    pub fn first_position(&self, in_doubt_until_ms: i64) -> ShardPosition {
        match &self.start {
            Start::Position(position) => ShardPosition {
                in_doubt_until_ms: position.in_doubt_until_ms.max(in_doubt_until_ms),
                ..position.clone()
            },
            Start::TrimHorizon | Start::Time(_) | Start::Over => ShardPosition::new(in_doubt_until_ms),
        }
    }
}

#[cfg(test)]
mod tests;

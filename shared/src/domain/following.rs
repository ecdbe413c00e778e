//! How far a replication is as a whole: what its shards say, taken together.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use super::checkpoint::{Checkpoint, State};
use super::job::Covers;
use super::position::{Reach, ShardPosition, Start};
use super::shards::{Gate, Shards, Stage};
use super::tally::StreamTally;

/// Gaps that a summary lists.
const MAX_GAPS: usize = 1000;

/// How far a replication is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Replication {
    /// The table whose changes are followed.
    pub master: String,
    /// Shards that are known.
    pub shards: u64,
    /// Of these, the ones that wait for their parents or for the backfill.
    pub waiting: u64,
    /// Of these, the ones that were read to their end.
    pub ended: u64,
    /// What was done with the records.
    #[serde(flatten)]
    pub counted: StreamTally,
    /// Every write to the master up to this time (milliseconds since 1970) is on the slaves, of the writes that it
    /// covers; absent when nothing can be said yet.
    pub caught_up_to_ms: Option<i64>,
    /// Which writes it covers.
    pub covers: Covers,
    /// Times of which changes were lost.
    pub gaps: Vec<LostTime>,
}

/// A time of which changes of one shard were lost.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LostTime {
    /// The shard's id.
    pub shard: String,
    /// Nothing made before this (milliseconds since 1970) is lost; absent when nothing was read before it.
    pub from_ms: Option<i64>,
    /// Nothing made from here on is lost.
    pub to_ms: i64,
}

/// Takes the shards together, one checkpoint after the other.
pub(super) struct Following<'a> {
    shards: &'a Shards,
    caught_up: HashMap<u32, (Option<i64>, Reach)>,
    gaps: Vec<LostTime>,
    ended: u64,
}

impl<'a> Following<'a> {
    pub(super) fn new(shards: &'a Shards) -> Self {
        Self { shards, caught_up: HashMap::new(), gaps: Vec::new(), ended: 0 }
    }

    pub(super) fn add(&mut self, checkpoint: &Checkpoint, position: &ShardPosition) {
        let number = checkpoint.unit.segment;
        self.ended += u64::from(checkpoint.state == State::Done);
        self.caught_up.insert(number, (position.caught_up_to_ms, position.reach));
        let shard = self.shards.get(number).map_or_else(|| number.to_string(), |shard| shard.id.clone());
        let room = MAX_GAPS.saturating_sub(self.gaps.len());
        let lost = position.gaps.iter().take(room);
        self.gaps.extend(lost.map(|gap| LostTime { shard: shard.clone(), from_ms: gap.from_ms, to_ms: gap.to_ms }));
    }

    /// Shards that were not handed out yet.
    pub(super) fn waiting(&self) -> u64 {
        self.shards.shards.iter().filter(|shard| shard.stage == Stage::Waiting).count() as u64
    }

    pub(super) fn finish(self, master: &str, counted: StreamTally, covers: Covers) -> Replication {
        let retired = self.shards.retired.as_ref().map_or(0, |retired| retired.count);
        Replication {
            master: master.to_owned(),
            shards: self.shards.shards.len() as u64 + retired,
            waiting: self.waiting(),
            ended: self.ended
                + self.shards.shards.iter().filter(|shard| shard.start == Start::Over).count() as u64
                + retired,
            counted,
            caught_up_to_ms: self.caught_up_to(),
            covers,
            gaps: self.gaps,
        }
    }

    /// The slowest shard tells. One that was read to its end is not behind; what follows it is in its children, and
    /// these are as far as it was until they have something to say themselves.
    fn caught_up_to(&self) -> Option<i64> {
        if self.shards.gate == Gate::Closed {
            return None;
        }
        let by_id: HashMap<&str, u32> =
            self.shards.shards.iter().map(|shard| (shard.id.as_str(), shard.number)).collect();
        let told = |number: u32| self.caught_up.get(&number).copied();
        let mut slowest = None;
        for shard in &self.shards.shards {
            let caught_up = match told(shard.number) {
                Some((_, Reach::End)) => continue,
                Some((Some(caught_up), Reach::Open)) => caught_up,
                _ if shard.stage == Stage::Ended => continue,
                _ => {
                    let parents = shard.parents.iter().filter_map(|parent| by_id.get(parent.as_str()));
                    let of_parents = parents.map(|&parent| told(parent).and_then(|(caught_up, _)| caught_up));
                    of_parents.collect::<Option<Vec<i64>>>()?.into_iter().min()?
                }
            };
            slowest = Some(slowest.map_or(caught_up, |slowest: i64| slowest.min(caught_up)));
        }
        slowest.or_else(|| self.caught_up.values().filter_map(|(caught_up, _)| *caught_up).max())
    }
}

//! Which records of a stream may be taken at their word, and which are too old for it.
//!
//! A record tells what an item was when it was made. When the slave may hold something later, because the item was
//! backfilled, or applied by a worker that died, or read from the master since, the record would set it back. Then the
//! master is read instead, strongly consistent, and what was read covers every record that is older than the read.

use std::collections::{HashMap, VecDeque};

use xxhash_rust::xxh3::xxh3_128_with_seed;

use super::change::Created;
use super::key::Key;

/// How far the clocks of the table and of a worker may be apart.
pub const SKEW_MS: i64 = 5_000;

/// Keys that are remembered at once, about 3 MB.
pub const MAX_KEPT: usize = 20_000;

/// How long behind the records of a moment others of the same moment may still come.
pub const STRAGGLERS_MS: i64 = 300_000;

/// What a record is good for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trust {
    /// What it says is later than anything on the slave.
    Word,
    /// The slave may hold something later: the master has to be asked.
    Reread,
    /// The slave has what it says, or something later.
    Known,
}

/// Whether a stream tells of the changes of one item in the order in which they were made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// It does, each once: DynamoDB Streams.
    ByItem,
    /// It may not, and may repeat them; the time of a record tells.
    ///
    /// Source: Amazon DynamoDB Developer Guide, "Using Kinesis Data Streams to capture changes to DynamoDB".
    ByTime,
}

/// What the slave holds of one item.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Known {
    /// What the master had at some time between these.
    Read { from_ms: i64, by_ms: i64 },
    /// What it was after a change of this time.
    Image(Created),
}

/// What is known of the slave in one shard.
#[derive(Clone, Debug)]
pub struct Overlap {
    order: Order,
    in_doubt_until_ms: i64,
    seed: u64,
    known: HashMap<u128, Known>,
    /// The same in the order in which it became known.
    since: VecDeque<(u128, Known)>,
}

impl Known {
    /// Changes from here on are later than what is known.
    fn until_ms(self) -> i64 {
        match self {
            Self::Read { by_ms, .. } => by_ms.saturating_add(SKEW_MS),
            Self::Image(created) => created.until_ms,
        }
    }
}

impl Overlap {
    /// Nothing is known, and the slave may hold anything that was made before `in_doubt_until_ms`. The seed keeps
    /// whoever chooses keys from choosing two that look alike.
    #[must_use]
    pub fn new(order: Order, in_doubt_until_ms: i64, seed: u64) -> Self {
        Self { order, in_doubt_until_ms, seed, known: HashMap::new(), since: VecDeque::new() }
    }

    /// Changes made before this are in doubt.
    #[must_use]
    pub fn in_doubt_until_ms(&self) -> i64 {
        self.in_doubt_until_ms
    }

    /// What would be in doubt if nothing of this were known: what whoever goes on from here has to begin with.
    #[must_use]
    pub fn in_doubt_if_forgotten_ms(&self) -> i64 {
        self.known.values().map(|known| known.until_ms()).fold(self.in_doubt_until_ms, i64::max)
    }

    /// What a record about this key is good for.
    #[must_use]
    pub fn trust(&self, key: &Key, created: Created) -> Trust {
        match self.known.get(&self.place(key)) {
            Some(Known::Read { from_ms, .. }) if created.until_ms.saturating_add(SKEW_MS) <= *from_ms => Trust::Known,
            Some(Known::Image(image)) if created.until_ms <= image.from_ms => Trust::Known,
            Some(known) if created.from_ms >= known.until_ms() => Trust::Word,
            Some(_) => Trust::Reread,
            None if created.from_ms >= self.in_doubt_until_ms => Trust::Word,
            None => Trust::Reread,
        }
    }

    /// The slave has what the master had when it was read: it was asked at `from_ms`, and had answered by `by_ms`.
    pub fn read(&mut self, key: &Key, from_ms: i64, by_ms: i64) {
        self.note(key, Known::Read { from_ms, by_ms });
    }

    /// The slave has what this change left.
    pub fn applied(&mut self, key: &Key, created: Created) {
        match self.order {
            // The next record is later in any case.
            Order::ByItem => drop(self.known.remove(&self.place(key))),
            Order::ByTime => self.note(key, Known::Image(created)),
        }
    }

    /// Records of this time have come: what is far older need not be remembered key by key.
    pub fn reached(&mut self, created: Created) {
        while let Some((_, oldest)) = self.since.front()
            && (self.known.is_empty() || oldest.until_ms().saturating_add(STRAGGLERS_MS) < created.from_ms)
        {
            self.forget_oldest();
        }
    }

    fn note(&mut self, key: &Key, known: Known) {
        let place = self.place(key);
        self.known.insert(place, known);
        self.since.push_back((place, known));
        while self.since.len() > MAX_KEPT {
            self.forget_oldest();
        }
    }

    fn forget_oldest(&mut self) {
        let Some((place, known)) = self.since.pop_front() else { return };
        if self.known.get(&place) == Some(&known) {
            self.known.remove(&place);
            self.in_doubt_until_ms = self.in_doubt_until_ms.max(known.until_ms());
        }
    }

    fn place(&self, key: &Key) -> u128 {
        xxh3_128_with_seed(key.identity(), self.seed)
    }
}

#[cfg(test)]
mod tests;

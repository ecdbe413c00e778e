//! The paired scan's join: the same segment of a master and of one slave, fed page by page from both sides.
//!
//! It answers with *candidates*: keys that look discrepant and must be confirmed by reads of their own. That is what
//! makes it safe to rely on something that DynamoDB does but does not promise, namely that two tables with the same
//! keys scan them in the same order. Where they do, a join costs no more than the two scans; where they do not, there
//! are more candidates, and nothing is ever wrong.
//!
//! - **A match retires the past.** When a key was met on both sides, everything before it on either side that was not
//!   met on the other is a candidate.
//! - **The side with less in its window is read next**, so windows stay about a page long whatever is missing.
//! - **An ended side retires the rest** of the other, once nothing of its own is left to be met.
//! - **The window is bounded**: beyond the bound its oldest entries become candidates.
//! - **It watches itself**: keys that arrive after they were given up, and pages without matches, are signs that the
//!   order or the segments of the two tables are not the same after all; see [`Join::distrust`].

mod window;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use self::window::{Met, Window};
use super::entries::Entries;
use super::key::{BadKey, Key, KeySchema};

/// One of the two sides.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Stream {
    /// The master's items.
    Master,
    /// The slave's.
    Slave,
}

impl Stream {
    /// The other one.
    #[must_use]
    pub fn other(self) -> Self {
        match self {
            Self::Master => Self::Slave,
            Self::Slave => Self::Master,
        }
    }
}

/// Why an item is a candidate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Suspicion {
    /// It was met in one table only, though the other was read past its place.
    OnlyIn(Stream),
    /// It was met in one table, and given up before the other was read that far.
    NotAwaited(Stream),
    /// It was met in both, and is not the same.
    Differing,
}

/// An item that looks discrepant.
#[derive(Clone, Debug)]
pub struct Candidate {
    /// Why.
    pub suspicion: Suspicion,
    page: Arc<Entries>,
    index: usize,
}

impl Candidate {
    /// An item of a page that looks discrepant by other means than a join.
    #[must_use]
    pub fn new(suspicion: Suspicion, page: &Arc<Entries>, index: usize) -> Self {
        Self { suspicion, page: Arc::clone(page), index }
    }

    /// Its key's digest.
    #[must_use]
    pub fn digest(&self) -> u128 {
        self.page.digests().get(self.index).map_or(0, |digest| digest.key)
    }

    /// Its key.
    ///
    /// # Errors
    /// When it does not fit the schema.
    pub fn key(&self, schema: &KeySchema) -> Result<Key, BadKey> {
        self.page.key(schema, self.index)
    }
}

/// How far a table is decided: every item up to there is counted or was given out as a candidate.
#[derive(Clone, Debug)]
pub enum LowWater {
    /// No item of it is.
    Unmoved,
    /// Everything up to and with one item is.
    After(Arc<Entries>, usize),
    /// Everything that was read of it is.
    AllRead,
}

/// Why the tables' order cannot be relied on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Distrust {
    /// Items were met after they had been given up: the tables are scanned in different orders.
    Order,
    /// Most items of both sides are met on one side only: the tables' segments hold different keys.
    Membership,
}

impl Distrust {
    /// The reason, as a report gives it.
    #[must_use]
    pub fn reason(self) -> &'static str {
        match self {
            Self::Order => "the tables are not scanned in the same order",
            Self::Membership => "most keys were met in one of the tables only",
        }
    }
}

/// Late arrivals below this number are taken for writes at the time of the scan.
const LATE_AT_LEAST: u64 = 32;

/// Matches for each late arrival at which the order is still trusted.
const MATCHES_PER_LATE: u64 = 50;

/// Items given up on both sides, at least, before a lack of matches is held against the segments.
const RETIRED_AT_LEAST: u64 = 1000;

/// A join of two sides.
#[derive(Debug)]
pub struct Join {
    master: Window,
    slave: Window,
    window_bytes: usize,
    matched: u64,
    late: u64,
}

impl Join {
    /// A join that has read nothing. A window takes `window_bytes` at most, or one page if that is more.
    #[must_use]
    pub fn new(window_bytes: usize) -> Self {
        Self { master: Window::default(), slave: Window::default(), window_bytes, matched: 0, late: 0 }
    }

    /// Takes the next page of one side; returns how many items were found identical.
    pub fn push(&mut self, stream: Stream, page: &Arc<Entries>, out: &mut Vec<Candidate>) -> u64 {
        let window_bytes = self.window_bytes;
        let (own, other) = match stream {
            Stream::Master => (&mut self.master, &mut self.slave),
            Stream::Slave => (&mut self.slave, &mut self.master),
        };
        let as_candidate = |suspicion| move |page: &Arc<Entries>, index| Candidate::new(suspicion, page, index);
        let only_here = as_candidate(Suspicion::OnlyIn(stream));
        let only_there = as_candidate(Suspicion::OnlyIn(stream.other()));
        let not_awaited = as_candidate(Suspicion::NotAwaited(stream));
        let mut identical = 0;
        let first = own.append(page);
        for (index, digest) in page.digests().iter().enumerate() {
            match other.meet(digest.key) {
                Met::Pending { at, item } => {
                    let here = first + index as u64;
                    own.retire(here, |page, index| out.push(only_here(page, index)));
                    other.retire(at, |page, index| out.push(only_there(page, index)));
                    own.take(here);
                    other.take(at);
                    self.matched += 1;
                    if item == digest.item {
                        identical += 1;
                    } else {
                        out.push(Candidate::new(Suspicion::Differing, page, index));
                    }
                }
                Met::Late => self.late += 1,
                Met::Never => {}
            }
        }
        if other.has_nothing_to_come() {
            own.retire(own.end(), |page, index| out.push(only_here(page, index)));
        }
        own.keep_bytes(window_bytes, |page, index| out.push(not_awaited(page, index)));
        identical
    }

    /// Says that one side has no more pages.
    pub fn end(&mut self, stream: Stream, out: &mut Vec<Candidate>) {
        self.window_mut(stream).set_ended();
        for stream in [Stream::Master, Stream::Slave] {
            if self.window(stream.other()).has_nothing_to_come() || self.has_ended() {
                self.retire_all(stream, Suspicion::OnlyIn(stream), out);
            }
        }
    }

    /// Whether the next page of this side is the one to read; for both sides when their windows are alike.
    #[must_use]
    pub fn wants(&self, stream: Stream) -> bool {
        let (own, other) = (self.window(stream), self.window(stream.other()));
        !own.has_ended() && (other.has_ended() || own.len() <= other.len())
    }

    /// Whether both sides have ended.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.master.has_ended() && self.slave.has_ended()
    }

    /// Gives up all that is pending, so that everything that was read is decided.
    pub fn give_up(&mut self, out: &mut Vec<Candidate>) {
        for stream in [Stream::Master, Stream::Slave] {
            self.retire_all(stream, Suspicion::NotAwaited(stream), out);
        }
    }

    /// Whether nothing of the other side can be met on this one any more.
    #[must_use]
    pub fn has_nothing_to_come(&self, stream: Stream) -> bool {
        self.window(stream).has_nothing_to_come()
    }

    /// How far a side is decided.
    #[must_use]
    pub fn low_water(&self, stream: Stream) -> LowWater {
        self.window(stream).low_water()
    }

    /// Items of a side that are decided.
    #[must_use]
    pub fn decided(&self, stream: Stream) -> u64 {
        self.window(stream).front()
    }

    /// Why the join should not go on, if it should not.
    #[must_use]
    pub fn distrust(&self) -> Option<Distrust> {
        let retired = self.master.retired().min(self.slave.retired());
        if self.late >= LATE_AT_LEAST && self.late.saturating_mul(MATCHES_PER_LATE) > self.matched {
            Some(Distrust::Order)
        } else if retired >= RETIRED_AT_LEAST && self.matched < retired {
            Some(Distrust::Membership)
        } else {
            None
        }
    }

    /// Bytes that both windows take.
    #[must_use]
    pub fn held_bytes(&self) -> usize {
        self.master.held_bytes() + self.slave.held_bytes()
    }

    fn retire_all(&mut self, stream: Stream, suspicion: Suspicion, out: &mut Vec<Candidate>) {
        let window = self.window_mut(stream);
        window.retire(window.end(), |page, index| out.push(Candidate::new(suspicion, page, index)));
    }

    fn window(&self, stream: Stream) -> &Window {
        match stream {
            Stream::Master => &self.master,
            Stream::Slave => &self.slave,
        }
    }

    fn window_mut(&mut self, stream: Stream) -> &mut Window {
        match stream {
            Stream::Master => &mut self.master,
            Stream::Slave => &mut self.slave,
        }
    }
}

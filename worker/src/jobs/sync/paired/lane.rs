//! One slave in a paired scan: its pages, its join with the master, and how far both are decided.

use std::time::Duration;

use shared::domain::checkpoint::{self, Mark, Method};
use shared::domain::job::Manifest;
use shared::domain::join::{Candidate, Distrust, Join, LowWater, Stream};
use shared::domain::key::{BadKey, KeySchema};
use shared::ports::failure::Failure;

use super::pages::{Pages, Taken};
use super::seeks_extra_here;

/// One slave.
pub(super) struct Lane {
    pub(super) slave: usize,
    pub(super) feeding: Feeding,
    pages: Pages,
    way: Way,
    extra: Extra,
    /// Where this lane began, and how far each table was handed to it.
    master: Reach,
    other: Reach,
    began: Began,
}

/// Whether the master's pages come to this lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Feeding {
    /// The stream has not arrived at this lane's place, which is the n-th after where it began.
    Waiting(usize),
    /// They do.
    Fed,
    /// It was left behind, so that it does not hold up the others; it goes on from its marks when they are done.
    LeftBehind,
    /// There are no more.
    Over,
}

/// Where a lane is on the master's stream; the lesser is further behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Place {
    /// Before the beginning; with the rank it had.
    Behind(u32),
    /// It has decided so many items.
    Fed(u64),
    /// At one of the places that the stream has not arrived at.
    Ahead(usize),
    /// It had the whole segment before.
    Done,
}

/// When a lane joined the master's stream.
#[derive(Clone, Copy)]
enum Began {
    /// Not yet; with the rank it had.
    Not(u32),
    /// After so many items.
    After(u64),
}

/// Whether items that only the slave has are this unit's to find.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Extra {
    Sought,
    NotSought,
}

/// What came of asking for a slave's next page.
pub(super) enum Next {
    Page(Taken),
    /// There is none.
    End,
    /// It is not there yet.
    Late,
}

enum Way {
    Join(Box<Join>),
    /// With the number of items looked up, by stream.
    Lookup {
        master: u64,
        slave: u64,
    },
}

struct Reach {
    began: Mark,
    read: Mark,
}

impl Lane {
    pub(super) fn new(
        manifest: &Manifest,
        slave: usize,
        from: &checkpoint::Lane,
        pages: Pages,
        window_bytes: usize,
    ) -> Self {
        let reach = |mark: &Mark| Reach { began: mark.clone(), read: mark.clone() };
        let way = match from.method {
            Method::Join => {
                let mut join = Join::new(window_bytes);
                // Nothing is pending yet, so nothing becomes a candidate.
                for (stream, mark) in [(Stream::Master, &from.master), (Stream::Slave, &from.slave)] {
                    if *mark == Mark::End {
                        join.end(stream, &mut Vec::new());
                    }
                }
                Way::Join(Box::new(join))
            }
            Method::Lookup => Way::Lookup { master: 0, slave: 0 },
        };
        let mut lane = Self {
            slave,
            feeding: Feeding::LeftBehind,
            pages,
            way,
            extra: if seeks_extra_here(manifest, slave) { Extra::Sought } else { Extra::NotSought },
            master: reach(&from.master),
            other: reach(&from.slave),
            began: Began::Not(from.rank),
        };
        lane.forgo_extra();
        if !from.left_behind || lane.has_ended() {
            lane.take_up();
        }
        lane
    }

    /// Makes a lane that was left behind one of those that are fed when their time comes.
    pub(super) fn take_up(&mut self) {
        self.feeding = if self.master.read == Mark::End { Feeding::Over } else { Feeding::Waiting(0) };
    }

    /// The master's pages come to this lane from here on, after so many items.
    pub(super) fn feed_from(&mut self, fed: u64) {
        self.feeding = Feeding::Fed;
        self.began = Began::After(fed);
    }

    pub(super) fn place(&self) -> Place {
        match (self.feeding, self.began) {
            (Feeding::Waiting(place), _) => Place::Ahead(place),
            (_, Began::After(items)) => Place::Fed(items + self.decided(Stream::Master)),
            (Feeding::Over, Began::Not(_)) => Place::Done,
            (Feeding::Fed | Feeding::LeftBehind, Began::Not(rank)) => Place::Behind(rank),
        }
    }

    pub(super) fn method(&self) -> Method {
        match self.way {
            Way::Join(_) => Method::Join,
            Way::Lookup { .. } => Method::Lookup,
        }
    }

    /// The slave's next page, with the slave's number; waits so long at most.
    pub(super) async fn next(&mut self, patience: Option<Duration>) -> Result<(usize, Next), Failure> {
        let next = match patience {
            None => self.pages.next().await?,
            Some(patience) => match tokio::time::timeout(patience, self.pages.next()).await {
                Ok(next) => next?,
                Err(_) => return Ok((self.slave, Next::Late)),
            },
        };
        Ok((self.slave, next.map_or(Next::End, Next::Page)))
    }

    /// Whether this side is to be read next. A lane that waits for the master's stream wants nothing.
    pub(super) fn wants(&self, stream: Stream) -> bool {
        match &self.way {
            _ if matches!(self.feeding, Feeding::Waiting(_) | Feeding::LeftBehind) => false,
            _ if self.reach(stream).read == Mark::End => false,
            Way::Join(join) => join.wants(stream),
            Way::Lookup { .. } => true,
        }
    }

    pub(super) fn has_ended(&self) -> bool {
        [Stream::Master, Stream::Slave].into_iter().all(|stream| self.reach(stream).read == Mark::End)
    }

    /// Joins a page. Returns how many items are identical, or nothing where its items are to be looked up instead.
    pub(super) fn push(&mut self, stream: Stream, page: &Taken, out: &mut Vec<Candidate>) -> Option<u64> {
        let reach = match stream {
            Stream::Master => &mut self.master,
            Stream::Slave => &mut self.other,
        };
        reach.read = page.read.clone();
        if stream == Stream::Master && page.read == Mark::End {
            self.feeding = Feeding::Over;
        }
        let identical = match (&mut self.way, stream) {
            (Way::Join(join), _) => {
                let identical = join.push(stream, &page.entries, out);
                if page.read == Mark::End {
                    join.end(stream, out);
                }
                Some(identical)
            }
            (Way::Lookup { master: seen, .. }, Stream::Master) | (Way::Lookup { slave: seen, .. }, Stream::Slave) => {
                *seen += page.entries.len() as u64;
                None
            }
        };
        self.forgo_extra();
        identical
    }

    /// Reads no more of the slave where nothing but extra items could come, and nobody asked for them.
    fn forgo_extra(&mut self) {
        let nothing_else_comes = match &self.way {
            Way::Join(join) => join.has_nothing_to_come(Stream::Master),
            Way::Lookup { .. } => true,
        };
        if self.extra == Extra::NotSought && nothing_else_comes && self.other.read != Mark::End {
            self.other.read = Mark::End;
            if let Way::Join(join) = &mut self.way {
                // What is pending of the slave is extra, and thus of no interest.
                join.end(Stream::Slave, &mut Vec::new());
            }
        }
    }

    /// Why the join should give way to lookups, if it should.
    pub(super) fn distrust(&self) -> Option<Distrust> {
        match &self.way {
            Way::Join(join) if !join.has_ended() => join.distrust(),
            Way::Join(_) | Way::Lookup { .. } => None,
        }
    }

    /// Gives up what is pending, so that all that was read is decided.
    pub(super) fn give_up(&mut self, out: &mut Vec<Candidate>) {
        if let Way::Join(join) = &mut self.way {
            join.give_up(out);
        }
    }

    /// How far a side is decided.
    pub(super) fn mark(&self, stream: Stream, schema: &KeySchema) -> Result<Mark, BadKey> {
        let reach = self.reach(stream);
        Ok(match &self.way {
            Way::Lookup { .. } => reach.read.clone(),
            Way::Join(join) => match join.low_water(stream) {
                LowWater::AllRead => reach.read.clone(),
                LowWater::Unmoved => reach.began.clone(),
                LowWater::After(page, index) => Mark::After(page.key(schema, index)?.to_json()),
            },
        })
    }

    /// Items of a side that are decided since this lane began.
    pub(super) fn decided(&self, stream: Stream) -> u64 {
        match (&self.way, stream) {
            (Way::Join(join), _) => join.decided(stream),
            (Way::Lookup { master, .. }, Stream::Master) => *master,
            (Way::Lookup { slave, .. }, Stream::Slave) => *slave,
        }
    }

    fn reach(&self, stream: Stream) -> &Reach {
        match stream {
            Stream::Master => &self.master,
            Stream::Slave => &self.other,
        }
    }
}

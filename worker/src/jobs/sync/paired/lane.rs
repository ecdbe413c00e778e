//! One slave in a paired scan: its pages, its join with the master, and how far both are decided.

use std::sync::Arc;
use std::time::Duration;

use shared::domain::checkpoint::{self, Mark, Method};
use shared::domain::entries::Entries;
use shared::domain::join::{Candidate, Distrust, Join, Keep, LowWater, Stream};
use shared::domain::key::{BadKey, KeySchema};
use shared::ports::failure::Failure;

use super::pages::{Pages, Taken};

/// One slave.
pub(super) struct Lane {
    pub(super) slave: usize,
    pages: Pages,
    pub(super) feeding: Feeding,
    way: Way,
    /// Where this lane began, and how far each table was handed to it.
    master: Reach,
    other: Reach,
    /// Items of the master's stream before this lane began.
    pub(super) offset: u64,
}

/// Whether the master's pages come to this lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Feeding {
    /// The stream has not arrived at this lane's place.
    Waiting,
    /// They do.
    Fed,
    /// It was left behind, so that it does not hold up the others; it goes on from its marks when they are done.
    LeftBehind,
    /// There are no more.
    Over,
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
    pub(super) fn new(slave: usize, from: &checkpoint::Lane, pages: Pages, window_bytes: usize) -> Self {
        let checkpoint::Lane { master, slave: other, ahead, method } = from;
        let reach = |mark: &Mark| Reach { began: mark.clone(), read: mark.clone() };
        let way = match method {
            Method::Join => {
                let mut join = Join::new(window_bytes);
                // Nothing is pending yet, so nothing becomes a candidate.
                for (stream, mark) in [(Stream::Master, master), (Stream::Slave, other)] {
                    if *mark == Mark::End {
                        join.end(stream, &mut Vec::new());
                    }
                }
                Way::Join(Box::new(join))
            }
            Method::Lookup => Way::Lookup { master: 0, slave: 0 },
        };
        let feeding = if *master == Mark::End { Feeding::Over } else { Feeding::Waiting };
        Self { slave, pages, feeding, way, master: reach(master), other: reach(other), offset: *ahead }
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

    /// Whether the master had been read whole before this lane began.
    pub(super) fn began_at_the_end(&self) -> bool {
        self.master.began == Mark::End
    }

    /// Whether this side is to be read next. A lane that waits for the master's stream wants nothing.
    pub(super) fn wants(&self, stream: Stream) -> bool {
        match &self.way {
            _ if matches!(self.feeding, Feeding::Waiting | Feeding::LeftBehind) => false,
            Way::Join(join) => join.wants(stream),
            Way::Lookup { .. } => self.reach(stream).read != Mark::End,
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
        match (&mut self.way, stream) {
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
        }
    }

    /// Why the join should give way to lookups, if it should.
    pub(super) fn distrust(&self) -> Option<Distrust> {
        match &self.way {
            Way::Join(join) if !join.has_ended() => join.distrust(),
            Way::Join(_) | Way::Lookup { .. } => None,
        }
    }

    /// Goes over to lookups; returns what the join had not decided, the master's and the slave's.
    pub(super) fn give_way(&mut self) -> [Arc<Entries>; 2] {
        let Way::Join(join) = &self.way else { return Default::default() };
        let streams = [Stream::Master, Stream::Slave];
        // What is pending was on pages, and is never more than they could hold.
        let pending = streams.map(|stream| Arc::new(join.pending(stream).unwrap_or_default()));
        let [master, slave] = [0, 1].map(|side: usize| join.decided(streams[side]) + pending[side].len() as u64);
        self.way = Way::Lookup { master, slave };
        pending
    }

    /// Gives up what is pending, but for what is kept.
    pub(super) fn shorten(&mut self, keep: Keep, out: &mut Vec<Candidate>) {
        if let Way::Join(join) = &mut self.way {
            join.shorten(Stream::Master, keep, out);
            join.shorten(Stream::Slave, keep, out);
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

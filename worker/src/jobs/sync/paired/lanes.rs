//! The lanes of one segment: which of them are fed, what they want, and how far all of it is decided.

use std::collections::BTreeSet;
use std::time::Duration;

use futures::future::{try_join, try_join_all};
use shared::domain::checkpoint::{self, Mark, Position};
use shared::domain::join::{Distrust, Stream};
use shared::domain::key::{BadKey, Key};

use super::feed::{Fed, Feed, Group};
use super::lane::{Feeding, Lane, Next, Place};
use super::pages::{Pages, Source, Taken};
use crate::jobs::Stuck;
use crate::jobs::sync::lookup::odd_key;

/// Bytes that the windows of all joins of one segment take together, at most; each holds one page in any case.
const WINDOW_BYTES: usize = 32 * 1024 * 1024;

/// How long the other lanes wait for one slave's page before they go on without it.
const LAGGARD_AFTER: Duration = Duration::from_secs(10);

/// A segment's lanes.
pub(super) struct Lanes {
    pub(super) lanes: Vec<Lane>,
    source: Source,
    feed: Option<Feed>,
    /// Items of the master that were handed to any lane.
    fed: u64,
}

/// What was read in one round.
pub(super) struct Round {
    pub(super) master: Option<Fed>,
    pub(super) slaves: Vec<(usize, Taken)>,
}

impl Lanes {
    /// Takes the lanes up where they stand.
    pub(super) async fn begin(source: &Source, from: &[checkpoint::Lane]) -> Result<Self, Stuck> {
        let manifest = &source.job.manifest;
        let bad = |table: usize| move |error: BadKey| odd_key(&source.job, table, &error.to_string());
        let window_bytes = WINDOW_BYTES / 2 / from.len().max(1);
        let mut lanes = Vec::with_capacity(from.len());
        for (slave, from) in from.iter().enumerate() {
            let pages = Pages::from(source, slave + 1, &from.slave).map_err(bad(slave + 1))?;
            lanes.push(Lane::new(manifest, slave, from, pages, window_bytes));
        }
        if lanes.iter().all(|lane| lane.feeding == Feeding::LeftBehind || lane.has_ended()) {
            lanes.iter_mut().for_each(Lane::take_up);
        }
        let mut waiting: Vec<usize> = (0..from.len()).filter(|&n| lanes[n].feeding == Feeding::Waiting(0)).collect();
        waiting.sort_by_key(|&lane| from[lane].rank);
        let mut groups: Vec<(&Mark, Vec<usize>)> = Vec::new();
        for lane in waiting {
            match groups.last_mut() {
                Some((mark, lanes)) if **mark == from[lane].master => lanes.push(lane),
                _ => groups.push((&from[lane].master, vec![lane])),
            }
        }
        let mut stream = None;
        let mut ahead = Vec::new();
        for (place, (mark, members)) in groups.into_iter().enumerate() {
            let pages = Pages::from(source, 0, mark).map_err(bad(0))?;
            for &lane in &members {
                lanes[lane].feeding = Feeding::Waiting(place);
            }
            if place == 0 {
                members.iter().for_each(|&lane| lanes[lane].feed_from(0));
                stream = Some(pages);
                continue;
            }
            let after = match mark {
                Mark::After(key) => Some(Key::from_json(&manifest.key_schema, key).map_err(bad(0))?),
                Mark::Start | Mark::End => None,
            };
            let after = after.map(|key| source.digester.key(&key));
            ahead.push(Group::open(members, mark.clone(), after, pages).await?);
        }
        let feed = stream.map(|pages| Feed::new(pages, ahead));
        Ok(Self { lanes, source: source.clone(), feed, fed: 0 })
    }

    /// Reads what the lanes want, all of it at once. When this future is dropped, nothing but the work is lost, and
    /// the lanes must be taken up anew.
    pub(super) async fn read(&mut self) -> Result<Round, Stuck> {
        let wants_master = self.want_master();
        // Where a limit makes all tables slow, none of them is a laggard.
        let patience = (self.at_work() > 1 && !self.source.job.pacer.is_limited()).then_some(LAGGARD_AFTER);
        let feed = self.feed.as_mut().filter(|_| wants_master);
        let master = async {
            match feed {
                Some(feed) => feed.next().await,
                None => Ok(None),
            }
        };
        let wanting = self.lanes.iter_mut().filter(|lane| lane.wants(Stream::Slave));
        let slaves: Vec<_> = wanting.map(|lane| lane.next(patience)).collect();
        let (master, slaves) = try_join(master, try_join_all(slaves)).await?;
        let mut pages = Vec::with_capacity(slaves.len());
        let mut late = Vec::new();
        for (slave, next) in slaves {
            match next {
                Next::Page(page) => pages.push((slave, page)),
                Next::End => {}
                Next::Late => late.push(slave),
            }
        }
        self.leave_behind(&late);
        Ok(Round { master, slaves: pages })
    }

    /// Hands a page of the master to the lanes that are fed, by `push`; then the joining ones begin.
    pub(super) fn hand_out(&mut self, fed: &Fed, mut push: impl FnMut(&mut Lane, &Taken)) {
        self.fed += fed.page.entries.len() as u64;
        for lane in self.lanes.iter_mut().filter(|lane| lane.feeding == Feeding::Fed) {
            push(lane, &fed.page);
        }
        for &lane in &fed.joining {
            self.lanes[lane].feed_from(self.fed);
        }
    }

    pub(super) fn have_ended(&self) -> bool {
        self.lanes.iter().all(Lane::has_ended)
    }

    /// Whether only lanes that were left behind have anything to do.
    pub(super) fn only_laggards_are_left(&self) -> bool {
        self.at_work() == 0 && !self.have_ended()
    }

    /// The slaves of which the join should not go on.
    pub(super) fn distrusted(&self) -> Vec<(usize, Distrust)> {
        self.lanes.iter().filter_map(|lane| Some((lane.slave, lane.distrust()?))).collect()
    }

    /// How far everything is decided.
    pub(super) fn position(&self) -> Result<Position, Stuck> {
        let job = &self.source.job;
        let schema = &job.manifest.key_schema;
        let places: BTreeSet<Place> = self.lanes.iter().map(Lane::place).collect();
        let lanes = self.lanes.iter().map(|lane| {
            let mark =
                |stream, table| lane.mark(stream, schema).map_err(|error| odd_key(job, table, &error.to_string()));
            let rank = places.range(..lane.place()).count();
            Ok(checkpoint::Lane {
                master: mark(Stream::Master, 0)?,
                slave: mark(Stream::Slave, lane.slave + 1)?,
                rank: u32::try_from(rank).unwrap_or(u32::MAX),
                method: lane.method(),
                left_behind: lane.feeding == Feeding::LeftBehind,
            })
        });
        Ok(Position::Paired(lanes.collect::<Result<_, Stuck>>()?))
    }

    /// Items scanned by table, without those that would be read again after a crash.
    pub(super) fn scanned(&self, before: &[u64]) -> Vec<u64> {
        let mut scanned = before.to_vec();
        let reach = |lane: &Lane| match lane.place() {
            Place::Behind(_) => Some(0),
            Place::Fed(items) => Some(items),
            Place::Ahead(_) | Place::Done => None,
        };
        scanned[0] += self.lanes.iter().filter_map(reach).min().unwrap_or(self.fed);
        for lane in &self.lanes {
            scanned[lane.slave + 1] += lane.decided(Stream::Slave);
        }
        scanned
    }

    /// Goes on without the slaves that let the others wait, if there are any others.
    fn leave_behind(&mut self, late: &[usize]) {
        if late.len() >= self.at_work() {
            return;
        }
        for lane in self.lanes.iter_mut().filter(|lane| late.contains(&lane.slave)) {
            let slave = &self.source.job.labels[lane.slave + 1];
            tracing::warn!(slave, "a slave is slow; the others go on without it, and it follows when they are done");
            lane.feeding = Feeding::LeftBehind;
        }
    }

    /// Lanes that have something to do now.
    fn at_work(&self) -> usize {
        let is_at_work = |lane: &&Lane| matches!(lane.feeding, Feeding::Fed | Feeding::Over) && !lane.has_ended();
        self.lanes.iter().filter(is_at_work).count()
    }

    /// Whether every lane that the master's pages come to wants the next.
    fn want_master(&self) -> bool {
        let mut fed = self.lanes.iter().filter(|lane| lane.feeding == Feeding::Fed).peekable();
        fed.peek().is_some() && fed.all(|lane| lane.wants(Stream::Master))
    }
}

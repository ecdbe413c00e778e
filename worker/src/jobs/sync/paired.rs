//! The `paired` way through a segment: the same segment of the master and of every slave, side by side.
//!
//! Each slave has a lane with a join of its own; all lanes share the master's pages. The master is read when every
//! lane wants it, a slave when its lane does, and what is wanted together is read together. A lane whose join is not
//! to be trusted goes on with lookups. Slaves for which the job chose `lookup` are lanes that do so from the start.

mod feed;
mod lane;
mod pages;

use std::sync::Arc;
use std::time::Duration;

use futures::future::{try_join, try_join_all};
use shared::domain::checkpoint::{self, Mark, Method, Position};
use shared::domain::digest::Digester;
use shared::domain::entries::Entries;
use shared::domain::job::{Manifest, Strategy};
use shared::domain::join::{Candidate, Keep, Stream, Suspicion};
use shared::domain::tally::MetIn;
use tokio::time::Instant;

use self::feed::{Fed, Feed, Group};
use self::lane::{Feeding, Lane, Next};
use self::pages::{Pages, Source, Taken};
use super::lookup::{self, Look, Suspect};
use super::{COMMIT_EVERY, Ended, SUSPECTS_PER_COMMIT, Segment, Settled, Stuck};
use crate::context::JobContext;

/// Bytes that the windows of all joins of one segment take together, at most; each holds one page in any case.
const WINDOW_BYTES: usize = 32 * 1024 * 1024;

/// How long the other lanes wait for one slave's page before they go on without it.
const LAGGARD_AFTER: Duration = Duration::from_secs(10);

/// What was read in one round.
struct Round {
    master: Option<Fed>,
    slaves: Vec<(usize, Taken)>,
}

/// A segment's lanes.
struct Lanes<'a> {
    job: &'a JobContext,
    digester: Arc<Digester>,
    lanes: Vec<Lane>,
    feed: Option<Feed>,
    /// Items of the master that were handed to any lane.
    fed: u64,
}

impl Segment<'_> {
    /// Scans from the position to the end of the segment.
    pub(super) async fn scan_paired(&mut self) -> Result<Ended, Stuck> {
        let mut scanned_before = self.tally.scanned.clone();
        let from = lanes_of(&self.job.manifest, &self.position).ok_or_else(|| self.not_of_this_strategy())?;
        let digester = Arc::new(Digester::new(&self.job.manifest.key_schema, &self.job.ignore, rand::random()));
        let source = Source { job: Arc::clone(self.job), digester, segment: self.unit.segment };
        let mut lanes = Lanes::begin(self.job, &source, &from).await?;
        loop {
            let ended = lanes.have_ended();
            let turn_back = !ended && lanes.only_laggards_are_left();
            if !ended && !turn_back {
                let round = lanes.read().await?;
                self.take(&mut lanes, round).await?;
            }
            let stopped = self.stop.is_cancelled();
            let due = self.suspects.len() >= SUSPECTS_PER_COMMIT || self.committed_at.elapsed() >= COMMIT_EVERY;
            if due || stopped || ended || turn_back {
                self.shorten(&mut lanes, Keep::NewestPage)?;
                let position = lanes.position()?;
                if position == self.position {
                    // So that a worker that is given little time gets something done all the same.
                    self.shorten(&mut lanes, Keep::Nothing)?;
                }
                self.position = if ended { Position::End } else { lanes.position()? };
                self.tally.scanned = lanes.scanned(&scanned_before);
                if self.settle().await? == Settled::Abandoned {
                    return Ok(Ended::Stopped);
                }
            }
            if ended {
                return Ok(Ended::Done);
            }
            if stopped {
                return Ok(Ended::Stopped);
            }
            if turn_back {
                let from = lanes_of(&self.job.manifest, &self.position).ok_or_else(|| self.not_of_this_strategy())?;
                lanes = Lanes::begin(self.job, &source, &from).await?;
                scanned_before.clone_from(&self.tally.scanned);
            }
        }
    }

    /// Gives up what has been pending for longest, so that little is read again after a crash.
    fn shorten(&mut self, lanes: &mut Lanes<'_>, keep: Keep) -> Result<(), Stuck> {
        for lane in &mut lanes.lanes {
            let mut out = Vec::new();
            lane.shorten(keep, &mut out);
            self.suspects.extend(suspects(self.job, lane.slave, &out)?);
        }
        Ok(())
    }

    /// Hands out what was read, and counts what comes of it.
    async fn take(&mut self, lanes: &mut Lanes<'_>, round: Round) -> Result<(), Stuck> {
        let mut to_look_up = Vec::new();
        if let Some(Fed { page, joining }) = round.master {
            if let Some(page) = page {
                self.tally.consumed[0].read += page.read_units;
                lanes.fed += page.entries.len() as u64;
                for lane in lanes.lanes.iter_mut().filter(|lane| lane.feeding == Feeding::Fed) {
                    self.push(lane, Stream::Master, &page, &mut to_look_up)?;
                }
            }
            for lane in joining {
                lanes.lanes[lane].feeding = Feeding::Fed;
                lanes.lanes[lane].offset = lanes.fed;
            }
        }
        for (lane, page) in round.slaves {
            self.tally.consumed[lane + 1].read += page.read_units;
            self.push(&mut lanes.lanes[lane], Stream::Slave, &page, &mut to_look_up)?;
        }
        for lane in &mut lanes.lanes {
            let Some(reason) = lane.distrust() else { continue };
            tracing::warn!(
                unit = %self.unit, slave = self.job.labels[lane.slave + 1], reason = reason.reason(),
                "the paired scan gives way to lookups for the rest of this segment"
            );
            self.tally.slaves[lane.slave].gave_way += 1;
            let [master, slave] = lane.give_way();
            to_look_up.push((lane.slave, Stream::Master, master));
            to_look_up.push((lane.slave, Stream::Slave, slave));
        }
        for (slave, stream, entries) in to_look_up {
            let found = match stream {
                Stream::Master => {
                    lookup::master_entries(self.job, &lanes.digester, slave, &entries, &mut self.tally).await?
                }
                Stream::Slave if self.seeks_extra_here(slave) => {
                    lookup::slave_entries(self.job, slave, &entries, &mut self.tally).await?
                }
                Stream::Slave => Vec::new(),
            };
            self.suspects.extend(found);
        }
        Ok(())
    }

    fn push(
        &mut self,
        lane: &mut Lane,
        stream: Stream,
        page: &Taken,
        to_look_up: &mut Vec<(usize, Stream, Arc<Entries>)>,
    ) -> Result<(), Stuck> {
        let mut out = Vec::new();
        match lane.push(stream, page, &mut out) {
            Some(identical) => {
                let tally = &mut self.tally.slaves[lane.slave];
                tally.compared += identical;
                tally.identical += identical;
            }
            None => to_look_up.push((lane.slave, stream, Arc::clone(&page.entries))),
        }
        self.suspects.extend(suspects(self.job, lane.slave, &out)?);
        Ok(())
    }

    fn seeks_extra_here(&self, slave: usize) -> bool {
        seeks_extra_here(&self.job.manifest, slave)
    }
}

impl<'a> Lanes<'a> {
    async fn begin(job: &'a JobContext, source: &Source, from: &[checkpoint::Lane]) -> Result<Self, Stuck> {
        let bad =
            |table: usize| move |error: shared::domain::key::BadKey| lookup::odd_key(job, table, &error.to_string());
        let window_bytes = WINDOW_BYTES / 2 / from.len().max(1);
        let mut lanes = Vec::with_capacity(from.len());
        for (slave, from) in from.iter().enumerate() {
            let pages = Pages::from(source, slave + 1, &from.slave).map_err(bad(slave + 1))?;
            lanes.push(Lane::new(slave, from, pages, window_bytes));
        }
        let mut groups: Vec<(&checkpoint::Lane, Vec<usize>)> = Vec::new();
        let mut order: Vec<usize> = (0..from.len()).filter(|&lane| from[lane].master != Mark::End).collect();
        order.sort_by_key(|&lane| from[lane].ahead);
        for lane in order {
            match groups.last_mut() {
                Some((first, lanes)) if first.master == from[lane].master => lanes.push(lane),
                _ => groups.push((&from[lane], vec![lane])),
            }
        }
        let mut groups = groups.into_iter();
        let Some((rearmost, first_lanes)) = groups.next() else {
            return Ok(Self { job, digester: Arc::clone(&source.digester), lanes, feed: None, fed: 0 });
        };
        for lane in first_lanes {
            lanes[lane].feeding = Feeding::Fed;
            lanes[lane].offset = 0;
        }
        let pages = Pages::from(source, 0, &rearmost.master).map_err(bad(0))?;
        let mut ahead = Vec::new();
        for (lane, members) in groups {
            let pages = Pages::from(source, 0, &lane.master).map_err(bad(0))?;
            ahead.push(Group::open(members, lane.master.clone(), pages).await?);
        }
        let feed = Some(Feed::new(pages, ahead));
        Ok(Self { job, digester: Arc::clone(&source.digester), lanes, feed, fed: 0 })
    }

    /// Reads what the lanes want, all of it at once.
    async fn read(&mut self) -> Result<Round, Stuck> {
        let wants_master = self.want_master();
        let feed = self.feed.as_mut().filter(|_| wants_master);
        let master = async {
            match feed {
                Some(feed) => feed.next().await,
                None => Ok(None),
            }
        };
        let patience = if self.lanes.iter().filter(|lane| lane.feeding == Feeding::Fed).count() > 1 {
            Some(LAGGARD_AFTER)
        } else {
            None
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

    /// Goes on without the slaves that let the others wait, if there are any others.
    fn leave_behind(&mut self, late: &[usize]) {
        let is_late = |lane: &Lane| late.contains(&lane.slave);
        if !self.lanes.iter().any(|lane| lane.feeding == Feeding::Fed && !is_late(lane)) {
            return;
        }
        for lane in self.lanes.iter_mut().filter(|lane| lane.feeding == Feeding::Fed && is_late(lane)) {
            let slave = &self.job.labels[lane.slave + 1];
            tracing::warn!(slave, "a slave is slow; the others go on without it, and it follows when they are done");
            lane.feeding = Feeding::LeftBehind;
        }
    }

    fn only_laggards_are_left(&self) -> bool {
        self.lanes.iter().all(|lane| lane.feeding == Feeding::LeftBehind || lane.has_ended())
    }

    /// Whether every lane that the master's pages come to wants the next.
    fn want_master(&self) -> bool {
        let mut fed = self.lanes.iter().filter(|lane| lane.feeding == Feeding::Fed).peekable();
        fed.peek().is_some() && fed.all(|lane| lane.wants(Stream::Master))
    }

    fn have_ended(&self) -> bool {
        self.lanes.iter().all(Lane::has_ended)
    }

    /// How far everything is decided.
    fn position(&self) -> Result<Position, Stuck> {
        let schema = &self.job.manifest.key_schema;
        let rearmost = self.rearmost();
        let lanes = self.lanes.iter().map(|lane| {
            let mark = |stream, table| {
                lane.mark(stream, schema).map_err(|error| lookup::odd_key(self.job, table, &error.to_string()))
            };
            Ok(checkpoint::Lane {
                master: mark(Stream::Master, 0)?,
                slave: mark(Stream::Slave, lane.slave + 1)?,
                ahead: self.place(lane).saturating_sub(rearmost),
                method: lane.method(),
            })
        });
        Ok(Position::Paired(lanes.collect::<Result<_, Stuck>>()?))
    }

    /// Items scanned by table, without those that would be read again after a crash.
    fn scanned(&self, before: &[u64]) -> Vec<u64> {
        let mut scanned = before.to_vec();
        scanned[0] += self.rearmost();
        for lane in &self.lanes {
            scanned[lane.slave + 1] += lane.decided(Stream::Slave);
        }
        scanned
    }

    /// Items of the master's stream that every lane has decided.
    fn rearmost(&self) -> u64 {
        self.lanes.iter().map(|lane| self.place(lane)).min().unwrap_or(0)
    }

    /// Items of the master's stream that a lane has decided or begun after.
    fn place(&self, lane: &Lane) -> u64 {
        if lane.began_at_the_end() { self.fed } else { lane.offset + lane.decided(Stream::Master) }
    }
}

/// Where each lane begins, if the position is one that a paired scan leaves.
fn lanes_of(manifest: &Manifest, position: &Position) -> Option<Vec<checkpoint::Lane>> {
    let all_after = |mark: &Mark| {
        let lane = |slave| {
            let (method, slave) = match manifest.strategy(slave) {
                Strategy::Paired => (Method::Join, mark.clone()),
                // The slave's own pass finds its extra items.
                Strategy::Lookup => (Method::Lookup, Mark::End),
            };
            checkpoint::Lane { master: mark.clone(), slave, ahead: 0, method }
        };
        (0..manifest.slaves.len()).map(lane).collect()
    };
    match position {
        Position::Start => Some(all_after(&Mark::Start)),
        Position::After(key) => Some(all_after(&Mark::After(key.clone()))),
        Position::Paired(lanes) => Some(lanes.clone()).filter(|lanes| lanes.len() == manifest.slaves.len()),
        Position::End => None,
    }
}

/// Whether this unit is the one that looks for the slave's extra items.
fn seeks_extra_here(manifest: &Manifest, slave: usize) -> bool {
    manifest.sync.policy.seeks_extra() && manifest.strategy(slave) == Strategy::Paired
}

/// What is read again of the candidates: all but the ones that nobody asked for.
fn suspects(job: &JobContext, slave: usize, candidates: &[Candidate]) -> Result<Vec<Suspect>, Stuck> {
    let seeks_extra = seeks_extra_here(&job.manifest, slave);
    let mut suspects = Vec::with_capacity(candidates.len());
    for candidate in candidates {
        let (met, look) = match candidate.suspicion {
            Suspicion::OnlyIn(Stream::Master) => (MetIn::Master, Look::Digests),
            Suspicion::NotAwaited(Stream::Master) => (MetIn::Master, Look::One),
            Suspicion::OnlyIn(Stream::Slave) | Suspicion::NotAwaited(Stream::Slave) if !seeks_extra => continue,
            Suspicion::OnlyIn(Stream::Slave) => (MetIn::Slave, Look::Digests),
            Suspicion::NotAwaited(Stream::Slave) => (MetIn::Slave, Look::One),
            Suspicion::Differing if seeks_extra => (MetIn::Both, Look::Digests),
            Suspicion::Differing => (MetIn::Master, Look::Digests),
        };
        let key = candidate.key(&job.manifest.key_schema);
        let key = key.map_err(|error| lookup::odd_key(job, slave + 1, &error.to_string()))?;
        suspects.push(Suspect { slave, key, seen_at: Instant::now(), met, look });
    }
    Ok(suspects)
}

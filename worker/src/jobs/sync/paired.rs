//! The `paired` way through a segment: the same segment of the master and of every slave, side by side.
//!
//! Each slave has a lane with a join of its own; all lanes share the master's pages. The master is read when every
//! lane wants it, a slave when its lane does, and what is wanted together is read together. A lane whose join is not
//! to be trusted goes on with lookups. Slaves for which the job chose `lookup` are lanes that do so from the start.

mod feed;
mod lane;
mod lanes;
mod pages;

use std::sync::Arc;

use shared::domain::checkpoint::{self, Mark, Method, Position};
use shared::domain::digest::Digester;
use shared::domain::entries::Entries;
use shared::domain::job::{Manifest, Strategy};
use shared::domain::join::{Candidate, Distrust, Stream, Suspicion};
use shared::domain::tally::MetIn;
use tokio::time::Instant;

use self::lane::Lane;
use self::lanes::{Lanes, Round};
use self::pages::{Source, Taken};
use super::lookup::{self, Look, Suspect, Which};
use super::{Began, Ended, Segment, Settled, Stuck};
use crate::context::JobContext;

impl Segment<'_> {
    /// Scans from the position to the end of the segment.
    pub(super) async fn scan_paired(&mut self) -> Result<Ended, Stuck> {
        let mut scanned_before = self.tally.scanned.clone();
        let digester = Arc::new(Digester::new(&self.job.manifest.key_schema, &self.job.ignore, rand::random()));
        let source = Source { job: Arc::clone(self.job), digester, segment: self.unit.segment };
        let mut lanes = self.take_up(&source).await?;
        loop {
            let ended = lanes.have_ended();
            let mut turn_back = lanes.only_laggards_are_left();
            if !ended && !turn_back {
                tokio::select! {
                    biased;
                    round = lanes.read() => self.take(&source, &mut lanes, round?).await?,
                    () = self.stop.cancelled() => {}
                }
            }
            let distrusted = lanes.distrusted();
            turn_back |= !distrusted.is_empty();
            let stopped = self.stop.is_cancelled();
            if self.is_due() || stopped || ended || turn_back {
                if stopped && lanes.position()? == self.position {
                    // So that workers that are given little time get something done between them.
                    self.give_up(&mut lanes);
                }
                self.position = if ended { Position::End } else { lanes.position()? };
                self.give_way(&distrusted);
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
                lanes = self.take_up(&source).await?;
                scanned_before.clone_from(&self.tally.scanned);
            }
        }
    }

    /// The lanes, from the position on.
    async fn take_up(&mut self, source: &Source) -> Result<Lanes, Stuck> {
        let from = lanes_of(&self.job.manifest, &self.position).ok_or_else(|| self.not_of_this_strategy())?;
        let began = |lane: &checkpoint::Lane| if lane.master == lane.slave { Began::Together } else { Began::Apart };
        self.began = from.iter().map(began).collect();
        Lanes::begin(source, &from).await
    }

    /// Has lanes go on with lookups from where they are decided.
    fn give_way(&mut self, distrusted: &[(usize, Distrust)]) {
        let Position::Paired(lanes) = &mut self.position else { return };
        for &(slave, reason) in distrusted {
            tracing::warn!(
                unit = %self.unit, slave = self.job.labels[slave + 1], reason = reason.reason(),
                "the paired scan gives way to lookups for the rest of this segment"
            );
            lanes[slave].method = Method::Lookup;
            self.tally.slaves[slave].gave_way += 1;
        }
    }

    /// Gives up all that is pending.
    fn give_up(&mut self, lanes: &mut Lanes) {
        for lane in &mut lanes.lanes {
            let mut out = Vec::new();
            lane.give_up(&mut out);
            self.suspects.extend(suspects(self.job, lane.slave, self.began[lane.slave], out));
        }
    }

    /// Hands out what was read, and counts what comes of it.
    async fn take(&mut self, source: &Source, lanes: &mut Lanes, round: Round) -> Result<(), Stuck> {
        let mut to_look_up = Vec::new();
        if let Some(fed) = round.master {
            self.tally.consumed[0].read += fed.page.read_units;
            lanes.hand_out(&fed, |lane, page| self.push(lane, Stream::Master, page, &mut to_look_up));
        }
        for (lane, page) in round.slaves {
            self.tally.consumed[lane + 1].read += page.read_units;
            self.push(&mut lanes.lanes[lane], Stream::Slave, &page, &mut to_look_up);
        }
        for (slave, stream, entries) in to_look_up {
            let found = match stream {
                Stream::Master => {
                    lookup::master_entries(self.job, &source.digester, slave, &entries, &mut self.tally).await?
                }
                Stream::Slave if seeks_extra_here(&self.job.manifest, slave) => {
                    lookup::slave_entries(self.job, slave, &entries, &mut self.tally).await?
                }
                Stream::Slave => Vec::new(),
            };
            self.suspects.extend(suspects(self.job, slave, self.began[slave], found));
        }
        Ok(())
    }

    fn push(
        &mut self,
        lane: &mut Lane,
        stream: Stream,
        page: &Taken,
        to_look_up: &mut Vec<(usize, Stream, Arc<Entries>)>,
    ) {
        let mut out = Vec::new();
        match lane.push(stream, page, &mut out) {
            Some(identical) => {
                let tally = &mut self.tally.slaves[lane.slave];
                tally.compared += identical;
                tally.identical += identical;
            }
            None => to_look_up.push((lane.slave, stream, Arc::clone(&page.entries))),
        }
        self.suspects.extend(suspects(self.job, lane.slave, self.began[lane.slave], out));
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
            checkpoint::Lane { master: mark.clone(), slave, rank: 0, method, left_behind: false }
        };
        (0..manifest.slaves.len()).map(lane).collect()
    };
    match position {
        Position::Start => Some(all_after(&Mark::Start)),
        Position::After(key) => Some(all_after(&Mark::After(key.clone()))),
        Position::Paired(lanes) => Some(lanes.clone()).filter(|lanes| lanes.len() == manifest.slaves.len()),
        Position::End | Position::Shard(_) | Position::Source(_) => None,
    }
}

/// Whether this unit is the one that looks for the slave's extra items.
fn seeks_extra_here(manifest: &Manifest, slave: usize) -> bool {
    manifest.sync.policy.seeks_extra() && manifest.strategy(slave) == Strategy::Paired
}

/// What is read again of the candidates: all but the ones that nobody asked for.
fn suspects(job: &JobContext, slave: usize, began: Began, candidates: Vec<Candidate>) -> Vec<Suspect> {
    let seeks_extra = seeks_extra_here(&job.manifest, slave);
    let seen_at = Instant::now();
    let mut suspects = Vec::with_capacity(candidates.len());
    for candidate in candidates {
        let (met, look) = match candidate.suspicion {
            Suspicion::OnlyIn(Stream::Master) if began == Began::Apart => (MetIn::Master, Look::One),
            Suspicion::OnlyIn(Stream::Master) => (MetIn::Master, Look::Digests),
            Suspicion::NotAwaited(Stream::Master) => (MetIn::Master, Look::One),
            Suspicion::OnlyIn(Stream::Slave) | Suspicion::NotAwaited(Stream::Slave) if !seeks_extra => continue,
            Suspicion::OnlyIn(Stream::Slave) => (MetIn::Slave, Look::Digests),
            Suspicion::NotAwaited(Stream::Slave) => (MetIn::Slave, Look::One),
            Suspicion::Differing if seeks_extra => (MetIn::Both, Look::Digests),
            Suspicion::Differing => (MetIn::Master, Look::Digests),
        };
        suspects.push(Suspect { slave, which: Which::Candidate(candidate), seen_at, met, look });
    }
    suspects
}

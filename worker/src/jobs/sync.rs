//! One segment of a sync: read, compare, confirm, repair, commit, page by page.
//!
//! `scan` and `paired` are the two ways through a segment; both find suspects. `confirm` reads these again and tells
//! which are discrepancies, `repair` makes one repair. This file holds what is committed when; see `settle`.

mod confirm;
mod lookup;
mod paired;
mod repair;
mod scan;

use std::sync::Arc;
use std::time::Duration;

use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use shared::domain::checkpoint::Position;
use shared::domain::decide::{Repair, Standing};
use shared::domain::discrepancy::{Discrepancy, Outcome};
use shared::domain::job::Strategy;
use shared::domain::key::Key;
use shared::domain::lag::Brake;
use shared::domain::mend::{self, Ending};
use shared::domain::tally::Tally;
use shared::domain::unit::{Pass, Unit};
use shared::journal::{Begun, Intent, JournalError, OwnedUnit, Packed, Step};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use self::confirm::{Confirming, Finding, Seen};
use self::lookup::Suspect;
use self::repair::{Made, Mender};
use super::{Ended, Stuck};
use crate::context::JobContext;

/// Items on a page unless the user says otherwise; the service's own limit is 1 MB.
///
/// It bounds memory where items are small: 1 MB of items of 100 bytes takes 25 MB once they are values, and two pages
/// are held per segment. Below 500 bytes per item pages get smaller than 1 MB, which costs 1% more read units at most,
/// because each page is rounded up to 4 KB.
const ITEMS_PER_PAGE: u32 = 2000;

/// Longest time between two commits while pages come in; what lies behind the last one is redone after a crash.
const COMMIT_EVERY: Duration = Duration::from_secs(2);

/// Suspects that make a commit due before its time, so that none waits long and few are held.
const SUSPECTS_PER_COMMIT: usize = 2000;

/// How long a confirm delay may still take once the worker is asked to stop.
const PATIENCE_WHEN_STOPPED: Duration = Duration::from_secs(3);

/// Repairs in flight at once in one segment.
const REPAIRS_AT_ONCE: usize = 16;

/// Repairs that are made ready at once; each takes memory even before its turn.
const REPAIRS_PREPARED: usize = 256;

/// What became of the pages since the last commit.
#[derive(PartialEq, Eq)]
enum Settled {
    Committed,
    /// Not all of it, because the work is to stop: the rest is as the last commit says.
    Abandoned,
}

/// How a wait ended.
#[derive(PartialEq, Eq)]
enum Waited {
    Out,
    Stopped,
}

struct Segment<'a> {
    job: &'a Arc<JobContext>,
    owned: &'a OwnedUnit,
    unit: Unit,
    stop: &'a CancellationToken,
    position: Position,
    tally: Tally,
    suspects: Vec<Suspect>,
    committed_at: Instant,
    brake: Brake,
    /// By slave, in a paired scan: whether its scan began elsewhere than the master's.
    began: Vec<Began>,
}

/// Where two scans began that are joined.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Began {
    /// At the same key: what one shows and the other does not was in flight if it heals.
    Together,
    /// Apart, as a stop or a crash left them: what one shows may just lie behind where the other began.
    Apart,
}

/// Works on one owned unit until its end, or until `stop`, which it looks at between pages.
///
/// # Errors
/// `Stuck`; everything up to the last commit stays.
pub async fn run(job: &Arc<JobContext>, owned: &OwnedUnit, stop: &CancellationToken) -> Result<Ended, Stuck> {
    let checkpoint = owned.checkpoint().await;
    let mut segment = Segment {
        job,
        owned,
        unit: checkpoint.unit,
        stop,
        position: checkpoint.position,
        tally: checkpoint.tally,
        suspects: Vec::new(),
        committed_at: Instant::now(),
        brake: Brake::new(job.manifest.sync.confirm_delay().unwrap_or_default(), job.manifest.sync.max_lag()),
        began: Vec::new(),
    };
    if segment.finish_pending().await? == Settled::Abandoned {
        return Ok(Ended::Stopped);
    }
    if segment.position == Position::End {
        return segment.finish_empty().await;
    }
    let is_paired = |slave| job.manifest.strategy(slave) == Strategy::Paired;
    if segment.unit.pass == Pass::Master && (0..job.manifest.slaves.len()).any(is_paired) {
        segment.scan_paired().await
    } else {
        segment.scan().await
    }
}

impl Segment<'_> {
    /// Confirms what is suspect, commits, repairs what may be repaired, and commits again.
    ///
    /// Between the two commits the repairs are pending: named and counted, and each made or not. Whoever takes the
    /// unit up then finishes them first, so that none is made without being reported, and none is counted twice.
    ///
    /// When asked to stop before the first of them, and that takes long, it is all left as it was at the last commit.
    async fn settle(&mut self) -> Result<Settled, Stuck> {
        let suspects = std::mem::take(&mut self.suspects);
        if let Some(due) = confirm::due(self.job, &suspects, self.brake.wait())
            && self.wait_until(due).await == Waited::Stopped
        {
            return Ok(Settled::Abandoned);
        }
        let (mut lines, mut pending, mut to_repair) = (Packed::default(), Packed::default(), Vec::new());
        let job = Arc::clone(self.job);
        let healed_before = healed(&self.tally);
        let mut discrepancies = 0;
        let mut confirming = Confirming::begin(&job, suspects, self.brake.wait(), &mut self.tally);
        loop {
            let findings = tokio::select! {
                findings = confirming.next(&mut self.tally) => findings?,
                () = stopped_for(self.stop, PATIENCE_WHEN_STOPPED) => return Ok(Settled::Abandoned),
            };
            let Some(findings) = findings else {
                let Some(wait) = confirming.waits() else { break };
                if self.wait_until(Instant::now() + wait).await == Waited::Stopped {
                    return Ok(Settled::Abandoned);
                }
                confirming.go_on();
                continue;
            };
            self.job.meter.add_discrepancies(findings.len() as u64);
            discrepancies += findings.len() as u64;
            for finding in findings {
                match self.decide_on(&finding) {
                    Some(line) => lines.push(&line),
                    None => {
                        let line = self.line(&finding, Outcome::Reported, None);
                        pending.push(&Intent { slave: finding.slave, line, begun: Begun::Maybe });
                        to_repair.push(finding);
                    }
                }
            }
        }
        let healed = healed(&self.tally) - healed_before;
        self.brake.note(healed, healed + discrepancies);
        self.commit(lines, pending).await?;
        if to_repair.is_empty() {
            return Ok(Settled::Committed);
        }
        self.repair(to_repair).await
    }

    /// The report line of a discrepancy that is not going to be repaired; none when it is.
    fn decide_on(&mut self, finding: &Finding) -> Option<Discrepancy> {
        let found = self.line(finding, Outcome::Reported, None);
        self.job.hooks.on_discrepancy(&found);
        let left_alone = match self.repair_of(finding) {
            Repair::None => Outcome::Reported,
            Repair::Put | Repair::Delete => Outcome::Skipped,
        };
        let (outcome, reason) = match finding.standing {
            Standing::Ordinary if left_alone == Outcome::Skipped => return None,
            Standing::Ordinary => (Outcome::Reported, None),
            Standing::Expired => (left_alone, Some(mend::EXPIRED.to_owned())),
            Standing::SlaveIsNewer => (left_alone, Some(mend::SLAVE_IS_NEWER.to_owned())),
            Standing::Unstable => (Outcome::Unstable, Some("the master's item kept changing".to_owned())),
        };
        self.tally.slaves[finding.slave].count_outcome(outcome);
        let line = Discrepancy { outcome, reason, ..found };
        self.job.hooks.on_outcome(&line);
        Some(line)
    }

    async fn wait_until(&self, due: Instant) -> Waited {
        tokio::select! {
            () = tokio::time::sleep_until(due) => Waited::Out,
            () = stopped_for(self.stop, PATIENCE_WHEN_STOPPED) => Waited::Stopped,
        }
    }

    /// Whether what was read since the last commit is to be committed.
    fn is_due(&self) -> bool {
        // Suspects wait together for as long as a slave may lag, so that the scan does not wait for each few of them.
        let lag = self.job.manifest.sync.max_lag().filter(|_| !self.suspects.is_empty());
        let every = lag.map_or(COMMIT_EVERY, |lag| lag.max(COMMIT_EVERY));
        self.suspects.len() >= SUSPECTS_PER_COMMIT || self.committed_at.elapsed() >= every
    }

    /// Finishes the repairs that the last owner of this unit had decided on.
    async fn finish_pending(&mut self) -> Result<Settled, Stuck> {
        let intents = self.owned.pending().await?;
        if intents.is_empty() {
            return Ok(Settled::Committed);
        }
        tracing::info!(unit = %self.unit, repairs = intents.len(), "finishing the repairs of the last owner");
        let schema = &self.job.manifest.key_schema;
        let findings = intents
            .into_iter()
            .map(|Intent { slave, line, begun }| {
                let key = Key::from_json(schema, &line.key).map_err(|error| self.bad_key(&error))?;
                Ok(Finding::inherited(slave, key, line, begun))
            })
            .collect::<Result<Vec<Finding>, Stuck>>()?;
        self.repair(findings).await
    }

    /// Makes these repairs. When asked to stop between two handfuls of them, commits the rest as still pending.
    async fn repair(&mut self, findings: Vec<Finding>) -> Result<Settled, Stuck> {
        let mender = Mender { job: self.job, owned: self.owned };
        let mut lines = Packed::default();
        let mut findings = findings.into_iter();
        loop {
            let mends: Vec<_> = findings.by_ref().take(REPAIRS_PREPARED).map(|finding| mender.mend(finding)).collect();
            if mends.is_empty() {
                self.commit(lines, Packed::default()).await?;
                return Ok(Settled::Committed);
            }
            let made: Vec<_> = stream::iter(mends).buffer_unordered(REPAIRS_AT_ONCE).try_collect().await?;
            made.into_iter().for_each(|(finding, made)| self.count_repair(&finding, made, &mut lines));
            if self.stop.is_cancelled() && findings.len() > 0 {
                let mut pending = Packed::default();
                for finding in findings {
                    let line = self.line(&finding, Outcome::Reported, None);
                    let begun = match finding.seen {
                        Seen::Inherited => Begun::Maybe,
                        Seen::Both(..) | Seen::Unread => Begun::No,
                    };
                    pending.push(&Intent { slave: finding.slave, line, begun });
                }
                self.commit(lines, pending).await?;
                return Ok(Settled::Abandoned);
            }
        }
    }

    fn count_repair(&mut self, finding: &Finding, made: Made, lines: &mut Packed<Discrepancy>) {
        let Made { outcome, consumed } = made;
        for (table, consumed) in [(0, consumed.master), (finding.slave + 1, consumed.slave)] {
            self.tally.consumed[table].add(consumed);
            self.job.meter.add_write_units(consumed.write);
        }
        let tally = &mut self.tally.slaves[finding.slave];
        match outcome {
            Ending::Healed => tally.uncount(finding.kind),
            Ending::Settled(outcome, reason) => {
                if reason.as_deref() == Some(mend::EXPIRED) {
                    tally.expire(finding.kind);
                }
                tally.count_outcome(outcome);
                let line = self.line(finding, outcome, reason);
                self.job.hooks.on_outcome(&line);
                lines.push(&line);
            }
        }
    }

    async fn commit(&mut self, lines: Packed<Discrepancy>, pending: Packed<Intent>) -> Result<(), Stuck> {
        let last = self.position == Position::End && pending.is_empty();
        let (position, tally) = (self.position.clone(), self.tally.clone());
        let step = Step { position, tally, lines, pending, ..Step::default() };
        if last {
            self.owned.finish(step).await?
        } else {
            self.owned.commit(step).await?
        }
        self.committed_at = Instant::now();
        Ok(())
    }

    async fn finish_empty(&mut self) -> Result<Ended, Stuck> {
        if self.owned.checkpoint().await.state != shared::domain::checkpoint::State::Done {
            self.commit(Packed::default(), Packed::default()).await?;
        }
        Ok(Ended::Done)
    }

    /// A checkpoint that the job's manifest does not lead to.
    fn not_of_this_strategy(&self) -> Stuck {
        let what = "its position is not one of the job's strategy".to_owned();
        JournalError::Damaged { url: format!("checkpoint of {}", self.unit), what }.into()
    }

    fn repair_of(&self, finding: &Finding) -> Repair {
        self.job.manifest.sync.policy.repair(finding.kind)
    }

    fn line(&self, finding: &Finding, outcome: Outcome, reason: Option<String>) -> Discrepancy {
        Discrepancy {
            segment: self.unit.segment,
            slave: self.job.labels[finding.slave + 1].clone(),
            kind: finding.kind,
            key: finding.key.to_json(),
            attributes: finding.attributes.clone(),
            outcome,
            reason,
            at: format!("{:.3}", jiff::Timestamp::now()),
            values: finding.values.clone(),
        }
    }

    fn key(&self, item: &shared::domain::value::Item) -> Result<Key, Stuck> {
        Key::of(&self.job.manifest.key_schema, item).map_err(|error| self.bad_key(&error))
    }

    fn bad_key(&self, error: &shared::domain::key::BadKey) -> Stuck {
        lookup::odd_key(self.job, self.unit.pass.scanned_table(), &error.to_string())
    }
}

/// Suspects of all slaves that had healed.
fn healed(tally: &Tally) -> u64 {
    tally.slaves.iter().map(|slave| slave.healed).sum()
}

/// Returns this long after the token was cancelled.
async fn stopped_for(stop: &CancellationToken, patience: Duration) {
    stop.cancelled().await;
    tokio::time::sleep(patience).await;
}

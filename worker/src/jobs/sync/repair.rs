//! One repair: a conditional write that never overwrites what was not seen.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use shared::domain::compare::without_global_table_attributes;
use shared::domain::condition::{Condition, Write};
use shared::domain::decide::{Kind, Repair, Verdict, judge};
use shared::domain::discrepancy::Outcome;
use shared::domain::job::Consistency;
use shared::domain::tally::Consumed;
use shared::domain::value::Item;
use shared::journal::{JournalError, OwnedUnit};
use shared::ports::failure::{Failure, FailureKind};
use shared::ports::table::{Applied, Content};
use shared::retry;

use super::confirm::{Finding, Seen};
use super::{Stuck, lookup};
use crate::context::JobContext;
use crate::hooks::Consent;

/// Times a repair is decided again because the slave changed between the look and the write.
const LOOKS: u32 = 4;

/// How old a look may be when the write is decided on it; repairs wait for a commit and for each other.
const FRESH_FOR: Duration = Duration::from_secs(1);

/// Why a repair was given up without harm.
const CHANGED_MEANWHILE: &str = "changed meanwhile";

/// What came of a repair.
pub(super) enum Result {
    /// Both sides agree, and not by our doing: it is no discrepancy any more.
    Healed,
    /// It has its outcome, and a reason where one is due.
    Settled(Outcome, Option<String>),
}

/// A repair that came to an end, and what it cost.
pub(super) struct Made {
    pub(super) outcome: Result,
    pub(super) consumed: Spent,
}

/// Units consumed by one repair.
#[derive(Default)]
pub(super) struct Spent {
    pub(super) master: Consumed,
    pub(super) slave: Consumed,
}

/// Makes the repairs of one unit.
pub(super) struct Mender<'a> {
    pub(super) job: &'a JobContext,
    pub(super) owned: &'a OwnedUnit,
}

impl Mender<'_> {
    /// Makes one repair: look, decide, write on condition; and again when the condition fails.
    pub(super) async fn mend(&self, mut finding: Finding) -> std::result::Result<(Finding, Made), Stuck> {
        let made = self.settle(&mut finding).await?;
        Ok((finding, made))
    }

    async fn settle(&self, finding: &mut Finding) -> std::result::Result<Made, Stuck> {
        let mut consumed = Spent::default();
        // Once a write may have been made, a slave that agrees has been repaired by us.
        let maybe_made = AtomicBool::new(matches!(finding.seen, Seen::Inherited));
        for _ in 0..LOOKS {
            let (master, slave) = match std::mem::replace(&mut finding.seen, Seen::Unread) {
                Seen::Both(both, looked_at) if looked_at.elapsed() <= FRESH_FOR => *both,
                Seen::Both(..) | Seen::Unread | Seen::Inherited => self.look(finding, &mut consumed).await?,
            };
            let verdict = judge(master.as_ref(), slave.as_ref(), |master, slave| self.job.differing(master, slave));
            if let Verdict::Identical | Verdict::Gone = verdict {
                let outcome = agreed(finding.kind, &verdict, maybe_made.load(Ordering::Relaxed));
                return Ok(Made { outcome, consumed });
            }
            let (write, condition) = match self.plan(finding.kind, verdict, master, slave, finding) {
                Plan::Write(write, condition) => (write, condition),
                Plan::Skip(reason) => return Ok(Made { outcome: skipped(reason), consumed }),
            };
            if let Consent::Refuse(reason) = self.job.hooks.before_write(&self.job.labels[finding.slave + 1], &write) {
                return Ok(Made { outcome: skipped(reason), consumed });
            }
            let table = &*self.job.tables[finding.slave + 1];
            let attempt = || async {
                if !self.owned.is_good() {
                    return Ok(None);
                }
                let answer = table.write_if(&write, &condition).await;
                if answer.as_ref().is_err_and(Failure::may_pass) {
                    maybe_made.store(true, Ordering::Relaxed);
                }
                answer.map(Some)
            };
            match retry::call(self.job.retry, attempt).await {
                Ok(None) => {
                    let unit = self.owned.checkpoint().await.unit;
                    return Err(JournalError::Lost { unit }.into());
                }
                Ok(Some(answer)) => {
                    consumed.slave.write += answer.write_units;
                    if answer.applied == Applied::Written {
                        return Ok(Made { outcome: settled_by(&write), consumed });
                    }
                }
                Err(failure) if failure.kind == FailureKind::Invalid => {
                    let outcome = Result::Settled(Outcome::Failed, Some(failure.to_string()));
                    return Ok(Made { outcome, consumed });
                }
                Err(failure) => return Err(failure.into()),
            }
        }
        Ok(Made { outcome: skipped(CHANGED_MEANWHILE.to_owned()), consumed })
    }

    async fn look(
        &self,
        finding: &Finding,
        consumed: &mut Spent,
    ) -> std::result::Result<(Option<Item>, Option<Item>), Stuck> {
        let key = std::slice::from_ref(&finding.key);
        let look = |table| lookup::read(self.job, table, key, Consistency::Strong, &Content::Items);
        let ((mut master, master_units), (mut slave, slave_units)) =
            futures::future::try_join(look(0), look(finding.slave + 1)).await?;
        consumed.master.read += master_units;
        consumed.slave.read += slave_units;
        Ok((master.remove(&finding.key), slave.remove(&finding.key)))
    }

    fn plan(&self, kind: Kind, now: Verdict, master: Option<Item>, slave: Option<Item>, finding: &Finding) -> Plan {
        let Verdict::Discrepant(now, _) = now else { return Plan::Skip(CHANGED_MEANWHILE.to_owned()) };
        // Whether the item is to be on the slave at all was counted one way; the other way is another discrepancy,
        // which the next run reports.
        if (kind == Kind::Extra) != (now == Kind::Extra) {
            return Plan::Skip(CHANGED_MEANWHILE.to_owned());
        }
        let manifest = &self.job.manifest;
        let schema = &manifest.key_schema;
        match (manifest.sync.policy.repair(now), master, slave) {
            (Repair::Put, Some(master), None) => {
                Plan::Write(Write::Put(without_global_table_attributes(&master)), Condition::absent(schema))
            }
            (Repair::Put, Some(master), Some(slave)) => {
                let condition = Condition::unchanged(schema, &slave, Some(&master), &self.job.ignore);
                Plan::Write(Write::Put(without_global_table_attributes(&master)), condition)
            }
            (Repair::Delete, None, Some(slave)) => {
                let condition = Condition::unchanged(schema, &slave, None, &self.job.ignore);
                Plan::Write(Write::Delete(finding.key.clone()), condition)
            }
            _ => Plan::Skip(CHANGED_MEANWHILE.to_owned()),
        }
    }
}

enum Plan {
    Write(Write, Condition),
    Skip(String),
}

fn skipped(reason: String) -> Result {
    Result::Settled(Outcome::Skipped, Some(reason))
}

/// What it means that both sides agree now.
///
/// If a write of ours may have been made, it was, where the slave is as that write would have left it. Where it is
/// not, nobody can tell: the report names the discrepancy and claims no repair.
fn agreed(kind: Kind, now: &Verdict, maybe_made: bool) -> Result {
    match (kind, now) {
        _ if !maybe_made => Result::Healed,
        (Kind::Missing | Kind::Differing, Verdict::Identical) => Result::Settled(Outcome::Written, None),
        (Kind::Extra, Verdict::Gone) => Result::Settled(Outcome::Deleted, None),
        _ => skipped(CHANGED_MEANWHILE.to_owned()),
    }
}

fn settled_by(write: &Write) -> Result {
    let outcome = match write {
        Write::Put(_) => Outcome::Written,
        Write::Delete(_) => Outcome::Deleted,
    };
    Result::Settled(outcome, None)
}

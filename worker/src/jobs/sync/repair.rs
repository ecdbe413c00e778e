//! One repair: the reads and the write that [`Mending`] asks for.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use shared::domain::discrepancy::Outcome;
use shared::domain::job::{Consistency, OldImages};
use shared::domain::json::item_to_json;
use shared::domain::mend::{Ask, Ending, Look, Mending, Planned, Written};
use shared::domain::tally::Consumed;
use shared::domain::undo::{Kept, OldImage};
use shared::domain::value::Item;
use shared::journal::{JournalError, OwnedUnit};
use shared::ports::failure::{Failure, FailureKind};
use shared::ports::table::{Applied, Content};
use shared::retry;

use super::confirm::{Finding, Seen, seconds_since_1970};
use super::{Stuck, lookup};
use crate::context::JobContext;
use crate::hooks::Consent;

/// How old a look may be when the write is decided on it; repairs wait for a commit and for each other.
const FRESH_FOR: Duration = Duration::from_secs(1);

/// A repair that came to an end, and what it cost.
pub(super) struct Made {
    pub(super) outcome: Ending,
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

/// What came of trying to write.
enum Attempt {
    Answered(Written),
    Refused(Ending),
}

impl Mender<'_> {
    /// Makes one repair: look, decide, write on condition; and again when something moved.
    pub(super) async fn mend(&self, mut finding: Finding) -> Result<(Finding, Made), Stuck> {
        let mut consumed = Spent::default();
        let seen = std::mem::replace(&mut finding.seen, Seen::Unread);
        let mut mending = Mending::new(&self.job.rules, &finding.key, finding.kind);
        let differing = |one: &Item, other: &Item| self.job.differing(one, other);
        let mut ask = match seen {
            Seen::Both(both, looked_at) if looked_at.elapsed() <= FRESH_FOR => {
                let (master, slave) = *both;
                mending.seen(master, slave, Look::Held, seconds_since_1970(), differing)
            }
            Seen::Both(..) | Seen::Unread => Ask::Look,
            Seen::Inherited => {
                mending.may_have_written();
                Ask::Look
            }
        };
        let outcome = loop {
            ask = match ask {
                Ask::Look => {
                    // In this order: see `confirm::both`.
                    let slave = self.read(&finding, finding.slave + 1).await?;
                    let master = self.read(&finding, 0).await?;
                    consumed.master.read += master.1;
                    consumed.slave.read += slave.1;
                    mending.seen(master.0, slave.0, Look::Fresh, seconds_since_1970(), differing)
                }
                Ask::Write(planned) => match self.write(&finding, &planned, &mut mending, &mut consumed).await? {
                    Attempt::Answered(written) => mending.written(written),
                    Attempt::Refused(ending) => Ask::End(ending),
                },
                Ask::LookAtMaster => {
                    let (master, units) = self.read(&finding, 0).await?;
                    consumed.master.read += units;
                    mending.master_seen(master.as_ref(), differing)
                }
                Ask::End(ending) => break ending,
            };
        };
        drop(mending);
        Ok((finding, Made { outcome, consumed }))
    }

    async fn write(
        &self,
        finding: &Finding,
        planned: &Planned,
        mending: &mut Mending<'_>,
        consumed: &mut Spent,
    ) -> Result<Attempt, Stuck> {
        let Planned { write, condition, .. } = planned;
        if let Consent::Refuse(reason) = self.job.hooks.before_write(&self.job.labels[finding.slave + 1], write) {
            return Ok(Attempt::Refused(Ending::Settled(Outcome::Skipped, Some(reason))));
        }
        let id = format!("{:016x}", rand::random::<u64>());
        let keeps = self.job.manifest.sync.old_images == OldImages::Keep;
        if keeps {
            self.owned.keep(Kept::Before(old_image(finding, planned, &id))).await?;
        }
        let table = &*self.job.tables[finding.slave + 1];
        let unsure = AtomicBool::new(false);
        let attempt = || async {
            let write = self.owned.while_good(table.write_if(write, condition));
            let Some(answer) = write.await else { return Ok(None) };
            if answer.as_ref().is_err_and(Failure::may_pass) {
                unsure.store(true, Ordering::Relaxed);
            }
            answer.map(Some)
        };
        let answer = retry::call(self.job.retry, attempt).await;
        let unsure = unsure.into_inner();
        if unsure {
            mending.may_have_written();
        }
        match answer {
            Ok(None) => {
                let unit = self.owned.checkpoint().await.unit;
                Err(JournalError::Lost { unit }.into())
            }
            Ok(Some(answer)) => {
                consumed.slave.write += answer.write_units;
                match answer.applied {
                    Applied::Written => Ok(Attempt::Answered(Written::Made)),
                    Applied::ConditionFailed => {
                        // After a try without an answer it may be that very try which is in the way.
                        if keeps && !unsure {
                            self.owned.keep(Kept::Refused(id)).await?;
                        }
                        Ok(Attempt::Answered(Written::Refused))
                    }
                }
            }
            Err(failure) if failure.kind == FailureKind::Invalid => {
                Ok(Attempt::Refused(Ending::Settled(Outcome::Failed, Some(failure.to_string()))))
            }
            Err(failure) => match mending.denied() {
                Some(ending) if failure.kind == FailureKind::Denied => Ok(Attempt::Refused(ending)),
                _ => Err(failure.into()),
            },
        }
    }

    /// Reads one item, strongly consistent.
    async fn read(&self, finding: &Finding, table: usize) -> Result<(Option<Item>, f64), Stuck> {
        let key = std::slice::from_ref(&finding.key);
        let (mut items, units) = lookup::read(self.job, table, key, Consistency::Strong, &Content::Items).await?;
        Ok((items.remove(&finding.key), units))
    }
}

/// What the slave has right before a write, and what the write leaves.
fn old_image(finding: &Finding, planned: &Planned, id: &str) -> OldImage {
    OldImage {
        id: id.to_owned(),
        at: format!("{:.6}", jiff::Timestamp::now()),
        slave: finding.slave,
        key: finding.key.to_json(),
        old: planned.old.as_ref().map(item_to_json),
        new: planned.new_image().map(item_to_json),
    }
}

//! Making a slave's item equal to the master's, with the conditions of a repair.

use std::sync::atomic::{AtomicBool, Ordering};

use shared::domain::decide::{Kind, Standing, Verdict};
use shared::domain::discrepancy::Outcome;
use shared::domain::key::Key;
use shared::domain::mend::{Ask, EXPIRED, Ending, Look, Mending, Planned, Written};
use shared::domain::value::Item;
use shared::ports::failure::{Failure, FailureKind};
use shared::ports::table::Applied;
use shared::retry;

use super::pair::{Compared, Pair, seconds_since_1970};
use super::read_one;

/// What came of one key.
#[derive(Clone, Debug, PartialEq)]
pub struct Mended {
    /// The key.
    pub key: Key,
    /// The discrepancy that was found, and the paths that differed; none when there was none.
    pub found: Option<(Kind, Vec<String>)>,
    /// How it ended.
    pub ending: Ending,
}

impl Pair {
    /// Makes the slave's item what the master's is, where the look found them to differ.
    ///
    /// # Errors
    /// The tables'; not when the service refuses this one write.
    pub async fn mend(&self, compared: Compared) -> Result<Mended, Failure> {
        let Compared { key, verdict, standing, master: _, slave: _ } = compared;
        let Verdict::Discrepant(kind, paths) = verdict else {
            return Ok(Mended { key, found: None, ending: Ending::Healed });
        };
        let ending = match standing {
            Standing::Expired => Ending::Settled(Outcome::Skipped, Some(EXPIRED.to_owned())),
            Standing::Ordinary | Standing::SlaveIsNewer | Standing::Unstable => self.mend_one(&key, kind).await?,
        };
        Ok(Mended { key, found: Some((kind, paths)), ending })
    }

    /// Looks again first: others may have been mended since the look that found it.
    async fn mend_one(&self, key: &Key, kind: Kind) -> Result<Ending, Failure> {
        let mut mending = Mending::new(&self.rules, key, kind);
        let differing = |one: &Item, other: &Item| self.differing(one, other);
        let mut ask = Ask::Look;
        loop {
            ask = match ask {
                Ask::Look => {
                    // In this order: see `Ask::Look`.
                    let slave = read_one(&*self.slave, self.retry, key).await?;
                    let master = read_one(&*self.master, self.retry, key).await?;
                    mending.seen(master, slave, Look::Fresh, seconds_since_1970(), differing)
                }
                Ask::Write(planned) => self.write(&planned, &mut mending).await?,
                Ask::LookAtMaster => {
                    let master = read_one(&*self.master, self.retry, key).await?;
                    mending.master_seen(master.as_ref(), differing)
                }
                Ask::End(ending) => return Ok(ending),
            };
        }
    }

    async fn write(&self, planned: &Planned, mending: &mut Mending<'_>) -> Result<Ask, Failure> {
        let unsure = AtomicBool::new(false);
        let attempt = || async {
            let answer = self.slave.write_if(&planned.write, &planned.condition).await;
            if answer.as_ref().is_err_and(Failure::may_pass) {
                unsure.store(true, Ordering::Relaxed);
            }
            answer
        };
        let answer = retry::call(self.retry, attempt).await;
        if unsure.into_inner() {
            mending.may_have_written();
        }
        match answer {
            Ok(answer) => Ok(mending.written(match answer.applied {
                Applied::Written => Written::Made,
                Applied::ConditionFailed => Written::Refused,
            })),
            Err(failure) if failure.kind == FailureKind::Invalid => {
                Ok(Ask::End(Ending::Settled(Outcome::Failed, Some(failure.to_string()))))
            }
            Err(failure) => match mending.denied() {
                Some(ending) if failure.kind == FailureKind::Denied => Ok(Ask::End(ending)),
                _ => Err(failure),
            },
        }
    }
}

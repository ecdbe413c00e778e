//! Writing changes onto the slaves: several at once, each until it is there, is refused for good, or nobody may write
//! any more.

use std::future::Future;
use std::sync::Arc;

use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use shared::domain::condition::{Condition, Write};
use shared::domain::follow::{Batch, FollowRules, Latest, Plan, Skip};
use shared::domain::job::Consistency;
use shared::domain::key::{Key, KeySchema};
use shared::domain::overlap::Overlap;
use shared::domain::tally::Tally;
use shared::domain::value::Item;
use shared::journal::{JournalError, OwnedUnit};
use shared::ports::failure::{Failure, FailureKind};
use shared::ports::table::{Applied, Content, GetRequest, MAX_WRITES_PER_BATCH, Table};
use shared::retry::{self, RetryPolicy};

use crate::backup::{ItemObjects, Kept};
use crate::jobs::Stuck;

/// Requests to one slave at once, from one unit.
const REQUESTS_AT_ONCE: usize = 16;

/// Reads of the master at once, from one unit.
const READS_AT_ONCE: usize = 4;

/// Keys of one read of the master.
const KEYS_PER_READ: usize = 100;

/// Where changes go.
#[derive(Clone)]
pub struct Targets {
    /// Where items are read that a record does not show.
    pub master: Arc<dyn Table>,
    /// The tables that are written, each with its name.
    pub slaves: Vec<(String, Arc<dyn Table>)>,
    /// Where each item is kept as an object of its own.
    pub backup: Option<ItemObjects>,
    /// What is done about a change.
    pub rules: FollowRules,
    /// How patiently requests are repeated.
    pub retry: RetryPolicy,
}

/// Who may stop a write on its way.
#[derive(Clone, Copy)]
pub enum Fence<'a> {
    /// The end of the lease on this unit.
    Lease(&'a OwnedUnit),
    /// Nobody: whoever calls sees to it that no other applies the same changes.
    Open,
}

impl Fence<'_> {
    /// Does something to a table or a store as long as it is allowed.
    ///
    /// # Errors
    /// `Lost`, when it is not any more.
    pub async fn guard<T>(&self, write: impl Future<Output = T>) -> Result<T, Stuck> {
        match self {
            Self::Open => Ok(write.await),
            Self::Lease(owned) => match owned.while_good(write).await {
                Some(answer) => Ok(answer),
                None => Err(JournalError::Lost { unit: owned.checkpoint().await.unit }.into()),
            },
        }
    }
}

/// A write that was refused for good.
#[derive(Clone, Debug, PartialEq)]
pub struct Refused {
    /// The sequence number of its record, if it comes from a stream.
    pub sequence: Option<String>,
    /// The slave; none when nobody could apply the record.
    pub slave: Option<usize>,
    /// The key.
    pub key: Option<Key>,
    /// Why.
    pub error: String,
}

/// One write that is to be made on every slave.
#[derive(Clone, Debug)]
pub struct Due {
    /// The sequence number of its record, if it comes from a stream.
    pub sequence: Option<String>,
    /// The write.
    pub write: Write,
    /// What must hold for it.
    pub condition: Condition,
}

/// What came of writes.
#[derive(Clone, Debug, Default)]
pub struct Outcomes {
    /// What was counted.
    pub tally: Tally,
    /// What was refused.
    pub refused: Vec<Refused>,
}

/// What came of one write on one slave.
enum Made {
    Written,
    Deleted,
    /// The slave has something newer.
    Newer,
    Refused(String),
}

impl Targets {
    /// Applies the last changes of the keys of a batch, and notes in `overlap` what the slaves hold then.
    ///
    /// Applying it again is harmless as far as `overlap` knows what may be newer. Nothing is noted when it fails.
    ///
    /// # Errors
    /// `Stuck`: some of the changes may have been made.
    pub async fn apply(
        &self,
        batch: &Batch,
        job: &str,
        overlap: &mut Overlap,
        fence: Fence<'_>,
    ) -> Result<Outcomes, Stuck> {
        let mut outcomes = Outcomes { tally: Tally::zero(self.slaves.len()), refused: Vec::new() };
        let counted = &mut outcomes.tally.stream;
        counted.records = batch.records;
        counted.malformed = batch.bad.len() as u64;
        counted.squashed = batch.records - (batch.changes.len() + batch.bad.len()) as u64;
        outcomes.refused.extend(batch.bad.iter().map(|(sequence, error)| Refused {
            sequence: Some(sequence.clone()),
            slave: None,
            key: None,
            error: error.clone(),
        }));
        let (mut due, mut trusted, mut to_read) = (Vec::new(), Vec::new(), Vec::new());
        for latest in &batch.changes {
            let trust = overlap.trust(&latest.change.key, latest.change.created);
            match self.rules.plan(latest, trust, &mark(job, &latest.sequence)) {
                Plan::Write(write, condition) => {
                    due.push(due_of(latest, write, condition));
                    trusted.push(latest);
                }
                Plan::Reread => to_read.push(latest),
                Plan::Skip(Skip::Known) => outcomes.tally.stream.known += 1,
                Plan::Skip(Skip::Looped) => outcomes.tally.stream.looped += 1,
            }
        }
        outcomes.tally.stream.reread = to_read.len() as u64;
        // What is read was so at some time after this.
        let asked_at_ms = crate::clock::now_ms();
        due.extend(self.by_master(&to_read, job, &mut outcomes.tally).await?);
        self.make(due, &mut outcomes, fence).await?;
        batch.changes.iter().for_each(|latest| overlap.reached(latest.change.created));
        trusted.iter().for_each(|latest| overlap.applied(&latest.change.key, latest.change.created));
        // The read may have shown changes that were made until it was answered.
        let read_by_ms = crate::clock::now_ms();
        to_read.iter().for_each(|latest| overlap.read(&latest.change.key, asked_at_ms, read_by_ms));
        Ok(outcomes)
    }

    /// Reads what the master has now under these keys, and says what follows.
    async fn by_master(&self, latest: &[&Latest], job: &str, tally: &mut Tally) -> Result<Vec<Due>, Stuck> {
        let reads: Vec<_> = latest.chunks(KEYS_PER_READ).map(|chunk| self.read_master(chunk)).collect();
        let read: Vec<(Vec<Item>, f64)> = stream::iter(reads).buffered(READS_AT_ONCE).try_collect().await?;
        let mut items = std::collections::HashMap::new();
        for (found, units) in read {
            tally.consumed[0].read += units;
            for item in found {
                if let Ok(key) = Key::of(&self.rules.schema, &item) {
                    items.insert(key, item);
                }
            }
        }
        let planned = latest.iter().filter_map(|latest| {
            let key = &latest.change.key;
            match self.rules.by_master(latest, items.get(key), &mark(job, &latest.sequence)) {
                Plan::Write(write, condition) => Some(due_of(latest, write, condition)),
                Plan::Reread | Plan::Skip(_) => None,
            }
        });
        Ok(planned.collect())
    }

    async fn read_master(&self, latest: &[&Latest]) -> Result<(Vec<Item>, f64), Stuck> {
        let keys = latest.iter().map(|latest| latest.change.key.clone()).collect();
        let request = GetRequest { keys, consistency: Consistency::Strong, content: Content::Items };
        let read = retry::get_all(&*self.master, self.retry, request).await?;
        Ok((read.items, read.read_units))
    }

    /// Makes writes to different keys on every slave, in any order.
    ///
    /// # Errors
    /// `Stuck`: some of them may have been made. One that a slave refuses for good is no error.
    pub async fn make(&self, due: Vec<Due>, outcomes: &mut Outcomes, fence: Fence<'_>) -> Result<(), Stuck> {
        let on_slaves = self.slaves.iter().map(|(_, table)| self.make_on(&**table, &due, fence));
        let backed_up = async {
            match &self.backup {
                None => Ok(Kept::default()),
                Some(backup) => fence.guard(backup.keep(&due, self.retry)).await?.map_err(Stuck::from),
            }
        };
        let (on_slaves, kept) = futures::future::try_join(futures::future::try_join_all(on_slaves), backed_up).await?;
        outcomes.tally.stream.backed_up += kept.put;
        outcomes.tally.stream.unbacked += kept.deleted;
        outcomes.tally.backup.bytes += kept.bytes;
        outcomes.tally.backup.stored_bytes += kept.bytes;
        for (slave, (made, units)) in on_slaves.into_iter().enumerate() {
            outcomes.tally.consumed[slave + 1].write += units;
            let counted = &mut outcomes.tally.slaves[slave];
            for (due, made) in made {
                match made {
                    Made::Written => counted.written += 1,
                    Made::Deleted => counted.deleted += 1,
                    Made::Newer => counted.skipped += 1,
                    Made::Refused(error) => {
                        counted.failed += 1;
                        let key = key_of(&self.rules.schema, &due.write);
                        let sequence = due.sequence.clone();
                        outcomes.refused.push(Refused { sequence, slave: Some(slave), key, error });
                    }
                }
            }
        }
        Ok(())
    }

    async fn make_on<'a>(
        &self,
        table: &dyn Table,
        due: &'a [Due],
        fence: Fence<'_>,
    ) -> Result<(Vec<(&'a Due, Made)>, f64), Stuck> {
        let (free, bound): (Vec<&Due>, Vec<&Due>) = due.iter().partition(|due| due.condition.terms.is_empty());
        let batches = free.chunks(MAX_WRITES_PER_BATCH).map(<[&Due]>::to_vec);
        let requests: Vec<Vec<&Due>> = batches.chain(bound.into_iter().map(|due| vec![due])).collect();
        let requests: Vec<_> = requests.into_iter().map(|request| self.request(table, request, fence)).collect();
        let answers: Vec<_> = stream::iter(requests).buffer_unordered(REQUESTS_AT_ONCE).try_collect().await?;
        let mut all = (Vec::with_capacity(due.len()), 0.0);
        for (made, units) in answers {
            all.0.extend(made);
            all.1 += units;
        }
        Ok(all)
    }

    /// One request: a batch without conditions, or a single write.
    async fn request<'a>(
        &self,
        table: &dyn Table,
        due: Vec<&'a Due>,
        fence: Fence<'_>,
    ) -> Result<(Vec<(&'a Due, Made)>, f64), Stuck> {
        if due.len() > 1 {
            let writes: Vec<Write> = due.iter().map(|due| due.write.clone()).collect();
            match fence.guard(retry::write_all(table, self.retry, &writes)).await? {
                Ok(units) => return Ok((due.into_iter().map(|due| (due, made(&due.write))).collect(), units)),
                // One of them is at fault, and the service does not say which.
                Err(failure) if failure.kind == FailureKind::Invalid => {}
                Err(failure) => return Err(failure.into()),
            }
        }
        let mut all = (Vec::with_capacity(due.len()), 0.0);
        for due in due {
            let (made, units) = self.write_one(table, due, fence).await?;
            all.0.push((due, made));
            all.1 += units;
        }
        Ok(all)
    }

    async fn write_one(&self, table: &dyn Table, due: &Due, fence: Fence<'_>) -> Result<(Made, f64), Stuck> {
        let write = || table.write_if(&due.write, &due.condition);
        match fence.guard(retry::call(self.retry, write)).await? {
            Ok(answer) => match answer.applied {
                Applied::Written => Ok((made(&due.write), answer.write_units)),
                Applied::ConditionFailed => Ok((Made::Newer, answer.write_units)),
            },
            Err(failure @ Failure { kind: FailureKind::Invalid, .. }) => Ok((Made::Refused(failure.to_string()), 0.0)),
            Err(failure) => Err(failure.into()),
        }
    }
}

/// What a write is marked with: the same for every try, so that a repeated one changes nothing and tells nobody.
fn mark(job: &str, sequence: &str) -> String {
    format!("{job}:{sequence}")
}

fn due_of(latest: &Latest, write: Write, condition: Condition) -> Due {
    Due { sequence: Some(latest.sequence.clone()), write, condition }
}

fn made(write: &Write) -> Made {
    match write {
        Write::Put(_) => Made::Written,
        Write::Delete(_) => Made::Deleted,
    }
}

/// The key that a write is to.
pub(crate) fn key_of(schema: &KeySchema, write: &Write) -> Option<Key> {
    match write {
        Write::Put(item) => Key::of(schema, item).ok(),
        Write::Delete(key) => Some(key.clone()),
    }
}

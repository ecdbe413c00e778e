//! What becomes of an event: its changes are applied, and the first record that failed is known.
//!
//! # Why nothing is remembered from one invocation to the next
//!
//! A worker owns a shard and remembers what it read from the master, so that an older record does not set an item back.
//! A function has many instances that do not know of each other, and Lambda hands the batches of a shard to any of
//! them. What one remembers says nothing of what another has written since: it might take a record for known that
//! another instance has undone by repeating an older batch, and the table would stay wrong for good. So each
//! invocation begins with nothing, and converges for a reason that needs no memory:
//!
//! - DynamoDB Streams gives each change of an item once and in order, and Lambda goes on only after what was before. The
//!   last change of an item is applied last, be it by its image or by a read of the master, which is later still.
//!   While a batch is repeated an item may go back for a moment, as with the original; [`Reread::OlderThan`] spares
//!   that, for records that are repeated or late are old.
//! - Kinesis may give changes of an item twice and out of order. An old one may come last, and nothing follows that
//!   mends it. So the master is read for every change, as in the original's Kinesis generation.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value as Json;
use shared::domain::change::{Change, Record};
use shared::domain::follow::{Batch, FollowRules};
use shared::domain::job::Side;
use shared::domain::key::{KeyAttribute, KeySchema, KeyType};
use shared::domain::overlap::{Order, Overlap};
use shared::domain::table_ref::TableRef;
use shared::domain::tally::Tally;
use shared::ports::failure::{Failure, FailureKind};
use shared::ports::objects::ObjectStore;
use shared::ports::table::Table;
use shared::retry::{self, RetryPolicy};
use tokio::sync::Mutex;

use super::event::{self, BadEvent, Told};
use super::settings::{Function, Rejected, Reread, Settings};
use crate::apply::{Fence, Outcomes, Refused, Targets};
use crate::backup::ItemObjects;
use crate::environment::Environment;

/// The function, with everything that lasts as long as its instance.
pub struct StreamFunction {
    settings: Settings,
    /// What its writes are marked with, where two tables follow each other.
    name: String,
    masters: Environment,
    slaves: Vec<(String, Arc<dyn Table>)>,
    store: Option<Arc<dyn ObjectStore>>,
    /// By master; their key schemas are asked for once.
    targets: Mutex<HashMap<TableRef, Arc<Targets>>>,
    retry: RetryPolicy,
}

/// What came of an event.
#[derive(Clone, Debug, Default)]
pub struct Handled {
    /// What was counted.
    pub tally: Tally,
    /// Records that were taken up.
    pub records: u64,
    /// Records that can never be applied, and were passed over.
    pub skipped: u64,
    /// The first record that failed; everything before it is applied.
    pub failed: Option<Failed>,
}

/// A record that failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failed {
    /// Its sequence number.
    pub sequence: String,
    /// Why; carries no item values.
    pub error: String,
}

/// An event of which nothing could be done.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// It is no event of a stream.
    #[error(transparent)]
    Event(#[from] BadEvent),
    /// It and the settings do not go together.
    #[error("{0}")]
    Settings(String),
}

/// The records of one table.
struct OfTable {
    /// None, where neither the settings nor the record say.
    table: Option<TableRef>,
    records: Vec<Told>,
}

impl StreamFunction {
    /// Opens slaves or store, as the settings say; nothing is asked of them yet.
    ///
    /// # Errors
    /// When their clients cannot be built.
    pub async fn open(
        settings: Settings,
        name: &str,
        masters: Environment,
        slaves_and_store: &Environment,
    ) -> Result<Self, Failure> {
        let (mut slaves, mut store) = (Vec::new(), None);
        match &settings.function {
            Function::Replicate { slaves: sides, keys: _ } => {
                for side in sides {
                    slaves.push((side.table.to_string(), slaves_and_store.table(side).await?));
                }
            }
            Function::Backup { store: url, region: _ } => store = Some(slaves_and_store.store(url).await?),
        }
        let (name, targets, retry) = (name.to_owned(), Mutex::default(), RetryPolicy::default());
        Ok(Self { settings, name, masters, slaves, store, targets, retry })
    }

    /// The same, trying again as this says.
    #[must_use]
    pub fn with_retry(self, retry: RetryPolicy) -> Self {
        Self { retry, ..self }
    }

    /// What it is set to.
    #[must_use]
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Applies the records of an event, and gives up what is not applied within `time`.
    ///
    /// # Errors
    /// `Refusal`: nothing was done.
    pub async fn handle(&self, event: Json, time: Duration) -> Result<Handled, Refusal> {
        let told = event::read(event)?;
        let places: HashMap<String, usize> = (0..).zip(&told).map(|(at, told)| (told.sequence.clone(), at)).collect();
        let groups = self.by_table(told).await?;
        let ends = tokio::time::Instant::now() + time;
        let mut handled = Handled { tally: Tally::zero(self.slaves.len()), ..Handled::default() };
        for group in groups {
            let first = group.records.first().map(|told| told.sequence.clone()).unwrap_or_default();
            let failed = match tokio::time::timeout_at(ends, self.apply(group, &mut handled)).await {
                Ok(Ok(failed)) => failed.into_iter().min_by_key(|failed| places.get(&failed.sequence).copied()),
                Ok(Err(error)) => Some(Failed { sequence: first, error }),
                Err(_) => Some(Failed { sequence: first, error: "the time of the invocation is over".to_owned() }),
            };
            let both = handled.failed.take().into_iter().chain(failed);
            handled.failed = both.min_by_key(|failed| places.get(&failed.sequence).copied());
        }
        Ok(handled)
    }

    /// The records by table, without those that another table's function sees to.
    async fn by_table(&self, told: Vec<Told>) -> Result<Vec<OfTable>, Refusal> {
        let mut groups: Vec<OfTable> = Vec::new();
        for told in told {
            if self.settings.origin_attribute.is_some() && !told.shows_both_images() {
                let error = "an origin attribute needs a stream of new and old images, and this one has others";
                return Err(Refusal::Settings(error.to_owned()));
            }
            let table = match (&self.settings.master, &told.table) {
                // A Kinesis stream may carry the changes of several tables.
                (Some(own), Some(table)) if own.name() != table.name() && told.order() == Order::ByTime => continue,
                (Some(own), Some(table)) if own.name() != table.name() => {
                    let error = format!("the event is of {table}, and the settings name {own} as the master");
                    return Err(Refusal::Settings(error));
                }
                (Some(own), _) => Some(own.clone()),
                (None, table) => table.clone(),
            };
            match groups.iter_mut().find(|group| group.table == table) {
                Some(group) => group.records.push(told),
                None => groups.push(OfTable { table, records: vec![told] }),
            }
        }
        if let Function::Replicate { slaves, .. } = &self.settings.function {
            let known = self.targets.lock().await;
            let tables: HashSet<&TableRef> =
                known.keys().chain(groups.iter().filter_map(|group| group.table.as_ref())).collect();
            if tables.len() > 1 {
                let error = "changes of several tables would be mixed in one: name the master with DYNAMEND_MASTER";
                return Err(Refusal::Settings(error.to_owned()));
            }
            if let Some(own) = slaves.iter().find(|slave| tables.contains(&slave.table)) {
                let error = format!("{} is master and slave: its changes would never end", own.table);
                return Err(Refusal::Settings(error));
            }
        }
        Ok(groups)
    }

    /// Applies the records of one table; says which of them can never be applied.
    ///
    /// # Errors
    /// Some of the changes may have been made.
    async fn apply(&self, group: OfTable, handled: &mut Handled) -> Result<Vec<Failed>, String> {
        let Some(table) = group.table else {
            let refused = group.records.into_iter().map(|told| Refused {
                error: told.change.err().map_or_else(
                    || "the record does not say of which table it is, and DYNAMEND_MASTER is not set".to_owned(),
                    |bad| bad.to_string(),
                ),
                sequence: Some(told.sequence),
                slave: None,
                key: None,
            });
            return Ok(self.rejected(refused.collect(), handled));
        };
        let Some(order) = group.records.first().map(Told::order) else { return Ok(Vec::new()) };
        let targets = self.targets_of(&table, &group.records).await.map_err(|failure| said(&failure))?;
        let records: Vec<Record> = group.records.into_iter().map(|told| record(&targets.rules.schema, told)).collect();
        let is_ours = |record: &Record| match (&record.change, self.settings.turnover) {
            (Ok(change), Some(turnover)) => turnover.takes(change.created.from_ms),
            (Err(_), _) | (Ok(_), None) => true,
        };
        let batch = Batch::squash(records.into_iter().filter(is_ours).collect(), order);
        if batch.records == 0 {
            return Ok(Vec::new());
        }
        let mut overlap = Overlap::new(order, self.in_doubt_until_ms(order), rand::random());
        let applied = targets.apply(&batch, &self.name, &mut overlap, Fence::Open).await;
        let Outcomes { tally, refused } = applied.map_err(|stuck| stuck.to_string())?;
        handled.tally.add(&tally);
        handled.records += batch.records;
        Ok(self.rejected(refused, handled))
    }

    /// Changes made before this are not taken at their word.
    fn in_doubt_until_ms(&self, order: Order) -> i64 {
        match (self.settings.reread, order) {
            (Some(Reread::Always), _) | (None, Order::ByTime) => i64::MAX,
            (Some(Reread::OlderThan { ms }), _) => jiff::Timestamp::now().as_millisecond().saturating_sub(ms),
            (Some(Reread::Never), _) | (None, Order::ByItem) => i64::MIN,
        }
    }

    fn rejected(&self, refused: Vec<Refused>, handled: &mut Handled) -> Vec<Failed> {
        let mut failed = Vec::new();
        for Refused { sequence, slave, key: _, error } in refused {
            let slave = slave.and_then(|at| Some(self.slaves.get(at)?.0.as_str()));
            tracing::error!(sequence, slave, error, "a record can never be applied");
            match (self.settings.rejected, sequence) {
                (Rejected::Fail, Some(sequence)) => failed.push(Failed { sequence, error }),
                (Rejected::Skip, _) | (Rejected::Fail, None) => handled.skipped += 1,
            }
        }
        failed
    }

    async fn targets_of(&self, table: &TableRef, records: &[Told]) -> Result<Arc<Targets>, Failure> {
        let mut known = self.targets.lock().await;
        if let Some(targets) = known.get(table) {
            return Ok(Arc::clone(targets));
        }
        let side = Side::new(table.clone(), self.settings.master_access.clone());
        let master = self.masters.table(&side).await?;
        let schema = self.schema(&*master, records).await?;
        let backup = self.store.as_ref().map(|store| ItemObjects::new(Arc::clone(store), table.name(), schema.clone()));
        let rules = FollowRules {
            schema,
            version_attribute: self.settings.version_attribute.clone(),
            origin_attribute: self.settings.origin_attribute.clone(),
        };
        let targets = Arc::new(Targets { master, slaves: self.slaves.clone(), backup, rules, retry: self.retry });
        known.insert(table.clone(), Arc::clone(&targets));
        Ok(targets)
    }

    /// The master's key schema, else that of a slave; and where neither may be described, as in deployments of the
    /// original, what a record tells, if its key has one attribute only.
    async fn schema(&self, master: &dyn Table, records: &[Told]) -> Result<KeySchema, Failure> {
        let mut denied = None;
        for table in std::iter::once(master).chain(self.slaves.iter().map(|(_, slave)| &**slave)) {
            match retry::call(self.retry, || table.describe()).await {
                Ok(description) => return Ok(description.key_schema),
                Err(failure) if failure.kind == FailureKind::Denied => denied = denied.or(Some(failure)),
                Err(failure) => return Err(failure),
            }
        }
        let keys = records.iter().find_map(|told| told.change.as_ref().ok()?.pointer("/dynamodb/Keys"));
        match (keys.and_then(schema_of_key), denied) {
            (Some(schema), _) => Ok(schema),
            (None, Some(failure)) => Err(failure),
            (None, None) => Err(Failure {
                kind: FailureKind::Invalid,
                operation: "DescribeTable",
                resource: "the tables".to_owned(),
                message: "their key schema is unknown".to_owned(),
            }),
        }
    }
}

/// The schema behind a key of one attribute; of two, nothing says which is the partition key.
fn schema_of_key(keys: &Json) -> Option<KeySchema> {
    let mut attributes = keys.as_object()?.iter();
    let (Some((name, value)), None) = (attributes.next(), attributes.next()) else { return None };
    let kind = match value.as_object()?.keys().next()?.as_str() {
        "S" => KeyType::S,
        "N" => KeyType::N,
        "B" => KeyType::B,
        _ => return None,
    };
    Some(KeySchema { partition: KeyAttribute { name: name.clone(), kind }, sort: None })
}

fn record(schema: &KeySchema, told: Told) -> Record {
    let Told { sequence, table: _, change, carrier } = told;
    Record { sequence, change: change.and_then(|change| Change::from_json(schema, &change, carrier)) }
}

fn said(failure: &Failure) -> String {
    format!("{failure} (hint: {})", failure.hint())
}

#[cfg(test)]
mod tests;

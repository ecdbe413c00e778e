//! A master and a slave, and what both hold under keys.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use shared::domain::compare::{Ignore, differing_paths};
use shared::domain::decide::{ExtraHandling, Handling, Marks, Policy, Standing, Verdict, judge, standing};
use shared::domain::job::{AfterWrite, Consistency, OldImages, Side};
use shared::domain::key::{Key, KeySchema};
use shared::domain::mend::Rules;
use shared::domain::value::Item;
use shared::ports::failure::{Failure, FailureKind};
use shared::ports::table::{Content, Description, GetRequest, Table};
use shared::retry::{self, RetryPolicy};

use crate::environment::Environment;
use crate::plan::{CannotPlan, GlobalTables, look_at, refuse_replicas, time_to_live};

/// Two tables, and how they are to be held against each other.
#[derive(Clone, Debug)]
pub struct PairRequest {
    /// The table that is right. With an id, it must still be that table.
    pub master: Side,
    /// The table held against it, likewise.
    pub slave: Side,
    /// What does not count.
    pub ignore: Vec<String>,
    /// The attribute that holds versions, if there is one.
    pub version_attribute: Option<String>,
    /// What it is for.
    pub purpose: Purpose,
}

/// What a pair is opened for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// To look.
    Compare,
    /// To look, and to write to the slave.
    Mend(GlobalTables),
}

/// Why two tables cannot be held against each other.
#[derive(Clone, Debug, thiserror::Error)]
pub enum CannotPair {
    /// For a reason that a job would have too.
    #[error(transparent)]
    Plan(#[from] CannotPlan),
    /// A table is another than the one whose items were looked at before.
    #[error("table {table} was deleted and made again since the job looked at it")]
    OtherTable {
        /// The table.
        table: String,
    },
}

/// A master and a slave.
pub struct Pair {
    pub(super) master: Arc<dyn Table>,
    pub(super) slave: Arc<dyn Table>,
    pub(super) rules: Rules,
    pub(super) retry: RetryPolicy,
    slave_time_to_live: Option<String>,
}

/// What both hold under one key.
#[derive(Clone, Debug)]
pub struct Compared {
    /// The key, spelt as the tables spell it where one of them has the item.
    pub key: Key,
    /// The master's item.
    pub master: Option<Item>,
    /// The slave's item.
    pub slave: Option<Item>,
    /// How they compare.
    pub verdict: Verdict,
    /// What else is to be known of a discrepancy.
    pub standing: Standing,
}

impl Compared {
    /// Whether it counts as a difference: the only copy of an item that has expired does not, as in `sync`.
    #[must_use]
    pub fn counts(&self) -> bool {
        match self.verdict {
            Verdict::Identical | Verdict::Gone => false,
            Verdict::Discrepant(..) => self.standing != Standing::Expired,
        }
    }
}

impl Pair {
    /// Looks at both tables and refuses what cannot be held against each other.
    ///
    /// # Errors
    /// See [`CannotPair`].
    pub async fn open(request: PairRequest, environment: &Environment) -> Result<Self, CannotPair> {
        let PairRequest { master, slave, ignore, version_attribute, purpose } = request;
        let (of_master, of_slaves) = look_at(&master, std::slice::from_ref(&slave), environment).await?;
        for (side, description) in [(&master, &of_master)].into_iter().chain([&slave].into_iter().zip(&of_slaves)) {
            refuse_another(side, description)?;
        }
        if purpose == Purpose::Mend(GlobalTables::Refuse) {
            refuse_replicas((&master, &of_master), [&slave].into_iter().zip(&of_slaves))?;
        }
        let policy = match purpose {
            Purpose::Compare => Policy::default(),
            Purpose::Mend(_) => {
                Policy { missing: Handling::Repair, differing: Handling::Repair, extra: ExtraHandling::Delete }
            }
        };
        Ok(Self {
            rules: Rules {
                schema: of_master.key_schema,
                policy,
                ignore: Ignore::new(&ignore),
                version_attribute,
                time_to_live: time_to_live(&master, policy, environment).await.map_err(CannotPlan::from)?,
                after_write: AfterWrite::Verify,
                old_images: OldImages::Drop,
            },
            slave_time_to_live: time_to_live(&slave, policy, environment).await.map_err(CannotPlan::from)?,
            master: environment.table(&master).await.map_err(CannotPlan::from)?,
            slave: environment.table(&slave).await.map_err(CannotPlan::from)?,
            retry: RetryPolicy::default(),
        })
    }

    /// The key schema of both.
    #[must_use]
    pub fn schema(&self) -> &KeySchema {
        &self.rules.schema
    }

    /// What does not count.
    #[must_use]
    pub fn ignore(&self) -> &Ignore {
        &self.rules.ignore
    }

    /// What both hold under these keys, in their order; at most [`shared::domain::job::MAX_KEYS_PER_GET`] of them, no two
    /// alike.
    ///
    /// With a delay, what differs is looked at again after it, and what both hold then counts.
    ///
    /// # Errors
    /// The tables'.
    pub async fn compare(&self, keys: &[Key], confirm: Option<Duration>) -> Result<Vec<Compared>, Failure> {
        let mut compared = self.look(keys).await?;
        let Some(delay) = confirm else { return Ok(compared) };
        let suspects: Vec<usize> = (0..compared.len()).filter(|&at| compared[at].counts()).collect();
        if suspects.is_empty() {
            return Ok(compared);
        }
        for &at in &suspects {
            (compared[at].master, compared[at].slave) = (None, None);
        }
        tokio::time::sleep(delay).await;
        let again: Vec<Key> = suspects.iter().map(|&at| keys[at].clone()).collect();
        for (at, look) in suspects.into_iter().zip(self.look(&again).await?) {
            compared[at] = look;
        }
        Ok(compared)
    }

    /// One look: the slave's items first, so that it shows no change that the master's image lacks.
    async fn look(&self, keys: &[Key]) -> Result<Vec<Compared>, Failure> {
        let mut of_slave = self.read(&*self.slave, keys).await?;
        let mut of_master = self.read(&*self.master, keys).await?;
        let now = seconds_since_1970();
        let compared = keys.iter().map(|key| {
            let (master, slave) = (of_master.remove(key), of_slave.remove(key));
            let stored = master.as_ref().or(slave.as_ref()).and_then(|item| Key::of(self.schema(), item).ok());
            let verdict = judge(master.as_ref(), slave.as_ref(), |one, other| self.differing(one, other));
            let standing = standing(master.as_ref(), slave.as_ref(), self.marks(), now);
            Compared { key: stored.unwrap_or_else(|| key.clone()), master, slave, verdict, standing }
        });
        Ok(compared.collect())
    }

    async fn read(&self, table: &dyn Table, keys: &[Key]) -> Result<HashMap<Key, Item>, Failure> {
        let request = GetRequest { keys: keys.to_vec(), consistency: Consistency::Strong, content: Content::Items };
        let items = retry::get_all(table, self.retry, request).await?.items;
        items.into_iter().map(|item| Ok((key_of(self.schema(), &item)?, item))).collect()
    }

    pub(super) fn differing(&self, one: &Item, other: &Item) -> Vec<String> {
        differing_paths(one, other, &self.rules.ignore)
    }

    fn marks(&self) -> Marks<'_> {
        Marks {
            version: self.rules.version_attribute.as_deref(),
            master_time_to_live: self.rules.time_to_live.as_deref(),
            slave_time_to_live: self.slave_time_to_live.as_deref(),
        }
    }
}

fn refuse_another(side: &Side, description: &Description) -> Result<(), CannotPair> {
    match (&side.table_id, &description.id) {
        (Some(before), Some(now)) if before != now => Err(CannotPair::OtherTable { table: side.table.to_string() }),
        _ => Ok(()),
    }
}

/// The key of an item that a table returned.
pub(super) fn key_of(schema: &KeySchema, item: &Item) -> Result<Key, Failure> {
    Key::of(schema, item).map_err(|error| Failure {
        kind: FailureKind::Invalid,
        operation: "BatchGetItem",
        resource: "the table".to_owned(),
        message: error.to_string(),
    })
}

/// What times to live are held against.
pub(super) fn seconds_since_1970() -> i64 {
    Timestamp::now().as_second()
}

#[cfg(test)]
mod tests;

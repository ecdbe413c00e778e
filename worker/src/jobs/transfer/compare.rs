//! Items of a backup, held against the table. Nothing is written; what only the table has is not looked for.

use std::collections::HashMap;
use std::sync::Arc;

use shared::domain::decide::Kind;
use shared::domain::discrepancy::{Discrepancy, Outcome as Came};
use shared::domain::job::Consistency;
use shared::domain::key::Key;
use shared::domain::unit::Unit;
use shared::domain::value::Item;
use shared::ports::failure::{Failure, FailureKind};
use shared::ports::table::{Content, GetRequest};
use shared::retry;

use super::{Committed, Outcome, Stuck};
use crate::context::JobContext;

/// Keys of one request.
const KEYS_PER_READ: usize = 100;

/// Holds the one slave of the job against items.
pub(super) struct Compare<'a> {
    job: &'a Arc<JobContext>,
    unit: Unit,
    pub(super) committed: Committed,
}

impl<'a> Compare<'a> {
    pub(super) fn new(job: &'a Arc<JobContext>, unit: Unit) -> Self {
        Self { job, unit, committed: Committed::just() }
    }

    pub(super) fn slaves(&self) -> usize {
        self.job.manifest.slaves.len()
    }

    pub(super) async fn take(&mut self, items: Vec<Item>) -> Result<Outcome, Stuck> {
        let schema = &self.job.manifest.key_schema;
        let odd = |error: String| Failure {
            kind: FailureKind::Invalid,
            operation: "Read",
            resource: self.job.labels[0].clone(),
            message: error,
        };
        let mut outcome = Outcome::none(self.slaves());
        for items in items.chunks(KEYS_PER_READ) {
            let keys = items.iter().map(|item| Key::of(schema, item)).collect::<Result<Vec<_>, _>>();
            let keys = keys.map_err(|error| odd(error.to_string()))?;
            // A file may have an item twice, and a request may not.
            let mut wanted: Vec<Key> = Vec::with_capacity(keys.len());
            for key in &keys {
                if !wanted.contains(key) {
                    wanted.push(key.clone());
                }
            }
            let request = GetRequest { keys: wanted, consistency: Consistency::Strong, content: Content::Items };
            let read = retry::get_all(&*self.job.tables[1], self.job.retry, request).await?;
            outcome.tally.consumed[1].read += read.read_units;
            self.job.meter.add_read_units(read.read_units);
            let there = read.items.into_iter().map(|item| Ok((Key::of(schema, &item)?, item)));
            let there: HashMap<Key, Item> =
                there.collect::<Result<_, shared::domain::key::BadKey>>().map_err(|error| odd(error.to_string()))?;
            for (key, item) in keys.iter().zip(items) {
                self.compare(key, item, there.get(key), &mut outcome);
            }
        }
        Ok(outcome)
    }

    fn compare(&self, key: &Key, item: &Item, there: Option<&Item>, outcome: &mut Outcome) {
        let counted = &mut outcome.tally.slaves[0];
        counted.compared += 1;
        let (kind, attributes) = match there {
            None => (Kind::Missing, Vec::new()),
            Some(there) => match self.job.differing(item, there) {
                paths if paths.is_empty() => {
                    counted.identical += 1;
                    return;
                }
                paths => (Kind::Differing, paths),
            },
        };
        counted.count_kind(kind);
        outcome.lines.push(Discrepancy {
            segment: self.unit.segment,
            slave: self.job.labels[1].clone(),
            kind,
            key: key.to_json(),
            attributes,
            outcome: Came::Reported,
            reason: None,
            at: format!("{:.3}", jiff::Timestamp::now()),
            values: None,
        });
    }
}

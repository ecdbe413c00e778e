//! Items, put into every slave; and into the folder of one object per item, where the job keeps one.

use std::collections::HashSet;
use std::sync::Arc;

use shared::domain::compare::without_global_table_attributes;
use shared::domain::condition::{Condition, Write};
use shared::domain::job::Existing;
use shared::domain::key::{Key, KeySchema};
use shared::domain::tally::Tally;
use shared::domain::unit::Unit;
use shared::domain::value::Item;
use shared::journal::OwnedUnit;

use super::{Committed, Outcome, Stuck};
use crate::apply::{Due, Fence, Outcomes};
use crate::context::JobContext;
use crate::rejects::rejected;

/// Puts items where the job's copies go.
pub(super) struct Restore<'a> {
    job: &'a Arc<JobContext>,
    owned: &'a OwnedUnit,
    unit: Unit,
    pub(super) committed: Committed,
}

impl<'a> Restore<'a> {
    pub(super) fn new(job: &'a Arc<JobContext>, owned: &'a OwnedUnit, unit: Unit) -> Self {
        Self { job, owned, unit, committed: Committed::just() }
    }

    pub(super) fn slaves(&self) -> usize {
        self.job.manifest.slaves.len()
    }

    pub(super) async fn take(&mut self, items: Vec<Item>) -> Result<Outcome, Stuck> {
        let existing = self.job.manifest.backfill.unwrap_or_default().existing;
        let condition = match existing {
            Existing::Overwrite => Condition::default(),
            Existing::Keep => Condition::absent(&self.job.manifest.key_schema),
        };
        let mut outcomes = Outcomes { tally: Tally::zero(self.slaves()), refused: Vec::new() };
        // Writes that are made together are made in any order, and a file may have an item twice: the later one counts.
        // A page of a scan has none twice.
        let parts = match self.job.source {
            Some(_) => without_repeats(&self.job.manifest.key_schema, &items),
            None => vec![&items[..]],
        };
        for items in parts {
            let due = items.iter().map(|item| Due {
                sequence: None,
                write: Write::Put(without_global_table_attributes(item)),
                condition: condition.clone(),
            });
            self.job.targets().make(due.collect(), &mut outcomes, Fence::Lease(self.owned)).await?;
        }
        let Outcomes { tally, refused } = outcomes;
        let rejected = refused.into_iter().map(|refused| rejected(self.job, self.unit, None, refused)).collect();
        Ok(Outcome { tally, rejected, ..Outcome::none(self.slaves()) })
    }
}

/// Cuts items where a key comes again, so that no part has a key twice.
fn without_repeats<'a>(schema: &KeySchema, items: &'a [Item]) -> Vec<&'a [Item]> {
    let (mut parts, mut from) = (Vec::new(), 0);
    let mut seen = HashSet::new();
    for (at, item) in items.iter().enumerate() {
        let Ok(key) = Key::of(schema, item) else { continue };
        if seen.contains(&key) {
            parts.push(&items[from..at]);
            from = at;
            seen.clear();
        }
        seen.insert(key);
    }
    parts.push(&items[from..]);
    parts
}

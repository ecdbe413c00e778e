//! From the changes of a stream to writes on a slave: the last change of each key, and what becomes of it.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use super::change::{Change, Created, Event, Image, Record};
use super::compare::{Ignore, without_global_table_attributes};
use super::condition::{Condition, Term, Write};
use super::key::{Key, KeySchema};
use super::overlap::{Order, Trust};
use super::value::{Item, Value};

/// The records of one page, reduced to the last change of each key.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Batch {
    /// The sequence number of the first record.
    pub first: Option<String>,
    /// The sequence number of the last one.
    pub last: Option<String>,
    /// How many records there were.
    pub records: u64,
    /// The last change of each key.
    pub changes: Vec<Latest>,
    /// Records that are no change of an item: sequence number and what is wrong.
    pub bad: Vec<(String, String)>,
}

/// The last change of a key in a batch.
#[derive(Clone, Debug, PartialEq)]
pub struct Latest {
    /// Its sequence number.
    pub sequence: String,
    /// The change.
    pub change: Change,
    /// What the item was before the first change of the batch, where the stream carries that.
    pub before: Option<Item>,
}

impl Batch {
    /// Keeps the last change of each key.
    ///
    /// Where order is by time, the last is the latest; two of the same moment leave it to the master to tell.
    #[must_use]
    pub fn squash(records: Vec<Record>, order: Order) -> Self {
        let mut batch = Self { records: records.len() as u64, ..Self::default() };
        let mut places: HashMap<Key, usize> = HashMap::new();
        for Record { sequence, change } in records {
            batch.first.get_or_insert_with(|| sequence.clone());
            batch.last = Some(sequence.clone());
            match change {
                Err(bad) => batch.bad.push((sequence, bad.to_string())),
                Ok(change) => match places.entry(change.key.clone()) {
                    Entry::Occupied(place) => batch.changes[*place.get()].follow_with(sequence, change, order),
                    Entry::Vacant(place) => {
                        place.insert(batch.changes.len());
                        batch.changes.push(Latest { sequence, before: change.old.clone(), change });
                    }
                },
            }
        }
        batch
    }
}

impl Latest {
    fn follow_with(&mut self, sequence: String, change: Change, order: Order) {
        let (now, new) = (self.change.created, change.created);
        match order {
            Order::ByItem => (self.sequence, self.change) = (sequence, change),
            Order::ByTime if new.from_ms >= now.until_ms => (self.sequence, self.change) = (sequence, change),
            Order::ByTime if new.until_ms <= now.from_ms => self.before = change.old,
            // The same record twice.
            Order::ByTime if new == now && change.image == self.change.image => {}
            // Two changes in one millisecond, or one that does not say when it was.
            Order::ByTime => {
                self.before = None;
                let created =
                    Created { from_ms: now.from_ms.min(new.from_ms), until_ms: now.until_ms.max(new.until_ms) };
                (self.sequence, self.change) =
                    (sequence, Change { image: Image::Unread, old: None, created, ..change });
            }
        }
    }
}

/// What replication of one job goes by.
#[derive(Clone, Debug)]
pub struct FollowRules {
    /// The key schema.
    pub schema: KeySchema,
    /// The attribute that holds versions: nothing newer is overwritten.
    pub version_attribute: Option<String>,
    /// The attribute that tells whose write it was, where two tables follow each other.
    pub origin_attribute: Option<String>,
}

/// What is done about a change.
#[derive(Clone, Debug, PartialEq)]
pub enum Plan {
    /// This write is made, if the condition holds; one without terms always does.
    Write(Write, Condition),
    /// The master's item is read, strongly consistent, and [`FollowRules::by_master`] says what then.
    Reread,
    /// Nothing.
    Skip(Skip),
}

/// Why nothing is done about a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Skip {
    /// The slave has it, or something later.
    Known,
    /// It is the write of a replication that goes the other way.
    Looped,
}

impl FollowRules {
    /// Decides what is done about a change. `mark` is what its write is marked with, and the same for every try.
    #[must_use]
    pub fn plan(&self, latest: &Latest, trust: Trust, mark: &str) -> Plan {
        let change = &latest.change;
        if self.is_looped(change) {
            return Plan::Skip(Skip::Looped);
        }
        match (trust, &change.image) {
            (Trust::Known, _) => Plan::Skip(Skip::Known),
            (Trust::Reread, _) | (Trust::Word, Image::Unread) => Plan::Reread,
            (Trust::Word, Image::Item(item)) => self.put(item, mark),
            (Trust::Word, Image::Gone) => Plan::Write(Write::Delete(change.key.clone()), self.deletable(latest)),
        }
    }

    /// The write that makes the slave's item what the master's is.
    #[must_use]
    pub fn by_master(&self, latest: &Latest, master: Option<&Item>, mark: &str) -> Plan {
        let delete = |condition| Plan::Write(Write::Delete(latest.change.key.clone()), condition);
        match (master, &self.origin_attribute, latest.change.event) {
            (Some(item), _, _) => self.put(item, mark),
            (None, None, _) => delete(Condition::default()),
            // Someone may have made the item anew on the slave; see `deletable`.
            (None, Some(_), Event::Remove) => delete(self.deletable(latest)),
            // It has been removed since, and the record of that will say what was.
            (None, Some(_), Event::Insert | Event::Modify) => Plan::Skip(Skip::Known),
        }
    }

    fn put(&self, item: &Item, mark: &str) -> Plan {
        let mut item = without_global_table_attributes(item);
        let condition = match &self.version_attribute {
            None => Condition::default(),
            Some(name) => Condition {
                terms: vec![match item.get(name) {
                    Some(version) => Term::LessOrAbsent(name.clone(), version.clone()),
                    None => Term::NotExists(name.clone()),
                }],
            },
        };
        if let Some(name) = &self.origin_attribute {
            item.insert(name.clone(), Value::S(mark.to_owned()));
        }
        Plan::Write(Write::Put(item), condition)
    }

    /// What must hold of the slave's item for it to be deleted.
    fn deletable(&self, latest: &Latest) -> Condition {
        // Someone may have made the item anew on the slave: that is another item than the one that was deleted.
        if let (Some(name), Some(before)) = (&self.origin_attribute, &latest.before) {
            let ignore = Ignore::new(std::slice::from_ref(name));
            return Condition::unchanged(&self.schema, &without_global_table_attributes(before), None, &ignore).0;
        }
        let version = |name: &String| Some((name.clone(), latest.change.old.as_ref()?.get(name)?.clone()));
        match self.version_attribute.as_ref().and_then(version) {
            Some((name, version)) => Condition { terms: vec![Term::AtMostOrAbsent(name, version)] },
            None => Condition::default(),
        }
    }

    /// A write of the replication that goes the other way is one that changed the mark. A client that changes an item
    /// leaves it as it was, or takes it away.
    fn is_looped(&self, change: &Change) -> bool {
        let Some(name) = &self.origin_attribute else { return false };
        let (Event::Insert | Event::Modify, Image::Item(new)) = (change.event, &change.image) else { return false };
        let of = |item: &Item| item.get(name).cloned();
        match of(new) {
            Some(Value::S(mark)) => change.old.as_ref().and_then(of) != Some(Value::S(mark)),
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests;

//! Taking a job's repairs back: what the slave had before the first of them is put there again, if it still has what
//! the last of them wrote.

use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

use super::compare::{Ignore, without_global_table_attributes};
use super::condition::{Condition, Write};
use super::key::{Key, KeySchema};
use super::value::Item;

/// What is kept of a write of a repair.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kept {
    /// It is about to be made.
    Before(OldImage),
    /// The slave refused the write of this id. Every other write counts as made, also one whose worker died.
    Refused(String),
}

/// What a slave has under a key right before a write.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OldImage {
    /// Names the write.
    pub id: String,
    /// When, as RFC 3339 with microseconds; orders the writes of two passes.
    pub at: String,
    /// Which slave.
    pub slave: usize,
    /// The key, as DynamoDB JSON.
    pub key: Json,
    /// What the slave has, as DynamoDB JSON; nothing when it has no item.
    pub old: Option<Json>,
    /// What the write leaves; nothing when it deletes.
    pub new: Option<Json>,
}

/// One write of the job to one key: what was there before, and what it left.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    /// Before.
    pub old: Option<Item>,
    /// After.
    pub new: Option<Item>,
}

/// What is done about the writes to one key.
#[derive(Clone, Debug, PartialEq)]
pub enum Back {
    /// The slave still has what the job wrote: this undoes it.
    Write(Write, Condition),
    /// The slave has what it had before the job.
    AlreadyBack,
    /// The slave has something else by now, which is left alone.
    Changed,
}

/// Decides how to take the job's writes to one key back, the earliest first. All attributes count, ignored ones too.
#[must_use]
pub fn take_back(schema: &KeySchema, key: &Key, steps: &[Step], now: Option<&Item>) -> Back {
    let own = |item: Option<&Item>| item.map(without_global_table_attributes);
    let of_now = own(now);
    // What was there before the chain of writes that ends with this one; a write of somebody else's breaks the chain.
    let before = |last: usize| {
        let mut target = own(steps[last].old.as_ref());
        for step in steps[..last].iter().rev() {
            if own(step.new.as_ref()) != target {
                break;
            }
            target = own(step.old.as_ref());
        }
        target
    };
    let Some(last) = steps.len().checked_sub(1) else { return Back::AlreadyBack };
    if of_now == before(last) {
        return Back::AlreadyBack;
    }
    let Some(shown) = (0..=last).rev().find(|&at| own(steps[at].new.as_ref()) == of_now) else { return Back::Changed };
    let target = before(shown);
    if of_now == target {
        return Back::AlreadyBack;
    }
    let condition = match now {
        None => Condition::absent(schema),
        Some(now) => Condition::unchanged(schema, now, target.as_ref(), &Ignore::default()).0,
    };
    let write = match target {
        Some(old) => Write::Put(old),
        None => Write::Delete(key.clone()),
    };
    Back::Write(write, condition)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::key::{KeyAttribute, KeyType};
    use crate::domain::value::Value;

    fn schema() -> KeySchema {
        KeySchema { partition: KeyAttribute { name: "id".into(), kind: KeyType::S }, sort: None }
    }

    fn item(version: u32) -> Item {
        [("id".to_owned(), Value::S("a".into())), ("v".to_owned(), Value::S(version.to_string()))].into()
    }

    /// What is written back; images by their version, 0 for none.
    fn back(steps: &[(u32, u32)], now: u32) -> Result<u32, &'static str> {
        let image = |version: u32| (version > 0).then(|| item(version));
        let steps: Vec<Step> = steps.iter().map(|&(old, new)| Step { old: image(old), new: image(new) }).collect();
        let (key, now) = (Key::of(&schema(), &item(1)).unwrap(), image(now));
        match take_back(&schema(), &key, &steps, now.as_ref()) {
            Back::AlreadyBack => Err("already back"),
            Back::Changed => Err("changed"),
            Back::Write(write, condition) => {
                assert!(condition.holds(now.as_ref()) && !condition.holds(Some(&item(99))));
                Ok(match write {
                    Write::Delete(_) => 0,
                    Write::Put(put) => (1..10).find(|&version| put == item(version)).unwrap(),
                })
            }
        }
    }

    #[test]
    fn a_write_is_taken_back_only_where_it_shows() {
        assert_eq!(back(&[(1, 2)], 2), Ok(1));
        assert_eq!(back(&[(0, 2)], 2), Ok(0));
        assert_eq!(back(&[(1, 0)], 0), Ok(1));
        assert_eq!(back(&[(1, 2)], 1), Err("already back"));
        assert_eq!(back(&[(0, 2)], 0), Err("already back"));
        assert_eq!(back(&[(1, 2)], 3), Err("changed"));
        assert_eq!(back(&[(1, 2)], 0), Err("changed"));
        assert_eq!(back(&[(1, 0)], 3), Err("changed"));
    }

    #[test]
    fn several_writes_are_taken_back_at_once_to_what_was_there_before_the_first() {
        assert_eq!(back(&[(1, 2), (2, 3)], 3), Ok(1));
        assert_eq!(back(&[(1, 2), (2, 3)], 1), Err("already back"));
        assert_eq!(back(&[(0, 2), (2, 0)], 0), Err("already back"));
        // The last one was never made.
        assert_eq!(back(&[(1, 2), (2, 3)], 2), Ok(1));
        // Somebody else wrote in between.
        assert_eq!(back(&[(1, 2), (5, 3)], 3), Ok(5));
        assert_eq!(back(&[(1, 2), (5, 3)], 5), Err("already back"));
    }

    #[test]
    fn attributes_of_the_service_itself_are_neither_compared_nor_put() {
        let with =
            |names: &[&str]| -> Item { names.iter().map(|name| ((*name).to_owned(), Value::S("a".into()))).collect() };
        let key = Key::of(&schema(), &with(&["id"])).unwrap();
        let (old, new) = (with(&["id", "old", "aws:rep:updatetime"]), with(&["id", "new"]));

        let steps = [Step { old: Some(old), new: Some(new) }];
        let back = take_back(&schema(), &key, &steps, Some(&with(&["id", "new", "aws:rep:updatetime"])));

        let Back::Write(write, _) = back else { panic!("{back:?}") };
        assert_eq!(write, Write::Put(with(&["id", "old"])));
    }
}

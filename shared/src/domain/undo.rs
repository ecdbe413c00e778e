//! Taking a repair back: what the slave had before is put there again, if it still has what the repair wrote.

use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

use super::compare::{Ignore, without_global_table_attributes};
use super::condition::{Condition, Write};
use super::key::{Key, KeySchema};
use super::value::Item;

/// What a slave had under a key right before a write of a repair, kept before the write.
///
/// The write may have been refused, or the worker may have died before it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OldImage {
    /// Which slave.
    pub slave: usize,
    /// The key, as DynamoDB JSON.
    pub key: Json,
    /// How many writes of this repair there were, this one included, as far as is known; 1 is the first.
    pub attempt: u32,
    /// What the slave had, as DynamoDB JSON; nothing when it had no item.
    pub old: Option<Json>,
    /// What the write would leave; nothing when it deletes.
    pub new: Option<Json>,
}

/// What is done about one write of a repair.
#[derive(Clone, Debug, PartialEq)]
pub enum Back {
    /// The slave still has what the repair wrote: this undoes it.
    Write(Write, Condition),
    /// The slave has what it had before: the write was never made, or is undone already.
    AlreadyBack,
    /// The slave has something else by now, which is left alone.
    Changed,
}

/// Decides how to take one write back. All attributes count, ignored ones too.
#[must_use]
pub fn take_back(schema: &KeySchema, key: &Key, old: Option<Item>, new: Option<&Item>, now: Option<&Item>) -> Back {
    let own = |item: Option<&Item>| item.map(without_global_table_attributes);
    let (of_old, of_new, of_now) = (own(old.as_ref()), own(new), own(now));
    if of_now == of_old {
        return Back::AlreadyBack;
    }
    if of_now != of_new {
        return Back::Changed;
    }
    let condition = match now {
        None => Condition::absent(schema),
        Some(now) => Condition::unchanged(schema, now, old.as_ref(), &Ignore::default()).0,
    };
    let write = match of_old {
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

    #[test]
    fn a_write_is_taken_back_only_where_it_shows() {
        let schema = KeySchema { partition: KeyAttribute { name: "id".into(), kind: KeyType::S }, sort: None };
        let item = |version: &str| -> Item {
            [("id".to_owned(), Value::S("a".into())), ("v".to_owned(), Value::S(version.into()))].into()
        };
        let key = Key::of(&schema, &item("")).unwrap();
        let (one, two, three) = (item("1"), item("2"), item("3"));
        let back = |old: Option<&Item>, new: Option<&Item>, now: Option<&Item>| match take_back(
            &schema,
            &key,
            old.cloned(),
            new,
            now,
        ) {
            Back::Write(write, condition) => {
                assert!(condition.holds(now) && !condition.holds(Some(&three)));
                Some(Some(write))
            }
            Back::AlreadyBack => Some(None),
            Back::Changed => None,
        };

        assert_eq!(back(Some(&one), Some(&two), Some(&two)), Some(Some(Write::Put(one.clone()))));
        assert_eq!(back(None, Some(&two), Some(&two)), Some(Some(Write::Delete(key.clone()))));
        assert_eq!(back(Some(&one), None, None), Some(Some(Write::Put(one.clone()))));
        assert_eq!(back(Some(&one), Some(&two), Some(&one)), Some(None));
        assert_eq!(back(None, Some(&two), None), Some(None));
        assert_eq!(back(Some(&one), Some(&two), Some(&three)), None);
        assert_eq!(back(Some(&one), Some(&two), None), None);
        assert_eq!(back(Some(&one), None, Some(&three)), None);
    }

    #[test]
    fn attributes_of_the_service_itself_are_neither_compared_nor_put() {
        let schema = KeySchema { partition: KeyAttribute { name: "id".into(), kind: KeyType::S }, sort: None };
        let with =
            |names: &[&str]| -> Item { names.iter().map(|name| ((*name).to_owned(), Value::S("a".into()))).collect() };
        let key = Key::of(&schema, &with(&["id"])).unwrap();

        let back = take_back(
            &schema,
            &key,
            Some(with(&["id", "old", "aws:rep:updatetime"])),
            Some(&with(&["id", "new"])),
            Some(&with(&["id", "new", "aws:rep:updatetime"])),
        );

        let Back::Write(write, _) = back else { panic!("{back:?}") };
        assert_eq!(write, Write::Put(with(&["id", "old"])));
    }
}

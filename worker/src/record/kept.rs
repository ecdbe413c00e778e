//! An item as an object of an incremental backup: put, deleted and read by its key, under all names it may have.

use std::sync::Arc;

use bytes::Bytes;
use jiff::Timestamp;
use shared::domain::item_object::{Naming, names};
use shared::domain::json::{item_from_json, item_to_json};
use shared::domain::key::{Key, KeySchema};
use shared::domain::number::{Number, normalized};
use shared::domain::value::{Item, Value};
use shared::ports::failure::{Failure, FailureKind};
use shared::ports::objects::{ObjectStore, PutMode};
use shared::ports::table::Table;
use shared::retry::{self, RetryPolicy};

use super::pair::key_of;
use super::read_one;

/// Looks at an item that changes while its object is put.
const LOOKS: u32 = 16;

/// What S3 calls an object in cold storage that has to be restored before it can be read.
///
/// Source: Amazon S3 API Reference, "Error responses".
const ARCHIVED: &str = "InvalidObjectState";

/// The objects of one table's items: `DEST/TABLE/<hash of the key>`.
#[derive(Clone)]
pub struct ItemFolder {
    pub(super) store: Arc<dyn ObjectStore>,
    pub(super) table: String,
    pub(super) schema: KeySchema,
    pub(super) retry: RetryPolicy,
}

/// What was done about an item's object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BackedUp {
    /// The key, as the table spells it where it has the item.
    pub key: Key,
    /// What the object is now.
    pub what: What,
    /// Objects that are gone now: those under other names that the key may have, or all where there is no item.
    pub removed: Vec<String>,
}

/// What an item's object is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// It holds the item.
    Put {
        /// Where it is.
        url: String,
    },
    /// The table has no such item, and the backup no object any more.
    Deleted,
    /// Neither had anything.
    Absent,
}

/// An item as the backup has it.
#[derive(Clone, Debug)]
pub struct Found {
    /// Where it is.
    pub url: String,
    /// When it was put.
    pub modified: Timestamp,
    /// The item.
    pub item: Item,
    /// Older objects of the same key, under other names.
    pub older: Vec<String>,
}

/// Why an object tells nothing.
#[derive(Clone, Debug, thiserror::Error)]
pub enum CannotRead {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] Failure),
    /// It is in cold storage.
    #[error("the object {url} is archived and cannot be read")]
    Archived {
        /// Where it is.
        url: String,
    },
    /// It holds something else than the item.
    #[error("the object {url} does not hold the item: {what}")]
    NoItem {
        /// Where it is.
        url: String,
        /// What is wrong.
        what: String,
    },
}

impl ItemFolder {
    /// The objects of a table's items in a store.
    #[must_use]
    pub fn new(store: Arc<dyn ObjectStore>, table: &str, schema: KeySchema) -> Self {
        Self { store, table: table.to_owned(), schema, retry: RetryPolicy::default() }
    }

    /// What the table has under a key, read strongly consistent.
    ///
    /// # Errors
    /// The table's.
    pub async fn current(&self, table: &dyn Table, key: &Key) -> Result<Option<Item>, Failure> {
        read_one(table, self.retry, key).await
    }

    /// Puts the object of the table's item, or deletes it when there is no item.
    ///
    /// One object per item is left: those under other names go, once the new one is there. The item is read again
    /// after that, and all of it is done again if it changed, so that of two who do this the later item stays.
    ///
    /// # Errors
    /// The table's and the store's; `Conflict` when the item keeps changing.
    pub async fn back_up(&self, table: &dyn Table, key: &Key) -> Result<BackedUp, Failure> {
        let mut removed = Vec::new();
        let mut before = read_one(table, self.retry, key).await?;
        for _ in 0..LOOKS {
            let stored = before.as_ref().map(|item| key_of(&self.schema, item)).transpose()?;
            let own = match (&before, &stored) {
                (Some(item), Some(stored)) => Some(self.put(stored, item).await?),
                _ => None,
            };
            for path in self.existing(key).await?.into_iter().filter(|path| own.as_ref() != Some(path)) {
                retry::call(self.retry, || self.store.delete(&path)).await?;
                removed.push(self.store.url(&path));
            }
            let now = read_one(table, self.retry, key).await?;
            if now == before {
                let what = match own {
                    Some(path) => What::Put { url: self.store.url(&path) },
                    None if removed.is_empty() => What::Absent,
                    None => What::Deleted,
                };
                return Ok(BackedUp { key: stored.unwrap_or_else(|| key.clone()), what, removed });
            }
            before = now;
        }
        Err(Failure {
            kind: FailureKind::Conflict,
            operation: "PutObject",
            resource: format!("`{}`", self.store.url(&self.table)),
            message: "the item kept changing while its object was put".to_owned(),
        })
    }

    async fn put(&self, key: &Key, item: &Item) -> Result<String, Failure> {
        let path = self.path(&Naming::Sha256.name(&self.schema, key));
        let body = Bytes::from(item_to_json(item).to_string());
        retry::call(self.retry, || self.store.put(&path, body.clone(), PutMode::Overwrite)).await?;
        Ok(path)
    }

    /// The objects that there are of a key, under whatever name.
    async fn existing(&self, key: &Key) -> Result<Vec<String>, Failure> {
        let mut found = Vec::new();
        for path in self.paths(key) {
            match retry::call(self.retry, || self.store.get(&path)).await {
                Ok(None) => {}
                Ok(Some(_)) => found.push(path),
                Err(failure) if is_archived(&failure) => found.push(path),
                Err(failure) => return Err(failure),
            }
        }
        Ok(found)
    }

    /// What the backup has of a key; of several objects the newest.
    ///
    /// # Errors
    /// See [`CannotRead`].
    pub async fn find(&self, key: &Key) -> Result<Option<Found>, CannotRead> {
        let mut objects = Vec::new();
        for path in self.paths(key) {
            let object = retry::call(self.retry, || self.store.get(&path)).await;
            let object = object.map_err(|failure| self.unreadable(&path, failure))?;
            objects.extend(object.map(|object| (path, object)));
        }
        // A stable sort: dynamend's own name comes first among equals.
        objects.sort_by_key(|(_, object)| std::cmp::Reverse(object.modified));
        let mut objects = objects.into_iter();
        let Some((path, object)) = objects.next() else { return Ok(None) };
        let item = self.item(key, &path, &object.body)?;
        let older = objects.map(|(path, _)| self.store.url(&path)).collect();
        Ok(Some(Found { url: self.store.url(&path), modified: object.modified, item, older }))
    }

    /// The item in an object's content.
    pub(super) fn item(&self, key: &Key, path: &str, body: &[u8]) -> Result<Item, CannotRead> {
        let no_item = |what: String| CannotRead::NoItem { url: self.store.url(path), what };
        let json = serde_json::from_slice(body).map_err(|error| no_item(format!("it is no JSON ({error})")))?;
        let item =
            item_from_json(&json).map_err(|error| no_item(format!("it is no DynamoDB JSON, at `{}`", error.at)))?;
        match Key::of(&self.schema, &item) {
            Ok(held) if held == *key => Ok(item),
            Ok(held) => Err(no_item(format!("its key is {}", held.to_json()))),
            Err(error) => Err(no_item(error.to_string())),
        }
    }

    pub(super) fn unreadable(&self, path: &str, failure: Failure) -> CannotRead {
        if is_archived(&failure) {
            CannotRead::Archived { url: self.store.url(path) }
        } else {
            CannotRead::Store(failure)
        }
    }

    fn path(&self, name: &str) -> String {
        format!("{}/{name}", self.table)
    }

    /// Where a key's object may be, dynamend's own name first.
    ///
    /// A name is made of the number as the table spells it, and the key at hand may be a person's.
    pub(super) fn paths(&self, key: &Key) -> Vec<String> {
        let mut paths: Vec<String> = Vec::new();
        let spellings: [fn(&Number) -> String; 3] = [
            Number::plain_text,
            |number| number.text().to_owned(),
            |number| normalized(number.text()).unwrap_or_default().into_owned(),
        ];
        for spelling in spellings {
            let mut item = key.to_item();
            for value in item.values_mut() {
                if let Value::N(number) = value
                    && let Ok(spelt) = Number::parse(&spelling(number))
                {
                    *number = spelt;
                }
            }
            let Ok(key) = Key::of(&self.schema, &item) else { continue };
            for path in names(&self.schema, &key).into_iter().map(|(_, name)| self.path(&name)) {
                if !paths.contains(&path) {
                    paths.push(path);
                }
            }
        }
        paths
    }
}

fn is_archived(failure: &Failure) -> bool {
    failure.message.contains(ARCHIVED)
}

#[cfg(test)]
mod tests;

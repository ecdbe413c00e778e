//! An incremental backup: each item of a table as an object of its own, which is put and deleted as the item is.

use std::sync::Arc;

use bytes::Bytes;
use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use shared::domain::condition::Write;
use shared::domain::item_object;
use shared::domain::json::item_to_json;
use shared::domain::key::KeySchema;
use shared::ports::failure::Failure;
use shared::ports::objects::{ObjectStore, PutMode};
use shared::retry::{self, RetryPolicy};

use crate::apply::{Due, key_of};

/// Requests to the store at once, from one unit.
const REQUESTS_AT_ONCE: usize = 32;

/// What was done to the objects of items.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Kept {
    /// Objects that were put.
    pub put: u64,
    /// The bytes of these.
    pub bytes: u64,
    /// Objects that were deleted.
    pub deleted: u64,
}

/// The folder of one table: `PREFIX/TABLE/<hash of the key>`.
#[derive(Clone)]
pub struct ItemObjects {
    store: Arc<dyn ObjectStore>,
    table: String,
    schema: KeySchema,
}

impl ItemObjects {
    /// The objects of a table's items in a store.
    #[must_use]
    pub fn new(store: Arc<dyn ObjectStore>, table: &str, schema: KeySchema) -> Self {
        Self { store, table: table.to_owned(), schema }
    }

    /// Puts and deletes the objects of these items, each of another key.
    ///
    /// # Errors
    /// The store's; some of them may have been made then, and making them again is harmless.
    pub async fn keep(&self, due: &[Due], policy: RetryPolicy) -> Result<Kept, Failure> {
        let requests: Vec<_> = due.iter().map(|due| self.keep_one(&due.write, policy)).collect();
        let made = stream::iter(requests).buffer_unordered(REQUESTS_AT_ONCE);
        let add = |all: Kept, one: Kept| {
            let Kept { put, bytes, deleted } = one;
            Kept { put: all.put + put, bytes: all.bytes + bytes, deleted: all.deleted + deleted }
        };
        made.try_fold(Kept::default(), |all, one| async move { Ok(add(all, one)) }).await
    }

    async fn keep_one(&self, write: &Write, policy: RetryPolicy) -> Result<Kept, Failure> {
        let Some(key) = key_of(&self.schema, write) else { return Ok(Kept::default()) };
        let name = format!("{}/{}", self.table, item_object::name(&self.schema, &key));
        match write {
            Write::Put(item) => {
                let body = Bytes::from(item_to_json(item).to_string());
                retry::call(policy, || self.store.put(&name, body.clone(), PutMode::Overwrite)).await?;
                Ok(Kept { put: 1, bytes: body.len() as u64, deleted: 0 })
            }
            Write::Delete(_) => {
                retry::call(policy, || self.store.delete(&name)).await?;
                Ok(Kept { deleted: 1, ..Kept::default() })
            }
        }
    }
}

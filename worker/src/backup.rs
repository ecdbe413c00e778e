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

    /// Puts and deletes the objects of these items, each of another key; says how many of each.
    ///
    /// # Errors
    /// The store's; some of them may have been made then, and making them again is harmless.
    pub async fn keep(&self, due: &[Due], policy: RetryPolicy) -> Result<(u64, u64), Failure> {
        let requests: Vec<_> = due.iter().map(|due| self.keep_one(&due.write, policy)).collect();
        let made = stream::iter(requests).buffer_unordered(REQUESTS_AT_ONCE);
        made.try_fold((0, 0), |(put, deleted), is_put| async move {
            Ok(if is_put { (put + 1, deleted) } else { (put, deleted + 1) })
        })
        .await
    }

    async fn keep_one(&self, write: &Write, policy: RetryPolicy) -> Result<bool, Failure> {
        let Some(key) = key_of(&self.schema, write) else { return Ok(true) };
        let name = format!("{}/{}", self.table, item_object::name(&self.schema, &key));
        match write {
            Write::Put(item) => {
                let body = Bytes::from(item_to_json(item).to_string());
                retry::call(policy, || self.store.put(&name, body.clone(), PutMode::Overwrite)).await?;
                Ok(true)
            }
            Write::Delete(_) => {
                retry::call(policy, || self.store.delete(&name)).await?;
                Ok(false)
            }
        }
    }
}

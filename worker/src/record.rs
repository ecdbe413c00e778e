//! Single records: one item by its key, on two tables or as an object of a backup. No job is made for them.
//!
//! - [`pair`]: what a master and a slave hold under keys. [`mend`]: making the slave's items equal.
//! - [`kept`]: an item as an object of a backup. [`history`]: the versions of that object.

pub mod history;
pub mod kept;
pub mod mend;
pub mod pair;

use shared::domain::job::Consistency;
use shared::domain::key::Key;
use shared::domain::value::Item;
use shared::ports::failure::Failure;
use shared::ports::table::{Content, GetRequest, Table};
use shared::retry::{self, RetryPolicy};

/// Reads one item, strongly consistent.
async fn read_one(table: &dyn Table, retry: RetryPolicy, key: &Key) -> Result<Option<Item>, Failure> {
    let request = GetRequest { keys: vec![key.clone()], consistency: Consistency::Strong, content: Content::Items };
    Ok(retry::get_all(table, retry, request).await?.items.pop())
}

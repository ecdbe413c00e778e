//! The port to a DynamoDB table.

use async_trait::async_trait;

use super::failure::{Failure, FailureKind};
use super::stream::View;
use crate::domain::condition::{Condition, Write};
use crate::domain::cost::TableSize;
use crate::domain::definition::TableDefinition;
use crate::domain::digest::Digester;
use crate::domain::entries::Entries;
use crate::domain::job::{Consistency, Reader};
use crate::domain::key::{Key, KeySchema};
use crate::domain::value::Item;

/// What a table says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Description {
    /// Its id, which a table that is deleted and made again does not keep.
    pub id: Option<String>,
    /// Its ARN.
    pub arn: Option<String>,
    /// Whether it can be read.
    pub readiness: Readiness,
    /// Its key schema.
    pub key_schema: KeySchema,
    /// Its size; refreshed by the service every six hours or so.
    pub size: TableSize,
    /// What its reads and writes are paid by.
    pub billing: Billing,
    /// The regions in which it has replicas, where it is one of a global table (version 2019.11.21).
    pub replicas: Vec<String>,
    /// Its stream of changes, while it is enabled.
    pub stream: Option<TableStream>,
}

/// A table's DynamoDB stream, as the table tells of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableStream {
    /// Its ARN; one that is disabled and enabled again is another stream.
    pub arn: String,
    /// What its records carry.
    pub view: View,
}

/// What a table's reads and writes are paid by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Billing {
    /// By the request.
    OnDemand,
    /// By the hour, for what it can do at most.
    Provisioned {
        /// Read units per second.
        read: u64,
        /// Write units per second.
        write: u64,
    },
}

/// Whether a table can be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Readiness {
    /// It can.
    Ready,
    /// It cannot; with its status in the service's words.
    NotReady(String),
}

/// Which attributes a read returns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// Whole items.
    Items,
    /// Key attributes only. It costs the same and moves fewer bytes.
    Keys(KeySchema),
}

/// One page of a parallel scan.
#[derive(Clone, Debug)]
pub struct ScanRequest {
    /// The segment.
    pub segment: u32,
    /// Of how many.
    pub total_segments: u32,
    /// The key after which the page begins; it need not exist.
    pub after: Option<Key>,
    /// Most items on the page; without it, 1 MB of them.
    pub limit: Option<u32>,
    /// How fresh the page is.
    pub consistency: Consistency,
    /// What it carries.
    pub content: Content,
}

/// What came back of a scan.
#[derive(Clone, Debug, Default)]
pub struct Page {
    /// The items; there may be none although more follow.
    pub items: Vec<Item>,
    /// The key attributes after which the next page begins; absent at the end of the segment, and only there.
    pub next: Option<Item>,
    /// Read units it cost.
    pub read_units: f64,
}

/// Reads by key.
#[derive(Clone, Debug)]
pub struct GetRequest {
    /// The keys, no two alike, at most [`crate::domain::job::MAX_KEYS_PER_GET`].
    pub keys: Vec<Key>,
    /// How fresh the items are.
    pub consistency: Consistency,
    /// What they carry.
    pub content: Content,
}

/// What came back of reads by key, in any order.
#[must_use]
#[derive(Clone, Debug, Default)]
pub struct Got {
    /// The items that are there.
    pub items: Vec<Item>,
    /// Keys that were not looked at this time; the caller asks again. A key that is in neither has no item.
    pub unprocessed: Vec<Key>,
    /// Keys that the adapter did not ask the service for, to keep within a rate; the caller asks again at once.
    pub held_back: Vec<Key>,
    /// Read units it cost.
    pub read_units: f64,
}

/// What came back of a scan, reduced to digests.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct EntryPage {
    /// The items; there may be none although more follow.
    pub entries: Entries,
    /// The key after which the next page begins; absent at the end of the segment, and only there.
    pub next: Option<Key>,
    /// Read units it cost.
    pub read_units: f64,
}

/// What came back of reads by key, reduced to digests, in any order.
#[must_use]
#[derive(Clone, Debug, Default, PartialEq)]
pub struct GotEntries {
    /// The items that are there.
    pub entries: Entries,
    /// As in [`Got`].
    pub unprocessed: Vec<Key>,
    /// As in [`Got`].
    pub held_back: Vec<Key>,
    /// Read units it cost.
    pub read_units: f64,
}

/// What came of a conditional write.
#[must_use]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Applied {
    /// It was written.
    Written,
    /// The condition did not hold; nothing was changed. Costs write units all the same.
    ConditionFailed,
}

/// A conditional write that was answered.
#[must_use]
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct WriteAnswer {
    /// What came of it.
    pub applied: Applied,
    /// Write units it cost, as far as the service says.
    pub write_units: f64,
}

/// What a batch of writes left over.
#[must_use]
#[derive(Clone, Debug, Default)]
pub struct Batch {
    /// Writes that were not made this time; the caller sends them again.
    pub unprocessed: Vec<Write>,
    /// Writes that the adapter did not send, to keep within a rate; the caller sends them again at once.
    pub held_back: Vec<Write>,
    /// Write units it cost.
    pub write_units: f64,
}

/// Most writes one `BatchWriteItem` request carries.
///
/// Source: Amazon DynamoDB API Reference, BatchWriteItem.
pub const MAX_WRITES_PER_BATCH: usize = 25;

/// A table, one request at a time: adapters do not retry, page or split.
///
/// Every method may fail with a passing failure (`Throttled`, `Unavailable`); [`crate::retry`] goes around it.
/// A write that failed in passing may have been made.
#[async_trait]
pub trait Table: Send + Sync {
    /// Describes the table.
    async fn describe(&self) -> Result<Description, Failure>;

    /// The attribute by which the table deletes items whose time to live has passed; none when it does not.
    async fn time_to_live(&self) -> Result<Option<String>, Failure>;

    /// Reads one page of a segment. A key is in the same segment of equally many in every page and every call.
    async fn scan_page(&self, request: &ScanRequest) -> Result<Page, Failure>;

    /// Reads up to [`crate::domain::job::MAX_KEYS_PER_GET`] items by their keys.
    async fn get_many(&self, request: &GetRequest) -> Result<Got, Failure>;

    /// Reads one page of a segment as [`Table::scan_page`] does, reduced to digests of whole items; what the request
    /// says of content does not count.
    ///
    /// An adapter that can tell the digests from the service's answer itself spares building the items.
    async fn scan_entries(&self, request: &ScanRequest, digester: &Digester) -> Result<EntryPage, Failure> {
        digests_of_page(self, request, digester).await
    }

    /// Reads items by their keys as [`Table::get_many`] does, reduced to digests of whole items; what the request says
    /// of content does not count.
    async fn get_entries(&self, request: &GetRequest, digester: &Digester) -> Result<GotEntries, Failure> {
        digests_of_got(self, request, digester).await
    }

    /// Makes one write if the condition holds of what is there, as one atomic step.
    async fn write_if(&self, write: &Write, condition: &Condition) -> Result<WriteAnswer, Failure>;

    /// Makes up to [`MAX_WRITES_PER_BATCH`] unconditional writes to different keys, in any order.
    async fn write_many(&self, writes: &[Write]) -> Result<Batch, Failure>;

    /// What the table would have to be made with to be like this one, apart from its items.
    async fn definition(&self) -> Result<TableDefinition, Failure> {
        Err(not_here("DescribeTable"))
    }

    /// Creates the table under its own name, all but its time to live; `Conflict` when there is one of that name.
    ///
    /// It does not wait: the table can be read and written once [`Table::describe`] finds it ready. A call that failed
    /// in passing may have begun to create it, so a `Conflict` after one may be its own doing.
    async fn create(&self, definition: &TableDefinition) -> Result<(), Failure> {
        let _ = definition;
        Err(not_here("CreateTable"))
    }

    /// Has the table, once it is ready, delete items by this attribute. It may be said again; `Conflict` when the table
    /// deletes by another one.
    async fn set_time_to_live(&self, attribute: &str) -> Result<(), Failure> {
        let _ = attribute;
        Err(not_here("UpdateTimeToLive"))
    }
}

fn not_here(operation: &'static str) -> Failure {
    odd(operation, "tables of this kind are not made or taken apart".to_owned())
}

/// One page as digests, read the way that was chosen.
///
/// # Errors
/// As for [`Table::scan_page`].
pub async fn scan_entries(
    table: &dyn Table,
    request: &ScanRequest,
    reader: Reader,
    digester: &Digester,
) -> Result<EntryPage, Failure> {
    match reader {
        Reader::Fast => table.scan_entries(request, digester).await,
        Reader::Typed => digests_of_page(table, request, digester).await,
    }
}

/// Items by their keys as digests, read the way that was chosen.
///
/// # Errors
/// As for [`Table::get_many`].
pub async fn get_entries(
    table: &dyn Table,
    request: &GetRequest,
    reader: Reader,
    digester: &Digester,
) -> Result<GotEntries, Failure> {
    match reader {
        Reader::Fast => table.get_entries(request, digester).await,
        Reader::Typed => digests_of_got(table, request, digester).await,
    }
}

/// A page read item by item and then reduced.
///
/// # Errors
/// As for [`Table::scan_page`]; `Invalid` when an item does not have the key.
pub async fn digests_of_page<T: Table + ?Sized>(
    table: &T,
    request: &ScanRequest,
    digester: &Digester,
) -> Result<EntryPage, Failure> {
    let request = ScanRequest { content: Content::Items, ..request.clone() };
    page_of_entries(table.scan_page(&request).await?, digester)
}

/// Items read by their keys and then reduced.
///
/// # Errors
/// As for [`Table::get_many`]; `Invalid` when an item does not have the key.
pub async fn digests_of_got<T: Table + ?Sized>(
    table: &T,
    request: &GetRequest,
    digester: &Digester,
) -> Result<GotEntries, Failure> {
    let request = GetRequest { content: Content::Items, ..request.clone() };
    got_of_entries(table.get_many(&request).await?, digester)
}

/// Reduces a page.
///
/// # Errors
/// `Invalid` when an item does not have the key.
pub fn page_of_entries(page: Page, digester: &Digester) -> Result<EntryPage, Failure> {
    let Page { items, next, read_units } = page;
    let next = next.map(|item| Key::of(digester.schema(), &item)).transpose();
    Ok(EntryPage {
        entries: reduced("Scan", &items, digester)?,
        next: next.map_err(|error| odd("Scan", error.to_string()))?,
        read_units,
    })
}

/// Reduces what came back of reads by key.
///
/// # Errors
/// `Invalid` when an item does not have the key.
pub fn got_of_entries(got: Got, digester: &Digester) -> Result<GotEntries, Failure> {
    let Got { items, unprocessed, held_back, read_units } = got;
    Ok(GotEntries { entries: reduced("BatchGetItem", &items, digester)?, unprocessed, held_back, read_units })
}

fn reduced(operation: &'static str, items: &[Item], digester: &Digester) -> Result<Entries, Failure> {
    let mut entries = Entries::default();
    for item in items {
        let (digest, key) = digester.digest(item).map_err(|error| odd(operation, error.to_string()))?;
        entries.push_key(digest, &key).map_err(|error| odd(operation, error.to_string()))?;
    }
    Ok(entries)
}

fn odd(operation: &'static str, message: String) -> Failure {
    Failure { kind: FailureKind::Invalid, operation, resource: "the table".to_owned(), message }
}

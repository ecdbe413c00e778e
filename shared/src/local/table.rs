//! A table in memory, for tests, with DynamoDB's segments, pages, limits and prices.
//!
//! Items lie in the order of a hash of their partition key, then of their sort key, and a segment is a range of
//! hashes: what the service does too, as far as one can see. Where the service refuses a request, so does this table.

use std::collections::{BTreeMap, HashSet};
use std::ops::Bound;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use async_trait::async_trait;
use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::domain::condition::{Condition, Write};
use crate::domain::cost::TableSize;
use crate::domain::definition::{BillingMode, TableDefinition, TimeToLive};
use crate::domain::job::{Consistency, MAX_KEYS_PER_GET};
use crate::domain::key::{Key, KeySchema};
use crate::domain::number::Number;
use crate::domain::segment::MAX_SEGMENTS;
use crate::domain::value::{Item, Value};
use crate::ports::failure::{Failure, FailureKind};
use crate::ports::table::{
    Applied, Batch, Billing, Content, Description, GetRequest, Got, MAX_WRITES_PER_BATCH, Page, Readiness, ScanRequest,
    Table, TableStream, WriteAnswer,
};

/// Bytes of items after which a page ends.
///
/// Source: Amazon DynamoDB API Reference, Scan.
const PAGE_BYTES: usize = 1024 * 1024;

/// Bytes that one read unit reads, strongly consistent.
///
/// Source: Amazon DynamoDB Developer Guide, "DynamoDB read and write operations".
const BYTES_PER_READ_UNIT: usize = 4096;

/// Bytes that one write unit writes.
///
/// Source: Amazon DynamoDB Developer Guide, "DynamoDB read and write operations".
const BYTES_PER_WRITE_UNIT: usize = 1024;

/// Tables made so far, to give each an id of its own.
static TABLES: AtomicU64 = AtomicU64::new(0);

/// A table that lives as long as this value.
#[derive(Debug)]
pub struct MemoryTable {
    id: u64,
    // Not set while there is no such table.
    made: OnceLock<Made>,
    page_items: usize,
    page_bytes: usize,
    order: u64,
    time_to_live: OnceLock<String>,
    stream: Option<TableStream>,
    // Held for the length of one request, which makes each of them atomic.
    items: Mutex<BTreeMap<Place, Item>>,
}

/// What a table was made with.
#[derive(Debug)]
struct Made {
    schema: KeySchema,
    definition: TableDefinition,
}

/// Where an item lies: places are ordered as a scan meets them, and equal exactly when the keys are.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    hash: u64,
    partition: Box<[u8]>,
    /// Bytes in the order of the sort key; empty without one.
    sort: Vec<u8>,
}

impl MemoryTable {
    /// An empty table.
    #[must_use]
    pub fn new(schema: KeySchema) -> Self {
        let definition = TableDefinition::on_demand(&schema);
        Self { made: Made { schema, definition }.into(), ..Self::missing() }
    }

    /// A name without a table, under which one can be created.
    #[must_use]
    pub fn missing() -> Self {
        let id = TABLES.fetch_add(1, Ordering::Relaxed);
        Self {
            id,
            made: OnceLock::new(),
            page_items: usize::MAX,
            page_bytes: PAGE_BYTES,
            order: 0,
            time_to_live: OnceLock::new(),
            stream: None,
            items: Mutex::default(),
        }
    }

    /// Ends pages after this many items, or this many bytes of them, whichever comes first.
    #[must_use]
    pub fn with_pages_of(self, items: usize, bytes: usize) -> Self {
        Self { page_items: items.max(1), page_bytes: bytes, ..self }
    }

    /// Lays its items in another order, and thereby into other segments, than tables of other numbers.
    ///
    /// Two tables of the service lie in the same order, and it does not promise that.
    #[must_use]
    pub fn with_order(self, order: u64) -> Self {
        Self { order, ..self }
    }

    /// Says that it deletes items by this attribute. It never does so by itself, as the service may take days.
    #[must_use]
    pub fn with_time_to_live(self, attribute: &str) -> Self {
        Self { time_to_live: attribute.to_owned().into(), ..self }
    }

    /// Says that it has this stream. What goes into it, its test says.
    #[must_use]
    pub fn with_stream(self, stream: TableStream) -> Self {
        Self { stream: Some(stream), ..self }
    }

    /// Puts an item, as another program would; no port call.
    ///
    /// # Errors
    /// `Invalid` when it does not have the table's key.
    pub fn put(&self, item: Item) -> Result<(), Failure> {
        let place = self.place("PutItem", &item)?;
        self.locked().insert(place, item);
        Ok(())
    }

    /// Removes the item under a key, if there is one, as another program would; no port call.
    ///
    /// # Errors
    /// `Invalid` when the key is another table's.
    pub fn remove(&self, key: &Key) -> Result<Option<Item>, Failure> {
        let place = self.place("DeleteItem", &key.to_item())?;
        Ok(self.locked().remove(&place))
    }

    /// All items, in the order of a scan.
    #[must_use]
    pub fn items(&self) -> Vec<Item> {
        self.locked().values().cloned().collect()
    }

    /// How many items there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.locked().len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.locked().is_empty()
    }

    fn locked(&self) -> MutexGuard<'_, BTreeMap<Place, Item>> {
        // Every change is one call on the map, so a panic elsewhere leaves nothing half done.
        self.items.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn failure(&self, kind: FailureKind, operation: &'static str, message: String) -> Failure {
        Failure { kind, operation, resource: format!("table memory-{}", self.id), message }
    }

    fn refused(&self, operation: &'static str, message: String) -> Failure {
        self.failure(FailureKind::Invalid, operation, message)
    }

    fn made(&self, operation: &'static str) -> Result<&Made, Failure> {
        let missing = || self.failure(FailureKind::NotFound, operation, "there is no such table".to_owned());
        self.made.get().ok_or_else(missing)
    }

    /// Where the item with these key attributes lies.
    fn place(&self, operation: &'static str, item: &Item) -> Result<Place, Failure> {
        let bad = |error: crate::domain::key::BadKey| self.refused(operation, error.to_string());
        let schema = &self.made(operation)?.schema;
        Key::of(schema, item).map_err(bad)?;
        let partition_only = KeySchema { partition: schema.partition.clone(), sort: None };
        let partition: Box<[u8]> = Key::of(&partition_only, item).map_err(bad)?.identity().into();
        let sort = schema.sort.as_ref().and_then(|sort| item.get(&sort.name));
        Ok(Place {
            hash: xxh3_64_with_seed(&partition, self.order),
            partition,
            sort: sort.map(in_order).unwrap_or_default(),
        })
    }

    fn places<'a>(
        &self,
        operation: &'static str,
        keys: impl ExactSizeIterator<Item = &'a Item>,
        most: usize,
    ) -> Result<Vec<Place>, Failure> {
        if keys.len() == 0 || keys.len() > most {
            return Err(self.refused(operation, format!("a request has 1 to {most} keys, and not {}", keys.len())));
        }
        let places = keys.map(|key| self.place(operation, key)).collect::<Result<Vec<_>, _>>()?;
        let mut seen = HashSet::new();
        if places.iter().all(|place| seen.insert((&place.partition, &place.sort))) {
            Ok(places)
        } else {
            Err(self.refused(operation, "a key is there twice".to_owned()))
        }
    }

    /// From where a scan goes, and to where.
    fn range(&self, request: &ScanRequest) -> Result<(Bound<Place>, Bound<Place>), Failure> {
        let &ScanRequest { segment, total_segments, limit, .. } = request;
        if segment >= total_segments || total_segments > MAX_SEGMENTS || limit == Some(0) {
            let message = format!("there is no segment {segment} of {total_segments}, or no page of {limit:?} items");
            return Err(self.refused("Scan", message));
        }
        let first = |segment: u32| {
            // Only the end of the last segment does not fit, and it has no bound.
            let hash = (u128::from(segment) << u64::BITS).div_ceil(u128::from(total_segments));
            u64::try_from(hash).ok().map(|hash| Place { hash, partition: Box::default(), sort: Vec::new() })
        };
        let from = match &request.after {
            Some(after) => {
                let after = self.place("Scan", &after.to_item())?;
                if segment_of(after.hash, total_segments) != u128::from(segment) {
                    return Err(self.refused("Scan", "the key to begin after is of another segment".to_owned()));
                }
                Bound::Excluded(after)
            }
            None => first(segment).map_or(Bound::Unbounded, Bound::Included),
        };
        Ok((from, first(segment + 1).map_or(Bound::Unbounded, Bound::Excluded)))
    }

    fn projected(content: &Content, item: &Item) -> Item {
        match content {
            Content::Items => item.clone(),
            Content::Keys(schema) => {
                schema.names().filter_map(|name| Some((name.to_owned(), item.get(name)?.clone()))).collect()
            }
        }
    }

    fn apply(&self, items: &mut BTreeMap<Place, Item>, place: Place, write: &Write) -> f64 {
        let (before, after) = match write {
            Write::Put(item) => (items.insert(place, item.clone()), stored_bytes(item)),
            Write::Delete(_) => (items.remove(&place), 0),
        };
        write_units(before.as_ref().map_or(0, stored_bytes).max(after))
    }
}

#[async_trait]
impl Table for MemoryTable {
    async fn describe(&self) -> Result<Description, Failure> {
        let Made { schema, definition } = self.made("DescribeTable")?;
        let capacity = definition.create_table.provisioned_throughput;
        let items = self.locked();
        Ok(Description {
            id: Some(format!("memory-{}", self.id)),
            arn: None,
            readiness: Readiness::Ready,
            key_schema: schema.clone(),
            size: TableSize {
                items: items.len() as u64,
                bytes: items.values().map(stored_bytes).sum::<usize>() as u64,
            },
            billing: match (definition.create_table.billing_mode, capacity) {
                (BillingMode::Provisioned, Some(capacity)) => {
                    Billing::Provisioned { read: capacity.read_capacity_units, write: capacity.write_capacity_units }
                }
                _ => Billing::OnDemand,
            },
            replicas: Vec::new(),
            stream: self.stream.clone(),
        })
    }

    async fn time_to_live(&self) -> Result<Option<String>, Failure> {
        self.made("DescribeTimeToLive")?;
        Ok(self.time_to_live.get().cloned())
    }

    async fn definition(&self) -> Result<TableDefinition, Failure> {
        let mut definition = self.made("DescribeTable")?.definition.clone();
        let set = self.time_to_live.get().cloned();
        definition.time_to_live_specification = set.map(|attribute_name| TimeToLive { enabled: true, attribute_name });
        Ok(definition)
    }

    async fn create(&self, definition: &TableDefinition) -> Result<(), Failure> {
        const CREATE: &str = "CreateTable";
        let schema = definition.key_schema().map_err(|error| self.refused(CREATE, error.to_string()))?;
        let definition = TableDefinition { time_to_live_specification: None, ..definition.clone() };
        let there = |_| self.failure(FailureKind::Conflict, CREATE, "there is such a table already".to_owned());
        self.made.set(Made { schema, definition }).map_err(there)
    }

    async fn set_time_to_live(&self, attribute: &str) -> Result<(), Failure> {
        const UPDATE: &str = "UpdateTimeToLive";
        self.made(UPDATE)?;
        match self.time_to_live.get_or_init(|| attribute.to_owned()) {
            set if set == attribute => Ok(()),
            set => Err(self.failure(FailureKind::Conflict, UPDATE, format!("it deletes items by `{set}` already"))),
        }
    }

    async fn scan_page(&self, request: &ScanRequest) -> Result<Page, Failure> {
        let (schema, range) = (&self.made("Scan")?.schema, self.range(request)?);
        let limit = request.limit.map_or(usize::MAX, |limit| limit as usize).min(self.page_items);
        let items = self.locked();
        let mut page = Page::default();
        let mut bytes = 0;
        for item in items.range(range).map(|(_, item)| item) {
            bytes += stored_bytes(item);
            page.items.push(Self::projected(&request.content, item));
            // A full page has a successor, also when that turns out to be empty.
            if page.items.len() >= limit || bytes >= self.page_bytes {
                page.next = Some(Self::projected(&Content::Keys(schema.clone()), item));
                break;
            }
        }
        page.read_units = read_units(bytes, request.consistency);
        Ok(page)
    }

    async fn get_many(&self, request: &GetRequest) -> Result<Got, Failure> {
        let keys: Vec<Item> = request.keys.iter().map(Key::to_item).collect();
        let places = self.places("BatchGetItem", keys.iter(), MAX_KEYS_PER_GET as usize)?;
        let items = self.locked();
        let found = places.iter().map(|place| items.get(place));
        let read_units = found.clone().map(|item| read_units(item.map_or(0, stored_bytes), request.consistency)).sum();
        let items = found.flatten().map(|item| Self::projected(&request.content, item)).collect();
        Ok(Got { items, read_units, ..Got::default() })
    }

    async fn write_if(&self, write: &Write, condition: &Condition) -> Result<WriteAnswer, Failure> {
        let operation = match write {
            Write::Put(_) => "PutItem",
            Write::Delete(_) => "DeleteItem",
        };
        let place = self.place(operation, &written_key(write))?;
        let mut items = self.locked();
        let current = items.get(&place);
        if condition.holds(current) {
            let write_units = self.apply(&mut items, place, write);
            Ok(WriteAnswer { applied: Applied::Written, write_units })
        } else {
            let write_units = write_units(current.map_or(0, stored_bytes));
            Ok(WriteAnswer { applied: Applied::ConditionFailed, write_units })
        }
    }

    async fn write_many(&self, writes: &[Write]) -> Result<Batch, Failure> {
        let keys: Vec<Item> = writes.iter().map(written_key).collect();
        let places = self.places("BatchWriteItem", keys.iter(), MAX_WRITES_PER_BATCH)?;
        let mut items = self.locked();
        let write_units = places.into_iter().zip(writes).map(|(place, write)| self.apply(&mut items, place, write));
        Ok(Batch { write_units: write_units.sum(), ..Batch::default() })
    }
}

/// The segment of a hash; equal parts of all hashes, in their order.
fn segment_of(hash: u64, total_segments: u32) -> u128 {
    (u128::from(hash) * u128::from(total_segments)) >> u64::BITS
}

fn written_key(write: &Write) -> Item {
    match write {
        Write::Put(item) => item.clone(),
        Write::Delete(key) => key.to_item(),
    }
}

/// Bytes that are ordered as the values of a sort key are.
fn in_order(value: &Value) -> Vec<u8> {
    match value {
        Value::N(number) => number_in_order(number),
        Value::S(text) => text.clone().into_bytes(),
        Value::B(bytes) => bytes.clone(),
        // No key has another type.
        Value::Bool(_) | Value::Null | Value::Ss(_) | Value::Ns(_) | Value::Bs(_) | Value::L(_) | Value::M(_) => {
            Vec::new()
        }
    }
}

/// Sign, then power of ten of the first digit, then the digits; all of it turned around below zero.
fn number_in_order(number: &Number) -> Vec<u8> {
    let text = number.canonical_text();
    let Some((mantissa, exponent)) = text.split_once('e') else { return vec![1] };
    let digits = mantissa.trim_start_matches('-');
    let magnitude = exponent.parse::<i64>().unwrap_or_default() + digits.len() as i64;
    let from_low_to_high = magnitude.wrapping_sub(i64::MIN) as u64;
    let ascending = from_low_to_high.to_be_bytes().into_iter().chain(digits.bytes());
    if mantissa.starts_with('-') {
        // The end mark puts -1.2 after -1.23: fewer digits are nearer to zero.
        [0].into_iter().chain(ascending.map(|byte| !byte)).chain([u8::MAX]).collect()
    } else {
        [2].into_iter().chain(ascending).collect()
    }
}

fn read_units(bytes: usize, consistency: Consistency) -> f64 {
    let strong = bytes.div_ceil(BYTES_PER_READ_UNIT).max(1) as f64;
    match consistency {
        Consistency::Strong => strong,
        Consistency::Eventual => strong / 2.0,
    }
}

fn write_units(bytes: usize) -> f64 {
    bytes.div_ceil(BYTES_PER_WRITE_UNIT).max(1) as f64
}

/// Bytes of an item as the service bills them.
///
/// Source: Amazon DynamoDB Developer Guide, "DynamoDB item sizes and formats".
fn stored_bytes(item: &Item) -> usize {
    item.iter().map(|(name, value)| name.len() + value_bytes(value)).sum()
}

fn value_bytes(value: &Value) -> usize {
    /// What a list or map takes beside its members, and what each of them takes.
    const OF_CONTAINER: usize = 3;
    const OF_MEMBER: usize = 1;
    let number = |number: &Number| number.significant_digits().div_ceil(2) + 1;
    match value {
        Value::S(text) => text.len(),
        Value::N(value) => number(value),
        Value::B(bytes) => bytes.len(),
        Value::Bool(_) | Value::Null => 1,
        Value::Ss(members) => members.iter().map(String::len).sum(),
        Value::Ns(members) => members.iter().map(number).sum(),
        Value::Bs(members) => members.iter().map(Vec::len).sum(),
        Value::L(values) => OF_CONTAINER + values.iter().map(|value| OF_MEMBER + value_bytes(value)).sum::<usize>(),
        Value::M(values) => {
            let members = values.iter().map(|(name, value)| OF_MEMBER + name.len() + value_bytes(value));
            OF_CONTAINER + members.sum::<usize>()
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::domain::key::{KeyAttribute, KeyType};
    use crate::ports::contract;

    fn number(text: &str) -> Number {
        Number::parse(text).unwrap()
    }

    fn item(id: &str, at: &str, payload: usize) -> Item {
        let (id, at) = (Value::S(id.to_owned()), Value::N(number(at)));
        [("id".to_owned(), id), ("at".to_owned(), at), ("x".to_owned(), Value::B(vec![0; payload]))].into()
    }

    fn key(item: &Item) -> Key {
        Key::of(&contract::table::schema(), item).unwrap()
    }

    fn scan(segment: u32, total_segments: u32) -> ScanRequest {
        let (consistency, content) = (Consistency::Eventual, Content::Items);
        ScanRequest { segment, total_segments, after: None, limit: None, consistency, content }
    }

    async fn scan_to_end(table: &MemoryTable, mut request: ScanRequest) -> Vec<Item> {
        let mut found = Vec::new();
        loop {
            let page = table.scan_page(&request).await.unwrap();
            found.extend(page.items);
            let Some(next) = page.next else { return found };
            request.after = Some(Key::of(&contract::table::schema(), &next).unwrap());
        }
    }

    #[tokio::test]
    async fn it_keeps_the_contract_of_a_table() {
        contract::table(async || MemoryTable::new(contract::table::schema())).await;
    }

    #[tokio::test]
    async fn it_is_made_as_the_contract_asks() {
        contract::definition(async || MemoryTable::missing(), async || {}).await;
    }

    #[tokio::test]
    async fn it_keeps_the_contract_with_small_pages() {
        contract::table(async || MemoryTable::new(contract::table::schema()).with_pages_of(2, 64)).await;
    }

    #[tokio::test]
    async fn reads_and_writes_cost_what_they_cost_in_the_service() {
        let table = MemoryTable::new(contract::table::schema());
        // `id` 3 bytes, `at` 4 bytes, `x` 1 byte and the payload.
        let (small, large) = (item("a", "1", 100), item("b", "1", 8200));
        let batch = table.write_many(&[Write::Put(small.clone()), Write::Put(large.clone())]).await.unwrap();
        assert_eq!(batch.write_units, 1.0 + 9.0);

        for (consistency, factor) in [(Consistency::Strong, 1.0), (Consistency::Eventual, 0.5)] {
            let page = table.scan_page(&ScanRequest { consistency, ..scan(0, 1) }).await.unwrap();
            assert_eq!(page.read_units, 3.0 * factor, "the page as a whole is rounded up");
            let keys = vec![key(&small), key(&large), key(&item("missing", "1", 0))];
            let content = Content::Keys(contract::table::schema());
            let got = table.get_many(&GetRequest { keys, consistency, content }).await.unwrap();
            assert_eq!(got.read_units, (1.0 + 3.0 + 1.0) * factor, "each item is rounded up, and a missing one costs");
        }

        let absent = Condition::absent(&contract::table::schema());
        let failed = table.write_if(&Write::Put(large.clone()), &absent).await.unwrap();
        assert_eq!(failed, WriteAnswer { applied: Applied::ConditionFailed, write_units: 9.0 });
        let deleted = table.write_if(&Write::Delete(key(&large)), &Condition::default()).await.unwrap();
        assert_eq!(deleted, WriteAnswer { applied: Applied::Written, write_units: 9.0 });
    }

    #[tokio::test]
    async fn a_page_ends_after_a_megabyte() {
        let table = MemoryTable::new(contract::table::schema());
        (0..5).for_each(|n| table.put(item("a", &n.to_string(), 400_000)).unwrap());

        let page = table.scan_page(&scan(0, 1)).await.unwrap();

        assert_eq!(page.items.len(), 3);
        assert_eq!(page.next, Some(key(&item("a", "2", 0)).to_item()));
        assert_eq!(scan_to_end(&table, scan(0, 1)).await, table.items());
    }

    #[tokio::test]
    async fn a_key_of_another_segment_is_no_beginning() {
        let table = MemoryTable::new(contract::table::schema());
        let after = Some(key(&item("a", "1", 0)));
        let mut accepted = 0;

        for segment in 0..8 {
            let result = table.scan_page(&ScanRequest { after: after.clone(), ..scan(segment, 8) }).await;
            accepted += usize::from(result.is_ok());
        }

        assert_eq!(accepted, 1);
    }

    #[tokio::test]
    async fn two_tables_have_different_ids() {
        let id = async || MemoryTable::new(contract::table::schema()).describe().await.unwrap().id;

        assert_ne!(id().await, id().await);
    }

    fn any_number() -> impl Strategy<Value = String> {
        // Few different digits, so that numbers often begin alike.
        "-?[0-2]{1,3}(\\.[0-2]{1,3})?(E-?[0-2])?"
    }

    proptest! {
        #[test]
        fn segments_together_are_the_table(
            keys in proptest::collection::vec(("[a-e]{1,3}", any_number()), 0..60),
            total in 1u32..40,
            limit in proptest::option::of(1u32..5),
        ) {
            let table = MemoryTable::new(contract::table::schema());
            keys.iter().for_each(|(id, at)| table.put(item(id, at, 0)).unwrap());
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();

            let segments = runtime.block_on(async {
                let mut segments = Vec::new();
                for segment in 0..total {
                    segments.extend(scan_to_end(&table, ScanRequest { limit, ..scan(segment, total) }).await);
                }
                segments
            });

            // Segments are ranges of one order, so that together they are the table, in its order.
            prop_assert_eq!(segments, table.items());
        }

        #[test]
        fn numeric_sort_keys_are_in_the_order_of_their_values(one in any_number(), two in any_number()) {
            let value = |text: &str| text.parse::<f64>().unwrap();

            let order = number_in_order(&number(&one)).cmp(&number_in_order(&number(&two)));

            // These numbers have few enough digits for a float to order them.
            prop_assert_eq!(Some(order), value(&one).partial_cmp(&value(&two)));
        }
    }

    #[tokio::test]
    async fn binary_and_text_sort_keys_are_in_the_order_of_their_bytes() {
        let text = |text: &str| Value::S(text.to_owned());
        let binary = |bytes: &[u8]| Value::B(bytes.to_vec());
        for (kind, values) in [
            (KeyType::S, [text("A"), text("a"), text("aa"), text("b"), text("ä")]),
            (KeyType::B, [binary(&[0]), binary(&[0, 0]), binary(&[1]), binary(&[127]), binary(&[255, 0])]),
        ] {
            let mut schema = contract::table::schema();
            schema.sort = Some(KeyAttribute { name: "at".into(), kind });
            let table = MemoryTable::new(schema);
            for at in values.iter().rev() {
                table.put([("id".to_owned(), text("a")), ("at".to_owned(), at.clone())].into()).unwrap();
            }

            let found: Vec<Value> = table.items().into_iter().filter_map(|mut item| item.remove("at")).collect();

            assert_eq!(found, values);
        }
    }
}

//! A DynamoDB table, as the port wants it: one request per call, consumed capacity always asked for.

mod definition;

use async_trait::async_trait;
use aws_sdk_dynamodb::config::retry::RetryConfig;
use aws_sdk_dynamodb::operation::batch_get_item::BatchGetItemOutput;
use aws_sdk_dynamodb::operation::batch_get_item::builders::BatchGetItemFluentBuilder;
use aws_sdk_dynamodb::operation::scan::ScanOutput;
use aws_sdk_dynamodb::operation::scan::builders::ScanFluentBuilder;
use aws_sdk_dynamodb::types::{
    BillingMode, ConsumedCapacity, DeleteRequest, KeysAndAttributes, PutRequest, ReturnConsumedCapacity,
    StreamViewType, TableDescription, TableStatus, TimeToLiveSpecification, TimeToLiveStatus, WriteRequest,
};
use aws_sdk_dynamodb::{Client, types};
use aws_smithy_runtime_api::client::result::SdkError;
use aws_smithy_runtime_api::http::Response;
use aws_smithy_types::error::metadata::ProvideErrorMetadata;

use super::blot::{blotted, blotted_batch};
use super::classify;
use super::convert::{SdkItem, Unreadable, item_from_sdk, item_to_sdk};
use super::expression::{Expression, projection};
use super::fast::{self, GotPage};
use super::streams::view;
use crate::domain::condition::{Condition, Write};
use crate::domain::cost::TableSize;
use crate::domain::definition::TableDefinition;
use crate::domain::digest::Digester;
use crate::domain::job::Consistency;
use crate::domain::key::{Key, KeyAttribute, KeySchema, KeyType};
use crate::domain::table_ref::TableRef;
use crate::domain::value::{Item, Value};
use crate::ports::failure::{Failure, FailureKind};
use crate::ports::table::{
    Applied, Batch, Billing, Content, Description, EntryPage, GetRequest, Got, GotEntries, Page, Readiness,
    ScanRequest, Table, TableStream, WriteAnswer, got_of_entries, page_of_entries,
};
use crate::telemetry::sample::{self, Sample};

/// One table, reached through one client.
#[derive(Clone, Debug)]
pub struct DynamoTable {
    client: Client,
    table: TableRef,
    /// What the table is called in metrics.
    label: String,
}

impl DynamoTable {
    /// The table, reached through this client.
    #[must_use]
    pub fn new(client: Client, table: TableRef) -> Self {
        let label = table.to_string();
        Self { client, table, label }
    }

    fn resource(&self) -> String {
        format!("table `{}` in {}", self.table.name(), self.table.region())
    }

    fn failure(&self, operation: &'static str, kind: FailureKind, message: impl Into<String>) -> Failure {
        Failure { kind, operation, resource: self.resource(), message: message.into() }
    }

    fn failed<E>(&self, operation: &'static str, error: &SdkError<E, Response>) -> Failure
    where
        E: ProvideErrorMetadata + std::error::Error + 'static,
    {
        classify::failure(operation, self.resource(), error)
    }

    /// A page or a batch was answered.
    fn answered(&self, operation: &'static str) {
        sample::note(Sample::Page { operation, table: &self.label });
    }

    fn items(&self, operation: &'static str, items: Vec<SdkItem>) -> Result<Vec<Item>, Failure> {
        items.into_iter().map(|item| self.item(operation, item)).collect()
    }

    fn item(&self, operation: &'static str, item: SdkItem) -> Result<Item, Failure> {
        let unreadable = |error: Unreadable| self.failure(operation, FailureKind::Invalid, error.to_string());
        item_from_sdk(item).map_err(unreadable)
    }

    /// Finds what the service hands back among what was asked for, however the numbers in it are spelt.
    fn asked_for(&self, operation: &'static str, keys: &[&Key], returned: &Item) -> Result<Key, Failure> {
        let schema = keys.first().and_then(|key| schema_of(key));
        let returned = schema.and_then(|schema| Key::of(&schema, returned).ok());
        let found = keys.iter().find(|key| Some(**key) == returned.as_ref());
        let unknown = || self.failure(operation, FailureKind::Unavailable, "a key came back that was not asked for");
        found.map(|key| (*key).clone()).ok_or_else(unknown)
    }

    fn scan(&self, request: &ScanRequest) -> ScanFluentBuilder {
        let (projection, names) = projection(&request.content);
        self.client
            .scan()
            .table_name(self.table.request_name())
            .segment(clamped(request.segment))
            .total_segments(clamped(request.total_segments))
            .set_exclusive_start_key(request.after.as_ref().map(|key| item_to_sdk(&key.to_item())))
            .set_limit(request.limit.map(|limit| clamped(limit.max(1))))
            .consistent_read(request.consistency == Consistency::Strong)
            .set_projection_expression(projection)
            .set_expression_attribute_names(names)
            .return_consumed_capacity(ReturnConsumedCapacity::Total)
    }

    fn page(&self, answer: ScanOutput) -> Result<Page, Failure> {
        let next = answer.last_evaluated_key.filter(|key| !key.is_empty());
        Ok(Page {
            items: self.items("Scan", answer.items.unwrap_or_default())?,
            next: next.map(|key| self.item("Scan", key)).transpose()?,
            read_units: units(answer.consumed_capacity.as_ref()),
        })
    }

    fn batch_get(&self, request: &GetRequest) -> Result<BatchGetItemFluentBuilder, Failure> {
        let (projection, names) = projection(&request.content);
        let keys = request.keys.iter().map(|key| item_to_sdk(&key.to_item())).collect();
        let keys = KeysAndAttributes::builder()
            .set_keys(Some(keys))
            .consistent_read(request.consistency == Consistency::Strong)
            .set_projection_expression(projection)
            .set_expression_attribute_names(names)
            .build()
            .map_err(|error| self.failure("BatchGetItem", FailureKind::Invalid, error.to_string()))?;
        let builder = self.client.batch_get_item().request_items(self.table.request_name(), keys);
        Ok(builder.return_consumed_capacity(ReturnConsumedCapacity::Total))
    }

    fn got(&self, request: &GetRequest, answer: BatchGetItemOutput) -> Result<Got, Failure> {
        // Only one table was asked for, so it does not matter which of its names the answer uses.
        let items = answer.responses.unwrap_or_default().into_values().flatten().collect();
        let unprocessed = answer.unprocessed_keys.unwrap_or_default().into_values().flat_map(|keys| keys.keys);
        let unprocessed = self.items("BatchGetItem", unprocessed.collect())?;
        Ok(Got {
            items: self.items("BatchGetItem", items)?,
            unprocessed: self.unprocessed(request, unprocessed)?,
            held_back: Vec::new(),
            read_units: total_units(answer.consumed_capacity.as_deref()),
        })
    }

    fn unprocessed(&self, request: &GetRequest, returned: Vec<Item>) -> Result<Vec<Key>, Failure> {
        let asked: Vec<&Key> = request.keys.iter().collect();
        returned.iter().map(|key| self.asked_for("BatchGetItem", &asked, key)).collect()
    }

    async fn put(&self, item: &Item, condition: Expression) -> Result<WriteAnswer, Failure> {
        let answer = self
            .client
            .put_item()
            .table_name(self.table.request_name())
            .set_item(Some(item_to_sdk(item)))
            .set_condition_expression(condition.text)
            .set_expression_attribute_names(condition.names)
            .set_expression_attribute_values(condition.values)
            .return_consumed_capacity(ReturnConsumedCapacity::Total)
            .send()
            .await;
        match answer {
            Ok(answer) => Ok(written(answer.consumed_capacity.as_ref())),
            Err(error) if condition_failed(&error) => Ok(CONDITION_FAILED),
            Err(error) => Err(self.failed("PutItem", &error)),
        }
    }

    async fn delete(&self, key: &Key, condition: Expression) -> Result<WriteAnswer, Failure> {
        let answer = self
            .client
            .delete_item()
            .table_name(self.table.request_name())
            .set_key(Some(item_to_sdk(&key.to_item())))
            .set_condition_expression(condition.text)
            .set_expression_attribute_names(condition.names)
            .set_expression_attribute_values(condition.values)
            .return_consumed_capacity(ReturnConsumedCapacity::Total)
            .send()
            .await;
        match answer {
            Ok(answer) => Ok(written(answer.consumed_capacity.as_ref())),
            Err(error) if condition_failed(&error) => Ok(CONDITION_FAILED),
            Err(error) => Err(self.failed("DeleteItem", &error)),
        }
    }

    /// A request of a batch in the SDK's form.
    fn request(&self, write: &Write) -> Result<WriteRequest, Failure> {
        let incomplete = |error: aws_sdk_dynamodb::error::BuildError| {
            self.failure("BatchWriteItem", FailureKind::Invalid, error.to_string())
        };
        let request = WriteRequest::builder();
        Ok(match write {
            Write::Put(item) => {
                let put = PutRequest::builder().set_item(Some(item_to_sdk(item))).build().map_err(incomplete)?;
                request.put_request(put).build()
            }
            Write::Delete(key) => {
                let key = item_to_sdk(&key.to_item());
                let delete = DeleteRequest::builder().set_key(Some(key)).build().map_err(incomplete)?;
                request.delete_request(delete).build()
            }
        })
    }

    async fn described(&self) -> Result<TableDescription, Failure> {
        let request = self.client.describe_table().table_name(self.table.request_name());
        let answer = request.customize().config_override(with_retries()).send().await;
        let answer = answer.map_err(|error| self.failed("DescribeTable", &error))?;
        let nothing = || self.failure("DescribeTable", FailureKind::Unavailable, "the answer has no description of it");
        answer.table.ok_or_else(nothing)
    }

    fn description(&self, table: TableDescription) -> Result<Description, Failure> {
        let invalid = |message: &str| self.failure("DescribeTable", FailureKind::Invalid, message);
        let key_schema = key_schema(&table).ok_or_else(|| invalid("its key schema cannot be read"))?;
        let readiness = match table.table_status {
            Some(TableStatus::Active | TableStatus::Updating) => Readiness::Ready,
            Some(status) => Readiness::NotReady(status.as_str().to_owned()),
            None => Readiness::NotReady("UNKNOWN".to_owned()),
        };
        let count = |count: Option<i64>| count.and_then(|count| u64::try_from(count).ok()).unwrap_or(0);
        let capacity = table.provisioned_throughput.as_ref();
        let read = count(capacity.and_then(|capacity| capacity.read_capacity_units));
        let write = count(capacity.and_then(|capacity| capacity.write_capacity_units));
        // A table that never was on demand has no billing mode; one that is has a capacity of 0, where it has one.
        let mode = table.billing_mode_summary.as_ref().and_then(|summary| summary.billing_mode.as_ref());
        let billing = match mode {
            Some(BillingMode::PayPerRequest) => Billing::OnDemand,
            _ if read == 0 => Billing::OnDemand,
            _ => Billing::Provisioned { read, write },
        };
        let enabled = table.stream_specification.filter(|stream| stream.stream_enabled);
        let stream = enabled.zip(table.latest_stream_arn).map(|(stream, arn)| TableStream {
            arn,
            view: view(stream.stream_view_type.as_ref().map(StreamViewType::as_str)),
        });
        Ok(Description {
            id: table.table_id,
            arn: table.table_arn,
            readiness,
            key_schema,
            size: TableSize { items: count(table.item_count), bytes: count(table.table_size_bytes) },
            billing,
            replicas: table
                .replicas
                .unwrap_or_default()
                .into_iter()
                .filter_map(|replica| replica.region_name)
                .collect(),
            stream,
        })
    }
}

/// For control-plane calls: the SDK's own retry goes around them, and nobody else's.
fn with_retries() -> aws_sdk_dynamodb::config::Builder {
    aws_sdk_dynamodb::config::Builder::new().retry_config(RetryConfig::standard())
}

#[async_trait]
impl Table for DynamoTable {
    async fn describe(&self) -> Result<Description, Failure> {
        self.description(self.described().await?)
    }

    async fn time_to_live(&self) -> Result<Option<String>, Failure> {
        let request = self.client.describe_time_to_live().table_name(self.table.request_name());
        let answer = request.customize().config_override(with_retries()).send().await;
        let answer = answer.map_err(|error| self.failed("DescribeTimeToLive", &error))?;
        let set = answer.time_to_live_description.filter(|ttl| {
            matches!(ttl.time_to_live_status, Some(TimeToLiveStatus::Enabled | TimeToLiveStatus::Enabling))
        });
        Ok(set.and_then(|ttl| ttl.attribute_name))
    }

    async fn definition(&self) -> Result<TableDefinition, Failure> {
        let (table, time_to_live) = (self.described().await?, self.time_to_live().await?);
        let invalid = |what: &str| self.failure("DescribeTable", FailureKind::Invalid, what);
        definition::definition(&table, time_to_live).map_err(invalid)
    }

    async fn create(&self, definition: &TableDefinition) -> Result<(), Failure> {
        let incomplete = |error: aws_sdk_dynamodb::error::BuildError| {
            self.failure("CreateTable", FailureKind::Invalid, error.to_string())
        };
        let parts = definition::Parts::of(&definition.create_table).map_err(incomplete)?;
        let request = self
            .client
            .create_table()
            .table_name(self.table.request_name())
            .set_attribute_definitions(Some(parts.attributes))
            .set_key_schema(Some(parts.key))
            .billing_mode(parts.billing)
            .set_provisioned_throughput(parts.provisioned)
            .set_on_demand_throughput(parts.on_demand)
            .set_global_secondary_indexes(parts.global)
            .set_local_secondary_indexes(parts.local)
            .set_stream_specification(parts.stream)
            .set_sse_specification(parts.encryption)
            .set_table_class(parts.class)
            .set_deletion_protection_enabled(parts.is_protected);
        let answer = request.customize().config_override(with_retries()).send().await;
        let failed = |error| match is_in_use(&error) {
            true => Failure { kind: FailureKind::Conflict, ..self.failed("CreateTable", &error) },
            false => self.failed("CreateTable", &error),
        };
        answer.map(drop).map_err(failed)
    }

    async fn set_time_to_live(&self, attribute: &str) -> Result<(), Failure> {
        const UPDATE: &str = "UpdateTimeToLive";
        let specification = TimeToLiveSpecification::builder().enabled(true).attribute_name(attribute).build();
        let specification =
            specification.map_err(|error| self.failure(UPDATE, FailureKind::Invalid, error.to_string()))?;
        let request = self.client.update_time_to_live().table_name(self.table.request_name());
        let request = request.time_to_live_specification(specification);
        let Err(error) = request.customize().config_override(with_retries()).send().await else { return Ok(()) };
        // The table is still being made or changed.
        if is_in_use(&error) {
            return Err(Failure { kind: FailureKind::Unavailable, ..self.failed(UPDATE, &error) });
        }
        let failure = self.failed(UPDATE, &error);
        // What is set already is refused, in the words of an invalid request.
        if failure.kind != FailureKind::Invalid {
            return Err(failure);
        }
        match self.time_to_live().await? {
            Some(set) if set == attribute => Ok(()),
            Some(set) => {
                let message = format!("it deletes items by `{set}` already");
                Err(self.failure(UPDATE, FailureKind::Conflict, message))
            }
            None => Err(failure),
        }
    }

    async fn scan_page(&self, request: &ScanRequest) -> Result<Page, Failure> {
        let answer = self.scan(request).send().await.map_err(|error| self.failed("Scan", &error))?;
        self.answered("Scan");
        self.page(answer)
    }

    async fn get_many(&self, request: &GetRequest) -> Result<Got, Failure> {
        if request.keys.is_empty() {
            return Ok(Got::default());
        }
        let answer = self.batch_get(request)?.send().await.map_err(|error| self.failed("BatchGetItem", &error))?;
        self.answered("BatchGetItem");
        self.got(request, answer)
    }

    async fn scan_entries(&self, request: &ScanRequest, digester: &Digester) -> Result<EntryPage, Failure> {
        let (request, fast) = (ScanRequest { content: Content::Items, ..request.clone() }, fast::scanned(digester));
        let answer = self.scan(&request).customize().interceptor(fast.clone()).send().await;
        let answer = answer.map_err(|error| self.failed("Scan", &error))?;
        self.answered("Scan");
        match fast.take() {
            Some(page) => Ok(page),
            None => page_of_entries(self.page(answer)?, digester),
        }
    }

    async fn get_entries(&self, request: &GetRequest, digester: &Digester) -> Result<GotEntries, Failure> {
        if request.keys.is_empty() {
            return Ok(GotEntries::default());
        }
        let (request, fast) = (GetRequest { content: Content::Items, ..request.clone() }, fast::got(digester));
        let answer = self.batch_get(&request)?.customize().interceptor(fast.clone()).send().await;
        let answer = answer.map_err(|error| self.failed("BatchGetItem", &error))?;
        self.answered("BatchGetItem");
        match fast.take() {
            Some(GotPage { entries, unprocessed, read_units }) => {
                let unprocessed = self.unprocessed(&request, unprocessed)?;
                Ok(GotEntries { entries, unprocessed, held_back: Vec::new(), read_units })
            }
            None => got_of_entries(self.got(&request, answer)?, digester),
        }
    }

    async fn write_if(&self, write: &Write, condition: &Condition) -> Result<WriteAnswer, Failure> {
        let answer = match write {
            Write::Put(item) => self.put(item, Expression::of(condition)).await,
            Write::Delete(key) => self.delete(key, Expression::of(condition)).await,
        };
        answer.map_err(|failure| blotted(failure, write, condition))
    }

    async fn write_many(&self, writes: &[Write]) -> Result<Batch, Failure> {
        if writes.is_empty() {
            return Ok(Batch::default());
        }
        let requests = writes.iter().map(|write| self.request(write)).collect::<Result<_, _>>()?;
        let answer = self
            .client
            .batch_write_item()
            .request_items(self.table.request_name(), requests)
            .return_consumed_capacity(ReturnConsumedCapacity::Total)
            .send()
            .await
            .map_err(|error| blotted_batch(self.failed("BatchWriteItem", &error), writes))?;
        self.answered("BatchWriteItem");
        let deletes: Vec<&Key> = writes
            .iter()
            .filter_map(|write| match write {
                Write::Put(_) => None,
                Write::Delete(key) => Some(key),
            })
            .collect();
        let mut unprocessed = Vec::new();
        for WriteRequest { put_request, delete_request, .. } in
            answer.unprocessed_items.unwrap_or_default().into_values().flatten()
        {
            if let Some(put) = put_request {
                unprocessed.push(Write::Put(self.item("BatchWriteItem", put.item)?));
            }
            if let Some(delete) = delete_request {
                let key = self.item("BatchWriteItem", delete.key)?;
                unprocessed.push(Write::Delete(self.asked_for("BatchWriteItem", &deletes, &key)?));
            }
        }
        let write_units = total_units(answer.consumed_capacity.as_deref());
        Ok(Batch { unprocessed, held_back: Vec::new(), write_units })
    }
}

/// The error of a failed condition does not say what it cost.
const CONDITION_FAILED: WriteAnswer = WriteAnswer { applied: Applied::ConditionFailed, write_units: 0.0 };

fn written(capacity: Option<&ConsumedCapacity>) -> WriteAnswer {
    WriteAnswer { applied: Applied::Written, write_units: units(capacity) }
}

fn condition_failed<E: ProvideErrorMetadata>(error: &SdkError<E, Response>) -> bool {
    let code = error.as_service_error().and_then(ProvideErrorMetadata::code);
    code == Some("ConditionalCheckFailedException")
}

/// A table of that name is there, or it is being made, changed or deleted.
fn is_in_use<E: ProvideErrorMetadata>(error: &SdkError<E, Response>) -> bool {
    let code = error.as_service_error().and_then(ProvideErrorMetadata::code);
    code == Some("ResourceInUseException")
}

fn units(capacity: Option<&ConsumedCapacity>) -> f64 {
    capacity.and_then(|capacity| capacity.capacity_units).unwrap_or(0.0)
}

fn total_units(capacities: Option<&[ConsumedCapacity]>) -> f64 {
    capacities.unwrap_or_default().iter().map(|capacity| units(Some(capacity))).sum()
}

fn clamped(number: u32) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}

/// The schema that a key shows of itself.
fn schema_of(key: &Key) -> Option<KeySchema> {
    let mut attributes = key.attributes().iter().map(|(name, value)| {
        let kind = match value {
            Value::S(_) => KeyType::S,
            Value::N(_) => KeyType::N,
            Value::B(_) => KeyType::B,
            _ => return None,
        };
        Some(KeyAttribute { name: name.clone(), kind })
    });
    let partition = attributes.next()??;
    Some(KeySchema { partition, sort: attributes.next().flatten() })
}

fn key_schema(table: &TableDescription) -> Option<KeySchema> {
    let attribute = |wanted: types::KeyType| {
        let name = &table.key_schema().iter().find(|element| element.key_type == wanted)?.attribute_name;
        let definition = table.attribute_definitions().iter().find(|definition| definition.attribute_name == *name)?;
        Some(KeyAttribute { name: name.clone(), kind: definition::key_type(&definition.attribute_type)? })
    };
    let has_sort = table.key_schema().iter().any(|element| element.key_type == types::KeyType::Range);
    let sort = if has_sort { Some(attribute(types::KeyType::Range)?) } else { None };
    Some(KeySchema { partition: attribute(types::KeyType::Hash)?, sort })
}

#[cfg(test)]
mod tests {
    use aws_sdk_dynamodb::config::{BehaviorVersion, Credentials, Region};
    use aws_sdk_dynamodb::types::{AttributeDefinition, BillingMode, KeySchemaElement, ScalarAttributeType};
    use tokio_util::sync::{CancellationToken, DropGuard};

    use super::*;
    use crate::aws::canned::{Answer, Canned};
    use crate::domain::compare::Ignore;
    use crate::domain::entries::Entries;
    use crate::domain::number::Number;
    use crate::ports::stream::View;
    use crate::ports::table::{digests_of_got, digests_of_page};

    fn schema() -> KeySchema {
        KeySchema {
            partition: KeyAttribute { name: "name".into(), kind: KeyType::S },
            sort: Some(KeyAttribute { name: "at".into(), kind: KeyType::N }),
        }
    }

    fn number(text: &str) -> Value {
        Value::N(Number::parse(text).unwrap())
    }

    fn item(at: &str, more: &[(&str, Value)]) -> Item {
        let key = [("name", Value::S("a".into())), ("at", number(at))];
        key.into_iter().chain(more.iter().cloned()).map(|(name, value)| (name.to_owned(), value)).collect()
    }

    fn key(at: &str) -> Key {
        Key::of(&schema(), &item(at, &[])).unwrap()
    }

    fn canned(canned: &Canned) -> DynamoTable {
        DynamoTable::new(canned.dynamodb(), "us-east-1:orders".parse().unwrap())
    }

    fn whole(after: Option<Key>, limit: Option<u32>, content: Content) -> ScanRequest {
        let consistency = Consistency::Strong;
        ScanRequest { segment: 0, total_segments: 1, after, limit, consistency, content }
    }

    /// A table of an emulator that runs until the guard is dropped.
    async fn emulated() -> (DynamoTable, DropGuard) {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let stop = CancellationToken::new();
        let database = dynoxide::Database::memory().unwrap();
        tokio::spawn(dynoxide::server::serve_with_shutdown(listener, database, stop.clone().cancelled_owned()));
        let config = aws_sdk_dynamodb::Config::builder()
            .behavior_version(BehaviorVersion::v2026_01_12())
            .region(Region::new("us-east-1"))
            .credentials_provider(Credentials::new("id", "secret", None, None, "tests"))
            .endpoint_url(endpoint);
        let client = Client::from_conf(config.build());
        let element =
            |name: &str, kind| KeySchemaElement::builder().attribute_name(name).key_type(kind).build().unwrap();
        let definition = |name: &str, kind| {
            AttributeDefinition::builder().attribute_name(name).attribute_type(kind).build().unwrap()
        };
        client
            .create_table()
            .table_name("orders")
            .key_schema(element("name", types::KeyType::Hash))
            .key_schema(element("at", types::KeyType::Range))
            .attribute_definitions(definition("name", ScalarAttributeType::S))
            .attribute_definitions(definition("at", ScalarAttributeType::N))
            .billing_mode(BillingMode::PayPerRequest)
            .send()
            .await
            .unwrap();
        (DynamoTable::new(client, "us-east-1:orders".parse().unwrap()), stop.drop_guard())
    }

    fn every_type() -> Vec<(&'static str, Value)> {
        vec![
            ("s", Value::S("text".into())),
            ("n", number("12345678901234567890123456789012345678")),
            ("b", Value::B(vec![0, 255])),
            ("bool", Value::Bool(true)),
            ("null", Value::Null),
            ("ss", Value::Ss(vec!["x".into(), "y".into()])),
            ("ns", Value::Ns(vec![Number::parse("1").unwrap(), Number::parse("2.5").unwrap()])),
            ("bs", Value::Bs(vec![vec![1], vec![2]])),
            ("l", Value::L(vec![Value::Null, number("1")])),
            ("m", Value::M([("deep".to_owned(), Value::Bool(false))].into())),
        ]
    }

    #[tokio::test]
    async fn items_of_every_type_are_written_scanned_and_fetched() {
        let (table, _running) = emulated().await;
        let one = item("1", &every_type());
        let two = item("2", &[]);

        let absent = Condition::absent(&schema());
        for item in [&one, &two] {
            let answer = table.write_if(&Write::Put(item.clone()), &absent).await.unwrap();
            assert_eq!(answer.applied, Applied::Written);
            assert!(answer.write_units >= 1.0);
        }
        let again = table.write_if(&Write::Put(one.clone()), &absent).await.unwrap();
        assert_eq!(again.applied, Applied::ConditionFailed);

        let first = table.scan_page(&whole(None, Some(1), Content::Items)).await.unwrap();
        let after = Key::of(&schema(), first.next.as_ref().unwrap()).unwrap();
        let second = table.scan_page(&whole(Some(after), None, Content::Keys(schema()))).await.unwrap();
        assert_eq!((first.items, second.items), (vec![one.clone()], vec![two.clone()]));
        assert!(first.read_units > 0.0 && second.next.is_none());

        let keys = vec![key("1.0"), key("3")];
        let request = GetRequest { keys, consistency: Consistency::Strong, content: Content::Items };
        let got = table.get_many(&request).await.unwrap();
        assert_eq!((got.items, got.unprocessed.len()), (vec![one.clone()], 0));
        assert!(got.read_units > 0.0);
    }

    #[tokio::test]
    async fn a_condition_holds_for_every_type_and_fails_after_a_change() {
        let (table, _running) = emulated().await;
        let seen = item("1", &every_type());
        let _ = table.write_many(&[Write::Put(seen.clone())]).await.unwrap();
        let unchanged = Condition::unchanged(&schema(), &seen, None, &Ignore::default());

        let changed = item("1", &[("s", Value::S("new".into()))]);
        let first = table.write_if(&Write::Put(changed), &unchanged.0).await.unwrap();
        let second = table.write_if(&Write::Delete(key("1")), &unchanged.0).await.unwrap();
        let third = table.write_if(&Write::Delete(key("1")), &Condition::default()).await.unwrap();

        let applied = [first.applied, second.applied, third.applied];
        assert_eq!(applied, [Applied::Written, Applied::ConditionFailed, Applied::Written]);
        let page = table.scan_page(&whole(None, None, Content::Items)).await.unwrap();
        assert!(page.items.is_empty() && page.next.is_none());
    }

    #[tokio::test]
    async fn a_table_describes_itself_and_a_missing_one_is_not_found() {
        let (table, _running) = emulated().await;

        let description = table.describe().await.unwrap();
        assert_eq!((description.readiness, description.key_schema), (Readiness::Ready, schema()));
        assert!(description.arn.is_some());
        assert_eq!(description.billing, Billing::OnDemand);

        let missing = DynamoTable::new(table.client.clone(), "us-east-1:missing".parse().unwrap());
        for failure in [
            missing.describe().await.unwrap_err(),
            missing.scan_page(&whole(None, None, Content::Items)).await.unwrap_err(),
        ] {
            assert_eq!(failure.kind, FailureKind::NotFound, "{failure}");
            assert_eq!(failure.resource, "table `missing` in us-east-1");
        }
    }

    #[tokio::test]
    async fn a_table_with_provisioned_capacity_says_how_much() {
        let answer = |billing: &str| {
            let body = r#"{"Table":{"TableStatus":"ACTIVE","ItemCount":3,"TableSizeBytes":200,
                "KeySchema":[{"AttributeName":"name","KeyType":"HASH"}],
                "AttributeDefinitions":[{"AttributeName":"name","AttributeType":"S"}],BILLING}}"#;
            Answer::new(200, body.replace("BILLING", billing))
        };
        let provisioned = r#""ProvisionedThroughput":{"ReadCapacityUnits":50,"WriteCapacityUnits":5}"#;
        let on_demand = r#""BillingModeSummary":{"BillingMode":"PAY_PER_REQUEST"},
            "ProvisionedThroughput":{"ReadCapacityUnits":0,"WriteCapacityUnits":0}"#;
        let table = canned(&Canned::new([answer(provisioned), answer(on_demand)]));

        let (first, second) = (table.describe().await.unwrap(), table.describe().await.unwrap());

        assert_eq!(first.billing, Billing::Provisioned { read: 50, write: 5 });
        assert_eq!(second.billing, Billing::OnDemand);
        assert_eq!(first.size, TableSize { items: 3, bytes: 200 });
    }

    #[tokio::test]
    async fn a_table_names_its_stream_while_it_is_enabled() {
        let answer = |specification: &str| {
            let body = r#"{"Table":{"TableStatus":"ACTIVE","KeySchema":[{"AttributeName":"name","KeyType":"HASH"}],
                "AttributeDefinitions":[{"AttributeName":"name","AttributeType":"S"}],
                "LatestStreamArn":"arn:stream" SPECIFICATION}}"#;
            Answer::new(200, body.replace("SPECIFICATION", specification))
        };
        let enabled = r#","StreamSpecification":{"StreamEnabled":true,"StreamViewType":"NEW_IMAGE"}"#;
        let disabled = r#","StreamSpecification":{"StreamEnabled":false}"#;
        let table = canned(&Canned::new([answer(enabled), answer(disabled), answer("")]));

        let stream = TableStream { arn: "arn:stream".to_owned(), view: View::New };
        assert_eq!(table.describe().await.unwrap().stream, Some(stream));
        assert_eq!(table.describe().await.unwrap().stream, None);
        assert_eq!(table.describe().await.unwrap().stream, None);
    }

    #[tokio::test]
    async fn a_table_says_where_it_has_replicas_and_by_what_it_deletes() {
        let described = r#"{"Table":{"TableStatus":"ACTIVE","KeySchema":[{"AttributeName":"name","KeyType":"HASH"}],
            "AttributeDefinitions":[{"AttributeName":"name","AttributeType":"S"}],
            "Replicas":[{"RegionName":"eu-west-1"},{"RegionName":"eu-west-2"}]}}"#;
        let ttl = |status: &str| {
            let body = r#"{"TimeToLiveDescription":{"TimeToLiveStatus":"STATUS","AttributeName":"ttl"}}"#;
            Answer::new(200, body.replace("STATUS", status))
        };
        let statuses = ["ENABLED", "ENABLING", "DISABLING", "DISABLED"].map(ttl);
        let table = canned(&Canned::new([Answer::new(200, described)].into_iter().chain(statuses)));

        assert_eq!(table.describe().await.unwrap().replicas, ["eu-west-1", "eu-west-2"]);
        for expected in [Some("ttl"), Some("ttl"), None, None] {
            assert_eq!(table.time_to_live().await.unwrap().as_deref(), expected);
        }
    }

    #[tokio::test]
    async fn unprocessed_keys_and_writes_are_the_ones_that_were_asked_for() {
        let body = r#"{"Responses":{"orders":[]},"UnprocessedKeys":{"orders":{"Keys":[
            {"name":{"S":"a"},"at":{"N":"1E0"}}]}},"ConsumedCapacity":[{"TableName":"orders","CapacityUnits":1.5}]}"#;
        let request =
            GetRequest { keys: vec![key("2"), key("1")], consistency: Consistency::Eventual, content: Content::Items };
        let got = canned(&Canned::new([Answer::new(200, body)])).get_many(&request).await.unwrap();
        assert_eq!((got.unprocessed, got.read_units), (vec![key("1")], 1.5));

        let body = r#"{"UnprocessedItems":{"orders":[
            {"DeleteRequest":{"Key":{"name":{"S":"a"},"at":{"N":"1.0"}}}},
            {"PutRequest":{"Item":{"name":{"S":"a"},"at":{"N":"2"}}}}]}}"#;
        let writes = [Write::Delete(key("1")), Write::Put(item("2", &[])), Write::Delete(key("3"))];
        let left = canned(&Canned::new([Answer::new(200, body)])).write_many(&writes).await.unwrap();
        assert_eq!(left.unprocessed, writes[..2]);
    }

    #[tokio::test]
    async fn entries_are_those_of_the_items_on_every_page_and_by_key() {
        let (table, _running) = emulated().await;
        let items: Vec<Item> = (0..5).map(|n| item(&format!("{n}.50"), &every_type())).collect();
        let writes: Vec<Write> = items.iter().cloned().map(Write::Put).collect();
        let _ = table.write_many(&writes).await.unwrap();
        let digester = Digester::new(&schema(), &Ignore::new(&["m.deep".to_owned(), "s".to_owned()]), 42);

        let (mut after, mut seen) = (None, 0);
        loop {
            let request = whole(after, Some(2), Content::Items);
            let page = table.scan_entries(&request, &digester).await.unwrap();
            assert_eq!(page, digests_of_page(&table, &request, &digester).await.unwrap());
            assert!(page.read_units > 0.0);
            seen += page.entries.len();
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        assert_eq!(seen, 5);

        let keys = vec![key("0.5"), key("9"), key("45e-1")];
        let request = GetRequest { keys, consistency: Consistency::Strong, content: Content::Keys(schema()) };
        let got = table.get_entries(&request, &digester).await.unwrap();
        let slow = digests_of_got(&table, &request, &digester).await.unwrap();
        let sorted = |entries: &Entries| {
            let mut digests: Vec<(u128, u128)> = entries.digests().iter().map(|one| (one.key, one.item)).collect();
            digests.sort_unstable();
            digests
        };
        assert_eq!((sorted(&got.entries), got.read_units), (sorted(&slow.entries), slow.read_units));
        assert_eq!(got.entries.len(), 2);
    }

    #[tokio::test]
    async fn entries_fail_as_items_do_and_come_however_the_answer_is_read() {
        let digester = Digester::new(&schema(), &Ignore::default(), 42);
        let request = whole(None, None, Content::Items);
        let busy = r#"{"__type":"x#ProvisionedThroughputExceededException","message":"Slow down."}"#;
        let odd = r#"{"Items":[{"name":{"S":"a"},"at":{"N":"1"},"x":{"NULL":false}}],"Count":1}"#;
        for (status, body) in [
            (400, busy),
            (500, r#"{"__type":"x#InternalServerError"}"#),
            (400, r#"{"__type":"x#ResourceNotFoundException"}"#),
            (200, "<html>"),
            (200, r#"{"Items":[{"name":{"S":"a"}}]}"#),
            (200, r#"{"Items":[{"name":{"S":"a"},"at":{"N":"one"}}]}"#),
            (200, odd),
        ] {
            let table = canned(&Canned::new([Answer::new(status, body), Answer::new(status, body)]));
            let fast = table.scan_entries(&request, &digester).await;
            let slow = digests_of_page(&table, &request, &digester).await;
            match (fast, slow) {
                (Ok(fast), Ok(slow)) => assert_eq!((fast.entries.len(), body), (1, odd), "{slow:?}"),
                (Err(fast), Err(slow)) => assert_eq!((fast.kind, fast.message), (slow.kind, slow.message), "{body}"),
                (fast, slow) => panic!("{fast:?} and {slow:?}"),
            }
        }
    }

    #[tokio::test]
    async fn unprocessed_keys_of_entries_are_the_ones_that_were_asked_for() {
        let digester = Digester::new(&schema(), &Ignore::default(), 42);
        let request =
            GetRequest { keys: vec![key("2"), key("1")], consistency: Consistency::Eventual, content: Content::Items };
        let answer = |unprocessed: &str| {
            Answer::new(
                200,
                format!(
                    r#"{{"Responses":{{"orders":[{{"at":{{"N":"2"}},"name":{{"S":"a"}}}}]}},"UnprocessedKeys":{{"orders":
                        {{"Keys":[{unprocessed}]}}}},"ConsumedCapacity":[{{"TableName":"orders","CapacityUnits":1.5}}]}}"#
                ),
            )
        };

        let left = answer(r#"{"name":{"S":"a"},"at":{"N":"1E0"}}"#);
        let table = canned(&Canned::new([left.clone(), left, answer(r#"{"name":{"S":"b"},"at":{"N":"1"}}"#)]));
        let got = table.get_entries(&request, &digester).await.unwrap();
        assert_eq!((got.entries.len(), &got.unprocessed, got.read_units), (1, &vec![key("1")], 1.5));
        assert_eq!(got, digests_of_got(&table, &request, &digester).await.unwrap());
        let failure = table.get_entries(&request, &digester).await.unwrap_err();
        assert_eq!(failure.kind, FailureKind::Unavailable);
        let none = GetRequest { keys: Vec::new(), ..request };
        assert_eq!(table.get_entries(&none, &digester).await.unwrap(), GotEntries::default());
    }

    #[tokio::test]
    async fn only_describe_is_tried_again_by_the_sdk() {
        let busy = || Answer::new(500, r#"{"__type":"x#InternalServerError"}"#);
        let connection = Canned::new([busy(), busy(), busy(), busy()]);
        let table = canned(&connection);

        table.scan_page(&whole(None, None, Content::Items)).await.unwrap_err();
        let after_scan = connection.sent().len();
        table.describe().await.unwrap_err();

        assert_eq!((after_scan, connection.sent().len()), (1, 4));
    }
}

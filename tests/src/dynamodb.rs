//! An embedded DynamoDB: one per test, in memory, on a port of its own, stopped when it is dropped.

use std::net::{Ipv4Addr, SocketAddr};
use std::thread::JoinHandle;
use std::time::Duration;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::config::{BehaviorVersion, Region};
use aws_sdk_dynamodb::types::{
    AttributeDefinition, BillingMode, KeySchemaElement, KeyType as Role, PutRequest, ScalarAttributeType,
    StreamSpecification, StreamViewType, TimeToLiveSpecification, WriteRequest,
};
use shared::domain::key::{KeyAttribute, KeySchema, KeyType};
use shared::domain::value::Item;
use tokio::net::TcpListener;
use tokio::sync::oneshot;

use crate::attribute::{from_sdk, to_sdk};
use crate::process::{REGION, credentials};

/// Most writes of one request.
const WRITES_PER_BATCH: usize = 25;

/// The running server.
#[derive(Debug)]
pub struct DynamoDb {
    address: SocketAddr,
    client: Client,
    stop: Option<oneshot::Sender<()>>,
    server: Option<JoinHandle<()>>,
}

impl DynamoDb {
    /// Starts it, on a runtime of its own, so that a test may block or pause its clock.
    #[must_use]
    pub fn start() -> Self {
        let (stop, stopped) = oneshot::channel();
        let (started, address) = std::sync::mpsc::channel();
        let server = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_multi_thread()
                .worker_threads(2)
                .enable_all()
                .build()
                .expect("a runtime can be built");
            runtime.block_on(async move {
                let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a loopback port is free");
                let database = dynoxide::Database::memory().expect("a database in memory can be opened");
                started.send(listener.local_addr().expect("a bound port has an address")).expect("the test waits");
                tokio::select! {
                    () = dynoxide::server::serve_on(listener, database) => {}
                    _ = stopped => {}
                }
            });
            // Connections that are still open must not hold up the end of a test.
            runtime.shutdown_timeout(Duration::from_secs(1));
        });
        let address = address.recv().expect("the server starts");
        Self { address, client: client(address), stop: Some(stop), server: Some(server) }
    }

    /// Its URL.
    #[must_use]
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// An SDK client for it, built apart from the code under test.
    #[must_use]
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// Creates an empty table.
    pub async fn create_table(&self, table: &str, schema: &KeySchema) {
        create_table(&self.client, table, schema).await;
    }

    /// Gives a table a stream, which makes its writes slower with every record there is.
    pub async fn enable_stream(&self, table: &str, view: StreamViewType) {
        enable_stream(&self.client, table, view).await;
    }

    /// Creates a table and puts the items into it.
    pub async fn create_filled(&self, table: &str, schema: &KeySchema, items: &[Item]) {
        self.create_table(table, schema).await;
        self.put_all(table, items).await;
    }

    /// Has the table delete items by this attribute, as far as the emulator does.
    pub async fn delete_by(&self, table: &str, attribute: &str) {
        let by = TimeToLiveSpecification::builder().enabled(true).attribute_name(attribute).build();
        let request = self.client.update_time_to_live().table_name(table);
        let by = by.expect("both are set");
        request.time_to_live_specification(by).send().await.expect("the table takes it");
    }

    /// Puts the items, however many; no two may have the same key.
    pub async fn put_all(&self, table: &str, items: &[Item]) {
        for batch in items.chunks(WRITES_PER_BATCH) {
            let mut writes: Vec<WriteRequest> = batch.iter().map(put_request).collect();
            while !writes.is_empty() {
                let request = self.client.batch_write_item().request_items(table, writes);
                let answer = request.send().await.unwrap_or_else(|error| panic!("puts to {table}: {error:?}"));
                writes = answer.unprocessed_items.and_then(|mut left| left.remove(table)).unwrap_or_default();
            }
        }
    }

    /// Reads the whole table, strongly consistent.
    pub async fn read_all(&self, table: &str) -> Vec<Item> {
        let (mut items, mut next) = (Vec::new(), None);
        loop {
            let request = self.client.scan().table_name(table).consistent_read(true).set_exclusive_start_key(next);
            let page = request.send().await.unwrap_or_else(|error| panic!("scan of {table}: {error:?}"));
            items.extend(page.items().iter().map(from_sdk));
            next = page.last_evaluated_key;
            if next.is_none() {
                return items;
            }
        }
    }

    /// Deletes the item that has this item's key.
    pub async fn delete(&self, table: &str, schema: &KeySchema, item: &Item) {
        let mut key = to_sdk(item);
        key.retain(|name, _| schema.names().any(|known| known == name));
        let request = self.client.delete_item().table_name(table).set_key(Some(key));
        request.send().await.unwrap_or_else(|error| panic!("delete from {table}: {error:?}"));
    }
}

impl Drop for DynamoDb {
    fn drop(&mut self) {
        drop(self.stop.take());
        let ended = self.server.take().map(JoinHandle::join);
        if matches!(ended, Some(Err(_))) && !std::thread::panicking() {
            panic!("the embedded DynamoDB panicked");
        }
    }
}

/// Creates an empty table with any emulator.
pub async fn create_table(client: &Client, table: &str, schema: &KeySchema) {
    let roles = [Role::Hash, Role::Range];
    let elements = schema.attributes().zip(roles).map(|(attribute, role)| {
        let element = KeySchemaElement::builder().attribute_name(&attribute.name).key_type(role).build();
        element.expect("name and role are set")
    });
    client
        .create_table()
        .table_name(table)
        .billing_mode(BillingMode::PayPerRequest)
        .set_key_schema(Some(elements.collect()))
        .set_attribute_definitions(Some(schema.attributes().map(definition).collect()))
        .send()
        .await
        .expect("the table is created");
}

/// Gives a table a stream with any emulator.
pub async fn enable_stream(client: &Client, table: &str, view: StreamViewType) {
    let stream = StreamSpecification::builder().stream_enabled(true).stream_view_type(view).build();
    let request = client.update_table().table_name(table).stream_specification(stream.expect("all is set"));
    request.send().await.expect("the table takes a stream");
}

fn client(address: SocketAddr) -> Client {
    let config = aws_sdk_dynamodb::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new(REGION))
        .credentials_provider(credentials())
        .endpoint_url(format!("http://{address}"))
        .build();
    Client::from_conf(config)
}

fn definition(attribute: &KeyAttribute) -> AttributeDefinition {
    let kind = match attribute.kind {
        KeyType::S => ScalarAttributeType::S,
        KeyType::N => ScalarAttributeType::N,
        KeyType::B => ScalarAttributeType::B,
    };
    let definition = AttributeDefinition::builder().attribute_name(&attribute.name).attribute_type(kind).build();
    definition.expect("name and type are set")
}

fn put_request(item: &Item) -> WriteRequest {
    let put = PutRequest::builder().set_item(Some(to_sdk(item))).build().expect("the item is set");
    WriteRequest::builder().put_request(put).build()
}

//! The adapters of streams keep the promises of their port, held against emulators of the services.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use aws_sdk_dynamodb::types::StreamViewType;
use aws_sdk_kinesis::primitives::Blob;
use shared::aws::dynamodb::DynamoTable;
use shared::aws::kinesis::KinesisStream;
use shared::aws::streams::DynamoDbStream;
use shared::domain::change::{Change, Created, Event, Image};
use shared::domain::job::Access;
use shared::domain::value::{Item, Value};
use shared::ports::contract;
use shared::ports::contract::stream::{Source, insertion, item, read, shards};
use shared::ports::stream::{ChangeStream, ReadFrom, View};
use shared::ports::table::Table as _;
use tests::attribute::to_sdk;
use tests::dynamodb::{DynamoDb, create_table, enable_stream};
use tests::ministack::{MiniStack, unique};
use tests::streams::native_record;

use crate::streams::{KINESIS_ARN, TABLE, clients, dynamodb_stream, kinesis_stream, side};

/// A table of an emulator, and its stream.
struct Streaming {
    client: aws_sdk_dynamodb::Client,
    table: String,
    stream: DynamoDbStream,
}

impl Streaming {
    async fn create(client: &aws_sdk_dynamodb::Client, endpoint: &str, table: &str, view: StreamViewType) -> Self {
        enable_stream(client, table, view).await;
        let described =
            DynamoTable::new(client.clone(), side(table).table).describe().await.expect("the table is there");
        let stream = described.stream.expect("the table has a stream");
        let stream = dynamodb_stream(endpoint, &stream.arn).await;
        Self { client: client.clone(), table: table.to_owned(), stream }
    }

    async fn put(&self, item: &Item) {
        let request = self.client.put_item().table_name(&self.table).set_item(Some(to_sdk(item)));
        request.send().await.expect("the item is put");
    }

    async fn delete(&self, item: &Item) {
        let mut key = to_sdk(item);
        key.retain(|name, _| contract::table::schema().names().any(|known| known == name));
        let request = self.client.delete_item().table_name(&self.table).set_key(Some(key));
        request.send().await.expect("the item is deleted");
    }

    async fn changes(&self) -> Vec<Change> {
        let shards = shards(&self.stream).await;
        let records = read(&self.stream, &shards[0].id, &ReadFrom::TrimHorizon).await.0;
        records.into_iter().map(|record| record.change.expect("it is a change")).collect()
    }
}

#[async_trait]
impl Source for Streaming {
    fn stream(&self) -> &dyn ChangeStream {
        &self.stream
    }

    async fn insert(&self, number: u32) {
        self.put(&item(number)).await;
    }
}

/// A table of its own for each that is made.
fn next_table(next: &AtomicU32) -> String {
    format!("table-{}", next.fetch_add(1, Ordering::Relaxed))
}

#[tokio::test]
async fn the_stream_of_an_embedded_table_keeps_the_contract() {
    let (server, next) = (DynamoDb::start(), AtomicU32::new(0));
    let fresh = async || {
        let table = next_table(&next);
        server.create_table(&table, &contract::table::schema()).await;
        Streaming::create(server.client(), &server.endpoint(), &table, StreamViewType::NewImage).await
    };

    // All clauses but two: the emulator's shard says that it has ended, and an iterator is had for any shard.
    contract::stream::it_describes_itself(&fresh().await).await;
    contract::stream::every_change_comes_once_and_in_order(&fresh().await).await;
    contract::stream::no_more_records_come_than_asked_for(&fresh().await).await;
    contract::stream::reading_begins_right_after_a_sequence_number(&fresh().await).await;
    contract::stream::reading_begins_at_a_time_or_before_it(&fresh().await).await;
    contract::stream::a_cursor_may_be_used_again(&fresh().await).await;
    contract::stream::an_open_shard_goes_on(&fresh().await).await;
}

#[tokio::test]
async fn the_stream_of_an_emulated_table_keeps_the_contract() {
    let server = MiniStack::shared();
    let client = clients(&server.endpoint()).dynamodb(&side(TABLE)).await.unwrap();
    let fresh = async || {
        let table = unique("table");
        create_table(&client, &table, &contract::table::schema()).await;
        Streaming::create(&client, &server.endpoint(), &table, StreamViewType::NewImage).await
    };

    Box::pin(contract::stream(fresh)).await;
}

#[tokio::test]
async fn every_view_of_a_stream_tells_what_it_can() {
    let (server, next) = (DynamoDb::start(), AtomicU32::new(0));
    let (first, mut second) = (item(1), item(1));
    second.insert("more".to_owned(), Value::Null);
    for (view, is) in [
        (StreamViewType::KeysOnly, View::Keys),
        (StreamViewType::OldImage, View::Keys),
        (StreamViewType::NewImage, View::New),
        (StreamViewType::NewAndOldImages, View::NewAndOld),
    ] {
        let table = next_table(&next);
        server.create_table(&table, &contract::table::schema()).await;
        let streaming = Streaming::create(server.client(), &server.endpoint(), &table, view.clone()).await;
        streaming.put(&first).await;
        streaming.put(&second).await;
        streaming.delete(&second).await;

        let changes = streaming.changes().await;

        assert_eq!(streaming.stream.describe().await.unwrap().view, is, "{view:?}");
        let events: Vec<Event> = changes.iter().map(|change| change.event).collect();
        assert_eq!(events, [Event::Insert, Event::Modify, Event::Remove], "{view:?}");
        let images: Vec<Image> = changes.iter().map(|change| change.image.clone()).collect();
        let expected = match is {
            View::New | View::NewAndOld => [Image::Item(first.clone()), Image::Item(second.clone()), Image::Gone],
            View::Keys | View::ByRecord => [Image::Unread, Image::Unread, Image::Unread],
        };
        assert_eq!(images, expected, "{view:?}");
        let old: Vec<Option<Item>> = changes.iter().map(|change| change.old.clone()).collect();
        let expected = match view {
            StreamViewType::OldImage | StreamViewType::NewAndOldImages => {
                [None, Some(first.clone()), Some(second.clone())]
            }
            _ => [None, None, None],
        };
        assert_eq!(old, expected, "{view:?}");
    }
}

/// A Kinesis stream of the emulator, into which records are put by hand.
struct PutByHand {
    client: aws_sdk_kinesis::Client,
    arn: String,
    stream: KinesisStream,
}

impl PutByHand {
    async fn create() -> Self {
        let endpoint = MiniStack::shared().endpoint();
        let client = clients(&endpoint).kinesis(&Access::default(), KINESIS_ARN).await.expect("a client is had");
        let name = unique("changes");
        client.create_stream().stream_name(&name).shard_count(1).send().await.expect("the stream is created");
        let summary = client.describe_stream_summary().stream_name(&name).send().await.expect("the stream is there");
        let arn = summary.stream_description_summary.expect("it describes itself").stream_arn;
        let stream = kinesis_stream(&endpoint, &arn, TABLE).await;
        Self { client, arn, stream }
    }

    async fn put(&self, data: &str) {
        let request = self.client.put_record().stream_arn(&self.arn).partition_key("one partition");
        request.data(Blob::new(data)).send().await.expect("the record is put");
    }
}

#[async_trait]
impl Source for PutByHand {
    fn stream(&self) -> &dyn ChangeStream {
        &self.stream
    }

    async fn insert(&self, number: u32) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("it is after 1970").as_millis();
        let change =
            insertion(number, Created::in_millisecond(i64::try_from(now).expect("it is before the year 292278994")));
        self.put(&native_record("another table", &change).to_string()).await;
        self.put(&native_record(TABLE, &change).to_string()).await;
    }
}

#[tokio::test]
async fn a_kinesis_stream_with_the_changes_of_two_tables_keeps_the_contract() {
    Box::pin(contract::stream(PutByHand::create)).await;
}

#[tokio::test]
async fn a_table_sends_its_changes_to_kinesis() {
    let endpoint = MiniStack::shared().endpoint();
    let (destination, table) = (PutByHand::create().await, unique("table"));
    let client = clients(&endpoint).dynamodb(&side(&table)).await.unwrap();
    create_table(&client, &table, &contract::table::schema()).await;
    let request = client.enable_kinesis_streaming_destination().table_name(&table).stream_arn(&destination.arn);
    request.send().await.expect("the table takes a destination");
    let (first, mut second) = (item(1), item(1));
    second.insert("more".to_owned(), Value::Bool(true));
    for item in [&first, &second] {
        client.put_item().table_name(&table).set_item(Some(to_sdk(item))).send().await.expect("the item is put");
    }

    let stream = kinesis_stream(&endpoint, &destination.arn, &table).await;
    let shard = shards(&stream).await.remove(0).id;
    let records = read(&stream, &shard, &ReadFrom::TrimHorizon).await.0;

    let changes: Vec<Change> = records.into_iter().map(|record| record.change.unwrap()).collect();
    let told: Vec<(Event, Image)> = changes.iter().map(|change| (change.event, change.image.clone())).collect();
    assert_eq!(told, [(Event::Insert, Image::Item(first.clone())), (Event::Modify, Image::Item(second))]);
    assert_eq!((&changes[0].old, &changes[1].old), (&None, &Some(first)));
    let others = kinesis_stream(&endpoint, &destination.arn, "another table").await;
    assert_eq!(read(&others, &shard, &ReadFrom::TrimHorizon).await.0, []);
}

//! The adapters of streams keep the promises of their port, held against streams in memory behind their protocols: no
//! emulator has shards that end, or loses anything.

use std::collections::BTreeSet;
use std::sync::Arc;

use async_trait::async_trait;
use shared::aws::clients::{ClientSettings, Clients};
use shared::aws::dynamodb::DynamoTable;
use shared::aws::kinesis::KinesisStream;
use shared::aws::streams::DynamoDbStream;
use shared::domain::change::{Change, Created, Image, Record};
use shared::domain::job::{Access, Side};
use shared::domain::value::Value;
use shared::local::stream::MemoryStream;
use shared::ports::contract;
use shared::ports::contract::stream::{Loses, Reshapes, Source, insertion, item, read, shards};
use shared::ports::failure::FailureKind;
use shared::ports::faulty::{FaultPlan, FaultyStream};
use shared::ports::stream::{ChangeStream, ReadFrom, ShardState, View};
use shared::ports::table::Table as _;
use tests::dynamodb::DynamoDb;
use tests::process::REGION;
use tests::relay::Relay;
use tests::streams::{change_of, dynamodb_streams, kinesis};

pub(crate) const TABLE: &str = "orders";
/// A second of November 2023. What is made up must not be as old as times in other units look.
const A_DAY: i64 = 1_700_000_000;

pub(crate) const KINESIS_ARN: &str = "arn:aws:kinesis:us-east-1:000000000000:stream/made-up";

/// Clients of the code under test for an emulator.
pub(crate) fn clients(endpoint: &str) -> Clients {
    let settings = ClientSettings { endpoint_url: Some(endpoint.to_owned()), ..ClientSettings::default() };
    Clients::for_emulator(settings)
}

pub(crate) fn side(table: &str) -> Side {
    Side::new(format!("{REGION}:{table}").parse().expect("this names a table"), Access::default())
}

pub(crate) async fn dynamodb_stream(endpoint: &str, arn: &str) -> DynamoDbStream {
    let client = clients(endpoint).dynamodb_streams(&side(TABLE)).await.expect("a client is had");
    DynamoDbStream::new(client, arn, contract::table::schema())
}

pub(crate) async fn kinesis_stream(endpoint: &str, arn: &str, table: &str) -> KinesisStream {
    let client = clients(endpoint).kinesis(&Access::default(), arn).await.expect("a client is had");
    KinesisStream::new(client, arn, table, contract::table::schema())
}

/// A stream in memory, read through a protocol.
struct Behind<S> {
    memory: Arc<MemoryStream>,
    stream: S,
    _relay: Relay,
}

#[async_trait]
impl<S: ChangeStream> Source for Behind<S> {
    fn stream(&self) -> &dyn ChangeStream {
        &self.stream
    }

    async fn insert(&self, number: u32) {
        let shards = shards(&*self.memory).await;
        let open = shards.iter().find(|shard| shard.state == ShardState::Open).expect("a shard is open");
        self.memory
            .append(&open.id, Ok(insertion(number, Created::in_second(A_DAY + i64::from(number)))))
            .expect("the shard is there");
    }
}

#[async_trait]
impl<S: ChangeStream> Reshapes for Behind<S> {
    async fn split(&self, shard: &str) {
        self.memory.split(shard).expect("the shard is there");
    }

    async fn merge(&self, one: &str, other: &str) {
        self.memory.merge(one, other).expect("the shard is there");
    }
}

#[async_trait]
impl<S: ChangeStream> Loses for Behind<S> {
    async fn trim(&self, shard: &str, through: &str) {
        self.memory.trim(shard, through).expect("the shard is there");
    }

    async fn drop_shard(&self, shard: &str) {
        self.memory.drop_shard(shard).expect("the shard is there");
    }

    async fn expire_cursors(&self) {
        self.memory.expire_cursors();
    }
}

#[tokio::test]
async fn dynamodb_streams_of_any_shards_keep_the_contract() {
    let server = DynamoDb::start();
    for make in [
        || MemoryStream::like_dynamodb(View::New),
        || MemoryStream::like_dynamodb(View::NewAndOld).with_pages_of(2, 3).with_empty_pages(),
    ] {
        let fresh = async || {
            let memory = Arc::new(make());
            memory.open_shard();
            let relay = dynamodb_streams(&server.endpoint(), memory.clone());
            let stream = dynamodb_stream(&relay.endpoint(), "arn:aws:dynamodb:made-up").await;
            Behind { memory, stream, _relay: relay }
        };
        Box::pin(contract::stream(fresh)).await;
        // A shard of DynamoDB Streams has one parent at most, so none is merged.
        contract::stream::reshaping::a_split_shard_ends_and_its_children_go_on(&fresh().await).await;
        contract::stream::reshaping::every_shard_is_listed_once(&fresh().await).await;
        Box::pin(contract::stream::losing(fresh)).await;
    }
}

#[tokio::test]
async fn kinesis_streams_of_any_shards_keep_the_contract() {
    let server = DynamoDb::start();
    for make in [MemoryStream::like_kinesis, || MemoryStream::like_kinesis().with_pages_of(2, 3)] {
        let fresh = async || {
            let memory = Arc::new(make());
            memory.open_shard();
            let relay = kinesis(&server.endpoint(), memory.clone(), TABLE);
            let stream = kinesis_stream(&relay.endpoint(), KINESIS_ARN, TABLE).await;
            Behind { memory, stream, _relay: relay }
        };
        Box::pin(contract::stream(fresh)).await;
        Box::pin(contract::stream::reshaping(fresh)).await;
        Box::pin(contract::stream::losing(fresh)).await;
    }
}

#[tokio::test]
async fn a_stream_of_many_shards_is_listed_over_several_pages() {
    let server = DynamoDb::start();
    // The protocol's pages are smaller than those of the stream behind it.
    let memory = Arc::new(MemoryStream::like_dynamodb(View::New).with_pages_of(1000, 1000));
    (0..250).for_each(|_| drop(memory.open_shard()));
    let relay = dynamodb_streams(&server.endpoint(), memory.clone());
    let stream = dynamodb_stream(&relay.endpoint(), "arn:aws:dynamodb:made-up").await;

    assert_eq!(shards(&stream).await.len(), 250);

    assert_eq!(relay.take_calls().len(), 3);
}

#[tokio::test]
async fn a_table_behind_a_made_up_stream_is_still_there() {
    let server = DynamoDb::start();
    let memory = Arc::new(MemoryStream::like_dynamodb(View::New));
    let relay = dynamodb_streams(&server.endpoint(), memory);
    server.create_filled(TABLE, &contract::table::schema(), &[item(1)]).await;
    let client = clients(&relay.endpoint()).dynamodb(&side(TABLE)).await.unwrap();

    let description = DynamoTable::new(client, side(TABLE).table).describe().await.unwrap();

    assert_eq!(description.key_schema, contract::table::schema());
}

#[tokio::test]
async fn a_made_up_stream_shows_what_its_view_has() {
    let server = DynamoDb::start();
    let (schema, first, mut second) = (contract::table::schema(), item(1), item(1));
    second.insert("more".to_owned(), Value::Null);
    for view in [View::Keys, View::New, View::NewAndOld] {
        let memory = Arc::new(MemoryStream::like_dynamodb(view));
        let shard = memory.open_shard();
        let relay = dynamodb_streams(&server.endpoint(), memory.clone());
        let stream = dynamodb_stream(&relay.endpoint(), "arn:aws:dynamodb:made-up").await;
        let states = [None, Some(&first), Some(&second), None];
        let changes: Vec<Change> =
            states.windows(2).map(|pair| change_of(&schema, pair[0], pair[1], Created::in_second(A_DAY))).collect();
        for change in &changes {
            memory.append(&shard, Ok(change.clone())).unwrap();
        }

        let records = read(&stream, &shard, &ReadFrom::TrimHorizon).await.0;

        let told: Vec<Change> = records.into_iter().map(|record| record.change.unwrap()).collect();
        let shown = changes.into_iter().map(|change| match view {
            View::Keys => Change { image: Image::Unread, old: None, ..change },
            View::New => Change { old: None, ..change },
            View::NewAndOld | View::ByRecord => change,
        });
        assert_eq!(told, shown.collect::<Vec<_>>(), "{view:?}");
    }
}

#[tokio::test]
async fn a_made_up_stream_fails_as_its_plan_says_and_loses_nothing() {
    let server = DynamoDb::start();
    let memory = Arc::new(MemoryStream::like_dynamodb(View::New));
    let shard = memory.open_shard();
    for number in 0..50 {
        memory.append(&shard, Ok(insertion(number, Created::in_second(A_DAY)))).unwrap();
    }
    memory.close(&shard).unwrap();
    let plan = FaultPlan::new(1).failing(0.2).partial(0.3).expiring(0.2);
    let relay = dynamodb_streams(&server.endpoint(), Arc::new(FaultyStream::new(memory, plan)));
    let stream = dynamodb_stream(&relay.endpoint(), "arn:aws:dynamodb:made-up").await;

    let (mut records, mut cursor, mut failures) = (Vec::<Record>::new(), None, Vec::new());
    loop {
        let step = async {
            let from = records.last().map(|last| ReadFrom::After(last.sequence.clone()));
            let at = match &cursor {
                Some(at) => Clone::clone(at),
                None => stream.open(&shard, &from.unwrap_or(ReadFrom::TrimHorizon)).await?,
            };
            stream.read(&at, 2).await
        };
        match step.await {
            Ok(page) => {
                records.extend(page.records);
                cursor = page.next;
                if cursor.is_none() {
                    break;
                }
            }
            Err(failure) => {
                assert!(failure.may_pass() || failure.kind == FailureKind::Expired, "{failure}");
                cursor = cursor.filter(|_| failure.kind != FailureKind::Expired);
                failures.push(failure.kind);
            }
        }
    }

    let sequences: BTreeSet<&str> = records.iter().map(|record| record.sequence.as_str()).collect();
    assert_eq!((records.len(), sequences.len()), (50, 50));
    for kind in [FailureKind::Throttled, FailureKind::Unavailable, FailureKind::Expired] {
        assert!(failures.contains(&kind), "{kind:?} is not among {failures:?}");
    }
}

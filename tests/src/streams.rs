//! Streams whose shards the test makes, behind the protocols of DynamoDB Streams and of Kinesis.
//!
//! Each is a relay in front of an emulator: it answers the calls of the stream from any [`ChangeStream`], and passes
//! everything else on. So a table can be real and its stream have as many shards, splits and losses as a test wants.
//! What the programs asked is in the relay's calls, and in those of the stream itself.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use futures::FutureExt as _;
use serde_json::{Value as Json, json};
use shared::domain::change::{Actor, Change, Created, Event, Image, Record};
use shared::domain::json::item_to_json;
use shared::domain::key::{Key, KeySchema};
use shared::domain::value::Item;
use shared::ports::failure::{Failure, FailureKind};
use shared::ports::stream::{
    ChangeStream, Cursor, MAX_RECORDS_PER_PAGE, ReadFrom, RecordPage, Shard, ShardPage, ShardState, StreamStatus, Tip,
    View,
};

use crate::process::REGION;
use crate::relay::{Relay, Reply, Request};

/// Most shards of one page.
const SHARDS_PER_PAGE: u64 = 100;

/// The oldest record of a shard has at least this number; the protocols want one, and nobody goes by it.
const FIRST_SEQUENCE: &str = "000000000000000000001";

/// The last record of a closed shard has this number at most.
const LAST_SEQUENCE: &str = "999999999999999999999999";

/// Which protocol a stream speaks.
#[derive(Clone, Debug)]
enum Protocol {
    DynamoDb,
    /// With the name of the table that its records are of.
    Kinesis(String),
}

/// Puts a stream behind the protocol of DynamoDB Streams, in front of an emulator, under every stream's ARN.
///
/// It answers at once: the stream must not wait for anything.
#[must_use]
pub fn dynamodb_streams(endpoint: &str, stream: Arc<dyn ChangeStream>) -> Relay {
    Relay::answering(endpoint, move |request| {
        let operation = request.headers.get("x-amz-target")?.strip_prefix("DynamoDBStreams_20120810.")?;
        Some(answer(&*stream, &Protocol::DynamoDb, operation, request))
    })
}

/// Puts a stream of a table's changes behind the protocol of Kinesis, as [`dynamodb_streams`] does.
#[must_use]
pub fn kinesis(endpoint: &str, stream: Arc<dyn ChangeStream>, table: &str) -> Relay {
    let protocol = Protocol::Kinesis(table.to_owned());
    Relay::answering(endpoint, move |request| {
        let operation = request.headers.get("x-amz-target")?.strip_prefix("Kinesis_20131202.")?;
        Some(answer(&*stream, &protocol, operation, request))
    })
}

/// A record as DynamoDB itself puts it into a Kinesis stream.
#[must_use]
pub fn native_record(table: &str, change: &Change) -> Json {
    let mut record = json!({
        "awsRegion": REGION,
        "eventID": "made-up",
        "eventName": event_name(change.event),
        "eventSource": "aws:dynamodb",
        "recordFormat": "application/json",
        "tableName": table,
        "userIdentity": identity(change, "type", "principalId"),
        "dynamodb": images(change),
    });
    record["dynamodb"]["ApproximateCreationDateTime"] = json!(change.created.from_ms);
    record
}

/// The change from one item to another of the same key, with both in it; a stream shows what its view has.
///
/// # Panics
/// When there is neither an item before nor after.
#[must_use]
pub fn change_of(schema: &KeySchema, before: Option<&Item>, after: Option<&Item>, created: Created) -> Change {
    let event = match (before, after) {
        (None, _) => Event::Insert,
        (Some(_), Some(_)) => Event::Modify,
        (Some(_), None) => Event::Remove,
    };
    let either = after.or(before).expect("a change has an item before or after it");
    let key = Key::of(schema, either).expect("the item has the table's key");
    let image = after.cloned().map_or(Image::Gone, Image::Item);
    Change { key, event, image, old: before.cloned(), created, actor: Actor::Client }
}

fn answer(stream: &dyn ChangeStream, protocol: &Protocol, operation: &str, request: &Request) -> Reply {
    let asked: Json = serde_json::from_slice(&request.body).expect("a request of the protocol is JSON");
    let answered = match operation {
        "DescribeStream" => describe_stream(stream, &asked),
        "DescribeStreamSummary" => describe_summary(stream),
        "ListShards" => list_shards(stream, &asked),
        "GetShardIterator" => get_shard_iterator(stream, &asked),
        "GetRecords" => get_records(stream, protocol, &asked),
        other => panic!("the made-up stream does not speak {other}"),
    };
    let (status, body) = match answered {
        Ok(body) => (200, body),
        Err(failure) => refusal(protocol, &failure),
    };
    Reply { status, content_type: "application/x-amz-json-1.1", body: body.to_string() }
}

fn describe_stream(stream: &dyn ChangeStream, asked: &Json) -> Result<Json, Failure> {
    let description = now(stream.describe())?;
    let page = shard_page(stream, asked, asked["Limit"].as_u64())?;
    let status = match description.status {
        StreamStatus::Enabled => "ENABLED".to_owned(),
        StreamStatus::Disabled => "DISABLED".to_owned(),
        StreamStatus::NotReady(status) => status,
    };
    Ok(json!({"StreamDescription": {
        "StreamArn": description.arn,
        "StreamStatus": status,
        "StreamViewType": view_name(description.view),
        "Shards": page.shards.iter().map(|shard| shard_to_json(shard, &Json::Null)).collect::<Vec<_>>(),
        "LastEvaluatedShardId": page.next,
    }}))
}

fn describe_summary(stream: &dyn ChangeStream) -> Result<Json, Failure> {
    let description = now(stream.describe())?;
    let status = match description.status {
        StreamStatus::Enabled => "ACTIVE".to_owned(),
        StreamStatus::Disabled => "DELETING".to_owned(),
        StreamStatus::NotReady(status) => status,
    };
    Ok(json!({"StreamDescriptionSummary": {
        "StreamName": "made-up",
        "StreamARN": description.arn,
        "StreamStatus": status,
        "RetentionPeriodHours": description.retention.as_secs() / 3600,
        "StreamCreationTimestamp": 0,
        "EnhancedMonitoring": [],
        "OpenShardCount": 1,
    }}))
}

fn list_shards(stream: &dyn ChangeStream, asked: &Json) -> Result<Json, Failure> {
    let page = shard_page(stream, asked, asked["MaxResults"].as_u64())?;
    let range = json!({"StartingHashKey": "0", "EndingHashKey": "1"});
    Ok(json!({
        "Shards": page.shards.iter().map(|shard| shard_to_json(shard, &range)).collect::<Vec<_>>(),
        "NextToken": page.next,
    }))
}

fn shard_page(stream: &dyn ChangeStream, asked: &Json, limit: Option<u64>) -> Result<ShardPage, Failure> {
    let mut page = now(stream.shards(asked["ExclusiveStartShardId"].as_str()))?;
    let limit = limit.unwrap_or(SHARDS_PER_PAGE).min(SHARDS_PER_PAGE) as usize;
    if page.shards.len() > limit {
        page.shards.truncate(limit);
        page.next = page.shards.last().map(|last| last.id.clone());
    }
    Ok(page)
}

fn get_shard_iterator(stream: &dyn ChangeStream, asked: &Json) -> Result<Json, Failure> {
    let sequence = asked["SequenceNumber"].as_str().or_else(|| asked["StartingSequenceNumber"].as_str());
    let from = match asked["ShardIteratorType"].as_str().unwrap_or_default() {
        "TRIM_HORIZON" => ReadFrom::TrimHorizon,
        "AFTER_SEQUENCE_NUMBER" => ReadFrom::After(sequence.expect("a sequence number is asked for").to_owned()),
        #[expect(clippy::cast_possible_truncation, reason = "times of tests are small")]
        "AT_TIMESTAMP" => {
            ReadFrom::Time((asked["Timestamp"].as_f64().expect("a time is asked for") * 1000.0).round() as i64)
        }
        other => panic!("the made-up stream has no iterator of type {other}"),
    };
    let cursor = now(stream.open(asked["ShardId"].as_str().unwrap_or_default(), &from))?;
    Ok(json!({"ShardIterator": cursor.0}))
}

fn get_records(stream: &dyn ChangeStream, protocol: &Protocol, asked: &Json) -> Result<Json, Failure> {
    let cursor = Cursor(asked["ShardIterator"].as_str().unwrap_or_default().to_owned());
    let limit = asked["Limit"].as_u64().and_then(|limit| u32::try_from(limit).ok()).unwrap_or(MAX_RECORDS_PER_PAGE);
    let RecordPage { records, next, tip } = now(stream.read(&cursor, limit))?;
    let view = now(stream.describe())?.view;
    let record = |record: &Record| match protocol {
        Protocol::DynamoDb => record_of_dynamodb(record, view),
        Protocol::Kinesis(table) => record_of_kinesis(record, table),
    };
    let mut body = json!({
        "Records": records.iter().map(record).collect::<Vec<_>>(),
        "NextShardIterator": next.map(|next| next.0),
    });
    if let (Protocol::Kinesis(_), Tip::Behind(behind)) = (protocol, tip) {
        body["MillisBehindLatest"] = json!(u64::try_from(behind.as_millis()).unwrap_or(u64::MAX));
    }
    Ok(body)
}

fn shard_to_json(shard: &Shard, hash_keys: &Json) -> Json {
    let mut range = json!({"StartingSequenceNumber": FIRST_SEQUENCE});
    if shard.state == ShardState::Closed {
        range["EndingSequenceNumber"] = json!(LAST_SEQUENCE);
    }
    let mut parents = shard.parents.iter();
    json!({
        "ShardId": shard.id,
        "ParentShardId": parents.next(),
        "AdjacentParentShardId": parents.next(),
        "HashKeyRange": hash_keys,
        "SequenceNumberRange": range,
    })
}

fn record_of_dynamodb(record: &Record, view: View) -> Json {
    let Ok(change) = &record.change else {
        return json!({"eventName": "UNKNOWN", "dynamodb": {"SequenceNumber": record.sequence}});
    };
    let mut body = match view {
        View::Keys => images(&Change { image: Image::Unread, old: None, ..change.clone() }),
        View::New => images(&Change { old: None, ..change.clone() }),
        View::NewAndOld | View::ByRecord => images(change),
    };
    body["SequenceNumber"] = json!(record.sequence);
    body["StreamViewType"] = json!(view_name(view));
    body["ApproximateCreationDateTime"] = json!(change.created.from_ms.div_euclid(1000));
    json!({
        "awsRegion": REGION,
        "eventID": "made-up",
        "eventName": event_name(change.event),
        "eventSource": "aws:dynamodb",
        "eventVersion": "1.1",
        "userIdentity": identity(change, "Type", "PrincipalId"),
        "dynamodb": body,
    })
}

fn record_of_kinesis(record: &Record, table: &str) -> Json {
    let data = match &record.change {
        Ok(change) => native_record(table, change).to_string(),
        Err(_) => "no change".to_owned(),
    };
    let arrived = record.change.as_ref().map_or(0, |change| change.created.from_ms);
    json!({
        "SequenceNumber": record.sequence,
        "ApproximateArrivalTimestamp": arrived.div_euclid(1000),
        "Data": BASE64.encode(data),
        "PartitionKey": "made-up",
    })
}

/// The part of a record that both services have alike.
fn images(change: &Change) -> Json {
    let mut body = json!({"Keys": change.key.to_json(), "SizeBytes": 1});
    if let Image::Item(item) = &change.image {
        body["NewImage"] = item_to_json(item);
    }
    if let Some(item) = &change.old {
        body["OldImage"] = item_to_json(item);
    }
    body
}

fn identity(change: &Change, kind: &str, principal: &str) -> Json {
    match change.actor {
        Actor::Client => Json::Null,
        Actor::TimeToLive => json!({ kind: "Service", principal: "dynamodb.amazonaws.com" }),
    }
}

fn event_name(event: Event) -> &'static str {
    match event {
        Event::Insert => "INSERT",
        Event::Modify => "MODIFY",
        Event::Remove => "REMOVE",
    }
}

fn view_name(view: View) -> &'static str {
    match view {
        View::Keys => "KEYS_ONLY",
        View::New => "NEW_IMAGE",
        View::NewAndOld | View::ByRecord => "NEW_AND_OLD_IMAGES",
    }
}

/// The answer to a call that fails, in the words of the service.
fn refusal(protocol: &Protocol, failure: &Failure) -> (u16, Json) {
    let of_dynamodb = matches!(protocol, Protocol::DynamoDb);
    let (status, code) = match failure.kind {
        FailureKind::NotFound => (400, "ResourceNotFoundException"),
        FailureKind::Trimmed => (400, "TrimmedDataAccessException"),
        FailureKind::Expired => (400, "ExpiredIteratorException"),
        FailureKind::Denied => (400, "AccessDeniedException"),
        FailureKind::Throttled | FailureKind::HotKeys if of_dynamodb => (400, "LimitExceededException"),
        FailureKind::Throttled | FailureKind::HotKeys => (400, "ProvisionedThroughputExceededException"),
        FailureKind::Invalid | FailureKind::Conflict if of_dynamodb => (400, "ValidationException"),
        FailureKind::Invalid | FailureKind::Conflict => (400, "InvalidArgumentException"),
        FailureKind::Unavailable | FailureKind::Halted => (500, "InternalServerError"),
    };
    (status, json!({"__type": code, "message": failure.message}))
}

fn now<T>(call: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    call.now_or_never().expect("a made-up stream answers at once")
}

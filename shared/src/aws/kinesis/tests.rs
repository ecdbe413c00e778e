//! Tests of Kinesis streams with answers of the service, made up.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::json;

use super::*;
use crate::aws::canned::{Answer, Canned};
use crate::domain::change::{Created, Event, Image};
use crate::ports::contract;

const ARN: &str = "arn:aws:kinesis:us-east-1:1:stream/changes";

fn stream(connection: &Canned) -> KinesisStream {
    KinesisStream::new(connection.kinesis(), ARN, "orders", contract::table::schema())
}

fn answering(body: &Json) -> Canned {
    Canned::new([Answer::new(200, body.to_string())])
}

/// A record as DynamoDB puts it into the stream.
fn native(table: &str, event: &str) -> Json {
    json!({
        "awsRegion": "us-east-1",
        "eventID": "e",
        "eventName": event,
        "userIdentity": null,
        "recordFormat": "application/json",
        "tableName": table,
        "dynamodb": {
            "ApproximateCreationDateTime": 1_700_000_000_123_i64,
            "Keys": {"id": {"S": "a"}, "at": {"N": "1"}},
            "NewImage": {"id": {"S": "a"}, "at": {"N": "1"}},
            "SizeBytes": 10,
        },
        "eventSource": "aws:dynamodb",
    })
}

/// A record that one puts there who has written to a table.
fn keys_only() -> Json {
    json!({
        "eventName": "MODIFY",
        "eventSource": "aws:dynamodb",
        "dynamodb": {"Keys": {"id": {"S": "a"}, "at": {"N": "1"}}, "StreamViewType": "KEYS_ONLY", "SizeBytes": 1},
    })
}

async fn read(data: &[&[u8]]) -> RecordPage {
    let record = |(n, data): (usize, &&[u8])| {
        let sequence = (100 + n).to_string();
        json!({
            "SequenceNumber": sequence,
            "ApproximateArrivalTimestamp": 1_700_000_001.5,
            "Data": BASE64.encode(data),
            "PartitionKey": "p",
        })
    };
    let records: Vec<Json> = data.iter().enumerate().map(record).collect();
    let body = json!({"Records": records, "NextShardIterator": "next", "MillisBehindLatest": 1500});
    stream(&answering(&body)).read(&Cursor("here".into()), 10).await.unwrap()
}

#[tokio::test]
async fn a_record_of_dynamodb_tells_what_happened() {
    let page = read(&[native("orders", "INSERT").to_string().as_bytes()]).await;

    assert_eq!((page.next, page.tip), (Some(Cursor("next".into())), Tip::Behind(Duration::from_millis(1500))));
    let change = page.records[0].change.as_ref().unwrap();
    assert_eq!((page.records[0].sequence.as_str(), change.event), ("100", Event::Insert));
    assert!(matches!(&change.image, Image::Item(item) if item.len() == 2), "{change:?}");
    assert_eq!(change.created, Created::in_millisecond(1_700_000_000_123));
}

#[tokio::test]
async fn a_record_of_keys_only_does_not_tell_the_item_and_is_as_old_as_its_arrival() {
    let page = read(&[keys_only().to_string().as_bytes()]).await;

    let change = page.records[0].change.as_ref().unwrap();
    assert_eq!(change.image, Image::Unread);
    assert_eq!(change.created, Created { from_ms: 0, until_ms: 1_700_000_001_501 });
}

#[tokio::test]
async fn what_is_another_tables_is_passed_over() {
    let (ours, others) = (native("orders", "INSERT").to_string(), native("others", "INSERT").to_string());

    let page = read(&[others.as_bytes(), ours.as_bytes(), others.as_bytes()]).await;

    assert_eq!(page.records.len(), 1);
    assert_eq!(page.records[0].sequence, "101");
}

#[tokio::test]
async fn a_record_without_a_table_is_of_the_table_whose_stream_it_was_taken_from() {
    let from = |table: &str| {
        let mut record = keys_only();
        record["eventSourceARN"] = json!(format!("arn:aws:dynamodb:us-east-1:1:table/{table}/stream/2026"));
        record.to_string()
    };

    let page = read(&[from("others").as_bytes(), from("orders").as_bytes(), from("orders-2").as_bytes()]).await;

    assert_eq!(page.records.len(), 1);
    assert_eq!(page.records[0].sequence, "101");
}

#[tokio::test]
async fn a_record_that_cannot_be_understood_spoils_no_page() {
    let ours = native("orders", "INSERT").to_string();
    let aggregated = [AGGREGATED.as_slice(), b"secret"].concat();
    for (bad, why) in [
        (aggregated.as_slice(), "several in one"),
        (b"secret".as_slice(), "not JSON"),
        (br#"["secret"]"#, "`dynamodb` is missing"),
        (b"", "not JSON"),
    ] {
        let page = read(&[ours.as_bytes(), bad, ours.as_bytes()]).await;

        let [first, second, third] = page.records.as_slice() else { panic!("{page:?} lacks records") };
        assert!(first.change.is_ok() && third.change.is_ok(), "{page:?}");
        let error = second.change.as_ref().unwrap_err().to_string();
        assert!(error.contains(why) && !error.contains("secret"), "{error}");
    }
}

#[tokio::test]
async fn pages_of_shards_follow_the_last_shard_and_name_both_parents() {
    let range = json!({"StartingHashKey": "0", "EndingHashKey": "1"});
    let body = json!({
        "Shards": [
            {
                "ShardId": "one",
                "HashKeyRange": range,
                "SequenceNumberRange": {"StartingSequenceNumber": "1", "EndingSequenceNumber": "2"},
            },
            {
                "ShardId": "two",
                "ParentShardId": "one",
                "AdjacentParentShardId": "zero",
                "HashKeyRange": range,
                "SequenceNumberRange": {"StartingSequenceNumber": "3"},
            },
        ],
        "NextToken": "a token that expires",
    });
    let connection = answering(&body);

    let page = stream(&connection).shards(Some("zero")).await.unwrap();

    let parents = vec!["one".to_owned(), "zero".to_owned()];
    let one = Shard { id: "one".to_owned(), parents: Vec::new(), state: ShardState::Closed };
    let two = Shard { id: "two".to_owned(), parents, state: ShardState::Open };
    assert_eq!(page, ShardPage { shards: vec![one, two], next: Some("two".to_owned()) });
    let sent: Json = serde_json::from_str(&connection.sent()[0]).unwrap();
    assert_eq!((&sent["ExclusiveStartShardId"], &sent["StreamARN"]), (&json!("zero"), &json!(ARN)));
    assert!(sent.get("NextToken").is_none(), "{sent}");
}

#[tokio::test]
async fn a_shard_is_read_from_where_it_was_asked_for() {
    for (from, kind, sequence, time) in [
        (ReadFrom::TrimHorizon, "TRIM_HORIZON", Json::Null, Json::Null),
        (ReadFrom::Time(1_700_000_000_123), "AT_TIMESTAMP", Json::Null, json!(1_700_000_000.123)),
        (ReadFrom::After("7".to_owned()), "AFTER_SEQUENCE_NUMBER", json!("7"), Json::Null),
    ] {
        let connection = answering(&json!({"ShardIterator": "here"}));

        let cursor = stream(&connection).open("one", &from).await.unwrap();

        let sent: Json = serde_json::from_str(&connection.sent()[0]).unwrap();
        assert_eq!(cursor, Cursor("here".to_owned()));
        assert_eq!((&sent["ShardIteratorType"], &sent["StartingSequenceNumber"]), (&json!(kind), &sequence));
        assert_eq!(sent["Timestamp"], time);
    }
}

#[tokio::test]
async fn no_time_is_asked_for_that_the_clock_of_the_service_may_not_have_reached() {
    let connection = answering(&json!({"ShardIterator": "here"}));

    stream(&connection).open("one", &ReadFrom::Time(i64::MAX)).await.unwrap();

    let sent: Json = serde_json::from_str(&connection.sent()[0]).unwrap();
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs_f64();
    assert!(sent["Timestamp"].as_f64().unwrap() <= now - 59.0, "{sent}");
}

#[tokio::test]
async fn a_description_tells_status_and_retention() {
    for (status, is) in [
        ("ACTIVE", StreamStatus::Enabled),
        ("UPDATING", StreamStatus::Enabled),
        ("CREATING", StreamStatus::NotReady("CREATING".to_owned())),
        ("DELETING", StreamStatus::Disabled),
    ] {
        let body = json!({"StreamDescriptionSummary": {
            "StreamName": "changes",
            "StreamARN": ARN,
            "StreamStatus": status,
            "RetentionPeriodHours": 48,
            "StreamCreationTimestamp": 1_700_000_000,
            "EnhancedMonitoring": [],
            "OpenShardCount": 1,
        }});

        let description = stream(&answering(&body)).describe().await.unwrap();

        let retention = Duration::from_secs(48 * 60 * 60);
        assert_eq!(description, StreamDescription { arn: ARN.into(), status: is, view: View::ByRecord, retention });
    }
}

#[tokio::test]
async fn what_the_service_refuses_has_a_meaning() {
    for (status, code, kind) in [
        (400, "ExpiredIteratorException", FailureKind::Expired),
        (400, "ProvisionedThroughputExceededException", FailureKind::Throttled),
        (400, "KMSThrottlingException", FailureKind::Throttled),
        (400, "LimitExceededException", FailureKind::Throttled),
        (400, "ResourceNotFoundException", FailureKind::NotFound),
        (400, "KMSAccessDeniedException", FailureKind::Denied),
        (400, "InvalidArgumentException", FailureKind::Invalid),
        (500, "InternalFailureException", FailureKind::Unavailable),
    ] {
        let refusing = || Canned::new([Answer::new(status, format!(r#"{{"__type":"{code}","message":"No."}}"#))]);
        let read = stream(&refusing()).read(&Cursor("here".into()), 1).await.unwrap_err();
        let opened = stream(&refusing()).open("one", &ReadFrom::TrimHorizon).await.unwrap_err();
        let listed = stream(&refusing()).shards(None).await.unwrap_err();

        assert_eq!([read.kind, opened.kind, listed.kind], [kind; 3], "{code}");
    }
}

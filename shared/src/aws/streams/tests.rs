//! Tests of DynamoDB streams with answers of the service, made up.

use serde_json::{Value as Json, json};

use super::*;
use crate::aws::canned::{Answer, Canned};
use crate::domain::json::item_to_json;
use crate::domain::number::Number;
use crate::domain::value::Value;
use crate::ports::contract;

fn stream(connection: &Canned) -> DynamoDbStream {
    let arn = "arn:aws:dynamodb:us-east-1:1:table/orders/stream/2026";
    DynamoDbStream::new(connection.streams(), arn, contract::table::schema())
}

fn answering(body: &Json) -> Canned {
    Canned::new([Answer::new(200, body.to_string())])
}

fn refusing(status: u16, code: &str) -> Canned {
    let body = format!(r#"{{"__type":"com.amazonaws.dynamodb.v20120810#{code}","message":"No."}}"#);
    Canned::new([Answer::new(status, body)])
}

fn image() -> Json {
    json!({"id": {"S": "a"}, "at": {"N": "1"}, "exact": {"N": "12345678901234567890123456789012345678"}})
}

/// A record as the service gives it, with another body where the test wants one.
fn record(event: &str, body: Json) -> Json {
    let mut whole = json!({
        "ApproximateCreationDateTime": 1_700_000_000,
        "Keys": {"id": {"S": "a"}, "at": {"N": "1"}},
        "SequenceNumber": "100000000000000000001",
        "SizeBytes": 1,
        "StreamViewType": "NEW_AND_OLD_IMAGES",
    });
    for (name, value) in body.as_object().unwrap() {
        whole[name] = value.clone();
    }
    json!({"eventID": "e", "eventName": event, "eventVersion": "1.1", "eventSource": "aws:dynamodb", "dynamodb": whole})
}

async fn read(record: Json) -> Record {
    let connection = answering(&json!({"Records": [record], "NextShardIterator": "next"}));
    let page = stream(&connection).read(&Cursor("here".into()), 10).await.unwrap();
    assert_eq!((page.records.len(), page.next), (1, Some(Cursor("next".into()))));
    page.records.into_iter().next().unwrap()
}

async fn change_of(record: Json) -> Change {
    read(record).await.change.unwrap()
}

#[tokio::test]
async fn a_record_tells_what_happened() {
    let read = read(record("MODIFY", json!({"NewImage": image(), "OldImage": image()}))).await;

    let change = read.change.unwrap();
    assert_eq!(read.sequence, "100000000000000000001");
    assert_eq!(change.key.to_json(), json!({"id": {"S": "a"}, "at": {"N": "1"}}));
    assert_eq!((change.event, change.actor), (Event::Modify, Actor::Client));
    assert_eq!(change.created, Created { from_ms: 1_700_000_000_000, until_ms: 1_700_000_001_000 });
    assert_eq!(item_to_json(change.old.as_ref().unwrap()), image());
    let Image::Item(new) = change.image else { panic!("the new item is there") };
    let exact = Value::N(Number::parse("12345678901234567890123456789012345678").unwrap());
    assert_eq!(new.get("exact"), Some(&exact));
}

#[tokio::test]
async fn what_a_record_tells_of_the_item_depends_on_its_view() {
    let insert = async |view: &str, body: Json| {
        let mut record = record("INSERT", body);
        record["dynamodb"]["StreamViewType"] = json!(view);
        change_of(record).await.image
    };
    assert!(matches!(insert("NEW_IMAGE", json!({"NewImage": image()})).await, Image::Item(_)));
    assert_eq!(insert("NEW_IMAGE", json!({})).await, Image::Unread);
    assert_eq!(insert("KEYS_ONLY", json!({})).await, Image::Unread);
    assert_eq!(insert("OLD_IMAGE", json!({"OldImage": image()})).await, Image::Unread);
    for (view, image) in [("NEW_IMAGE", Image::Gone), ("KEYS_ONLY", Image::Unread), ("OLD_IMAGE", Image::Unread)] {
        assert_eq!(change_of(record("REMOVE", json!({"StreamViewType": view}))).await.image, image, "{view}");
    }
}

#[tokio::test]
async fn who_deletes_by_time_to_live_is_told_from_clients() {
    for (identity, actor) in [
        (json!({"Type": "Service", "PrincipalId": "dynamodb.amazonaws.com"}), Actor::TimeToLive),
        (json!({"Type": "Service", "PrincipalId": "replication.dynamodb.amazonaws.com"}), Actor::Client),
        (Json::Null, Actor::Client),
    ] {
        let mut record = record("REMOVE", json!({}));
        record["userIdentity"] = identity.clone();

        assert_eq!(change_of(record).await.actor, actor, "{identity}");
    }
}

#[tokio::test]
async fn a_record_that_cannot_be_understood_spoils_no_page() {
    let good = || record("INSERT", json!({"NewImage": image()}));
    let with = |name: &str, value: Json| record("INSERT", json!({ name: value }));
    let mut nameless = good();
    nameless["eventName"] = Json::Null;
    let bad = [
        nameless,
        record("TRUNCATE", json!({})),
        with("Keys", Json::Null),
        with("Keys", json!({"id": {"S": "a"}})),
        with("Keys", json!({"id": {"N": "1"}, "at": {"N": "1"}})),
        with("Keys", json!({"id": {"S": "a"}, "at": {"N": "1"}, "more": {"S": "b"}})),
        with("NewImage", json!({"id": {"S": "a"}, "at": {"N": "2"}})),
        with("OldImage", json!({"id": {"S": "b"}, "at": {"N": "1"}})),
        with("NewImage", json!({"id": {"S": "a"}, "at": {"N": "1"}, "n": {"N": "secret"}})),
        with("NewImage", json!({"id": {"S": "a"}, "at": {"N": "1"}, "new": {"X": "secret"}})),
    ];
    for bad in bad {
        let connection = answering(&json!({"Records": [good(), bad, good()]}));

        let page = stream(&connection).read(&Cursor("here".into()), 10).await.unwrap();

        let [first, second, third] = page.records.as_slice() else { panic!("{page:?} lacks records") };
        assert!(first.change.is_ok() && third.change.is_ok(), "{page:?}");
        let error = second.change.as_ref().unwrap_err().to_string();
        assert!(!error.contains("secret"), "{error}");
        assert_eq!((page.next, second.sequence.as_str()), (None, "100000000000000000001"));
    }
}

#[tokio::test]
async fn pages_of_shards_follow_the_last_shard() {
    let shards = json!({"StreamDescription": {
        "Shards": [
            {"ShardId": "one", "SequenceNumberRange": {"StartingSequenceNumber": "1", "EndingSequenceNumber": "2"}},
            {"ShardId": "two", "ParentShardId": "one", "SequenceNumberRange": {"StartingSequenceNumber": "3"}},
        ],
        "LastEvaluatedShardId": "two",
    }});
    let connection = answering(&shards);

    let page = stream(&connection).shards(Some("zero")).await.unwrap();

    let shard = |id: &str, parents: &[&str], state| Shard {
        id: id.to_owned(),
        parents: parents.iter().map(|&parent| parent.to_owned()).collect(),
        state,
    };
    let shards = vec![shard("one", &[], ShardState::Closed), shard("two", &["one"], ShardState::Open)];
    assert_eq!(page, ShardPage { shards, next: Some("two".to_owned()) });
    let sent: Json = serde_json::from_str(&connection.sent()[0]).unwrap();
    assert_eq!((&sent["ExclusiveStartShardId"], &sent["Limit"]), (&json!("zero"), &json!(100)));
}

#[tokio::test]
async fn a_shard_is_read_from_where_it_was_asked_for() {
    for (from, kind, sequence) in [
        (ReadFrom::TrimHorizon, "TRIM_HORIZON", Json::Null),
        (ReadFrom::Time(5), "TRIM_HORIZON", Json::Null),
        (ReadFrom::After("7".to_owned()), "AFTER_SEQUENCE_NUMBER", json!("7")),
    ] {
        let connection = answering(&json!({"ShardIterator": "here"}));

        let cursor = stream(&connection).open("one", &from).await.unwrap();

        let sent: Json = serde_json::from_str(&connection.sent()[0]).unwrap();
        assert_eq!(cursor, Cursor("here".to_owned()));
        assert_eq!((&sent["ShardIteratorType"], &sent["SequenceNumber"]), (&json!(kind), &sequence));
    }
}

#[tokio::test]
async fn a_description_tells_status_and_view() {
    for (status, is) in [
        ("ENABLED", StreamStatus::Enabled),
        ("ENABLING", StreamStatus::NotReady("ENABLING".to_owned())),
        ("DISABLING", StreamStatus::Disabled),
        ("DISABLED", StreamStatus::Disabled),
    ] {
        let body = json!({"StreamDescription": {"StreamStatus": status, "StreamViewType": "NEW_IMAGE"}});
        assert_eq!(stream(&answering(&body)).describe().await.unwrap().status, is);
    }
    for (view, is) in [
        ("KEYS_ONLY", View::Keys),
        ("OLD_IMAGE", View::Keys),
        ("NEW_IMAGE", View::New),
        ("NEW_AND_OLD_IMAGES", View::NewAndOld),
    ] {
        let body = json!({"StreamDescription": {"StreamStatus": "ENABLED", "StreamViewType": view}});
        assert_eq!(stream(&answering(&body)).describe().await.unwrap().view, is);
    }
}

#[tokio::test]
async fn what_the_service_refuses_has_a_meaning() {
    for (status, code, kind) in [
        (400, "TrimmedDataAccessException", FailureKind::Trimmed),
        (400, "ExpiredIteratorException", FailureKind::Expired),
        (400, "LimitExceededException", FailureKind::Throttled),
        (400, "ThrottlingException", FailureKind::Throttled),
        (400, "ResourceNotFoundException", FailureKind::NotFound),
        (400, "AccessDeniedException", FailureKind::Denied),
        (500, "InternalServerError", FailureKind::Unavailable),
    ] {
        let read = stream(&refusing(status, code)).read(&Cursor("here".into()), 1).await.unwrap_err();
        let opened = stream(&refusing(status, code)).open("one", &ReadFrom::TrimHorizon).await.unwrap_err();
        let listed = stream(&refusing(status, code)).shards(None).await.unwrap_err();

        assert_eq!([read.kind, opened.kind, listed.kind], [kind; 3], "{code}");
        assert_eq!(
            [read.operation, opened.operation, listed.operation],
            ["GetRecords", "GetShardIterator", "DescribeStream"]
        );
    }
}

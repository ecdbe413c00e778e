use serde_json::json;

use super::*;
use crate::domain::key::{KeyAttribute, KeyType};
use crate::domain::value::Value;

fn schema() -> KeySchema {
    KeySchema { partition: KeyAttribute { name: "id".into(), kind: KeyType::S }, sort: None }
}

fn of_stream(record: &Json) -> Result<Change, BadRecord> {
    Change::from_json(&schema(), record, Carrier::DynamoDbStreams)
}

fn insert() -> Json {
    json!({
        "eventID": "7de3041dd709b024af6f29e4fa13d34c", "eventName": "INSERT", "eventVersion": "1.1",
        "eventSource": "aws:dynamodb", "awsRegion": "us-east-1",
        "dynamodb": {
            "ApproximateCreationDateTime": 1_479_499_740.9, "Keys": {"id": {"S": "a"}},
            "NewImage": {"id": {"S": "a"}, "exact": {"N": "1234567890123456789012345678901234567.8"}, "bin": {"B": "3q2+7w=="}},
            "SequenceNumber": "13021600000000001596893679", "SizeBytes": 112, "StreamViewType": "NEW_AND_OLD_IMAGES",
        },
    })
}

fn with(mut record: Json, pointer: &str, value: Json) -> Json {
    let (parent, name) = pointer.rsplit_once('/').unwrap();
    record.pointer_mut(parent).unwrap()[name] = value;
    record
}

fn without(mut record: Json, name: &str) -> Json {
    let body = record["dynamodb"].as_object_mut().unwrap();
    if body.remove(name).is_none() {
        record.as_object_mut().unwrap().remove(name);
    }
    record
}

/// R9.
#[test]
fn r9_a_valid_record_is_read_to_the_last_digit() {
    let change = of_stream(&insert()).unwrap();

    assert_eq!(change.event, Event::Insert);
    assert_eq!(change.created, Created { from_ms: 1_479_499_740_000, until_ms: 1_479_499_741_000 });
    let Image::Item(item) = change.image else { panic!("no item") };
    assert_eq!(item["bin"], Value::B(vec![0xde, 0xad, 0xbe, 0xef]));
    let Value::N(exact) = &item["exact"] else { panic!("no number") };
    assert_eq!(exact.text(), "1234567890123456789012345678901234567.8");
    assert_eq!((change.old, change.actor), (None, Actor::Client));
}

/// R9.
#[test]
fn r9_a_malformed_record_says_what_is_wrong_and_no_value() {
    for (record, word) in [
        (json!({}), "`dynamodb`"),
        (json!({"dynamodb": 1}), "`dynamodb`"),
        (without(insert(), "eventName"), "`eventName` is missing"),
        (with(insert(), "/eventName", json!("UPSERT")), "`eventName`"),
        (without(insert(), "Keys"), "`Keys` is missing"),
        (with(insert(), "/dynamodb/Keys", json!({"id": {"N": "1"}})), "`Keys`"),
        (with(insert(), "/dynamodb/Keys", json!({"id": {"S": "b"}})), "another key"),
        (with(insert(), "/dynamodb/NewImage", json!({"id": {"S": "a"}, "x": {"Q": "secret"}})), "`NewImage`"),
        (with(insert(), "/dynamodb/ApproximateCreationDateTime", json!("soon")), "no time"),
    ] {
        let bad = of_stream(&record).unwrap_err().to_string();
        assert!(bad.contains(word), "{word}: {bad}");
        assert!(!bad.contains("secret"), "{bad}");
    }
}

#[test]
fn what_a_record_does_not_show_is_left_to_the_master() {
    let image = |record: &Json| of_stream(record).unwrap().image;
    let keys_only = with(without(insert(), "NewImage"), "/dynamodb/StreamViewType", json!("KEYS_ONLY"));
    assert_eq!(image(&keys_only), Image::Unread);
    assert_eq!(image(&with(keys_only, "/eventName", json!("REMOVE"))), Image::Unread);
    let remove = with(without(insert(), "NewImage"), "/eventName", json!("REMOVE"));
    assert_eq!(image(&remove), Image::Gone);
    assert_eq!(image(&without(insert(), "NewImage")), Image::Unread);
}

#[test]
fn times_are_as_exact_as_their_carrier() {
    let of = |record: &Json| Change::from_json(&schema(), record, Carrier::Kinesis { arrived_ms: 77 }).unwrap().created;
    let time = "/dynamodb/ApproximateCreationDateTime";
    assert_eq!(of(&with(insert(), time, json!(1_604_104_219_456_i64))), Created::in_millisecond(1_604_104_219_456));
    let micro = with(insert(), "/dynamodb/ApproximateCreationDateTimePrecision", json!("MICROSECOND"));
    assert_eq!(of(&with(micro, time, json!(1_604_104_219_456_789_i64))), Created::in_millisecond(1_604_104_219_456));
    assert_eq!(of(&without(insert(), "ApproximateCreationDateTime")), Created { from_ms: 0, until_ms: 78 });
    // Relayed from the table's own stream.
    assert_eq!(of(&insert()), Created::in_second(1_479_499_740));
    assert_eq!(of(&with(insert(), time, json!(1_479_499_740))), Created::in_second(1_479_499_740));
}

#[test]
fn deletes_by_time_to_live_are_told_apart() {
    let identity = json!({"type": "Service", "principalId": "dynamodb.amazonaws.com"});
    let of = |identity: Json| of_stream(&with(insert(), "/userIdentity", identity)).unwrap().actor;

    assert_eq!(of(identity), Actor::TimeToLive);
    assert_eq!(of(json!({"type": "Service", "principalId": "replication.dynamodb.amazonaws.com"})), Actor::Client);
}

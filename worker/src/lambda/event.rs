//! An event of an event source mapping, taken apart: which records it has, of which table, and what each says.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::Value as Json;
use shared::aws::kinesis;
use shared::domain::change::{BadRecord, Carrier};
use shared::domain::overlap::Order;
use shared::domain::table_ref::TableRef;

/// An event that is none of a stream; nothing of it can be reported record by record.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this is no event of DynamoDB Streams or Kinesis: {0}")]
pub struct BadEvent(String);

/// One record of an event.
#[derive(Clone, Debug, PartialEq)]
pub struct Told {
    /// What Lambda is told when it fails.
    pub sequence: String,
    /// The table that it is of, where it says.
    pub table: Option<TableRef>,
    /// The change, as [`shared::domain::change::Change::from_json`] reads it.
    pub change: Result<Json, BadRecord>,
    /// How it came.
    pub carrier: Carrier,
}

impl Told {
    /// In which order records that came so tell of one item.
    #[must_use]
    pub fn order(&self) -> Order {
        match self.carrier {
            Carrier::DynamoDbStreams => Order::ByItem,
            Carrier::Kinesis { .. } => Order::ByTime,
        }
    }

    /// Whether it carries the item before and after; without a word about it, it does.
    #[must_use]
    pub fn shows_both_images(&self) -> bool {
        let Ok(change) = &self.change else { return true };
        let view = change.pointer("/dynamodb/StreamViewType").and_then(Json::as_str);
        view.is_none_or(|view| view == "NEW_AND_OLD_IMAGES")
    }
}

/// The records of an event, in their order.
///
/// # Errors
/// `BadEvent` when it has no records, or one of them has no sequence number to report it by.
pub fn read(event: Json) -> Result<Vec<Told>, BadEvent> {
    let Json::Object(mut event) = event else { return Err(bad("it is no object")) };
    let Some(Json::Array(records)) = event.remove("Records") else { return Err(bad("`Records` is missing")) };
    records.into_iter().map(told).collect()
}

fn told(record: Json) -> Result<Told, BadEvent> {
    match text(&record, "/eventSource") {
        Some("aws:dynamodb") => {
            let sequence = text(&record, "/dynamodb/SequenceNumber");
            let sequence = sequence.ok_or_else(|| bad("a record has no `dynamodb.SequenceNumber`"))?.to_owned();
            let table = text(&record, "/eventSourceARN").and_then(table_of_stream);
            Ok(Told { sequence, table, change: Ok(record), carrier: Carrier::DynamoDbStreams })
        }
        Some("aws:kinesis") => {
            let sequence = text(&record, "/kinesis/sequenceNumber");
            let sequence = sequence.ok_or_else(|| bad("a record has no `kinesis.sequenceNumber`"))?.to_owned();
            let carrier = Carrier::Kinesis { arrived_ms: arrived_ms(&record) };
            let change = data(&record);
            let table = change.as_ref().ok().and_then(|change| table_of_change(change, &record));
            Ok(Told { sequence, table, change, carrier })
        }
        Some(_) | None => Err(bad("a record's `eventSource` is neither `aws:dynamodb` nor `aws:kinesis`")),
    }
}

fn data(record: &Json) -> Result<Json, BadRecord> {
    let data = text(record, "/kinesis/data").ok_or_else(|| BadRecord("it has no data".to_owned()))?;
    let data = BASE64.decode(data).map_err(|_| BadRecord("its data is not base64".to_owned()))?;
    kinesis::parse(&data)
}

/// Without a time of arrival it may be as young as can be.
fn arrived_ms(record: &Json) -> i64 {
    let seconds = record.pointer("/kinesis/approximateArrivalTimestamp").and_then(Json::as_f64);
    #[expect(clippy::cast_possible_truncation, reason = "a time in milliseconds, far from the end of i64")]
    seconds.map_or(i64::MAX, |seconds| (seconds * 1000.0).ceil() as i64)
}

/// The table in `arn:aws:dynamodb:REGION:ACCOUNT:table/NAME/stream/LABEL`.
///
/// It is the function's own account's as a rule; another one's has to be named in the settings.
fn table_of_stream(arn: &str) -> Option<TableRef> {
    let mut parts = arn.splitn(6, ':');
    let (_, _, Some("dynamodb"), Some(region), _, Some(resource)) =
        (parts.next(), parts.next(), parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return None;
    };
    let name = resource.strip_prefix("table/")?.split('/').next()?;
    format!("{region}:{name}").parse().ok()
}

fn table_of_change(change: &Json, record: &Json) -> Option<TableRef> {
    let region = text(change, "/awsRegion").or_else(|| text(record, "/awsRegion"))?;
    format!("{region}:{}", text(change, "/tableName")?).parse().ok()
}

fn text<'a>(json: &'a Json, pointer: &str) -> Option<&'a str> {
    json.pointer(pointer).and_then(Json::as_str).filter(|text| !text.is_empty())
}

fn bad(what: &str) -> BadEvent {
    BadEvent(what.to_owned())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn kinesis(data: &str) -> Json {
        json!({"Records": [{
            "eventSource": "aws:kinesis",
            "eventID": "shardId-000000000006:7",
            "awsRegion": "us-east-1",
            "kinesis": {"sequenceNumber": "7", "data": data, "approximateArrivalTimestamp": 1_545_084_650.987_4},
        }]})
    }

    #[test]
    fn a_record_of_a_stream_names_its_table_in_the_arn() {
        let arn = "arn:aws:dynamodb:eu-west-1:123456789012:table/orders/stream/2026-11-20T00:00:00.000";
        let record = json!({"eventSource": "aws:dynamodb", "eventSourceARN": arn,
                            "dynamodb": {"SequenceNumber": "300", "StreamViewType": "NEW_IMAGE"}});

        let told = read(json!({"Records": [record.clone()]})).unwrap().remove(0);

        assert_eq!((told.sequence.as_str(), told.order()), ("300", Order::ByItem));
        assert_eq!(told.table.as_ref().unwrap().to_string(), "eu-west-1:orders");
        assert!(!told.shows_both_images());
        assert_eq!(told.change, Ok(record));
    }

    #[test]
    fn a_record_of_kinesis_carries_its_change_as_data() {
        let change = json!({"tableName": "orders", "awsRegion": "eu-west-1", "dynamodb": {}});

        let told = read(kinesis(&BASE64.encode(change.to_string()))).unwrap().remove(0);

        assert_eq!((told.sequence.as_str(), told.order()), ("7", Order::ByTime));
        assert_eq!(told.table.unwrap().to_string(), "eu-west-1:orders");
        assert_eq!((told.change, told.carrier), (Ok(change), Carrier::Kinesis { arrived_ms: 1_545_084_650_988 }));
    }

    #[test]
    fn data_that_is_no_change_is_a_matter_of_its_record_alone() {
        for data in ["not base64!", "bm8gSlNPTg=="] {
            let told = read(kinesis(data)).unwrap().remove(0);

            assert!(told.change.is_err() && told.table.is_none(), "{told:?}");
        }
    }

    #[test]
    fn what_is_no_event_of_a_stream_is_refused_as_a_whole() {
        for event in [
            json!([]),
            json!({}),
            json!({"Records": [{"eventSource": "aws:sqs"}]}),
            json!({"Records": [{"eventSource": "aws:dynamodb", "dynamodb": {}}]}),
            json!({"Records": [{"eventSource": "aws:kinesis", "kinesis": {"data": ""}}]}),
        ] {
            assert!(read(event.clone()).is_err(), "{event}");
        }
    }
}

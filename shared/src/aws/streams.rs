//! A table's DynamoDB stream.

use std::collections::HashMap;
use std::time::Duration;

use async_trait::async_trait;
use aws_sdk_dynamodbstreams::Client;
use aws_sdk_dynamodbstreams::types::{
    self as sdk, AttributeValue, OperationType, ShardIteratorType, StreamStatus as SdkStatus, StreamViewType,
};
use aws_smithy_runtime_api::client::result::SdkError;
use aws_smithy_runtime_api::http::Response;
use aws_smithy_types::error::metadata::ProvideErrorMetadata;

use super::classify;
use super::convert::item_from_sdk;
use crate::domain::change::{Actor, BadRecord, Change, Created, Event, Image, Record};
use crate::domain::key::{Key, KeySchema};
use crate::domain::value::Item;
use crate::ports::failure::{Failure, FailureKind};
use crate::ports::stream::{
    ChangeStream, Cursor, MAX_RECORDS_PER_PAGE, ReadFrom, RecordPage, Shard, ShardPage, ShardState, StreamDescription,
    StreamStatus, Tip, View,
};

/// How long a record can be read.
///
/// Source: Amazon DynamoDB Developer Guide, "Change data capture for DynamoDB Streams".
const RETENTION: Duration = Duration::from_secs(24 * 60 * 60);

/// Most shards of one page.
///
/// Source: Amazon DynamoDB API Reference, DescribeStream, Limit.
const MAX_SHARDS_PER_PAGE: i32 = 100;

/// One stream of one table, reached through one client.
#[derive(Clone, Debug)]
pub struct DynamoDbStream {
    client: Client,
    arn: String,
    schema: KeySchema,
}

impl DynamoDbStream {
    /// The stream with this ARN, of a table with this key. The client must not retry by itself.
    #[must_use]
    pub fn new(client: Client, arn: impl Into<String>, schema: KeySchema) -> Self {
        Self { client, arn: arn.into(), schema }
    }

    async fn ask(&self, limit: i32, after: Option<&str>) -> Result<sdk::StreamDescription, Failure> {
        let request = self.client.describe_stream().stream_arn(&self.arn).limit(limit);
        let answer = request.set_exclusive_start_shard_id(after.map(str::to_owned)).send().await;
        let answer = answer.map_err(|error| self.failed("DescribeStream", &error))?;
        answer.stream_description.ok_or_else(|| self.incomplete("DescribeStream", "the answer has no description"))
    }

    fn record(&self, record: sdk::Record) -> Result<Record, Failure> {
        let sequence = record.dynamodb.as_ref().and_then(|body| body.sequence_number.clone());
        let nowhere = || self.incomplete("GetRecords", "a record has no sequence number");
        Ok(Record { sequence: sequence.ok_or_else(nowhere)?, change: change(&self.schema, record) })
    }

    fn resource(&self) -> String {
        format!("stream `{}`", self.arn)
    }

    /// An answer that lacks what it must have.
    fn incomplete(&self, operation: &'static str, message: &str) -> Failure {
        let message = message.to_owned();
        Failure { kind: FailureKind::Unavailable, operation, resource: self.resource(), message }
    }

    fn failed<E>(&self, operation: &'static str, error: &SdkError<E, Response>) -> Failure
    where
        E: ProvideErrorMetadata + std::error::Error + 'static,
    {
        classify::failure(operation, self.resource(), error)
    }
}

#[async_trait]
impl ChangeStream for DynamoDbStream {
    async fn describe(&self) -> Result<StreamDescription, Failure> {
        let stream = self.ask(1, None).await?;
        let status = match stream.stream_status {
            Some(SdkStatus::Enabled) => StreamStatus::Enabled,
            Some(SdkStatus::Disabled | SdkStatus::Disabling) => StreamStatus::Disabled,
            Some(status) => StreamStatus::NotReady(status.as_str().to_owned()),
            None => StreamStatus::NotReady("UNKNOWN".to_owned()),
        };
        let view = view(stream.stream_view_type.as_ref().map(StreamViewType::as_str));
        Ok(StreamDescription { arn: stream.stream_arn.unwrap_or(self.arn.clone()), status, view, retention: RETENTION })
    }

    async fn shards(&self, after: Option<&str>) -> Result<ShardPage, Failure> {
        let stream = self.ask(MAX_SHARDS_PER_PAGE, after).await?;
        let shard = |shard: sdk::Shard| {
            let end = shard.sequence_number_range.and_then(|range| range.ending_sequence_number);
            Some(Shard {
                id: shard.shard_id?,
                parents: shard.parent_shard_id.into_iter().collect(),
                state: if end.is_some() { ShardState::Closed } else { ShardState::Open },
            })
        };
        let shards = stream.shards.unwrap_or_default().into_iter().filter_map(shard).collect();
        Ok(ShardPage { shards, next: stream.last_evaluated_shard_id })
    }

    async fn open(&self, shard: &str, from: &ReadFrom) -> Result<Cursor, Failure> {
        let (kind, sequence) = match from {
            ReadFrom::After(sequence) => (ShardIteratorType::AfterSequenceNumber, Some(sequence.clone())),
            ReadFrom::TrimHorizon | ReadFrom::Time(_) => (ShardIteratorType::TrimHorizon, None),
        };
        let request = self.client.get_shard_iterator().stream_arn(&self.arn).shard_id(shard);
        let answer = request.shard_iterator_type(kind).set_sequence_number(sequence).send().await;
        let answer = answer.map_err(|error| self.failed("GetShardIterator", &error))?;
        let nothing = || self.incomplete("GetShardIterator", "the answer has no iterator");
        answer.shard_iterator.map(Cursor).ok_or_else(nothing)
    }

    async fn read(&self, cursor: &Cursor, limit: u32) -> Result<RecordPage, Failure> {
        let limit = i32::try_from(limit.clamp(1, MAX_RECORDS_PER_PAGE)).unwrap_or(1);
        let request = self.client.get_records().shard_iterator(&cursor.0).limit(limit);
        let answer = request.send().await.map_err(|error| self.failed("GetRecords", &error))?;
        let records = answer.records.unwrap_or_default().into_iter().map(|record| self.record(record));
        let next = answer.next_shard_iterator.map(Cursor);
        Ok(RecordPage { records: records.collect::<Result<_, _>>()?, next, tip: Tip::Unknown })
    }
}

/// What a stream's records carry: one that has old images only does not tell what an item is.
pub(super) fn view(name: Option<&str>) -> View {
    match name {
        Some("NEW_IMAGE") => View::New,
        Some("NEW_AND_OLD_IMAGES") => View::NewAndOld,
        _ => View::Keys,
    }
}

fn change(schema: &KeySchema, record: sdk::Record) -> Result<Change, BadRecord> {
    let bad = |what: &str| BadRecord(what.to_owned());
    let body = record.dynamodb.ok_or_else(|| bad("`dynamodb` is missing"))?;
    let event = match record.event_name {
        Some(OperationType::Insert) => Event::Insert,
        Some(OperationType::Modify) => Event::Modify,
        Some(OperationType::Remove) => Event::Remove,
        Some(_) => return Err(bad("`eventName` is none that is known")),
        None => return Err(bad("`eventName` is missing")),
    };
    let keys = item("Keys", body.keys)?.ok_or_else(|| bad("`Keys` is missing"))?;
    let key = Key::of(schema, &keys).map_err(|error| BadRecord(format!("`Keys`: {error}")))?;
    if keys.len() > schema.attributes().count() {
        return Err(bad("`Keys` has attributes that are none of this table's key"));
    }
    let of_key = |name: &str, image: Option<Item>| match image {
        Some(image) if !Key::of(schema, &image).is_ok_and(|of_image| of_image == key) => {
            Err(BadRecord(format!("`{name}` has another key than `Keys`")))
        }
        image => Ok(image),
    };
    let new = of_key("NewImage", item("NewImage", body.new_image)?)?;
    let old = of_key("OldImage", item("OldImage", body.old_image)?)?;
    let shows_items = !matches!(body.stream_view_type, Some(StreamViewType::KeysOnly | StreamViewType::OldImage));
    let created = match body.approximate_creation_date_time {
        Some(time) => Created::in_second(time.secs()),
        // No time at all: as old as can be, so that nothing is taken for newer than it is.
        None => Created { from_ms: 0, until_ms: i64::MAX },
    };
    let image = Image::told(event, new.filter(|_| shows_items), shows_items);
    Ok(Change { key, event, image, old, created, actor: actor(record.user_identity.as_ref()) })
}

/// An item of a record; an empty one is as good as none.
fn item(name: &str, item: Option<HashMap<String, AttributeValue>>) -> Result<Option<Item>, BadRecord> {
    let item = item.filter(|item| !item.is_empty()).map(item_from_sdk).transpose();
    item.map_err(|error| BadRecord(format!("`{name}`: {error}")))
}

/// Who deletes by time to live signs as the service.
///
/// Source: Amazon DynamoDB Developer Guide, "DynamoDB Streams and Time to Live".
fn actor(identity: Option<&sdk::Identity>) -> Actor {
    match identity.map(|identity| (identity.r#type(), identity.principal_id())) {
        Some((Some("Service"), Some("dynamodb.amazonaws.com"))) => Actor::TimeToLive,
        _ => Actor::Client,
    }
}

#[cfg(test)]
mod tests;

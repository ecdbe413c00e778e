//! A Kinesis data stream that carries a table's changes.
//!
//! They are records as DynamoDB itself puts them there, or the keys-only records of those who write to a table and tell
//! of it. A stream may carry the changes of several tables; what is another table's is passed over.

use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use aws_sdk_kinesis::Client;
use aws_sdk_kinesis::types::{self as sdk, ShardIteratorType, StreamStatus as SdkStatus};
use aws_smithy_runtime_api::client::result::SdkError;
use aws_smithy_runtime_api::http::Response;
use aws_smithy_types::DateTime;
use aws_smithy_types::error::metadata::ProvideErrorMetadata;
use serde_json::Value as Json;

use super::classify;
use crate::domain::change::{BadRecord, Carrier, Change, Record};
use crate::domain::key::KeySchema;
use crate::ports::failure::{Failure, FailureKind};
use crate::ports::stream::{
    ChangeStream, Cursor, MAX_RECORDS_PER_PAGE, ReadFrom, RecordPage, Shard, ShardPage, ShardState, StreamDescription,
    StreamStatus, Tip, View,
};

/// Most shards of one page; there may be 10,000, and a page of them takes a few seconds.
///
/// Source: Amazon Kinesis Data Streams API Reference, ListShards, `MaxResults`.
const MAX_SHARDS_PER_PAGE: i32 = 1000;

/// How far before now reading begins at the latest, as the service refuses times that its clock has not reached.
const CLOCK_MARGIN: Duration = Duration::from_secs(60);

/// What a record begins with that the Kinesis Producer Library made of several.
///
/// Source: Amazon Kinesis Producer Library, "KPL Aggregated Record Format".
const AGGREGATED: [u8; 4] = [0xF3, 0x89, 0x9A, 0xC2];

/// One stream with one table's changes, reached through one client.
#[derive(Clone, Debug)]
pub struct KinesisStream {
    client: Client,
    arn: String,
    table: String,
    schema: KeySchema,
}

impl KinesisStream {
    /// The stream with this ARN, for the changes of the table with this name and key. The client must not retry by
    /// itself.
    #[must_use]
    pub fn new(client: Client, arn: impl Into<String>, table: impl Into<String>, schema: KeySchema) -> Self {
        Self { client, arn: arn.into(), table: table.into(), schema }
    }

    /// The record, unless it is another table's.
    fn record(&self, record: sdk::Record) -> Option<Record> {
        let arrived = record.approximate_arrival_timestamp.and_then(|time| time.to_millis().ok());
        // Without a time of arrival it may be as young as can be.
        let carrier = Carrier::Kinesis { arrived_ms: arrived.unwrap_or(i64::MAX) };
        let change = match parse(record.data.as_ref()) {
            Ok(json) if is_of_another_table(&json, &self.table) => return None,
            Ok(json) => Change::from_json(&self.schema, &json, carrier),
            Err(error) => Err(error),
        };
        Some(Record { sequence: record.sequence_number, change })
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
impl ChangeStream for KinesisStream {
    async fn describe(&self) -> Result<StreamDescription, Failure> {
        let answer = self.client.describe_stream_summary().stream_arn(&self.arn).send().await;
        let answer = answer.map_err(|error| self.failed("DescribeStreamSummary", &error))?;
        let nothing = || self.incomplete("DescribeStreamSummary", "the answer has no description");
        let stream = answer.stream_description_summary.ok_or_else(nothing)?;
        let status = match stream.stream_status {
            SdkStatus::Active | SdkStatus::Updating => StreamStatus::Enabled,
            SdkStatus::Deleting => StreamStatus::Disabled,
            status => StreamStatus::NotReady(status.as_str().to_owned()),
        };
        let hours = u64::try_from(stream.retention_period_hours).unwrap_or_default();
        let retention = Duration::from_secs(hours * 60 * 60);
        Ok(StreamDescription { arn: stream.stream_arn, status, view: View::ByRecord, retention })
    }

    async fn shards(&self, after: Option<&str>) -> Result<ShardPage, Failure> {
        // The service's token for the next page expires; the last shard's id does not.
        let request = self.client.list_shards().stream_arn(&self.arn).max_results(MAX_SHARDS_PER_PAGE);
        let answer = request.set_exclusive_start_shard_id(after.map(str::to_owned)).send().await;
        let answer = answer.map_err(|error| self.failed("ListShards", &error))?;
        let shard = |shard: sdk::Shard| {
            let end = shard.sequence_number_range.and_then(|range| range.ending_sequence_number);
            Shard {
                id: shard.shard_id,
                parents: shard.parent_shard_id.into_iter().chain(shard.adjacent_parent_shard_id).collect(),
                state: if end.is_some() { ShardState::Closed } else { ShardState::Open },
            }
        };
        let shards: Vec<Shard> = answer.shards.unwrap_or_default().into_iter().map(shard).collect();
        let next = match (answer.next_token, shards.last()) {
            (None, _) => None,
            (Some(_), Some(last)) => Some(last.id.clone()),
            (Some(_), None) => return Err(self.incomplete("ListShards", "a page that is not the last has no shards")),
        };
        Ok(ShardPage { shards, next })
    }

    async fn open(&self, shard: &str, from: &ReadFrom) -> Result<Cursor, Failure> {
        let request = self.client.get_shard_iterator().stream_arn(&self.arn).shard_id(shard);
        let request = match from {
            ReadFrom::TrimHorizon => request.shard_iterator_type(ShardIteratorType::TrimHorizon),
            ReadFrom::After(sequence) => {
                request.shard_iterator_type(ShardIteratorType::AfterSequenceNumber).starting_sequence_number(sequence)
            }
            ReadFrom::Time(time) => {
                let latest = DateTime::from(SystemTime::now() - CLOCK_MARGIN);
                let time = DateTime::from_millis(*time).min(latest);
                request.shard_iterator_type(ShardIteratorType::AtTimestamp).timestamp(time)
            }
        };
        let answer = request.send().await.map_err(|error| self.failed("GetShardIterator", &error))?;
        let nothing = || self.incomplete("GetShardIterator", "the answer has no iterator");
        answer.shard_iterator.map(Cursor).ok_or_else(nothing)
    }

    async fn read(&self, cursor: &Cursor, limit: u32) -> Result<RecordPage, Failure> {
        let limit = i32::try_from(limit.clamp(1, MAX_RECORDS_PER_PAGE)).unwrap_or(1);
        let request = self.client.get_records().stream_arn(&self.arn).shard_iterator(&cursor.0).limit(limit);
        let answer = request.send().await.map_err(|error| self.failed("GetRecords", &error))?;
        let behind = answer.millis_behind_latest.and_then(|behind| u64::try_from(behind).ok());
        Ok(RecordPage {
            records: answer.records.into_iter().filter_map(|record| self.record(record)).collect(),
            next: answer.next_shard_iterator.map(Cursor),
            tip: behind.map_or(Tip::Unknown, |behind| Tip::Behind(Duration::from_millis(behind))),
        })
    }
}

/// The change in a record's data, as JSON.
///
/// # Errors
/// `BadRecord` when it is none, or several in one.
pub fn parse(data: &[u8]) -> Result<Json, BadRecord> {
    if data.starts_with(&AGGREGATED) {
        return Err(BadRecord("it is several in one, as the Kinesis Producer Library makes them".to_owned()));
    }
    // The parser's own words may quote what it met.
    serde_json::from_slice(data).map_err(|_| BadRecord("it is not JSON".to_owned()))
}

/// Whether a record names a table, and another one: by itself, or by the stream that it was taken from.
fn is_of_another_table(record: &Json, table: &str) -> bool {
    let text = |field: &str| record.get(field).and_then(Json::as_str);
    let named = text("tableName");
    let of_stream = || text("eventSourceARN")?.split_once(":table/").map(|(_, rest)| rest.split('/').next());
    named.or_else(|| of_stream().flatten()).is_some_and(|name| name != table)
}

#[cfg(test)]
mod tests;

//! One request, as far as the proxy understands it.

use std::time::Instant;

use bytes::Bytes;
use hyper::http::request::Parts;
use serde_json::Value as Json;

/// Who a request is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Service {
    /// DynamoDB.
    Tables,
    /// SQS.
    Queue,
    /// S3.
    Store,
}

/// A request that arrived whole.
#[derive(Debug)]
pub(super) struct Call {
    pub(super) service: Service,
    /// The operation of a JSON protocol, or the method of S3.
    pub(super) operation: String,
    pub(super) head: Parts,
    pub(super) body: Bytes,
    pub(super) arrived: Instant,
}

impl Call {
    pub(super) fn new(head: Parts, body: Bytes) -> Self {
        let target = head.headers.get("x-amz-target").and_then(|target| target.to_str().ok());
        let (service, operation) = match target.and_then(|target| target.split_once('.')) {
            Some(("AmazonSQS", operation)) => (Service::Queue, operation.to_owned()),
            Some((_, operation)) => (Service::Tables, operation.to_owned()),
            None => (Service::Store, head.method.to_string()),
        };
        Self { service, operation, head, body, arrived: Instant::now() }
    }

    pub(super) fn json(&self) -> Json {
        serde_json::from_slice(&self.body).unwrap_or(Json::Null)
    }

    pub(super) fn is(&self, operation: &str) -> bool {
        self.operation == operation
    }

    /// Whether it changes a table.
    pub(super) fn writes_tables(&self) -> bool {
        const READS: [&str; 7] = [
            "Scan",
            "BatchGetItem",
            "DescribeTable",
            "DescribeTimeToLive",
            "DescribeStream",
            "GetShardIterator",
            "GetRecords",
        ];
        self.service == Service::Tables && !READS.contains(&self.operation.as_str())
    }

    /// Whether it may wait for messages, and is over when its client is.
    pub(super) fn waits(&self) -> bool {
        self.service == Service::Queue && self.is("ReceiveMessage")
    }

    pub(super) fn is_conditional_put(&self) -> bool {
        let conditional = ["if-match", "if-none-match"].iter().any(|name| self.head.headers.contains_key(*name));
        self.service == Service::Store && self.is("PUT") && conditional
    }

    /// What it is, in a line of the history.
    pub(super) fn title(&self) -> String {
        match self.service {
            Service::Tables | Service::Queue => self.operation.clone(),
            Service::Store => format!("{} {}", self.operation, self.head.uri.path()),
        }
    }
}

//! A line of a list of rejected changes: what could not be applied, and why. It carries no item values but the key.

use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

use super::unit::Pass;

/// A change or an item that could not be written after all tries.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Rejected {
    /// Where it was met.
    pub pass: Pass,
    /// The segment, or the shard's number.
    pub segment: u32,
    /// The shard's id in the stream.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shard: Option<String>,
    /// The record's sequence number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sequence: Option<String>,
    /// The slave that refused it; absent when nobody could have applied it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slave: Option<String>,
    /// The key, as DynamoDB JSON, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<Json>,
    /// The error.
    pub error: String,
    /// When, as RFC 3339 with milliseconds.
    pub at: String,
}

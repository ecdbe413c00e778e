//! One line of a report: a discrepancy and what came of it.

use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

use super::decide::Kind;

/// What came of a discrepancy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It was only reported, because no flag allows its repair.
    Reported,
    /// The master's item was put on the slave.
    Written,
    /// The slave's item was deleted.
    Deleted,
    /// The repair was not made; the reason says why.
    Skipped,
    /// The repair failed; the reason is the error.
    Failed,
    /// Whether it is a discrepancy, or was repaired for good, could not be told: the master kept changing.
    Unstable,
}

impl Outcome {
    /// The name in reports.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Reported => "reported",
            Self::Written => "written",
            Self::Deleted => "deleted",
            Self::Skipped => "skipped",
            Self::Failed => "failed",
            Self::Unstable => "unstable",
        }
    }
}

/// A line of a report part.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Discrepancy {
    /// The segment in which it was found.
    pub segment: u32,
    /// The slave, as it was named.
    pub slave: String,
    /// What is wrong.
    pub kind: Kind,
    /// The key, as DynamoDB JSON.
    pub key: Json,
    /// The paths that differ, sorted.
    pub attributes: Vec<String>,
    /// What came of it.
    pub outcome: Outcome,
    /// Why it was skipped, the error, or what else is to be known of it.
    pub reason: Option<String>,
    /// When, as RFC 3339 with milliseconds.
    pub at: String,
    /// The items of both sides, only with `--report-values`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub values: Option<Values>,
}

/// Both sides of a discrepancy, as DynamoDB JSON.
///
/// For `differing`, only the top-level attributes that differ; else the whole item of the side that has it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Values {
    /// The master's.
    pub master: Option<Json>,
    /// The slave's.
    pub slave: Option<Json>,
}

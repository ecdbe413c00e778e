//! What the function is told in its environment, checked as a whole: every problem is named at once.

mod read;

use std::fmt;

use shared::domain::job::{Access, Side};
use shared::domain::table_ref::TableRef;
use shared::journal::StoreUrl;

use read::Reader;

/// Everything the function goes by.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// What it does with changes.
    pub function: Function,
    /// The table whose changes come, when it is named; else each record tells.
    pub master: Option<TableRef>,
    /// How that table is reached.
    pub master_access: Access,
    /// The attribute that holds versions.
    pub version_attribute: Option<String>,
    /// The attribute that tells whose write it was.
    pub origin_attribute: Option<String>,
    /// The share of the records that is this function's.
    pub turnover: Option<Turnover>,
    /// When the master is read instead of taking a record at its word.
    pub reread: Option<Reread>,
    /// What becomes of a record that can never be applied.
    pub rejected: Rejected,
    /// How a failure is told.
    pub failures: Failures,
}

/// What is done with changes.
#[derive(Clone, Debug, PartialEq)]
pub enum Function {
    /// They are written to these tables.
    Replicate {
        /// The tables.
        slaves: Vec<Side>,
        /// Keys to reach them with, in place of the function's own role.
        keys: Option<Keys>,
    },
    /// Each item is kept as an object of this store.
    Backup {
        /// The store.
        store: StoreUrl,
        /// The region of its bucket.
        region: Option<String>,
    },
}

/// An access key and its secret.
#[derive(Clone, PartialEq, Eq)]
pub struct Keys {
    /// The id.
    pub id: String,
    /// The secret.
    pub secret: String,
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keys").field("id", &self.id).finish_non_exhaustive()
    }
}

/// Which share of the records this function takes, where another one takes the rest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turnover {
    /// Those created before this (milliseconds since 1970).
    Before(i64),
    /// Those created from then on.
    After(i64),
}

impl Turnover {
    /// Whether a record of this time is this function's.
    #[must_use]
    pub fn takes(self, created_ms: i64) -> bool {
        match self {
            Self::Before(at_ms) => created_ms < at_ms,
            Self::After(at_ms) => created_ms >= at_ms,
        }
    }
}

/// When the master is read instead of taking a record at its word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reread {
    /// Only for records that do not show the item.
    Never,
    /// For records that were created longer ago than this.
    OlderThan {
        /// In milliseconds.
        ms: i64,
    },
    /// For every record.
    Always,
}

/// What becomes of a record that can never be applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rejected {
    /// It is a failure, until Lambda gives it to the destination for failures.
    Fail,
    /// It is logged, and passed over.
    Skip,
}

/// How a failure is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failures {
    /// The invocation fails.
    OfInvocation,
    /// The answer names the first record that failed.
    OfRecord,
}

/// Settings with which the function cannot start.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the environment of the function is not complete or contradicts itself: {}", problems.join("; "))]
pub struct BadSettings {
    /// Everything that is wrong.
    pub problems: Vec<String>,
}

impl Settings {
    /// Reads the variables of an environment; empty ones count as absent.
    ///
    /// # Errors
    /// `BadSettings` with all that is wrong.
    pub fn read(environment: impl IntoIterator<Item = (String, String)>) -> Result<Self, BadSettings> {
        let variables = environment.into_iter().filter(|(_, value)| !value.trim().is_empty()).collect();
        let mut reader = Reader::new(variables);
        let settings = reader.settings();
        reader.look_for_unknown();
        match (settings, reader.into_problems()) {
            (Some(settings), problems) if problems.is_empty() => Ok(settings),
            (_, problems) => Err(BadSettings { problems }),
        }
    }
}

#[cfg(test)]
mod tests;

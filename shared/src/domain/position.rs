//! How far a shard is applied to the slaves.

use serde::{Deserialize, Serialize};

/// Where reading a shard begins that has no checkpoint.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Start {
    /// At the oldest record that is there.
    TrimHorizon,
    /// At the first record that was not made before this (milliseconds since 1970).
    Time(i64),
    /// Where another job stood.
    Position(ShardPosition),
    /// Nowhere: it was over before the time from which on the job follows.
    Over,
}

/// How far a shard is applied.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShardPosition {
    /// The sequence number of the last record that is on the slaves; none before the first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
    /// Whether later records may be on the slaves too.
    pub beyond: Beyond,
    /// Changes made before this may be older than what the slaves hold.
    pub in_doubt_until_ms: i64,
    /// Every change of this shard that was made before this is on the slaves.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub caught_up_to_ms: Option<i64>,
    /// Whether more records can come.
    pub reach: Reach,
    /// What was lost, because the stream does not keep it any more.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub gaps: Vec<Gap>,
}

/// Whether records behind a position may be on the slaves too.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Beyond {
    /// None is: whoever was here last left in good order.
    Nothing,
    /// Some may be: whoever was here last goes on, or died.
    Perhaps,
}

/// Whether more records can come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reach {
    /// They can.
    Open,
    /// The shard was closed, and read to its end.
    End,
}

/// Changes that were lost: the stream did not keep them until they were read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gap {
    /// Nothing made before this is lost (milliseconds since 1970); absent when nothing was read before it.
    pub from_ms: Option<i64>,
    /// Nothing made from here on is lost.
    pub to_ms: i64,
}

impl ShardPosition {
    /// Before the first record.
    #[must_use]
    pub fn new(in_doubt_until_ms: i64) -> Self {
        Self {
            after: None,
            beyond: Beyond::Nothing,
            in_doubt_until_ms,
            caught_up_to_ms: None,
            reach: Reach::Open,
            gaps: Vec::new(),
        }
    }

    /// The position from which a worker goes on that took the shard at `now_ms`.
    ///
    /// What its predecessor may have applied beyond the position was made before that.
    #[must_use]
    pub fn taken_over(&self, now_ms: i64, skew_ms: i64) -> Self {
        let in_doubt_until_ms = match self.beyond {
            Beyond::Nothing => self.in_doubt_until_ms,
            Beyond::Perhaps => self.in_doubt_until_ms.max(now_ms.saturating_add(skew_ms)),
        };
        Self { in_doubt_until_ms, ..self.clone() }
    }
}

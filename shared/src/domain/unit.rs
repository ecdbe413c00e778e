//! Units of work and the queue message that carries one (version 1).

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

use super::job_id::check_job_id;
use super::segment::MAX_SEGMENTS;

/// The message version that this program reads and writes.
pub const MESSAGE_VERSION: u32 = 1;

/// Most slaves of one job: far above any use, and a bound for what a message may say.
pub const MAX_SLAVES: usize = 1000;

/// Longest message that is read; the longest of ours, with a key of 3 KB, is far shorter.
const MAX_BODY: usize = 64 * 1024;

/// Longest URL of a manifest that is read; a bucket's name and an object's key have 1,087 bytes together.
///
/// Source: Amazon S3 User Guide, "Bucket naming rules" and "Creating object key names".
const MAX_URL: usize = 4096;

/// Most characters of a bad message that an error repeats.
const MAX_QUOTED: usize = 200;

/// What a unit reads: the master, one slave in search of extra items, or the master's stream of changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Pass {
    /// The master's items are held against every slave.
    Master,
    /// This slave's keys are looked up in the master.
    Slave(usize),
    /// The master's changes are applied to every slave; what is a segment elsewhere is a shard here.
    Stream,
}

impl Pass {
    /// The scanned table: 0 is the master, n + 1 is slave n.
    #[must_use]
    pub fn scanned_table(self) -> usize {
        match self {
            Self::Master | Self::Stream => 0,
            Self::Slave(slave) => slave + 1,
        }
    }
}

impl fmt::Display for Pass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Master => f.write_str("master"),
            Self::Slave(slave) => write!(f, "slave-{slave}"),
            Self::Stream => f.write_str("stream"),
        }
    }
}

impl FromStr for Pass {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let number = |digits: &str| digits.parse().ok().filter(|n: &usize| *n < MAX_SLAVES && n.to_string() == digits);
        let slave = || text.strip_prefix("slave-").and_then(number);
        match text {
            "master" => Ok(Self::Master),
            "stream" => Ok(Self::Stream),
            _ => slave().map(Self::Slave).ok_or_else(|| format!("unknown pass `{text}`")),
        }
    }
}

impl TryFrom<String> for Pass {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Pass> for String {
    fn from(pass: Pass) -> Self {
        pass.to_string()
    }
}

/// One unit of work: one segment in one pass, or one shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Unit {
    /// Which table is scanned.
    pub pass: Pass,
    /// Which segment, or which shard by its number in the job.
    pub segment: u32,
}

impl fmt::Display for Unit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{:06}", self.pass, self.segment)
    }
}

/// What a message asks for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Task {
    /// Scan one segment of one table.
    Scan {
        /// Which table.
        pass: Pass,
        /// Which segment.
        segment: u32,
        /// Of how many.
        total_segments: u32,
    },
    /// Follow one shard of the master's stream.
    Shard {
        /// Its number in the job, as in `shards.json`.
        shard: u32,
    },
}

/// A queue message: everything a worker needs to begin.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WorkMessage {
    /// Always [`MESSAGE_VERSION`].
    pub version: u32,
    /// The job.
    pub job: String,
    /// Where its manifest is.
    pub manifest: String,
    /// What to do.
    pub unit: Task,
    /// By table, the key to resume after; a worker starts from the later of this and its checkpoint.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub start: BTreeMap<String, Json>,
}

/// A message that no worker of this version can do; it belongs in the dead-letter queue.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadMessage {
    /// It is longer than any message of dynamend.
    #[error("the message has {0} bytes, and {MAX_BODY} are the most that a worker reads")]
    TooLong(usize),
    /// It is no JSON.
    #[error("the message is not JSON: {0}")]
    NotJson(String),
    /// It is of another version.
    #[error("the message has version {0}, and this worker understands version {MESSAGE_VERSION}")]
    UnknownVersion(String),
    /// It asks for something else.
    #[error("the message has kind `{0}`, and this worker understands `scan` and `shard`")]
    UnknownKind(String),
    /// It lacks a field, or a field is of the wrong form.
    #[error("the message does not fit version {MESSAGE_VERSION}: {0}")]
    Malformed(String),
}

impl WorkMessage {
    /// Reads a message body, telling apart what is wrong with a bad one.
    ///
    /// # Errors
    /// `BadMessage`; the message must then not be deleted.
    pub fn parse(body: &str) -> Result<Self, BadMessage> {
        if body.len() > MAX_BODY {
            return Err(BadMessage::TooLong(body.len()));
        }
        let json: Json = serde_json::from_str(body).map_err(|error| BadMessage::NotJson(error.to_string()))?;
        match json.get("version") {
            Some(version) if version.as_u64() == Some(u64::from(MESSAGE_VERSION)) => {}
            Some(version) => return Err(BadMessage::UnknownVersion(quoted(&version.to_string()))),
            None => return Err(BadMessage::Malformed("`version` is missing".to_owned())),
        }
        match json.pointer("/unit/kind").and_then(Json::as_str) {
            Some("scan" | "shard") | None => {}
            Some(kind) => return Err(BadMessage::UnknownKind(quoted(kind))),
        }
        let message: Self =
            serde_json::from_value(json).map_err(|error| BadMessage::Malformed(quoted(&error.to_string())))?;
        check_job_id(&message.job)
            .map_err(|bad| BadMessage::Malformed(format!("`{}` is no id of a job: {bad}", quoted(&message.job))))?;
        if message.manifest.len() > MAX_URL || message.manifest.chars().any(char::is_control) {
            let url = quoted(&message.manifest);
            return Err(BadMessage::Malformed(format!("`{url}` is no URL of a manifest")));
        }
        match message.unit {
            Task::Scan { pass: Pass::Stream, .. } => {
                Err(BadMessage::Malformed("the pass `stream` is not scanned".to_owned()))
            }
            Task::Scan { total_segments, .. } if !(1..=MAX_SEGMENTS).contains(&total_segments) => {
                Err(BadMessage::Malformed(format!("{total_segments} segments, of {MAX_SEGMENTS} at most")))
            }
            Task::Scan { segment, total_segments, .. } if segment >= total_segments => {
                Err(BadMessage::Malformed(format!("segment {segment} of {total_segments}")))
            }
            Task::Scan { .. } | Task::Shard { .. } => Ok(message),
        }
    }

    /// The message as it is sent.
    #[must_use]
    pub fn to_body(&self) -> String {
        serde_json::to_string(self).unwrap_or_else(|error| unreachable!("a message always serialises: {error}"))
    }

    /// The unit that it is about.
    #[must_use]
    pub fn work_unit(&self) -> Unit {
        match self.unit {
            Task::Scan { pass, segment, .. } => Unit { pass, segment },
            Task::Shard { shard } => Unit { pass: Pass::Stream, segment: shard },
        }
    }
}

/// What a message says, fit for one line of a log.
fn quoted(text: &str) -> String {
    let shown: String = text.chars().take(MAX_QUOTED).flat_map(escaped).collect();
    if text.chars().nth(MAX_QUOTED).is_none() { shown } else { format!("{shown}…") }
}

fn escaped(c: char) -> Box<dyn Iterator<Item = char>> {
    if c.is_control() { Box::new(c.escape_default()) } else { Box::new(std::iter::once(c)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXAMPLE: &str = r#"{"version": 1, "job": "20261120T231500Z-7f3a",
        "manifest": "s3://bucket/prefix/jobs/20261120T231500Z-7f3a/manifest.json",
        "unit": {"kind": "scan", "pass": "master", "segment": 3, "total_segments": 64},
        "start": {"us-east-1:orders": {"id": {"S": "abc"}}}}"#;

    #[test]
    fn a_message_of_version_1_is_read_and_written() {
        let message = WorkMessage::parse(EXAMPLE).unwrap();

        assert_eq!(message.work_unit(), Unit { pass: Pass::Master, segment: 3 });
        assert_eq!(WorkMessage::parse(&message.to_body()).unwrap(), message);
        let expected: Json = serde_json::from_str(EXAMPLE).unwrap();
        assert_eq!(serde_json::from_str::<Json>(&message.to_body()).unwrap(), expected);
    }

    #[test]
    fn a_message_for_a_shard_is_read_and_written() {
        let body =
            r#"{"version":1,"job":"J","manifest":"s3://b/jobs/J/manifest.json","unit":{"kind":"shard","shard":12}}"#;

        let message = WorkMessage::parse(body).unwrap();

        assert_eq!(message.work_unit(), Unit { pass: Pass::Stream, segment: 12 });
        assert_eq!(message.work_unit().to_string(), "stream/000012");
        assert_eq!(message.to_body(), body);
    }

    #[test]
    fn fields_of_later_writers_are_passed_over() {
        let later = EXAMPLE.replacen("{\"version\": 1,", "{\"version\": 1, \"hint\": {}, ", 1);

        assert_eq!(WorkMessage::parse(&later), WorkMessage::parse(EXAMPLE));
    }

    #[test]
    fn each_way_to_be_bad_is_told_apart() {
        for (body, word) in [
            ("not json".to_owned(), "not JSON"),
            ("{}".to_owned(), "`version` is missing"),
            (EXAMPLE.replace("\"version\": 1", "\"version\": 2"), "version 2"),
            (EXAMPLE.replace("\"scan\"", "\"teleport\""), "kind `teleport`"),
            (EXAMPLE.replace("\"master\"", "\"slave-x\""), "unknown pass"),
            (EXAMPLE.replace("\"master\"", "\"stream\""), "not scanned"),
            (EXAMPLE.replace("\"scan\"", "\"shard\""), "missing field `shard`"),
            (EXAMPLE.replace("\"segment\": 3,", ""), "segment"),
            (EXAMPLE.replace("\"segment\": 3", "\"segment\": 64"), "segment 64 of 64"),
            ("[1]".to_owned(), "`version` is missing"),
        ] {
            let error = WorkMessage::parse(&body).unwrap_err().to_string();
            assert!(error.contains(word), "{body}: {error}");
        }
    }

    #[test]
    fn what_would_become_a_path_or_a_number_is_held_to_its_bounds() {
        let id = "\"job\": \"20261120T231500Z-7f3a\"";
        let url = "s3://bucket/prefix/jobs/20261120T231500Z-7f3a/manifest.json";
        let pass = |pass: &str| EXAMPLE.replace("\"master\"", &format!("\"{pass}\""));
        assert_eq!(WorkMessage::parse(&pass("slave-999")).unwrap().work_unit().pass, Pass::Slave(999));
        for (body, word) in [
            (EXAMPLE.replace(id, r#""job": "../x""#), "`../x` is no id of a job"),
            (EXAMPLE.replace(id, r#""job": "a/b""#), "no id of a job"),
            (EXAMPLE.replace(id, r#""job": """#), "no id of a job"),
            (EXAMPLE.replace(url, &format!("s3://b/{}/jobs/J/manifest.json", "a".repeat(MAX_URL))), "no URL"),
            (EXAMPLE.replace(url, "s3://b\\u001b[31m/jobs/J/manifest.json"), "no URL"),
            (pass("slave-1000"), "unknown pass"),
            (pass("slave-18446744073709551615"), "unknown pass"),
            (pass("slave-01"), "unknown pass"),
            (pass("slave-+1"), "unknown pass"),
            (pass("slave--1"), "unknown pass"),
            (pass("slave-0/../.."), "unknown pass"),
            (EXAMPLE.replace(": 64", ": 4294967295"), "4294967295 segments"),
            (EXAMPLE.replace(": 3,", ": -1,"), "-1"),
            (EXAMPLE.replace(": 3,", ": 4294967296,"), "4294967296"),
            (format!("{EXAMPLE}{}", " ".repeat(MAX_BODY)), "bytes"),
            (format!("{}1", "[".repeat(MAX_BODY - 1)), "not JSON"),
        ] {
            let error = WorkMessage::parse(&body).unwrap_err().to_string();
            assert!(error.contains(word), "{word}: {error}");
        }
    }

    #[test]
    fn an_error_repeats_a_bad_message_on_one_line_and_not_at_length() {
        let long = "x".repeat(10_000);
        for (old, new) in [
            ("\"scan\"", format!(r#""{long}""#)),
            ("\"version\": 1", format!(r#""version": "{long}""#)),
            ("\"20261120T231500Z-7f3a\",", format!(r#""{long}","#)),
            ("\"scan\"", r#""a\nb\u001b[31m""#.to_owned()),
            ("\"master\"", r#""a\nb\u001b[31m""#.to_owned()),
        ] {
            let error = WorkMessage::parse(&EXAMPLE.replace(old, &new)).unwrap_err().to_string();
            assert!(error.len() < 500 && !error.contains(char::is_control), "{error:?}");
        }
    }
}

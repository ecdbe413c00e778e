//! What a backup came to, as CloudWatch metrics.
//!
//! A line in the embedded metric format goes to standard error, raw, whatever the log's format and verbosity are. Where
//! standard error is collected by CloudWatch Logs (Lambda, ECS and EC2 with the agent) the metrics come out of it by
//! themselves, without a call or a permission.
//!
//! Source: Amazon CloudWatch User Guide, "Specification: Embedded metric format".

use std::fmt;
use std::io::Write as _;
use std::str::FromStr;

use jiff::Timestamp;
use serde_json::{Map, Value as Json, json};
use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::{Event, Metadata, Subscriber};
use tracing_subscriber::filter::{FilterFn, Targets, filter_fn};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::{Context, Layer};
use tracing_subscriber::registry::LookupSpan;

/// The dimension of all metrics.
const DIMENSION: &str = "TableName";

/// Names and units, those of mapbox's tool, so that its alarms and dashboards go on.
const BACKUP: [(&str, &str); 3] = [("BackupSize", "Bytes"), ("BackupRecordCount", "Count"), ("BackupErrors", "Count")];

/// The target of the events that are metrics. No filter of the ordinary log names it.
const TARGET: &str = "metrics::embedded";

/// Most characters of a namespace.
///
/// Source: Amazon CloudWatch API Reference, Metric.
const MAX_NAMESPACE_LENGTH: usize = 255;

/// Where metrics are put together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Namespace(String);

/// A text that is no namespace.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is no namespace for metrics: {what}")]
pub struct BadNamespace {
    /// What was given.
    pub text: String,
    /// What is wrong with it.
    pub what: &'static str,
}

/// What a backup came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BackupMetrics {
    /// The table's bare name.
    pub table_name: String,
    /// Bytes of what was written.
    pub bytes: u64,
    /// Items that were written.
    pub records: u64,
    /// What went wrong: items that are missing in the backup, and 1 where there is none.
    pub errors: u64,
}

/// Publishes what a backup came to, at this time.
pub fn publish(namespace: &Namespace, metrics: &BackupMetrics, at: Timestamp) {
    write_line(&embedded(namespace, metrics, at));
}

/// Writes one line, beside the log.
pub(super) fn write_line(line: &Json) {
    let line = line.to_string();
    tracing::error!(target: TARGET, line = line.as_str());
}

fn embedded(Namespace(namespace): &Namespace, metrics: &BackupMetrics, at: Timestamp) -> Json {
    let definitions = BACKUP.map(|(name, unit)| json!({ "Name": name, "Unit": unit }));
    let directive = json!({ "Namespace": namespace, "Dimensions": [[DIMENSION]], "Metrics": definitions });
    let mut root = Map::new();
    root.insert("_aws".to_owned(), json!({ "Timestamp": at.as_millisecond(), "CloudWatchMetrics": [directive] }));
    root.insert(DIMENSION.to_owned(), json!(metrics.table_name));
    let values = [metrics.bytes, metrics.records, metrics.errors];
    root.extend(BACKUP.iter().zip(values).map(|((name, _), value)| ((*name).to_owned(), json!(value))));
    Json::Object(root)
}

/// Writes the lines of metrics, and nothing else.
pub(super) fn layer<S, W>(writer: W) -> impl Layer<S>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    Lines { writer }.with_filter(Targets::new().with_target(TARGET, LevelFilter::ERROR))
}

/// What keeps the lines of metrics out of the ordinary log.
pub(super) fn others() -> FilterFn<impl Fn(&Metadata<'_>) -> bool> {
    filter_fn(|metadata| metadata.target() != TARGET).with_max_level_hint(LevelFilter::TRACE)
}

struct Lines<W> {
    writer: W,
}

impl<S, W> Layer<S> for Lines<W>
where
    S: Subscriber,
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut line = Line(Vec::new());
        event.record(&mut line);
        // Nobody is left to tell of it when standard error is closed.
        let _ = self.writer.make_writer().write_all(&line.0);
    }
}

struct Line(Vec<u8>);

impl Visit for Line {
    fn record_str(&mut self, _: &Field, value: &str) {
        self.0.extend_from_slice(value.as_bytes());
        self.0.push(b'\n');
    }

    fn record_debug(&mut self, _: &Field, _: &dyn fmt::Debug) {}
}

impl FromStr for Namespace {
    type Err = BadNamespace;

    fn from_str(text: &str) -> Result<Self, BadNamespace> {
        let bad = |what| Err(BadNamespace { text: text.to_owned(), what });
        let in_namespace = |byte: u8| byte.is_ascii_alphanumeric() || b".-_/#: ".contains(&byte);
        if text.is_empty() || text.len() > MAX_NAMESPACE_LENGTH || !text.bytes().all(in_namespace) {
            bad("it has 1 to 255 characters out of a-z, A-Z, 0-9, `.`, `-`, `_`, `/`, `#`, `:` and the space")
        } else if text.starts_with(':') || text.trim().is_empty() {
            bad("it does not begin with a colon, and is not blank")
        } else if text.starts_with("AWS/") {
            bad("those that begin with `AWS/` are AWS's own")
        } else {
            Ok(Self(text.to_owned()))
        }
    }
}

impl fmt::Display for Namespace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn metrics() -> BackupMetrics {
        BackupMetrics { table_name: "orders".into(), bytes: 123_456_789_012, records: 3, errors: 0 }
    }

    #[test]
    fn the_line_is_what_the_format_asks_for() {
        let namespace = "Mapbox/DynamoDB".parse().unwrap();
        let at = Timestamp::from_millisecond(1_574_109_732_004).unwrap();

        let line = embedded(&namespace, &metrics(), at).to_string();

        assert_eq!(
            line,
            concat!(
                r#"{"BackupErrors":0,"BackupRecordCount":3,"BackupSize":123456789012,"TableName":"orders","#,
                r#""_aws":{"CloudWatchMetrics":[{"Dimensions":[["TableName"]],"Metrics":["#,
                r#"{"Name":"BackupSize","Unit":"Bytes"},{"Name":"BackupRecordCount","Unit":"Count"},"#,
                r#"{"Name":"BackupErrors","Unit":"Count"}],"Namespace":"Mapbox/DynamoDB"}],"Timestamp":1574109732004}}"#
            )
        );
    }

    #[test]
    fn what_cloudwatch_would_not_take_is_no_namespace() {
        for text in ["backups", "Mapbox/DynamoDB", "a b.c-d_e#f:g", &"x".repeat(255)] {
            assert_eq!(text.parse::<Namespace>().unwrap().to_string(), text);
        }
        for text in ["", " ", ":a", "AWS/DynamoDB", "a\nb", "é", "a\"b", &"x".repeat(256)] {
            assert!(text.parse::<Namespace>().is_err(), "{text:?}");
        }
    }
}

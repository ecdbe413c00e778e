//! Logs, metrics and traces: the subscriber, and what is exported.
//!
//! Everything goes to standard error or to a collector; standard output belongs to results. Traces and metrics are off
//! unless asked for, and a convenience: without a collector nothing fails and nothing waits. Item values and keys are
//! never logged above `debug`.
//!
//! [`names`] has all names, [`sample`] what is measured, [`trace`] what travels with messages.

#[cfg(feature = "otel")]
mod embedded;
#[cfg(feature = "otel")]
mod export;
pub mod metrics;
pub mod names;
pub mod sample;
pub mod trace;

pub use names::field;

use tracing::Subscriber;
use tracing_subscriber::filter::{EnvFilter, FilterExt as _};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::registry::{LookupSpan, Registry};
use tracing_subscriber::util::SubscriberInitExt;

/// The crates whose logs are ours; a filter takes them as prefixes, so the binaries `dynamend…` are covered.
const OUR_CRATES: [&str; 4] = ["shared", "worker", "coordinator", "dynamend"];

/// How log lines look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object per line, for machines.
    Json,
}

/// What is logged, and how.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LogSettings {
    /// How lines look.
    pub format: LogFormat,
    /// −1 errors only, 0 warnings, 1 what our crates do, 2 every detail of it. `RUST_LOG` has precedence.
    pub verbosity: i8,
    /// Whether text is coloured.
    pub color: bool,
}

/// Keeps telemetry running; dropping it sends what is left, for two seconds at most.
#[must_use = "telemetry ends when the guard is dropped"]
#[derive(Debug, Default)]
pub struct Guard {
    #[cfg(feature = "otel")]
    exports: export::Exports,
}

/// Starts logs on standard error; traces and metrics when the environment names a collector; metrics as lines of the
/// log too, when a namespace is given.
///
/// Call it once, inside a Tokio runtime. It never fails: a second call changes nothing, and a collector that cannot be
/// used is a warning.
pub fn init(settings: &LogSettings, embedded: Option<&metrics::Namespace>, service_name: &'static str) -> Guard {
    let filter = filter(std::env::var("RUST_LOG").ok().as_deref(), settings.verbosity);
    start(subscriber(settings, filter, std::io::stderr), embedded, service_name)
}

/// The ordinary log, and the metrics beside it.
fn subscriber<W>(
    settings: &LogSettings,
    filter: EnvFilter,
    writer: W,
) -> impl Subscriber + Send + Sync + for<'a> LookupSpan<'a> + use<W>
where
    W: for<'a> MakeWriter<'a> + Clone + Send + Sync + 'static,
{
    let lines = lines(settings, writer.clone()).with_filter(filter.and(metrics::others()));
    tracing_subscriber::registry().with(lines).with(metrics::layer(writer))
}

#[cfg(feature = "otel")]
fn start(
    registry: impl Subscriber + Send + Sync + for<'a> LookupSpan<'a>,
    embedded: Option<&metrics::Namespace>,
    service_name: &'static str,
) -> Guard {
    let (exports, problems) = export::Exports::start(service_name, embedded);
    let _ = registry.with(exports.spans()).try_init();
    for problem in problems {
        tracing::warn!("{problem}");
    }
    Guard { exports }
}

#[cfg(not(feature = "otel"))]
fn start(
    registry: impl Subscriber + Send + Sync + for<'a> LookupSpan<'a>,
    embedded: Option<&metrics::Namespace>,
    _service_name: &'static str,
) -> Guard {
    let _ = registry.try_init();
    if embedded.is_some() {
        tracing::warn!("metrics are not written: this program was built without the feature `otel`");
    }
    Guard::default()
}

#[cfg(feature = "otel")]
impl Drop for Guard {
    fn drop(&mut self) {
        self.exports.finish();
    }
}

fn lines<W>(settings: &LogSettings, writer: W) -> Box<dyn Layer<Registry> + Send + Sync>
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let lines = tracing_subscriber::fmt::layer().with_writer(writer).with_ansi(settings.color);
    match settings.format {
        LogFormat::Text => lines.with_target(settings.verbosity > 1).boxed(),
        LogFormat::Json => lines.json().with_current_span(true).with_span_list(false).with_ansi(false).boxed(),
    }
}

/// `RUST_LOG` as it is; without it, or when it cannot be read, what the verbosity says.
fn filter(rust_log: Option<&str>, verbosity: i8) -> EnvFilter {
    let asked = rust_log.filter(|directives| !directives.trim().is_empty());
    let asked = asked.and_then(|directives| EnvFilter::try_new(directives).ok());
    asked.unwrap_or_else(|| EnvFilter::new(directives(verbosity)))
}

fn directives(verbosity: i8) -> String {
    let ours = |level: &str| OUR_CRATES.map(|name| format!("{name}={level}")).join(",");
    // The SDK warns of what it returns as an error, too; said once is enough.
    const SDK: &str = "aws_config=error,aws_smithy_runtime=error,aws_runtime=error";
    match verbosity {
        ..=-1 => "error".to_owned(),
        0 => format!("warn,{SDK}"),
        1 => format!("warn,{SDK},{}", ours("info")),
        2.. => format!("warn,{}", ours("debug")),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::{Arc, Mutex};

    use jiff::Timestamp;
    use tracing::level_filters::LevelFilter;

    use super::metrics::BackupMetrics;
    use super::*;

    #[test]
    fn rust_log_has_precedence_unless_it_cannot_be_read() {
        assert_eq!(filter(Some("trace"), 0).to_string(), "trace");
        for unusable in [None, Some(""), Some("=====")] {
            assert_eq!(filter(unusable, -1).to_string(), "error", "{unusable:?}");
        }
    }

    #[test]
    fn every_verbosity_is_a_readable_filter() {
        for verbosity in [i8::MIN, -1, 0, 1, 2, i8::MAX] {
            EnvFilter::try_new(directives(verbosity)).unwrap();
        }
        assert!(directives(1).contains("shared=info") && directives(2).contains("worker=debug"));
    }

    /// Collects what is written.
    #[derive(Clone, Default)]
    struct Written(Arc<Mutex<Vec<u8>>>);

    impl Write for Written {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    fn written(settings: &LogSettings, filter: EnvFilter, log: impl FnOnce()) -> Vec<String> {
        let written = Written::default();
        let writer = {
            let written = written.clone();
            move || written.clone()
        };
        tracing::subscriber::with_default(subscriber(settings, filter, writer), log);
        let bytes = written.0.lock().unwrap();
        String::from_utf8_lossy(&bytes).lines().map(str::to_owned).collect()
    }

    #[test]
    fn lines_come_in_both_forms() {
        for (format, begins) in [(LogFormat::Text, "20"), (LogFormat::Json, "{")] {
            let settings = LogSettings { format, ..LogSettings::default() };
            let lines = written(&settings, filter(None, 0), || {
                tracing::info!("unseen");
                tracing::warn!("seen");
            });
            assert!(matches!(&lines[..], [line] if line.starts_with(begins) && line.contains("seen")), "{lines:?}");
        }
    }

    #[test]
    fn metrics_go_out_once_and_raw_whatever_is_logged_and_how() {
        let metrics = BackupMetrics { table_name: "orders".into(), bytes: 7, records: 3, errors: 0 };
        let publish = || metrics::publish(&"Backups".parse().unwrap(), &metrics, Timestamp::UNIX_EPOCH);
        for (verbosity, format, color) in (-1..=3)
            .flat_map(|verbosity| [LogFormat::Text, LogFormat::Json].map(|format| (verbosity, format)))
            .flat_map(|(verbosity, format)| [true, false].map(|color| (verbosity, format, color)))
        {
            let settings = LogSettings { format, verbosity, color };
            for rust_log in [None, Some("off"), Some("trace"), Some("metrics=off")] {
                let lines = written(&settings, filter(rust_log, verbosity), || {
                    tracing::error_span!("around").in_scope(publish);
                });

                let [line] = &lines[..] else { panic!("{settings:?} {rust_log:?}: {lines:?}") };
                let json: serde_json::Value = serde_json::from_str(line).unwrap();
                assert_eq!((&json["BackupSize"], &json["TableName"]), (&7.into(), &"orders".into()), "{settings:?}");
            }
        }
    }

    #[test]
    fn metrics_do_not_make_the_log_look_at_more() {
        for (verbosity, most) in [(-1, LevelFilter::ERROR), (0, LevelFilter::WARN), (2, LevelFilter::DEBUG)] {
            let settings = LogSettings { verbosity, ..LogSettings::default() };
            let subscriber = subscriber(&settings, filter(None, verbosity), std::io::sink);

            assert_eq!(subscriber.max_level_hint(), Some(most), "{verbosity}");
        }
    }
}

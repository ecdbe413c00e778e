//! Metrics of running work as lines of CloudWatch's embedded format, for those without a collector.
//!
//! Once a minute one line for each set of attributes that had something to tell: counters tell what was added since the
//! last line, distributions their maximum. Each metric comes with its attributes as dimensions, and summed up without any.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use jiff::Timestamp;
use opentelemetry::KeyValue;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::metrics::Temporality;
use opentelemetry_sdk::metrics::data::{AggregatedMetrics, Metric, MetricData, ResourceMetrics};
use opentelemetry_sdk::metrics::exporter::PushMetricExporter;
use serde_json::{Map, Value as Json, json};

use super::metrics::{self, Namespace};

type Write = Box<dyn Fn(&Json) + Send + Sync>;

/// Writes metrics as lines.
pub(super) struct EmbeddedExporter {
    namespace: Namespace,
    write: Write,
}

impl EmbeddedExporter {
    /// Writes to standard error, where logs go.
    pub(super) fn new(namespace: Namespace) -> Self {
        Self { namespace, write: Box::new(metrics::write_line) }
    }
}

impl fmt::Debug for EmbeddedExporter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EmbeddedExporter").field("namespace", &self.namespace).finish_non_exhaustive()
    }
}

impl PushMetricExporter for EmbeddedExporter {
    async fn export(&self, metrics: &ResourceMetrics) -> OTelSdkResult {
        let all = metrics.scope_metrics().flat_map(|scope| scope.metrics());
        lines(&self.namespace, all, Timestamp::now()).iter().for_each(|line| (self.write)(line));
        Ok(())
    }

    fn force_flush(&self) -> OTelSdkResult {
        Ok(())
    }

    fn shutdown_with_timeout(&self, _: Duration) -> OTelSdkResult {
        Ok(())
    }

    fn temporality(&self) -> Temporality {
        Temporality::Delta
    }
}

/// One value of one metric.
struct Value {
    name: String,
    unit: &'static str,
    value: Json,
}

/// One line for each set of attributes.
fn lines<'a>(namespace: &Namespace, metrics: impl Iterator<Item = &'a Metric>, at: Timestamp) -> Vec<Json> {
    let mut by_attributes: BTreeMap<BTreeMap<String, String>, Vec<Value>> = BTreeMap::new();
    for metric in metrics {
        let unit = unit(metric.unit());
        for (attributes, value) in points(metric.data()) {
            let value = Value { name: metric.name().to_owned(), unit, value };
            by_attributes.entry(attributes).or_default().push(value);
        }
    }
    by_attributes.iter().map(|(attributes, values)| line(namespace, attributes, values, at)).collect()
}

fn line(namespace: &Namespace, attributes: &BTreeMap<String, String>, values: &[Value], at: Timestamp) -> Json {
    let names: Vec<&String> = attributes.keys().collect();
    let dimensions = if names.is_empty() { json!([[]]) } else { json!([names, []]) };
    let definitions: Vec<Json> = values.iter().map(|value| json!({ "Name": value.name, "Unit": value.unit })).collect();
    let directive = json!({ "Namespace": namespace.to_string(), "Dimensions": dimensions, "Metrics": definitions });
    let mut root = Map::new();
    root.insert("_aws".to_owned(), json!({ "Timestamp": at.as_millisecond(), "CloudWatchMetrics": [directive] }));
    root.extend(attributes.iter().map(|(name, value)| (name.clone(), json!(value))));
    root.extend(values.iter().map(|value| (value.name.clone(), value.value.clone())));
    Json::Object(root)
}

fn points(data: &AggregatedMetrics) -> Vec<(BTreeMap<String, String>, Json)> {
    match data {
        AggregatedMetrics::U64(data) => of_data(data, |value| json!(value)),
        AggregatedMetrics::I64(data) => of_data(data, |value| json!(value)),
        AggregatedMetrics::F64(data) => of_data(data, |value| json!(value)),
    }
}

fn of_data<T: Copy>(data: &MetricData<T>, json: impl Fn(T) -> Json) -> Vec<(BTreeMap<String, String>, Json)> {
    match data {
        MetricData::Sum(sum) => {
            sum.data_points().map(|point| (named(point.attributes()), json(point.value()))).collect()
        }
        MetricData::Gauge(gauge) => {
            gauge.data_points().map(|point| (named(point.attributes()), json(point.value()))).collect()
        }
        MetricData::Histogram(histogram) => {
            let point = |point: &opentelemetry_sdk::metrics::data::HistogramDataPoint<T>| {
                Some((named(point.attributes()), json(point.max()?)))
            };
            histogram.data_points().filter_map(point).collect()
        }
        MetricData::ExponentialHistogram(histogram) => {
            let point = |point: &opentelemetry_sdk::metrics::data::ExponentialHistogramDataPoint<T>| {
                Some((named(point.attributes()), json(point.max()?)))
            };
            histogram.data_points().filter_map(point).collect()
        }
    }
}

fn named<'a>(attributes: impl Iterator<Item = &'a KeyValue>) -> BTreeMap<String, String> {
    attributes.map(|pair| (pair.key.to_string(), pair.value.to_string())).collect()
}

/// The unit in CloudWatch's words.
///
/// Source: Amazon CloudWatch API Reference, MetricDatum.
fn unit(of_instrument: &str) -> &'static str {
    match of_instrument {
        "s" => "Seconds",
        "By" => "Bytes",
        counted if counted.starts_with('{') => "Count",
        _ => "None",
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};
    use std::time::Duration;

    use opentelemetry::metrics::MeterProvider as _;
    use opentelemetry_sdk::metrics::SdkMeterProvider;

    use super::*;
    use crate::domain::tally::Tally;
    use crate::telemetry::sample::Sample;
    use crate::telemetry::sample::instruments::Instruments;

    /// The lines that these samples make, after some others that were written before.
    fn written(before: &[Sample<'_>], samples: &[Sample<'_>]) -> Vec<Json> {
        let lines: Arc<Mutex<Vec<Json>>> = Arc::default();
        let into = Arc::clone(&lines);
        let write: Write = Box::new(move |line: &Json| into.lock().unwrap().push(line.clone()));
        let exporter = EmbeddedExporter { namespace: "Fleet".parse().unwrap(), write };
        let provider = SdkMeterProvider::builder().with_periodic_exporter(exporter).build();
        let instruments = Instruments::of(&provider.meter("tests"));
        before.iter().for_each(|sample| instruments.add(*sample));
        provider.force_flush().unwrap();
        lines.lock().unwrap().clear();
        samples.iter().for_each(|sample| instruments.add(*sample));
        provider.force_flush().unwrap();
        lines.lock().unwrap().clone()
    }

    fn labels() -> Vec<String> {
        ["us-east-1:orders", "eu-west-1:replica"].map(str::to_owned).into()
    }

    fn tally(compared: u64, missing: u64, read: f64) -> Tally {
        let mut tally = Tally::zero(1);
        tally.scanned[0] = compared;
        tally.consumed[0].read = read;
        tally.slaves[0].compared = compared;
        tally.slaves[0].missing = missing;
        tally
    }

    #[test]
    fn a_line_tells_what_was_added_since_the_one_before() {
        let (labels, zero, first, second) = (labels(), Tally::zero(1), tally(10, 1, 2.5), tally(25, 4, 4.0));
        let committed = |before, after| Sample::Committed { labels: &labels, before, after };

        let lines = written(&[committed(&zero, &first)], &[committed(&first, &second)]);

        let of = |name: &str| {
            let with = lines.iter().find(|line| line.get(name).is_some());
            with.unwrap_or_else(|| panic!("{name}: {lines:?}"))
        };
        assert_eq!(of("dynamend.items.compared")["dynamend.items.compared"], 15);
        assert_eq!(of("dynamend.items.scanned")["dynamend.items.scanned"], 15);
        assert_eq!(of("dynamend.capacity.consumed")["dynamend.capacity.consumed"], 1.5);
        let discrepancies = of("dynamend.discrepancies");
        assert_eq!(
            (&discrepancies["dynamend.discrepancies"], &discrepancies["dynamend.table"]),
            (&json!(3), &json!("eu-west-1:replica"))
        );
        let directive = &discrepancies["_aws"]["CloudWatchMetrics"][0];
        assert_eq!(directive["Namespace"], "Fleet");
        assert_eq!(directive["Dimensions"], json!([["dynamend.discrepancy.kind", "dynamend.table"], []]));
        assert_eq!(directive["Metrics"], json!([{ "Name": "dynamend.discrepancies", "Unit": "Count" }]));
    }

    #[test]
    fn a_count_that_went_down_and_nothing_at_all_make_no_line() {
        let (labels, before, after) = (labels(), tally(10, 5, 1.0), tally(10, 3, 1.0));

        assert_eq!(
            written(&[], &[Sample::Committed { labels: &labels, before: &before, after: &after }]),
            [Json::Null; 0]
        );
        assert_eq!(written(&[], &[]), [Json::Null; 0]);
    }

    #[test]
    fn of_a_distribution_the_largest_is_told_in_seconds() {
        let lag = |seconds| Sample::Lag { table: "us-east-1:orders", behind: Duration::from_secs(seconds) };

        let lines = written(&[], &[lag(3), lag(90), lag(1)]);

        let [line] = &lines[..] else { panic!("{lines:?}") };
        assert_eq!(line["dynamend.stream.lag"], 90.0);
        assert_eq!(line["_aws"]["CloudWatchMetrics"][0]["Metrics"][0]["Unit"], "Seconds");
    }
}

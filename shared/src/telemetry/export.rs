//! Where traces and metrics go: over OTLP to a collector that the standard `OTEL_…` variables name, and metrics into
//! lines of CloudWatch's embedded format.

use std::time::Duration;

use opentelemetry::metrics::MeterProvider as _;
use opentelemetry::trace::TracerProvider as _;
use opentelemetry::{InstrumentationScope, KeyValue};
use opentelemetry_otlp::{MetricExporter, SpanExporter, WithExportConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::metrics::{PeriodicReader, SdkMeterProvider};
use opentelemetry_sdk::trace::SdkTracerProvider;
use tracing::Subscriber;
use tracing_subscriber::filter::EnvFilter;
use tracing_subscriber::layer::Layer;
use tracing_subscriber::registry::LookupSpan;

use super::embedded::EmbeddedExporter;
use super::metrics::Namespace;
use super::{OUR_CRATES, sample, trace};

/// Time for one export.
const EXPORT_TIMEOUT: Duration = Duration::from_secs(1);

/// Time that the end of the program may take longer for what is left.
const FINISH_TIMEOUT: Duration = Duration::from_secs(2);

/// Between two lines of metrics in the log, whatever a collector gets: CloudWatch's own resolution is a minute.
const EMBEDDED_EVERY: Duration = Duration::from_secs(60);

/// What of telemetry is exported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Signal {
    Traces,
    Metrics,
}

/// What exports, and must be asked to finish.
#[derive(Debug, Default)]
pub(super) struct Exports {
    traces: Option<SdkTracerProvider>,
    metrics: Option<SdkMeterProvider>,
}

impl Exports {
    /// What the environment and the settings ask for; each that cannot be had is told in the second value.
    pub(super) fn start(service_name: &'static str, embedded: Option<&Namespace>) -> (Self, Vec<String>) {
        let mut exports = Self::default();
        let mut problems = Vec::new();
        let environment = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        let has_runtime = tokio::runtime::Handle::try_current().is_ok();
        let mut wanted = |signal| match wanted(signal, environment) {
            Ok(wanted) => wanted && has_runtime,
            Err(problem) => {
                problems.push(problem);
                false
            }
        };
        let (traces, metrics) = (wanted(Signal::Traces), wanted(Signal::Metrics));
        let resource = || resource(service_name, environment);
        if traces {
            match SpanExporter::builder().with_tonic().with_timeout(EXPORT_TIMEOUT).build() {
                Ok(exporter) => {
                    let provider = SdkTracerProvider::builder().with_batch_exporter(exporter);
                    exports.traces = Some(provider.with_resource(resource()).build());
                    trace::turn_on();
                }
                Err(error) => problems.push(format!("traces are not exported: {error}")),
            }
        }
        let mut provider = SdkMeterProvider::builder();
        let mut readers = 0;
        if metrics {
            match MetricExporter::builder().with_tonic().with_timeout(EXPORT_TIMEOUT).build() {
                Ok(exporter) => {
                    provider = provider.with_periodic_exporter(exporter);
                    readers += 1;
                }
                Err(error) => problems.push(format!("metrics are not exported: {error}")),
            }
        }
        if let Some(namespace) = embedded {
            let exporter = EmbeddedExporter::new(namespace.clone());
            provider = provider.with_reader(PeriodicReader::builder(exporter).with_interval(EMBEDDED_EVERY).build());
            readers += 1;
        }
        if readers > 0 {
            let provider = provider.with_resource(resource()).build();
            sample::instruments::set(&provider.meter_with_scope(scope()));
            exports.metrics = Some(provider);
        }
        (exports, problems)
    }

    /// Our own spans, whatever is logged; not those of the exporter itself.
    pub(super) fn spans<S>(&self) -> Option<impl Layer<S> + use<S>>
    where
        S: Subscriber + for<'a> LookupSpan<'a>,
    {
        let ours = OUR_CRATES.map(|name| format!("{name}=info")).join(",");
        self.traces.as_ref().map(|provider| {
            tracing_opentelemetry::layer()
                .with_tracer(provider.tracer_with_scope(scope()))
                .with_location(false)
                .with_threads(false)
                .with_tracked_inactivity(false)
                .with_filter(EnvFilter::new(format!("off,{ours}")))
        })
    }

    /// Sends what is left. A collector that does not answer is nobody's failure.
    pub(super) fn finish(&mut self) {
        let (traces, metrics) = (self.traces.take(), self.metrics.take());
        if traces.is_none() && metrics.is_none() {
            return;
        }
        // On threads of their own: the exporters need the runtime, whose only thread may be this one.
        let (done, finished) = std::sync::mpsc::channel();
        let also_done = done.clone();
        std::thread::spawn(move || {
            let _ = traces.map(|traces| traces.shutdown_with_timeout(FINISH_TIMEOUT));
            let _ = done.send(());
        });
        std::thread::spawn(move || {
            let _ = metrics.map(|metrics| metrics.shutdown_with_timeout(FINISH_TIMEOUT));
            let _ = also_done.send(());
        });
        let until = std::time::Instant::now() + FINISH_TIMEOUT;
        for _ in 0..2 {
            let left = until.saturating_duration_since(std::time::Instant::now());
            let _ = finished.recv_timeout(left);
        }
    }
}

fn scope() -> InstrumentationScope {
    InstrumentationScope::builder("dynamend").with_version(env!("CARGO_PKG_VERSION")).build()
}

/// Who exports. Counters of several workers are told from each other by the instance.
fn resource(service_name: &'static str, environment: impl Fn(&str) -> Option<String>) -> Resource {
    let named = environment("OTEL_RESOURCE_ATTRIBUTES").unwrap_or_default();
    let given = |name: &str| named.split(',').any(|pair| pair.split('=').next().is_some_and(|it| it.trim() == name));
    let mut resource = Resource::builder();
    if environment("OTEL_SERVICE_NAME").is_none() && !given("service.name") {
        resource = resource.with_service_name(service_name);
    }
    let defaults = [
        ("service.version", env!("CARGO_PKG_VERSION").to_owned()),
        ("service.instance.id", format!("{:032x}", rand::random::<u128>())),
    ];
    let defaults = defaults.into_iter().filter(|(name, _)| !given(name));
    resource.with_attributes(defaults.map(|(name, value)| KeyValue::new(name, value))).build()
}

/// Whether a signal is to be exported, by the environment. Only gRPC is spoken.
///
/// Source: OpenTelemetry, "Environment Variable Specification" and "OpenTelemetry Protocol Exporter".
fn wanted(signal: Signal, environment: impl Fn(&str) -> Option<String>) -> Result<bool, String> {
    let name = match signal {
        Signal::Traces => "TRACES",
        Signal::Metrics => "METRICS",
    };
    let is = |variable: &str, value: &str| environment(variable).is_some_and(|it| it.eq_ignore_ascii_case(value));
    let own_or_common = |end: &str| {
        let own = environment(&format!("OTEL_EXPORTER_OTLP_{name}_{end}"));
        own.or_else(|| environment(&format!("OTEL_EXPORTER_OTLP_{end}")))
    };
    let Some(endpoint) = own_or_common("ENDPOINT") else { return Ok(false) };
    if is("OTEL_SDK_DISABLED", "true") || is(&format!("OTEL_{name}_EXPORTER"), "none") {
        return Ok(false);
    }
    let what = name.to_lowercase();
    match own_or_common("PROTOCOL") {
        Some(protocol) if protocol != "grpc" => Err(format!(
            "{what} are not exported: the protocol `{protocol}` is not spoken here; use grpc, on port 4317"
        )),
        _ if endpoint.starts_with("https:") => Err(format!(
            "{what} are not exported: {endpoint} asks for TLS, which is left to a collector beside this program; use http"
        )),
        _ if !endpoint.starts_with("http://") => {
            Err(format!("{what} are not exported: `{endpoint}` is no endpoint; write it as http://HOST:4317"))
        }
        _ => Ok(true),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Variables = &'static [(&'static str, &'static str)];

    fn environment(variables: Variables) -> impl Fn(&str) -> Option<String> {
        |name| variables.iter().find(|(it, _)| *it == name).map(|(_, value)| (*value).to_owned())
    }

    #[test]
    fn nothing_is_exported_unless_a_collector_is_named() {
        const AT: (&str, &str) = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://localhost:4317");
        const TRACES: (&str, &str) = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://localhost:4317");
        let table: [(Variables, bool, bool); 6] = [
            (&[], false, false),
            (&[AT], true, true),
            (&[TRACES], true, false),
            (&[AT, ("OTEL_SDK_DISABLED", "True")], false, false),
            (&[AT, ("OTEL_METRICS_EXPORTER", "none")], true, false),
            (&[AT, ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")], true, true),
        ];
        for (variables, traces, metrics) in table {
            assert_eq!(wanted(Signal::Traces, environment(variables)), Ok(traces), "{variables:?}");
            assert_eq!(wanted(Signal::Metrics, environment(variables)), Ok(metrics), "{variables:?}");
        }
    }

    #[test]
    fn what_is_not_spoken_is_said_and_not_tried() {
        let http: &[_] =
            &[("OTEL_EXPORTER_OTLP_ENDPOINT", "http://a:4318"), ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf")];
        let tls: &[_] = &[("OTEL_EXPORTER_OTLP_ENDPOINT", "https://collector:4317")];
        let bare: &[_] = &[("OTEL_EXPORTER_OTLP_ENDPOINT", "localhost:4317")];
        for variables in [http, tls, bare] {
            let problem = wanted(Signal::Traces, environment(variables)).unwrap_err();
            assert!(problem.starts_with("traces are not exported: "), "{problem}");
        }
    }

    #[test]
    fn a_worker_is_told_from_others_unless_the_environment_does() {
        let instance = |variables| {
            let resource = resource("dynamend-worker", environment(variables));
            resource.get(&"service.instance.id".into()).map(|value| value.to_string())
        };
        assert_ne!(instance(&[]), instance(&[]));
        assert!(instance(&[]).is_some());
        assert_eq!(instance(&[("OTEL_RESOURCE_ATTRIBUTES", "a=b, service.instance.id=7")]), None);
        let name = |variables| {
            let resource = resource("dynamend-worker", environment(variables));
            resource.get(&"service.name".into()).map(|value| value.to_string())
        };
        assert_eq!(name(&[]).as_deref(), Some("dynamend-worker"));
        assert_ne!(name(&[("OTEL_RESOURCE_ATTRIBUTES", "service.name=mine")]).as_deref(), Some("dynamend-worker"));
    }
}

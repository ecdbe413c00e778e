//! A collector of OpenTelemetry on loopback: takes traces and metrics over OTLP, and remembers them.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::{BufMut as _, Bytes, BytesMut};
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::number_data_point::Value as Number;
use opentelemetry_proto::tonic::resource::v1::Resource;
use prost::Message as _;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;

/// Attributes, every value as text.
pub type Attributes = BTreeMap<String, String>;

/// One span that ended.
#[derive(Clone, Debug)]
pub struct Span {
    /// The program, as `service.name`.
    pub service: String,
    /// Its name.
    pub name: String,
    /// Its kind: 1 internal, 4 producer, 5 consumer.
    pub kind: i32,
    /// Its trace and its own id.
    pub id: (Vec<u8>, Vec<u8>),
    /// The span that it is part of; empty for none.
    pub parent: Vec<u8>,
    /// The traces and ids of the spans that it is linked to.
    pub links: Vec<(Vec<u8>, Vec<u8>)>,
    /// What it says.
    pub attributes: Attributes,
    /// The log lines within it.
    pub events: Vec<(String, Attributes)>,
    /// Why it failed, if it says that it did.
    pub error: Option<String>,
}

/// One series of a metric: the process that tells it, its name, its attributes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Series {
    /// The process, as `service.instance.id`.
    pub instance: String,
    /// The metric.
    pub name: String,
    /// Its attributes.
    pub attributes: Attributes,
}

/// What has come in.
#[derive(Clone, Debug, Default)]
pub struct Received {
    /// The spans.
    pub spans: Vec<Span>,
    /// The latest value of each series: a sum, or the largest of a distribution.
    pub values: BTreeMap<Series, f64>,
    /// The units of the metrics.
    pub units: BTreeMap<String, String>,
}

impl Received {
    /// The spans of this name.
    #[must_use]
    pub fn named(&self, name: &str) -> Vec<&Span> {
        self.spans.iter().filter(|span| span.name == name).collect()
    }

    /// A metric summed up over the series that have this attribute.
    #[must_use]
    pub fn sum(&self, name: &str, attribute: (&str, &str)) -> f64 {
        let (key, value) = attribute;
        let of = |series: &&Series| series.name == name && series.attributes.get(key).is_some_and(|it| it == value);
        self.values.iter().filter(|(series, _)| of(series)).map(|(_, value)| value).sum()
    }
}

/// The running collector; it ends when this is dropped.
#[derive(Debug)]
pub struct Collector {
    address: SocketAddr,
    received: Arc<Mutex<Received>>,
    /// A runtime of its own: tests block theirs while they wait for programs.
    runtime: Option<Runtime>,
}

impl Collector {
    /// Starts one.
    ///
    /// # Panics
    /// When no port is free.
    #[must_use]
    pub fn start() -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.expect("a runtime can be built");
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port is free");
        listener.set_nonblocking(true).expect("a listener can be told not to block");
        let address = listener.local_addr().expect("it is bound");
        let received: Arc<Mutex<Received>> = Arc::default();
        runtime.spawn(serve(listener, Arc::clone(&received)));
        Self { address, received, runtime: Some(runtime) }
    }

    /// Where it listens, as `OTEL_EXPORTER_OTLP_ENDPOINT`.
    #[must_use]
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// What has come in so far.
    #[must_use]
    pub fn received(&self) -> Received {
        locked(&self.received).clone()
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

async fn serve(listener: std::net::TcpListener, received: Arc<Mutex<Received>>) {
    let listener = TcpListener::from_std(listener).expect("a runtime takes a listener");
    let mut connections = tokio::task::JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        let received = Arc::clone(&received);
        let service = service_fn(move |request| answer(request, Arc::clone(&received)));
        connections.spawn(http2::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), service));
    }
}

type Body = StreamBody<futures::stream::Iter<std::vec::IntoIter<Result<Frame<Bytes>, hyper::Error>>>>;

/// One call of gRPC with one message in each direction.
///
/// Source: "gRPC over HTTP2": a message has five bytes before it, a flag for compression and its length.
async fn answer(request: Request<Incoming>, received: Arc<Mutex<Received>>) -> Result<Response<Body>, hyper::Error> {
    let path = request.uri().path().to_owned();
    let body = request.into_body().collect().await?.to_bytes();
    assert_eq!(body.first(), Some(&0), "{path}: a message that is not compressed");
    let message = body.slice(5..);
    match path.as_str() {
        "/opentelemetry.proto.collector.trace.v1.TraceService/Export" => {
            take_spans(ExportTraceServiceRequest::decode(message).expect("spans"), &mut locked(&received));
        }
        "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export" => {
            take_metrics(ExportMetricsServiceRequest::decode(message).expect("metrics"), &mut locked(&received));
        }
        other => panic!("{other} is no call of a collector"),
    }
    // Both answers are messages without anything in them.
    let mut empty = BytesMut::new();
    empty.put_bytes(0, 5);
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from_static("0"));
    let frames = vec![Ok(Frame::data(empty.freeze())), Ok(Frame::trailers(trailers))];
    let mut response = Response::new(StreamBody::new(futures::stream::iter(frames)));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    Ok(response)
}

fn take_spans(request: ExportTraceServiceRequest, received: &mut Received) {
    for of_resource in request.resource_spans {
        let service = named(of_resource.resource.as_ref(), "service.name");
        for span in of_resource.scope_spans.into_iter().flat_map(|scope| scope.spans) {
            received.spans.push(Span {
                service: service.clone(),
                name: span.name,
                kind: span.kind,
                id: (span.trace_id, span.span_id),
                parent: span.parent_span_id,
                links: span.links.into_iter().map(|link| (link.trace_id, link.span_id)).collect(),
                attributes: attributes(&span.attributes),
                events: span.events.iter().map(|event| (event.name.clone(), attributes(&event.attributes))).collect(),
                error: span.status.filter(|status| status.code == 2).map(|status| status.message),
            });
        }
    }
}

fn take_metrics(request: ExportMetricsServiceRequest, received: &mut Received) {
    for of_resource in request.resource_metrics {
        let instance = named(of_resource.resource.as_ref(), "service.instance.id");
        for metric in of_resource.scope_metrics.into_iter().flat_map(|scope| scope.metrics) {
            received.units.insert(metric.name.clone(), metric.unit.clone());
            for (attributes, value) in points(metric.data) {
                let series = Series { instance: instance.clone(), name: metric.name.clone(), attributes };
                received.values.insert(series, value);
            }
        }
    }
}

fn points(data: Option<Data>) -> Vec<(Attributes, f64)> {
    match data {
        Some(Data::Sum(sum)) => sum
            .data_points
            .iter()
            .map(|point| (attributes(&point.attributes), point.value.map_or(0.0, number)))
            .collect(),
        Some(Data::Gauge(gauge)) => gauge
            .data_points
            .iter()
            .map(|point| (attributes(&point.attributes), point.value.map_or(0.0, number)))
            .collect(),
        Some(Data::Histogram(histogram)) => histogram
            .data_points
            .iter()
            .map(|point| (attributes(&point.attributes), point.max.unwrap_or_default()))
            .collect(),
        other => panic!("{other:?} is none of the forms that are exported"),
    }
}

#[expect(clippy::cast_precision_loss, reason = "counts of tests are small")]
fn number(value: Number) -> f64 {
    match value {
        Number::AsDouble(value) => value,
        Number::AsInt(value) => value as f64,
    }
}

fn named(resource: Option<&Resource>, name: &str) -> String {
    let all = resource.map(|resource| attributes(&resource.attributes)).unwrap_or_default();
    all.get(name).cloned().unwrap_or_default()
}

fn attributes(all: &[KeyValue]) -> Attributes {
    all.iter().map(|pair| (pair.key.clone(), text(pair.value.as_ref()))).collect()
}

fn text(value: Option<&AnyValue>) -> String {
    match value.and_then(|value| value.value.as_ref()) {
        Some(Value::StringValue(text)) => text.clone(),
        Some(Value::IntValue(number)) => number.to_string(),
        Some(Value::DoubleValue(number)) => number.to_string(),
        Some(Value::BoolValue(truth)) => truth.to_string(),
        other => format!("{other:?}"),
    }
}

fn locked(received: &Mutex<Received>) -> MutexGuard<'_, Received> {
    received.lock().unwrap_or_else(PoisonError::into_inner)
}

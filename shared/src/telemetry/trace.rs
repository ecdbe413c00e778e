//! The trace that a message belongs to, as text beside its body: W3C `traceparent`.
//!
//! Whoever takes a message up has a trace of its own, *linked* to the span that sent it: a job has up to a million
//! messages, is taken up again for days, and no collector keeps such a trace in one piece.

/// The message attribute that carries it.
///
/// Source: W3C Trace Context, `traceparent`.
pub const TRACEPARENT: &str = "traceparent";

/// Whether spans are exported.
#[must_use]
pub fn is_on() -> bool {
    #[cfg(feature = "otel")]
    return IS_ON.load(std::sync::atomic::Ordering::Relaxed);
    #[cfg(not(feature = "otel"))]
    false
}

/// A value for a span's field that only exported spans have.
#[must_use]
pub fn only_exported<T>(value: T) -> Option<T> {
    is_on().then_some(value)
}

/// The current span, for a message that is sent from it; `None` where spans are not exported.
#[must_use]
pub fn current() -> Option<String> {
    #[cfg(feature = "otel")]
    return is_on().then(carried::current).flatten();
    #[cfg(not(feature = "otel"))]
    None
}

/// Links a span to the one that a message was sent from. What is no `traceparent` is passed over.
pub fn link(span: &tracing::Span, traceparent: &str) {
    #[cfg(feature = "otel")]
    if is_on() {
        carried::link(span, traceparent);
    }
    #[cfg(not(feature = "otel"))]
    let _ = (span, traceparent);
}

#[cfg(feature = "otel")]
static IS_ON: std::sync::atomic::AtomicBool = std::sync::atomic::AtomicBool::new(false);

/// Has this thread's spans exported, to nobody, until the guard is dropped; for tests.
#[cfg(all(feature = "otel", any(test, feature = "contract-tests")))]
#[must_use]
pub fn exporting() -> tracing::subscriber::DefaultGuard {
    use opentelemetry::trace::TracerProvider as _;
    use tracing_subscriber::layer::SubscriberExt as _;

    let tracer = opentelemetry_sdk::trace::SdkTracerProvider::builder().build().tracer("tests");
    turn_on();
    tracing::subscriber::set_default(
        tracing_subscriber::registry().with(tracing_opentelemetry::layer().with_tracer(tracer)),
    )
}

/// From now on spans are exported.
#[cfg(feature = "otel")]
pub(super) fn turn_on() {
    IS_ON.store(true, std::sync::atomic::Ordering::Relaxed);
}

#[cfg(feature = "otel")]
mod carried {
    use std::collections::HashMap;

    use opentelemetry::propagation::TextMapPropagator as _;
    use opentelemetry::trace::TraceContextExt as _;
    use opentelemetry_sdk::propagation::TraceContextPropagator;
    use tracing_opentelemetry::OpenTelemetrySpanExt as _;

    use super::TRACEPARENT;

    pub(super) fn current() -> Option<String> {
        let mut carrier = HashMap::new();
        TraceContextPropagator::new().inject_context(&tracing::Span::current().context(), &mut carrier);
        carrier.remove(TRACEPARENT)
    }

    pub(super) fn link(span: &tracing::Span, traceparent: &str) {
        let carrier = HashMap::from([(TRACEPARENT.to_owned(), traceparent.to_owned())]);
        // Extracted into an empty context: the span of whoever extracts is nobody's sender.
        let sender = TraceContextPropagator::new().extract_with_context(&opentelemetry::Context::new(), &carrier);
        let sender = sender.span().span_context().clone();
        if sender.is_valid() {
            span.add_link(sender);
        }
    }

    #[cfg(test)]
    mod tests {
        use std::sync::{Arc, Mutex};

        use opentelemetry::trace::TracerProvider as _;
        use opentelemetry_sdk::error::OTelSdkResult;
        use opentelemetry_sdk::trace::{SdkTracerProvider, SpanData, SpanExporter};
        use tracing_subscriber::layer::SubscriberExt as _;

        use super::*;

        /// Keeps what is exported.
        #[derive(Clone, Debug, Default)]
        struct Kept(Arc<Mutex<Vec<SpanData>>>);

        impl SpanExporter for Kept {
            async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
                self.0.lock().unwrap().extend(batch);
                Ok(())
            }
        }

        #[test]
        fn whoever_takes_a_message_up_is_linked_to_who_sent_it_and_to_nobody_else() {
            let exporter = Kept::default();
            let provider = SdkTracerProvider::builder().with_simple_exporter(exporter.clone()).build();
            let layer = tracing_opentelemetry::layer().with_tracer(provider.tracer("tests"));
            tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), || {
                let sent = tracing::info_span!("send").in_scope(current).unwrap();
                assert!(sent.starts_with("00-") && sent.ends_with("-01"), "{sent}");
                let process = tracing::info_span!("process");

                for traceparent in [sent.as_str(), "", "00-zz-01", "00-0-0-0"] {
                    link(&process, traceparent);
                }
            });

            let spans = exporter.0.lock().unwrap().clone();
            let [send, process] = &spans[..] else { panic!("{spans:?}") };
            let links: Vec<_> = process.links.iter().map(|link| link.span_context.span_id()).collect();
            assert_eq!(links, [send.span_context.span_id()]);
            assert_ne!(process.span_context.trace_id(), send.span_context.trace_id());
        }
    }
}

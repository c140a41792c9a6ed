//! Spans, W3C context and metrics by the API of OpenTelemetry, with the feature `otel`.

#[cfg(feature = "otel")]
pub(crate) use enabled::{Span, Telemetry};

#[cfg(not(feature = "otel"))]
pub(crate) use disabled::{Span, Telemetry};

/// Runs a computation in the trace of the call that began it.
#[cfg(feature = "otel")]
pub(crate) fn in_trace<F: Future>(future: F) -> impl Future<Output = F::Output> {
    use opentelemetry::context::FutureExt as _;
    use tracing::Instrument as _;
    future.with_current_context().in_current_span()
}

/// Runs a computation in the span of the call that began it.
#[cfg(not(feature = "otel"))]
pub(crate) fn in_trace<F: Future>(future: F) -> impl Future<Output = F::Output> {
    use tracing::Instrument as _;
    future.in_current_span()
}

#[cfg(feature = "otel")]
mod enabled {
    use std::sync::{Arc, Weak};

    use opentelemetry::{
        Context, KeyValue, global,
        metrics::Histogram,
        propagation::Injector,
        trace::{SpanKind, Status, TraceContextExt as _, Tracer as _},
    };
    use parking_lot::Mutex;
    use tokio::time::Instant;
    use tonic::metadata::{MetadataKey, MetadataMap};

    use crate::{Error, counters::Counters};

    const NAME: &str = "larder-client";
    const BUCKETS: [f64; 14] =
        [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

    /// The instruments of a client.
    pub(crate) struct Telemetry {
        duration: Histogram<f64>,
        /// Ends the observation of the counters.
        counters: Mutex<Option<Arc<Counters>>>,
    }

    impl Telemetry {
        pub(crate) fn new(counters: &Arc<Counters>) -> Self {
            let meter = global::meter(NAME);
            let duration = meter
                .f64_histogram("rpc.client.call.duration")
                .with_description("Duration of a call, with its retries.")
                .with_unit("s")
                .with_boundaries(BUCKETS.to_vec())
                .build();
            for (name, _) in crate::Counts::default().iter() {
                let counted = Arc::downgrade(counters);
                meter
                    .u64_observable_counter(format!("larder.client.{name}"))
                    .with_unit("{event}")
                    .with_callback(move |observer| {
                        let read = Weak::upgrade(&counted).map(|counters| counters.read());
                        for (namespace, counts) in read.unwrap_or_default() {
                            let value = counts.iter().find(|(own, _)| *own == name);
                            if let Some((_, value @ 1..)) = value {
                                observer.observe(value, &[KeyValue::new("namespace", namespace)]);
                            }
                        }
                    })
                    .build();
            }
            Self { duration, counters: Mutex::new(Some(Arc::clone(counters))) }
        }

        pub(crate) fn close(&self) {
            self.counters.lock().take();
        }

        pub(crate) fn start(&self, method: &'static str, namespace: &str) -> Span {
            let rpc = format!("larder.v1.CacheService/{method}");
            let tracer = global::tracer(NAME);
            let span = tracer
                .span_builder(rpc.clone())
                .with_kind(SpanKind::Client)
                .with_attributes([
                    KeyValue::new("rpc.system.name", "grpc"),
                    KeyValue::new("rpc.method", rpc.clone()),
                    KeyValue::new("larder.namespace", namespace.to_owned()),
                ])
                .start(&tracer);
            Span {
                context: Context::current_with_span(span),
                duration: self.duration.clone(),
                rpc,
                started: Instant::now(),
            }
        }
    }

    /// One call.
    pub(crate) struct Span {
        context: Context,
        duration: Histogram<f64>,
        rpc: String,
        started: Instant,
    }

    impl Span {
        pub(crate) fn inject(&self, metadata: &mut MetadataMap) {
            global::get_text_map_propagator(|propagator| {
                propagator.inject_context(&self.context, &mut Headers(metadata));
            });
        }

        pub(crate) fn end(&self, error: Option<&Error>) {
            let span = self.context.span();
            let code = error.map_or_else(|| "OK".to_owned(), code_name);
            span.set_attribute(KeyValue::new("rpc.response.status_code", code.clone()));
            if let Some(error) = error {
                span.set_attribute(KeyValue::new("error.type", code.clone()));
                span.set_status(Status::error(error.to_string()));
            }
            span.end();
            self.duration.record(
                self.started.elapsed().as_secs_f64(),
                &[
                    KeyValue::new("rpc.system.name", "grpc"),
                    KeyValue::new("rpc.method", self.rpc.clone()),
                    KeyValue::new("rpc.response.status_code", code),
                ],
            );
        }
    }

    /// The code as gRPC writes it, such as `DEADLINE_EXCEEDED`.
    fn code_name(error: &Error) -> String {
        let mut name = String::new();
        for character in format!("{:?}", error.code()).chars() {
            if character.is_ascii_uppercase() && !name.is_empty() {
                name.push('_');
            }
            name.push(character.to_ascii_uppercase());
        }
        name
    }

    struct Headers<'a>(&'a mut MetadataMap);

    impl Injector for Headers<'_> {
        fn set(&mut self, key: &str, value: String) {
            if let (Ok(key), Ok(value)) = (MetadataKey::from_bytes(key.as_bytes()), value.parse()) {
                self.0.insert(key, value);
            }
        }
    }
}

#[cfg(not(feature = "otel"))]
mod disabled {
    use std::sync::Arc;

    use tonic::metadata::MetadataMap;

    use crate::{Error, counters::Counters};

    /// Observes nothing.
    pub(crate) struct Telemetry;

    impl Telemetry {
        pub(crate) const fn new(_: &Arc<Counters>) -> Self {
            Self
        }

        #[expect(clippy::unused_self, reason = "as with the feature")]
        pub(crate) const fn close(&self) {}

        #[expect(clippy::unused_self, reason = "as with the feature")]
        pub(crate) const fn start(&self, _: &'static str, _: &str) -> Span {
            Span
        }
    }

    /// One call.
    pub(crate) struct Span;

    impl Span {
        #[expect(clippy::unused_self, reason = "as with the feature")]
        pub(crate) const fn inject(&self, _: &mut MetadataMap) {}

        #[expect(clippy::unused_self, reason = "as with the feature")]
        pub(crate) const fn end(&self, _: Option<&Error>) {}
    }
}

//! The span of a flight.
//!
//! A flight outlives the call that started it, and serves one call after another. So each of its
//! computations has a span of its own, which keeps no call's span open: a child of the span of the
//! call that waits for it, or, for a background refresh, a trace of its own with a link to the
//! call.

use opentelemetry::{
    Context,
    trace::{SpanContext, TraceContextExt as _},
};
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

use crate::{model::Namespace, trace_sampler};

/// The trace context of a waiter.
#[derive(Clone, PartialEq)]
pub(super) struct FlightSpan(SpanContext);

impl FlightSpan {
    /// The trace context of the current call.
    pub(super) fn current() -> Self {
        let span = Span::current();
        // A call that is not recorded has a context, but no span.
        let context = if span.is_disabled() { Context::current() } else { span.context() };
        Self(context.span().span_context().clone())
    }

    /// Starts the span of one computation and of its store operations.
    pub(super) fn start(&self, namespace: &Namespace, is_awaited: bool) -> Span {
        if !trace_sampler::is_on() {
            return Span::none();
        }
        let span = tracing::info_span!(
            target: "larder::trace",
            parent: None,
            "compute",
            otel.name = if is_awaited { "compute" } else { "refresh" },
            larder.namespace = %namespace,
        );
        let parent = match is_awaited {
            true if self.0.is_valid() => Some(self.0.clone()),
            false if trace_sampler::is_chosen() => None,
            true | false => Some(trace_sampler::unrecorded()),
        };
        if let Some(parent) = parent {
            // Fails only where spans are not exported.
            let _ = span.set_parent(Context::new().with_remote_span_context(parent));
        } else if self.0.is_valid() {
            span.add_link(self.0.clone());
        }
        span
    }
}

impl Default for FlightSpan {
    fn default() -> Self {
        Self(SpanContext::NONE)
    }
}

//! To whose trace a fetch belongs.
//!
//! A fetch outlives the call that caused it, and an usher serves one call after another. So each fetch, with what is asked of
//! the store for it, has a span of its own, which keeps no span of a call open: below the span of the call that waits for it,
//! and in a trace of its own, linked to the call, if nobody does.

use opentelemetry::{
    Context,
    trace::{SpanContext, TraceContextExt as _},
};
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

use crate::{model::Namespace, trace_sampler};

/// The call that had something fetched, as traces know it.
#[derive(Clone, PartialEq)]
pub(in crate::cache) struct FlightSpan(SpanContext);

impl FlightSpan {
    /// The call that is being answered.
    pub(in crate::cache) fn current() -> Self {
        let span = Span::current();
        // Of a call that its caller does not have recorded there is a context and no span.
        let context = if span.is_disabled() { Context::current() } else { span.context() };
        Self(context.span().span_context().clone())
    }

    /// The span of one fetch and of what is asked of the store for it.
    pub(in crate::cache) fn span(&self, namespace: &Namespace, is_awaited: bool) -> Span {
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
            // It fails only where spans are not exported.
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

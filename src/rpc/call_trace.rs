//! The trace of a call: its span, and the trace context of the caller.

use http::{HeaderMap, HeaderName};
use opentelemetry::{Context, global, propagation::Extractor, trace::TraceContextExt as _};
use tonic::Code;
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

use super::method::Method;
use crate::{pb::code_name, trace_sampler};

/// The header of the W3C Trace Context.
const TRACE_PARENT: HeaderName = HeaderName::from_static("traceparent");

/// The trace that a call belongs to. Boxed, because most calls have none and should be small.
pub(super) enum CallTrace {
    /// The caller sent no trace context, and the call is not sampled.
    None,
    /// The call is sampled: its span.
    Recorded(Box<Span>),
    /// The caller's trace is not sampled: its context, which is passed on to origins.
    Unrecorded(Box<Context>),
}

impl CallTrace {
    pub(super) fn of(method: Method, headers: &HeaderMap) -> Self {
        if !trace_sampler::is_on() {
            return Self::None;
        }
        let parent = headers
            .contains_key(TRACE_PARENT)
            .then(|| {
                global::get_text_map_propagator(|propagator| propagator.extract(&Headers(headers)))
            })
            .filter(|parent| parent.span().span_context().is_valid());
        let is_recorded = parent.as_ref().map_or_else(trace_sampler::is_chosen, |parent| {
            parent.span().span_context().is_sampled()
        });
        if !is_recorded {
            return parent.map_or(Self::None, |parent| Self::Unrecorded(Box::new(parent)));
        }
        let span = tracing::info_span!(
            target: "larder::trace",
            "rpc",
            otel.name = method.name(),
            otel.kind = "server",
            otel.status_code = tracing::field::Empty,
            rpc.system.name = "grpc",
            rpc.method = method.name(),
            rpc.response.status_code = tracing::field::Empty,
            error.type = tracing::field::Empty,
        );
        if let Some(parent) = parent {
            // Fails only without a tracer, that is, if spans are not exported.
            let _ = span.set_parent(parent);
        }
        Self::Recorded(Box::new(span))
    }

    /// Records the result of the call in its span.
    pub(super) fn end(&self, code: Code) {
        let Self::Recorded(span) = self else { return };
        span.record("rpc.response.status_code", code_name(code));
        if is_server_error(code) {
            span.record("otel.status_code", "ERROR").record("error.type", code_name(code));
        }
    }
}

/// Codes that are errors of the server, by the OpenTelemetry semantic conventions for gRPC.
fn is_server_error(code: Code) -> bool {
    matches!(
        code,
        Code::Unknown
            | Code::DeadlineExceeded
            | Code::Unimplemented
            | Code::Internal
            | Code::Unavailable
            | Code::DataLoss
    )
}

/// Reads the trace context from request headers.
struct Headers<'a>(&'a HeaderMap);

impl Extractor for Headers<'_> {
    fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name)?.to_str().ok()
    }

    fn keys(&self) -> Vec<&str> {
        self.0.keys().map(HeaderName::as_str).collect()
    }
}

#[cfg(test)]
mod fuzz_tests;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_of_the_caller_are_not_errors_of_the_server() {
        for code in [Code::Ok, Code::Cancelled, Code::InvalidArgument, Code::ResourceExhausted] {
            assert!(!is_server_error(code), "{code:?}");
        }
        for code in [Code::Internal, Code::Unavailable, Code::DeadlineExceeded] {
            assert!(is_server_error(code), "{code:?}");
        }
    }
}

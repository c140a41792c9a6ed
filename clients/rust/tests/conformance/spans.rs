//! Spans of the program around calls.

use std::sync::Once;

use opentelemetry::{
    Context, global,
    trace::{FutureExt as _, TraceContextExt as _, Tracer as _},
};
use opentelemetry_sdk::{propagation::TraceContextPropagator, trace::SdkTracerProvider};

static INSTALLED: Once = Once::new();

/// A span, and its trace id.
pub fn begin() -> (Context, String) {
    INSTALLED.call_once(|| {
        global::set_tracer_provider(SdkTracerProvider::builder().build());
        global::set_text_map_propagator(TraceContextPropagator::new());
    });
    let context = Context::new().with_span(global::tracer("conformance").start("case"));
    let trace = context.span().span_context().trace_id().to_string();
    (context, trace)
}

/// Runs a call in a span, if there is one.
pub fn within<F: Future>(span: Option<Context>, call: F) -> impl Future<Output = F::Output> {
    call.with_context(span.unwrap_or_default())
}

//! Fuzz target of the trace context of callers.

#![allow(clippy::unwrap_used)]

use http::HeaderValue;
use opentelemetry::propagation::TextMapPropagator as _;
use opentelemetry_sdk::propagation::TraceContextPropagator;

use super::*;
use crate::fuzzing::{Input, check};

/// `traceparent` and `tracestate`, a line each. A context that is accepted has the ids of the
/// header, and is passed on with them.
#[test]
fn trace_context() {
    let propagator = TraceContextPropagator::new();
    check("trace_context", move |bytes| {
        let mut input = Input::new(bytes);
        let mut headers = HeaderMap::new();
        for name in ["traceparent", "tracestate"] {
            if let Ok(value) = HeaderValue::from_bytes(input.line()) {
                headers.append(name, value);
            }
        }
        let context = propagator.extract_with_context(&Context::new(), &Headers(&headers));
        let span = context.span().span_context().clone();
        let mut passed_on = std::collections::HashMap::new();
        propagator.inject_context(&context, &mut passed_on);
        assert_eq!(passed_on.contains_key("traceparent"), span.is_valid());
        if let Some(passed_on) = passed_on.get("traceparent") {
            let given = headers[&TRACE_PARENT].to_str().unwrap();
            let ids = [span.trace_id().to_string(), span.span_id().to_string()];
            // The library also accepts ids without their leading zeros.
            let is_given = |id: &String| given.contains(id.trim_start_matches('0'));
            assert!(ids.iter().all(is_given), "{given} {passed_on}");
            assert!(passed_on.contains(&ids.join("-")), "{given} {passed_on}");
            HeaderValue::from_str(passed_on).unwrap();
        }
        if let Some(state) = passed_on.get("tracestate") {
            HeaderValue::from_str(state).unwrap();
        }
    });
}

//! Metrics of calls, by the semantic conventions for RPC.

use std::time::Duration;

use opentelemetry::{
    KeyValue,
    metrics::{BoundHistogram, Histogram, Meter},
};
use tonic::Code;

use super::method::Method;
use crate::histogram::LATENCY_BOUNDS;

/// Instruments of the RPC side.
pub struct RpcMetrics {
    duration: Histogram<f64>,
    /// The histogram for each method's successful calls, which need not look for their attributes.
    succeeded: Vec<BoundHistogram<f64>>,
}

impl RpcMetrics {
    /// Instruments of `meter`.
    pub fn new(meter: &Meter) -> Self {
        let duration = meter
            .f64_histogram("rpc.server.call.duration")
            .with_unit("s")
            .with_description("Duration of calls, from request to the end of the response")
            .with_boundaries(LATENCY_BOUNDS.to_vec())
            .build();
        let succeeded =
            Method::all().map(|method| duration.bind(&attributes(method, Code::Ok))).collect();
        Self { duration, succeeded }
    }

    pub(super) fn record(&self, method: Method, code: Code, took: Duration) {
        let seconds = took.as_secs_f64();
        if code == Code::Ok {
            self.succeeded[method.index()].record(seconds);
        } else {
            self.duration.record(seconds, &attributes(method, code));
        }
    }
}

fn attributes(method: Method, code: Code) -> Vec<KeyValue> {
    let mut attributes = vec![
        KeyValue::new("rpc.system.name", "grpc"),
        KeyValue::new("rpc.method", method.name()),
        KeyValue::new("rpc.response.status_code", code_name(code)),
    ];
    if code != Code::Ok {
        attributes.push(KeyValue::new("error.type", code_name(code)));
    }
    attributes
}

/// The name of a code as the gRPC specification writes it.
pub(super) fn code_name(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "CANCELLED",
        Code::Unknown => "UNKNOWN",
        Code::InvalidArgument => "INVALID_ARGUMENT",
        Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
        Code::NotFound => "NOT_FOUND",
        Code::AlreadyExists => "ALREADY_EXISTS",
        Code::PermissionDenied => "PERMISSION_DENIED",
        Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        Code::FailedPrecondition => "FAILED_PRECONDITION",
        Code::Aborted => "ABORTED",
        Code::OutOfRange => "OUT_OF_RANGE",
        Code::Unimplemented => "UNIMPLEMENTED",
        Code::Internal => "INTERNAL",
        Code::Unavailable => "UNAVAILABLE",
        Code::DataLoss => "DATA_LOSS",
        Code::Unauthenticated => "UNAUTHENTICATED",
    }
}

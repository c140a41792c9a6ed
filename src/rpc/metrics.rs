//! Metrics of calls, by the OpenTelemetry semantic conventions for RPC, and of the server's load.

use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

use opentelemetry::{
    KeyValue,
    metrics::{BoundHistogram, Histogram, Meter},
};
use tonic::Code;

use transport::Admission;

use super::{load_limits::LoadLimits, method::Method, overload::Overload};
use crate::{exemplars, metric_list, pb::code_name};

/// Instruments for calls.
pub struct RpcMetrics {
    duration: Histogram<f64>,
    /// The histogram of each method's successful calls, bound to its attributes for speed at its
    /// first call: a method without calls has no series.
    succeeded: Vec<OnceLock<BoundHistogram<f64>>>,
}

impl RpcMetrics {
    /// Creates the instruments.
    pub fn new(meter: &Meter) -> Self {
        let duration = metric_list::RPC_SERVER_CALL_DURATION.histogram(meter);
        let succeeded = Method::all().map(|_| OnceLock::new()).collect();
        Self { duration, succeeded }
    }

    pub(super) fn record(&self, method: Method, code: Code, took: Duration) {
        let seconds = took.as_secs_f64();
        if code == Code::Ok {
            let bind = || self.duration.bind(&attributes(method, Code::Ok));
            self.succeeded[method.index()].get_or_init(bind).record(seconds);
        } else {
            self.duration.record(seconds, &attributes(method, code));
        }
    }
}

/// Keeps the trace of a sampled call as an exemplar of its duration.
#[cold]
pub(super) fn record_exemplar(span: &tracing::Span, method: Method, code: Code, took: Duration) {
    let attributes = attributes(method, code);
    let metric = &metric_list::RPC_SERVER_CALL_DURATION;
    exemplars::record(span, metric, &attributes, took.as_secs_f64());
}

/// Registers the gauges of the server's load.
pub fn register_load(meter: &Meter, admission: &Arc<Admission>, limits: &Arc<LoadLimits>) {
    register_rejections(meter, limits);
    let buffered = limits.buffered.clone();
    metric_list::BUFFERED
        .observed_gauge(meter)
        .with_callback(move |observer| observer.observe(buffered.used() as u64, &[]))
        .build();
    let streams = limits.fetch_streams.clone();
    metric_list::FETCH_STREAMS_OPEN
        .observed_gauge(meter)
        .with_callback(move |observer| observer.observe(streams.used() as u64, &[]))
        .build();
    let watches = limits.watches.clone();
    metric_list::WATCHES_OPEN
        .observed_gauge(meter)
        .with_callback(move |observer| observer.observe(watches.used() as u64, &[]))
        .build();
    let watch_streams = limits.watch_streams.clone();
    metric_list::WATCH_STREAMS
        .observed_gauge(meter)
        .with_callback(move |observer| observer.observe(watch_streams.used() as u64, &[]))
        .build();
    let refusals = limits.clone();
    metric_list::REFUSALS_HELD_BACK
        .observed_gauge(meter)
        .with_callback(move |observer| observer.observe(refusals.held_refusals() as u64, &[]))
        .build();
    let requests = admission.clone();
    metric_list::REQUESTS_IN_FLIGHT
        .observed_gauge(meter)
        .with_callback(move |observer| observer.observe(requests.in_flight() as u64, &[]))
        .build();
    let paused = admission.clone();
    metric_list::CONNECTIONS_HELD_BACK
        .observed_gauge(meter)
        .with_callback(move |observer| observer.observe(paused.paused_connections() as u64, &[]))
        .build();
}

/// Registers the counter of rejected calls, by reason.
fn register_rejections(meter: &Meter, limits: &Arc<LoadLimits>) {
    let limits = limits.clone();
    metric_list::REQUESTS_REJECTED
        .observed_counter(meter)
        .with_callback(move |observer| {
            for &overload in Overload::ALL {
                let reason = KeyValue::new("reason", overload.name());
                observer.observe(limits.rejected(overload), &[reason]);
            }
        })
        .build();
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_errors_have_an_error_type() {
        let names = |code| {
            let attributes = attributes(Method::of("/larder.v1.CacheService/Get"), code);
            attributes.iter().map(|attribute| attribute.key.to_string()).collect::<Vec<_>>()
        };
        let common = ["rpc.system.name", "rpc.method", "rpc.response.status_code"];
        assert_eq!(names(Code::Ok), common);
        assert_eq!(names(Code::Internal), [common.as_slice(), &["error.type"]].concat());
    }
}

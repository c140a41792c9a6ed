//! Metrics of TLS.

use std::{sync::Arc, time::Duration};

use opentelemetry::{
    KeyValue,
    metrics::{Counter, Histogram, Meter},
};
use transport::HandshakeOutcome;

use super::expiry::Expiries;
use crate::histogram::LATENCY_BOUNDS;

/// Number and duration of handshakes.
#[derive(Clone)]
pub(super) struct HandshakeMetrics {
    handshakes: Counter<u64>,
    duration: Histogram<f64>,
}

impl HandshakeMetrics {
    pub(super) fn new(meter: &Meter) -> Self {
        let handshakes = meter
            .u64_counter("larder.tls.handshakes")
            .with_description("TLS handshakes of callers, by result")
            .build();
        let duration = meter
            .f64_histogram("larder.tls.handshake.duration")
            .with_unit("s")
            .with_description("Duration of TLS handshakes, the network included")
            .with_boundaries(LATENCY_BOUNDS.to_vec())
            .build();
        Self { handshakes, duration }
    }

    /// Records the handshakes of a port.
    pub(super) fn observer(
        &self,
        port: &'static str,
    ) -> impl Fn(HandshakeOutcome, Duration) + Send + Sync + 'static {
        let Self { handshakes, duration } = self.clone();
        move |outcome, time| {
            let port = KeyValue::new("port", port);
            handshakes.add(1, &[port.clone(), KeyValue::new("result", outcome.name())]);
            if !matches!(outcome, HandshakeOutcome::Failed(_)) {
                duration.record(time.as_secs_f64(), &[port]);
            }
        }
    }
}

/// Registers the metric of expiry.
pub(super) fn register_expiry(meter: &Meter, expiries: &Arc<Expiries>) {
    let expiries = expiries.clone();
    meter
        .f64_observable_gauge("larder.tls.certificate.expiry")
        .with_unit("s")
        .with_description("Time until a certificate expires; negative after that")
        .with_callback(move |observer| {
            for (name, seconds) in expiries.seconds_left() {
                observer.observe(seconds, &[KeyValue::new("certificate", name)]);
            }
        })
        .build();
}

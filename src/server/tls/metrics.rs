//! Metrics of TLS.

use std::{sync::Arc, time::Duration};

use opentelemetry::{
    KeyValue,
    metrics::{Counter, Histogram, Meter},
};
use transport::HandshakeOutcome;

use super::expiry::Expiries;
use crate::metric_list;

/// Number and duration of handshakes.
#[derive(Clone)]
pub(super) struct HandshakeMetrics {
    handshakes: Counter<u64>,
    duration: Histogram<f64>,
}

impl HandshakeMetrics {
    pub(super) fn new(meter: &Meter) -> Self {
        let handshakes = metric_list::TLS_HANDSHAKES.counter(meter);
        let duration = metric_list::TLS_HANDSHAKE_DURATION.histogram(meter);
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
    metric_list::TLS_CERTIFICATE_EXPIRY
        .observed_level(meter)
        .with_callback(move |observer| {
            for (name, seconds) in expiries.seconds_left() {
                observer.observe(seconds, &[KeyValue::new("certificate", name)]);
            }
        })
        .build();
}

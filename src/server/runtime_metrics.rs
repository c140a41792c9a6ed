//! Metrics of the runtime and of the ports.

use std::sync::Arc;

use opentelemetry::{KeyValue, metrics::Meter};
use transport::{CloseReason, ConnectionStats, runtime::BusyPollStats};

use crate::metric_list;

/// Registers the metrics of busy polling.
pub fn register_busy_poll(meter: &Meter, busy_poll: &Arc<BusyPollStats>) {
    let polls = busy_poll.clone();
    metric_list::BUSY_POLLS
        .observed_counter(meter)
        .with_callback(move |observer| {
            observer.observe(polls.found(), &[KeyValue::new("outcome", "event")]);
            observer.observe(polls.timed_out(), &[KeyValue::new("outcome", "none")]);
        })
        .build();
    let polls = busy_poll.clone();
    metric_list::BUSY_POLL_DURATION
        .observed_sum(meter)
        .with_callback(move |observer| observer.observe(polls.spent().as_secs_f64(), &[]))
        .build();
}

/// The connections of both ports.
pub(super) struct PortStats {
    pub(super) grpc: Arc<ConnectionStats>,
    pub(super) admin: Arc<ConnectionStats>,
}

/// Registers the metrics of connections.
pub(super) fn register_connections(meter: &Meter, stats: &PortStats) {
    let ports = [("grpc", stats.grpc.clone()), ("admin", stats.admin.clone())];
    let each = move |observe: &dyn Fn(&ConnectionStats, KeyValue)| {
        for (port, stats) in &ports {
            observe(stats, KeyValue::new("port", *port));
        }
    };
    let ports = each.clone();
    metric_list::CONNECTIONS_OPEN
        .observed_gauge(meter)
        .with_callback(move |observer| {
            ports(&|stats, port| observer.observe(stats.open() as u64, &[port]));
        })
        .build();
    let ports = each.clone();
    metric_list::CONNECTIONS_LIMIT
        .observed_gauge(meter)
        .with_callback(move |observer| {
            ports(&|stats, port| observer.observe(stats.limit() as u64, &[port]));
        })
        .build();
    let ports = each.clone();
    metric_list::CONNECTIONS_CLOSED
        .observed_counter(meter)
        .with_callback(move |observer| {
            ports(&|stats, port| {
                // An alert needs the zero of refusals; the other reasons appear when they occur.
                let shown =
                    |reason: CloseReason, count| count > 0 || reason == CloseReason::Refused;
                for (reason, count) in
                    stats.closed().filter(|(reason, count)| shown(*reason, *count))
                {
                    let reason = KeyValue::new("reason", reason.name());
                    observer.observe(count, &[port.clone(), reason]);
                }
            });
        })
        .build();
    metric_list::CONNECTIONS_ACCEPT_ERRORS
        .observed_counter(meter)
        .with_callback(move |observer| {
            each(&|stats, port| observer.observe(stats.accept_errors(), &[port]));
        })
        .build();
}

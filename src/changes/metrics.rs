//! Metrics of the watches.

use std::sync::Arc;

use opentelemetry::{KeyValue, metrics::Meter};

use super::{ChangeHub, ResetReason};
use crate::metric_list;

/// Registers the metrics of `hub`.
pub fn register(meter: &Meter, hub: &Arc<ChangeHub>) {
    let delay = metric_list::WATCH_DELAY.histogram(meter);
    // Registered once.
    let _ = hub.delay.set(delay);
    let namespaces = hub.clone();
    metric_list::WATCH_NAMESPACES
        .observed_gauge(meter)
        .with_callback(move |gauge| gauge.observe(namespaces.stats().namespaces, &[]))
        .build();
    let buffered = hub.clone();
    metric_list::WATCH_BUFFERED
        .observed_gauge(meter)
        .with_callback(move |gauge| gauge.observe(buffered.stats().buffered_bytes, &[]))
        .build();
    let following = hub.clone();
    metric_list::WATCH_FOLLOWING
        .observed_gauge(meter)
        .with_callback(move |gauge| gauge.observe(u64::from(following.stats().is_following), &[]))
        .build();
    let sent = hub.clone();
    metric_list::WATCH_EVENTS
        .observed_counter(meter)
        .with_callback(move |counter| counter.observe(sent.stats().sent, &[]))
        .build();
    let resets = hub.clone();
    metric_list::WATCH_RESETS
        .observed_counter(meter)
        .with_callback(move |counter| {
            let counts = resets.stats().resets;
            for (reason, count) in ResetReason::ALL.into_iter().zip(counts) {
                counter.observe(count, &[KeyValue::new("reason", reason.name())]);
            }
        })
        .build();
}

//! Metrics of the watches.

use std::sync::Arc;

use opentelemetry::{KeyValue, metrics::Meter};

use super::{ChangeHub, ResetReason};
use crate::histogram::LATENCY_BOUNDS;

/// Registers the metrics of `hub`.
pub fn register(meter: &Meter, hub: &Arc<ChangeHub>) {
    let delay = meter
        .f64_histogram("larder.watch.delay")
        .with_unit("s")
        .with_description("Time from the publication of a change to its sending, by watcher")
        .with_boundaries(LATENCY_BOUNDS.to_vec())
        .build();
    // Registered once.
    let _ = hub.delay.set(delay);
    let gauge = |name: &'static str, unit: &'static str, description: &'static str| {
        meter.u64_observable_gauge(name).with_unit(unit).with_description(description)
    };
    let namespaces = hub.clone();
    gauge("larder.watch.namespaces", "{namespace}", "Namespaces that are watched")
        .with_callback(move |gauge| gauge.observe(namespaces.stats().namespaces, &[]))
        .build();
    let buffered = hub.clone();
    gauge("larder.watch.buffered", "By", "Changes that are kept for watches")
        .with_callback(move |gauge| gauge.observe(buffered.stats().buffered_bytes, &[]))
        .build();
    let following = hub.clone();
    let description = "1 while all changes of watched namespaces are received, 0 otherwise";
    gauge("larder.watch.following", "", description)
        .with_callback(move |gauge| gauge.observe(u64::from(following.stats().is_following), &[]))
        .build();
    let sent = hub.clone();
    meter
        .u64_observable_counter("larder.watch.events")
        .with_description("Keys, tags, patterns and namespaces sent to watches")
        .with_callback(move |counter| counter.observe(sent.stats().sent, &[]))
        .build();
    let resets = hub.clone();
    meter
        .u64_observable_counter("larder.watch.resets")
        .with_description("Resets sent to watches, by reason")
        .with_callback(move |counter| {
            let counts = resets.stats().resets;
            for (reason, count) in ResetReason::ALL.into_iter().zip(counts) {
                counter.observe(count, &[KeyValue::new("reason", reason.name())]);
            }
        })
        .build();
}

//! Metrics of the near cache.

use std::sync::Arc;

use opentelemetry::{
    KeyValue,
    metrics::{AsyncInstrument, Meter},
};

use super::{NearCache, NearCacheUsage};

/// Registers the metrics of `near`.
pub fn register(meter: &Meter, near: &Arc<NearCache>) {
    register_usage(meter, near);
    let coherent = near.clone();
    meter
        .u64_observable_gauge("larder.near.coherent")
        .with_description("1 while the near cache follows the store, 0 while it is not used")
        .with_callback(move |gauge| gauge.observe(u64::from(coherent.stats().is_coherent), &[]))
        .build();
    let announced = near.clone();
    meter
        .u64_observable_counter("larder.near.announced")
        .with_description("Keys that the store announced as changed")
        .with_callback(move |counter| counter.observe(announced.stats().announced_keys, &[]))
        .build();
    let flushed = near.clone();
    meter
        .u64_observable_counter("larder.near.flushes")
        .with_description(
            "Times that the near cache was emptied because it could not follow the store",
        )
        .with_callback(move |counter| counter.observe(flushed.stats().flushes, &[]))
        .build();
}

/// Registers the metrics that exist per namespace.
fn register_usage(meter: &Meter, near: &Arc<NearCache>) {
    let entries = near.clone();
    meter
        .u64_observable_gauge("larder.near.entries")
        .with_unit("{entry}")
        .with_description("Entries in the near cache")
        .with_callback(move |gauge| observe_usage(&entries, gauge, |usage| usage.entries))
        .build();
    let size = near.clone();
    meter
        .u64_observable_gauge("larder.near.size")
        .with_unit("By")
        .with_description("Memory in use by the near cache")
        .with_callback(move |gauge| observe_usage(&size, gauge, |usage| usage.bytes))
        .build();
    let evicted = near.clone();
    meter
        .u64_observable_counter("larder.near.evictions")
        .with_description("Entries that the near cache evicted to make room")
        .with_callback(move |counter| observe_usage(&evicted, counter, |usage| usage.evictions))
        .build();
}

fn observe_usage(
    near: &NearCache,
    instrument: &dyn AsyncInstrument<u64>,
    value: fn(NearCacheUsage) -> u64,
) {
    for (namespace, usage) in near.usage() {
        let labels = [KeyValue::new("namespace", namespace.to_string())];
        instrument.observe(value(usage), &labels);
    }
}

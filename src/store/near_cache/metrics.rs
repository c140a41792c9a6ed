//! Metrics of the near cache.

use std::sync::Arc;

use opentelemetry::{
    KeyValue,
    metrics::{AsyncInstrument, Meter},
};

use super::{NearCache, NearCacheUsage};
use crate::metric_list;

/// Registers the metrics of `near`.
pub fn register(meter: &Meter, near: &Arc<NearCache>) {
    register_usage(meter, near);
    let coherent = near.clone();
    metric_list::NEAR_COHERENT
        .observed_gauge(meter)
        .with_callback(move |gauge| gauge.observe(u64::from(coherent.stats().is_coherent), &[]))
        .build();
    let announced = near.clone();
    metric_list::NEAR_ANNOUNCED
        .observed_counter(meter)
        .with_callback(move |counter| counter.observe(announced.stats().announced_keys, &[]))
        .build();
    let flushed = near.clone();
    metric_list::NEAR_FLUSHES
        .observed_counter(meter)
        .with_callback(move |counter| counter.observe(flushed.stats().flushes, &[]))
        .build();
}

/// Registers the metrics that exist per namespace.
fn register_usage(meter: &Meter, near: &Arc<NearCache>) {
    let entries = near.clone();
    metric_list::NEAR_ENTRIES
        .observed_gauge(meter)
        .with_callback(move |gauge| observe_usage(&entries, gauge, |usage| usage.entries))
        .build();
    let size = near.clone();
    metric_list::NEAR_SIZE
        .observed_gauge(meter)
        .with_callback(move |gauge| observe_usage(&size, gauge, |usage| usage.bytes))
        .build();
    let evicted = near.clone();
    metric_list::NEAR_EVICTIONS
        .observed_counter(meter)
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

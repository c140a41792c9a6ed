//! Metrics of the near cache.

use std::sync::Arc;

use opentelemetry::{KeyValue, metrics::Meter};

use crate::store::near_cache::{NearCache, NearCacheUsage};

/// Registers the metrics of `near`.
pub fn register(meter: &Meter, near: &Arc<NearCache>) {
    type Reading = fn(NearCacheUsage) -> u64;
    let held = near.clone();
    meter
        .u64_observable_gauge("larder.near.coherent")
        .with_description("1 while the near cache follows the store, 0 while it is not used")
        .with_callback(move |observer| observer.observe(u64::from(held.stats().is_coherent), &[]))
        .build();
    let gauges: [(&str, &str, &str, Reading); 2] = [
        ("larder.near.entries", "{entry}", "Entries in the near cache", |usage| usage.entries),
        ("larder.near.size", "By", "Memory in use by the near cache", |usage| usage.bytes),
    ];
    for (name, unit, description, reading) in gauges {
        let near = near.clone();
        meter
            .u64_observable_gauge(name)
            .with_unit(unit)
            .with_description(description)
            .with_callback(move |observer| {
                for (namespace, usage) in near.usage() {
                    observer.observe(
                        reading(usage),
                        &[KeyValue::new("namespace", namespace.to_string())],
                    );
                }
            })
            .build();
    }
    let evicted = near.clone();
    meter
        .u64_observable_counter("larder.near.evictions")
        .with_description("Entries that the near cache evicted to make room")
        .with_callback(move |observer| {
            for (namespace, usage) in evicted.usage() {
                observer
                    .observe(usage.evictions, &[KeyValue::new("namespace", namespace.to_string())]);
            }
        })
        .build();
    let announced = near.clone();
    meter
        .u64_observable_counter("larder.near.announced")
        .with_description("Keys that the store announced as changed")
        .with_callback(move |observer| observer.observe(announced.stats().announced_keys, &[]))
        .build();
    let flushed = near.clone();
    meter
        .u64_observable_counter("larder.near.flushes")
        .with_description(
            "Times that the near cache was emptied because it could not follow the store",
        )
        .with_callback(move |observer| observer.observe(flushed.stats().flushes, &[]))
        .build();
}

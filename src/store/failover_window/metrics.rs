//! Metrics of the failover window.

use std::sync::Arc;

use opentelemetry::metrics::Meter;

use super::FailoverWindow;

/// Registers the metrics of the failover window.
pub fn register(meter: &Meter, window: &Arc<FailoverWindow>) {
    let (remembered, reapplied, reapplying) = (window.clone(), window.clone(), window.clone());
    meter
        .u64_observable_gauge("larder.store.failover.remembered")
        .with_description("Invalidations that would be applied again after a failover of Redis")
        .with_callback(move |gauge| gauge.observe(remembered.stats().remembered as u64, &[]))
        .build();
    meter
        .u64_observable_counter("larder.store.failover.reapplied")
        .with_description("Invalidations that were applied again after a failover of Redis")
        .with_callback(move |counter| counter.observe(reapplied.stats().reapplied, &[]))
        .build();
    meter
        .u64_observable_gauge("larder.store.failover.reapplying")
        .with_description("1 while entries wait until invalidations are applied again")
        .with_callback(move |gauge| {
            gauge.observe(u64::from(reapplying.stats().is_reapplying), &[]);
        })
        .build();
}

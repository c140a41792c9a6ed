//! Metrics of the failover window.

use std::sync::Arc;

use opentelemetry::metrics::Meter;

use super::FailoverWindow;
use crate::metric_list;

/// Registers the metrics of the failover window.
pub fn register(meter: &Meter, window: &Arc<FailoverWindow>) {
    let (remembered, reapplied, reapplying) = (window.clone(), window.clone(), window.clone());
    metric_list::STORE_FAILOVER_REMEMBERED
        .observed_gauge(meter)
        .with_callback(move |gauge| gauge.observe(remembered.stats().remembered as u64, &[]))
        .build();
    metric_list::STORE_FAILOVER_REAPPLIED
        .observed_counter(meter)
        .with_callback(move |counter| counter.observe(reapplied.stats().reapplied, &[]))
        .build();
    metric_list::STORE_FAILOVER_REAPPLYING
        .observed_gauge(meter)
        .with_callback(move |gauge| {
            gauge.observe(u64::from(reapplying.stats().is_reapplying), &[]);
        })
        .build();
}

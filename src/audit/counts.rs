//! Counts what becomes of records, for metrics.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
};

use opentelemetry::{KeyValue, metrics::Meter};

use crate::metric_list;

/// Counts of an audit log.
#[derive(Debug, Default)]
pub(super) struct Counts {
    /// Records that are written.
    pub(super) written: AtomicU64,
    /// Records that found the queue full.
    pub(super) queue_full: AtomicU64,
    /// Records that could not be written.
    pub(super) not_written: AtomicU64,
    /// Records of refused calls over their limit.
    pub(super) suppressed: AtomicU64,
    /// Records in the queue.
    pub(super) queued: AtomicU64,
    /// Whether the last write failed.
    pub(super) is_failing: AtomicBool,
}

impl Counts {
    /// Records that are missing in the file.
    pub(super) fn lost(&self) -> u64 {
        let losses = [&self.queue_full, &self.not_written, &self.suppressed];
        losses.iter().map(|count| count.load(Relaxed)).sum()
    }
}

/// Registers the metrics.
pub(super) fn register(meter: &Meter, counts: &Arc<Counts>) {
    let shown = counts.clone();
    metric_list::AUDIT_RECORDS
        .observed_counter(meter)
        .with_callback(move |observer| {
            for (outcome, count) in [
                ("written", &shown.written),
                ("queue_full", &shown.queue_full),
                ("not_written", &shown.not_written),
                ("suppressed", &shown.suppressed),
            ] {
                observer.observe(count.load(Relaxed), &[KeyValue::new("outcome", outcome)]);
            }
        })
        .build();
    let shown = counts.clone();
    metric_list::AUDIT_QUEUED
        .observed_gauge(meter)
        .with_callback(move |observer| observer.observe(shown.queued.load(Relaxed), &[]))
        .build();
    let shown = counts.clone();
    metric_list::AUDIT_FAILING
        .observed_gauge(meter)
        .with_callback(move |observer| {
            observer.observe(u64::from(shown.is_failing.load(Relaxed)), &[]);
        })
        .build();
}

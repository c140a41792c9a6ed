//! Metrics and log lines of the journal.

use std::sync::Arc;

use opentelemetry::{
    KeyValue,
    metrics::{Counter, Meter},
};
use parking_lot::Mutex;
use repeated_events::{RepeatedEvent, Summary};

use super::{Journal, JournalError, quarantine::Quarantine};
use crate::model::Timestamp;

/// Counts appends, and logs the first of an outage and those that are refused.
pub struct JournalLog {
    appends: Counter<u64>,
    appending: Mutex<RepeatedEvent>,
    refusing: Mutex<RepeatedEvent>,
}

impl JournalLog {
    /// Creates the counter.
    pub fn new(meter: &Meter) -> Self {
        let appends = meter
            .u64_counter("larder.journal.appends")
            .with_description("Invalidations that the store did not take, by outcome")
            .build();
        Self { appends, appending: Mutex::default(), refusing: Mutex::default() }
    }

    /// Records an invalidation that is on disk.
    pub(super) fn appended(&self) {
        self.count("queued");
        if let Some(Summary { count, seconds }) = self.appending.lock().occurred() {
            tracing::warn!(
                count,
                seconds,
                "invalidations are queued in the journal, because the store is away"
            );
        }
    }

    /// Records an invalidation that the journal did not take either.
    pub(super) fn refused(&self, error: &JournalError) {
        self.count(error.name());
        if let Some(Summary { count, seconds }) = self.refusing.lock().occurred() {
            tracing::error!(
                count,
                seconds,
                %error,
                remedy = error.remedy(),
                "invalidations are refused: neither the store nor the journal takes them"
            );
        }
    }

    /// Records that the journal is empty, which ends an outage.
    pub(super) fn replayed(&self) {
        for event in [&self.appending, &self.refusing] {
            // The replay logs the end.
            let _ = event.lock().ended_if(|_| true);
        }
    }

    fn count(&self, outcome: &'static str) {
        self.appends.add(1, &[KeyValue::new("outcome", outcome)]);
    }
}

/// Registers the metrics of a journal and of the quarantine. `now` is the store's clock.
pub fn register(
    meter: &Meter,
    journal: &Arc<Journal>,
    quarantine: &Arc<Quarantine>,
    now: impl Fn() -> Timestamp + Send + Sync + 'static,
) {
    let (entries, bytes) = (journal.pending().clone(), journal.pending().clone());
    meter
        .u64_observable_gauge("larder.journal.entries")
        .with_unit("{entry}")
        .with_description("Invalidations in the journal that the store has not applied")
        .with_callback(move |gauge| gauge.observe(entries.size().entries, &[]))
        .build();
    meter
        .u64_observable_gauge("larder.journal.size")
        .with_unit("By")
        .with_description("Bytes of the invalidations in the journal, of journal.max_bytes")
        .with_callback(move |gauge| gauge.observe(bytes.size().bytes, &[]))
        .build();
    let max_bytes = journal.max_bytes();
    meter
        .u64_observable_gauge("larder.journal.limit")
        .with_unit("By")
        .with_description("Most bytes that the journal takes (journal.max_bytes)")
        .with_callback(move |gauge| gauge.observe(max_bytes, &[]))
        .build();
    let pending = journal.pending().clone();
    meter
        .f64_observable_gauge("larder.journal.age")
        .with_unit("s")
        .with_description("Age of the eldest invalidation in the journal; 0 if it is empty")
        .with_callback(move |gauge| {
            let eldest = pending.eldest().map(Timestamp);
            let age = eldest.map_or(0.0, |eldest| now().since(eldest).as_secs_f64());
            gauge.observe(age, &[]);
        })
        .build();
    let (active, expired) = (quarantine.clone(), quarantine.clone());
    meter
        .u64_observable_gauge("larder.journal.quarantine.active")
        .with_description("1 while reads are degraded, because journals may not be replayed yet")
        .with_callback(move |gauge| gauge.observe(u64::from(active.is_active()), &[]))
        .build();
    meter
        .u64_observable_counter("larder.journal.quarantine.expired")
        .with_description("Quarantines that ended after their time, with journals missing")
        .with_callback(move |counter| counter.observe(expired.expired(), &[]))
        .build();
}

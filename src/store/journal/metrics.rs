//! Metrics and log lines of the journal.

use std::sync::Arc;

use opentelemetry::{
    KeyValue,
    metrics::{Counter, Meter},
};
use parking_lot::Mutex;
use repeated_events::{RepeatedEvent, Summary};

use super::{Journal, JournalError, quarantine::Quarantine};
use crate::{metric_list, model::Timestamp};

/// Counts appends, and logs the first of an outage and those that are refused.
pub struct JournalLog {
    appends: Counter<u64>,
    appending: Mutex<RepeatedEvent>,
    refusing: Mutex<RepeatedEvent>,
}

impl JournalLog {
    /// Creates the counter.
    pub fn new(meter: &Meter) -> Self {
        let appends = metric_list::JOURNAL_APPENDS.counter(meter);
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
    metric_list::JOURNAL_ENTRIES
        .observed_gauge(meter)
        .with_callback(move |gauge| gauge.observe(entries.size().entries, &[]))
        .build();
    metric_list::JOURNAL_SIZE
        .observed_gauge(meter)
        .with_callback(move |gauge| gauge.observe(bytes.size().bytes, &[]))
        .build();
    let max_bytes = journal.max_bytes();
    metric_list::JOURNAL_LIMIT
        .observed_gauge(meter)
        .with_callback(move |gauge| gauge.observe(max_bytes, &[]))
        .build();
    let pending = journal.pending().clone();
    metric_list::JOURNAL_AGE
        .observed_level(meter)
        .with_callback(move |gauge| {
            let eldest = pending.eldest().map(Timestamp);
            let age = eldest.map_or(0.0, |eldest| now().since(eldest).as_secs_f64());
            gauge.observe(age, &[]);
        })
        .build();
    let (active, expired) = (quarantine.clone(), quarantine.clone());
    metric_list::JOURNAL_QUARANTINE_ACTIVE
        .observed_gauge(meter)
        .with_callback(move |gauge| gauge.observe(u64::from(active.is_active()), &[]))
        .build();
    metric_list::JOURNAL_QUARANTINE_EXPIRED
        .observed_counter(meter)
        .with_callback(move |counter| counter.observe(expired.expired(), &[]))
        .build();
}

//! The byte budget, and the part of it that leases, hold-offs and bans may take.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use parking_lot::Mutex;
use repeated_events::LogInterval;

use crate::{
    model::Timestamp,
    store::{ErrorKind, Result},
};

/// Bytes in use and their limit, with counters of removed entries.
pub(super) struct Budget {
    pub(super) max: u64,
    /// What may be in use: the rest of `max` is kept free.
    limit: u64,
    used: AtomicU64,
    pub(super) peak: AtomicU64,
    pub(super) evicted: AtomicU64,
    pub(super) expired: AtomicU64,
    /// Bytes of all namespaces, which are also part of `used`.
    namespaces: AtomicU64,
    /// No lease at all is granted until then.
    held_off_until: AtomicU64,
    pub(super) records: RecordBudget,
}

/// Bytes of leases, hold-offs and bans, which are also part of the whole budget. They cannot be
/// evicted as entries are: a lease that is forgotten costs a computation, and a hold-off or a ban
/// that is forgotten a wrong value.
pub(super) struct RecordBudget {
    pub(super) max: u64,
    used: AtomicU64,
    /// Leases that were not granted because they could not be recorded.
    pub(super) refused_leases: AtomicU64,
    /// Hold-offs that were extended to the whole namespace because they could not be recorded.
    pub(super) widened_hold_offs: AtomicU64,
    /// Banned tags and patterns of all namespaces.
    pub(super) bans: AtomicU64,
    log: Mutex<LogInterval>,
}

/// The part of the budget that is kept free, for what the allocator holds besides: pages that are
/// partly filled, and freed memory that it gives back a second later.
const SLACK_DIVISOR: u64 = 16;
/// The part of the budget that leases, hold-offs and bans may take.
const RECORDS_DIVISOR: u64 = 8;
/// The shortest time between two warnings.
const LOG_INTERVAL: Duration = Duration::from_secs(60);

// === impl Budget ===

impl Budget {
    pub(super) fn new(max: u64) -> Self {
        let zero = AtomicU64::default;
        let records = RecordBudget {
            max: max / RECORDS_DIVISOR,
            used: zero(),
            refused_leases: zero(),
            widened_hold_offs: zero(),
            bans: zero(),
            log: Mutex::new(LogInterval::new(LOG_INTERVAL)),
        };
        let limit = max - max / SLACK_DIVISOR;
        Self {
            max,
            limit,
            used: zero(),
            peak: zero(),
            evicted: zero(),
            expired: zero(),
            namespaces: zero(),
            held_off_until: zero(),
            records,
        }
    }

    pub(super) fn used(&self) -> u64 {
        self.used.load(Ordering::Relaxed)
    }

    /// Reserves bytes, even if that exceeds the limit. Fails if they exceed the limit alone.
    pub(super) fn reserve(&self, bytes: u64) -> Result<()> {
        if bytes > self.limit {
            return Err(ErrorKind::Full.into());
        }
        self.add(bytes);
        Ok(())
    }

    /// Adds bytes that are in use already.
    pub(super) fn add(&self, bytes: u64) {
        let used = self.used.fetch_add(bytes, Ordering::Relaxed) + bytes;
        self.peak.fetch_max(used.min(self.limit), Ordering::Relaxed);
    }

    pub(super) fn release(&self, bytes: u64) {
        self.used.fetch_sub(bytes, Ordering::Relaxed);
    }

    pub(super) fn is_exceeded(&self) -> bool {
        self.used() > self.limit
    }

    pub(super) fn add_namespace(&self, bytes: u64) {
        self.namespaces.fetch_add(bytes, Ordering::Relaxed);
        self.add(bytes);
    }

    pub(super) fn release_namespace(&self, bytes: u64) {
        self.namespaces.fetch_sub(bytes, Ordering::Relaxed);
        self.release(bytes);
    }

    /// Whether the namespaces take so much that no further one may be kept for a hold-off. They
    /// cannot be evicted while they are held off.
    pub(super) fn is_full_of_namespaces(&self) -> bool {
        self.namespaces.load(Ordering::Relaxed) > self.records.max
    }

    /// Grants no lease of any namespace until `until`.
    #[cold]
    pub(super) fn hold_off_all(&self, until: Timestamp) {
        self.held_off_until.fetch_max(until.0, Ordering::Relaxed);
        self.records.on_all_held_off();
    }

    /// End of the hold-off of all namespaces, if it lies in the future.
    pub(super) fn held_off_until(&self, now: Timestamp) -> Option<Timestamp> {
        let until = Timestamp(self.held_off_until.load(Ordering::Relaxed));
        (now < until).then_some(until)
    }

    /// Adds the bytes of a new lease, hold-off or ban to those of its namespace. Returns false if
    /// there are too many.
    pub(super) fn add_record(&self, namespace: &AtomicU64, bytes: u64) -> bool {
        let is_added = self.records.add(namespace, bytes);
        if is_added {
            self.add(bytes);
        }
        is_added
    }

    pub(super) fn release_record(&self, namespace: &AtomicU64, bytes: u64) {
        self.records.release(namespace, bytes);
        self.release(bytes);
    }
}

// === impl RecordBudget ===

impl RecordBudget {
    pub(super) fn used(&self) -> u64 {
        self.used.load(Ordering::Relaxed)
    }

    pub(super) fn on_lease_refused(&self) {
        self.refused_leases.fetch_add(1, Ordering::Relaxed);
        self.warn("leases are not granted: there are too many leases and hold-offs");
    }

    pub(super) fn on_hold_off_widened(&self) {
        self.widened_hold_offs.fetch_add(1, Ordering::Relaxed);
        self.warn("hold-offs cover their whole namespace: there are too many of them");
    }

    fn on_all_held_off(&self) {
        self.widened_hold_offs.fetch_add(1, Ordering::Relaxed);
        self.warn("hold-offs cover all namespaces: too many namespaces are held off");
    }

    fn warn(&self, message: &str) {
        if let Some(count) = self.log.lock().occurred() {
            tracing::warn!(count, used_bytes = self.used(), max_bytes = self.max, "{message}");
        }
    }

    /// A namespace may take as much as is still free, so that the next one gets as much as those
    /// before it.
    fn add(&self, namespace: &AtomicU64, bytes: u64) -> bool {
        let used = self.used.fetch_add(bytes, Ordering::Relaxed) + bytes;
        let own = namespace.fetch_add(bytes, Ordering::Relaxed) + bytes;
        let is_within_limits = used <= self.max && own <= bytes.max(self.max - used);
        if !is_within_limits {
            self.release(namespace, bytes);
        }
        is_within_limits
    }

    fn release(&self, namespace: &AtomicU64, bytes: u64) {
        self.used.fetch_sub(bytes, Ordering::Relaxed);
        namespace.fetch_sub(bytes, Ordering::Relaxed);
    }
}

//! The byte budget, and the part of it that leases, hold-offs and bans may take.

use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use repeated_events::{RepeatedEvent, Summary};

use crate::{
    model::Timestamp,
    store::{ErrorKind, Result},
};

/// Bytes in use and their limit, with counters of removed entries.
pub(super) struct Budget {
    pub(super) max: u64,
    /// Usable bytes; the rest of `max` is a reserve.
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
    log: Mutex<[RepeatedEvent; Shortage::ALL.len()]>,
}

/// The part of the budget that is kept free, for what the allocator holds besides: pages that are
/// partly filled, and freed memory that it gives back a second later.
const SLACK_DIVISOR: u64 = 16;
/// The part of the budget that leases, hold-offs and bans may take.
const RECORDS_DIVISOR: u64 = 8;

macro_rules! shortages {
    ($($(#[doc = $doc:literal])+ $shortage:ident: $begins:literal, $ends:literal;)+) => {
        /// A kind of record that is not kept for want of memory.
        #[derive(Debug, Clone, Copy)]
        enum Shortage { $($(#[doc = $doc])+ $shortage),+ }

        impl Shortage {
            const ALL: &[Self] = &[$(Self::$shortage),+];

            fn begins(self) -> &'static str {
                match self { $(Self::$shortage => $begins),+ }
            }

            fn ends(self) -> &'static str {
                match self { $(Self::$shortage => $ends),+ }
            }
        }
    };
}

shortages! {
    /// Leases are not granted.
    Leases: "leases are not granted: there are too many leases and hold-offs",
        "leases are granted again";
    /// Hold-offs cover their whole namespace.
    HoldOffs: "hold-offs cover their whole namespace: there are too many of them",
        "hold-offs cover their own keys again";
    /// Hold-offs cover all namespaces.
    Namespaces: "hold-offs cover all namespaces: too many namespaces are held off",
        "hold-offs cover their own namespace again";
    /// Bans invalidate their whole namespace.
    Bans: "bans invalidate their whole namespace: there is no memory to record them",
        "bans are recorded again";
}

const REMEDY: &str = "raise memory.max_bytes, an eighth of which is for leases, hold-offs and \
                      bans, or shorten lease_ttl and hold-offs";

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
            log: Mutex::default(),
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
        self.warn(Shortage::Leases);
    }

    pub(super) fn on_hold_off_widened(&self) {
        self.widened_hold_offs.fetch_add(1, Ordering::Relaxed);
        self.warn(Shortage::HoldOffs);
    }

    pub(super) fn on_ban_not_recorded(&self) {
        self.warn(Shortage::Bans);
    }

    fn on_all_held_off(&self) {
        self.widened_hold_offs.fetch_add(1, Ordering::Relaxed);
        self.warn(Shortage::Namespaces);
    }

    fn warn(&self, shortage: Shortage) {
        let due = self.log.lock()[shortage as usize].occurred();
        let Some(Summary { count, seconds }) = due else { return };
        tracing::warn!(
            count,
            seconds,
            used_bytes = self.used(),
            limit_bytes = self.max,
            remedy = REMEDY,
            "{}",
            shortage.begins()
        );
    }

    /// Logs the ends of shortages. To be called at intervals.
    pub(super) fn log_ends(&self) {
        for (shortage, event) in Shortage::ALL.iter().zip(self.log.lock().iter_mut()) {
            if let Some(Summary { count, seconds }) = event.ended() {
                tracing::info!(count, seconds, "{}", shortage.ends());
            }
        }
    }

    /// A namespace may take as much as is still free: the first one alone half of the budget, and
    /// equal parts if all compete.
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

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::{sync::Arc, time::Duration};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn each_shortage_is_logged_by_itself_and_ends() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let writer = Arc::new(file.reopen().unwrap());
        let subscriber = tracing_subscriber::fmt().with_writer(writer).with_ansi(false).finish();
        let _guard = tracing::subscriber::set_default(subscriber);
        let records = Budget::new(1 << 20).records;
        for _ in 0..3 {
            records.on_lease_refused();
            records.on_hold_off_widened();
            records.on_ban_not_recorded();
        }
        records.log_ends();
        tokio::time::advance(Duration::from_secs(5)).await;
        records.log_ends();
        let lines = std::fs::read_to_string(file.path()).unwrap();
        let (begun, ended): (Vec<&str>, Vec<&str>) =
            lines.lines().partition(|line| line.contains("WARN"));
        assert_eq!((begun.len(), ended.len()), (3, 3), "{lines}");
        for line in begun {
            assert!(line.contains("count=1") && line.contains("memory.max_bytes"), "{line}");
        }
        assert!(ended.iter().all(|line| line.contains("count=3")), "{lines}");
    }
}

//! The quarantine: after an outage, the invalidations that other replicas have in their journals
//! may not be applied yet, so reads of this replica are degraded misses.
//!
//! It begins when the circuit breaker of the store opens. It ends when each registered journal has
//! been empty since the store's return, or when `journal.quarantine` has passed since then. A
//! journal that was empty during the outage of this replica does not count: the outage of its own
//! replica may begin later.

use std::{
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    time::Duration,
};

use async_trait::async_trait;
use parking_lot::Mutex;
use tokio::{sync::Notify, time::Instant};

use crate::{
    model::Timestamp,
    store::{ErrorKind, Result},
};

/// A journal that was not empty at any time for this long is not waited for: its replica is gone.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(600);

/// The journals of the fleet, as they report to the store.
#[async_trait]
pub trait JournalRegistry: Send + Sync {
    /// Reports that a journal was empty at `empty_at`; none registers it as one that may have
    /// invalidations, unless it has reported before.
    async fn report_journal(&self, id: &str, empty_at: Option<Timestamp>) -> Result<()>;

    /// Removes a journal.
    async fn withdraw_journal(&self, id: &str) -> Result<()>;

    /// When each registered journal was empty last.
    async fn journals(&self) -> Result<Vec<JournalReport>>;
}

/// Report of a journal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JournalReport {
    /// Name of the journal.
    pub id: String,
    /// When it was empty last; zero if it has not been since it was registered.
    pub empty_at: Timestamp,
}

/// An outage of the store for this replica, by the store's clock.
#[derive(Debug, Clone, Copy)]
struct Outage {
    began_at: Timestamp,
    /// When the store was found to answer again; none while it is away.
    returned_at: Option<(Timestamp, Instant)>,
}

/// Whether reads are in quarantine.
pub struct Quarantine {
    is_active: AtomicBool,
    /// Whether the store has returned since the outage.
    is_back: AtomicBool,
    outage: Mutex<Option<Outage>>,
    begun: Notify,
    /// Quarantines that ended because their time was over.
    expired: AtomicU64,
    limit: Duration,
}

impl Quarantine {
    /// A quarantine that is not active. It lasts for at most `limit` after the store's return.
    pub fn new(limit: Duration) -> Self {
        Self {
            is_active: AtomicBool::new(false),
            is_back: AtomicBool::new(false),
            outage: Mutex::default(),
            begun: Notify::new(),
            expired: AtomicU64::new(0),
            limit,
        }
    }

    /// Whether reads must be degraded misses.
    #[inline]
    pub fn is_active(&self) -> bool {
        self.is_active.load(Ordering::Acquire)
    }

    /// Why a read must be a degraded miss, if it must be one.
    #[inline]
    pub(super) fn refusal(&self) -> Option<ErrorKind> {
        self.is_active().then(|| match self.is_back.load(Ordering::Relaxed) {
            true => ErrorKind::Quarantined,
            false => ErrorKind::BreakerOpen,
        })
    }

    /// Begins a quarantine, or extends it by a new outage.
    pub fn begin(&self, now: Timestamp) {
        if self.limit.is_zero() {
            return;
        }
        *self.outage.lock() = Some(Outage { began_at: now, returned_at: None });
        self.is_back.store(false, Ordering::Relaxed);
        self.is_active.store(true, Ordering::Release);
        self.begun.notify_one();
    }

    /// Number of quarantines that ended because their time was over, with journals missing.
    pub fn expired(&self) -> u64 {
        self.expired.load(Ordering::Relaxed)
    }

    /// Returns at the next begin, or at once if there was one since the last call.
    pub(super) async fn begun(&self) {
        self.begun.notified().await;
    }

    /// The store was away, and answers again.
    pub(super) fn store_returned(&self, now: Timestamp) {
        if let Some(outage) = &mut *self.outage.lock() {
            outage.returned_at = Some((now, Instant::now()));
        }
    }

    /// Ends the quarantine if no journal is missing, or if it has lasted too long since the store's
    /// return, which is the first check at the latest. `reports` is none if they could not be read.
    pub(super) fn check(&self, reports: Option<&[JournalReport]>, now: Timestamp) {
        let mut current = self.outage.lock();
        let Some(outage) = &mut *current else { return };
        self.is_back.store(true, Ordering::Relaxed);
        let (since, returned_at) = *outage.returned_at.get_or_insert((now, Instant::now()));
        let began_at = outage.began_at;
        let missing = reports.map(|reports| missing(reports, began_at, since));
        let is_over = returned_at.elapsed() >= self.limit;
        match missing {
            Some(missing) if missing.is_empty() => {
                tracing::info!("the quarantine is over: every journal is replayed");
            }
            missing if is_over => {
                self.expired.fetch_add(1, Ordering::Relaxed);
                tracing::warn!(
                    missing = ?missing.unwrap_or_default(),
                    quarantine = ?self.limit,
                    remedy = "start the replicas of the journals, or apply their invalidations by \
                              hand: larder journal show",
                    "the quarantine is over, and journals are not replayed: their invalidations \
                     are not applied yet"
                );
            }
            _ => return,
        }
        *current = None;
        self.is_active.store(false, Ordering::Release);
    }
}

/// The journals that have not been empty since the return of the store.
fn missing(reports: &[JournalReport], began_at: Timestamp, since: Timestamp) -> Vec<&str> {
    let is_missing = |report: &&JournalReport| {
        report.empty_at <= since
            && (report.empty_at.0 == 0 || began_at.since(report.empty_at) < FORGOTTEN_AFTER)
    };
    reports.iter().filter(is_missing).map(|report| report.id.as_str()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_secs(5);
    const OUTAGE: Timestamp = Timestamp(10_000_000);
    const RETURN: Timestamp = Timestamp(10_002_000);

    fn report(id: &str, empty_at: u64) -> JournalReport {
        JournalReport { id: id.to_owned(), empty_at: Timestamp(empty_at) }
    }

    #[tokio::test(start_paused = true)]
    async fn ends_when_each_journal_was_empty_since_the_return() {
        let quarantine = Quarantine::new(LIMIT);
        assert!(!quarantine.is_active());
        quarantine.begin(OUTAGE);
        assert_eq!(quarantine.refusal(), Some(ErrorKind::BreakerOpen));
        // In the outage of this replica, but perhaps before that of the other one.
        let in_outage = OUTAGE.0 + 1;
        for (two, is_active) in [(OUTAGE.0, true), (0, true), (in_outage, true), (RETURN.0, true)] {
            quarantine.check(Some(&[report("one", RETURN.0 + 5), report("two", two)]), RETURN);
            assert_eq!(quarantine.is_active(), is_active, "{two}");
        }
        // The store is away for a moment.
        let again = Timestamp(RETURN.0 + 100);
        quarantine.store_returned(again);
        for (two, is_active) in [(RETURN.0 + 50, true), (again.0 + 1, false)] {
            quarantine.check(Some(&[report("one", again.0 + 5), report("two", two)]), again);
            assert_eq!(quarantine.is_active(), is_active, "{two}");
            let refusal = is_active.then_some(ErrorKind::Quarantined);
            assert_eq!(quarantine.refusal(), refusal, "{two}");
        }
        assert_eq!(quarantine.expired(), 0);
        quarantine.begin(OUTAGE);
        quarantine.check(Some(&[]), RETURN);
        assert!(!quarantine.is_active());
    }

    #[tokio::test(start_paused = true)]
    async fn ends_after_its_time_and_counts_that() {
        let quarantine = Quarantine::new(LIMIT);
        quarantine.begin(OUTAGE);
        let reports = [report("gone", OUTAGE.0 - 1)];
        quarantine.check(Some(&reports), RETURN);
        tokio::time::advance(LIMIT - Duration::from_millis(1)).await;
        quarantine.check(Some(&reports), RETURN);
        quarantine.check(None, RETURN);
        assert!(quarantine.is_active());
        tokio::time::advance(Duration::from_millis(1)).await;
        quarantine.check(Some(&reports), RETURN);
        assert_eq!((quarantine.is_active(), quarantine.expired()), (false, 1));
    }

    #[tokio::test(start_paused = true)]
    async fn a_journal_that_is_long_gone_is_not_waited_for() {
        let quarantine = Quarantine::new(LIMIT);
        quarantine.begin(OUTAGE);
        quarantine.check(Some(&[report("gone", OUTAGE.0 - 600_000)]), RETURN);
        assert!(!quarantine.is_active());
    }

    #[test]
    fn a_limit_of_zero_turns_it_off() {
        let quarantine = Quarantine::new(Duration::ZERO);
        quarantine.begin(OUTAGE);
        assert!(!quarantine.is_active());
    }
}

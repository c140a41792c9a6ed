//! The faults that last: reported once per fault, in the server's own words, and counted.

use std::{
    fmt::Display,
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    time::Duration,
};

use parking_lot::Mutex;
use repeated_events::{RepeatedEvent, Summary};
use tokio::{sync::watch, time::Instant};

use super::fault::{End, Fault};
use crate::store::Trouble;

/// A fault that no probe can meet has ended when it is not met for this long. So has one that
/// begins again so soon after its end: the probe does not meet what the operations meet, such as a
/// permission for other keys.
const QUIET_TIME: Duration = Duration::from_secs(60);

/// The faults of a server. A fault begins when an operation or a probe meets it, and ends when the
/// full probe, which uses all commands that operations need, succeeds.
#[derive(Debug)]
pub(super) struct FaultLog {
    /// The node of a cluster; none for the only server.
    node: Option<String>,
    slots: Box<[Slot]>,
    /// Whether no fault lasts that affects the health of the store.
    healthy: watch::Sender<bool>,
}

#[derive(Debug, Default)]
struct Slot {
    met: AtomicU64,
    ended_at: Mutex<Option<Instant>>,
    /// Whether it began again soon after a probe had ended it.
    is_repeated: AtomicBool,
    event: Mutex<RepeatedEvent>,
    /// The server's words when it was met last.
    words: Mutex<String>,
}

// === impl FaultLog ===

impl FaultLog {
    pub(super) fn new() -> Self {
        let slots = Fault::ALL.iter().map(|_| Slot::default()).collect();
        Self { node: None, slots, healthy: watch::Sender::new(true) }
    }

    /// The faults of a node of a cluster.
    pub(super) fn of_node(node: String) -> Self {
        Self { node: Some(node), ..Self::new() }
    }

    /// Reports that an operation or a probe met a fault, with the server's words.
    #[cold]
    pub(super) fn met(&self, fault: Fault, words: &dyn Display) {
        let slot = &self.slots[fault as usize];
        slot.met.fetch_add(1, Ordering::Relaxed);
        if !fault.is_reported() {
            return;
        }
        *slot.words.lock() = words.to_string();
        let (row, node) = (fault.row(), self.node.as_deref());
        let Some(Summary { count, seconds }) = slot.event.lock().occurred() else { return };
        if count == 1 {
            let ended_at = *slot.ended_at.lock();
            let is_repeated = ended_at.is_some_and(|ended| ended.elapsed() < QUIET_TIME);
            slot.is_repeated.store(is_repeated, Ordering::Relaxed);
            tracing::warn!(
                node, fault = row.name, meaning = ?row.meaning, error = %words, remedy = row.remedy,
                "Redis answers with an error"
            );
            self.update_health();
        } else {
            tracing::warn!(
                node, fault = row.name, meaning = ?row.meaning, error = %words, remedy = row.remedy,
                count, seconds, "Redis still answers with an error"
            );
        }
    }

    /// Whether a fault lasts.
    pub(super) fn is_any_lasting(&self) -> bool {
        self.slots.iter().any(Slot::is_lasting)
    }

    /// Ends the faults that a full probe, begun at `began_at`, did not meet.
    pub(super) fn passed(&self, began_at: Instant) {
        for (fault, slot) in Fault::ALL.iter().zip(&self.slots) {
            let has_ended = |met_at: Instant| match fault.row().end {
                End::Probe if !slot.is_repeated.load(Ordering::Relaxed) => met_at < began_at,
                End::Probe => met_at.elapsed() >= QUIET_TIME,
                End::Quiet => met_at.elapsed() >= QUIET_TIME,
            };
            let ended = slot.event.lock().ended_if(has_ended);
            if let Some(Summary { count, seconds }) = ended {
                *slot.ended_at.lock() = Some(Instant::now());
                let (fault, node) = (fault.row().name, self.node.as_deref());
                tracing::info!(
                    node,
                    fault,
                    count,
                    seconds,
                    "Redis no longer answers with an error"
                );
            }
        }
        self.update_health();
    }

    /// A fault that lasts and affects the server's health, in its words.
    pub(super) fn trouble(&self) -> Option<Trouble> {
        let mut slots = Fault::ALL.iter().zip(&self.slots);
        let (fault, slot) =
            slots.find(|(fault, slot)| fault.is_unhealthy() && slot.is_lasting())?;
        Some(Trouble { cause: slot.words.lock().clone(), remedy: fault.row().remedy })
    }

    /// Whether the server is healthy, with every change.
    pub(super) fn subscribe(&self) -> watch::Receiver<bool> {
        self.healthy.subscribe()
    }

    /// Name of each fault, how often it was met, and whether it lasts.
    pub(super) fn state(&self) -> impl Iterator<Item = (&'static str, u64, bool)> {
        Fault::ALL.iter().zip(&self.slots).map(|(fault, slot)| {
            (fault.row().name, slot.met.load(Ordering::Relaxed), slot.is_lasting())
        })
    }

    fn update_health(&self) {
        // The states are read under the lock of the channel, so that the last update is the truth.
        self.healthy.send_if_modified(|healthy| {
            let now = !Fault::ALL
                .iter()
                .zip(&self.slots)
                .any(|(fault, slot)| fault.is_unhealthy() && slot.is_lasting());
            std::mem::replace(healthy, now) != now
        });
    }
}

// === impl Slot ===

impl Slot {
    fn is_lasting(&self) -> bool {
        self.event.lock().is_lasting()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn lasting(log: &FaultLog) -> Vec<&'static str> {
        log.state().filter(|(_, _, lasts)| *lasts).map(|(name, _, _)| name).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn fault_lasts_until_a_later_probe_passes() {
        let log = FaultLog::new();
        let healthy = log.subscribe();
        assert!(*healthy.borrow());
        let earlier = Instant::now();
        tokio::time::advance(SECOND).await;
        log.met(Fault::OutOfMemory, &"OOM");
        log.met(Fault::OutOfMemory, &"OOM");
        assert!(!*healthy.borrow());
        assert_eq!(log.trouble().map(|trouble| trouble.cause).as_deref(), Some("OOM"));
        log.passed(earlier);
        assert_eq!(lasting(&log), ["out_of_memory"], "the probe began before the fault");
        tokio::time::advance(SECOND).await;
        log.passed(Instant::now());
        assert!(*healthy.borrow() && !log.is_any_lasting() && log.trouble().is_none());
        let met = log.state().find(|(name, _, _)| *name == "out_of_memory");
        assert_eq!(met, Some(("out_of_memory", 2, false)));
    }

    #[tokio::test(start_paused = true)]
    async fn fault_that_no_probe_meets_ends_when_it_is_quiet() {
        let log = FaultLog::new();
        log.met(Fault::CrossSlot, &"CROSSSLOT");
        for _ in 0..59 {
            tokio::time::advance(SECOND).await;
            log.passed(Instant::now());
        }
        assert_eq!(lasting(&log), ["cross_slot"]);
        tokio::time::advance(SECOND).await;
        log.passed(Instant::now());
        assert!(!log.is_any_lasting() && *log.subscribe().borrow());
    }

    #[tokio::test(start_paused = true)]
    async fn fault_that_the_probe_does_not_meet_does_not_begin_and_end_in_turns() {
        let log = FaultLog::new();
        let mut healthy = log.subscribe();
        let mut changes = 0;
        for _ in 0..600 {
            log.met(Fault::Permission, &"NOPERM");
            changes += usize::from(healthy.has_changed().unwrap_or_default());
            healthy.mark_unchanged();
            tokio::time::advance(SECOND).await;
            log.passed(Instant::now());
            changes += usize::from(healthy.has_changed().unwrap_or_default());
            healthy.mark_unchanged();
        }
        assert!(changes <= 3, "{changes}");
        assert!(!*healthy.borrow());
        tokio::time::advance(QUIET_TIME).await;
        log.passed(Instant::now());
        assert!(*healthy.borrow());
    }

    #[tokio::test(start_paused = true)]
    async fn defect_lasts_without_affecting_the_health() {
        let log = FaultLog::new();
        log.met(Fault::WrongType, &"WRONGTYPE");
        assert!(log.is_any_lasting() && *log.subscribe().borrow());
    }

    #[tokio::test(start_paused = true)]
    async fn outages_that_the_breaker_reports_are_only_counted() {
        let log = FaultLog::new();
        log.met(Fault::Connection, &"refused");
        assert!(!log.is_any_lasting());
        assert!(log.state().any(|state| state == ("connection", 1, false)));
    }
}

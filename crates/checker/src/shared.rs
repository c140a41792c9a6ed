//! State of a run that its parts share.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
};

use crate::{checks::watches::WatchEvent, faults::FaultLog, history::Rules};

/// Counts of a run.
#[derive(Default)]
pub(crate) struct Totals {
    /// By call and outcome.
    pub(crate) calls: BTreeMap<(&'static str, &'static str), u64>,
    pub(crate) checks: u64,
    pub(crate) rounds: u64,
    /// Acknowledged invalidations that each watch was checked for.
    pub(crate) watched: u64,
}

/// State of a run that the clients, the nemesis and the checks share.
pub(crate) struct Shared {
    pub(crate) faults: FaultLog,
    pub(crate) events: Mutex<Vec<WatchEvent>>,
    pub(crate) rules: Arc<Rules>,
    pub(crate) is_over: AtomicBool,
    pub(crate) totals: Mutex<Totals>,
    /// The first violation, as text.
    pub(crate) violation: Mutex<Option<String>>,
    pub(crate) replicas: u8,
    pub(crate) seed: u64,
}

// === impl Shared ===

impl Shared {
    /// Keeps the first violation and ends the run.
    pub(crate) fn fail(&self, text: String) {
        self.violation.lock().unwrap().get_or_insert(text);
        self.is_over.store(true, Relaxed);
    }

    pub(crate) fn is_over(&self) -> bool {
        self.is_over.load(Relaxed)
    }

    pub(crate) fn operations(&self) -> u64 {
        self.totals.lock().unwrap().calls.values().sum()
    }
}

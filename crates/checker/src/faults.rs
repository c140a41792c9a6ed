//! The faults of a run, with their times.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use crate::{
    clock,
    history::{Emptied, End, Fault, Loss, Micros, NEVER},
};

/// Faults that ended this long ago concern no call that is still to be checked.
const KEPT: Micros = 120_000_000;

/// Shared by the nemesis, which adds faults, and the checks.
#[derive(Default)]
pub(crate) struct FaultLog {
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    faults: BTreeMap<u64, Fault>,
    next: u64,
    emptied: Vec<Emptied>,
    counts: BTreeMap<&'static str, u64>,
}

// === impl FaultLog ===

impl FaultLog {
    /// Records the begin of a fault. Called before it has any effect.
    pub(crate) fn begin(&self, name: &'static str, replica: Option<u8>, loss: Loss) -> u64 {
        let mut inner = self.inner.lock().unwrap();
        let began = clock::now();
        let number = inner.next;
        inner.next += 1;
        let (ends, quarantine) = (None, None);
        let fault = Fault { name, replica, began, ended: NEVER, loss, ends, quarantine };
        inner.faults.insert(number, fault);
        *inner.counts.entry(name).or_default() += 1;
        inner.faults.retain(|_, fault| fault.ended.saturating_add(KEPT) > began);
        number
    }

    /// Records the end. Called after all of its effects. Returns whether it may have undone calls.
    pub(crate) fn end(&self, number: u64) -> bool {
        let mut inner = self.inner.lock().unwrap();
        let Some(fault) = inner.faults.get_mut(&number) else { return false };
        fault.ended = clock::now();
        matches!(fault.loss, Loss::Rewound { .. })
    }

    /// Records a fault that was not injected.
    pub(crate) fn add(&self, name: &'static str, began: Micros, ended: Micros, loss: Loss) {
        let mut inner = self.inner.lock().unwrap();
        let number = inner.next;
        inner.next += 1;
        let (replica, ends, quarantine) = (None, None, None);
        let fault = Fault { name, replica, began, ended, loss, ends, quarantine };
        inner.faults.insert(number, fault);
        *inner.counts.entry(name).or_default() += 1;
    }

    /// The process of a replica ends in a fault. Called before it does.
    pub(crate) fn ends(&self, number: u64, replica: u8, end: End) {
        if let Some(fault) = self.inner.lock().unwrap().faults.get_mut(&number) {
            fault.ends = Some((replica, end));
        }
    }

    /// Every replica was in quarantine at `since`, and Redis is about to return.
    pub(crate) fn quarantined(&self, number: u64, since: Micros) {
        let mut inner = self.inner.lock().unwrap();
        if let Some(fault) = inner.faults.get_mut(&number) {
            fault.quarantine = Some((since, clock::now()));
            *inner.counts.entry("with all replicas in quarantine").or_default() += 1;
        }
    }

    /// The journal of a replica was empty, by a question of the time `asked`.
    pub(crate) fn journal_was_empty(&self, replica: u8, asked: Micros) {
        let answered = clock::now();
        let mut inner = self.inner.lock().unwrap();
        inner.emptied.push(Emptied { replica, asked, answered });
        inner.emptied.retain(|one| one.answered.saturating_add(KEPT) > answered);
    }

    /// When journals were empty.
    pub(crate) fn emptied(&self) -> Arc<[Emptied]> {
        self.inner.lock().unwrap().emptied.clone().into()
    }

    pub(crate) fn all(&self) -> Arc<[Fault]> {
        self.inner.lock().unwrap().faults.values().cloned().collect()
    }

    /// Number of faults by name.
    pub(crate) fn counts(&self) -> BTreeMap<&'static str, u64> {
        self.inner.lock().unwrap().counts.clone()
    }
}

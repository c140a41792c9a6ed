//! The faults of a run, with their times.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use crate::{
    clock,
    history::{Fault, Loss, Micros, NEVER},
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
        inner.faults.insert(number, Fault { name, replica, began, ended: NEVER, loss });
        *inner.counts.entry(name).or_default() += 1;
        inner.faults.retain(|_, fault| fault.ended.saturating_add(KEPT) > began);
        number
    }

    /// Records the end. Called after all of its effects.
    pub(crate) fn end(&self, number: u64) {
        if let Some(fault) = self.inner.lock().unwrap().faults.get_mut(&number) {
            fault.ended = clock::now();
        }
    }

    pub(crate) fn all(&self) -> Arc<[Fault]> {
        self.inner.lock().unwrap().faults.values().cloned().collect()
    }

    /// Number of faults by name.
    pub(crate) fn counts(&self) -> BTreeMap<&'static str, u64> {
        self.inner.lock().unwrap().counts.clone()
    }
}

//! Generations of namespaces: what makes invalidating one as cheap as flipping a flag.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use parking_lot::RwLock;

use crate::model::Namespace;

/// What was written to a namespace between two invalidations.
#[derive(Debug, Default)]
pub(super) struct Generation {
    ended: AtomicBool,
    keys: AtomicU64,
    bytes: AtomicU64,
}

/// The current generation of every namespace that has one.
#[derive(Default)]
pub(super) struct Generations {
    current: RwLock<HashMap<Namespace, Arc<Generation>>>,
    ended: AtomicBool,
}

impl Generation {
    /// Whether what belongs to it is still valid.
    pub(super) fn is_current(&self) -> bool {
        !self.ended.load(Ordering::Acquire)
    }

    pub(super) fn gained(&self, bytes: u64) {
        self.keys.fetch_add(1, Ordering::Relaxed);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(super) fn lost(&self, bytes: u64) {
        self.keys.fetch_sub(1, Ordering::Relaxed);
        self.bytes.fetch_sub(bytes, Ordering::Relaxed);
    }
}

impl Generations {
    /// The generation that belongs to what is written now.
    pub(super) fn current(&self, namespace: &Namespace) -> Arc<Generation> {
        if let Some(current) = self.current.read().get(namespace) {
            return current.clone();
        }
        self.current.write().entry(namespace.clone()).or_default().clone()
    }

    /// Ends the current generation. What began before this belongs to the old one, what begins after it returns to a
    /// new one.
    pub(super) fn end(&self, namespace: &Namespace) {
        if let Some(ended) = self.current.write().remove(namespace) {
            ended.ended.store(true, Ordering::Release);
            self.ended.store(true, Ordering::Relaxed);
        }
    }

    /// Whether a generation ended since this was last asked.
    pub(super) fn take_ended(&self) -> bool {
        self.ended.swap(false, Ordering::Relaxed)
    }

    /// Forgets generations that nothing belongs to, so that ever new names do not fill the memory.
    pub(super) fn forget_unused(&self) {
        self.current.write().retain(|_, generation| Arc::strong_count(generation) > 1);
    }

    /// Keys and bytes per namespace.
    pub(super) fn sizes(&self) -> Vec<(Namespace, u64, u64)> {
        let load = |cell: &AtomicU64| cell.load(Ordering::Relaxed);
        let current = self.current.read();
        current
            .iter()
            .map(|(name, generation)| {
                (name.clone(), load(&generation.keys), load(&generation.bytes))
            })
            .collect()
    }
}

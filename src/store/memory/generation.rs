//! Generations of namespaces: invalidating a namespace sets one flag.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use parking_lot::RwLock;

use crate::{model::Namespace, store::NamespaceUsage};

/// The entries and leases of a namespace between two invalidations.
#[derive(Debug, Default)]
pub(super) struct Generation {
    ended: AtomicBool,
    keys: AtomicU64,
    bytes: AtomicU64,
}

/// The current generation of each namespace in use.
#[derive(Default)]
pub(super) struct Generations {
    current: RwLock<HashMap<Namespace, Arc<Generation>>>,
    ended: AtomicBool,
}

// === impl Generation ===

impl Generation {
    /// Whether the entries and leases of the generation are valid.
    pub(super) fn is_current(&self) -> bool {
        !self.ended.load(Ordering::Acquire)
    }

    pub(super) fn add_entry(&self, bytes: u64) {
        self.keys.fetch_add(1, Ordering::Relaxed);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(super) fn remove_entry(&self, bytes: u64) {
        self.keys.fetch_sub(1, Ordering::Relaxed);
        self.bytes.fetch_sub(bytes, Ordering::Relaxed);
    }
}

// === impl Generations ===

impl Generations {
    /// The generation of a write that begins now.
    pub(super) fn current(&self, namespace: &Namespace) -> Arc<Generation> {
        if let Some(current) = self.current.read().get(namespace) {
            return current.clone();
        }
        self.current.write().entry(namespace.clone()).or_default().clone()
    }

    /// Ends the current generation. Operations that began before belong to it, and operations that
    /// begin afterwards belong to a new one.
    pub(super) fn end(&self, namespace: &Namespace) {
        if let Some(ended) = self.current.write().remove(namespace) {
            ended.ended.store(true, Ordering::Release);
            self.ended.store(true, Ordering::Relaxed);
        }
    }

    /// Whether a generation has ended since the last call.
    pub(super) fn take_ended(&self) -> bool {
        self.ended.swap(false, Ordering::Relaxed)
    }

    /// Removes generations without entries and leases, so that names that are used once do not
    /// accumulate in memory.
    pub(super) fn remove_unused(&self) {
        self.current.write().retain(|_, generation| Arc::strong_count(generation) > 1);
    }

    /// Keys and bytes per namespace.
    pub(super) fn usage(&self) -> Vec<(Namespace, NamespaceUsage)> {
        let usage = |generation: &Generation| NamespaceUsage {
            keys: generation.keys.load(Ordering::Relaxed),
            bytes: generation.bytes.load(Ordering::Relaxed),
            ..NamespaceUsage::default()
        };
        let current = self.current.read();
        current.iter().map(|(name, generation)| (name.clone(), usage(generation))).collect()
    }
}

//! The clients of the replicas, which are replaced when a replica starts again.

use std::sync::RwLock;

use crate::support::client::Cache;

/// One client for each replica.
pub(crate) struct Slots(Vec<RwLock<Cache>>);

// === impl Slots ===

impl Slots {
    pub(crate) fn new(caches: Vec<Cache>) -> Self {
        Self(caches.into_iter().map(RwLock::new).collect())
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn cache(&self, replica: u8) -> Cache {
        self.0[usize::from(replica)].read().unwrap().clone()
    }

    pub(crate) fn replace(&self, replica: u8, cache: Cache) {
        *self.0[usize::from(replica)].write().unwrap() = cache;
    }
}

//! Eviction of the least recently used entries.

use std::sync::atomic::Ordering;

use super::Inner;
use crate::store::{ErrorKind, Result};

impl Inner {
    /// Reserves `bytes` of the budget, and evicts entries until the budget is kept.
    pub(super) fn reserve(&self, bytes: u64) -> Result<()> {
        self.budget.reserve(bytes)?;
        if self.evict_to_limit() {
            return Ok(());
        }
        self.budget.release(bytes);
        Err(ErrorKind::Full.into())
    }

    /// Evicts entries until the budget is kept. Returns false if there are no more.
    pub(super) fn evict_to_limit(&self) -> bool {
        while self.budget.is_exceeded() {
            if !self.evict_oldest() {
                return false;
            }
        }
        true
    }

    /// Evicts the least recently used entry of all shards. Returns false if there is none.
    fn evict_oldest(&self) -> bool {
        let oldest_uses = self
            .shards
            .iter()
            .enumerate()
            .filter_map(|(index, shard)| Some((shard.lock().entries.oldest_use()?, index)));
        let Some((_, index)) = oldest_uses.min() else { return false };
        let freed = self.shards[index].lock().entries.evict_oldest();
        self.budget.release(freed);
        self.budget.evicted.fetch_add(1, Ordering::Relaxed);
        true
    }
}

//! State and usage of the embedded store.

use std::sync::atomic::Ordering;

use async_trait::async_trait;
use tokio::task::yield_now;

use super::MemoryStore;
use crate::{
    model::Namespace,
    store::{Inspect, NamespacePage, NamespaceUsage, Result, StoreInfo, ttl_class},
};

/// Entries per shard whose remaining TTL is sampled. Bounds the time for which its lock is held.
const TTL_SAMPLE: usize = 1024;

/// State of the leases, hold-offs and bans of the embedded store. Sizes are in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LeaseRecordInfo {
    /// Memory in use.
    pub used_bytes: u64,
    /// Memory limit, of all namespaces together.
    pub max_bytes: u64,
    /// Leases that were not granted because they could not be recorded.
    pub refused_leases: u64,
    /// Hold-offs that were extended to their namespace because they could not be recorded.
    pub widened_hold_offs: u64,
    /// Banned tags and patterns that are kept.
    pub bans: u64,
}

impl MemoryStore {
    /// The state of the leases, hold-offs and bans. Does not block.
    pub fn lease_records(&self) -> LeaseRecordInfo {
        let records = &self.0.budget.records;
        LeaseRecordInfo {
            used_bytes: records.used(),
            max_bytes: records.max,
            refused_leases: records.refused_leases.load(Ordering::Relaxed),
            widened_hold_offs: records.widened_hold_offs.load(Ordering::Relaxed),
            bans: records.bans.load(Ordering::Relaxed),
        }
    }

    /// The state of the store. Does not block.
    pub fn snapshot(&self) -> StoreInfo {
        let store = &*self.0;
        let budget = &store.budget;
        StoreInfo {
            used_bytes: budget.used(),
            peak_bytes: budget.peak.load(Ordering::Relaxed),
            max_bytes: budget.max,
            eviction_policy: "lru".to_owned(),
            evicted_keys: budget.evicted.load(Ordering::Relaxed),
            expired_keys: budget.expired.load(Ordering::Relaxed),
            keys: store.shards.iter().map(|shard| u64::from(shard.lock().entries.len())).sum(),
            persistence: "none".to_owned(),
            uptime: store.clock.uptime(),
            ..StoreInfo::default()
        }
    }
}

#[async_trait]
impl Inspect for MemoryStore {
    fn kind(&self) -> &'static str {
        "memory"
    }

    async fn ping(&self) -> Result<()> {
        Ok(())
    }

    async fn info(&self) -> Result<StoreInfo> {
        Ok(self.snapshot())
    }

    /// Takes time that is linear in the number of namespaces, holds each lock for a bounded part of
    /// it, and yields in between.
    async fn usage(&self, page: &NamespacePage) -> Result<Vec<(Namespace, NamespaceUsage)>> {
        let store = &*self.0;
        let now = store.now();
        let mut usage = store.generations.usage(page).await;
        for shard in &store.shards {
            let sample = shard.lock().entries.lifetimes(now, TTL_SAMPLE);
            for (namespace, remaining) in sample {
                if let Ok(index) = usage.binary_search_by(|(name, _)| name.cmp(&namespace)) {
                    usage[index].1.ttl[ttl_class(remaining)] += 1;
                }
            }
            yield_now().await;
        }
        for (_, usage) in &mut usage {
            usage.scale_ttl();
        }
        Ok(usage)
    }
}

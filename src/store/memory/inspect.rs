//! State and usage of the embedded store.

use std::sync::atomic::Ordering;

use async_trait::async_trait;
use tokio::task::yield_now;

use super::{MemoryStore, entries::SlotRange, lease_records::LeaseState, slot::Slot};
use crate::{
    model::{EntryKey, Namespace, SaturatingFrom as _, Timestamp},
    store::{
        BanLimits, BanListing, EntryInspection, EntrySample, Inspect, KeyListPart, KeyListPosition,
        KeyListStep, LeaseInspection, LeaseInspectionState, NamespaceListPart, NamespacePage,
        NamespaceUsage, Result, StoreInfo, ttl_class,
    },
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

impl MemoryStore {
    /// Does one step of a listing: passes valid entries to `each`, with the time at which the store
    /// was created. Holds the lock of one shard for part of the step.
    fn walk(
        &self,
        step: &KeyListStep,
        mut each: impl FnMut(&Slot, Timestamp),
    ) -> Option<KeyListPosition> {
        let store = &*self.0;
        let now = store.now();
        let cursor = step.position.cursor_of(store.id);
        let mut visits = step.visits.clamp(1, KeyListStep::MAX_VISITS);
        // The upper half is the shard, and the lower half the position in it; zero is its end.
        let mut shard = usize::try_from(cursor >> 32).unwrap_or(usize::MAX);
        let mut before = u32::try_from(cursor & u64::from(u32::MAX)).ok().filter(|at| *at > 0);
        while let Some(table) = store.shards.get(shard) {
            let limit = u32::saturating_from(visits);
            let (left, next) = {
                let entries = &table.lock().entries;
                let left = before.unwrap_or(u32::MAX).min(entries.len());
                let each = |slot: &Slot| each(slot, store.epoch);
                let range = SlotRange { before, limit };
                (left, entries.list(range, now, &step.namespace, each))
            };
            visits = visits.saturating_sub(usize::saturating_from(left.min(limit)));
            if next.is_none() {
                shard += 1;
            }
            before = next;
            if visits == 0 {
                break;
            }
        }
        let cursor = (shard as u64) << 32 | u64::from(before.unwrap_or(0));
        let is_end = shard >= store.shards.len();
        (!is_end).then_some(KeyListPosition { origin: store.id, cursor })
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

    async fn list_keys(&self, step: &KeyListStep) -> Result<KeyListPart> {
        let mut keys = Vec::new();
        let next = self.walk(step, |slot, _| keys.extend(slot.key()));
        // Matching takes longer than visiting, so it is done without the lock.
        keys.retain(|key: &EntryKey| step.selects(key.key()));
        Ok(KeyListPart { keys, next })
    }

    /// The shards are visited in turn, and each has a random part of all keys.
    async fn sample_entries(&self, step: &KeyListStep) -> Result<EntrySample> {
        let mut entries = Vec::new();
        let next = self.walk(step, |slot, epoch| entries.push(slot.facts(epoch)));
        Ok(EntrySample { entries, next })
    }

    /// All in one step.
    async fn list_namespaces(&self, _position: KeyListPosition) -> Result<NamespaceListPart> {
        Ok(NamespaceListPart { namespaces: self.0.generations.names().await, next: None })
    }

    async fn list_bans(&self, namespace: &Namespace, limits: &BanLimits) -> Result<BanListing> {
        let now = self.0.now();
        let state = self.0.generations.state(namespace);
        let listed = state.as_ref().and_then(|state| state.bans()).map(|bans| {
            let bans = bans.read();
            bans.listing(now, limits)
        });
        let kept_for = limits.longest_lifetime;
        Ok(listed.unwrap_or_else(|| BanListing { kept_for, ..BanListing::default() }))
    }

    async fn inspect_entry(&self, key: &EntryKey) -> Result<EntryInspection> {
        let store = &*self.0;
        let namespace = store.generations.state(key.namespace());
        let (key, shard) = store.locate(key);
        let shard = shard.lock();
        let now = store.now();
        let mut found = shard.entries.inspect(&key, now).unwrap_or_default();
        let of_namespace = namespace.and_then(|namespace| {
            let of_bans = namespace.ban_held_off_until(key.key.key(), now);
            namespace.held_off_until(now).max(of_bans)
        });
        let of_all = store.budget.held_off_until(now);
        let hold_off = shard.leases.held_off_until(&key, now).max(of_namespace).max(of_all);
        found.lease = match (hold_off, shard.leases.lease(&key, now)) {
            (Some(end), _) => Some(LeaseInspection {
                state: LeaseInspectionState::HeldOff,
                remaining: end.since(now),
            }),
            (None, Some(lease)) => Some(LeaseInspection {
                state: match &lease.state {
                    _ if !lease.generation.is_current() => LeaseInspectionState::Voided,
                    LeaseState::Held => LeaseInspectionState::Held,
                    LeaseState::Voided(_) => LeaseInspectionState::Voided,
                    LeaseState::BackedOff(cause) => {
                        LeaseInspectionState::BackedOff(cause.to_string())
                    }
                },
                remaining: lease.expires_at.since(now),
            }),
            (None, None) => None,
        };
        Ok(found)
    }
}

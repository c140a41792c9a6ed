//! Leases of the embedded store.

use std::time::Duration;

use async_trait::async_trait;

use super::{
    Inner, MemoryStore,
    shard::{Lease, LeaseState, Shard, StoredEntry, lease_cost},
    watch_key,
};
use crate::{
    model::{Entry, EntryKey, NewEntry},
    store::{
        AcquireOutcome, AcquireRequest, LeaseLoss, LeaseStatus, LeaseToken, Leases, Result,
        RevalidateOutcome, Revalidation, key_watch::KeyWatch, short_cause,
    },
};

#[async_trait]
impl Leases for MemoryStore {
    async fn acquire(&self, key: &EntryKey, request: &AcquireRequest) -> Result<AcquireOutcome> {
        let store = &*self.0;
        store.reserve(lease_cost(key))?;
        let now = store.now();
        let mut shard = store.shard(key).lock();
        let refused = |outcome| {
            store.budget.release(lease_cost(key));
            Ok(outcome)
        };
        let previous = match shard.get(key, now).map(|stored| stored.entry.clone()) {
            Some(entry) if now.max(request.fresher_than) < entry.fresh_until => {
                return refused(AcquireOutcome::Found(entry));
            }
            other => other,
        };
        if let Some(lease) = shard.lease(key, now) {
            let remaining = lease.expires_at.since(now);
            match &lease.state {
                LeaseState::HeldOff => return refused(AcquireOutcome::HeldOff { remaining }),
                LeaseState::Held if lease.generation.is_current() => {
                    return refused(AcquireOutcome::Held { expires_in: remaining });
                }
                LeaseState::BackedOff(cause) if lease.generation.is_current() => {
                    let cause = cause.to_string();
                    return refused(AcquireOutcome::BackedOff { remaining, previous, cause });
                }
                LeaseState::Held | LeaseState::BackedOff(_) | LeaseState::Voided(_) => {}
            }
        }
        let generation = store.generations.current(key.namespace());
        let lease = Lease {
            state: LeaseState::Held,
            token: request.token,
            generation,
            expires_at: now.after(request.ttl),
        };
        store.budget.release(shard.grant(key.clone(), lease));
        Ok(AcquireOutcome::Granted { previous })
    }

    async fn extend(
        &self,
        key: &EntryKey,
        token: LeaseToken,
        ttl: Duration,
    ) -> Result<LeaseStatus> {
        let store = &*self.0;
        let now = store.now();
        let mut shard = store.shard(key).lock();
        let status = shard.lease_status(key, token, now);
        if status.is_ok() {
            shard.extend_lease(key, now.after(ttl));
        }
        Ok(status)
    }

    async fn fill(
        &self,
        key: &EntryKey,
        token: LeaseToken,
        entry: &NewEntry,
    ) -> Result<LeaseStatus> {
        let store = &*self.0;
        store.write(key, Entry::written(entry, store.now()), |shard, now| {
            if let Err(loss) = shard.lease_status(key, token, now) {
                return Err(Err(loss));
            }
            store.end_lease(shard, key);
            Ok(Ok(()))
        })
    }

    async fn revalidate(
        &self,
        key: &EntryKey,
        token: LeaseToken,
        revalidation: &Revalidation,
    ) -> Result<RevalidateOutcome> {
        let store = &*self.0;
        let now = store.now();
        let mut shard = store.shard(key).lock();
        if let Err(loss) = shard.lease_status(key, token, now) {
            return Ok(RevalidateOutcome::LeaseLost(loss));
        }
        let current = shard.get(key, now).map(|stored| stored.entry.clone());
        let Some(mut entry) = current.filter(|entry| entry.version == revalidation.version) else {
            return Ok(RevalidateOutcome::Gone);
        };
        entry.created_at = now;
        entry.reschedule(&revalidation.lifetime, now);
        entry.tags = revalidation.tags.clone();
        entry.fetch_metadata = Some(revalidation.fetch_metadata.clone());
        // The lease's generation: the namespace may have a later one by now.
        let Some(generation) = shard.lease(key, now).map(|lease| lease.generation.clone()) else {
            return Ok(RevalidateOutcome::LeaseLost(LeaseLoss::Expired));
        };
        let stored = StoredEntry::new(key, entry, generation, now);
        store.budget.reserve(stored.cost)?;
        store.budget.release(shard.insert(key.clone(), stored));
        store.end_lease(&mut shard, key);
        drop(shard);
        // The tags and validators may be larger than before.
        while store.budget.is_exceeded() && store.evict_oldest() {}
        Ok(RevalidateOutcome::Revalidated)
    }

    async fn discard(
        &self,
        key: &EntryKey,
        token: LeaseToken,
        backoff: Duration,
        cause: &str,
    ) -> Result<LeaseStatus> {
        let store = &*self.0;
        let mut shard = store.shard(key).lock();
        let status = shard.lease_status(key, token, store.now());
        if status.is_ok() {
            store.budget.release(shard.remove(key));
            store.abandon_lease(&mut shard, key, backoff, cause);
        }
        Ok(status)
    }

    async fn abandon(
        &self,
        key: &EntryKey,
        token: LeaseToken,
        backoff: Duration,
        cause: &str,
    ) -> Result<bool> {
        let store = &*self.0;
        let mut shard = store.shard(key).lock();
        let is_held = shard.lease_status(key, token, store.now()).is_ok();
        if is_held {
            store.abandon_lease(&mut shard, key, backoff, cause);
        }
        Ok(is_held)
    }

    fn watch_lease(&self, key: &EntryKey) -> KeyWatch {
        self.0.lease_watchers.watch(watch_key(key))
    }
}

impl Inner {
    fn abandon_lease(&self, shard: &mut Shard, key: &EntryKey, backoff: Duration, cause: &str) {
        if backoff.is_zero() {
            return self.end_lease(shard, key);
        }
        shard.back_off(key, short_cause(cause).into(), self.now().after(backoff));
        self.lease_watchers.notify(&watch_key(key));
    }

    fn end_lease(&self, shard: &mut Shard, key: &EntryKey) {
        self.budget.release(shard.remove_lease(key));
        self.lease_watchers.notify(&watch_key(key));
    }
}

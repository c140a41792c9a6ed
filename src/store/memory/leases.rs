//! Leases of the embedded store.

use std::time::Duration;

use async_trait::async_trait;

use super::{
    Inner, MemoryStore,
    shard::{Lease, LeaseState, Shard, Slot, lease_cost},
    wakeup_key,
};
use crate::{
    model::{Entry, EntryKey, NewEntry},
    store::{
        AcquireOutcome, AcquireRequest, FillStatus, LeaseStatus, LeaseToken, Leases, Result,
        RevalidateOutcome, Revalidation, key_watch::KeyWatch, short_cause,
    },
};

#[async_trait]
impl Leases for MemoryStore {
    async fn acquire(&self, key: &EntryKey, ask: &AcquireRequest) -> Result<AcquireOutcome> {
        let store = &*self.0;
        store.make_room(lease_cost(key))?;
        let now = store.now();
        let mut shard = store.shard(key).lock();
        let refused = |acquired| {
            store.budget.release(lease_cost(key));
            Ok(acquired)
        };
        let previous = match shard.valid(key, now).map(|slot| slot.entry.clone()) {
            Some(entry) if now.max(ask.fresher_than) < entry.fresh_until => {
                return refused(AcquireOutcome::Found(entry));
            }
            other => other,
        };
        if let Some(lease) = shard.lease(key, now) {
            let left = lease.expires_at.since(now);
            match &lease.state {
                LeaseState::HeldOff => return refused(AcquireOutcome::HeldOff { remaining: left }),
                LeaseState::Held if lease.generation.is_current() => {
                    return refused(AcquireOutcome::Held { expires_in: left });
                }
                LeaseState::BackedOff(cause) if lease.generation.is_current() => {
                    let cause = cause.to_string();
                    return refused(AcquireOutcome::BackedOff { remaining: left, previous, cause });
                }
                LeaseState::Held
                | LeaseState::BackedOff(_)
                | LeaseState::Invalidated
                | LeaseState::Superseded => {}
            }
        }
        let generation = store.generations.current(key.namespace());
        let lease = Lease {
            state: LeaseState::Held,
            token: ask.token,
            generation,
            expires_at: now.after(ask.ttl),
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
        let hold = shard.hold(key, token, now);
        if hold == LeaseStatus::Held {
            shard.extend_lease(key, now.after(ttl));
        }
        Ok(hold)
    }

    async fn fill(
        &self,
        key: &EntryKey,
        token: LeaseToken,
        draft: &NewEntry,
    ) -> Result<FillStatus> {
        let store = &*self.0;
        store.write(key, Entry::written(draft, store.now()), |shard, now| {
            let filled = filled(shard.hold(key, token, now));
            if filled != FillStatus::Stored {
                return Err(filled);
            }
            store.end_lease(shard, key);
            Ok(filled)
        })
    }

    async fn confirm(
        &self,
        key: &EntryKey,
        token: LeaseToken,
        confirmation: &Revalidation,
    ) -> Result<RevalidateOutcome> {
        let store = &*self.0;
        let now = store.now();
        let mut shard = store.shard(key).lock();
        let filled = filled(shard.hold(key, token, now));
        if filled != FillStatus::Stored {
            return Ok(RevalidateOutcome::Settled(filled));
        }
        let held = shard.valid(key, now).map(|slot| slot.entry.clone());
        let Some(mut entry) = held.filter(|entry| entry.version == confirmation.version) else {
            return Ok(RevalidateOutcome::Gone);
        };
        entry.created_at = now;
        entry.reschedule(&confirmation.lifetime, now);
        entry.tags = confirmation.tags.clone();
        entry.fetch_metadata = Some(confirmation.fetch_metadata.clone());
        // The lease's own: the namespace may have another by now.
        let Some(generation) = shard.lease(key, now).map(|lease| lease.generation.clone()) else {
            return Ok(RevalidateOutcome::Settled(FillStatus::LeaseLost));
        };
        let slot = Slot::new(key, entry, generation, now);
        store.budget.reserve(slot.cost)?;
        store.budget.release(shard.insert(key.clone(), slot));
        store.end_lease(&mut shard, key);
        drop(shard);
        // Its tags and validators may have grown.
        while store.budget.is_exceeded() && store.evict_oldest() {}
        Ok(RevalidateOutcome::Settled(filled))
    }

    async fn discard(&self, key: &EntryKey, token: LeaseToken) -> Result<LeaseStatus> {
        let store = &*self.0;
        let mut shard = store.shard(key).lock();
        let hold = shard.hold(key, token, store.now());
        if hold == LeaseStatus::Held {
            store.budget.release(shard.remove(key));
            store.end_lease(&mut shard, key);
        }
        Ok(hold)
    }

    async fn abandon(
        &self,
        key: &EntryKey,
        token: LeaseToken,
        backoff: Duration,
        cause: &str,
    ) -> Result<bool> {
        let store = &*self.0;
        let now = store.now();
        let mut shard = store.shard(key).lock();
        if shard.hold(key, token, now) != LeaseStatus::Held {
            return Ok(false);
        }
        if backoff.is_zero() {
            store.end_lease(&mut shard, key);
        } else {
            shard.back_off(key, short_cause(cause).into(), now.after(backoff));
            store.wakeups.wake(&wakeup_key(key));
        }
        Ok(true)
    }

    fn wait_for(&self, key: &EntryKey) -> KeyWatch {
        self.0.wakeups.register(wakeup_key(key))
    }
}

impl Inner {
    fn end_lease(&self, shard: &mut Shard, key: &EntryKey) {
        self.budget.release(shard.drop_lease(key));
        self.wakeups.wake(&wakeup_key(key));
    }
}

fn filled(hold: LeaseStatus) -> FillStatus {
    match hold {
        LeaseStatus::Held => FillStatus::Stored,
        LeaseStatus::Lost => FillStatus::LeaseLost,
        LeaseStatus::Invalidated => FillStatus::Invalidated,
        LeaseStatus::Superseded => FillStatus::Superseded,
    }
}

//! Leases of the embedded store.

use std::time::Duration;

use async_trait::async_trait;

use super::{
    MemoryStore,
    shard::{Lease, LeaseState, lease_cost},
    wakeup_key,
};
use crate::{
    entry::{Draft, Entry},
    key::EntryKey,
    store::{Acquired, Filled, LeaseToken, Leases, Result, wakeups::Wakeup},
};

#[async_trait]
impl Leases for MemoryStore {
    async fn acquire(&self, key: &EntryKey, token: LeaseToken, ttl: Duration) -> Result<Acquired> {
        let store = &*self.0;
        store.make_room(lease_cost(key))?;
        let now = store.now();
        let mut shard = store.shard(key).lock();
        let refused = |acquired| {
            store.budget.release(lease_cost(key));
            Ok(acquired)
        };
        let stale = match shard.valid(key, now).map(|slot| slot.entry.clone()) {
            Some(entry) if now < entry.fresh_until => return refused(Acquired::Found(entry)),
            other => other,
        };
        if let Some(lease) = shard.lease(key, now).filter(|lease| lease.generation.is_current()) {
            let left = lease.expires_at.since(now);
            match lease.state {
                LeaseState::Held => return refused(Acquired::Held { expires_in: left, stale }),
                LeaseState::BackedOff => return refused(Acquired::BackedOff { remaining: left, stale }),
                LeaseState::Invalidated | LeaseState::Superseded => {}
            }
        }
        let generation = store.generations.current(key.namespace());
        let lease = Lease { state: LeaseState::Held, token, generation, expires_at: now.after(ttl) };
        store.budget.release(shard.grant(key.clone(), lease));
        Ok(Acquired::Granted { stale })
    }

    async fn fill(&self, key: &EntryKey, token: LeaseToken, draft: &Draft) -> Result<Filled> {
        let store = &*self.0;
        store.write(key, Entry::written(draft, store.now()), |shard, now| {
            let filled = match shard.lease(key, now).filter(|lease| lease.token == token) {
                None => Filled::LeaseLost,
                Some(lease) if !lease.generation.is_current() => Filled::Invalidated,
                Some(lease) => match lease.state {
                    LeaseState::Held => Filled::Stored,
                    LeaseState::Invalidated => Filled::Invalidated,
                    LeaseState::Superseded => Filled::Superseded,
                    LeaseState::BackedOff => Filled::LeaseLost,
                },
            };
            if filled != Filled::Stored {
                return Err(filled);
            }
            store.budget.release(shard.drop_lease(key));
            store.wakeups.wake(&wakeup_key(key));
            Ok(filled)
        })
    }

    async fn abandon(&self, key: &EntryKey, token: LeaseToken, backoff: Duration) -> Result<bool> {
        let store = &*self.0;
        let now = store.now();
        let mut shard = store.shard(key).lock();
        let held = shard
            .lease(key, now)
            .filter(|lease| lease.token == token && lease.state == LeaseState::Held && lease.generation.is_current());
        let Some(held) = held else { return Ok(false) };
        if backoff.is_zero() {
            store.budget.release(shard.drop_lease(key));
        } else {
            let generation = held.generation.clone();
            let backed_off = Lease { state: LeaseState::BackedOff, token, generation, expires_at: now.after(backoff) };
            shard.grant(key.clone(), backed_off);
        }
        store.wakeups.wake(&wakeup_key(key));
        Ok(true)
    }

    fn wait_for(&self, key: &EntryKey) -> Wakeup {
        self.0.wakeups.register(wakeup_key(key))
    }
}

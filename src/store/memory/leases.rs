//! Leases of the embedded store.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;

use super::{
    Inner, MemoryStore,
    lease_records::{Lease, LeaseState, lease_bytes},
    name::{self, HashedKey},
    namespace_state::NamespaceState,
    shard::Shard,
};
use crate::{
    model::{Entry, EntryKey, NewEntry, Timestamp},
    store::{
        AcquireOutcome, AcquireRequest, ErrorKind, LeaseLoss, LeaseStatus, LeaseToken, Leases,
        Result, RevalidateOutcome, Revalidation, ban_log_lines, key_watch::KeyWatch, short_cause,
    },
};

/// A value that is about to be stored under a lease.
#[derive(Clone, Copy)]
struct LeaseFill<'a> {
    token: LeaseToken,
    tags: &'a [String],
}

#[async_trait]
impl Leases for MemoryStore {
    async fn acquire(&self, key: &EntryKey, request: &AcquireRequest) -> Result<AcquireOutcome> {
        let store = &*self.0;
        let generation = store.generation(key.namespace());
        // Before the lock, because many patterns take some time. A ban in between makes the lease
        // invalid, if one is granted.
        let ban_hold_off = generation.state().ban_held_off_until(key.key(), store.now());
        let (key, shard) = store.locate(key);
        let mut shard = shard.lock();
        let now = store.now();
        let previous = match shard.entries.read(&key, now) {
            Some(entry) if now.max(request.fresher_than) < entry.fresh_until => {
                return Ok(AcquireOutcome::Found(entry));
            }
            other => other,
        };
        let hold_offs = [
            shard.leases.held_off_until(&key, now),
            generation.state().held_off_until(now),
            store.budget.held_off_until(now),
            ban_hold_off.filter(|end| now < *end),
        ];
        if let Some(end) = hold_offs.into_iter().flatten().max() {
            return Ok(AcquireOutcome::HeldOff { remaining: end.since(now) });
        }
        let current = shard.leases.lease(&key, now);
        let is_invalid = |lease: &Lease| lease.generation.is_lease_invalid(key.key.key());
        if let Some(lease) = current.filter(|lease| !is_invalid(lease)) {
            let remaining = lease.expires_at.since(now);
            match &lease.state {
                LeaseState::Held => return Ok(AcquireOutcome::Held { expires_in: remaining }),
                LeaseState::BackedOff(cause) => {
                    let cause = cause.to_string();
                    return Ok(AcquireOutcome::BackedOff { remaining, previous, cause });
                }
                LeaseState::Voided(_) => {}
            }
        }
        if !store.budget.add_record(&generation.state().record_bytes, lease_bytes(&key)) {
            return store.refuse_lease();
        }
        let expires_at = now.after(request.ttl);
        let replaced = shard.leases.grant(&key, request.token, generation, expires_at);
        store.release_lease(replaced);
        drop(shard);
        store.evict_to_limit();
        Ok(AcquireOutcome::Granted { previous })
    }

    async fn extend(
        &self,
        key: &EntryKey,
        token: LeaseToken,
        ttl: Duration,
    ) -> Result<LeaseStatus> {
        let store = &*self.0;
        let (key, shard) = store.locate(key);
        let mut shard = shard.lock();
        let now = store.now();
        let status = store.lease_status(&shard, &key, token, now);
        if status.is_ok() {
            shard.leases.extend(&key, now.after(ttl));
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
        let fill = LeaseFill { token, tags: &entry.tags };
        store.write(key, Entry::written(entry, store.now()), |shard, key, now| {
            if let Err(loss) = store.fill_status(shard, key, fill, now) {
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
        let (key, shard) = store.locate(key);
        let mut shard = shard.lock();
        let now = store.now();
        let fill = LeaseFill { token, tags: &revalidation.tags };
        if let Err(loss) = store.fill_status(&mut shard, &key, fill, now) {
            return Ok(RevalidateOutcome::LeaseLost(loss));
        }
        // A valid entry is moved to the current generation, so that no ban of its new tags counts
        // that is older than the lease.
        let version = shard.entries.read(&key, now).map(|entry| entry.version);
        if version != Some(revalidation.version) {
            return Ok(RevalidateOutcome::Gone);
        }
        store.revise(&mut shard, &key, now, |entry| {
            entry.created_at = now;
            entry.reschedule(&revalidation.lifetime, now);
            entry.tags = revalidation.tags.clone();
            entry.fetch_metadata = Some(revalidation.fetch_metadata.clone());
        });
        store.end_lease(&mut shard, &key);
        drop(shard);
        // The tags and validators may be larger than before.
        store.evict_to_limit();
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
        let (key, shard) = store.locate(key);
        let mut shard = shard.lock();
        let status = store.lease_status(&shard, &key, token, store.now());
        if status.is_ok() {
            store.budget.release(shard.entries.remove(&key));
            store.publish(key.key);
            store.abandon_lease(&mut shard, &key, backoff, cause);
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
        let (key, shard) = store.locate(key);
        let mut shard = shard.lock();
        let is_held = store.lease_status(&shard, &key, token, store.now()).is_ok();
        if is_held {
            store.abandon_lease(&mut shard, &key, backoff, cause);
        }
        Ok(is_held)
    }

    fn watch_lease(&self, key: &EntryKey) -> KeyWatch {
        let has_params = key.params().is_some();
        let watch_key = name::watch_key(key.namespace(), has_params, &name::parts(key));
        self.0.lease_watchers.watch(watch_key)
    }
}

impl Inner {
    /// Whether `token` holds the lease of a key.
    fn lease_status(
        &self,
        shard: &Shard,
        key: &HashedKey<'_>,
        token: LeaseToken,
        now: Timestamp,
    ) -> LeaseStatus {
        let status = shard.leases.status(key, token, now);
        if status == Err(LeaseLoss::Expired) { Err(self.loss(shard, key, now)) } else { status }
    }

    /// Whether a value may be stored under the lease of a key. If a ban forbids it, the lease is
    /// voided.
    fn fill_status(
        &self,
        shard: &mut Shard,
        key: &HashedKey<'_>,
        LeaseFill { token, tags }: LeaseFill<'_>,
        now: Timestamp,
    ) -> LeaseStatus {
        let status = self.lease_status(shard, key, token, now);
        let lease = shard.leases.lease(key, now);
        let is_refused =
            || lease.is_some_and(|lease| lease.generation.refuses_fill(key.key.key(), tags, now));
        if status == Err(LeaseLoss::Invalidated) || (status.is_ok() && is_refused()) {
            if ban_log_lines::is_enabled() {
                let bans = lease.map(|lease| lease.generation.refusing_bans(key.key.key(), tags));
                let bans = bans.unwrap_or_default();
                ban_log_lines::refused_fill(key.key.namespace(), key.key.key(), &bans);
            }
            if status.is_ok() {
                self.void_lease(shard, key, LeaseLoss::Invalidated);
            }
            return Err(LeaseLoss::Invalidated);
        }
        status
    }

    /// Why a lease is lost. Its record may have been removed after an invalidation.
    #[cold]
    fn loss(&self, shard: &Shard, key: &HashedKey<'_>, now: Timestamp) -> LeaseLoss {
        let namespace = self.generations.state(key.key.namespace());
        let is_held_off = |namespace: &Arc<NamespaceState>| {
            namespace.ban_held_off_until(key.key.key(), now).is_some()
        };
        if namespace.as_ref().is_some_and(is_held_off) {
            return LeaseLoss::Invalidated;
        }
        if shard.leases.lease(key, now).is_some() {
            return LeaseLoss::Expired;
        }
        namespace.map_or(LeaseLoss::Expired, |namespace| namespace.unrecorded_loss(now))
    }

    /// There are too many leases to record another one. The caller computes without a lease, and
    /// its value is not stored.
    #[cold]
    fn refuse_lease(&self) -> Result<AcquireOutcome> {
        self.budget.records.on_lease_refused();
        Err(ErrorKind::Full.into())
    }

    fn abandon_lease(
        &self,
        shard: &mut Shard,
        key: &HashedKey<'_>,
        backoff: Duration,
        cause: &str,
    ) {
        if backoff.is_zero() {
            return self.end_lease(shard, key);
        }
        shard.leases.back_off(key, short_cause(cause).into(), self.now().after(backoff));
        self.lease_watchers.notify(&key.watch_key());
    }

    fn end_lease(&self, shard: &mut Shard, key: &HashedKey<'_>) {
        self.release_lease(shard.leases.remove(key));
        self.lease_watchers.notify(&key.watch_key());
    }

    /// Releases the memory of a lease that has been removed.
    fn release_lease(&self, lease: Option<Lease>) {
        if let Some(lease) = lease {
            self.budget.release_record(&lease.generation.state().record_bytes, lease.bytes());
        }
    }
}

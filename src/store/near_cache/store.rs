//! A store behind a near cache.

#[cfg(test)]
mod tests;

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use tokio::time::Instant;

use super::{NearCache, table::Reservation};
use crate::{
    model::{Entry, EntryKey, Lifetime, Namespace, NewEntry, Timestamp, Version},
    store::{
        AcquireOutcome, AcquireRequest, Backend, Ban, BanLimits, BanOutcome, Condition, Increment,
        IncrementOutcome, LeaseStatus, LeaseToken, Leases, PutOutcome, ReadOutcome, Result,
        RevalidateOutcome, Revalidation, Store, Take, TakeOutcome, key_watch::KeyWatch,
    },
};

/// Copies entries that are read from the store into the near cache. Removes the copies of entries
/// that are written before the write is acknowledged, and also if its outcome is unknown.
pub struct NearCacheStore {
    inner: Arc<dyn Backend>,
    near_cache: Arc<NearCache>,
}

impl NearCacheStore {
    /// Puts `near_cache` in front of `inner`. It is not used unless the announcements of `inner`
    /// are passed on to it.
    pub fn new(inner: Arc<dyn Backend>, near_cache: Arc<NearCache>) -> Self {
        Self { inner, near_cache }
    }

    /// Removes the copy of a key after a write to it.
    fn invalidated<T>(&self, key: &EntryKey, outcome: T) -> T {
        self.near_cache.invalidate(key);
        outcome
    }
}

/// Inserts an entry that was read, if it is still fresh: the near cache serves no other.
fn insert(reservation: Option<Reservation<'_>>, entry: Option<&Entry>, now: Timestamp) {
    if let (Some(reservation), Some(entry)) = (reservation, entry)
        && now < entry.fresh_until
    {
        reservation.insert(entry.clone());
    }
}

#[async_trait]
impl Store for NearCacheStore {
    fn near(&self, key: &EntryKey, now: Instant) -> Option<Entry> {
        self.near_cache.get(key, now)
    }

    fn flush_near(&self, namespace: Option<&Namespace>) -> (u64, u64) {
        self.near_cache.flush(namespace)
    }

    async fn get(&self, key: &EntryKey) -> Result<Option<Entry>> {
        let Some(table) = self.near_cache.table(key.namespace()) else {
            return self.inner.get(key).await;
        };
        let reservation = table.reserve(key);
        let entry = self.inner.get(key).await?;
        insert(reservation, entry.as_ref(), self.inner.now());
        Ok(entry)
    }

    async fn get_many(&self, keys: &[EntryKey]) -> Result<Vec<ReadOutcome>> {
        let tables: Vec<_> =
            keys.iter().map(|key| self.near_cache.table(key.namespace())).collect();
        let reservations: Vec<_> = tables
            .iter()
            .zip(keys)
            .map(|(table, key)| table.as_ref().and_then(|table| table.reserve(key)))
            .collect();
        let entries = self.inner.get_many(keys).await?;
        let now = self.inner.now();
        reservations.into_iter().zip(&entries).for_each(|(reservation, entry)| {
            let entry = entry.as_ref().ok().and_then(Option::as_ref);
            insert(reservation, entry, now);
        });
        Ok(entries)
    }

    async fn put(
        &self,
        key: &EntryKey,
        entry: &NewEntry,
        condition: Condition,
    ) -> Result<PutOutcome> {
        self.invalidated(key, self.inner.put(key, entry, condition).await)
    }

    async fn delete(&self, key: &EntryKey, hold_off: Duration) -> Result<bool> {
        self.invalidated(key, self.inner.delete(key, hold_off).await)
    }

    async fn take(&self, key: &EntryKey, take: &Take) -> Result<TakeOutcome> {
        self.invalidated(key, self.inner.take(key, take).await)
    }

    async fn invalidate(&self, namespace: &Namespace) -> Result<()> {
        let outcome = self.inner.invalidate(namespace).await;
        self.near_cache.invalidate_namespace(namespace);
        outcome
    }

    async fn ban(
        &self,
        namespace: &Namespace,
        ban: &Ban,
        limits: &BanLimits,
    ) -> Result<BanOutcome> {
        let outcome = self.inner.ban(namespace, ban, limits).await;
        match outcome {
            Ok(BanOutcome::Banned) => self.near_cache.on_ban(namespace),
            Ok(BanOutcome::NamespaceInvalidated) | Err(_) => {
                self.near_cache.invalidate_namespace(namespace);
            }
        }
        outcome
    }

    async fn touch(&self, key: &EntryKey, lifetime: Lifetime) -> Result<bool> {
        self.invalidated(key, self.inner.touch(key, lifetime).await)
    }

    async fn prolong(&self, key: &EntryKey, version: Version, lifetime: Lifetime) -> Result<bool> {
        self.invalidated(key, self.inner.prolong(key, version, lifetime).await)
    }

    async fn increment(&self, key: &EntryKey, increment: &Increment) -> Result<IncrementOutcome> {
        self.invalidated(key, self.inner.increment(key, increment).await)
    }

    fn now(&self) -> Timestamp {
        self.inner.now()
    }
}

#[async_trait]
impl Leases for NearCacheStore {
    async fn acquire(&self, key: &EntryKey, request: &AcquireRequest) -> Result<AcquireOutcome> {
        self.inner.acquire(key, request).await
    }

    async fn extend(
        &self,
        key: &EntryKey,
        token: LeaseToken,
        ttl: Duration,
    ) -> Result<LeaseStatus> {
        self.inner.extend(key, token, ttl).await
    }

    async fn fill(
        &self,
        key: &EntryKey,
        token: LeaseToken,
        entry: &NewEntry,
    ) -> Result<LeaseStatus> {
        self.invalidated(key, self.inner.fill(key, token, entry).await)
    }

    async fn revalidate(
        &self,
        key: &EntryKey,
        token: LeaseToken,
        revalidation: &Revalidation,
    ) -> Result<RevalidateOutcome> {
        self.invalidated(key, self.inner.revalidate(key, token, revalidation).await)
    }

    async fn discard(
        &self,
        key: &EntryKey,
        token: LeaseToken,
        backoff: Duration,
        cause: &str,
    ) -> Result<LeaseStatus> {
        self.invalidated(key, self.inner.discard(key, token, backoff, cause).await)
    }

    async fn abandon(
        &self,
        key: &EntryKey,
        token: LeaseToken,
        backoff: Duration,
        cause: &str,
    ) -> Result<bool> {
        self.inner.abandon(key, token, backoff, cause).await
    }

    fn watch_lease(&self, key: &EntryKey) -> KeyWatch {
        self.inner.watch_lease(key)
    }
}

//! A store with a near cache in front of it.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use tokio::time::Instant;

use super::{NearCache, table::Reservation};
use crate::{
    model::{Entry, EntryKey, Lifetime, Namespace, NewEntry, Timestamp},
    stats::delta::{StatsDelta, StatsReport},
    store::{
        AcquireOutcome, AcquireRequest, Backend, Condition, Increment, IncrementOutcome, Inspect,
        LeaseStatus, LeaseToken, Leases, NamespaceUsage, PutOutcome, Result, RevalidateOutcome,
        Revalidation, StatsStore, Store, StoreInfo, key_watch::KeyWatch,
    },
};

/// Remembers what is read of the store, and forgets what is written to it: before the write is acknowledged, and also if it is not known
/// whether it was applied.
pub struct NearCacheStore {
    inner: Arc<dyn Backend>,
    near: Arc<NearCache>,
}

impl NearCacheStore {
    /// Puts `near` in front of `inner`. Somebody must feed it with the announcements of `inner`, or it is not used.
    pub fn new(inner: Arc<dyn Backend>, near: Arc<NearCache>) -> Self {
        Self { inner, near }
    }

    fn forgetting<T>(&self, key: &EntryKey, outcome: T) -> T {
        self.near.forget(key);
        outcome
    }
}

/// Remembers what was read, if it will be an answer.
fn keep(place: Option<Reservation<'_>>, entry: Option<&Entry>, now: Timestamp) {
    if let (Some(place), Some(entry)) = (place, entry)
        && now < entry.fresh_until
    {
        place.keep(entry.clone());
    }
}

#[async_trait]
impl Store for NearCacheStore {
    fn near(&self, key: &EntryKey, now: Instant) -> Option<Entry> {
        self.near.get(key, now)
    }

    async fn get(&self, key: &EntryKey) -> Result<Option<Entry>> {
        let Some(tier) = self.near.tier(key.namespace()) else { return self.inner.get(key).await };
        let place = tier.place(key);
        let entry = self.inner.get(key).await?;
        keep(place, entry.as_ref(), self.inner.now());
        Ok(entry)
    }

    async fn get_many(&self, keys: &[EntryKey]) -> Result<Vec<Option<Entry>>> {
        let tiers: Vec<_> = keys.iter().map(|key| self.near.tier(key.namespace())).collect();
        let places: Vec<_> = tiers
            .iter()
            .zip(keys)
            .map(|(tier, key)| tier.as_ref().and_then(|tier| tier.place(key)))
            .collect();
        let entries = self.inner.get_many(keys).await?;
        let now = self.inner.now();
        places
            .into_iter()
            .zip(&entries)
            .for_each(|(place, entry)| keep(place, entry.as_ref(), now));
        Ok(entries)
    }

    async fn put(
        &self,
        key: &EntryKey,
        entry: &NewEntry,
        condition: Condition,
    ) -> Result<PutOutcome> {
        self.forgetting(key, self.inner.put(key, entry, condition).await)
    }

    async fn delete(&self, key: &EntryKey, hold_off: Duration) -> Result<bool> {
        self.forgetting(key, self.inner.delete(key, hold_off).await)
    }

    async fn invalidate(&self, namespace: &Namespace) -> Result<()> {
        let outcome = self.inner.invalidate(namespace).await;
        self.near.forget_namespace(namespace);
        outcome
    }

    async fn touch(&self, key: &EntryKey, lifetime: Lifetime) -> Result<bool> {
        self.forgetting(key, self.inner.touch(key, lifetime).await)
    }

    async fn increment(&self, key: &EntryKey, increment: &Increment) -> Result<IncrementOutcome> {
        self.forgetting(key, self.inner.increment(key, increment).await)
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
        self.forgetting(key, self.inner.fill(key, token, entry).await)
    }

    async fn revalidate(
        &self,
        key: &EntryKey,
        token: LeaseToken,
        revalidation: &Revalidation,
    ) -> Result<RevalidateOutcome> {
        self.forgetting(key, self.inner.revalidate(key, token, revalidation).await)
    }

    async fn discard(&self, key: &EntryKey, token: LeaseToken) -> Result<LeaseStatus> {
        self.forgetting(key, self.inner.discard(key, token).await)
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

#[async_trait]
impl StatsStore for NearCacheStore {
    async fn add(&self, delta: &StatsDelta) -> Result<()> {
        self.inner.add(delta).await
    }

    async fn report(&self) -> Result<StatsReport> {
        self.inner.report().await
    }
}

#[async_trait]
impl Inspect for NearCacheStore {
    fn kind(&self) -> &'static str {
        self.inner.kind()
    }

    async fn ping(&self) -> Result<()> {
        self.inner.ping().await
    }

    async fn info(&self) -> Result<StoreInfo> {
        self.inner.info().await
    }

    async fn usage(&self) -> Result<Vec<(Namespace, NamespaceUsage)>> {
        self.inner.usage().await
    }
}

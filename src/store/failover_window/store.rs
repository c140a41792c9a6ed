//! A store behind a failover window.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;

use super::FailoverWindow;
use crate::{
    model::{Entry, EntryKey, Lifetime, Namespace, NewEntry, Timestamp, Version},
    store::{
        AcquireOutcome, AcquireRequest, Backend, Ban, BanLimits, BanOutcome, Condition, ErrorKind,
        Increment, IncrementOutcome, Invalidation, LeaseStatus, LeaseToken, Leases, PutOutcome,
        ReadOutcome, Result, RevalidateOutcome, Revalidation, Store, Take, TakeOutcome,
        key_watch::KeyWatch,
    },
};

/// Attempts to apply an invalidation to a primary that stays the same.
const ATTEMPTS: usize = 3;

/// Remembers invalidations that the store acknowledges. An entry that one of them may match is
/// neither read from another primary nor written to it before they are applied again: such a call
/// fails with [`ErrorKind::Reapplying`].
pub struct FailoverWindowStore {
    inner: Arc<dyn Backend>,
    window: Arc<FailoverWindow>,
}

impl FailoverWindowStore {
    /// Puts `window` in front of `inner`. Entries stay unread after a failover unless
    /// [`super::reapply::follow`] runs.
    pub fn new(inner: Arc<dyn Backend>, window: Arc<FailoverWindow>) -> Self {
        Self { inner, window }
    }

    /// Calls, unless the primary may lack an invalidation of the entry. The answer does not count
    /// if another primary may have given it.
    pub(super) async fn checked<T>(
        &self,
        key: &EntryKey,
        call: impl Future<Output = Result<T>>,
    ) -> Result<T> {
        let epoch = self.window.epoch_for(key).await.ok_or(ErrorKind::Reapplying)?;
        let answer = call.await?;
        if self.window.lacked_since(epoch, key) {
            return Err(ErrorKind::Reapplying.into());
        }
        Ok(answer)
    }

    /// Applies an invalidation to a primary that stays the same meanwhile, and remembers it.
    pub(super) async fn apply<T, F: Future<Output = Result<T>>>(
        &self,
        invalidation: Invalidation,
        hold_off: Duration,
        mut call: impl FnMut() -> F,
    ) -> Result<T> {
        for _ in 0..ATTEMPTS {
            let epoch = self.window.epoch();
            let applied = call().await?;
            if self.is_kept(invalidation.clone(), hold_off, epoch) {
                return Ok(applied);
            }
        }
        Err(ErrorKind::Unreachable.into())
    }

    /// Remembers an invalidation that a primary has acknowledged. Returns whether that is the
    /// primary of `epoch`: another one may lack it, and may have been trusted already.
    pub(super) fn is_kept(
        &self,
        invalidation: Invalidation,
        hold_off: Duration,
        epoch: u64,
    ) -> bool {
        let held_until = match hold_off {
            Duration::ZERO => Timestamp(0),
            hold_off => self.inner.now().after(hold_off),
        };
        self.window.remember(invalidation, held_until, epoch);
        self.window.epoch() == epoch
    }
}

#[async_trait]
impl Store for FailoverWindowStore {
    async fn get(&self, key: &EntryKey) -> Result<Option<Entry>> {
        self.checked(key, self.inner.get(key)).await
    }

    async fn get_many(&self, keys: &[EntryKey]) -> Result<Vec<ReadOutcome>> {
        let is_covered = |key: &EntryKey| self.window.remembers(key);
        if !self.window.is_trusted() && keys.iter().any(is_covered) {
            self.window.is_settled().await;
        }
        let epoch = self.window.epoch();
        let was_trusted = self.window.is_trusted();
        let outcomes = self.inner.get_many(keys).await?;
        if was_trusted && self.window.epoch() == epoch {
            return Ok(outcomes);
        }
        let checked = |(key, outcome)| {
            if self.window.remembers(key) { Err(ErrorKind::Reapplying.into()) } else { outcome }
        };
        Ok(keys.iter().zip(outcomes).map(checked).collect())
    }

    async fn put(
        &self,
        key: &EntryKey,
        entry: &NewEntry,
        condition: Condition,
    ) -> Result<PutOutcome> {
        self.checked(key, self.inner.put(key, entry, condition)).await
    }

    async fn delete(&self, key: &EntryKey, hold_off: Duration) -> Result<bool> {
        let delete = || self.inner.delete(key, hold_off);
        self.apply(Invalidation::Key(key.clone()), hold_off, delete).await
    }

    async fn take(&self, key: &EntryKey, take: &Take) -> Result<TakeOutcome> {
        let epoch = self.window.epoch();
        let taken = self.checked(key, self.inner.take(key, take)).await?;
        let is_removed = matches!(taken, TakeOutcome::Removed(_));
        if is_removed && !self.is_kept(Invalidation::Key(key.clone()), take.hold_off, epoch) {
            return Err(ErrorKind::Unreachable.into());
        }
        Ok(taken)
    }

    async fn invalidate(&self, namespace: &Namespace) -> Result<()> {
        let invalidate = || self.inner.invalidate(namespace);
        let invalidation = Invalidation::Namespace(namespace.clone());
        self.apply(invalidation, Duration::ZERO, invalidate).await
    }

    async fn ban(
        &self,
        namespace: &Namespace,
        ban: &Ban,
        limits: &BanLimits,
    ) -> Result<BanOutcome> {
        let invalidation = Invalidation::of_ban(namespace, ban, limits);
        let apply = || self.inner.ban(namespace, ban, limits);
        self.apply(invalidation, ban.hold_off, apply).await
    }

    async fn touch(&self, key: &EntryKey, lifetime: Lifetime) -> Result<bool> {
        self.checked(key, self.inner.touch(key, lifetime)).await
    }

    async fn prolong(&self, key: &EntryKey, version: Version, lifetime: Lifetime) -> Result<bool> {
        self.checked(key, self.inner.prolong(key, version, lifetime)).await
    }

    async fn increment(&self, key: &EntryKey, increment: &Increment) -> Result<IncrementOutcome> {
        self.checked(key, self.inner.increment(key, increment)).await
    }

    fn now(&self) -> Timestamp {
        self.inner.now()
    }
}

#[async_trait]
impl Leases for FailoverWindowStore {
    async fn acquire(&self, key: &EntryKey, request: &AcquireRequest) -> Result<AcquireOutcome> {
        self.checked(key, self.inner.acquire(key, request)).await
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
        self.checked(key, self.inner.fill(key, token, entry)).await
    }

    async fn revalidate(
        &self,
        key: &EntryKey,
        token: LeaseToken,
        revalidation: &Revalidation,
    ) -> Result<RevalidateOutcome> {
        self.checked(key, self.inner.revalidate(key, token, revalidation)).await
    }

    async fn discard(
        &self,
        key: &EntryKey,
        token: LeaseToken,
        backoff: Duration,
        cause: &str,
    ) -> Result<LeaseStatus> {
        self.inner.discard(key, token, backoff, cause).await
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

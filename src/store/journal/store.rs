//! A store behind a journal.

#[cfg(test)]
mod tests;

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;

use super::{Invalidation, Journal, Queued, metrics::JournalLog, quarantine::Quarantine};
use crate::{
    model::{Entry, EntryKey, Lifetime, Namespace, NewEntry, Timestamp, Version},
    store::{
        AcquireOutcome, AcquireRequest, Backend, Ban, BanLimits, BanOutcome, Condition, Error,
        ErrorKind, Increment, IncrementOutcome, LeaseStatus, LeaseToken, Leases, PutOutcome,
        ReadOutcome, Result, RevalidateOutcome, Revalidation, Store, Take, TakeOutcome,
        key_watch::KeyWatch,
    },
};

/// Appends to the journal what the store did not take. An entry that the journal covers is neither
/// read nor written until the replay: such a call fails with [`ErrorKind::Queued`].
pub struct JournaledStore {
    inner: Arc<dyn Backend>,
    journal: Arc<Journal>,
    quarantine: Arc<Quarantine>,
    log: Arc<JournalLog>,
}

impl JournaledStore {
    /// Puts `journal` in front of `inner`.
    pub fn new(
        inner: Arc<dyn Backend>,
        journal: Arc<Journal>,
        quarantine: Arc<Quarantine>,
        log: Arc<JournalLog>,
    ) -> Self {
        Self { inner, journal, quarantine, log }
    }

    /// Refuses a call that reads or writes an entry that is to be invalidated.
    #[inline]
    fn check(&self, key: &EntryKey) -> Result<()> {
        if self.journal.pending().covers(key) { Err(ErrorKind::Queued.into()) } else { Ok(()) }
    }

    /// Refuses a call whose answer depends on what is in the store, also during a quarantine.
    #[inline]
    fn check_read(&self, key: &EntryKey) -> Result<()> {
        if let Some(refusal) = self.quarantine.refusal() {
            return Err(refusal.into());
        }
        self.check(key)
    }

    /// Appends an invalidation that the store did not take. Returns [`ErrorKind::Queued`] if it is
    /// on disk, and the store's error otherwise.
    async fn queue(&self, error: Error, invalidation: Invalidation, hold_off: Duration) -> Error {
        if !error.kind.is_queueable() {
            return error;
        }
        let queued_at = self.inner.now();
        let held_until = if hold_off.is_zero() { Timestamp(0) } else { queued_at.after(hold_off) };
        match self.journal.append(Queued { invalidation, queued_at, held_until }).await {
            Ok(()) => {
                self.log.appended();
                ErrorKind::Queued.into()
            }
            Err(refusal) => {
                self.log.refused(&refusal);
                error
            }
        }
    }
}

#[async_trait]
impl Store for JournaledStore {
    async fn get(&self, key: &EntryKey) -> Result<Option<Entry>> {
        self.check_read(key)?;
        self.inner.get(key).await
    }

    async fn get_many(&self, keys: &[EntryKey]) -> Result<Vec<ReadOutcome>> {
        if let Some(refusal) = self.quarantine.refusal() {
            return Err(refusal.into());
        }
        let is_covered = |key: &EntryKey| self.journal.pending().covers(key);
        if !keys.iter().any(is_covered) {
            return self.inner.get_many(keys).await;
        }
        let covered: Vec<bool> = keys.iter().map(is_covered).collect();
        let others = keys.iter().zip(&covered).filter(|(_, covered)| !**covered);
        let others: Vec<EntryKey> = others.map(|(key, _)| key.clone()).collect();
        if others.is_empty() {
            return Err(ErrorKind::Queued.into());
        }
        let mut others = self.inner.get_many(&others).await?.into_iter();
        let outcomes = covered.into_iter().map(|covered| {
            let queued = || Err(ErrorKind::Queued.into());
            if covered { queued() } else { others.next().unwrap_or_else(queued) }
        });
        Ok(outcomes.collect())
    }

    async fn put(
        &self,
        key: &EntryKey,
        entry: &NewEntry,
        condition: Condition,
    ) -> Result<PutOutcome> {
        match condition {
            Condition::Always => self.check(key)?,
            Condition::IfAbsent
            | Condition::IfPresent
            | Condition::IfVersion(_)
            | Condition::Replacing(_) => self.check_read(key)?,
        }
        self.inner.put(key, entry, condition).await
    }

    async fn delete(&self, key: &EntryKey, hold_off: Duration) -> Result<bool> {
        match self.inner.delete(key, hold_off).await {
            Err(error) => {
                let invalidation = Invalidation::Key(key.clone());
                Err(self.queue(error, invalidation, hold_off).await)
            }
            deleted => deleted,
        }
    }

    async fn take(&self, key: &EntryKey, take: &Take) -> Result<TakeOutcome> {
        self.check_read(key)?;
        self.inner.take(key, take).await
    }

    async fn invalidate(&self, namespace: &Namespace) -> Result<()> {
        match self.inner.invalidate(namespace).await {
            Err(error) => {
                let invalidation = Invalidation::Namespace(namespace.clone());
                Err(self.queue(error, invalidation, Duration::ZERO).await)
            }
            Ok(()) => Ok(()),
        }
    }

    async fn ban(
        &self,
        namespace: &Namespace,
        ban: &Ban,
        limits: &BanLimits,
    ) -> Result<BanOutcome> {
        match self.inner.ban(namespace, ban, limits).await {
            Err(error) => {
                let invalidation = Invalidation::of_ban(namespace, ban, limits);
                Err(self.queue(error, invalidation, ban.hold_off).await)
            }
            banned => banned,
        }
    }

    async fn touch(&self, key: &EntryKey, lifetime: Lifetime) -> Result<bool> {
        self.check_read(key)?;
        self.inner.touch(key, lifetime).await
    }

    async fn prolong(&self, key: &EntryKey, version: Version, lifetime: Lifetime) -> Result<bool> {
        self.check_read(key)?;
        self.inner.prolong(key, version, lifetime).await
    }

    async fn increment(&self, key: &EntryKey, increment: &Increment) -> Result<IncrementOutcome> {
        self.check_read(key)?;
        self.inner.increment(key, increment).await
    }

    fn now(&self) -> Timestamp {
        self.inner.now()
    }
}

#[async_trait]
impl Leases for JournaledStore {
    async fn acquire(&self, key: &EntryKey, request: &AcquireRequest) -> Result<AcquireOutcome> {
        self.check_read(key)?;
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
        self.check_read(key)?;
        self.inner.fill(key, token, entry).await
    }

    async fn revalidate(
        &self,
        key: &EntryKey,
        token: LeaseToken,
        revalidation: &Revalidation,
    ) -> Result<RevalidateOutcome> {
        self.check_read(key)?;
        self.inner.revalidate(key, token, revalidation).await
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

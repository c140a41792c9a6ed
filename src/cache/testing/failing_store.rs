//! A store that fails or delays its operations.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use parking_lot::Mutex;
use tokio::time::{Instant, sleep};

use super::namespace;
use crate::{
    model::{Entry, EntryKey, Lifetime, Namespace, NewEntry, Timestamp, Version},
    stats::{
        delta::{StatsDelta, StatsReport},
        history::HistorySpan,
        hot_keys::{HotKeyBucket, HotKeyCounts, HotKeyRange},
        replica_report::ReplicaReport,
        reuse::{
            counts::ReuseFigures,
            event::{ReuseAnswer, SentEvents},
            table::{ReuseState, ReuseTable},
        },
        windows::HistoryBucket,
    },
    store::{
        AcquireOutcome, AcquireRequest, Backend, Ban, BanLimits, BanListing, BanOutcome, Condition,
        EntryInspection, EntrySample, ErrorKind, Increment, IncrementOutcome, Inspect, KeyListPart,
        KeyListPosition, KeyListStep, LeaseStatus, LeaseToken, Leases, NamespaceListPart,
        NamespacePage, NamespaceUsage, PutOutcome, ReadOutcome, Result, RevalidateOutcome,
        Revalidation, StatsStore, Store, StoreInfo, Take, TakeOutcome, key_watch::KeyWatch,
        memory::MemoryStore,
    },
};

/// A store that fails or delays its operations as a test sets it.
pub(in crate::cache) struct FailingStore {
    inner: Arc<dyn Backend>,
    /// Keeps the counters of the fleet.
    stats: MemoryStore,
    failure: Mutex<Option<ErrorKind>>,
    lease_failure: Mutex<Option<ErrorKind>>,
    delay: Mutex<Duration>,
    panics: AtomicBool,
    loses_exchange: AtomicBool,
    fails_after_exchange: AtomicBool,
    acquires: AtomicUsize,
    reads: Mutex<Vec<usize>>,
    near: Mutex<HashMap<EntryKey, Entry>>,
}

impl FailingStore {
    pub(in crate::cache) fn new(inner: Arc<dyn Backend>) -> Self {
        Self {
            inner,
            stats: MemoryStore::new(1 << 20),
            failure: Mutex::default(),
            lease_failure: Mutex::default(),
            delay: Mutex::default(),
            panics: AtomicBool::new(false),
            loses_exchange: AtomicBool::new(false),
            fails_after_exchange: AtomicBool::new(false),
            acquires: AtomicUsize::new(0),
            reads: Mutex::default(),
            near: Mutex::default(),
        }
    }

    /// Every operation fails from now on, without being applied.
    pub(in crate::cache) fn fail(&self, kind: ErrorKind) {
        *self.failure.lock() = Some(kind);
    }

    /// Every request for a lease fails from now on.
    pub(in crate::cache) fn fail_leases(&self, kind: ErrorKind) {
        *self.lease_failure.lock() = Some(kind);
    }

    pub(in crate::cache) fn recover(&self) {
        *self.failure.lock() = None;
        *self.lease_failure.lock() = None;
    }

    /// Every operation takes this long from now on.
    pub(in crate::cache) fn delay(&self, delay: Duration) {
        *self.delay.lock() = delay;
    }

    /// The next exchange of events is applied, and its answer is lost.
    pub(in crate::cache) fn lose_next_exchange(&self) {
        self.loses_exchange.store(true, Ordering::Relaxed);
    }

    /// Whether reads and writes of counts and keys that follow an exchange of events fail.
    pub(in crate::cache) fn fail_after_exchange(&self, fails: bool) {
        self.fails_after_exchange.store(fails, Ordering::Relaxed);
    }

    async fn ask_after_exchange(&self) -> Result<()> {
        self.ask().await?;
        let fails = self.fails_after_exchange.load(Ordering::Relaxed);
        if fails { Err(ErrorKind::Timeout.into()) } else { Ok(()) }
    }

    pub(in crate::cache) fn panic_at_next_acquire(&self) {
        self.panics.store(true, Ordering::Relaxed);
    }

    /// Puts an entry into the near cache.
    pub(in crate::cache) fn remember(&self, key: EntryKey, entry: Entry) {
        self.near.lock().insert(key, entry);
    }

    /// Requests for a lease, failed ones included.
    pub(in crate::cache) fn acquires(&self) -> usize {
        self.acquires.load(Ordering::Relaxed)
    }

    /// Keys of each read until now, failed ones included.
    pub(in crate::cache) fn take_reads(&self) -> Vec<usize> {
        std::mem::take(&mut self.reads.lock())
    }

    async fn ask(&self) -> Result<()> {
        let delay = *self.delay.lock();
        if !delay.is_zero() {
            sleep(delay).await;
        }
        let failure = *self.failure.lock();
        failure.map_or(Ok(()), |kind| Err(kind.into()))
    }
}

#[async_trait]
impl Store for FailingStore {
    fn near(&self, key: &EntryKey, _now: Instant) -> Option<Entry> {
        self.near.lock().get(key).cloned()
    }

    async fn get(&self, key: &EntryKey) -> Result<Option<Entry>> {
        self.reads.lock().push(1);
        self.ask().await?;
        self.inner.get(key).await
    }

    async fn get_many(&self, keys: &[EntryKey]) -> Result<Vec<ReadOutcome>> {
        self.reads.lock().push(keys.len());
        self.ask().await?;
        self.inner.get_many(keys).await
    }

    async fn put(
        &self,
        key: &EntryKey,
        entry: &NewEntry,
        condition: Condition,
    ) -> Result<PutOutcome> {
        self.ask().await?;
        self.inner.put(key, entry, condition).await
    }

    async fn delete(&self, key: &EntryKey, hold_off: Duration) -> Result<bool> {
        self.ask().await?;
        self.inner.delete(key, hold_off).await
    }

    async fn take(&self, key: &EntryKey, take: &Take) -> Result<TakeOutcome> {
        self.ask().await?;
        self.inner.take(key, take).await
    }

    async fn invalidate(&self, namespace: &Namespace) -> Result<()> {
        self.ask().await?;
        self.inner.invalidate(namespace).await
    }

    async fn ban(
        &self,
        namespace: &Namespace,
        ban: &Ban,
        limits: &BanLimits,
    ) -> Result<BanOutcome> {
        self.ask().await?;
        self.inner.ban(namespace, ban, limits).await
    }

    async fn touch(&self, key: &EntryKey, lifetime: Lifetime) -> Result<bool> {
        self.ask().await?;
        self.inner.touch(key, lifetime).await
    }

    async fn prolong(&self, key: &EntryKey, version: Version, lifetime: Lifetime) -> Result<bool> {
        self.ask().await?;
        self.inner.prolong(key, version, lifetime).await
    }

    async fn increment(&self, key: &EntryKey, increment: &Increment) -> Result<IncrementOutcome> {
        self.ask().await?;
        self.inner.increment(key, increment).await
    }

    fn now(&self) -> Timestamp {
        self.inner.now()
    }
}

#[async_trait]
impl Leases for FailingStore {
    async fn acquire(&self, key: &EntryKey, request: &AcquireRequest) -> Result<AcquireOutcome> {
        self.acquires.fetch_add(1, Ordering::Relaxed);
        assert!(!self.panics.swap(false, Ordering::Relaxed), "a scripted panic");
        self.ask().await?;
        if let Some(kind) = *self.lease_failure.lock() {
            return Err(kind.into());
        }
        self.inner.acquire(key, request).await
    }

    async fn extend(
        &self,
        key: &EntryKey,
        token: LeaseToken,
        ttl: Duration,
    ) -> Result<LeaseStatus> {
        self.ask().await?;
        self.inner.extend(key, token, ttl).await
    }

    async fn fill(
        &self,
        key: &EntryKey,
        token: LeaseToken,
        entry: &NewEntry,
    ) -> Result<LeaseStatus> {
        self.ask().await?;
        self.inner.fill(key, token, entry).await
    }

    async fn revalidate(
        &self,
        key: &EntryKey,
        token: LeaseToken,
        revalidation: &Revalidation,
    ) -> Result<RevalidateOutcome> {
        self.ask().await?;
        self.inner.revalidate(key, token, revalidation).await
    }

    async fn discard(
        &self,
        key: &EntryKey,
        token: LeaseToken,
        backoff: Duration,
        cause: &str,
    ) -> Result<LeaseStatus> {
        self.ask().await?;
        self.inner.discard(key, token, backoff, cause).await
    }

    async fn abandon(
        &self,
        key: &EntryKey,
        token: LeaseToken,
        backoff: Duration,
        cause: &str,
    ) -> Result<bool> {
        self.ask().await?;
        self.inner.abandon(key, token, backoff, cause).await
    }

    fn watch_lease(&self, key: &EntryKey) -> KeyWatch {
        self.inner.watch_lease(key)
    }
}

#[async_trait]
impl StatsStore for FailingStore {
    async fn add(&self, delta: &StatsDelta) -> Result<()> {
        self.ask().await?;
        self.stats.add(delta).await
    }

    async fn report(&self) -> Result<StatsReport> {
        self.ask().await?;
        self.stats.report().await
    }

    async fn history(&self, span: HistorySpan) -> Result<Vec<HistoryBucket>> {
        self.ask().await?;
        self.stats.history(span).await
    }

    async fn put_replica(&self, report: &ReplicaReport) -> Result<()> {
        self.ask().await?;
        self.stats.put_replica(report).await
    }

    async fn remove_replica(&self, replica: u64) -> Result<()> {
        self.ask().await?;
        self.stats.remove_replica(replica).await
    }

    async fn replicas(&self) -> Result<Vec<ReplicaReport>> {
        self.ask().await?;
        self.stats.replicas().await
    }

    async fn put_hot_keys(&self, replica: u64, buckets: &[HotKeyBucket]) -> Result<()> {
        self.ask().await?;
        self.stats.put_hot_keys(replica, buckets).await
    }

    async fn hot_keys(
        &self,
        namespace: &Namespace,
        range: &HotKeyRange,
    ) -> Result<Vec<(u64, HotKeyCounts)>> {
        self.ask().await?;
        self.stats.hot_keys(namespace, range).await
    }

    async fn exchange_reuse(&self, replica: u64, events: &SentEvents) -> Result<ReuseAnswer> {
        self.ask().await?;
        let taken = self.stats.exchange_reuse(replica, events).await;
        let is_lost = self.loses_exchange.swap(false, Ordering::Relaxed);
        if is_lost { Err(ErrorKind::Timeout.into()) } else { taken }
    }

    async fn reuse_table(&self, namespace: &str) -> Result<Option<ReuseTable>> {
        self.ask_after_exchange().await?;
        self.stats.reuse_table(namespace).await
    }

    async fn reuse_figures(&self, bucket: u64) -> Result<BTreeMap<String, ReuseFigures>> {
        self.ask_after_exchange().await?;
        self.stats.reuse_figures(bucket).await
    }

    async fn put_reuse(&self, state: &ReuseState) -> Result<()> {
        self.ask_after_exchange().await?;
        self.stats.put_reuse(state).await
    }
}

#[async_trait]
impl Inspect for FailingStore {
    fn kind(&self) -> &'static str {
        "failing"
    }

    async fn ping(&self) -> Result<()> {
        self.ask().await
    }

    async fn info(&self) -> Result<StoreInfo> {
        self.ask().await?;
        self.stats.info().await
    }

    async fn usage(&self, _page: &NamespacePage) -> Result<Vec<(Namespace, NamespaceUsage)>> {
        self.ask().await?;
        Ok(vec![(namespace(), NamespaceUsage::default())])
    }

    async fn list_keys(&self, step: &KeyListStep) -> Result<KeyListPart> {
        self.ask().await?;
        self.stats.list_keys(step).await
    }

    async fn sample_entries(&self, step: &KeyListStep) -> Result<EntrySample> {
        self.ask().await?;
        self.stats.sample_entries(step).await
    }

    async fn list_namespaces(&self, position: KeyListPosition) -> Result<NamespaceListPart> {
        self.ask().await?;
        self.stats.list_namespaces(position).await
    }

    async fn list_bans(&self, name: &Namespace, limits: &BanLimits) -> Result<BanListing> {
        self.ask().await?;
        self.stats.list_bans(name, limits).await
    }

    async fn inspect_entry(&self, key: &EntryKey) -> Result<EntryInspection> {
        self.ask().await?;
        self.stats.inspect_entry(key).await
    }
}

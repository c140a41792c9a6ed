//! Fixtures for the unit tests of the cache: entries, a scripted origin, and a store that fails.
#![allow(clippy::unwrap_used)]

mod answers;
mod test_cache;

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use parking_lot::Mutex;
use tokio::time::{Instant, sleep};

use super::{Consistency, FetchMode, GetOrFetchRequest, namespaces::NamespaceRules};
use crate::{
    config::{NamespaceConfig, OriginConfig, Target},
    model::{
        Entry, EntryKey, FetchSource, Kind, Lifetime, Namespace, NewEntry, Timestamp, Validators,
        Version,
    },
    origin::{
        self, CacheDirectives, FetchBody, FetchRequest, FetchResponse, Origin,
        client::{FetchObserver, OriginClient, OriginLimits},
    },
    stats::delta::{StatsDelta, StatsReport},
    store::{
        AcquireOutcome, AcquireRequest, Backend, Condition, ErrorKind, Increment, IncrementOutcome,
        Inspect, LeaseStatus, LeaseToken, Leases, NamespacePage, NamespaceUsage, PutOutcome,
        Result, RevalidateOutcome, Revalidation, StatsStore, Store, StoreInfo, key_watch::KeyWatch,
        memory::MemoryStore,
    },
    url_template::UrlTemplate,
};

pub(super) use answers::{found, is_not_cached, lease, retry_after, seen, value};
pub(super) use test_cache::{TestCache, config, key_in};

pub(super) const SECOND: Duration = Duration::from_secs(1);
pub(super) const MILLISECOND: Duration = Duration::from_millis(1);

/// The namespace of the tests.
pub(super) fn namespace() -> Namespace {
    Namespace::new("ns").unwrap()
}

/// A key of the namespace.
pub(super) fn key(name: &str) -> EntryKey {
    EntryKey::new(namespace(), name, [].into_iter()).unwrap()
}

/// A value to be stored, fresh for `ttl`.
pub(super) fn new_entry(value: &'static str, ttl: Duration) -> NewEntry {
    NewEntry {
        kind: Kind::Text,
        data: Bytes::from_static(value.as_bytes()),
        version: Version::random(),
        lifetime: Lifetime { ttl, ..Lifetime::default() },
        tags: Vec::new().into(),
        fetch_metadata: None,
    }
}

/// A value stored at time zero, fresh for `ttl`.
pub(super) fn entry(value: &'static str, ttl: Duration) -> Entry {
    Entry::written(&new_entry(value, ttl), Timestamp(0))
}

/// A GetOrFetch without any options.
pub(super) fn request(name: &str) -> GetOrFetchRequest {
    GetOrFetchRequest {
        key: key(name),
        params: Arc::default(),
        max_stale: None,
        wait: None,
        deadline: None,
        mode: FetchMode::Normal,
        consistency: Consistency::Near,
    }
}

// === origin ===

/// An origin that answers as it is told to. Clones share their state.
#[derive(Clone)]
pub(super) struct FakeOrigin(Arc<FakeOriginState>);

struct FakeOriginState {
    value: Mutex<&'static str>,
    failure: Mutex<Option<origin::OriginErrorKind>>,
    delay: Mutex<Duration>,
    no_store: AtomicBool,
    directives: Mutex<CacheDirectives>,
    is_not_found: AtomicBool,
    has_validators: bool,
    batch_limit: usize,
    fetches: AtomicUsize,
    batches: AtomicUsize,
    last_request: Mutex<Option<FetchRequest>>,
    source: Mutex<FetchSource>,
}

impl FakeOrigin {
    fn state(value: &'static str) -> FakeOriginState {
        FakeOriginState {
            value: Mutex::new(value),
            failure: Mutex::new(None),
            delay: Mutex::new(Duration::ZERO),
            no_store: AtomicBool::new(false),
            directives: Mutex::default(),
            is_not_found: AtomicBool::new(false),
            has_validators: false,
            batch_limit: 1,
            fetches: AtomicUsize::new(0),
            batches: AtomicUsize::new(0),
            last_request: Mutex::new(None),
            source: Mutex::default(),
        }
    }

    /// Answers at once.
    pub(super) fn fast(value: &'static str) -> Self {
        Self(Arc::new(Self::state(value)))
    }

    /// Answers after `delay`.
    pub(super) fn slow(value: &'static str, delay: Duration) -> Self {
        Self(Arc::new(FakeOriginState { delay: Mutex::new(delay), ..Self::state(value) }))
    }

    pub(super) fn failing(kind: origin::OriginErrorKind) -> Self {
        Self(Arc::new(FakeOriginState { failure: Mutex::new(Some(kind)), ..Self::state("") }))
    }

    /// Forbids caching.
    pub(super) fn uncacheable(value: &'static str) -> Self {
        Self(Arc::new(FakeOriginState { no_store: AtomicBool::new(true), ..Self::state(value) }))
    }

    /// Sends validators, and declares a value that comes back with them unchanged.
    pub(super) fn revalidating(value: &'static str) -> Self {
        Self(Arc::new(FakeOriginState { has_validators: true, ..Self::state(value) }))
    }

    pub(super) fn with_batches_of(self, batch_limit: usize) -> Self {
        let delay = Mutex::new(*self.0.delay.lock());
        let state = FakeOriginState { batch_limit, delay, ..Self::state(*self.0.value.lock()) };
        Self(Arc::new(state))
    }

    pub(super) fn allow_caching(&self) {
        self.0.no_store.store(false, Ordering::Relaxed);
    }

    pub(super) fn delay(&self, delay: Duration) {
        *self.0.delay.lock() = delay;
    }

    /// Says from now on that there is no value.
    pub(super) fn lose_value(&self) {
        self.0.is_not_found.store(true, Ordering::Relaxed);
    }

    /// Sends these directives from now on.
    pub(super) fn direct(&self, directives: CacheDirectives) {
        *self.0.directives.lock() = directives;
    }

    /// The clients that are built from now on belong to another source.
    pub(super) fn change_source(&self, source: FetchSource) {
        *self.0.source.lock() = source;
    }

    pub(super) fn last_request(&self) -> Option<FetchRequest> {
        self.0.last_request.lock().clone()
    }

    /// Values that were asked for.
    pub(super) fn fetches(&self) -> usize {
        self.0.fetches.load(Ordering::Relaxed)
    }

    /// Requests for more than one value.
    pub(super) fn batches(&self) -> usize {
        self.0.batches.load(Ordering::Relaxed)
    }

    fn answer(&self, request: &FetchRequest) -> origin::Result<FetchResponse> {
        self.0.fetches.fetch_add(1, Ordering::Relaxed);
        *self.0.last_request.lock() = Some(request.clone());
        if let Some(kind) = &*self.0.failure.lock() {
            return Err(origin::Error::new(kind.clone(), "scripted"));
        }
        let value = *self.0.value.lock();
        let etag = self.0.has_validators.then(|| value.into());
        let validators = Validators { etag, last_modified: None };
        let is_unchanged = self.0.has_validators && request.validators == validators;
        let body = if self.0.is_not_found.load(Ordering::Relaxed) {
            FetchBody::NotFound
        } else if is_unchanged {
            FetchBody::NotModified
        } else {
            FetchBody::Value { kind: Kind::Text, data: Bytes::from_static(value.as_bytes()) }
        };
        let no_store = self.0.no_store.load(Ordering::Relaxed);
        let directives = self.0.directives.lock().clone();
        let directives = CacheDirectives { no_store, validators, ..directives };
        Ok(FetchResponse { body, directives })
    }
}

#[async_trait]
impl Origin for FakeOrigin {
    async fn fetch(&self, request: &FetchRequest) -> origin::Result<FetchResponse> {
        let delay = *self.0.delay.lock();
        sleep(delay).await;
        self.answer(request)
    }

    fn batch_limit(&self) -> usize {
        self.0.batch_limit
    }

    async fn fetch_batch(&self, requests: &[FetchRequest]) -> Vec<origin::Result<FetchResponse>> {
        self.0.batches.fetch_add(1, Ordering::Relaxed);
        let delay = *self.0.delay.lock();
        sleep(delay).await;
        requests.iter().map(|request| self.answer(request)).collect()
    }
}

struct Unobserved;

impl FetchObserver for Unobserved {
    fn on_fetch(
        &self,
        _: &Namespace,
        _: Duration,
        _: std::result::Result<(), &origin::OriginErrorKind>,
    ) {
    }
}

/// The configuration of an origin, without what only its connections need.
pub(super) fn origin_config() -> OriginConfig {
    let target = Target::Http(UrlTemplate::default());
    OriginConfig { timeout: Duration::from_secs(120), ..OriginConfig::new(target) }
}

/// A client for the origin that does not retry.
pub(super) fn client(origin: &FakeOrigin) -> Arc<OriginClient> {
    let limits = OriginLimits {
        timeout: Duration::from_secs(120),
        max_concurrency: 64,
        max_queue: 64,
        retries: 0,
        retry_backoff: Duration::ZERO,
        breaker_threshold: 5,
        breaker_cooldown: Duration::from_secs(5),
    };
    let source = *origin.0.source.lock();
    let (origin, observer) = (Box::new(origin.clone()), Arc::new(Unobserved));
    Arc::new(OriginClient::new(namespace(), origin, source, limits, observer))
}

/// The rules of a namespace with this origin.
pub(super) fn rules(origin: &FakeOrigin) -> NamespaceRules {
    let config = NamespaceConfig { origin: Some(origin_config()), ..NamespaceConfig::default() };
    NamespaceRules::new(config, Some(client(origin)))
}

// === store ===

/// A store that fails or delays its operations when it is told to.
pub(super) struct FailingStore {
    inner: Arc<dyn Backend>,
    /// Keeps the counters of the fleet.
    stats: MemoryStore,
    failure: Mutex<Option<ErrorKind>>,
    lease_failure: Mutex<Option<ErrorKind>>,
    delay: Mutex<Duration>,
    panics: AtomicBool,
    acquires: AtomicUsize,
    reads: Mutex<Vec<usize>>,
    near: Mutex<HashMap<EntryKey, Entry>>,
}

impl FailingStore {
    pub(super) fn new(inner: Arc<dyn Backend>) -> Self {
        Self {
            inner,
            stats: MemoryStore::new(1 << 20),
            failure: Mutex::default(),
            lease_failure: Mutex::default(),
            delay: Mutex::default(),
            panics: AtomicBool::new(false),
            acquires: AtomicUsize::new(0),
            reads: Mutex::default(),
            near: Mutex::default(),
        }
    }

    /// Every operation fails from now on, without being applied.
    pub(super) fn fail(&self, kind: ErrorKind) {
        *self.failure.lock() = Some(kind);
    }

    /// Every request for a lease fails from now on.
    pub(super) fn fail_leases(&self, kind: ErrorKind) {
        *self.lease_failure.lock() = Some(kind);
    }

    pub(super) fn recover(&self) {
        *self.failure.lock() = None;
        *self.lease_failure.lock() = None;
    }

    /// Every operation takes this long from now on.
    pub(super) fn delay(&self, delay: Duration) {
        *self.delay.lock() = delay;
    }

    pub(super) fn panic_at_next_acquire(&self) {
        self.panics.store(true, Ordering::Relaxed);
    }

    /// Puts an entry into the near cache.
    pub(super) fn remember(&self, key: EntryKey, entry: Entry) {
        self.near.lock().insert(key, entry);
    }

    /// Requests for a lease, failed ones included.
    pub(super) fn acquires(&self) -> usize {
        self.acquires.load(Ordering::Relaxed)
    }

    /// Keys of each read until now, failed ones included.
    pub(super) fn take_reads(&self) -> Vec<usize> {
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

    async fn get_many(&self, keys: &[EntryKey]) -> Result<Vec<Option<Entry>>> {
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

    async fn invalidate(&self, namespace: &Namespace) -> Result<()> {
        self.ask().await?;
        self.inner.invalidate(namespace).await
    }

    async fn touch(&self, key: &EntryKey, lifetime: Lifetime) -> Result<bool> {
        self.ask().await?;
        self.inner.touch(key, lifetime).await
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
}

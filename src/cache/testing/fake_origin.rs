//! An origin whose answers a test sets.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use parking_lot::Mutex;
use tokio::time::sleep;

use super::namespace;
use crate::{
    cache::namespaces::NamespaceRules,
    config::{NamespaceConfig, OriginConfig, Target},
    model::{FetchSource, Kind, Namespace, Validators},
    origin::{
        self, CacheDirectives, FetchBody, FetchRequest, FetchResponse, Origin,
        client::{FetchObserver, OriginClient, OriginLimits},
    },
    url_template::UrlTemplate,
};

/// An origin whose answers a test sets. Clones share their state.
#[derive(Clone)]
pub(in crate::cache) struct FakeOrigin(Arc<FakeOriginState>);

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
    pub(in crate::cache) fn fast(value: &'static str) -> Self {
        Self(Arc::new(Self::state(value)))
    }

    /// Answers after `delay`.
    pub(in crate::cache) fn slow(value: &'static str, delay: Duration) -> Self {
        Self(Arc::new(FakeOriginState { delay: Mutex::new(delay), ..Self::state(value) }))
    }

    pub(in crate::cache) fn failing(kind: origin::OriginErrorKind) -> Self {
        Self(Arc::new(FakeOriginState { failure: Mutex::new(Some(kind)), ..Self::state("") }))
    }

    /// Forbids caching.
    pub(in crate::cache) fn uncacheable(value: &'static str) -> Self {
        Self(Arc::new(FakeOriginState { no_store: AtomicBool::new(true), ..Self::state(value) }))
    }

    /// Sends validators, and declares a value that comes back with them unchanged.
    pub(in crate::cache) fn revalidating(value: &'static str) -> Self {
        Self(Arc::new(FakeOriginState { has_validators: true, ..Self::state(value) }))
    }

    pub(in crate::cache) fn with_batches_of(self, batch_limit: usize) -> Self {
        let delay = Mutex::new(*self.0.delay.lock());
        let state = FakeOriginState { batch_limit, delay, ..Self::state(*self.0.value.lock()) };
        Self(Arc::new(state))
    }

    pub(in crate::cache) fn allow_caching(&self) {
        self.0.no_store.store(false, Ordering::Relaxed);
    }

    pub(in crate::cache) fn delay(&self, delay: Duration) {
        *self.0.delay.lock() = delay;
    }

    /// Answers from now on that there is no value.
    pub(in crate::cache) fn lose_value(&self) {
        self.0.is_not_found.store(true, Ordering::Relaxed);
    }

    /// Sends these directives from now on.
    pub(in crate::cache) fn direct(&self, directives: CacheDirectives) {
        *self.0.directives.lock() = directives;
    }

    /// The clients that are built from now on belong to another source.
    pub(in crate::cache) fn change_source(&self, source: FetchSource) {
        *self.0.source.lock() = source;
    }

    pub(in crate::cache) fn last_request(&self) -> Option<FetchRequest> {
        self.0.last_request.lock().clone()
    }

    /// Values that were asked for.
    pub(in crate::cache) fn fetches(&self) -> usize {
        self.0.fetches.load(Ordering::Relaxed)
    }

    /// Requests for more than one value.
    pub(in crate::cache) fn batches(&self) -> usize {
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
pub(in crate::cache) fn origin_config() -> OriginConfig {
    let target = Target::Http(UrlTemplate::default());
    OriginConfig { timeout: Duration::from_secs(120), ..OriginConfig::new(target) }
}

/// A client for the origin that does not retry.
pub(in crate::cache) fn client(origin: &FakeOrigin) -> Arc<OriginClient> {
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
pub(in crate::cache) fn rules(origin: &FakeOrigin) -> NamespaceRules {
    let config = NamespaceConfig { origin: Some(origin_config()), ..NamespaceConfig::default() };
    NamespaceRules::new(config, Some(client(origin)))
}

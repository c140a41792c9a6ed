#![allow(clippy::unwrap_used)]

use std::collections::HashMap;

use super::*;
use crate::{
    circuit_breaker::{CircuitBreaker, ProbeIntervals},
    model::{Kind, Version},
    store::{
        ErrorKind, Operation,
        circuit_breaker_store::{
            CircuitBreakerStore, OperationObserver, breaker, ping_periodically,
        },
        memory::MemoryStore,
        near_cache::NearCacheOptions,
    },
};

const MINUTE: Duration = Duration::from_secs(60);

/// A near cache in front of an embedded store, whose breaker can be opened.
struct Stack {
    store: NearCacheStore,
    memory: MemoryStore,
    near_cache: Arc<NearCache>,
    breaker: Arc<CircuitBreaker>,
}

struct Unobserved;

impl OperationObserver for Unobserved {
    fn on_operation_end(&self, _: Operation, _: Duration, _: Option<ErrorKind>) {}
}

impl Stack {
    async fn new() -> Self {
        let (memory, breaker) = (MemoryStore::new(1 << 20), breaker(1, || None, || {}));
        let intervals = ProbeIntervals { closed: MINUTE, open: MINUTE };
        let pings = ping_periodically(&memory, &breaker, intervals);
        let _ = tokio::time::timeout(Duration::from_millis(1), pings).await;
        let near_cache = NearCache::new(4);
        let options = NearCacheOptions { max_bytes: 1 << 20, max_staleness: MINUTE };
        near_cache.configure(&HashMap::from([(key("a").namespace().clone(), options)]));
        near_cache.on_connected();
        near_cache.on_heartbeat(Instant::now());
        let inner = CircuitBreakerStore::new(memory.clone(), breaker.clone(), Arc::new(Unobserved));
        let store = NearCacheStore::new(Arc::new(inner), near_cache.clone());
        Self { store, memory, near_cache, breaker }
    }

    /// Stores an entry, and reads it into the near cache.
    async fn cache(&self, name: &str) {
        self.memory.put(&key(name), &new_entry(), Condition::Always).await.unwrap();
        self.store.get(&key(name)).await.unwrap().unwrap();
        assert!(self.is_cached(name));
    }

    fn is_cached(&self, name: &str) -> bool {
        self.store.near(&key(name), Instant::now()).is_some()
    }

    /// Lets all operations of the inner store fail.
    fn fail(&self) {
        self.breaker.record::<(), ()>(&Err(()), |()| true);
        assert!(!self.breaker.is_closed());
    }

    /// A lease on a key, without effect on the near cache.
    async fn lease(&self, name: &str) -> LeaseToken {
        let token = LeaseToken::random();
        let fresher_than = Timestamp(u64::MAX);
        let request = AcquireRequest { token, ttl: MINUTE, fresher_than };
        let outcome = self.store.acquire(&key(name), &request).await.unwrap();
        assert!(matches!(outcome, AcquireOutcome::Granted { .. }), "{outcome:?}");
        token
    }
}

fn key_in(namespace: &str, name: &str) -> EntryKey {
    EntryKey::new(Namespace::new(namespace).unwrap(), name, [].into_iter()).unwrap()
}

fn key(name: &str) -> EntryKey {
    key_in("ns", name)
}

fn lifetime() -> Lifetime {
    Lifetime { ttl: MINUTE, ..Lifetime::default() }
}

fn new_entry() -> NewEntry {
    NewEntry {
        kind: Kind::Text,
        data: "5".into(),
        version: Version(1),
        lifetime: lifetime(),
        tags: Vec::new().into(),
        fetch_metadata: None,
    }
}

fn increment() -> Increment {
    Increment { delta: 1, initial: Some(0), lifetime: lifetime(), version: Version(2) }
}

fn revalidation() -> Revalidation {
    Revalidation {
        version: Version(1),
        lifetime: lifetime(),
        tags: Vec::new().into(),
        fetch_metadata: Arc::default(),
    }
}

#[tokio::test(start_paused = true)]
async fn entries_that_are_read_are_cached() {
    let stack = Stack::new().await;
    stack.cache("a").await;
    for name in ["b", "c"] {
        stack.memory.put(&key(name), &new_entry(), Condition::Always).await.unwrap();
    }
    let entries = stack.store.get_many(&[key("c"), key("missing"), key("b")]).await.unwrap();
    let found: Vec<bool> = entries.iter().map(|entry| matches!(entry, Ok(Some(_)))).collect();
    assert_eq!(found, [true, false, true]);
    assert!(stack.is_cached("b") && stack.is_cached("c") && !stack.is_cached("missing"));
    assert_eq!(stack.store.now(), stack.memory.now());
}

#[tokio::test(start_paused = true)]
async fn near_copy_is_the_entry_of_the_store() {
    let stack = Stack::new().await;
    stack.cache("a").await;
    let copy = stack.store.near(&key("a"), Instant::now());
    assert_eq!(copy, stack.memory.get(&key("a")).await.unwrap());
}

#[tokio::test(start_paused = true)]
async fn stale_entries_are_not_cached() {
    let stack = Stack::new().await;
    let lifetime = Lifetime { stale_while_revalidate: MINUTE, ..lifetime() };
    let new = NewEntry { lifetime, ..new_entry() };
    stack.memory.put(&key("a"), &new, Condition::Always).await.unwrap();
    tokio::time::advance(MINUTE).await;
    stack.near_cache.on_heartbeat(Instant::now());
    assert!(stack.store.get(&key("a")).await.unwrap().is_some());
    assert!(matches!(stack.store.get_many(&[key("a")]).await.unwrap()[0], Ok(Some(_))));
    assert!(!stack.is_cached("a"));
}

#[tokio::test(start_paused = true)]
async fn namespaces_without_a_near_cache_are_only_read() {
    let stack = Stack::new().await;
    let other = key_in("other", "a");
    stack.memory.put(&other, &new_entry(), Condition::Always).await.unwrap();
    assert!(stack.store.get(&other).await.unwrap().is_some());
    let read = stack.store.get_many(std::slice::from_ref(&other)).await.unwrap();
    assert!(matches!(read[0], Ok(Some(_))));
    assert!(stack.store.near(&other, Instant::now()).is_none());
}

#[tokio::test(start_paused = true)]
async fn writes_remove_the_copy_before_they_are_acknowledged() {
    let stack = Stack::new().await;
    let store = &stack.store;
    stack.cache("a").await;
    let put = store.put(&key("a"), &new_entry(), Condition::Always).await.unwrap();
    assert!(put == PutOutcome::Stored && !stack.is_cached("a"));
    stack.cache("a").await;
    assert!(store.touch(&key("a"), lifetime()).await.unwrap() && !stack.is_cached("a"));
    stack.cache("a").await;
    let version = store.get(&key("a")).await.unwrap().unwrap().version;
    let longer = Lifetime { ttl: 2 * lifetime().ttl, ..lifetime() };
    assert!(store.prolong(&key("a"), version, longer).await.unwrap() && !stack.is_cached("a"));
    stack.cache("a").await;
    let outcome = store.increment(&key("a"), &increment()).await.unwrap();
    assert!(matches!(outcome, IncrementOutcome::Sum { value: 6, .. }) && !stack.is_cached("a"));
    stack.cache("a").await;
    assert!(store.delete(&key("a"), Duration::ZERO).await.unwrap() && !stack.is_cached("a"));
    stack.cache("a").await;
    let taken = store.take(&key("a"), &Take::default()).await.unwrap();
    assert!(taken == TakeOutcome::Removed(None) && !stack.is_cached("a"));
    stack.cache("a").await;
    store.invalidate(key("a").namespace()).await.unwrap();
    assert!(!stack.is_cached("a") && stack.memory.get(&key("a")).await.unwrap().is_none());
}

#[tokio::test(start_paused = true)]
async fn leased_writes_remove_the_copy_before_they_are_acknowledged() {
    let stack = Stack::new().await;
    let store = &stack.store;
    stack.cache("a").await;
    let token = stack.lease("a").await;
    assert!(stack.is_cached("a"), "a lease changes no entry");
    assert_eq!(store.extend(&key("a"), token, MINUTE).await.unwrap(), Ok(()));
    assert_eq!(store.fill(&key("a"), token, &new_entry()).await.unwrap(), Ok(()));
    assert!(!stack.is_cached("a"));
    stack.cache("a").await;
    let token = stack.lease("a").await;
    let outcome = store.revalidate(&key("a"), token, &revalidation()).await.unwrap();
    assert_eq!(outcome, RevalidateOutcome::Revalidated);
    assert!(!stack.is_cached("a"));
    stack.cache("a").await;
    let token = stack.lease("a").await;
    assert_eq!(store.discard(&key("a"), token, Duration::ZERO, "").await.unwrap(), Ok(()));
    assert!(!stack.is_cached("a"));
}

#[tokio::test(start_paused = true)]
async fn writes_with_an_unknown_outcome_remove_the_copy() {
    let failed = async |write: FailedWrite| {
        let stack = Stack::new().await;
        stack.cache("a").await;
        stack.fail();
        write.apply(&stack.store).await;
        !stack.is_cached("a")
    };
    for write in FailedWrite::ALL {
        assert!(failed(write).await, "{write:?}");
    }
}

/// A write that is expected to fail.
#[derive(Debug, Clone, Copy)]
enum FailedWrite {
    Put,
    Delete,
    Take,
    Invalidate,
    Touch,
    Prolong,
    Increment,
    Fill,
    Revalidate,
    Discard,
}

impl FailedWrite {
    const ALL: [Self; 10] = [
        Self::Put,
        Self::Delete,
        Self::Take,
        Self::Invalidate,
        Self::Touch,
        Self::Prolong,
        Self::Increment,
        Self::Fill,
        Self::Revalidate,
        Self::Discard,
    ];

    async fn apply(self, store: &NearCacheStore) {
        let (key, token) = (key("a"), LeaseToken::random());
        let is_failed = match self {
            Self::Put => store.put(&key, &new_entry(), Condition::Always).await.is_err(),
            Self::Delete => store.delete(&key, Duration::ZERO).await.is_err(),
            Self::Take => store.take(&key, &Take::default()).await.is_err(),
            Self::Invalidate => store.invalidate(key.namespace()).await.is_err(),
            Self::Touch => store.touch(&key, lifetime()).await.is_err(),
            Self::Prolong => store.prolong(&key, Version(1), lifetime()).await.is_err(),
            Self::Increment => store.increment(&key, &increment()).await.is_err(),
            Self::Fill => store.fill(&key, token, &new_entry()).await.is_err(),
            Self::Revalidate => store.revalidate(&key, token, &revalidation()).await.is_err(),
            Self::Discard => store.discard(&key, token, Duration::ZERO, "").await.is_err(),
        };
        assert!(is_failed);
    }
}

#[tokio::test(start_paused = true)]
async fn leases_are_those_of_the_inner_store() {
    let stack = Stack::new().await;
    let watch = stack.store.watch_lease(&key("a"));
    let token = stack.lease("a").await;
    assert!(!stack.store.abandon(&key("b"), token, Duration::ZERO, "").await.unwrap());
    assert!(stack.store.abandon(&key("a"), token, Duration::ZERO, "").await.unwrap());
    tokio::time::timeout(MINUTE, watch.notified()).await.unwrap();
    let lost = Err(crate::store::LeaseLoss::Expired);
    assert_eq!(stack.store.extend(&key("a"), token, MINUTE).await.unwrap(), lost);
    assert_eq!(stack.store.fill(&key("a"), token, &new_entry()).await.unwrap(), lost);
    assert_eq!(stack.store.discard(&key("a"), token, Duration::ZERO, "").await.unwrap(), lost);
}

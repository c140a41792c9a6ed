//! The cache of one replica on the embedded store, with everything that a test observes.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Duration,
};

use super::{FailingStore, FakeOrigin, SECOND, client, key, namespace, origin_config};
use crate::{
    cache::{
        Cache, GetOrFetchRequest, GetOrFetchResult, NamespaceContext, Namespaces, OriginClients,
    },
    config::NamespaceConfig,
    model::{Entry, EntryKey, Namespace, NewEntry, Timestamp},
    stats::{
        counters::{Counter, Counters},
        registry::StatsRegistry,
    },
    store::{AcquireOutcome, AcquireRequest, Backend, Condition, LeaseToken, memory::MemoryStore},
};

/// Calls and background refreshes that may wait at a time.
const MAX_WAITING: usize = 8;

/// A cache on the embedded store. Its namespaces are strict.
pub(in crate::cache) struct TestCache {
    pub(in crate::cache) cache: Arc<Cache>,
    /// The store of the cache.
    pub(in crate::cache) store: Arc<FailingStore>,
    /// The store behind it, which neither fails nor delays: other replicas' view of it.
    pub(in crate::cache) memory: Arc<dyn Backend>,
    stats: Arc<StatsRegistry>,
}

/// The default rules, without jitter.
pub(in crate::cache) fn config() -> NamespaceConfig {
    NamespaceConfig { ttl_jitter: 0.0, ..NamespaceConfig::default() }
}

impl TestCache {
    /// Callers compute the values of the namespace.
    pub(in crate::cache) fn of_callers(config: NamespaceConfig) -> Self {
        Self::new([("ns", config, None)], MAX_WAITING)
    }

    /// The origin computes the values of the namespace.
    pub(in crate::cache) fn of_origin(origin: &FakeOrigin, config: NamespaceConfig) -> Self {
        Self::new([("ns", config, Some(origin))], MAX_WAITING)
    }

    /// A cache with these namespaces. A namespace with an origin gets [`origin_config`] unless its
    /// rules have one.
    pub(in crate::cache) fn new<const N: usize>(
        namespaces: [(&str, NamespaceConfig, Option<&FakeOrigin>); N],
        max_waiting: usize,
    ) -> Self {
        let memory: Arc<dyn Backend> = Arc::new(MemoryStore::new(16 << 20));
        let store = Arc::new(FailingStore::new(memory.clone()));
        let (configured, clients) = tables(namespaces);
        let namespaces = Namespaces::new(&config(), &configured, &clients, true);
        let stats = Arc::new(StatsRegistry::new(8));
        let cache = Arc::new(Cache::new(store.clone(), namespaces, stats.clone(), max_waiting));
        Self { cache, store, memory, stats }
    }

    /// Replaces the rules of the namespace, as a reload of the configuration does.
    pub(in crate::cache) fn reload(&self, rules: NamespaceConfig, origin: Option<&FakeOrigin>) {
        let (configured, clients) = tables([("ns", rules, origin)]);
        self.cache.namespaces().replace(&config(), &configured, &clients, true);
    }

    pub(in crate::cache) async fn get_or_fetch(
        &self,
        request: &GetOrFetchRequest,
    ) -> GetOrFetchResult {
        self.cache.get_or_fetch(request).await.unwrap()
    }

    pub(in crate::cache) fn context(&self) -> NamespaceContext {
        self.cache.context(&namespace()).unwrap()
    }

    pub(in crate::cache) fn counters(&self) -> Counters {
        self.stats.of(&namespace()).snapshot()
    }

    pub(in crate::cache) fn counted(&self, counter: Counter) -> u64 {
        self.counters().get(counter)
    }

    /// Every counter that is not zero.
    pub(in crate::cache) fn all_counted(&self) -> Vec<(Counter, u64)> {
        let counters = self.counters();
        let counts = Counter::ALL.map(|counter| (counter, counters.get(counter)));
        counts.into_iter().filter(|(_, count)| *count > 0).collect()
    }

    /// Stores an entry, as another replica would.
    pub(in crate::cache) async fn put(&self, name: &str, entry: &NewEntry) {
        self.memory.put(&key(name), entry, Condition::Always).await.unwrap();
    }

    /// The stored entry.
    pub(in crate::cache) async fn stored(&self, name: &str) -> Option<Entry> {
        self.memory.get(&key(name)).await.unwrap()
    }

    /// Takes a lease for 10 s, as another replica would.
    pub(in crate::cache) async fn acquire(&self, name: &str) -> LeaseToken {
        let outcome = self.try_acquire(name).await;
        assert!(matches!(outcome.1, AcquireOutcome::Granted { .. }), "{outcome:?}");
        outcome.0
    }

    /// Whether a lease of the key is held.
    pub(in crate::cache) async fn is_held(&self, name: &str) -> bool {
        let (token, outcome) = self.try_acquire(name).await;
        if matches!(outcome, AcquireOutcome::Granted { .. }) {
            self.memory.abandon(&key(name), token, Duration::ZERO, "").await.unwrap();
        }
        matches!(outcome, AcquireOutcome::Held { .. })
    }

    async fn try_acquire(&self, name: &str) -> (LeaseToken, AcquireOutcome) {
        let token = LeaseToken::random();
        let fresher_than = Timestamp(u64::MAX);
        let request = AcquireRequest { token, ttl: 10 * SECOND, fresher_than };
        (token, self.memory.acquire(&key(name), &request).await.unwrap())
    }
}

/// A key of a namespace.
pub(in crate::cache) fn key_in(namespace: &str, name: &str) -> EntryKey {
    EntryKey::new(Namespace::new(namespace).unwrap(), name, [].into_iter()).unwrap()
}

fn tables<const N: usize>(
    namespaces: [(&str, NamespaceConfig, Option<&FakeOrigin>); N],
) -> (BTreeMap<String, NamespaceConfig>, OriginClients) {
    let (mut configured, mut clients) = (BTreeMap::new(), HashMap::new());
    for (name, mut rules, origin) in namespaces {
        if let Some(origin) = origin {
            rules.origin.get_or_insert_with(origin_config);
            clients.insert(Namespace::new(name).unwrap(), client(origin));
        }
        configured.insert(name.to_owned(), rules);
    }
    (configured, clients)
}

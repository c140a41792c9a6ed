#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};

use super::*;
use crate::{
    cache::{
        Namespaces, OriginClients,
        testing::{FailingStore, SECOND, new_entry},
    },
    model::{NewEntry, SchemaVersion},
    stats::registry::StatsRegistry,
    store::{AcquireRequest, Condition, ErrorKind, LeaseToken, Leases as _, memory::MemoryStore},
    store::{LeaseInspectionState, Store as _},
};

struct Test {
    memory: MemoryStore,
    failing: Arc<FailingStore>,
    directory: Directory,
}

impl Test {
    fn new() -> Self {
        Self::with_policy(&BTreeMap::new(), false)
    }

    fn with_policy(configured: &BTreeMap<String, NamespaceConfig>, strict: bool) -> Self {
        let memory = MemoryStore::new(64 << 20);
        let failing = Arc::new(FailingStore::new(Arc::new(memory.clone())));
        let registry = Arc::new(StatsRegistry::new(8));
        let defaults = NamespaceConfig::default();
        let rules = Namespaces::new(&defaults, configured, &OriginClients::new(), strict);
        let cache = Arc::new(Cache::new(failing.clone(), rules, registry.clone(), 8));
        let store = Arc::new(memory.clone());
        let fleet = Arc::new(FleetStats::new(registry, store.clone()));
        Self { directory: Directory::new(cache, fleet, store), memory, failing }
    }

    async fn put(&self, namespace: &str, key: &str, entry: &NewEntry) {
        let key = name(namespace, key);
        self.memory.put(&key, entry, Condition::Always).await.unwrap();
    }

    /// All pages.
    async fn keys(&self, namespace: &str, glob: Option<&str>, size: usize) -> Vec<String> {
        let (mut keys, mut query) = (Vec::new(), query(namespace, glob));
        loop {
            let (found, next) = self.directory.list_keys(query.clone(), size).await.unwrap();
            keys.extend(found.iter().map(|key| key.key().to_owned()));
            let Some(position) = next else { return keys };
            query.position = position;
        }
    }
}

fn name(namespace: &str, key: &str) -> EntryKey {
    EntryKey::new(Namespace::new(namespace).unwrap(), key, [].into_iter()).unwrap()
}

fn query(namespace: &str, glob: Option<&str>) -> KeyQuery {
    KeyQuery {
        namespace: Namespace::new(namespace).unwrap(),
        glob: glob.map(|glob| Glob::new(glob).unwrap()),
        position: KeyListPosition::default(),
    }
}

#[tokio::test]
async fn pages_list_every_key_of_the_namespace_once() {
    let test = Test::new();
    let entry = new_entry("v", 60 * SECOND);
    for index in 0..3000 {
        test.put("a", &format!("k{index}"), &entry).await;
        test.put("b", &format!("other{index}"), &entry).await;
    }
    let expected: BTreeSet<String> = (0..3000).map(|index| format!("k{index}")).collect();
    for size in [1, 100, 10_000] {
        let keys = test.keys("a", None, size).await;
        assert_eq!(keys.len(), 3000, "{size}");
        assert_eq!(keys.into_iter().collect::<BTreeSet<_>>(), expected, "{size}");
    }
    let mut matching = test.keys("a", Some("k29?"), 2).await;
    matching.sort_unstable();
    assert_eq!(matching, (290..300).map(|index| format!("k{index}")).collect::<Vec<_>>());
    let mut count = 0;
    let mut query = query("a", Some("k1*"));
    loop {
        let (counted, next) = test.directory.count_keys(query.clone()).await.unwrap();
        count += counted;
        let Some(position) = next else { break };
        query.position = position;
    }
    assert_eq!(count, 1111);
}

#[tokio::test]
async fn page_has_about_its_size() {
    let test = Test::new();
    for index in 0..5000 {
        test.put("a", &index.to_string(), &new_entry("v", 60 * SECOND)).await;
    }
    let (keys, next) = test.directory.list_keys(query("a", None), 100).await.unwrap();
    assert!((100..=200).contains(&keys.len()), "{}", keys.len());
    assert!(next.is_some());
}

#[tokio::test]
async fn keys_that_stay_are_listed_while_others_come_and_go() {
    let test = Test::new();
    let entry = new_entry("v", 60 * SECOND);
    for index in 0..2000 {
        test.put("a", &format!("stays{index}"), &entry).await;
        test.put("a", &format!("goes{index}"), &entry).await;
    }
    let (mut listed, mut query, mut gone) = (BTreeSet::new(), query("a", Some("stays*")), 0);
    loop {
        let (keys, next) = test.directory.list_keys(query.clone(), 20).await.unwrap();
        listed.extend(keys.iter().map(|key| key.key().to_owned()));
        for index in gone..(gone + 37).min(2000) {
            test.memory.delete(&name("a", &format!("goes{index}")), Duration::ZERO).await.unwrap();
            test.put("a", &format!("comes{index}"), &entry).await;
        }
        gone += 37;
        let Some(position) = next else { break };
        query.position = position;
    }
    assert_eq!(listed.len(), 2000);
}

#[tokio::test(start_paused = true)]
async fn expired_and_invalidated_keys_are_not_listed() {
    let test = Test::new();
    test.put("a", "short", &new_entry("v", SECOND)).await;
    test.put("a", "long", &new_entry("v", 60 * SECOND)).await;
    tokio::time::advance(Duration::from_secs(2)).await;
    assert_eq!(test.keys("a", None, 10).await, ["long"]);
    test.memory.invalidate(&Namespace::new("a").unwrap()).await.unwrap();
    assert!(test.keys("a", None, 10).await.is_empty());
    test.put("a", "new", &new_entry("v", SECOND)).await;
    assert_eq!(test.keys("a", None, 10).await, ["new"]);
}

#[tokio::test]
async fn params_are_distinguished_by_their_digest() {
    let test = Test::new();
    let params = [("view", "full")];
    let key = EntryKey::new(Namespace::new("a").unwrap(), "k", params.into_iter()).unwrap();
    let entry = new_entry("v", 60 * SECOND);
    test.memory.put(&key, &entry, Condition::Always).await.unwrap();
    let (keys, _) = test.directory.list_keys(query("a", None), 10).await.unwrap();
    assert_eq!(keys, [key]);
}

#[tokio::test]
async fn position_of_another_store_begins_again() {
    let (one, two) = (Test::new(), Test::new());
    for index in 0..100 {
        for test in [&one, &two] {
            test.put("a", &index.to_string(), &new_entry("v", 60 * SECOND)).await;
        }
    }
    let (_, next) = one.directory.list_keys(query("a", None), 50).await.unwrap();
    let query = KeyQuery { position: next.unwrap(), ..query("a", None) };
    let (keys, _) = two.directory.list_keys(query, 1000).await.unwrap();
    assert_eq!(keys.len(), 100);
}

#[tokio::test(start_paused = true)]
async fn report_has_entry_lease_and_outcome() {
    let test = Test::new();
    let absent = test.directory.inspect(&name("a", "k")).await.unwrap();
    assert_eq!(absent.stored, EntryInspection::default());
    test.put("a", "k", &new_entry("value", SECOND)).await;
    let report = test.directory.inspect(&name("a", "k")).await.unwrap();
    assert_eq!((report.outcome, report.near), (Some(Outcome::Hit), None));
    assert_eq!(report.stored.entry.unwrap().data.as_ref(), b"value");
    assert!(report.stored.stored_bytes > 5 && report.stored.lease.is_none());

    let token = LeaseToken::random();
    let request =
        AcquireRequest { token, ttl: Duration::from_secs(9), fresher_than: Timestamp(u64::MAX) };
    let lease = async || {
        let report = test.directory.inspect(&name("a", "k")).await.unwrap();
        report.stored.lease.map(|lease| (lease.state, lease.remaining.as_secs()))
    };
    test.memory.acquire(&name("a", "k"), &request).await.unwrap();
    assert_eq!(lease().await, Some((LeaseInspectionState::Held, 9)));
    let back_off = Duration::from_secs(4);
    test.memory.abandon(&name("a", "k"), token, back_off, "why").await.unwrap();
    let backed_off = LeaseInspectionState::BackedOff("why".to_owned());
    assert_eq!(lease().await, Some((backed_off, 4)));
    test.memory.invalidate(&Namespace::new("a").unwrap()).await.unwrap();
    let report = test.directory.inspect(&name("a", "k")).await.unwrap();
    assert_eq!((report.stored.is_invalidated, report.outcome), (true, None));
    test.memory.delete(&name("a", "k"), Duration::from_secs(7)).await.unwrap();
    assert_eq!(lease().await, Some((LeaseInspectionState::HeldOff, 7)));
}

#[tokio::test(start_paused = true)]
async fn copy_in_the_near_cache_is_reported() {
    let test = Test::new();
    test.put("a", "k", &new_entry("v", 60 * SECOND)).await;
    let entry = test.memory.get(&name("a", "k")).await.unwrap().unwrap();
    test.failing.remember(name("a", "k"), entry.clone());
    let report = test.directory.inspect(&name("a", "k")).await.unwrap();
    assert_eq!(report.near, Some(entry.version));
}

#[tokio::test]
async fn namespaces_are_those_in_use_and_configured() {
    let configured = BTreeMap::from([("b".to_owned(), NamespaceConfig::default())]);
    let test = Test::with_policy(&configured, true);
    for namespace in ["a", "c"] {
        test.put(namespace, "k", &new_entry("v", 60 * SECOND)).await;
    }
    let listed = async |after: &str, limit| {
        let list = test.directory.namespaces(str::to_owned(after), limit, None).await;
        let names: Vec<_> = list
            .namespaces
            .iter()
            .map(|listed| (listed.name.to_string(), listed.is_configured, listed.config.is_some()))
            .collect();
        (names, list.has_more)
    };
    let named = |name: &str, known| (name.to_owned(), known, known);
    let all = vec![named("a", false), named("b", true), named("c", false)];
    assert_eq!(listed("", 9).await, (all.clone(), false));
    assert_eq!(listed("", 2).await, (all[..2].to_vec(), true));
    assert_eq!(listed("b", 2).await, (all[2..].to_vec(), false));
}

#[tokio::test(start_paused = true)]
async fn unavailable_store_and_unknown_namespace_are_errors() {
    let test = Test::with_policy(&BTreeMap::new(), true);
    let unknown = test.directory.list_keys(query("a", None), 1).await;
    assert!(matches!(unknown, Err(Error::UnknownNamespace(_))), "{unknown:?}");
    let registry = Arc::new(StatsRegistry::new(8));
    test.failing.fail(ErrorKind::Timeout);
    let rules = Namespaces::new(
        &NamespaceConfig::default(),
        &BTreeMap::new(),
        &OriginClients::new(),
        false,
    );
    let cache = Arc::new(Cache::new(test.failing.clone(), rules, registry.clone(), 8));
    let fleet = Arc::new(FleetStats::new(registry, test.failing.clone()));
    let directory = Directory::new(cache, fleet, test.failing.clone());
    let failed = directory.list_keys(query("a", None), 1).await;
    assert!(matches!(failed, Err(Error::StoreUnavailable(_))), "{failed:?}");
    let failed = directory.inspect(&name("a", "k")).await;
    assert!(matches!(failed, Err(Error::StoreUnavailable(_))), "{failed:?}");
}

#[test]
fn steps_fit_what_is_wanted() {
    assert_eq!(visits(100, 1, 1), 100);
    assert_eq!(visits(100, 10, 100), 1000);
    assert_eq!(visits(5, 500, 1000), MIN_VISITS);
    assert_eq!(visits(usize::MAX, 0, 16), KeyListStep::MAX_VISITS);
}

#[tokio::test]
async fn an_examination_ends_at_its_size_or_with_the_namespace() {
    let test = Test::new();
    for index in 0..3000 {
        let data = vec![b'v'; index % 100].into();
        let entry = NewEntry { data, ..new_entry("", 60 * SECOND) };
        test.put("a", &format!("k{index}"), &entry).await;
        test.put("b", &format!("other{index}"), &new_entry("v", 60 * SECOND)).await;
    }
    let examine = async |name: &str, size| {
        test.directory.distributions(Namespace::new(name).unwrap(), size).await.unwrap()
    };
    let some = examine("a", 200).await;
    assert!((200..1500).contains(&some.examined) && !some.is_complete, "{some:?}");
    let all = examine("a", 10_000).await;
    assert_eq!((all.examined, all.is_complete, all.value_bytes.max), (3000, true, 99));
    assert_eq!((examine("c", 10).await.examined, examine("c", 10).await.is_complete), (0, true));
    // The sample is like the whole.
    let mean = |found: &Distributions| found.value_bytes.sum as f64 / found.examined as f64;
    assert!((mean(&some) - mean(&all)).abs() < 10.0, "{} {}", mean(&some), mean(&all));
}

#[tokio::test]
async fn all_namespaces_are_those_with_entries_and_the_configured_ones() {
    let configured = BTreeMap::from([("b".to_owned(), NamespaceConfig::default())]);
    for (strict, expected) in [(false, vec!["a", "b", "c"]), (true, vec!["b"])] {
        let test = Test::with_policy(&configured, strict);
        for namespace in ["c", "a", "a"] {
            test.put(namespace, "k", &new_entry("v", 60 * SECOND)).await;
        }
        let names = test.directory.all_namespaces().await.unwrap();
        assert_eq!(names.iter().map(Namespace::as_str).collect::<Vec<_>>(), expected);
    }
}

#[tokio::test]
async fn the_entry_of_a_schema_version_is_inspected() {
    let version = "2".to_owned();
    let versioned = NamespaceConfig { version, ..NamespaceConfig::default() };
    let configured = BTreeMap::from([("a".to_owned(), versioned)]);
    let test = Test::with_policy(&configured, false);
    let stored = name("a", "k").of_schema(&SchemaVersion::new("version", "2").unwrap());
    let entry = new_entry("v", 60 * SECOND);
    test.memory.put(&stored, &entry, Condition::Always).await.unwrap();
    let found = async |report: Result<EntryReport, Error>| report.unwrap().stored.entry.is_some();
    assert!(found(test.directory.inspect(&name("a", "k")).await).await);
    assert!(found(test.directory.inspect_stored(&stored).await).await);
    assert!(!found(test.directory.inspect_stored(&name("a", "k")).await).await);
}

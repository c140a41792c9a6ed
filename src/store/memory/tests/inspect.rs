//! State, usage and statistics.

use super::*;
use crate::{
    stats::{
        counters::Counter,
        delta::{ByNamespace, StatsDelta},
    },
    store::{NamespaceUsage, StatsStore as _, TTL_CLASSES},
};

#[tokio::test(start_paused = true)]
async fn state_describes_the_store() {
    let store = MemoryStore::new(MIB);
    advance(3 * SECOND).await;
    for number in 0..40 {
        put(&store, &key(&number.to_string()), 1).await.unwrap();
    }
    store.ping().await.unwrap();
    let state = store.info().await.unwrap();
    assert_eq!(state, store.snapshot());
    assert_eq!(store.kind(), "memory");
    assert_eq!((&*state.eviction_policy, &*state.persistence), ("lru", "none"));
    assert_eq!((state.keys, state.uptime), (40, 3 * SECOND));
}

#[tokio::test(start_paused = true)]
async fn usage_counts_keys_bytes_and_ttl_classes_per_namespace() {
    let store = MemoryStore::new(MIB);
    let ttls = [TTL_CLASSES[0], TTL_CLASSES[1], TTL_CLASSES[1] + SECOND, 30 * 24 * 3600 * SECOND];
    for (number, ttl) in ttls.into_iter().enumerate() {
        let new = new_entry(100, ttl);
        store.put(&key_in("b", &number.to_string()), &new, Condition::Always).await.unwrap();
    }
    put(&store, &key_in("a", "0"), 5).await.unwrap();
    store.put(&key_in("a", "1"), &new_entry(5, SECOND), Condition::Always).await.unwrap();
    store.delete(&key_in("a", "0"), Duration::ZERO).await.unwrap();
    let expected = [
        ("a", 1, entry_cost(&key_in("a", "1"), 5), [1, 0, 0, 0, 0]),
        ("b", 4, 4 * entry_cost(&key_in("b", "0"), 100), [1, 1, 1, 0, 1]),
    ]
    .map(|(name, keys, bytes, ttl)| {
        (namespace(name), NamespaceUsage { keys, bytes, sampled: false, ttl })
    });
    assert_eq!(store.usage(&NamespacePage::default()).await.unwrap(), expected);
}

#[tokio::test(start_paused = true)]
async fn usage_of_many_namespaces_yields_and_is_paged() {
    let store = MemoryStore::new(64 * MIB);
    for number in 0..3000 {
        put(&store, &key_in(&format!("n{number:04}"), "k"), 1).await.unwrap();
    }
    let page = NamespacePage::new(Vec::new(), "n1999".to_owned(), 100);
    let mut usage = std::pin::pin!(store.usage(&page));
    let mut yields = 0;
    let usage = loop {
        match futures_util::poll!(&mut usage) {
            std::task::Poll::Ready(usage) => break usage.unwrap(),
            std::task::Poll::Pending => yields += 1,
        }
    };
    assert!(yields > 20, "{yields}");
    let names: Vec<&str> = usage.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!((names.len(), names[0], names[100]), (101, "n2000", "n2100"));
    assert!(usage.iter().all(|(_, usage)| (usage.keys, usage.ttl[0]) == (1, 1)), "{usage:?}");
}

#[tokio::test(start_paused = true)]
async fn expired_entries_are_in_no_ttl_class() {
    let store = MemoryStore::new(MIB);
    // The usage yields to the sweeper. Its first sweep comes before the entries.
    tokio::time::sleep(MILLISECOND).await;
    put(&store, &key("0"), 1).await.unwrap();
    let new = new_entry(1, 100 * MILLISECOND);
    store.put(&key("1"), &new, Condition::Always).await.unwrap();
    advance(100 * MILLISECOND).await;
    let (_, usage) = store.usage(&NamespacePage::default()).await.unwrap().remove(0);
    // The sweeper has not removed the expired one. It counts as not sampled.
    assert_eq!((usage.keys, usage.ttl, usage.sampled), (2, [2, 0, 0, 0, 0], true));
}

#[tokio::test(start_paused = true)]
async fn stats_of_all_replicas_are_summed() {
    let store = MemoryStore::new(MIB);
    for (replica, hits) in [(1, 2), (2, 3)] {
        let mut counts = ByNamespace::new();
        counts.entry("a".to_owned()).or_default().0[Counter::Hits as usize] = hits;
        store
            .add(&StatsDelta { replica, sequence: 1, counts, sender: Default::default() })
            .await
            .unwrap();
    }
    let report = store.report().await.unwrap();
    for sums in [report.total, report.last_hour, report.last_day] {
        assert_eq!(sums["a"].get(Counter::Hits), 5);
    }
}

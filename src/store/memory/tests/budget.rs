//! The byte budget and the order of eviction.

use super::*;
use crate::store::RevalidateOutcome;

#[tokio::test(start_paused = true)]
async fn entries_are_accounted_to_the_byte() {
    let store = MemoryStore::new(MIB);
    assert_eq!((store.snapshot().used_bytes, store.snapshot().max_bytes), (0, MIB));
    put(&store, &key("one"), 100).await.unwrap();
    let one = entry_cost(&key("one"), 100);
    assert_eq!(used(&store), one);
    let tagged = NewEntry { tags: ["tag".to_owned()].into(), ..new_entry(10, MINUTE) };
    store.put(&key("two"), &tagged, Condition::Always).await.unwrap();
    let two = cost_of(&key("two"), &tagged);
    assert_eq!(used(&store), one + two);
    put(&store, &key("two"), 20).await.unwrap();
    assert_eq!(used(&store), one + entry_cost(&key("two"), 20), "a write replaces the entry");
    store.delete(&key("one"), Duration::ZERO).await.unwrap();
    assert_eq!(used(&store), entry_cost(&key("two"), 20));
    let peak = one + two + entry_cost(&key("two"), 20);
    assert_eq!(store.snapshot().peak_bytes, peak + namespace_bytes(&namespace("a")));
}

#[tokio::test(start_paused = true)]
async fn leases_are_accounted_to_the_byte() {
    let store = MemoryStore::new(MIB);
    let cost = lease_cost(&key("k"));
    let token = acquire(&store, &key("k")).await;
    assert_eq!(used(&store), cost);
    acquire_again(&store, &key("k")).await;
    assert_eq!(used(&store), cost, "a refused request costs nothing");
    assert!(store.abandon(&key("k"), token, Duration::ZERO, "").await.unwrap());
    assert_eq!(used(&store), 0);
    store.delete(&key("k"), MINUTE).await.unwrap();
    assert_eq!(used(&store), HOLD_OFF_BYTES);
    store.delete(&key("k"), MINUTE).await.unwrap();
    assert_eq!(used(&store), HOLD_OFF_BYTES, "a hold-off replaces the one before it");
}

#[tokio::test(start_paused = true)]
async fn fill_discard_and_found_release_the_lease() {
    let store = MemoryStore::new(MIB);
    let token = acquire(&store, &key("k")).await;
    assert_eq!(store.fill(&key("k"), token, &new_entry(10, MINUTE)).await.unwrap(), Ok(()));
    assert_eq!(used(&store), entry_cost(&key("k"), 10));
    assert!(matches!(acquire_again(&store, &key("k")).await, AcquireOutcome::Found(_)));
    assert_eq!(used(&store), entry_cost(&key("k"), 10));
    let token = acquire(&store, &key("k")).await;
    assert_eq!(store.discard(&key("k"), token, Duration::ZERO, "").await.unwrap(), Ok(()));
    assert_eq!(used(&store), 0);
}

#[tokio::test(start_paused = true)]
async fn least_recently_used_entry_is_evicted_first() {
    let store = MemoryStore::new(MIB);
    for number in 0..3 {
        put(&store, &key(&number.to_string()), 262_144).await.unwrap();
        advance(5 * MILLISECOND).await;
    }
    assert!(exists(&store, &key("0")).await);
    advance(5 * MILLISECOND).await;
    put(&store, &key("3"), 262_144).await.unwrap();
    let mut left = Vec::new();
    for number in 0..4 {
        left.push(exists(&store, &key(&number.to_string())).await);
    }
    assert_eq!(left, [true, false, true, true]);
    assert_eq!(store.snapshot().evicted_keys, 1);
}

#[tokio::test(start_paused = true)]
async fn budget_is_filled_to_the_last_byte_before_anything_is_evicted() {
    let keys = [key("0"), key("1"), key("2")];
    let cost = entry_cost(&keys[0], 1_000);
    for (spare, evicted) in [(0, 0), (1, 1)] {
        let store = MemoryStore::new(limit_of(3 * cost - spare));
        for key in &keys {
            put(&store, key, 1_000).await.unwrap();
            advance(MILLISECOND).await;
        }
        assert_eq!(store.snapshot().evicted_keys, evicted, "{spare} bytes too few");
        assert_eq!(exists(&store, &keys[0]).await, evicted == 0);
        assert_eq!(used(&store), (3 - evicted) * cost);
    }
}

#[tokio::test(start_paused = true)]
async fn as_many_entries_are_evicted_as_a_large_one_needs() {
    let store = MemoryStore::new(limit_of(10 * entry_cost(&key("0"), 100_000)));
    for number in 0..10 {
        put(&store, &key(&number.to_string()), 100_000).await.unwrap();
        advance(MILLISECOND).await;
    }
    put(&store, &key("large"), 250_000).await.unwrap();
    assert_eq!(store.snapshot().evicted_keys, 3);
    assert!(!exists(&store, &key("2")).await && exists(&store, &key("3")).await);
}

#[tokio::test(start_paused = true)]
async fn value_as_large_as_the_budget_is_stored_and_a_larger_one_refused() {
    let cost = entry_cost(&key("k"), 1_000);
    let store = MemoryStore::new(limit_of(cost));
    put(&store, &key("k"), 1_000).await.unwrap();
    assert_eq!(used(&store), cost);
    let refused = put(&store, &key("k"), 2_000).await.unwrap_err();
    assert_eq!(refused.kind, ErrorKind::Full);
    assert_eq!(get(&store, &key("k")).await.unwrap().data.len(), 1_000, "nothing was evicted");
    assert_eq!(used(&store), cost);
}

#[tokio::test(start_paused = true)]
async fn namespaces_are_accounted_while_they_are_in_use() {
    let store = MemoryStore::new(MIB);
    let names = ["a", &"n".repeat(64)].map(namespace);
    for name in &names {
        put(&store, &key_in(name.as_str(), "k"), 1).await.unwrap();
    }
    let bytes = names.iter().map(namespace_bytes).sum::<u64>();
    assert_eq!(store.snapshot().used_bytes - 2 * entry_cost(&key("k"), 1), bytes);
    store.invalidate(&names[0]).await.unwrap();
    sweep().await;
    let left = namespace_bytes(&names[1]) + entry_cost(&key("k"), 1);
    assert_eq!(store.snapshot().used_bytes, left);
}

#[tokio::test(start_paused = true)]
async fn write_fails_if_there_is_nothing_left_to_evict() {
    let store = MemoryStore::new(limit_for(2 * entry_cost(&key("k"), 100) - 1));
    store.0.budget.add(entry_cost(&key("k"), 100));
    assert_eq!(put(&store, &key("k"), 100).await.unwrap_err().kind, ErrorKind::Full);
    assert_eq!(used(&store), entry_cost(&key("k"), 100), "the bytes are given back");
}

#[tokio::test(start_paused = true)]
async fn revalidation_that_grows_an_entry_evicts_others() {
    let tag = "t".repeat(100);
    let revalidation = |version| revalidation(version, MINUTE, &[&*tag; 10]);
    let new = new_entry(10_000, MINUTE);
    let grown = NewEntry {
        tags: revalidation(new.version).tags,
        fetch_metadata: Some(Arc::default()),
        ..new.clone()
    };
    let both = cost_of(&key("0"), &new) + cost_of(&key("1"), &grown);
    for (spare, evicted) in [(0, 0), (1, 1)] {
        let store = MemoryStore::new(limit_of(both - spare));
        put(&store, &key("0"), 10_000).await.unwrap();
        advance(MILLISECOND).await;
        store.put(&key("1"), &new, Condition::Always).await.unwrap();
        let token = acquire(&store, &key("1")).await;
        let outcome = store.revalidate(&key("1"), token, &revalidation(new.version)).await;
        assert_eq!(outcome.unwrap(), RevalidateOutcome::Revalidated);
        assert_eq!(store.snapshot().evicted_keys, evicted, "{spare} bytes too few");
        assert!(exists(&store, &key("1")).await);
    }
}

#[test]
fn peak_is_the_highest_use_within_the_limit() {
    let budget = Budget::new(limit_for(100));
    let peak = |budget: &Budget| budget.peak.load(Ordering::Relaxed);
    budget.reserve(60).unwrap();
    assert_eq!((budget.used(), peak(&budget), budget.is_exceeded()), (60, 60, false));
    budget.release(20);
    budget.reserve(10).unwrap();
    assert_eq!((budget.used(), peak(&budget)), (50, 60));
    budget.reserve(50).unwrap();
    assert_eq!((budget.used(), peak(&budget), budget.is_exceeded()), (100, 100, false));
    budget.reserve(100).unwrap();
    assert_eq!((budget.used(), peak(&budget), budget.is_exceeded()), (200, 100, true));
    assert_eq!(budget.reserve(101).unwrap_err().kind, ErrorKind::Full);
    assert_eq!(budget.used(), 200);
}

//! The sweeper.

use super::*;
use crate::store::memory::{generation::Generations, shard::Shard};

#[tokio::test(start_paused = true)]
async fn expired_entries_are_removed_without_a_read() {
    let store = MemoryStore::new(MIB);
    for number in 0..1000 {
        let new = new_entry(100, SECOND);
        store.put(&key(&number.to_string()), &new, Condition::Always).await.unwrap();
    }
    assert_eq!(store.snapshot().keys, 1000);
    sweep().await;
    let state = store.snapshot();
    assert_eq!((state.keys, state.used_bytes, state.expired_keys), (0, 0, 1000));
}

#[tokio::test(start_paused = true)]
async fn sweeps_run_every_half_second() {
    let store = MemoryStore::new(MIB);
    tokio::time::sleep(MILLISECOND).await;
    store.put(&key("k"), &new_entry(1, 10 * MILLISECOND), Condition::Always).await.unwrap();
    tokio::time::sleep(498 * MILLISECOND).await;
    assert_eq!(store.snapshot().keys, 1);
    tokio::time::sleep(2 * MILLISECOND).await;
    assert_eq!(store.snapshot().keys, 0);
}

#[tokio::test(start_paused = true)]
async fn entry_is_not_removed_before_it_expires() {
    let store = MemoryStore::new(MIB);
    store.put(&key("k"), &new_entry(1, 3 * SECOND), Condition::Always).await.unwrap();
    sweep().await;
    assert_eq!((store.snapshot().keys, store.snapshot().expired_keys), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn entries_of_an_invalidated_namespace_are_removed() {
    let store = MemoryStore::new(16 * MIB);
    // More than one batch per shard.
    for number in 0..6_000 {
        let namespace = if number % 2 == 0 { "a" } else { "b" };
        let new = new_entry(0, MINUTE);
        let key = key_in(namespace, &number.to_string());
        store.put(&key, &new, Condition::Always).await.unwrap();
    }
    let keys = store.snapshot().keys;
    store.invalidate(&namespace("a")).await.unwrap();
    assert_eq!(store.snapshot().keys, keys, "their memory is freed later");
    sweep().await;
    let state = store.snapshot();
    assert_eq!((state.keys, state.expired_keys), (keys / 2, 0));
    let usage = store.usage(&NamespacePage::default()).await.unwrap();
    let usage: Vec<_> = usage.iter().map(|(name, usage)| (name.as_str(), usage.keys)).collect();
    assert_eq!(usage, [("b", keys / 2)]);
}

#[tokio::test(start_paused = true)]
async fn expired_leases_are_removed() {
    let store = MemoryStore::new(MIB);
    for number in 0..100 {
        acquire(&store, &key(&number.to_string())).await;
    }
    store.delete(&key("held off"), MINUTE).await.unwrap();
    advance(MINUTE - 3 * SECOND).await;
    sweep().await;
    let costs = (0..100).map(|number| lease_cost(&key(&number.to_string())));
    assert_eq!(used(&store), costs.sum::<u64>() + lease_cost(&key("held off")));
    advance(SECOND).await;
    sweep().await;
    assert_eq!(used(&store), 0);
}

#[tokio::test(start_paused = true)]
async fn namespaces_without_entries_are_forgotten() {
    let store = MemoryStore::new(MIB);
    for number in 0..100 {
        let new = new_entry(1, 10 * MILLISECOND);
        let key = key_in(&format!("n{number}"), "k");
        store.put(&key, &new, Condition::Always).await.unwrap();
        store.invalidate(&namespace(&format!("never-used-{number}"))).await.unwrap();
    }
    assert_eq!(store.usage(&NamespacePage::default()).await.unwrap().len(), 100);
    sweep().await;
    sweep().await;
    assert_eq!(store.usage(&NamespacePage::default()).await.unwrap(), []);
    assert_eq!(used(&store), 0);
}

#[tokio::test(start_paused = true)]
async fn sweeper_ends_when_the_store_is_dropped() {
    let store = MemoryStore::new(MIB);
    let tasks = || tokio::runtime::Handle::current().metrics().num_alive_tasks();
    sweep().await;
    assert_eq!(tasks(), 1);
    drop(store);
    sweep().await;
    assert_eq!(tasks(), 0);
}

#[tokio::test]
async fn unused_generations_are_removed_and_used_ones_kept() {
    let generations = Generations::default();
    assert!(!generations.take_ended());
    generations.end(&namespace("a"));
    assert!(!generations.take_ended(), "there was no generation to end");
    let first = generations.current(&namespace("a"));
    assert!(Arc::ptr_eq(&first, &generations.current(&namespace("a"))));
    generations.remove_unused().await;
    assert!(Arc::ptr_eq(&first, &generations.current(&namespace("a"))));
    assert!(first.is_current());
    generations.end(&namespace("a"));
    assert!(!first.is_current() && generations.take_ended() && !generations.take_ended());
    let second = generations.current(&namespace("a"));
    assert!(second.is_current() && !Arc::ptr_eq(&first, &second));
    drop(second);
    generations.remove_unused().await;
    assert!(generations.usage(&NamespacePage::default()).await.is_empty());
}

/// A shard with entries that expire after 1, 2, 3... milliseconds.
fn shard_of(entries: u64, generations: &Generations) -> Shard {
    let mut shard = Shard::default();
    for number in 1..=entries {
        let entry = Entry::written(&new_entry(0, MILLISECOND), Timestamp(number - 1));
        let (key, generation) = (key(&number.to_string()), generations.current(&namespace("a")));
        let stored = StoredEntry::new(&key, entry, generation, Timestamp(0));
        shard.insert(key, stored);
    }
    shard
}

#[test]
fn expired_entries_are_removed_in_order_and_up_to_the_limit() {
    let mut shard = shard_of(5, &Generations::default());
    let mut expire = |now, limit| {
        let outcome = shard.expire(Timestamp(now), limit);
        (outcome.entries, outcome.freed)
    };
    let cost = entry_cost(&key("1"), 0);
    assert_eq!(expire(0, 10), (0, 0));
    assert_eq!(expire(4, 3), (3, 3 * cost));
    assert_eq!(expire(4, 3), (1, cost));
    assert_eq!(expire(4, 3), (0, 0));
    assert_eq!(expire(5, 3), (1, cost));
}

#[test]
fn purge_visits_entries_in_order_and_up_to_the_limit() {
    let generations = Generations::default();
    let mut shard = shard_of(5, &generations);
    assert_eq!(shard.purge(None, 10), (0, None), "the generation is current");
    generations.end(&namespace("a"));
    let cost = entry_cost(&key("1"), 0);
    let (freed, next) = shard.purge(None, 3);
    assert_eq!((freed, next.clone()), (3 * cost, Some((Timestamp(3), key("3")))));
    assert_eq!(shard.len(), 2);
    assert_eq!(shard.purge(next.as_ref(), 3), (2 * cost, None));
    assert_eq!(shard.len(), 0);
}

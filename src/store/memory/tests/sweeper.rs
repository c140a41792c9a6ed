//! The sweeper.

use super::*;
use crate::store::memory::entries::Entries;

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
    assert_eq!(used(&store), costs.sum::<u64>() + HOLD_OFF_BYTES);
    advance(SECOND).await;
    sweep().await;
    assert_eq!(store.snapshot().used_bytes, 0);
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
async fn unused_namespaces_are_removed_and_used_ones_kept() {
    let (generations, budget) = (Generations::default(), Budget::new(MIB));
    let now = Timestamp(1_000);
    let current = || generations.current(&namespace("a"), &budget);
    assert!(!generations.take_invalid());
    generations.end(&namespace("a"), now, &budget);
    assert!(!generations.take_invalid(), "there was no generation to end");
    let first = current();
    assert!(Arc::ptr_eq(&first, &current()));
    generations.remove_unused(now, &budget).await;
    assert!(Arc::ptr_eq(&first, &current()));
    assert!(first.is_current());
    generations.end(&namespace("a"), now, &budget);
    assert!(!first.is_current() && generations.take_invalid() && !generations.take_invalid());
    let second = current();
    assert!(second.is_current() && !Arc::ptr_eq(&first, &second));
    assert!(Arc::ptr_eq(first.state(), second.state()));
    drop(second);
    generations.remove_unused(now, &budget).await;
    assert!(generations.state(&namespace("a")).is_some(), "the first generation has entries");
    drop(first);
    generations.remove_unused(now, &budget).await;
    assert!(generations.state(&namespace("a")).is_none());
    assert_eq!((budget.used(), generations.recount()), (0, 0));
}

#[tokio::test]
async fn namespaces_are_kept_for_as_long_as_they_have_to_be_remembered() {
    let (generations, budget) = (Generations::default(), Budget::new(MIB));
    let state = || generations.current(&namespace("a"), &budget).state().clone();
    for remember in [NamespaceState::hold_off, NamespaceState::remember_invalidation] {
        remember(&state(), Timestamp(5));
        generations.remove_unused(Timestamp(4), &budget).await;
        assert!(generations.state(&namespace("a")).is_some());
        generations.remove_unused(Timestamp(5), &budget).await;
        assert!(generations.state(&namespace("a")).is_none());
    }
}

/// Entries that expire after 1, 2, 3... milliseconds.
fn entries_of(number: u64, generations: &Generations) -> Entries {
    let mut entries = Entries::new(Timestamp(0));
    for number in 1..=number {
        let entry = Entry::written(&new_entry(0, MILLISECOND), Timestamp(number - 1));
        let generation = generations.current(&namespace("a"), &Budget::new(MIB));
        let key = key(&number.to_string());
        let slot = Slot::new(&hashed(&key), entry, generation, Timestamp(0), Timestamp(0));
        entries.insert(&hashed(&key), slot);
    }
    entries
}

#[test]
fn expired_entries_are_removed_in_order_and_up_to_the_limit() {
    let mut entries = entries_of(5, &Generations::default());
    let mut expire = |now, limit| {
        let outcome = entries.expire(Timestamp(now), limit);
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
fn purge_visits_fewer_entries_if_they_are_checked_against_many_patterns() {
    let (generations, budget) = (Generations::default(), Budget::new(16 * MIB));
    let mut entries = entries_of(50, &generations);
    let globs = (0..30).map(|number| crate::model::Glob::new(&format!("?{number}x")).unwrap());
    let ban = Ban { globs: globs.collect(), ..Ban::default() };
    let new = NewBan { namespace: &namespace("a"), ban: &ban, limits: &BanLimits::default() };
    generations.ban(new, Timestamp(0), &budget);
    let (_, next) = entries.purge(None, 62);
    assert_eq!(next, Some(48), "each of two entries may be matched 30 times");
    let (freed, next) = entries.purge(Some(48), 31 * 48);
    assert_eq!((freed, next), (0, None));
    // All of them belong to the current generation by now.
    assert_eq!(entries.purge(None, 50), (0, None));
}

#[test]
fn purge_visits_entries_from_the_end_and_up_to_the_limit() {
    let generations = Generations::default();
    let mut entries = entries_of(5, &generations);
    assert_eq!(entries.purge(None, 10), (0, None), "the generation is current");
    generations.end(&namespace("a"), Timestamp(0), &Budget::new(MIB));
    let cost = entry_cost(&key("1"), 0);
    assert_eq!(entries.purge(None, 3), (3 * cost, Some(2)));
    assert_eq!(entries.len(), 2);
    assert_eq!(entries.purge(Some(2), 3), (2 * cost, None));
    assert_eq!(entries.len(), 0);
}

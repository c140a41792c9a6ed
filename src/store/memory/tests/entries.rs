//! Reads, writes and their conditions.

use super::*;

#[tokio::test(start_paused = true)]
async fn entry_is_read_as_it_was_written() {
    let store = MemoryStore::new(MIB);
    let new = stale_after(MINUTE);
    let now = store.now();
    assert_eq!(store.put(&key("k"), &new, Condition::Always).await.unwrap(), PutOutcome::Stored);
    assert_eq!(get(&store, &key("k")).await, Some(Entry::written(&new, now)));
    assert_eq!(get(&store, &key("other")).await, None);
}

#[tokio::test(start_paused = true)]
async fn get_many_keeps_the_order_of_the_keys() {
    let store = MemoryStore::new(MIB);
    put(&store, &key("1"), 1).await.unwrap();
    put(&store, &key("2"), 2).await.unwrap();
    let entries = store.get_many(&[key("2"), key("0"), key("1")]).await.unwrap();
    let sizes: Vec<Option<usize>> =
        entries.into_iter().map(|entry| entry.unwrap().map(|entry| entry.data.len())).collect();
    assert_eq!(sizes, [Some(2), None, Some(1)]);
}

#[tokio::test(start_paused = true)]
async fn entry_expires_exactly_at_the_end_of_its_windows() {
    let store = MemoryStore::new(MIB);
    let lifetime = Lifetime {
        ttl: 10 * MILLISECOND,
        stale_while_revalidate: 20 * MILLISECOND,
        stale_if_error: 30 * MILLISECOND,
        revalidation_window: 40 * MILLISECOND,
    };
    let new = NewEntry { lifetime, ..new_entry(1, MINUTE) };
    store.put(&key("k"), &new, Condition::Always).await.unwrap();
    advance(99 * MILLISECOND).await;
    assert!(exists(&store, &key("k")).await);
    advance(MILLISECOND).await;
    assert!(!exists(&store, &key("k")).await);
}

#[tokio::test(start_paused = true)]
async fn condition_if_absent_accepts_missing_and_stale_entries() {
    let store = MemoryStore::new(MIB);
    let put_if_absent =
        async |new: NewEntry| store.put(&key("k"), &new, Condition::IfAbsent).await.unwrap();
    assert_eq!(put_if_absent(stale_after(SECOND)).await, PutOutcome::Stored);
    let used_before = used(&store);
    assert_eq!(put_if_absent(new_entry(100, MINUTE)).await, PutOutcome::ConditionNotMet);
    assert_eq!(used(&store), used_before, "a refused write costs nothing");
    advance(SECOND).await;
    assert_eq!(put_if_absent(stale_after(SECOND)).await, PutOutcome::Stored);
}

#[tokio::test(start_paused = true)]
async fn condition_if_present_accepts_fresh_entries_only() {
    let store = MemoryStore::new(MIB);
    let put_if_present =
        async |new: NewEntry| store.put(&key("k"), &new, Condition::IfPresent).await.unwrap();
    assert_eq!(put_if_present(new_entry(1, MINUTE)).await, PutOutcome::ConditionNotMet);
    store.put(&key("k"), &stale_after(SECOND), Condition::Always).await.unwrap();
    assert_eq!(put_if_present(stale_after(SECOND)).await, PutOutcome::Stored);
    advance(SECOND).await;
    assert_eq!(put_if_present(new_entry(1, MINUTE)).await, PutOutcome::ConditionNotMet);
}

#[tokio::test(start_paused = true)]
async fn negative_entry_counts_as_absent() {
    let store = MemoryStore::new(MIB);
    let negative = NewEntry { kind: Kind::Negative, ..new_entry(0, MINUTE) };
    store.put(&key("k"), &negative, Condition::Always).await.unwrap();
    let put_if =
        async |condition| store.put(&key("k"), &new_entry(1, MINUTE), condition).await.unwrap();
    assert_eq!(put_if(Condition::IfPresent).await, PutOutcome::ConditionNotMet);
    assert!(!store.touch(&key("k"), lifetime(MINUTE)).await.unwrap());
    assert_eq!(put_if(Condition::IfAbsent).await, PutOutcome::Stored);
}

#[tokio::test(start_paused = true)]
async fn condition_if_version_accepts_that_version_fresh_or_stale() {
    let store = MemoryStore::new(MIB);
    let (old, new) = (stale_after(SECOND), new_entry(1, MINUTE));
    let put_if =
        async |version| store.put(&key("k"), &new, Condition::IfVersion(version)).await.unwrap();
    assert_eq!(put_if(old.version).await, PutOutcome::ConditionNotMet);
    store.put(&key("k"), &old, Condition::Always).await.unwrap();
    assert_eq!(put_if(Version(old.version.0 ^ 1)).await, PutOutcome::ConditionNotMet);
    advance(2 * SECOND).await;
    assert_eq!(put_if(old.version).await, PutOutcome::Stored);
    assert_eq!(put_if(old.version).await, PutOutcome::ConditionNotMet);
}

#[tokio::test(start_paused = true)]
async fn put_in_place_of_a_fresh_version_takes_over_the_end_of_its_ttl() {
    let store = MemoryStore::new(MIB);
    let (old, new) = (stale_after(10 * SECOND), stale_after(MINUTE));
    store.put(&key("k"), &old, Condition::Always).await.unwrap();
    advance(3 * SECOND).await;
    let replace =
        async |version| store.put(&key("k"), &new, Condition::Replacing(version)).await.unwrap();
    assert_eq!(replace(Version(old.version.0 ^ 1)).await, PutOutcome::ConditionNotMet);
    assert_eq!(replace(old.version).await, PutOutcome::Stored);
    let entry = get(&store, &key("k")).await.unwrap();
    assert_eq!((entry.version, entry.fresh_until), (new.version, store.now().after(7 * SECOND)));
    assert_eq!(entry.created_at, store.now());
    advance(7 * SECOND).await;
    assert_eq!(replace(new.version).await, PutOutcome::ConditionNotMet, "a stale entry");
    assert!(exists(&store, &key("k")).await);
}

#[tokio::test(start_paused = true)]
async fn delete_returns_whether_there_was_an_entry() {
    let store = MemoryStore::new(MIB);
    put(&store, &key("k"), 1).await.unwrap();
    assert!(store.delete(&key("k"), Duration::ZERO).await.unwrap());
    assert!(!exists(&store, &key("k")).await);
    assert!(!store.delete(&key("k"), Duration::ZERO).await.unwrap());
    store.put(&key("k"), &new_entry(1, SECOND), Condition::Always).await.unwrap();
    advance(SECOND).await;
    assert!(!store.delete(&key("k"), Duration::ZERO).await.unwrap(), "an expired entry");
}

#[tokio::test(start_paused = true)]
async fn take_removes_the_named_version_and_returns_it() {
    let store = MemoryStore::new(MIB);
    let new = new_entry(1, SECOND);
    store.put(&key("k"), &new, Condition::Always).await.unwrap();
    let take = async |if_version, returns_entry| {
        let take = Take { hold_off: Duration::ZERO, if_version, returns_entry };
        store.take(&key("k"), &take).await.unwrap()
    };
    let other = Some(Version(new.version.0 ^ 1));
    assert_eq!(take(other, true).await, TakeOutcome::OtherVersion);
    let stored = store.get(&key("k")).await.unwrap();
    assert_eq!(take(Some(new.version), true).await, TakeOutcome::Removed(stored));
    assert_eq!(take(Some(new.version), true).await, TakeOutcome::Absent);
    store.put(&key("k"), &new, Condition::Always).await.unwrap();
    assert_eq!(take(None, false).await, TakeOutcome::Removed(None));
    assert_eq!(take(None, true).await, TakeOutcome::Absent);
}

#[tokio::test(start_paused = true)]
async fn touch_gives_a_fresh_entry_a_new_lifetime_and_keeps_its_revalidation_window() {
    let store = MemoryStore::new(MIB);
    let window = Lifetime { revalidation_window: 7 * SECOND, ..lifetime(SECOND) };
    let new = NewEntry { lifetime: window, ..new_entry(1, SECOND) };
    store.put(&key("k"), &new, Condition::Always).await.unwrap();
    advance(999 * MILLISECOND).await;
    let longer = Lifetime {
        ttl: MINUTE,
        stale_while_revalidate: 2 * SECOND,
        stale_if_error: 3 * SECOND,
        revalidation_window: 4 * SECOND,
    };
    assert!(store.touch(&key("k"), longer).await.unwrap());
    let entry = get(&store, &key("k")).await.unwrap();
    assert_eq!(entry.fresh_until, store.now().after(MINUTE));
    assert_eq!((entry.stale_while_revalidate, entry.stale_if_error), (2 * SECOND, 3 * SECOND));
    assert_eq!(entry.revalidation_window, 7 * SECOND);
    assert_eq!(entry.version, new.version);
    sweep().await;
    assert!(exists(&store, &key("k")).await, "the sweeper uses the new lifetime");
}

#[tokio::test(start_paused = true)]
async fn prolong_never_shortens_a_lifetime_and_needs_the_version() {
    let store = MemoryStore::new(MIB);
    let new = new_entry(1, MINUTE);
    store.put(&key("k"), &new, Condition::Always).await.unwrap();
    let prolong =
        async |version, ttl| store.prolong(&key("k"), version, lifetime(ttl)).await.unwrap();
    assert!(!prolong(new.version, MINUTE).await);
    assert!(!prolong(Version(new.version.0 ^ 1), 2 * MINUTE).await);
    assert_eq!(get(&store, &key("k")).await.unwrap().fresh_until, store.now().after(MINUTE));
    assert!(prolong(new.version, MINUTE + MILLISECOND).await);
    advance(MINUTE).await;
    assert!(exists(&store, &key("k")).await);
    advance(MILLISECOND).await;
    assert!(!prolong(new.version, MINUTE).await, "an expired entry");
}

#[tokio::test(start_paused = true)]
async fn touch_ignores_missing_and_stale_entries() {
    let store = MemoryStore::new(MIB);
    assert!(!store.touch(&key("k"), lifetime(MINUTE)).await.unwrap());
    store.put(&key("k"), &stale_after(SECOND), Condition::Always).await.unwrap();
    advance(SECOND).await;
    assert!(!store.touch(&key("k"), lifetime(MINUTE)).await.unwrap());
    assert!(!get(&store, &key("k")).await.unwrap().is_fresh(store.now()));
}

#[tokio::test(start_paused = true)]
async fn shortened_lifetime_is_swept_on_time() {
    let store = MemoryStore::new(MIB);
    put(&store, &key("k"), 1).await.unwrap();
    assert!(store.touch(&key("k"), lifetime(SECOND)).await.unwrap());
    sweep().await;
    assert_eq!(store.snapshot().keys, 0);
}

#[tokio::test(start_paused = true)]
async fn invalidate_ends_the_generation_of_one_namespace() {
    let store = MemoryStore::new(MIB);
    put(&store, &key_in("a", "k"), 1).await.unwrap();
    put(&store, &key_in("b", "k"), 1).await.unwrap();
    store.invalidate(&namespace("a")).await.unwrap();
    assert!(!exists(&store, &key_in("a", "k")).await);
    assert!(exists(&store, &key_in("b", "k")).await);
    put(&store, &key_in("a", "k"), 1).await.unwrap();
    assert!(exists(&store, &key_in("a", "k")).await, "a write after it begins a new generation");
}

#[tokio::test(start_paused = true)]
async fn small_value_does_not_keep_the_buffer_of_its_request() {
    let store = MemoryStore::new(MIB);
    let request = Bytes::from(vec![0; 4096]);
    let new = NewEntry { data: request.slice(..10), ..new_entry(0, MINUTE) };
    store.put(&key("k"), &new, Condition::Always).await.unwrap();
    drop(new);
    assert!(request.is_unique(), "the stored value shares the buffer");
}

#[tokio::test(start_paused = true)]
async fn answers_share_the_bytes_of_the_stored_value() {
    let store = MemoryStore::new(MIB);
    for size in [1, 100, 1_000, 65_536] {
        put(&store, &key("k"), size).await.unwrap();
        let [one, other] = [get(&store, &key("k")).await, get(&store, &key("k")).await];
        assert_eq!(one.unwrap().data.as_ptr(), other.unwrap().data.as_ptr(), "{size}");
    }
}

#[tokio::test(start_paused = true)]
async fn keys_with_and_without_params_are_distinguished() {
    let store = MemoryStore::new(MIB);
    let with_params =
        |value| EntryKey::new(namespace("a"), "k", [("p", value)].into_iter()).unwrap();
    let keys = [key("k"), key_in("b", "k"), key("l"), with_params("1"), with_params("2")];
    for (size, key) in (1..).zip(&keys) {
        put(&store, key, size).await.unwrap();
        put(&store, key, size * 10_000).await.unwrap();
    }
    for (size, key) in (1..).zip(&keys) {
        assert_eq!(get(&store, key).await.unwrap().data.len(), size * 10_000);
    }
    assert_eq!(store.snapshot().keys, 5);
}

#[test]
fn watch_keys_of_different_keys_differ() {
    let with_params = |name: &str, params: &[(&str, &str)]| {
        EntryKey::new(namespace("a"), name, params.iter().copied()).unwrap()
    };
    let keys = [
        key("k"),
        key_in("b", "k"),
        key("l"),
        with_params("k", &[("p", "1")]),
        with_params("k", &[("p", "2")]),
        with_params("l", &[("p", "1")]),
    ];
    let texts: std::collections::HashSet<_> =
        keys.iter().map(|key| hashed(key).watch_key()).collect();
    assert_eq!(texts.len(), keys.len());
    assert_eq!(hashed(&key("k")).watch_key(), b"a\0k");
}

//! The memory that is accounted for, against the memory that is allocated.

use super::*;
use crate::{measured_memory::measured, store::MAX_CAUSE_BYTES};

/// Runs `write` on a new store, and returns the bytes that it has allocated and those that are
/// counted.
fn allocated_and_counted(write: impl AsyncFnOnce(&MemoryStore)) -> (u64, u64) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    runtime.block_on(async {
        let store = MemoryStore::new(1024 * MIB);
        // Tables that do not grow any more, and what the runtime allocates once.
        store.put(&key("first"), &new_entry(1, MINUTE), Condition::Always).await.unwrap();
        let before = store.snapshot().used_bytes;
        let ((), allocated) = measured(|| futures::executor::block_on(write(&store)));
        (allocated, store.snapshot().used_bytes - before)
    })
}

/// The count has the size classes of the allocator, so it is a little more than what was asked for;
/// tables that have just grown are less than half full.
fn assert_near((allocated, counted): (u64, u64), of: &str) {
    let ratio = counted as f64 / allocated as f64;
    assert!((0.85..1.35).contains(&ratio), "{of}: {counted} counted, {allocated} allocated");
}

#[test]
fn memory_of_entries_is_counted() {
    for (count, size) in [(30_000, 10), (30_000, 100), (2_000, 5_000), (40, 1_000_000)] {
        let measured = allocated_and_counted(async |store| {
            for number in 0..count {
                let entry = new_entry(size, MINUTE);
                store.put(&key(&number.to_string()), &entry, Condition::Always).await.unwrap();
            }
        });
        assert_near(measured, &format!("entries of {size} bytes"));
    }
}

#[test]
fn memory_of_tags_and_params_is_counted() {
    let measured = allocated_and_counted(async |store| {
        for number in 0..10_000 {
            let tags = (0..4).map(|tag| format!("tag-{tag}-{number}")).collect();
            let entry = NewEntry { tags, ..new_entry(10, MINUTE) };
            let number = number.to_string();
            let params = [("page", number.as_str())].into_iter();
            let key = EntryKey::new(namespace("a"), "k", params).unwrap();
            store.put(&key, &entry, Condition::Always).await.unwrap();
        }
    });
    assert_near(measured, "entries with tags and params");
}

#[test]
fn memory_of_leases_is_counted() {
    let cause = "c".repeat(MAX_CAUSE_BYTES);
    let measured = allocated_and_counted(async |store| {
        for number in 0..20_000 {
            let (key, token) = (key(&number.to_string()), LeaseToken::random());
            store.acquire(&key, &forced_request(token)).await.unwrap();
            // Its cause is counted from the start.
            store.abandon(&key, token, MINUTE, &cause).await.unwrap();
        }
    });
    assert_near(measured, "leases");
}

#[test]
fn memory_of_namespaces_is_counted() {
    let measured = allocated_and_counted(async |store| {
        for number in 0..20_000 {
            let key = key_in(&format!("namespace-{number}"), "k");
            store.put(&key, &new_entry(10, MINUTE), Condition::Always).await.unwrap();
        }
    });
    assert_near(measured, "namespaces");
}

#[test]
fn memory_of_removed_entries_is_given_back() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    runtime.block_on(async {
        let store = MemoryStore::new(1024 * MIB);
        let ((), left) = measured(|| {
            futures::executor::block_on(async {
                for number in 0..100_000 {
                    let entry = new_entry(10, MINUTE);
                    store.put(&key(&number.to_string()), &entry, Condition::Always).await.unwrap();
                }
                for number in 0..100_000 {
                    store.delete(&key(&number.to_string()), Duration::ZERO).await.unwrap();
                }
            });
        });
        // A tenth of what the entries have needed.
        assert!(left < 2 * MIB, "{left}");
    });
}

//! Increments.

use super::*;

fn increment_by(delta: i64) -> Increment {
    Increment { delta, initial: Some(10), lifetime: lifetime(MINUTE), version: Version::random() }
}

fn text(data: &str) -> NewEntry {
    NewEntry { kind: Kind::Text, data: data.to_owned().into(), ..new_entry(0, MINUTE) }
}

async fn increment(store: &MemoryStore, delta: i64) -> IncrementOutcome {
    store.increment(&key("k"), &increment_by(delta)).await.unwrap()
}

fn sum(value: i64, ttl_remaining: Duration) -> IncrementOutcome {
    IncrementOutcome::Sum { value, ttl_remaining }
}

/// The outcome of adding one to a stored entry.
async fn increment_of(new: NewEntry) -> IncrementOutcome {
    let store = MemoryStore::new(MIB);
    store.put(&key("k"), &new, Condition::Always).await.unwrap();
    let used_before = used(&store);
    let outcome = increment(&store, 1).await;
    if !matches!(outcome, IncrementOutcome::Sum { .. }) {
        assert_eq!(get(&store, &key("k")).await.unwrap().version, new.version);
        assert_eq!(used(&store), used_before);
    }
    outcome
}

#[tokio::test(start_paused = true)]
async fn missing_counter_starts_at_its_initial_value() {
    let store = MemoryStore::new(MIB);
    let request = increment_by(-3);
    assert_eq!(store.increment(&key("k"), &request).await.unwrap(), sum(7, MINUTE));
    let entry = get(&store, &key("k")).await.unwrap();
    assert_eq!((entry.kind, &entry.data[..]), (Kind::Text, &b"7"[..]));
    assert_eq!((entry.version, entry.fetch_metadata), (request.version, None));
}

#[tokio::test(start_paused = true)]
async fn only_an_existing_counter_is_incremented_without_an_initial_value() {
    let store = MemoryStore::new(MIB);
    let present = Increment { initial: None, ..increment_by(1) };
    assert_eq!(store.increment(&key("k"), &present).await.unwrap(), IncrementOutcome::Missing);
    assert!(!exists(&store, &key("k")).await);
    increment(&store, 1).await;
    assert_eq!(store.increment(&key("k"), &present).await.unwrap(), sum(12, MINUTE));
}

#[tokio::test(start_paused = true)]
async fn existing_counter_keeps_its_lifetime_and_tags() {
    let store = MemoryStore::new(MIB);
    let lifetime = Lifetime {
        ttl: 30 * SECOND,
        stale_while_revalidate: 2 * SECOND,
        stale_if_error: 3 * SECOND,
        revalidation_window: Duration::ZERO,
    };
    let tags = crate::model::Tags::from(["t".to_owned()]);
    let new = NewEntry { lifetime, tags: tags.clone(), ..text("5") };
    store.put(&key("k"), &new, Condition::Always).await.unwrap();
    let before = get(&store, &key("k")).await.unwrap();
    advance(10 * SECOND).await;
    assert_eq!(increment(&store, 1).await, sum(6, 20 * SECOND));
    let after = get(&store, &key("k")).await.unwrap();
    assert_eq!(after.fresh_until, before.fresh_until);
    assert_eq!((after.stale_while_revalidate, after.stale_if_error), (2 * SECOND, 3 * SECOND));
    assert_eq!((after.tags, after.created_at), (tags, store.now()));
}

#[tokio::test(start_paused = true)]
async fn stale_counter_counts_as_missing() {
    let store = MemoryStore::new(MIB);
    let new = NewEntry { kind: Kind::Text, data: "5".into(), ..stale_after(SECOND) };
    store.put(&key("k"), &new, Condition::Always).await.unwrap();
    advance(SECOND).await;
    assert_eq!(increment(&store, 1).await, sum(11, MINUTE));
}

#[tokio::test(start_paused = true)]
async fn counters_are_parsed_strictly() {
    for (data, expected) in [("0", 1), ("-1", 0), ("42", 43), ("9223372036854775806", i64::MAX)] {
        assert_eq!(increment_of(text(data)).await, sum(expected, MINUTE), "{data}");
    }
    for data in ["", "+1", "01", "-0", " 1", "1 ", "x", "9223372036854775808"] {
        assert_eq!(increment_of(text(data)).await, IncrementOutcome::NotAnInteger, "{data}");
    }
    let not_utf8 = NewEntry { data: Bytes::from_static(b"\xff"), ..text("") };
    assert_eq!(increment_of(not_utf8).await, IncrementOutcome::NotAnInteger);
    let not_text = NewEntry { kind: Kind::Bytes, ..text("1") };
    assert_eq!(increment_of(not_text).await, IncrementOutcome::NotAnInteger);
}

#[tokio::test(start_paused = true)]
async fn overflow_changes_nothing() {
    assert_eq!(increment_of(text("9223372036854775807")).await, IncrementOutcome::Overflow);
}

#[tokio::test(start_paused = true)]
async fn increment_supersedes_the_lease() {
    let store = MemoryStore::new(MIB);
    let token = acquire(&store, &key("k")).await;
    increment(&store, 1).await;
    let status = store.fill(&key("k"), token, &new_entry(1, MINUTE)).await.unwrap();
    assert_eq!(status, Err(LeaseLoss::Superseded));
}

#[test]
fn concurrent_increments_are_all_counted() {
    const INCREMENTS: i64 = 2_000;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_time()
        .build()
        .unwrap();
    runtime.block_on(async {
        let store = MemoryStore::new(MIB);
        let tasks = [store.clone(), store.clone()].map(|store| {
            tokio::spawn(async move {
                for _ in 0..INCREMENTS {
                    increment(&store, 1).await;
                }
            })
        });
        for task in tasks {
            task.await.unwrap();
        }
        let IncrementOutcome::Sum { value, .. } = increment(&store, 0).await else { panic!() };
        assert_eq!(value, 10 + 2 * INCREMENTS);
    });
}

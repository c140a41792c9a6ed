#![allow(clippy::unwrap_used)]

use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::{
    model::{MAX_TAG_BYTES, MAX_TAGS, Version},
    store::{
        AcquireOutcome, AcquireRequest, LeaseLoss, LeaseToken, Leases as _, RevalidateOutcome,
        Revalidation,
    },
};

const MINUTE: Duration = Duration::from_secs(60);
const MIB: u64 = 1024 * 1024;

fn namespace(name: &str) -> Namespace {
    Namespace::new(name).unwrap()
}

fn key(namespace_name: &str, key: &str) -> EntryKey {
    EntryKey::new(namespace(namespace_name), key, [].into_iter()).unwrap()
}

fn draft(size: usize, ttl: Duration) -> NewEntry {
    NewEntry {
        kind: Kind::Bytes,
        data: vec![b'x'; size].into(),
        version: Version::random(),
        lifetime: Lifetime {
            ttl,
            stale_while_revalidate: Duration::ZERO,
            stale_if_error: Duration::ZERO,
            revalidation_window: Duration::ZERO,
        },
        tags: Vec::new().into(),
        fetch_metadata: None,
    }
}

fn ask(token: LeaseToken) -> AcquireRequest {
    AcquireRequest { token, ttl: MINUTE, fresher_than: Timestamp::default() }
}

fn confirmation(version: Version, ttl: Duration, tags: usize) -> Revalidation {
    Revalidation {
        version,
        lifetime: draft(0, ttl).lifetime,
        tags: vec!["t".repeat(MAX_TAG_BYTES); tags].into(),
        fetch_metadata: Arc::default(),
    }
}

async fn put(store: &MemoryStore, at: &EntryKey, size: usize) -> Result<PutOutcome> {
    store.put(at, &draft(size, MINUTE), Condition::Always).await
}

/// Lets the sweeper run until everything that is over has been swept up.
async fn sweep() {
    tokio::time::sleep(Duration::from_secs(2)).await;
}

#[tokio::test(start_paused = true)]
async fn the_least_recently_used_entry_leaves_first() {
    let store = MemoryStore::new(MIB);
    for number in 0..3 {
        put(&store, &key("a", &number.to_string()), 300_000).await.unwrap();
        tokio::time::advance(Duration::from_millis(5)).await;
    }
    assert!(store.get(&key("a", "0")).await.unwrap().is_some());
    tokio::time::advance(Duration::from_millis(5)).await;
    put(&store, &key("a", "3"), 300_000).await.unwrap();
    let mut left = Vec::new();
    for number in 0..4 {
        left.push(store.get(&key("a", &number.to_string())).await.unwrap().is_some());
    }
    assert_eq!(left, [true, false, true, true]);
    assert_eq!(store.snapshot().evicted_keys, 1);
}

#[tokio::test(start_paused = true)]
async fn a_value_as_large_as_the_budget_is_stored_and_a_larger_one_refused() {
    let store = MemoryStore::new(MIB);
    put(&store, &key("a", "small"), 10).await.unwrap();
    put(&store, &key("a", "large"), 1_000_000).await.unwrap();
    assert!(store.get(&key("a", "large")).await.unwrap().is_some());
    let refused = put(&store, &key("a", "too large"), 1_100_000).await.unwrap_err();
    assert_eq!(refused.kind, ErrorKind::Full);
    assert!(
        store.get(&key("a", "large")).await.unwrap().is_some(),
        "what does not fit must not cost what does"
    );
}

#[tokio::test(start_paused = true)]
async fn what_expired_is_swept_up_without_being_asked_for() {
    let store = MemoryStore::new(MIB);
    for number in 0..1000 {
        let draft = draft(100, Duration::from_secs(1));
        store.put(&key("a", &number.to_string()), &draft, Condition::Always).await.unwrap();
    }
    assert_eq!(store.snapshot().keys, 1000);
    sweep().await;
    let usage = store.snapshot();
    assert_eq!((usage.keys, usage.used_bytes, usage.expired_keys), (0, 0, 1000));
}

#[tokio::test(start_paused = true)]
async fn an_invalidated_namespace_is_gone_at_once_and_its_memory_soon() {
    let store = MemoryStore::new(MIB);
    for number in 0..100 {
        put(&store, &key("a", &number.to_string()), 100).await.unwrap();
    }
    put(&store, &key("b", "0"), 100).await.unwrap();
    store.invalidate(&namespace("a")).await.unwrap();
    assert!(store.get(&key("a", "0")).await.unwrap().is_none());
    put(&store, &key("a", "0"), 100).await.unwrap();
    assert!(store.get(&key("a", "0")).await.unwrap().is_some());
    sweep().await;
    let sizes = store.usage().await.unwrap();
    let keys: Vec<(&str, u64)> =
        sizes.iter().map(|(name, size)| (name.as_str(), size.keys)).collect();
    assert_eq!(keys, [("a", 1), ("b", 1)]);
    assert_eq!(store.snapshot().keys, 2);
}

#[tokio::test(start_paused = true)]
async fn names_that_are_used_once_leave_nothing_behind() {
    let store = MemoryStore::new(MIB);
    for number in 0..1000 {
        let once = format!("n{number}");
        store
            .put(&key(&once, "k"), &draft(1, Duration::from_millis(10)), Condition::Always)
            .await
            .unwrap();
        store.invalidate(&namespace(&format!("never-used-{number}"))).await.unwrap();
    }
    sweep().await;
    sweep().await;
    assert_eq!(store.usage().await.unwrap(), []);
    assert_eq!(store.snapshot().used_bytes, 0);
}

#[tokio::test(start_paused = true)]
async fn leases_are_accounted_for_and_swept_up() {
    let store = MemoryStore::new(MIB);
    for number in 0..100 {
        let granted = store
            .acquire(&key("a", &number.to_string()), &ask(LeaseToken::random()))
            .await
            .unwrap();
        assert!(matches!(granted, AcquireOutcome::Granted { previous: None }));
    }
    assert!(store.snapshot().used_bytes > 100 * 50);
    tokio::time::advance(MINUTE).await;
    sweep().await;
    assert_eq!(store.snapshot().used_bytes, 0);
}

#[tokio::test(start_paused = true)]
async fn a_namespace_invalidated_between_lease_and_fill_refuses_the_fill() {
    let store = MemoryStore::new(MIB);
    let (at, token) = (key("a", "k"), LeaseToken::random());
    store.acquire(&at, &ask(token)).await.unwrap();
    store.invalidate(&namespace("a")).await.unwrap();
    assert_eq!(
        store.fill(&at, token, &draft(1, MINUTE)).await.unwrap(),
        Err(LeaseLoss::Invalidated)
    );
    assert!(store.get(&at).await.unwrap().is_none());
}

#[tokio::test(start_paused = true)]
async fn a_lease_holds_for_as_long_as_it_is_extended() {
    let store = MemoryStore::new(MIB);
    let (at, token) = (key("a", "k"), LeaseToken::random());
    store.acquire(&at, &ask(token)).await.unwrap();
    for _ in 0..5 {
        tokio::time::advance(MINUTE * 3 / 4).await;
        assert_eq!(store.extend(&at, token, MINUTE).await.unwrap(), Ok(()));
        assert_eq!(
            store.extend(&at, LeaseToken::random(), MINUTE).await.unwrap(),
            Err(LeaseLoss::Expired)
        );
    }
    tokio::time::advance(MINUTE).await;
    assert_eq!(store.extend(&at, token, MINUTE).await.unwrap(), Err(LeaseLoss::Expired));
    assert_eq!(store.fill(&at, token, &draft(1, MINUTE)).await.unwrap(), Err(LeaseLoss::Expired));
}

#[tokio::test(start_paused = true)]
async fn a_confirmed_entry_lives_on_with_new_tags() {
    let store = MemoryStore::new(MIB);
    let (at, token) = (key("a", "k"), LeaseToken::random());
    put(&store, &at, 100).await.unwrap();
    let written = store.get(&at).await.unwrap().unwrap();
    tokio::time::advance(MINUTE / 2).await;
    store
        .acquire(&at, &AcquireRequest { fresher_than: Timestamp(u64::MAX), ..ask(token) })
        .await
        .unwrap();

    // Another value than the stored one cannot be confirmed, and the lease goes on for a fetch of it.
    let other = confirmation(Version::random(), MINUTE, 0);
    assert_eq!(store.revalidate(&at, token, &other).await.unwrap(), RevalidateOutcome::Gone);
    let confirmation = confirmation(written.version, MINUTE, 3);
    assert_eq!(
        store.revalidate(&at, token, &confirmation).await.unwrap(),
        RevalidateOutcome::Revalidated
    );
    let confirmed = store.get(&at).await.unwrap().unwrap();
    assert_eq!(
        (confirmed.version, &confirmed.data, confirmed.tags.len()),
        (written.version, &written.data, 3)
    );
    assert_eq!(confirmed.fresh_until.since(written.fresh_until), MINUTE / 2);
    let again = store.revalidate(&at, token, &confirmation).await.unwrap();
    assert_eq!(again, RevalidateOutcome::LeaseLost(LeaseLoss::Expired));

    store
        .acquire(&at, &AcquireRequest { fresher_than: Timestamp(u64::MAX), ..ask(token) })
        .await
        .unwrap();
    store.delete(&at, Duration::ZERO).await.unwrap();
    let late = store.revalidate(&at, token, &confirmation).await.unwrap();
    assert_eq!(late, RevalidateOutcome::LeaseLost(LeaseLoss::Invalidated));
    assert!(store.get(&at).await.unwrap().is_none());
}

#[tokio::test(start_paused = true)]
async fn a_delete_that_holds_off_leaves_nothing_behind_when_it_is_over() {
    let store = MemoryStore::new(MIB);
    let at = key("a", "k");
    store.delete(&at, MINUTE).await.unwrap();
    store.delete(&at, Duration::from_secs(1)).await.unwrap();
    sweep().await;
    let AcquireOutcome::HeldOff { remaining } =
        store.acquire(&at, &ask(LeaseToken::random())).await.unwrap()
    else {
        panic!("fills are taken already");
    };
    assert!(remaining <= MINUTE && remaining > MINUTE / 2, "{remaining:?}");
    tokio::time::advance(MINUTE).await;
    sweep().await;
    assert_eq!(store.snapshot().used_bytes, 0);
    let acquired = store.acquire(&at, &ask(LeaseToken::random())).await.unwrap();
    assert!(matches!(acquired, AcquireOutcome::Granted { .. }), "{acquired:?}");
}

#[tokio::test(start_paused = true)]
async fn a_small_value_does_not_keep_the_buffer_of_its_request() {
    let store = MemoryStore::new(MIB);
    let request = Bytes::from(vec![0; 4096]);
    let mut small = draft(0, MINUTE);
    small.data = request.slice(..10);
    store.put(&key("a", "k"), &small, Condition::Always).await.unwrap();
    drop(small);
    assert!(request.is_unique(), "the stored value shares the buffer");
}

#[derive(Debug, Clone)]
enum Step {
    Put { key: u8, size: usize, ttl_ms: u64 },
    PutIfAbsent { key: u8, size: usize },
    Delete { key: u8, hold_off_ms: u64 },
    Increment { key: u8 },
    Touch { key: u8, ttl_ms: u64 },
    Acquire { key: u8 },
    Extend { key: u8, ttl_ms: u64 },
    Fill { key: u8, size: usize },
    Confirm { key: u8, tags: usize, ttl_ms: u64 },
    Abandon { key: u8 },
    Invalidate { namespace: u8 },
    Wait { ms: u64 },
}

fn step() -> impl Strategy<Value = Step> {
    let size = prop_oneof![0..200usize, 10_000..60_000usize];
    let ttl_ms = prop_oneof![1..50u64, 5_000..100_000u64];
    prop_oneof![
        4 => (0..12u8, size.clone(), ttl_ms.clone()).prop_map(|(key, size, ttl_ms)| Step::Put { key, size, ttl_ms }),
        1 => (0..12u8, size.clone()).prop_map(|(key, size)| Step::PutIfAbsent { key, size }),
        1 => (0..12u8, prop_oneof![Just(0), 1..3_000u64])
            .prop_map(|(key, hold_off_ms)| Step::Delete { key, hold_off_ms }),
        1 => (0..12u8).prop_map(|key| Step::Increment { key }),
        1 => (0..12u8, ttl_ms.clone()).prop_map(|(key, ttl_ms)| Step::Touch { key, ttl_ms }),
        1 => (0..12u8, ttl_ms.clone()).prop_map(|(key, ttl_ms)| Step::Extend { key, ttl_ms }),
        2 => (0..12u8, 0..MAX_TAGS, ttl_ms).prop_map(|(key, tags, ttl_ms)| Step::Confirm { key, tags, ttl_ms }),
        2 => (0..12u8).prop_map(|key| Step::Acquire { key }),
        2 => (0..12u8, size).prop_map(|(key, size)| Step::Fill { key, size }),
        1 => (0..12u8).prop_map(|key| Step::Abandon { key }),
        1 => (0..3u8).prop_map(|namespace| Step::Invalidate { namespace }),
        1 => (1..2_000u64).prop_map(|ms| Step::Wait { ms }),
    ]
}

fn key_of(number: u8) -> EntryKey {
    key(&format!("n{}", number % 3), &format!("k{number}"))
}

/// What the store says it holds, counted anew.
fn recount(store: &MemoryStore) -> u64 {
    store.0.shards.iter().map(|shard| shard.lock().recount()).sum()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    /// Whatever happens, the account is exact and never above the bound.
    #[test]
    fn the_account_is_exact(steps in proptest::collection::vec(step(), 1..120)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let store = MemoryStore::new(150_000);
            let mut tokens = std::collections::HashMap::new();
            for step in steps {
                match step {
                    Step::Put { key, size, ttl_ms } => {
                        let draft = draft(size, Duration::from_millis(ttl_ms));
                        let _ = store.put(&key_of(key), &draft, Condition::Always).await;
                    }
                    Step::PutIfAbsent { key, size } => {
                        let _ = store.put(&key_of(key), &draft(size, MINUTE), Condition::IfAbsent).await;
                    }
                    Step::Delete { key, hold_off_ms } => {
                        let _ = store.delete(&key_of(key), Duration::from_millis(hold_off_ms)).await;
                    }
                    Step::Increment { key } => {
                        let lifetime = draft(0, MINUTE).lifetime;
                        let increment = Increment { delta: 1, initial: 0, lifetime, version: Version::random() };
                        let _ = store.increment(&key_of(key), &increment).await;
                    }
                    Step::Touch { key, ttl_ms } => {
                        let lifetime = draft(0, Duration::from_millis(ttl_ms)).lifetime;
                        let _ = store.touch(&key_of(key), lifetime).await;
                    }
                    Step::Acquire { key } => {
                        let token = LeaseToken::random();
                        // Whatever is there is not good enough.
                        let ask = AcquireRequest { fresher_than: Timestamp(u64::MAX), ..ask(token) };
                        if let Ok(AcquireOutcome::Granted { .. }) = store.acquire(&key_of(key), &ask).await {
                            tokens.insert(key, token);
                        }
                    }
                    Step::Extend { key, ttl_ms } => {
                        if let Some(token) = tokens.get(&key) {
                            let _ = store.extend(&key_of(key), *token, Duration::from_millis(ttl_ms)).await;
                        }
                    }
                    Step::Confirm { key, tags, ttl_ms } => {
                        let stored = store.get(&key_of(key)).await.unwrap();
                        if let (Some(token), Some(entry)) = (tokens.get(&key), stored) {
                            let confirmation = confirmation(entry.version, Duration::from_millis(ttl_ms), tags);
                            let _ = store.revalidate(&key_of(key), *token, &confirmation).await;
                        }
                    }
                    Step::Fill { key, size } => {
                        if let Some(token) = tokens.get(&key) {
                            let _ = store.fill(&key_of(key), *token, &draft(size, MINUTE)).await;
                        }
                    }
                    Step::Abandon { key } => {
                        if let Some(token) = tokens.get(&key) {
                            let _ = store.abandon(&key_of(key), *token, Duration::from_millis(5), "cause").await;
                        }
                    }
                    Step::Invalidate { namespace: number } => {
                        store.invalidate(&namespace(&format!("n{number}"))).await.unwrap();
                    }
                    Step::Wait { ms } => tokio::time::sleep(Duration::from_millis(ms)).await,
                }
                prop_assert_eq!(store.snapshot().used_bytes, recount(&store));
                prop_assert!(store.snapshot().used_bytes <= 150_000);
            }
            tokio::time::advance(Duration::from_secs(200)).await;
            sweep().await;
            prop_assert_eq!(store.snapshot().used_bytes, 0);
            Ok(())
        })?;
    }
}

/// A fill under a lease that was granted before an invalidation is never read after it, however the two meet.
#[test]
fn a_fill_that_races_an_invalidation_is_never_read_after_it() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_time()
        .build()
        .unwrap();
    runtime.block_on(async {
        let store = MemoryStore::new(MIB);
        for round in 0..5_000 {
            let (at, token) = (key("a", "k"), LeaseToken::random());
            let granted = store.acquire(&at, &ask(token)).await.unwrap();
            assert!(
                matches!(granted, AcquireOutcome::Granted { .. }),
                "round {round}: {granted:?}"
            );
            let filling = {
                let (store, at) = (store.clone(), at.clone());
                tokio::spawn(
                    async move { store.fill(&at, token, &draft(1, MINUTE)).await.unwrap() },
                )
            };
            if round % 2 == 0 {
                store.invalidate(&namespace("a")).await.unwrap();
            } else {
                store.delete(&at, Duration::ZERO).await.unwrap();
            }
            let read = store.get(&at).await.unwrap();
            assert!(read.is_none(), "round {round}");
            filling.await.unwrap();
            assert!(store.get(&at).await.unwrap().is_none(), "round {round}, after the fill");
        }
    });
}

#[tokio::test(start_paused = true)]
async fn a_late_fill_is_told_why_also_after_the_sweeper_came_by() {
    let store = MemoryStore::new(MIB);
    let (at, token) = (key("a", "k"), LeaseToken::random());
    store.acquire(&at, &ask(token)).await.unwrap();
    store.invalidate(&namespace("a")).await.unwrap();
    sweep().await;
    assert_eq!(
        store.fill(&at, token, &draft(1, MINUTE)).await.unwrap(),
        Err(LeaseLoss::Invalidated)
    );
}

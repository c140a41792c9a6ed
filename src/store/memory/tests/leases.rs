//! Leases on every path: acquire, extend, fill, revalidate, discard, abandon, hold-off, voided.

use super::*;
use crate::store::{LeaseStatus, MAX_CAUSE_BYTES, RevalidateOutcome, key_watch::KeyWatch};

/// Status of the lease of a key, read by extending it.
async fn status(store: &MemoryStore, token: LeaseToken) -> LeaseStatus {
    store.extend(&key("k"), token, MINUTE).await.unwrap()
}

async fn fill(store: &MemoryStore, token: LeaseToken) -> LeaseStatus {
    store.fill(&key("k"), token, &new_entry(1, MINUTE)).await.unwrap()
}

async fn is_notified(watch: &KeyWatch) -> bool {
    tokio::time::timeout(MILLISECOND, watch.notified()).await.is_ok()
}

#[tokio::test(start_paused = true)]
async fn missing_key_is_leased_and_other_callers_learn_how_long() {
    let store = MemoryStore::new(MIB);
    let outcome = store.acquire(&key("k"), &lease_request(LeaseToken::random())).await.unwrap();
    assert!(matches!(outcome, AcquireOutcome::Granted { previous: None }), "{outcome:?}");
    advance(SECOND).await;
    let outcome = acquire_again(&store, &key("k")).await;
    let AcquireOutcome::Held { expires_in } = outcome else { panic!("{outcome:?}") };
    assert_eq!(expires_in, MINUTE - SECOND);
    assert!(is_granted(&acquire_again(&store, &key("other")).await));
}

#[tokio::test(start_paused = true)]
async fn fresh_entry_is_found_instead_of_a_lease() {
    let store = MemoryStore::new(MIB);
    store.put(&key("k"), &stale_after(SECOND), Condition::Always).await.unwrap();
    let fresh_until = get(&store, &key("k")).await.unwrap().fresh_until;
    let acquire_fresher_than = async |fresher_than| {
        let token = LeaseToken::random();
        let request = AcquireRequest { fresher_than, ..lease_request(token) };
        let outcome = store.acquire(&key("k"), &request).await.unwrap();
        store.abandon(&key("k"), token, Duration::ZERO, "").await.unwrap();
        outcome
    };
    let found = acquire_fresher_than(Timestamp(fresh_until.0 - 1)).await;
    assert!(matches!(found, AcquireOutcome::Found(_)), "{found:?}");
    let granted = acquire_fresher_than(fresh_until).await;
    assert!(matches!(granted, AcquireOutcome::Granted { previous: Some(_) }), "{granted:?}");
    advance(999 * MILLISECOND).await;
    let found = acquire_fresher_than(Timestamp(0)).await;
    assert!(matches!(found, AcquireOutcome::Found(_)), "{found:?}");
    advance(MILLISECOND).await;
    let granted = acquire_fresher_than(Timestamp(0)).await;
    assert!(matches!(granted, AcquireOutcome::Granted { previous: Some(_) }), "{granted:?}");
}

#[tokio::test(start_paused = true)]
async fn lease_expires_exactly_at_its_end() {
    let store = MemoryStore::new(MIB);
    let token = acquire(&store, &key("k")).await;
    advance(MINUTE - MILLISECOND).await;
    assert_eq!(
        store.discard(&key("other"), token, Duration::ZERO, "").await.unwrap(),
        Err(LeaseLoss::Expired)
    );
    let outcome = acquire_again(&store, &key("k")).await;
    assert!(matches!(outcome, AcquireOutcome::Held { expires_in: MILLISECOND }), "{outcome:?}");
    advance(MILLISECOND).await;
    assert_eq!(fill(&store, token).await, Err(LeaseLoss::Expired));
    assert!(is_granted(&acquire_again(&store, &key("k")).await));
}

#[tokio::test(start_paused = true)]
async fn lease_is_held_for_as_long_as_it_is_extended() {
    let store = MemoryStore::new(MIB);
    let token = acquire(&store, &key("k")).await;
    for _ in 0..5 {
        advance(MINUTE * 3 / 4).await;
        assert_eq!(status(&store, token).await, Ok(()));
        assert_eq!(status(&store, LeaseToken::random()).await, Err(LeaseLoss::Expired));
    }
    advance(MINUTE).await;
    assert_eq!(status(&store, token).await, Err(LeaseLoss::Expired));
}

#[tokio::test(start_paused = true)]
async fn fill_stores_the_entry_and_ends_the_lease() {
    let store = MemoryStore::new(MIB);
    let token = acquire(&store, &key("k")).await;
    let watch = store.watch_lease(&key("k"));
    assert_eq!(fill(&store, LeaseToken::random()).await, Err(LeaseLoss::Expired));
    assert!(!exists(&store, &key("k")).await);
    assert!(!is_notified(&watch).await);
    assert_eq!(fill(&store, token).await, Ok(()));
    assert!(exists(&store, &key("k")).await);
    assert!(is_notified(&watch).await);
    assert_eq!(fill(&store, token).await, Err(LeaseLoss::Expired));
}

#[tokio::test(start_paused = true)]
async fn writes_void_the_lease() {
    for (loss, write) in [(LeaseLoss::Superseded, true), (LeaseLoss::Invalidated, false)] {
        let store = MemoryStore::new(MIB);
        let token = acquire(&store, &key("k")).await;
        let watch = store.watch_lease(&key("k"));
        if write {
            put(&store, &key("k"), 1).await.unwrap();
        } else {
            store.delete(&key("k"), Duration::ZERO).await.unwrap();
        }
        assert!(is_notified(&watch).await);
        assert_eq!(status(&store, token).await, Err(loss));
        assert_eq!(fill(&store, token).await, Err(loss));
        assert_eq!(store.discard(&key("k"), token, Duration::ZERO, "").await.unwrap(), Err(loss));
        assert_eq!(status(&store, LeaseToken::random()).await, Err(LeaseLoss::Expired));
        assert!(!store.abandon(&key("k"), token, MINUTE, "").await.unwrap());
        advance(MINUTE).await;
        assert_eq!(fill(&store, token).await, Err(LeaseLoss::Expired), "the record expires");
    }
}

#[tokio::test(start_paused = true)]
async fn voided_lease_is_granted_again_at_once() {
    let store = MemoryStore::new(MIB);
    let old = acquire(&store, &key("k")).await;
    store.delete(&key("k"), Duration::ZERO).await.unwrap();
    let new = acquire(&store, &key("k")).await;
    assert_eq!(fill(&store, old).await, Err(LeaseLoss::Expired));
    assert_eq!(fill(&store, new).await, Ok(()));
}

#[tokio::test(start_paused = true)]
async fn refused_writes_and_later_writes_do_not_change_the_loss() {
    let store = MemoryStore::new(MIB);
    let token = acquire(&store, &key("k")).await;
    let refused = store.put(&key("k"), &new_entry(1, MINUTE), Condition::IfPresent).await.unwrap();
    assert_eq!(refused, PutOutcome::ConditionNotMet);
    assert_eq!(status(&store, token).await, Ok(()), "a refused write does not void the lease");
    put(&store, &key("k"), 1).await.unwrap();
    store.delete(&key("k"), Duration::ZERO).await.unwrap();
    assert_eq!(status(&store, token).await, Err(LeaseLoss::Superseded), "the first loss counts");
}

#[tokio::test(start_paused = true)]
async fn invalidated_namespace_voids_its_leases() {
    let store = MemoryStore::new(MIB);
    let token = acquire(&store, &key("k")).await;
    let watch = store.watch_lease(&key("k"));
    store.invalidate(&namespace("a")).await.unwrap();
    assert!(is_notified(&watch).await);
    assert_eq!(fill(&store, token).await, Err(LeaseLoss::Invalidated));
    assert!(!exists(&store, &key("k")).await);
    sweep().await;
    assert_eq!(fill(&store, token).await, Err(LeaseLoss::Invalidated), "after a sweep as well");
    assert!(is_granted(&acquire_again(&store, &key("k")).await));
}

#[tokio::test(start_paused = true)]
async fn discard_removes_the_entry_and_ends_the_lease() {
    let store = MemoryStore::new(MIB);
    put(&store, &key("k"), 1).await.unwrap();
    let token = acquire(&store, &key("k")).await;
    let watch = store.watch_lease(&key("k"));
    let other = store.discard(&key("k"), LeaseToken::random(), Duration::ZERO, "").await.unwrap();
    assert_eq!(other, Err(LeaseLoss::Expired));
    assert!(exists(&store, &key("k")).await);
    assert_eq!(store.discard(&key("k"), token, Duration::ZERO, "").await.unwrap(), Ok(()));
    assert!(!exists(&store, &key("k")).await);
    assert!(is_notified(&watch).await);
    assert_eq!(status(&store, token).await, Err(LeaseLoss::Expired));
}

#[tokio::test(start_paused = true)]
async fn discard_with_a_back_off_grants_no_lease_until_it_ends() {
    let store = MemoryStore::new(MIB);
    put(&store, &key("k"), 1).await.unwrap();
    let token = acquire(&store, &key("k")).await;
    let watch = store.watch_lease(&key("k"));
    assert_eq!(store.discard(&key("k"), token, 10 * SECOND, "gone").await.unwrap(), Ok(()));
    assert!(is_notified(&watch).await && !exists(&store, &key("k")).await);
    let outcome = acquire_again(&store, &key("k")).await;
    let AcquireOutcome::BackedOff { remaining, previous: None, cause } = outcome else {
        panic!("{outcome:?}")
    };
    assert_eq!((remaining, &*cause), (10 * SECOND, "gone"));
    advance(10 * SECOND).await;
    assert!(is_granted(&acquire_again(&store, &key("k")).await));
}

#[tokio::test(start_paused = true)]
async fn abandoned_lease_is_granted_again_at_once() {
    let store = MemoryStore::new(MIB);
    let token = acquire(&store, &key("k")).await;
    let watch = store.watch_lease(&key("k"));
    assert!(!store.abandon(&key("k"), LeaseToken::random(), Duration::ZERO, "").await.unwrap());
    assert!(store.abandon(&key("k"), token, Duration::ZERO, "").await.unwrap());
    assert!(is_notified(&watch).await);
    assert!(!store.abandon(&key("k"), token, Duration::ZERO, "").await.unwrap());
    assert!(is_granted(&acquire_again(&store, &key("k")).await));
}

#[tokio::test(start_paused = true)]
async fn back_off_grants_no_lease_until_it_ends() {
    let store = MemoryStore::new(MIB);
    store.put(&key("k"), &stale_after(SECOND), Condition::Always).await.unwrap();
    let token = acquire(&store, &key("k")).await;
    let watch = store.watch_lease(&key("k"));
    advance(2 * SECOND).await;
    let cause = "x".repeat(MAX_CAUSE_BYTES + 1);
    assert!(store.abandon(&key("k"), token, 10 * SECOND, &cause).await.unwrap());
    assert!(is_notified(&watch).await);
    let outcome = acquire_again(&store, &key("k")).await;
    let AcquireOutcome::BackedOff { remaining, previous, cause } = outcome else {
        panic!("{outcome:?}")
    };
    assert_eq!((remaining, cause.len()), (10 * SECOND, MAX_CAUSE_BYTES));
    assert!(previous.is_some());
    assert_eq!(status(&store, token).await, Err(LeaseLoss::Expired));
    advance(10 * SECOND - MILLISECOND).await;
    let outcome = acquire_again(&store, &key("k")).await;
    assert!(matches!(outcome, AcquireOutcome::BackedOff { .. }), "{outcome:?}");
    advance(MILLISECOND).await;
    assert!(is_granted(&acquire_again(&store, &key("k")).await));
}

#[tokio::test(start_paused = true)]
async fn invalidation_ends_a_back_off() {
    let store = MemoryStore::new(MIB);
    let token = acquire(&store, &key("k")).await;
    store.abandon(&key("k"), token, 10 * SECOND, "cause").await.unwrap();
    store.invalidate(&namespace("a")).await.unwrap();
    assert!(is_granted(&acquire_again(&store, &key("k")).await));
}

#[tokio::test(start_paused = true)]
async fn hold_off_accepts_no_fill_until_it_ends() {
    let store = MemoryStore::new(MIB);
    let token = acquire(&store, &key("k")).await;
    store.delete(&key("k"), 10 * SECOND).await.unwrap();
    assert_eq!(fill(&store, token).await, Err(LeaseLoss::Invalidated));
    assert_eq!(fill(&store, LeaseToken::random()).await, Err(LeaseLoss::Invalidated));
    store.invalidate(&namespace("a")).await.unwrap();
    advance(10 * SECOND - MILLISECOND).await;
    let outcome = acquire_again(&store, &key("k")).await;
    assert!(matches!(outcome, AcquireOutcome::HeldOff { remaining: MILLISECOND }), "{outcome:?}");
    advance(MILLISECOND).await;
    assert!(is_granted(&acquire_again(&store, &key("k")).await));
}

#[tokio::test(start_paused = true)]
async fn shorter_hold_off_does_not_end_a_longer_one() {
    let store = MemoryStore::new(MIB);
    for hold_off in [MINUTE, SECOND] {
        store.delete(&key("k"), hold_off).await.unwrap();
    }
    let outcome = acquire_again(&store, &key("k")).await;
    assert!(matches!(outcome, AcquireOutcome::HeldOff { remaining: MINUTE }), "{outcome:?}");
    store.delete(&key("k"), 2 * MINUTE).await.unwrap();
    let outcome = acquire_again(&store, &key("k")).await;
    let AcquireOutcome::HeldOff { remaining } = outcome else { panic!("{outcome:?}") };
    assert_eq!(remaining, 2 * MINUTE);
}

#[tokio::test(start_paused = true)]
async fn hold_off_replaces_a_longer_lease() {
    let store = MemoryStore::new(MIB);
    acquire(&store, &key("k")).await;
    store.delete(&key("k"), SECOND).await.unwrap();
    let outcome = acquire_again(&store, &key("k")).await;
    assert!(matches!(outcome, AcquireOutcome::HeldOff { remaining: SECOND }), "{outcome:?}");
}

#[tokio::test(start_paused = true)]
async fn revalidated_entry_gets_a_new_lifetime_and_new_tags() {
    let store = MemoryStore::new(MIB);
    put(&store, &key("k"), 100).await.unwrap();
    let written = get(&store, &key("k")).await.unwrap();
    advance(MINUTE / 2).await;
    let token = acquire(&store, &key("k")).await;
    let watch = store.watch_lease(&key("k"));
    let revalidation = revalidation(written.version, 2 * MINUTE, &["a", "b"]);
    let outcome = store.revalidate(&key("k"), token, &revalidation).await.unwrap();
    assert_eq!(outcome, RevalidateOutcome::Revalidated);
    assert!(is_notified(&watch).await);
    let now = Timestamp(written.created_at.0 + 30_000);
    let expected = Entry {
        created_at: now,
        fresh_until: now.after(2 * MINUTE),
        tags: revalidation.tags.clone(),
        fetch_metadata: Some(revalidation.fetch_metadata.clone()),
        ..written
    };
    assert_eq!(get(&store, &key("k")).await, Some(expected.clone()));
    let tagged = NewEntry {
        tags: expected.tags.clone(),
        fetch_metadata: expected.fetch_metadata.clone(),
        ..new_entry(100, MINUTE)
    };
    assert_eq!(used(&store), cost_of(&key("k"), &tagged));
    let again = store.revalidate(&key("k"), token, &revalidation).await.unwrap();
    assert_eq!(again, RevalidateOutcome::LeaseLost(LeaseLoss::Expired), "the lease has ended");
}

#[tokio::test(start_paused = true)]
async fn revalidation_of_another_version_keeps_the_lease() {
    let store = MemoryStore::new(MIB);
    let token = acquire(&store, &key("k")).await;
    let other = revalidation(Version(1), MINUTE, &[]);
    let outcome = store.revalidate(&key("k"), token, &other).await.unwrap();
    assert_eq!(outcome, RevalidateOutcome::Gone, "no entry");
    assert_eq!(fill(&store, token).await, Ok(()));
    let token = acquire(&store, &key("k")).await;
    let outcome = store.revalidate(&key("k"), token, &other).await.unwrap();
    assert_eq!(outcome, RevalidateOutcome::Gone, "another version");
    assert_eq!(status(&store, token).await, Ok(()));
}

#[tokio::test(start_paused = true)]
async fn revalidation_after_a_delete_is_refused() {
    let store = MemoryStore::new(MIB);
    put(&store, &key("k"), 1).await.unwrap();
    let version = get(&store, &key("k")).await.unwrap().version;
    let token = acquire(&store, &key("k")).await;
    store.delete(&key("k"), Duration::ZERO).await.unwrap();
    let outcome =
        store.revalidate(&key("k"), token, &revalidation(version, MINUTE, &[])).await.unwrap();
    assert_eq!(outcome, RevalidateOutcome::LeaseLost(LeaseLoss::Invalidated));
    assert!(!exists(&store, &key("k")).await);
}

#[tokio::test(start_paused = true)]
async fn expired_lease_notifies_its_watch_at_the_next_sweep() {
    let store = MemoryStore::new(MIB);
    acquire(&store, &key("k")).await;
    let watch = store.watch_lease(&key("k"));
    advance(MINUTE - SECOND).await;
    assert!(!is_notified(&watch).await);
    advance(SECOND).await;
    sweep().await;
    assert!(is_notified(&watch).await);
}

/// A fill under a lease from before an invalidation is never read after it, in any interleaving.
#[test]
fn fill_that_races_an_invalidation_is_never_read_after_it() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_time()
        .build()
        .unwrap();
    runtime.block_on(async {
        let store = MemoryStore::new(MIB);
        for round in 0..5_000 {
            let token = acquire(&store, &key("k")).await;
            let filling = tokio::spawn({
                let store = store.clone();
                async move { fill(&store, token).await }
            });
            if round % 2 == 0 {
                store.invalidate(&namespace("a")).await.unwrap();
            } else {
                store.delete(&key("k"), Duration::ZERO).await.unwrap();
            }
            assert!(!exists(&store, &key("k")).await, "round {round}");
            let _ = filling.await.unwrap();
            assert!(!exists(&store, &key("k")).await, "round {round}, after the fill");
        }
    });
}

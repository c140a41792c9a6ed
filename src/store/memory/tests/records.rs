//! The limit of leases and hold-offs.

use super::*;

const LIMIT: u64 = MIB / 8;

/// Deletes absent keys of a namespace with a hold-off of an hour.
async fn hold_off(store: &MemoryStore, namespace: &str, keys: u64) {
    for number in 0..keys {
        let key = key_in(namespace, &number.to_string());
        store.delete(&key, 60 * MINUTE).await.unwrap();
    }
}

/// Asks for leases of a namespace until one is refused. Returns how many were granted.
async fn lease_all(store: &MemoryStore, namespace: &str) -> u64 {
    for number in 0.. {
        let key = key_in(namespace, &number.to_string());
        match store.acquire(&key, &lease_request(LeaseToken::random())).await {
            Ok(AcquireOutcome::Granted { .. }) => {}
            Err(error) if error.kind == ErrorKind::Full => return number,
            other => panic!("{other:?}"),
        }
    }
    0
}

fn records(store: &MemoryStore) -> (u64, u64, u64) {
    let records = store.lease_records();
    (records.used_bytes, records.refused_leases, records.widened_hold_offs)
}

#[tokio::test(start_paused = true)]
async fn hold_offs_beyond_the_limit_evict_nothing_and_hold_off_their_namespace() {
    let store = MemoryStore::new(MIB);
    let entry = key_in("b", "entry");
    put(&store, &entry, MIB as usize / 2).await.unwrap();
    let most = LIMIT / 2 / HOLD_OFF_BYTES;
    hold_off(&store, "a", most).await;
    assert_eq!(records(&store), (most * HOLD_OFF_BYTES, 0, 0));
    let other = key_in("a", "other");
    store.acquire(&other, &lease_request(LeaseToken::random())).await.unwrap_err();
    assert_eq!(records(&store), (most * HOLD_OFF_BYTES, 1, 0), "no lease can be recorded");
    hold_off(&store, "a", 10_000).await;
    assert_eq!(records(&store).2, 1, "the first one that is not recorded covers the others");
    assert!(records(&store).0 <= LIMIT / 2 && exists(&store, &entry).await);
    assert_eq!(store.snapshot().evicted_keys, 0);
    for held_off in ["9999", "other"] {
        let outcome = acquire_again(&store, &key_in("a", held_off)).await;
        assert!(matches!(outcome, AcquireOutcome::HeldOff { .. }), "{held_off}: {outcome:?}");
    }
    assert!(is_granted(&acquire_again(&store, &key_in("b", "other")).await));
    put(&store, &other, 1).await.unwrap();
    assert!(exists(&store, &other).await, "writes without a lease are not held off");
    sweep().await;
    assert_eq!(records(&store).0, lease_cost(&other), "covered hold-offs are forgotten");
    assert!(matches!(acquire_again(&store, &key("0")).await, AcquireOutcome::HeldOff { .. }));
}

#[tokio::test(start_paused = true)]
async fn hold_off_of_a_namespace_ends_with_the_last_one() {
    let store = MemoryStore::new(MIB);
    hold_off(&store, "a", 2_000).await;
    advance(60 * MINUTE - MILLISECOND).await;
    let outcome = acquire_again(&store, &key("other")).await;
    assert!(matches!(outcome, AcquireOutcome::HeldOff { remaining: MILLISECOND }), "{outcome:?}");
    advance(MILLISECOND).await;
    sweep().await;
    assert_eq!((store.snapshot().used_bytes, records(&store).0), (0, 0));
    assert!(is_granted(&acquire_again(&store, &key("other")).await));
}

#[tokio::test(start_paused = true)]
async fn known_hold_off_is_extended_without_a_new_record() {
    let store = MemoryStore::new(MIB);
    hold_off(&store, "a", LIMIT / 2 / HOLD_OFF_BYTES).await;
    store.delete(&key("0"), 120 * MINUTE).await.unwrap();
    assert_eq!(records(&store).2, 0);
    let outcome = acquire_again(&store, &key("0")).await;
    let AcquireOutcome::HeldOff { remaining } = outcome else { panic!("{outcome:?}") };
    assert_eq!(remaining, 120 * MINUTE);
}

#[tokio::test(start_paused = true)]
async fn fill_is_refused_after_a_delete_whose_hold_off_was_not_recorded() {
    let store = MemoryStore::new(MIB);
    hold_off(&store, "a", LIMIT / 2 / HOLD_OFF_BYTES - 10).await;
    let token = acquire(&store, &key("k")).await;
    hold_off(&store, "a", 2_000).await;
    assert!(records(&store).2 > 0);
    store.delete(&key("k"), SECOND).await.unwrap();
    let fill = store.fill(&key("k"), token, &new_entry(1, MINUTE)).await.unwrap();
    assert_eq!(fill, Err(LeaseLoss::Invalidated));
    assert!(matches!(acquire_again(&store, &key("k")).await, AcquireOutcome::HeldOff { .. }));
}

#[tokio::test(start_paused = true)]
async fn one_namespace_cannot_take_all_leases() {
    let store = MemoryStore::new(MIB);
    let first = lease_all(&store, "a").await;
    let second = lease_all(&store, "b").await;
    let cost = lease_cost(&key("100"));
    assert!((LIMIT / 2 - 2 * cost..=LIMIT / 2).contains(&(first * cost)), "{first}");
    assert!(second >= first / 2 - 1 && second <= first, "{second}");
    assert_eq!(records(&store).1, 2);
}

#[tokio::test(start_paused = true)]
async fn found_and_held_keys_need_no_new_lease() {
    let store = MemoryStore::new(MIB);
    put(&store, &key("fresh"), 1).await.unwrap();
    let leases = lease_all(&store, "a").await;
    assert!(matches!(acquire_again(&store, &key("fresh")).await, AcquireOutcome::Found(_)));
    assert!(matches!(acquire_again(&store, &key("0")).await, AcquireOutcome::Held { .. }));
    advance(MINUTE).await;
    sweep().await;
    assert_eq!(lease_all(&store, "a").await, leases, "expired leases are forgotten");
}

#[tokio::test(start_paused = true)]
async fn leases_of_an_invalidated_namespace_are_freed_and_hold_offs_kept() {
    let store = MemoryStore::new(MIB);
    let token = acquire(&store, &key("k")).await;
    hold_off(&store, "a", 10).await;
    lease_all(&store, "b").await;
    store.invalidate(&namespace("a")).await.unwrap();
    store.invalidate(&namespace("b")).await.unwrap();
    sweep().await;
    assert_eq!(records(&store).0, 10 * HOLD_OFF_BYTES);
    assert_eq!(used(&store), 10 * HOLD_OFF_BYTES);
    let fill = async || store.fill(&key("k"), token, &new_entry(1, MINUTE)).await.unwrap();
    assert_eq!(fill().await, Err(LeaseLoss::Invalidated), "the namespace remembers why");
    assert!(matches!(acquire_again(&store, &key("0")).await, AcquireOutcome::HeldOff { .. }));
    advance(MINUTE).await;
    assert_eq!(fill().await, Err(LeaseLoss::Expired));
}

#[tokio::test(start_paused = true)]
async fn sweep_of_many_records_yields() {
    let store = MemoryStore::new(64 * MIB);
    for number in 0..20_000 {
        store.delete(&key(&number.to_string()), SECOND).await.unwrap();
    }
    advance(2 * SECOND).await;
    let mut sweeping = std::pin::pin!(store.0.sweep_leases(0));
    let mut yields = 0;
    while futures_util::poll!(&mut sweeping).is_pending() {
        yields += 1;
    }
    assert!(yields >= 1, "{yields}");
    sweep().await;
    assert_eq!(store.snapshot().used_bytes, 0);
}

#[tokio::test(start_paused = true)]
async fn hold_offs_of_many_namespaces_keep_a_part_of_the_memory_and_then_hold_off_all() {
    let ban = |hold_off| Ban { tags: vec!["t".to_owned()], hold_off, ..Ban::default() };
    for by_ban in [false, true] {
        let store = MemoryStore::new(MIB);
        let entry = key_in("kept", "entry");
        put(&store, &entry, MIB as usize / 2).await.unwrap();
        for number in 0..20_000 {
            let key = key_in(&format!("n{number}"), "k");
            if by_ban {
                let limits = BanLimits { max_tags: 10, max_globs: 10, longest_lifetime: MINUTE };
                store.ban(key.namespace(), &ban(60 * MINUTE), &limits).await.unwrap();
            } else {
                store.delete(&key, 60 * MINUTE).await.unwrap();
            }
        }
        sweep().await;
        assert!(used(&store) <= MIB * 7 / 8, "{}", used(&store));
        assert_eq!(store.snapshot().evicted_keys, 0);
        assert!(exists(&store, &entry).await);
        assert!(records(&store).2 > 0);
        for held_off in ["n0", "n19999", "another"] {
            let outcome = acquire_again(&store, &key_in(held_off, "k")).await;
            let is_held_off = matches!(outcome, AcquireOutcome::HeldOff { .. });
            assert!(is_held_off || (by_ban && held_off == "n0"), "{held_off}: {outcome:?}");
        }
        put(&store, &entry, 1).await.unwrap();
    }
}

//! Bans: tags and patterns.

use super::*;
use crate::{
    model::Glob,
    store::{LeaseStatus, RevalidateOutcome},
};

pub(super) const LIMITS: BanLimits =
    BanLimits { max_tags: 100, max_globs: 10, longest_lifetime: Duration::from_secs(3600) };

pub(super) fn tag_ban(tags: &[&str]) -> Ban {
    Ban { tags: tags.iter().map(ToString::to_string).collect(), ..Ban::default() }
}

pub(super) fn glob_ban(glob: &str) -> Ban {
    Ban { globs: vec![Glob::new(glob).unwrap()], ..Ban::default() }
}

fn held(hold_off: Duration, ban: Ban) -> Ban {
    Ban { hold_off, ..ban }
}

pub(super) fn tagged(tags: &[&str]) -> NewEntry {
    NewEntry { tags: tags.iter().map(ToString::to_string).collect(), ..new_entry(1, MINUTE) }
}

async fn put_tagged(store: &MemoryStore, name: &str, tags: &[&str]) {
    let outcome = store.put(&key(name), &tagged(tags), Condition::Always).await.unwrap();
    assert_eq!(outcome, PutOutcome::Stored);
}

async fn ban(store: &MemoryStore, ban: &Ban) {
    let outcome = store.ban(&namespace("a"), ban, &LIMITS).await.unwrap();
    assert_eq!(outcome, BanOutcome::Banned);
}

async fn fill(store: &MemoryStore, name: &str, token: LeaseToken, tags: &[&str]) -> LeaseStatus {
    store.fill(&key(name), token, &tagged(tags)).await.unwrap()
}

const INVALIDATED: LeaseStatus = Err(LeaseLoss::Invalidated);

/// Number of bans that the namespace keeps: tags and patterns.
fn kept(store: &MemoryStore) -> (usize, usize) {
    let state = store.0.generations.state(&namespace("a"));
    let bans = state.as_ref().and_then(|state| state.bans());
    bans.map_or((0, 0), |bans| {
        let bans = bans.read();
        (bans.table().tag_count(), bans.table().glob_count())
    })
}

#[tokio::test(start_paused = true)]
async fn a_ban_hides_the_entries_that_match_and_no_others() {
    let store = MemoryStore::new(MIB);
    put_tagged(&store, "one", &["x", "y"]).await;
    put_tagged(&store, "two", &["z"]).await;
    put_tagged(&store, "user:1:a", &[]).await;
    put_tagged(&store, "user:2:a", &[]).await;
    let other = key_in("b", "user:1:a");
    store.put(&other, &tagged(&["y"]), Condition::Always).await.unwrap();

    ban(&store, &tag_ban(&["y", "unknown"])).await;
    assert!(!exists(&store, &key("one")).await && exists(&store, &key("two")).await);
    ban(&store, &glob_ban("user:1:*")).await;
    assert!(!exists(&store, &key("user:1:a")).await && exists(&store, &key("user:2:a")).await);
    assert!(exists(&store, &other).await, "another namespace");

    put_tagged(&store, "one", &["y"]).await;
    put_tagged(&store, "user:1:a", &[]).await;
    assert!(exists(&store, &key("one")).await && exists(&store, &key("user:1:a")).await);
}

#[tokio::test(start_paused = true)]
async fn a_ban_visits_no_entry() {
    let store = MemoryStore::new(MIB);
    put_tagged(&store, "k", &["x"]).await;
    let shards: Vec<_> = store.0.shards.iter().map(Mutex::lock).collect();
    let (name, both) = (namespace("a"), Ban { tags: vec!["x".to_owned()], ..glob_ban("z*") });
    let new = NewBan { namespace: &name, ban: &both, limits: &LIMITS };
    let outcome = store.0.generations.ban(new, store.now(), &store.0.budget);
    assert_eq!(outcome, BanOutcome::Banned);
    drop(shards);
    assert!(!exists(&store, &key("k")).await);
}

#[tokio::test(start_paused = true)]
async fn keys_with_params_match_by_their_key_alone() {
    let store = MemoryStore::new(MIB);
    let with_params = EntryKey::new(namespace("a"), "k", [("p", "1")].into_iter()).unwrap();
    store.put(&with_params, &tagged(&[]), Condition::Always).await.unwrap();
    ban(&store, &glob_ban("?")).await;
    assert!(!exists(&store, &with_params).await);
}

#[tokio::test(start_paused = true)]
async fn a_checked_entry_is_not_checked_again() {
    let store = MemoryStore::new(MIB);
    put_tagged(&store, "k", &["x"]).await;
    let elder = store.0.generation(&namespace("a"));
    ban(&store, &tag_ban(&["y"])).await;
    assert!(!elder.is_current() && !elder.is_ended());
    assert_eq!(Arc::strong_count(&elder), 2, "of the entry and of the test");
    assert!(exists(&store, &key("k")).await);
    assert_eq!(Arc::strong_count(&elder), 1);
}

#[tokio::test(start_paused = true)]
async fn a_banned_entry_counts_as_missing_everywhere() {
    let store = MemoryStore::new(MIB);
    let k = key("k");
    let banned = async || {
        put_tagged(&store, "k", &["x"]).await;
        let version = get(&store, &k).await.unwrap().version;
        ban(&store, &tag_ban(&["x"])).await;
        version
    };
    let put = async |condition| store.put(&k, &tagged(&[]), condition).await.unwrap();
    let version = banned().await;
    assert_eq!(put(Condition::IfPresent).await, PutOutcome::ConditionNotMet);
    assert_eq!(put(Condition::IfVersion(version)).await, PutOutcome::ConditionNotMet);
    assert_eq!(put(Condition::IfAbsent).await, PutOutcome::Stored);
    banned().await;
    assert!(!store.touch(&k, lifetime(MINUTE)).await.unwrap());
    assert!(!store.delete(&k, Duration::ZERO).await.unwrap());
    banned().await;
    assert!(is_granted(&acquire_again(&store, &k).await));
    banned().await;
    assert!(store.get_many(std::slice::from_ref(&k)).await.unwrap()[0].clone().unwrap().is_none());

    let increment = Increment {
        delta: 1,
        initial: Some(10),
        lifetime: lifetime(MINUTE),
        version: Version::random(),
    };
    let sum = async || match store.increment(&key("n1"), &increment).await.unwrap() {
        IncrementOutcome::Sum { value, .. } => value,
        IncrementOutcome::NotAnInteger | IncrementOutcome::Overflow | IncrementOutcome::Missing => {
            panic!("no sum")
        }
    };
    assert_eq!((sum().await, sum().await), (11, 12));
    ban(&store, &glob_ban("n[0-9]")).await;
    assert_eq!(sum().await, 11);
}

#[tokio::test(start_paused = true)]
async fn a_fill_from_before_a_matching_ban_is_refused() {
    let store = MemoryStore::new(MIB);
    let (by_tag, by_key, other) =
        (acquire(&store, &key("t")).await, acquire(&store, &key("g")).await, key("o"));
    let unaffected = acquire(&store, &other).await;
    ban(&store, &tag_ban(&["x"])).await;
    ban(&store, &glob_ban("g*")).await;
    assert_eq!(fill(&store, "t", by_tag, &["w", "x"]).await, INVALIDATED);
    assert_eq!(fill(&store, "g", by_key, &[]).await, INVALIDATED);
    assert_eq!(fill(&store, "o", unaffected, &["w"]).await, Ok(()));
    assert!(exists(&store, &other).await);
    assert!(!exists(&store, &key("t")).await && !exists(&store, &key("g")).await);

    for name in ["t", "g"] {
        let token = acquire(&store, &key(name)).await;
        assert_eq!(fill(&store, name, token, &["x"]).await, Ok(()), "a lease from after the ban");
        assert!(exists(&store, &key(name)).await);
    }
}

#[tokio::test(start_paused = true)]
async fn the_lease_of_a_banned_key_ends_at_once_and_that_of_a_tag_at_its_fill() {
    let store = MemoryStore::new(MIB);
    let (by_tag, by_key) = (acquire(&store, &key("t")).await, acquire(&store, &key("g")).await);
    let ended = store.watch_lease(&key("g"));
    ban(&store, &Ban { tags: vec!["x".to_owned()], ..glob_ban("g") }).await;
    tokio::time::timeout(SECOND, ended.notified()).await.unwrap();
    assert_eq!(store.extend(&key("g"), by_key, MINUTE).await.unwrap(), INVALIDATED);
    assert!(is_granted(&acquire_again(&store, &key("g")).await));

    assert_eq!(store.extend(&key("t"), by_tag, MINUTE).await.unwrap(), Ok(()));
    assert!(matches!(acquire_again(&store, &key("t")).await, AcquireOutcome::Held { .. }));
    let ended = store.watch_lease(&key("t"));
    assert_eq!(fill(&store, "t", by_tag, &["x"]).await, INVALIDATED);
    tokio::time::timeout(SECOND, ended.notified()).await.unwrap();
    assert!(is_granted(&acquire_again(&store, &key("t")).await), "the refused fill ends it");
}

#[tokio::test(start_paused = true)]
async fn a_revalidation_is_refused_by_its_new_tags_and_by_newer_bans_only() {
    let store = MemoryStore::new(MIB);
    let k = key("k");
    put_tagged(&store, "k", &["old"]).await;
    let version = get(&store, &k).await.unwrap().version;
    // Before the lease: the tag is not one of the entry at that time.
    ban(&store, &tag_ban(&["early"])).await;
    let token = acquire(&store, &k).await;
    ban(&store, &tag_ban(&["late"])).await;
    let revalidate = async |token, tags: &[&str]| {
        store.revalidate(&k, token, &revalidation(version, MINUTE, tags)).await.unwrap()
    };
    let lost = RevalidateOutcome::LeaseLost(LeaseLoss::Invalidated);
    assert_eq!(revalidate(token, &["late"]).await, lost);
    let token = acquire(&store, &k).await;
    assert_eq!(revalidate(token, &["early", "late"]).await, RevalidateOutcome::Revalidated);
    assert!(exists(&store, &k).await);
    let token = acquire(&store, &k).await;
    ban(&store, &tag_ban(&["late"])).await;
    assert_eq!(revalidate(token, &[]).await, RevalidateOutcome::Gone, "the entry is banned");
}

#[tokio::test(start_paused = true)]
async fn a_hold_off_refuses_fills_of_what_is_banned_until_it_ends() {
    let store = MemoryStore::new(MIB);
    ban(&store, &held(10 * SECOND, tag_ban(&["x"]))).await;
    ban(&store, &held(5 * SECOND, glob_ban("g*"))).await;
    let outcome = acquire_again(&store, &key("g")).await;
    let AcquireOutcome::HeldOff { remaining } = outcome else { panic!("{outcome:?}") };
    assert_eq!(remaining, 5 * SECOND);
    let token = acquire(&store, &key("t")).await;
    assert_eq!(fill(&store, "t", token, &["x"]).await, INVALIDATED);
    let token = acquire(&store, &key("t")).await;
    assert_eq!(fill(&store, "t", token, &["y"]).await, Ok(()));
    // A write without a lease is stored.
    put_tagged(&store, "g", &["x"]).await;
    assert!(exists(&store, &key("g")).await);

    // The sweeper drops neither.
    tokio::time::sleep(4 * SECOND).await;
    assert_eq!(kept(&store), (1, 1));
    tokio::time::sleep(2 * SECOND).await;
    let token = acquire(&store, &key("g")).await;
    assert_eq!(fill(&store, "g", token, &["x"]).await, INVALIDATED, "the tag is held off longer");
    tokio::time::sleep(5 * SECOND).await;
    let token = acquire(&store, &key("g")).await;
    assert_eq!(fill(&store, "g", token, &["x"]).await, Ok(()));
    assert_eq!(kept(&store), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_hold_off_outlives_an_invalidation_and_the_last_entry() {
    let store = MemoryStore::new(MIB);
    ban(&store, &held(MINUTE, tag_ban(&["x"]))).await;
    store.invalidate(&namespace("a")).await.unwrap();
    put_tagged(&store, "k", &["x"]).await;
    assert!(exists(&store, &key("k")).await, "an entry after the ban is valid");
    store.invalidate(&namespace("a")).await.unwrap();
    sweep().await;
    let token = acquire(&store, &key("k")).await;
    assert_eq!(fill(&store, "k", token, &["x"]).await, INVALIDATED);
    ban(&store, &tag_ban(&["later"])).await;
    assert_eq!(kept(&store), (2, 0));
    tokio::time::sleep(2 * MINUTE).await;
    assert!(store.0.generations.state(&namespace("a")).is_none(), "nothing is left to remember");
    assert_eq!(store.snapshot().used_bytes, 0);
}

#[tokio::test(start_paused = true)]
async fn more_bans_than_the_limits_invalidate_the_namespace() {
    let store = MemoryStore::new(MIB);
    let limits = BanLimits { max_tags: 2, max_globs: 1, ..LIMITS };
    let ban = async |ban: &Ban| store.ban(&namespace("a"), ban, &limits).await.unwrap();
    for (first, second) in [
        (held(MINUTE, tag_ban(&["x", "y"])), tag_ban(&["z"])),
        (held(MINUTE, glob_ban("x*")), glob_ban("z*")),
    ] {
        let store_time = store.now();
        put_tagged(&store, "k", &["w"]).await;
        assert_eq!(ban(&first).await, BanOutcome::Banned);
        let token = acquire(&store, &key("k2")).await;
        assert_eq!(ban(&first).await, BanOutcome::Banned, "an equal ban is no other one");
        assert!(exists(&store, &key("k")).await);
        assert_eq!(ban(&second).await, BanOutcome::NamespaceInvalidated);
        assert!(!exists(&store, &key("k")).await);
        assert_eq!(fill(&store, "k2", token, &[]).await, INVALIDATED);
        assert_eq!(kept(&store), (0, 0));
        // The hold-off of the first ban holds for the whole namespace.
        let outcome = acquire_again(&store, &key("other")).await;
        assert!(matches!(outcome, AcquireOutcome::HeldOff { .. }), "{outcome:?}");
        tokio::time::sleep(MINUTE).await;
        assert!(store.now().since(store_time) >= MINUTE);
        assert!(is_granted(&acquire_again(&store, &key("other")).await));
    }
}

#[tokio::test(start_paused = true)]
async fn bans_are_dropped_when_no_entry_and_no_lease_is_older() {
    let store = MemoryStore::new(MIB);
    put_tagged(&store, "kept", &["w"]).await;
    put_tagged(&store, "banned", &["x"]).await;
    let token = acquire(&store, &key("leased")).await;
    ban(&store, &tag_ban(&["x"])).await;
    sweep().await;
    assert_eq!(store.snapshot().keys, 1, "the sweeper removes banned entries");
    assert_eq!(kept(&store), (1, 0), "the lease is older");
    assert_eq!(fill(&store, "leased", token, &["x"]).await, INVALIDATED);
    tokio::time::sleep(2 * MINUTE).await;
    assert_eq!(kept(&store), (0, 0));
    assert_eq!(store.snapshot().used_bytes, 0);
}

#[tokio::test(start_paused = true)]
async fn the_memory_of_bans_is_bounded_and_accounted_for() {
    let store = MemoryStore::new(4 * MIB);
    let limits = BanLimits { max_tags: 100_000, ..LIMITS };
    put_tagged(&store, "k", &["w"]).await;
    let token = acquire(&store, &key("leased")).await;
    let mut most = 0;
    let mut invalidations = 0;
    for number in 0..100_000 {
        let tag = format!("tag-{number:0>100}");
        let outcome = store.ban(&namespace("a"), &tag_ban(&[&tag]), &limits).await.unwrap();
        invalidations += u32::from(outcome == BanOutcome::NamespaceInvalidated);
        if outcome == BanOutcome::NamespaceInvalidated {
            put_tagged(&store, "k", &["w"]).await;
        }
        most = most.max(store.lease_records().used_bytes);
    }
    assert!(invalidations > 5, "{invalidations}");
    assert!(most > MIB / 8 && most <= store.lease_records().max_bytes, "{most}");
    assert_eq!(fill(&store, "leased", token, &[]).await, INVALIDATED);
    assert!(store.lease_records().bans > 1000);
    tokio::time::sleep(2 * MINUTE).await;
    assert_eq!((store.snapshot().used_bytes, kept(&store)), (0, (0, 0)));
    assert_eq!(store.lease_records().bans, 0);
}

#[tokio::test(start_paused = true)]
async fn many_bans_and_writes_in_turn_keep_no_generations() {
    let store = MemoryStore::new(16 * MIB);
    for number in 0..2_000 {
        put_tagged(&store, &format!("k{number}"), &["w"]).await;
        ban(&store, &tag_ban(&["x"])).await;
    }
    let records = store.lease_records().used_bytes;
    assert!(records > 2_000 * 32, "{records}");
    sweep().await;
    assert_eq!(store.snapshot().keys, 2_000);
    let records = store.lease_records().used_bytes;
    assert!(records < 2_000, "all entries have the same generation: {records}");
}

#[tokio::test(start_paused = true)]
async fn a_ban_of_an_unused_namespace_is_not_recorded() {
    let store = MemoryStore::new(MIB);
    for number in 0..1000 {
        let namespace = namespace(&number.to_string());
        store.ban(&namespace, &tag_ban(&["x"]), &LIMITS).await.unwrap();
    }
    assert_eq!(store.snapshot().used_bytes, 0);
}

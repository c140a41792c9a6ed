#![allow(clippy::unwrap_used)]

use tokio::time::sleep;

use super::*;
use crate::{
    cache::testing::{SECOND, TestCache, config, key, key_in, lease, new_entry, request},
    config::NamespaceConfig,
    store::ErrorKind,
};

fn command(mode: SetMode) -> SetCommand {
    SetCommand {
        key: key("k"),
        kind: Kind::Text,
        data: Bytes::from_static(b"value"),
        ttl: None,
        tags: vec!["tag".to_owned()].into(),
        mode,
    }
}

fn always() -> SetCommand {
    command(SetMode::On(Condition::Always))
}

async fn set(test: &TestCache, command: &SetCommand) -> SetOutcome {
    let result = test.cache.set(command).await.unwrap();
    assert!(!result.degraded);
    result.outcome
}

// === conditions ===

#[tokio::test(start_paused = true)]
async fn a_value_is_stored_by_the_rules_of_its_namespace() {
    let rules = NamespaceConfig {
        ttl: 90 * SECOND,
        stale_while_revalidate: 5 * SECOND,
        stale_if_error: 7 * SECOND,
        ..config()
    };
    let test = TestCache::of_callers(rules);
    let SetOutcome::Stored { version, ttl } = set(&test, &always()).await else { panic!() };
    let stored = test.stored("k").await.unwrap();
    assert_eq!(
        (stored.data.as_ref(), stored.kind, &*stored.tags),
        (&b"value"[..], Kind::Text, &["tag".to_owned()][..])
    );
    assert_eq!((stored.version, ttl), (version, 90 * SECOND));
    assert_eq!(stored.fresh_until.since(stored.created_at), ttl);
    let windows = (stored.stale_while_revalidate, stored.stale_if_error);
    assert_eq!(windows, (5 * SECOND, 7 * SECOND));
    assert!(stored.fetch_metadata.is_none());
    assert_eq!(test.all_counted(), [(Counter::Sets, 1)]);
}

#[tokio::test(start_paused = true)]
async fn a_caller_can_choose_the_ttl_up_to_the_maximum() {
    let test = TestCache::of_callers(NamespaceConfig { max_ttl: 60 * SECOND, ..config() });
    for (asked, expected) in [(5, 5), (600, 60)] {
        let outcome = set(&test, &SetCommand { ttl: Some(asked * SECOND), ..always() }).await;
        let SetOutcome::Stored { ttl, .. } = outcome else { panic!("{outcome:?}") };
        assert_eq!(ttl, expected * SECOND);
    }
}

#[tokio::test(start_paused = true)]
async fn conditions_decide_by_the_stored_entry() {
    let test = TestCache::of_callers(config());
    let is_stored = async |condition| {
        matches!(set(&test, &command(SetMode::On(condition))).await, SetOutcome::Stored { .. })
    };
    assert!(!is_stored(Condition::IfPresent).await);
    assert!(is_stored(Condition::IfAbsent).await);
    assert!(!is_stored(Condition::IfAbsent).await);
    assert!(is_stored(Condition::IfPresent).await);
    let version = test.stored("k").await.unwrap().version;
    assert!(is_stored(Condition::IfVersion(version)).await);
    assert!(!is_stored(Condition::IfVersion(version)).await, "the version has changed");
    assert_eq!(test.all_counted(), [(Counter::Sets, 3), (Counter::SetsRefused, 3)]);
}

#[tokio::test(start_paused = true)]
async fn an_unknown_version_matches_no_entry() {
    let test = TestCache::of_callers(config());
    let outcome = set(&test, &command(SetMode::OnUnknownVersion)).await;
    assert_eq!(outcome, SetOutcome::ConditionNotMet);
    assert!(test.stored("k").await.is_none());
    assert_eq!(test.all_counted(), [(Counter::SetsRefused, 1)]);
}

// === leases ===

#[tokio::test(start_paused = true)]
async fn a_holder_fills_the_entry_once() {
    let test = TestCache::of_callers(config());
    let fill = command(SetMode::Under(test.acquire("k").await));
    assert!(matches!(set(&test, &fill).await, SetOutcome::Stored { .. }));
    assert_eq!(test.stored("k").await.unwrap().data, "value");
    assert_eq!(set(&test, &fill).await, SetOutcome::LeaseLost(LeaseLoss::Expired));
    let counted = [(Counter::Sets, 1), (Counter::SetsRefused, 1), (Counter::FillsLost, 1)];
    assert_eq!(test.all_counted(), counted);
}

#[tokio::test(start_paused = true)]
async fn a_lost_lease_is_counted_by_its_cause() {
    let test = TestCache::of_callers(config());
    let fill = command(SetMode::Under(test.acquire("k").await));
    test.memory.delete(&key("k"), Duration::ZERO).await.unwrap();
    assert_eq!(set(&test, &fill).await, SetOutcome::LeaseLost(LeaseLoss::Invalidated));
    let fill = command(SetMode::Under(test.acquire("k").await));
    test.put("k", &new_entry("newer", SECOND)).await;
    assert_eq!(set(&test, &fill).await, SetOutcome::LeaseLost(LeaseLoss::Superseded));
    assert_eq!(test.stored("k").await.unwrap().data, "newer");
    let unknown = command(SetMode::Under(LeaseToken::random()));
    assert_eq!(set(&test, &unknown).await, SetOutcome::LeaseLost(LeaseLoss::Expired));
    let counted = [
        (Counter::SetsRefused, 3),
        (Counter::FillsLost, 1),
        (Counter::FillsInvalidated, 1),
        (Counter::FillsSuperseded, 1),
    ];
    assert_eq!(test.all_counted(), counted);
}

#[tokio::test(start_paused = true)]
async fn the_time_of_a_computation_under_a_lease_is_measured() {
    let test = TestCache::of_callers(config());
    let offer = lease(test.get_or_fetch(&request("k")).await);
    let computing = 3 * SECOND;
    sleep(computing).await;
    let fill = command(SetMode::Under(offer.guard.into_token()));
    assert!(matches!(set(&test, &fill).await, SetOutcome::Stored { .. }));
    let median = test.counters().latency(LatencyKind::Compute, 0.5).unwrap();
    assert!(median > 2 * SECOND && median <= 5 * SECOND, "{median:?}");
    // Other Sets, and fills that are refused, are no computations.
    set(&test, &command(SetMode::On(Condition::Always))).await;
    set(&test, &fill).await;
    let counted = test.counters().total(LatencyKind::Compute);
    assert_eq!(counted, 1);
}

// === a store that fails ===

#[tokio::test(start_paused = true)]
async fn a_value_that_the_store_does_not_take_is_not_stored() {
    let cases = [
        (ErrorKind::Timeout, command(SetMode::On(Condition::Always)), true),
        (ErrorKind::Full, command(SetMode::On(Condition::Always)), false),
        (ErrorKind::Timeout, command(SetMode::Under(crate::store::LeaseToken::random())), true),
        (ErrorKind::Full, command(SetMode::Under(crate::store::LeaseToken::random())), false),
    ];
    for (kind, command, degraded) in cases {
        let test = TestCache::of_callers(config());
        test.store.fail(kind);
        let result = test.cache.set(&command).await.unwrap();
        assert_eq!(result, SetResult { outcome: SetOutcome::NotStored, degraded });
        let is_fill = matches!(command.mode, SetMode::Under(_));
        let counts =
            [Counter::Sets, Counter::SetsRefused, Counter::Degraded, Counter::FillsNotStored];
        let expected = [0, 1, u64::from(degraded), u64::from(is_fill)];
        assert_eq!(counts.map(|counter| test.counted(counter)), expected, "{kind:?} {is_fill}");
    }
}

// === checks ===

#[tokio::test(start_paused = true)]
async fn a_value_over_the_limit_is_refused_with_the_limit() {
    let test = TestCache::of_callers(NamespaceConfig { max_value_bytes: 5, ..config() });
    test.cache.check(&always()).unwrap();
    let too_large = SetCommand { data: Bytes::from_static(b"values"), ..always() };
    let Err(Error::ValueTooLarge(violation)) = test.cache.set(&too_large).await else { panic!() };
    assert_eq!((violation.field(), violation.limit()), ("value", Some(5)));
    assert_eq!(
        violation.description(),
        "is 6 bytes long, the limit of namespace ns is 5 (max_value_bytes)"
    );
    assert!(test.stored("k").await.is_none() && test.all_counted().is_empty());
}

#[tokio::test(start_paused = true)]
async fn json_must_be_valid() {
    let test = TestCache::of_callers(config());
    let json = |data: &'static [u8]| {
        test.cache.check(&SetCommand { kind: Kind::Json, data: data.into(), ..always() })
    };
    json(b"{\"a\": [1, null]}").unwrap();
    for invalid in [&b"{\"a\": "[..], b"1 2", b"", b"value"] {
        let Err(Error::Invalid(violation)) = json(invalid) else { panic!("{invalid:?}") };
        assert_eq!(violation.field(), "value.json");
        assert!(violation.description().starts_with("is not valid JSON: "), "{violation}");
    }
    test.cache.check(&always()).unwrap();
}

#[tokio::test(start_paused = true)]
async fn an_unknown_namespace_is_an_error() {
    let test = TestCache::of_callers(config());
    let unknown = SetCommand { key: key_in("other", "k"), ..always() };
    for result in [test.cache.set(&unknown).await, test.cache.set_checked(&unknown).await] {
        assert!(matches!(result, Err(Error::UnknownNamespace(_))), "{result:?}");
    }
    assert!(matches!(test.cache.check(&unknown), Err(Error::UnknownNamespace(_))));
}

#[tokio::test(start_paused = true)]
async fn a_checked_value_is_not_checked_again() {
    let test = TestCache::of_callers(NamespaceConfig { max_value_bytes: 1, ..config() });
    let result = test.cache.set_checked(&always()).await.unwrap();
    assert!(matches!(result.outcome, SetOutcome::Stored { .. }));
}

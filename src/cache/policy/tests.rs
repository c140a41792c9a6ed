use bytes::Bytes;

use super::*;
use crate::{
    cache::testing::origin_config,
    model::{FetchMetadata, Validators, Version, Violation},
};

const SECOND: Duration = Duration::from_secs(1);

fn entry(kind: Kind) -> Entry {
    Entry {
        kind,
        data: Bytes::new(),
        version: Version(1),
        created_at: Timestamp(0),
        fresh_until: Timestamp(1000),
        stale_while_revalidate: SECOND,
        stale_if_error: SECOND,
        revalidation_window: SECOND,
        tags: Vec::new().into(),
        fetch_metadata: None,
    }
}

#[test]
fn windows_follow_one_another() {
    use Verdict::{Expired, Fresh, Stale, StaleIfError};
    let cases = [
        (0, Fresh),
        (999, Fresh),
        (1000, Stale),
        (1999, Stale),
        (2000, StaleIfError),
        (2999, StaleIfError),
    ];
    for (now, verdict) in cases.into_iter().chain([(3000, Expired), (u64::MAX, Expired)]) {
        assert_eq!(evaluate(&entry(Kind::Text), Timestamp(now), None), verdict, "at {now}");
    }
}

#[test]
fn entry_from_the_future_is_expired() {
    let from = |created_at| {
        let entry = Entry { created_at: Timestamp(created_at), ..entry(Kind::Text) };
        evaluate(&entry, Timestamp(900), None)
    };
    assert_eq!(from(5900), Verdict::Fresh);
    assert_eq!(from(5901), Verdict::Expired);
}

#[test]
fn the_caller_can_tighten_the_windows_and_not_loosen_them() {
    let evaluate = |now, max_stale| {
        evaluate(&entry(Kind::Json), Timestamp(now), Some(Duration::from_millis(max_stale)))
    };
    assert_eq!(evaluate(999, 0), Verdict::Fresh);
    assert_eq!(evaluate(1000, 0), Verdict::Expired);
    assert_eq!(evaluate(1499, 500), Verdict::Stale);
    assert_eq!(evaluate(1500, 500), Verdict::Expired);
    assert_eq!(evaluate(3000, 1_000_000), Verdict::Expired);
}

#[test]
fn a_negative_entry_is_never_stale() {
    assert_eq!(evaluate(&entry(Kind::Negative), Timestamp(999), None), Verdict::Negative);
    assert_eq!(evaluate(&entry(Kind::Negative), Timestamp(1000), None), Verdict::Expired);
}

#[test]
fn a_ttl_is_defaulted_clamped_and_then_shortened() {
    let rules = NamespaceConfig {
        ttl: 10 * SECOND,
        max_ttl: 60 * SECOND,
        ttl_jitter: 0.5,
        ..NamespaceConfig::default()
    };
    let ttl = |asked, dice| lifetime(&rules, asked, dice).ttl;
    assert_eq!(ttl(None, 0.0), 10 * SECOND);
    assert_eq!(ttl(Some(20 * SECOND), 0.0), 20 * SECOND);
    assert_eq!(ttl(Some(90 * SECOND), 0.0), 60 * SECOND);
    assert_eq!(ttl(Some(90 * SECOND), 1.0), 30 * SECOND);
    assert_eq!(ttl(Some(Duration::from_nanos(1)), 1.0), Duration::from_millis(1));
    assert_eq!(ttl(Some(Duration::from_micros(1500)), 0.0), Duration::from_millis(2));
}

#[test]
fn a_read_extends_a_ttl_up_to_the_maximum_after_the_write() {
    let rules = NamespaceConfig { max_ttl: 60 * SECOND, ..NamespaceConfig::default() };
    // Written at 0, fresh until 1 s.
    let slide = |now, touch| {
        let touch = Duration::from_millis(touch);
        let lifetime = slide(&rules, &entry(Kind::Text), touch, Timestamp(now))?;
        let windows = (lifetime.stale_while_revalidate, lifetime.stale_if_error);
        assert_eq!((windows, lifetime.revalidation_window), ((SECOND, SECOND), SECOND));
        Some(lifetime.ttl.as_millis())
    };
    let cases = [
        ((0, 1000), None),
        ((500, 400), None),
        ((500, 1000), Some(1000)),
        ((9, 1000), None),
        ((10, 1000), Some(1000)),
        ((0, 1001), None),
        ((0, 60_000), Some(60_000)),
        ((0, 90_000), Some(60_000)),
        ((500, 90_000), Some(59_500)),
        ((0, u64::MAX), Some(60_000)),
    ];
    for ((now, touch), ttl) in cases {
        assert_eq!(slide(now, touch), ttl, "at {now}, {touch} ms");
    }
}

// === fetched values ===

fn fetched_rules() -> NamespaceConfig {
    NamespaceConfig {
        ttl: 10 * SECOND,
        max_ttl: 60 * SECOND,
        ttl_jitter: 0.5,
        stale_while_revalidate: 2 * SECOND,
        stale_if_error: 3 * SECOND,
        ..NamespaceConfig::default()
    }
}

fn fetched(directives: &CacheDirectives, kind: Kind, dice: f64) -> Option<Lifetime> {
    let origin = OriginConfig { negative_ttl: 4 * SECOND, keep: 100 * SECOND, ..origin_config() };
    fetched_lifetime(&fetched_rules(), &origin, directives, kind, dice)
}

fn lifetime_of(ttl: u64, revalidate: u64, error: u64, keep: u64) -> Option<Lifetime> {
    let [ttl, stale_while_revalidate, stale_if_error, revalidation_window] =
        [ttl, revalidate, error, keep].map(Duration::from_secs);
    Some(Lifetime { ttl, stale_while_revalidate, stale_if_error, revalidation_window })
}

#[test]
fn without_directives_the_namespaces_rules_apply() {
    let directives = CacheDirectives::default();
    assert_eq!(fetched(&directives, Kind::Text, 0.0), lifetime_of(10, 2, 3, 0));
    assert_eq!(fetched(&directives, Kind::Text, 1.0), lifetime_of(5, 2, 3, 0));
    assert_eq!(fetched(&directives, Kind::Negative, 0.0), lifetime_of(4, 0, 0, 0));
    assert_eq!(fetched(&directives, Kind::Negative, 1.0), lifetime_of(2, 0, 0, 0));
}

#[test]
fn directives_replace_the_rules_up_to_the_maximum() {
    let directives = CacheDirectives {
        ttl: Some(20 * SECOND),
        stale_while_revalidate: Some(7 * SECOND),
        stale_if_error: Some(8 * SECOND),
        ..CacheDirectives::default()
    };
    assert_eq!(fetched(&directives, Kind::Json, 0.0), lifetime_of(20, 7, 8, 0));
    assert_eq!(fetched(&directives, Kind::Negative, 0.0), lifetime_of(20, 0, 0, 0));
    let hour = Some(3600 * SECOND);
    let directives = CacheDirectives {
        ttl: hour,
        stale_while_revalidate: hour,
        stale_if_error: hour,
        ..directives
    };
    assert_eq!(fetched(&directives, Kind::Text, 0.0), lifetime_of(60, 60, 60, 0));
    assert_eq!(fetched(&directives, Kind::Text, 1.0), lifetime_of(30, 60, 60, 0));
}

#[test]
fn only_a_value_with_validators_is_kept_for_revalidation() {
    let validators = Validators { etag: Some("e".into()), last_modified: None };
    let directives = CacheDirectives { validators, ..CacheDirectives::default() };
    assert_eq!(fetched(&directives, Kind::Text, 0.0), lifetime_of(10, 2, 3, 100));
    assert_eq!(fetched(&directives, Kind::Negative, 0.0), lifetime_of(4, 0, 0, 0));
}

#[test]
fn a_value_without_permission_or_lifetime_is_not_stored() {
    let no_store = CacheDirectives { no_store: true, ..CacheDirectives::default() };
    assert_eq!(fetched(&no_store, Kind::Text, 0.0), None);
    let zero = Some(Duration::ZERO);
    let no_lifetime = CacheDirectives {
        ttl: zero,
        stale_while_revalidate: zero,
        stale_if_error: zero,
        ..CacheDirectives::default()
    };
    assert_eq!(fetched(&no_lifetime, Kind::Text, 0.0), None);
    assert_eq!(fetched(&no_lifetime, Kind::Negative, 0.0), None);
    let stale_only = CacheDirectives { stale_if_error: None, ..no_lifetime };
    assert_eq!(fetched(&stale_only, Kind::Text, 0.0), lifetime_of(0, 0, 3, 0));
}

#[test]
fn an_origin_that_was_asked_and_failed_is_not_asked_for_a_while() {
    let config = OriginConfig { error_backoff: 2 * SECOND, ..origin_config() };
    let backoff = |kind: OriginErrorKind, retry_after| {
        let error = origin::Error { retry_after, ..origin::Error::new(kind, "") };
        backoff(&config, &error)
    };
    use OriginErrorKind::{
        BackedOff, BadKey, BreakerOpen, Failed, Invalid, Overloaded, Refused, Timeout, TooLarge,
        Unreachable,
    };
    for kind in [Unreachable, Timeout, Failed, Refused, Invalid, TooLarge] {
        assert_eq!(backoff(kind.clone(), None), 2 * SECOND, "{kind:?}");
        assert_eq!(backoff(kind.clone(), Some(SECOND)), 2 * SECOND, "{kind:?}");
        assert_eq!(backoff(kind.clone(), Some(5 * SECOND)), 5 * SECOND, "{kind:?}");
    }
    let bad_key = BadKey(Violation::new("key", "is bad"));
    for kind in [BreakerOpen, Overloaded, BackedOff, bad_key] {
        assert_eq!(backoff(kind.clone(), Some(5 * SECOND)), Duration::ZERO, "{kind:?}");
    }
}

#[test]
fn only_a_final_answer_ends_a_value_that_would_be_served_stale() {
    // Fresh until 1000, stale until 3000.
    let text = entry(Kind::Text);
    let refused = origin::Error::new(OriginErrorKind::Refused, "status 403");
    for (now, backoff, expected) in [
        (0, SECOND / 2, false),
        (500, SECOND / 2, true),
        (1000, Duration::ZERO, true),
        (2999, SECOND, true),
        (3000, SECOND, false),
    ] {
        assert_eq!(ends_stale(&text, Timestamp(now), &refused, backoff), expected, "{now}");
    }
    let ends = |entry: &Entry, error| ends_stale(entry, Timestamp(1500), &error, SECOND);
    assert!(!ends(&entry(Kind::Negative), refused.clone()));
    assert!(!ends(&text, origin::Error { allows_stale: true, ..refused }), "as configured");
    let failed = origin::Error::new(OriginErrorKind::Failed, "status 429");
    assert!(!ends(&text, origin::Error { allows_stale: false, ..failed }), "it may pass");
    assert!(ends(&text, origin::Error::new(OriginErrorKind::Invalid, "")));
    assert!(ends(&text, origin::Error::new(OriginErrorKind::TooLarge, "")));
}

// === early refreshes ===

#[test]
fn an_entry_is_due_early_when_a_fetch_may_outlast_it() {
    // An entry that is fresh for one more second.
    let is_due = |fetch_time, beta, dice| {
        let metadata = FetchMetadata { fetch_time, ..FetchMetadata::default() };
        let entry = Entry { fetch_metadata: Some(metadata.into()), ..entry(Kind::Text) };
        is_due_early(&entry, Timestamp(0), beta, dice)
    };
    let e_inverse = (-1.0_f64).exp();
    assert!(is_due(SECOND + Duration::from_millis(1), 1.0, e_inverse), "longer than a second");
    assert!(!is_due(SECOND - Duration::from_millis(1), 1.0, e_inverse));
    assert!(is_due(SECOND, 1.1, e_inverse) && !is_due(SECOND, 0.9, e_inverse));
    assert!(is_due(SECOND, 1.0, 0.3) && !is_due(SECOND, 1.0, 0.4), "the lower, the earlier");
    assert!(!is_due(60 * SECOND, 100.0, 1.0), "the highest dice never refreshes early");
    assert!(is_due(SECOND / 600, 1.0, 0.0), "the lowest dice is not infinitely early");
    assert!(!is_due(SECOND / 1000, 1.0, 0.0), "the lowest dice is not infinitely early");
    assert!(!is_due(60 * SECOND, 0.0, 0.0), "beta zero is off");
}

#[test]
fn an_entry_that_was_not_fetched_is_never_due_early() {
    assert!(!is_due_early(&entry(Kind::Text), Timestamp(999), 100.0, 0.0));
}

#[test]
fn beta_zero_is_off_even_at_the_end_of_the_ttl() {
    let metadata = Some(FetchMetadata::default().into());
    let entry = Entry { fetch_metadata: metadata, ..entry(Kind::Text) };
    assert!(!is_due_early(&entry, Timestamp(1000), 0.0, 0.5));
    assert!(is_due_early(&entry, Timestamp(1000), 1.0, 0.5));
}

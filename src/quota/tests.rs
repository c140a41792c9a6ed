use std::collections::BTreeMap;

use opentelemetry::metrics::MeterProvider as _;
use opentelemetry_sdk::metrics::SdkMeterProvider;

use super::*;
use crate::{
    config::{NamespaceConfig, NamespaceQuotaConfig},
    model::{EntryKey, Namespace},
};

fn quotas() -> Arc<Quotas> {
    Quotas::new(&SdkMeterProvider::default().meter("test"))
}

fn of_principal(quotas: &Quotas, limits: PrincipalQuotaConfig) -> Option<Arc<Quota>> {
    quotas.of_principal(&"p".into(), &"p".into(), limits)
}

fn shop() -> Namespace {
    Namespace::new("shop").unwrap()
}

/// Sets the quota of `shop`.
fn configure(quotas: &Quotas, limits: UseLimits) {
    let quota = Some(NamespaceQuotaConfig { limits, ..NamespaceQuotaConfig::default() });
    let config = NamespaceConfig { quota, ..NamespaceConfig::default() };
    quotas.configure(&BTreeMap::from([("shop".to_owned(), config)]));
}

/// The figure that a call is refused for.
fn refused<T>(result: Result<T, QuotaExceeded>) -> Option<QuotaFigure> {
    result.err().map(|exceeded| exceeded.figure)
}

#[test]
fn calls_without_a_quota_cost_nothing() {
    let quotas = quotas();
    assert!(of_principal(&quotas, PrincipalQuotaConfig::default()).is_none());
    assert!(quotas.begin(None, false).unwrap().is_none());
}

#[test]
fn a_call_is_in_flight_until_it_is_dropped() {
    let quotas = quotas();
    let limits = UseLimits { in_flight: Some(1), streams: Some(1), ..UseLimits::default() };
    let limits = PrincipalQuotaConfig { limits, ..PrincipalQuotaConfig::default() };
    let caller = of_principal(&quotas, limits).unwrap();
    let first = quotas.begin(Some(&caller), false).unwrap();
    let second = quotas.begin(Some(&caller), false);
    let exceeded = second.unwrap_err();
    assert_eq!(exceeded.to_string(), "the quota of principal p is used up: in_flight is 1");
    assert_eq!(exceeded.retry_after, Some(RETRY));
    // Streams that stay open are not in flight.
    let stream = quotas.begin(Some(&caller), true).unwrap();
    assert_eq!(refused(quotas.begin(Some(&caller), true)), Some(QuotaFigure::Streams));
    drop((first, stream));
    assert!(quotas.begin(Some(&caller), false).is_ok());
}

#[tokio::test(start_paused = true)]
async fn each_key_of_a_batch_counts_as_a_request() {
    let quotas = quotas();
    let limits = UseLimits { requests_per_second: Some(10), ..UseLimits::default() };
    let limits = PrincipalQuotaConfig { limits, ..PrincipalQuotaConfig::default() };
    let caller = of_principal(&quotas, limits).unwrap();
    let batch = quotas.begin(Some(&caller), false).unwrap().unwrap();
    (0..30).for_each(|_| batch.touch(&shop()).unwrap());
    let exceeded = quotas.begin(Some(&caller), false).unwrap_err();
    assert_eq!((exceeded.figure, exceeded.limit), (QuotaFigure::RequestsPerSecond, 10));
    assert!(exceeded.retry_after.is_some_and(|wait| wait > Duration::from_secs(2)));
    tokio::time::advance(Duration::from_millis(2_200)).await;
    assert!(quotas.begin(Some(&caller), false).is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_namespace_pays_for_its_part_of_the_bytes() {
    let quotas = quotas();
    configure(&quotas, UseLimits { bytes_per_second: Some(1000), ..UseLimits::default() });
    let touches = |keys: [&str; 4]| {
        let call = quotas.begin(None, false).unwrap().unwrap();
        for namespace in keys {
            call.touch(&Namespace::new(namespace).unwrap())?;
        }
        Ok(call)
    };
    touches(["shop", "other", "other", "other"]).unwrap().charge_bytes(3_000);
    touches(["shop"; 4]).unwrap().charge_bytes(1_000);
    assert_eq!(refused(touches(["shop"; 4])), Some(QuotaFigure::BytesPerSecond));
    touches(["other"; 4]).unwrap();
    tokio::time::advance(Duration::from_secs(1)).await;
    touches(["shop"; 4]).unwrap();
}

#[test]
fn a_lease_that_the_namespace_refuses_does_not_count_for_the_caller() {
    let quotas = quotas();
    configure(&quotas, UseLimits { leases: Some(1), ..UseLimits::default() });
    let limits = UseLimits { leases: Some(2), ..UseLimits::default() };
    let limits = PrincipalQuotaConfig { limits, ..PrincipalQuotaConfig::default() };
    let caller = of_principal(&quotas, limits).unwrap();
    let call = quotas.begin(Some(&caller), false).unwrap().unwrap();
    let ttl = Duration::from_secs(60);
    let key = |namespace: &str, key| {
        EntryKey::new(Namespace::new(namespace).unwrap(), key, std::iter::empty()).unwrap()
    };
    call.hold_lease(&key("shop", "a"), [1; 16], ttl).unwrap();
    let second = call.hold_lease(&key("shop", "b"), [2; 16], ttl);
    assert_eq!(refused(second), Some(QuotaFigure::Leases));
    assert_eq!(caller.usage.used(QuotaFigure::Leases), 1);
    call.hold_lease(&key("other", "c"), [3; 16], ttl).unwrap();
    call.end_lease(&key("shop", "a"), [1; 16]);
    call.hold_lease(&key("shop", "d"), [4; 16], ttl).unwrap();
}

#[test]
fn a_quota_keeps_its_use_when_it_changes() {
    let quotas = quotas();
    let limit = |in_flight| UseLimits { in_flight: Some(in_flight), ..UseLimits::default() };
    configure(&quotas, limit(1));
    let call = || {
        let call = quotas.begin(None, false).unwrap().unwrap();
        call.touch(&shop()).map(|()| call)
    };
    let _first = call().unwrap();
    configure(&quotas, limit(1));
    assert_eq!(refused(call()), Some(QuotaFigure::InFlight));
    configure(&quotas, limit(2));
    let second = call();
    assert!(second.is_ok());
    assert_eq!(refused(call()), Some(QuotaFigure::InFlight));
}

#[tokio::test(start_paused = true)]
async fn credentials_with_other_limits_share_the_use_of_their_principal() {
    let quotas = quotas();
    let limits = |rate| {
        let limits = UseLimits { requests_per_second: Some(rate), ..UseLimits::default() };
        PrincipalQuotaConfig { limits, ..PrincipalQuotaConfig::default() }
    };
    let mut served = 0;
    for _ in 0..50 {
        for rate in [5, 6] {
            let caller = of_principal(&quotas, limits(rate)).unwrap();
            served += u32::from(quotas.begin(Some(&caller), false).is_ok());
        }
    }
    assert!(served <= 6, "{served}");
    // Also if no credential is known for a moment, as at a reload.
    let caller = of_principal(&quotas, limits(6)).unwrap();
    assert_eq!(refused(quotas.begin(Some(&caller), false)), Some(QuotaFigure::RequestsPerSecond));
}

#[tokio::test(start_paused = true)]
async fn idle_principals_are_forgotten() {
    let quotas = quotas();
    let limits = UseLimits { requests_per_second: Some(1), ..UseLimits::default() };
    let limits = PrincipalQuotaConfig { limits, ..PrincipalQuotaConfig::default() };
    let of = |name: &str| quotas.of_principal(&name.into(), &"p".into(), limits.clone()).unwrap();
    let kept = of("kept");
    quotas.begin(Some(&kept), false).unwrap();
    for number in 0..10_000 {
        tokio::time::advance(Duration::from_secs(1)).await;
        quotas.begin(Some(&of(&number.to_string())), false).unwrap();
    }
    let known = quotas.principal_count();
    assert!((1..2_000).contains(&known), "{known}");
    // One whose credential is in use keeps its use.
    quotas.begin(Some(&kept), false).unwrap();
    assert_eq!(
        refused(quotas.begin(Some(&of("kept")), false)),
        Some(QuotaFigure::RequestsPerSecond)
    );
}

//! Retries, backoff and `retry_after`.

use super::*;

fn retrying(retries: usize) -> Setup {
    Setup::new(OriginLimits { retries, breaker_threshold: 0, ..limits() })
}

#[tokio::test(start_paused = true)]
async fn transient_failures_are_retried() {
    for kind in [OriginErrorKind::Failed, OriginErrorKind::Unreachable] {
        let setup = retrying(1);
        setup.script([Err(error(kind))]);
        assert_eq!(setup.fetch().await.unwrap().elapsed, LATENCY, "that of the last attempt");
        assert_eq!(setup.calls(), 2);
    }
}

#[tokio::test(start_paused = true)]
async fn other_failures_are_not_retried() {
    for kind in [
        OriginErrorKind::Timeout,
        OriginErrorKind::Refused,
        OriginErrorKind::Invalid,
        OriginErrorKind::TooLarge,
        bad_key(),
    ] {
        let setup = retrying(3);
        setup.script([Err(error(kind.clone()))]);
        assert_eq!(setup.failure().await, kind);
        assert_eq!(setup.calls(), 1, "{kind}");
    }
}

#[tokio::test(start_paused = true)]
async fn number_of_retries_is_limited() {
    for retries in [0, 1, 3] {
        let limits = OriginLimits { retry_backoff: Duration::ZERO, ..limits() };
        let setup = Setup::new(OriginLimits { retries, breaker_threshold: 0, ..limits });
        setup.script(vec![failed(); 10]);
        assert_eq!(setup.failure().await, OriginErrorKind::Failed);
        assert_eq!(setup.calls(), 1 + retries);
    }
}

#[tokio::test(start_paused = true)]
async fn backoff_doubles_and_is_jittered() {
    for _ in 0..20 {
        let setup = retrying(2);
        setup.script([failed(), failed()]);
        let started = Instant::now();
        setup.fetch().await.unwrap();
        // Three requests, and delays of 1 to 2 and 2 to 4 times the backoff.
        let delays = started.elapsed() - 3 * LATENCY;
        assert!((3 * LATENCY..=6 * LATENCY + LATENCY / 10).contains(&delays), "{delays:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn requested_delay_prevents_a_retry() {
    let setup = retrying(1);
    let busy =
        Error { retry_after: Some(Duration::from_millis(1)), ..error(OriginErrorKind::Failed) };
    setup.script([Err(busy.clone())]);
    assert_eq!(setup.fetch().await, Err(busy));
    assert_eq!(setup.calls(), 1);
}

#[tokio::test(start_paused = true)]
async fn requested_delay_of_zero_allows_a_retry() {
    let setup = retrying(1);
    let busy = Error { retry_after: Some(Duration::ZERO), ..error(OriginErrorKind::Failed) };
    setup.script([Err(busy)]);
    assert!(setup.fetch().await.is_ok());
    assert_eq!(setup.calls(), 2);
}

#[tokio::test(start_paused = true)]
async fn retries_end_at_the_deadline() {
    let setup = retrying(10);
    setup.script(vec![failed(); 10]);
    let started = Instant::now();
    assert_eq!(setup.failure().await, OriginErrorKind::Timeout);
    assert_eq!(started.elapsed(), TIMEOUT);
    assert!(setup.calls() > 1);
}

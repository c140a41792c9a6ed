//! The circuit breaker: which outcomes count, and which fetches get the permits.

use super::*;

/// A client whose breaker opens after two failures.
fn setup() -> Setup {
    Setup::new(OriginLimits { breaker_threshold: 2, ..limits() })
}

async fn open_setup() -> Setup {
    let setup = setup();
    setup.script([failed(), failed()]);
    setup.failure().await;
    setup.failure().await;
    assert!(!setup.is_closed());
    setup
}

#[tokio::test(start_paused = true)]
async fn open_breaker_rejects_without_a_request() {
    let setup = open_setup().await;
    let error = setup.fetch().await.unwrap_err();
    let open_for = setup.client.open_for().unwrap();
    assert!(open_for >= COOLDOWN.mul_f64(0.7) && open_for <= COOLDOWN.mul_f64(1.2));
    assert_eq!(error, Error::breaker_open(open_for));
    assert_eq!(setup.calls(), 2);
}

#[tokio::test(start_paused = true)]
async fn successful_trial_closes_the_breaker() {
    let setup = open_setup().await;
    advance(2 * COOLDOWN).await;
    assert_eq!(setup.client.open_for(), None);
    let results = setup.fetch_concurrently(2).await;
    assert!(results[0].is_ok());
    assert_eq!(results[1], Err(Error::breaker_open(COOLDOWN / 10)), "one trial at a time");
    assert!(setup.is_closed());
    assert!(setup.fetch().await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn outages_count_and_answers_reset_the_count() {
    let outages = [OriginErrorKind::Failed, OriginErrorKind::Unreachable, OriginErrorKind::Timeout];
    for outage in outages {
        let setup = setup();
        setup.script([Err(error(outage.clone())), Err(error(outage))]);
        setup.failure().await;
        assert!(setup.is_closed());
        setup.failure().await;
        assert!(!setup.is_closed());
    }
    let answers = [OriginErrorKind::Refused, OriginErrorKind::Invalid, OriginErrorKind::TooLarge];
    for answer in answers.map(|kind| Err(error(kind))).into_iter().chain([Ok(value())]) {
        let setup = setup();
        setup.script([failed(), answer, failed()]);
        for _ in 0..3 {
            let _ = setup.fetch().await;
        }
        assert!(setup.is_closed());
    }
}

#[tokio::test(start_paused = true)]
async fn bad_keys_neither_count_nor_reset_the_count() {
    let setup = setup();
    setup.script([failed(), Err(error(bad_key())), failed()]);
    setup.failure().await;
    setup.failure().await;
    assert!(setup.is_closed());
    setup.failure().await;
    assert!(!setup.is_closed());
}

#[tokio::test(start_paused = true)]
async fn trial_with_a_bad_key_leaves_the_trial_to_the_next_fetch() {
    let setup = open_setup().await;
    advance(2 * COOLDOWN).await;
    setup.script([Err(error(bad_key()))]);
    setup.failure().await;
    assert!(!setup.is_closed());
    assert!(setup.fetch().await.is_ok());
    assert!(setup.is_closed());
}

#[tokio::test(start_paused = true)]
async fn dropped_fetch_counts_if_it_took_longer_than_expected() {
    // The upper bound is three times the latency.
    for (elapsed, is_failure) in [(299, false), (300, true)] {
        let setup = Setup::new(limits());
        setup.fetch().await.unwrap();
        setup.hang(true);
        let mut fetch = Box::pin(setup.fetch());
        assert!(futures_util::poll!(&mut fetch).is_pending());
        advance(Duration::from_millis(elapsed)).await;
        drop(fetch);
        assert_eq!(setup.is_closed(), !is_failure, "{elapsed}");
    }
}

#[tokio::test(start_paused = true)]
async fn fetch_without_time_for_an_answer_does_not_count() {
    let setup = Setup::new(limits());
    setup.fetch().await.unwrap();
    setup.hang(true);
    let result = setup.fetch_within(2 * LATENCY).await;
    assert_eq!(result.unwrap_err().kind, OriginErrorKind::Timeout);
    assert!(setup.is_closed());
    assert_eq!(setup.failure().await, OriginErrorKind::Timeout);
    assert!(!setup.is_closed());
}

#[tokio::test(start_paused = true)]
async fn first_timeout_counts_without_an_estimate() {
    let setup = Setup::new(limits());
    setup.hang(true);
    setup.failure().await;
    assert!(!setup.is_closed());
}

#[tokio::test(start_paused = true)]
async fn queued_fetch_needs_a_new_permit() {
    let setup = Setup::new(OriginLimits { max_concurrency: 1, ..limits() });
    setup.script([failed()]);
    let results = setup.fetch_concurrently(3).await;
    let kinds: Vec<_> = results.into_iter().map(|result| result.unwrap_err().kind).collect();
    let expected =
        [OriginErrorKind::Failed, OriginErrorKind::BreakerOpen, OriginErrorKind::BreakerOpen];
    assert_eq!(kinds, expected);
    assert_eq!(setup.calls(), 1);
}

#[tokio::test(start_paused = true)]
async fn breaker_that_opens_between_attempts_does_not_hide_the_failure() {
    let setup = Setup::new(OriginLimits { retries: 3, ..limits() });
    setup.script([failed()]);
    assert_eq!(setup.failure().await, OriginErrorKind::Failed);
    assert_eq!(setup.calls(), 1);
    assert_eq!(setup.failure().await, OriginErrorKind::BreakerOpen);
}

#[tokio::test(start_paused = true)]
async fn trial_that_finds_no_slot_is_returned() {
    let setup = Setup::new(OriginLimits { max_concurrency: 1, max_queue: 0, ..limits() });
    setup.hang(true);
    let mut hanging = Box::pin(setup.fetch_within(100 * COOLDOWN));
    assert!(futures_util::poll!(&mut hanging).is_pending());
    setup.client.breaker.admit().unwrap().fail();
    advance(2 * COOLDOWN).await;
    assert_eq!(setup.failure().await, OriginErrorKind::Overloaded);
    assert_eq!(setup.client.open_for(), None, "the next fetch may be the trial");
    assert!(!setup.is_closed());
}

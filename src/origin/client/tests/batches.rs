//! Batches: partial failures, retries of the whole, and the error of each key.

use super::*;

fn setup() -> Setup {
    let limits = OriginLimits { retries: 1, breaker_threshold: 0, ..limits() };
    Setup::with_origin(limits, ScriptedOrigin { batch_limit: 10, ..Default::default() })
}

fn script(setup: &Setup, calls: impl IntoIterator<Item = Results>) {
    setup.origin.script.lock().extend(calls);
}

async fn fetch(setup: &Setup, keys: usize) -> Vec<Result<TimedResponse>> {
    let requests: Vec<_> = (0..keys).map(|_| request(setup.client.deadline())).collect();
    setup.client.fetch_batch(&requests).await
}

async fn failures(setup: &Setup, keys: usize) -> Vec<Error> {
    fetch(setup, keys).await.into_iter().map(Result::unwrap_err).collect()
}

fn failed_with(cause: &str) -> Error {
    Error::new(OriginErrorKind::Failed, cause)
}

#[tokio::test(start_paused = true)]
async fn batch_limit_is_at_least_one() {
    assert_eq!(setup().client.batch_limit(), 10);
    assert_eq!(Setup::new(limits()).client.batch_limit(), 1);
}

#[tokio::test(start_paused = true)]
async fn empty_batch_makes_no_request() {
    let setup = setup();
    assert_eq!(fetch(&setup, 0).await, []);
    assert_eq!(setup.calls(), 0);
}

#[tokio::test(start_paused = true)]
async fn partial_failures_are_returned_without_a_retry() {
    let setup = setup();
    let refused = Error::new(OriginErrorKind::Refused, "no");
    let results = vec![Ok(value()), Err(failed_with("a")), Err(refused.clone()), Ok(value())];
    script(&setup, [results]);
    let timed = || Ok(TimedResponse { response: value(), elapsed: LATENCY });
    let expected = [timed(), Err(failed_with("a")), Err(refused), timed()];
    assert_eq!(fetch(&setup, 4).await, expected);
    assert_eq!(setup.calls(), 1);
    let observed = setup.observed.0.lock();
    let outcomes: Vec<_> = observed.iter().map(|fetch| fetch.outcome.clone()).collect();
    let kinds = [Ok(()), Err(OriginErrorKind::Failed), Err(OriginErrorKind::Refused), Ok(())];
    assert_eq!(outcomes, kinds, "each key is observed");
}

#[tokio::test(start_paused = true)]
async fn batch_that_failed_for_every_key_is_retried_as_a_whole() {
    let setup = setup();
    script(&setup, [vec![Err(failed_with("a")), Err(failed_with("b"))]]);
    assert!(fetch(&setup, 2).await.iter().all(Result::is_ok));
    assert_eq!(setup.calls(), 2);
}

#[tokio::test(start_paused = true)]
async fn each_key_keeps_its_own_error() {
    let timeout = || Error::new(OriginErrorKind::Timeout, "too slow");
    // Retried if one of the keys has a transient failure.
    for errors in [
        vec![failed_with("a"), timeout(), failed_with("b")],
        vec![timeout(), failed_with("a")],
        vec![failed_with("a"), timeout()],
    ] {
        let setup = setup();
        let results: Results = errors.iter().cloned().map(Err).collect();
        script(&setup, [results.clone(), results]);
        assert_eq!(failures(&setup, errors.len()).await, errors);
        assert_eq!(setup.calls(), 2);
    }
    let delayed = Error { retry_after: Some(Duration::from_secs(1)), ..failed_with("busy") };
    let refused = Error::new(OriginErrorKind::Refused, "no");
    for errors in [
        vec![timeout(), timeout()],
        vec![failed_with("a"), delayed.clone()],
        vec![delayed, failed_with("a")],
        vec![failed_with("a"), refused],
    ] {
        let setup = setup();
        script(&setup, [errors.iter().cloned().map(Err).collect()]);
        assert_eq!(failures(&setup, errors.len()).await, errors);
        assert_eq!(setup.calls(), 1, "{errors:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn later_failure_of_the_whole_batch_is_that_of_each_key() {
    let setup = setup();
    script(&setup, [vec![Err(failed_with("a")), Err(failed_with("b"))]]);
    let mut fetches = Box::pin(failures(&setup, 2));
    assert!(futures_util::poll!(&mut fetches).is_pending());
    setup.hang(true);
    let timeout = Error::new(OriginErrorKind::Timeout, "no answer within 1s (origin.timeout)");
    assert_eq!(fetches.await, vec![timeout; 2]);
    assert_eq!(setup.calls(), 2);
}

#[tokio::test(start_paused = true)]
async fn earliest_deadline_applies_to_the_batch() {
    let setup = setup();
    setup.hang(true);
    let started = Instant::now();
    let requests = [3, 2, 4].map(|times| request(started + times * LATENCY));
    let results = setup.client.fetch_batch(&requests).await;
    assert_eq!(started.elapsed(), 2 * LATENCY);
    assert!(results.iter().all(|result| result.is_err()));
    assert_eq!(results.len(), 3);
}

#[tokio::test(start_paused = true)]
async fn only_an_outage_for_every_key_counts_for_the_breaker() {
    let limits = OriginLimits { breaker_threshold: 1, ..limits() };
    let setup = Setup::new(limits);
    script(&setup, [vec![Ok(value()), failed()], vec![failed(), failed()]]);
    fetch(&setup, 2).await;
    assert!(setup.is_closed());
    fetch(&setup, 2).await;
    assert!(!setup.is_closed());
    let rejected = failures(&setup, 2).await;
    assert!(rejected.iter().all(|error| error.kind == OriginErrorKind::BreakerOpen));
    assert_eq!(setup.calls(), 2);
}

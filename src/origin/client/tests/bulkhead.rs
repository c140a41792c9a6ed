//! Concurrency, the queue and the deadline within the queue.

use super::*;

fn overloaded(cause: &str) -> Error {
    Error::new(OriginErrorKind::Overloaded, cause)
}

fn too_late() -> Error {
    overloaded("a slot would be free too late (origin.max_concurrency)")
}

#[tokio::test(start_paused = true)]
async fn concurrent_requests_are_limited() {
    let setup = Setup::new(limits());
    let started = Instant::now();
    let mut fetches = Box::pin(setup.fetch_concurrently(5));
    assert!(futures_util::poll!(&mut fetches).is_pending());
    assert_eq!((setup.client.in_flight(), setup.client.queued()), (2, 3));
    assert_eq!(setup.calls(), 2);
    let results = fetches.await;
    assert!(results.iter().all(|result| result.as_ref().unwrap().elapsed == LATENCY));
    assert_eq!(started.elapsed(), 3 * LATENCY);
    assert_eq!((setup.client.in_flight(), setup.client.queued()), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn any_number_of_concurrent_requests_can_be_allowed() {
    let setup = Setup::new(OriginLimits { max_concurrency: usize::MAX, ..limits() });
    assert!(setup.fetch_concurrently(100).await.iter().all(Result::is_ok));
    assert_eq!(setup.calls(), 100);
}

#[tokio::test(start_paused = true)]
async fn fetches_beyond_the_queue_fail_at_once() {
    let setup = Setup::new(OriginLimits { max_queue: 3, ..limits() });
    let results = setup.fetch_concurrently(7).await;
    assert!(results[..5].iter().all(Result::is_ok));
    for result in &results[5..] {
        let expected = overloaded("3 fetches are waiting already (origin.max_queue)");
        assert_eq!(result.as_ref().unwrap_err(), &expected);
    }
    let observed = setup.observed.0.lock();
    assert_eq!(observed[0].elapsed, Duration::ZERO);
    assert!(setup.is_closed(), "an overload is no failure of the origin");
}

#[tokio::test(start_paused = true)]
async fn without_a_queue_only_free_slots_are_used() {
    let setup = Setup::new(OriginLimits { max_queue: 0, ..limits() });
    let results = setup.fetch_concurrently(3).await;
    assert!(results[..2].iter().all(Result::is_ok));
    assert_eq!(results[2], Err(overloaded("0 fetches are waiting already (origin.max_queue)")));
}

#[tokio::test(start_paused = true)]
async fn fetch_with_too_little_time_for_the_queue_fails_at_once() {
    let setup = Setup::new(OriginLimits { breaker_threshold: 0, ..limits() });
    setup.fetch().await.unwrap();
    for (waiting, time, is_accepted) in [
        // One round in the queue, then its own request.
        (0, 199, false),
        (0, 205, true),
        (1, 205, true),
        // Two rounds.
        (2, 299, false),
        (2, 305, true),
    ] {
        let mut running = Box::pin(setup.fetch_concurrently(2 + waiting));
        assert!(futures_util::poll!(&mut running).is_pending());
        assert_eq!(setup.client.queued(), waiting);
        let mut fetch = Box::pin(setup.fetch_within(Duration::from_millis(time)));
        match futures_util::poll!(&mut fetch) {
            std::task::Poll::Ready(result) => {
                assert!(!is_accepted, "{waiting} {time}");
                assert_eq!(result, Err(too_late()));
            }
            std::task::Poll::Pending => {
                assert!(is_accepted, "{waiting} {time}");
                let (_, result) = tokio::join!(running, fetch);
                assert!(result.is_ok());
            }
        }
        sleep(TIMEOUT).await;
    }
}

#[tokio::test(start_paused = true)]
async fn waiting_ends_when_there_is_no_time_left_for_the_request() {
    let setup = Setup::new(OriginLimits { max_concurrency: 1, ..limits() });
    setup.fetch().await.unwrap();
    setup.hang(true);
    let mut hanging = Box::pin(setup.fetch_within(10 * TIMEOUT));
    assert!(futures_util::poll!(&mut hanging).is_pending());
    let started = Instant::now();
    assert_eq!(setup.fetch().await, Err(too_late()));
    assert_eq!(started.elapsed(), TIMEOUT - LATENCY);
    assert_eq!((setup.client.in_flight(), setup.client.queued()), (1, 0));
    assert_eq!(setup.calls(), 2);
}

#[tokio::test(start_paused = true)]
async fn dropped_fetch_frees_its_place() {
    let setup = Setup::new(limits());
    let mut fetches = Box::pin(setup.fetch_concurrently(3));
    assert!(futures_util::poll!(&mut fetches).is_pending());
    drop(fetches);
    assert_eq!((setup.client.in_flight(), setup.client.queued()), (0, 0));
}

/// The origin can process twenty fetches per second. Fetches that would miss their deadline are
/// rejected, and the others succeed.
#[tokio::test(start_paused = true)]
async fn overloaded_origin_still_serves_at_its_capacity() {
    let setup = Setup::new(limits());
    setup.fetch().await.unwrap();
    let (mut served, mut rejected) = (0, 0);
    for _ in 0..3 {
        for result in setup.fetch_concurrently(100).await {
            match result {
                Ok(_) => served += 1,
                Err(error) => {
                    assert_eq!(error.kind, OriginErrorKind::Overloaded, "{error}");
                    rejected += 1;
                }
            }
        }
    }
    assert!((45..=60).contains(&served), "{served} served, {rejected} rejected");
    assert!(setup.is_closed(), "the origin works");
    assert_eq!((setup.client.in_flight(), setup.client.queued()), (0, 0));
}

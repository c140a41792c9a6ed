//! The time that a call waits for a fetch.

use super::*;

#[tokio::test(start_paused = true)]
async fn a_stale_value_is_served_at_the_soft_timeout_and_the_fetch_continues() {
    let origin = FakeOrigin::slow("new", SECOND);
    let test = TestCache::of_origin(&origin, with_soft_timeout());
    test.put("k", &stale_if_error()).await;
    sleep(2 * SECOND).await;
    let asked = Instant::now();
    let result = test.get_or_fetch(&request("k")).await;
    assert_eq!(seen(&result), ("old", Outcome::Stale, FetchStatus::SoftTimeout));
    assert_eq!((asked.elapsed(), result.degraded), (100 * MILLISECOND, false));
    assert_eq!(test.counted(Counter::StaleSoftTimeout), 1);
    sleep(SECOND).await;
    assert_eq!(test.stored("k").await.unwrap().data, "new");
}

#[tokio::test(start_paused = true)]
async fn a_fetch_within_the_soft_timeout_is_answered() {
    let origin = FakeOrigin::slow("new", 50 * MILLISECOND);
    let test = TestCache::of_origin(&origin, with_soft_timeout());
    test.put("k", &stale_if_error()).await;
    sleep(2 * SECOND).await;
    assert_eq!(value(&test.get_or_fetch(&request("k")).await), ("new", Outcome::Hit));
}

#[tokio::test(start_paused = true)]
async fn without_a_stale_value_the_soft_timeout_does_not_apply() {
    let origin = FakeOrigin::slow("new", SECOND);
    let test = TestCache::of_origin(&origin, with_soft_timeout());
    let result = test.get_or_fetch(&request("k")).await;
    assert_eq!(seen(&result), ("new", Outcome::Hit, FetchStatus::Fetched));
}

#[tokio::test(start_paused = true)]
async fn a_stale_value_that_expires_before_the_soft_timeout_is_not_served() {
    let origin = FakeOrigin::slow("new", SECOND);
    let test = TestCache::of_origin(&origin, with_soft_timeout());
    let mut entry = stale_if_error();
    entry.lifetime.stale_if_error = SECOND;
    for (name, wait) in [("answered", 2 * SECOND), ("contended", SECOND / 2)] {
        test.put(name, &entry).await;
        sleep(2 * SECOND - 50 * MILLISECOND).await;
        let asked = Instant::now();
        let request = GetOrFetchRequest { wait: Some(wait), ..request(name) };
        let result = test.get_or_fetch(&request).await;
        assert_eq!(asked.elapsed(), wait.min(SECOND), "{name}: the whole wait");
        match name {
            "answered" => assert_eq!(value(&result), ("new", Outcome::Hit)),
            _ => assert_eq!(retry_after(&result), SECOND, "a fetch takes a second"),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_wait_that_is_shorter_than_the_soft_timeout_ends_first() {
    let origin = FakeOrigin::slow("new", SECOND);
    let test = TestCache::of_origin(&origin, with_soft_timeout());
    test.put("k", &stale_if_error()).await;
    sleep(2 * SECOND).await;
    let asked = Instant::now();
    let result = test.get_or_fetch(&waiting(30 * MILLISECOND)).await;
    assert_eq!(seen(&result), ("old", Outcome::Stale, FetchStatus::SoftTimeout));
    assert_eq!(asked.elapsed(), 30 * MILLISECOND);
}

#[tokio::test(start_paused = true)]
async fn without_a_soft_timeout_a_stale_value_is_served_when_the_wait_ends() {
    let origin = FakeOrigin::slow("new", 60 * SECOND);
    let test = TestCache::of_origin(&origin, config());
    test.put("k", &stale_if_error()).await;
    sleep(2 * SECOND).await;
    let asked = Instant::now();
    let result = test.get_or_fetch(&request("k")).await;
    assert_eq!(seen(&result), ("old", Outcome::Stale, FetchStatus::SoftTimeout));
    assert_eq!(asked.elapsed(), 5 * SECOND, "the namespace's lease_wait");
}

#[tokio::test(start_paused = true)]
async fn a_call_that_may_not_wait_starts_the_fetch() {
    let origin = FakeOrigin::slow("v", SECOND);
    let test = TestCache::of_origin(&origin, config());
    let asked = Instant::now();
    let result = test.get_or_fetch(&waiting(Duration::ZERO)).await;
    assert_eq!((retry_after(&result), asked.elapsed()), (10 * MILLISECOND, Duration::ZERO));
    assert_eq!(test.cache.waiting(), 1, "the background refresh");
    sleep(2 * SECOND).await;
    assert_eq!((origin.fetches(), test.cache.waiting()), (1, 0));
    let later = test.get_or_fetch(&waiting(Duration::ZERO)).await;
    assert_eq!(value(&later), ("v", Outcome::Hit));
    assert_eq!(test.counted(Counter::Misses), 1);
}

#[tokio::test(start_paused = true)]
async fn a_call_that_may_not_wait_gets_the_stale_value() {
    let origin = FakeOrigin::slow("new", SECOND);
    let test = TestCache::of_origin(&origin, config());
    test.put("k", &stale_if_error()).await;
    sleep(2 * SECOND).await;
    let result = test.get_or_fetch(&waiting(Duration::ZERO)).await;
    assert_eq!(seen(&result), ("old", Outcome::Stale, FetchStatus::SoftTimeout));
    sleep(2 * SECOND).await;
    assert_eq!(origin.fetches(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_forced_fetch_that_is_not_awaited_begins_after_the_call() {
    let origin = FakeOrigin::slow("v", SECOND);
    let test = TestCache::of_origin(&origin, config());
    let forced = GetOrFetchRequest { mode: FetchMode::NoCache, ..waiting(Duration::ZERO) };
    test.get_or_fetch(&forced).await;
    sleep(SECOND / 2).await;
    test.get_or_fetch(&forced).await;
    sleep(3 * SECOND).await;
    assert_eq!(origin.fetches(), 2);
}

#[tokio::test(start_paused = true)]
async fn the_answer_leaves_time_before_the_deadline() {
    let origin = FakeOrigin::slow("v", 60 * SECOND);
    let test = TestCache::of_origin(&origin, config());
    let asked = Instant::now();
    let deadline = Some(asked + 500 * MILLISECOND);
    let result = test.get_or_fetch(&GetOrFetchRequest { deadline, ..request("k") }).await;
    assert_eq!((retry_after(&result), asked.elapsed()), (10 * MILLISECOND, 400 * MILLISECOND));
}

#[tokio::test(start_paused = true)]
async fn retry_advice_follows_the_mean_fetch_time_and_the_holders_lease() {
    let origin = FakeOrigin::slow("v", 300 * MILLISECOND);
    let test = TestCache::of_origin(&origin, config());
    test.get_or_fetch(&request("other")).await;
    let not_waiting = test.get_or_fetch(&waiting(Duration::ZERO)).await;
    assert_eq!(retry_after(&not_waiting), 300 * MILLISECOND);
    let late = test.get_or_fetch(&waiting(10 * MILLISECOND)).await;
    assert_eq!(retry_after(&late), 300 * MILLISECOND);
    test.acquire("held").await;
    let waiting = GetOrFetchRequest { wait: Some(10 * MILLISECOND), ..request("held") };
    assert_eq!(retry_after(&test.get_or_fetch(&waiting).await), SECOND, "at most");
}

#[tokio::test(start_paused = true)]
async fn a_call_over_the_limit_of_waiters_does_not_wait() {
    let origin = FakeOrigin::slow("v", SECOND);
    let test = TestCache::new([("ns", config(), Some(&origin))], 0);
    let request = request("k");
    let asked = Instant::now();
    let second = async {
        let result = test.get_or_fetch(&request).await;
        (result, asked.elapsed())
    };
    let (first, (second, elapsed)) = tokio::join!(test.get_or_fetch(&request), second);
    assert_eq!(value(&first), ("v", Outcome::Hit), "the call that starts the fetch may wait");
    assert_eq!((retry_after(&second), elapsed), (10 * MILLISECOND, Duration::ZERO));
}

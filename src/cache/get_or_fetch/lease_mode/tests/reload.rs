//! Shutdown, and changes of the configuration.

use super::*;

#[tokio::test(start_paused = true)]
async fn closing_answers_waiters_at_once() {
    let test = callers();
    test.acquire("k").await;
    let closing = async {
        sleep(SECOND).await;
        test.cache.close();
        test.cache.closing().await;
    };
    let (request, asked) = (request("k"), Instant::now());
    let (result, ()) = tokio::join!(test.get_or_fetch(&request), closing);
    assert_eq!((retry_after(&result), asked.elapsed()), (SECOND, SECOND));
    let later = test.get_or_fetch(&request).await;
    assert_eq!((retry_after(&later), asked.elapsed()), (SECOND, SECOND));
}

#[tokio::test(start_paused = true)]
async fn a_call_joins_a_fetch_of_an_origin_that_was_removed() {
    let origin = FakeOrigin::slow("fetched", 2 * SECOND);
    let test = TestCache::of_origin(&origin, config());
    let reload = async {
        sleep(SECOND).await;
        test.reload(config(), None);
        test.get_or_fetch(&request("k")).await
    };
    let request = request("k");
    let (fetched, joined) = tokio::join!(test.get_or_fetch(&request), reload);
    assert_eq!(fetched.fill, Some(FillOutcome::Stored));
    assert_eq!(seen(&joined), ("fetched", Outcome::Hit, FetchStatus::Coalesced));
}

#[tokio::test(start_paused = true)]
async fn a_call_that_waits_while_a_failing_origin_is_configured_is_contended() {
    let test = callers();
    let token = test.acquire("k").await;
    let origin = FakeOrigin::failing(crate::origin::OriginErrorKind::Refused);
    let reload = async {
        sleep(SECOND).await;
        test.reload(config(), Some(&origin));
        test.cache.get_or_fetch(&waiting(3 * SECOND)).await.unwrap_err();
    };
    let release = async {
        sleep(2 * SECOND).await;
        test.memory.abandon(&key("k"), token, Duration::ZERO, "").await.unwrap();
    };
    let (request, asked) = (request("k"), Instant::now());
    let (result, (), ()) = tokio::join!(test.get_or_fetch(&request), reload, release);
    assert_eq!((retry_after(&result), asked.elapsed()), (SECOND, 2 * SECOND));
    assert_eq!(origin.fetches(), 1);
}

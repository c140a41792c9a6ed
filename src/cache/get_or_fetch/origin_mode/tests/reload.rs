//! Changes of the configuration, and shutdown.

use super::*;

#[tokio::test(start_paused = true)]
async fn a_shutdown_answers_calls_whose_fetch_is_aborted() {
    let origin = FakeOrigin::slow("v", 60 * SECOND);
    let test = TestCache::of_origin(&origin, config());
    let shutdown = async {
        sleep(SECOND).await;
        test.cache.close();
        sleep(SECOND).await;
        test.cache.give_up().await;
        test.cache.giving_up().await;
    };
    let (request, asked) = (request("k"), Instant::now());
    let (result, ()) = tokio::join!(test.get_or_fetch(&request), shutdown);
    assert_eq!(retry_after(&result), 10 * MILLISECOND);
    assert_eq!(asked.elapsed(), 2 * SECOND, "close() does not end a fetch, give_up() does");
    assert!(!test.is_held("k").await);
}

#[tokio::test(start_paused = true)]
async fn a_call_that_waits_while_its_origin_is_removed_is_contended_and_holds_no_lease() {
    let origin = FakeOrigin::fast("v");
    let test = TestCache::of_origin(&origin, config());
    let token = test.acquire("k").await;
    let reload = async {
        sleep(SECOND).await;
        test.reload(config(), None);
        // Its job has the new rules for the flight.
        let later = test.get_or_fetch(&waiting(3 * SECOND)).await;
        assert!(later.is_lease(), "{later:?}");
    };
    let release = async {
        sleep(2 * SECOND).await;
        test.memory.abandon(&key("k"), token, Duration::ZERO, "").await.unwrap();
    };
    let request = request("k");
    let (result, (), ()) = tokio::join!(test.get_or_fetch(&request), reload, release);
    assert_eq!(retry_after(&result), 10 * MILLISECOND);
    assert_eq!(origin.fetches(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_call_that_waits_while_its_origin_is_removed_gets_the_stale_value_of_a_back_off() {
    let origin = FakeOrigin::fast("v");
    let test = TestCache::of_origin(&origin, config());
    test.put("k", &stale_if_error()).await;
    sleep(2 * SECOND).await;
    let token = test.acquire("k").await;
    let reload = async {
        sleep(SECOND).await;
        test.reload(config(), None);
        test.get_or_fetch(&waiting(3 * SECOND)).await
    };
    let fail = async {
        sleep(2 * SECOND).await;
        test.memory.abandon(&key("k"), token, 60 * SECOND, "down").await.unwrap();
    };
    let request = request("k");
    let (result, _, ()) = tokio::join!(test.get_or_fetch(&request), reload, fail);
    let failed = FetchStatus::Failed(Some("down".to_owned()));
    assert_eq!(seen(&result), ("old", Outcome::Stale, failed));
}

//! `no_cache` and `only_if_cached`.

use super::*;

#[tokio::test(start_paused = true)]
async fn only_if_cached_asks_for_no_lease() {
    let test = callers();
    let only_if_cached = in_mode(FetchMode::OnlyIfCached);
    assert!(is_not_cached(&test.get_or_fetch(&only_if_cached).await));
    test.put("k", &stale_while_revalidate()).await;
    sleep(2 * SECOND).await;
    let stale = test.get_or_fetch(&only_if_cached).await;
    assert_eq!(seen(&stale), ("old", Outcome::Stale, FetchStatus::Read));
    assert_eq!((test.store.acquires(), test.counted(Counter::LeasesRefused)), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn no_cache_offers_the_lease_of_a_fresh_entry() {
    let test = callers();
    test.put("k", &new_entry("old", 60 * SECOND)).await;
    let result = test.get_or_fetch(&in_mode(FetchMode::NoCache)).await;
    assert!(result.is_lease() && test.store.take_reads().is_empty());
    assert!(lease(result).stale.is_none(), "a fresh value does not stand in for a new one");
}

#[tokio::test(start_paused = true)]
async fn a_forced_call_accepts_no_value_that_was_begun_before() {
    let test = callers();
    let offer = lease(test.get_or_fetch(&request("k")).await);
    let filling = async {
        sleep(SECOND).await;
        fill(&test, offer).await.unwrap();
    };
    let forced = in_mode(FetchMode::NoCache);
    let (result, ()) = tokio::join!(test.get_or_fetch(&forced), filling);
    assert!(result.is_lease(), "{result:?}");
}

//! Values that are fetched.

use super::*;

#[tokio::test(start_paused = true)]
async fn a_missing_value_is_fetched_and_stored() {
    let origin = FakeOrigin::slow("v", SECOND);
    let test = TestCache::of_origin(&origin, config());
    let params = Arc::new(BTreeMap::from([("id".to_owned(), "7".to_owned())]));
    let fetched = test.get_or_fetch(&GetOrFetchRequest { params, ..request("k") }).await;
    assert_eq!(value(&fetched), ("v", Outcome::Hit));
    assert_eq!(found(&fetched).tier, Tier::Origin { is_stored: true });
    assert_eq!((fetched.status, fetched.fill), (FetchStatus::Fetched, Some(FillOutcome::Stored)));
    assert!(!fetched.degraded);
    let asked = origin.last_request().unwrap();
    assert_eq!((&asked.key, asked.params["id"].as_str()), (&key("k"), "7"));
    assert_eq!(asked.deadline, Instant::now() + 119 * SECOND);

    let read = test.get_or_fetch(&request("k")).await;
    assert_eq!((value(&read), found(&read).tier), (("v", Outcome::Hit), Tier::Store));
    assert_eq!((read.status, read.fill), (FetchStatus::Read, None));
    assert_eq!(origin.fetches(), 1);
    let counted =
        [(Counter::Hits, 1), (Counter::Misses, 1), (Counter::Sets, 1), (Counter::Fetches, 1)];
    assert_eq!(test.all_counted(), counted);
}

#[tokio::test(start_paused = true)]
async fn calls_for_the_same_key_share_one_fetch() {
    let origin = FakeOrigin::slow("v", SECOND);
    let test = TestCache::of_origin(&origin, config());
    let request = request("k");
    let (first, second) = tokio::join!(test.get_or_fetch(&request), test.get_or_fetch(&request));
    assert_eq!((value(&first), value(&second)), (("v", Outcome::Hit), ("v", Outcome::Hit)));
    assert_eq!((first.status, second.status), (FetchStatus::Fetched, FetchStatus::Coalesced));
    assert_eq!(second.fill, Some(FillOutcome::Stored));
    assert_eq!((origin.fetches(), test.counted(Counter::FetchesCoalesced)), (1, 1));
    assert_eq!((test.counted(Counter::Hits), test.counted(Counter::Misses)), (0, 2));
}

#[tokio::test(start_paused = true)]
async fn a_value_fetched_by_another_replica_is_awaited() {
    let origin = FakeOrigin::fast("v");
    let test = TestCache::of_origin(&origin, config());
    let token = test.acquire("k").await;
    let other_replica = async {
        sleep(SECOND).await;
        let entry = new_entry("theirs", 60 * SECOND);
        test.memory.fill(&key("k"), token, &entry).await.unwrap().unwrap();
    };
    let request = request("k");
    let (result, ()) = tokio::join!(test.get_or_fetch(&request), other_replica);
    assert_eq!(value(&result), ("theirs", Outcome::Hit));
    assert_eq!(found(&result).tier, Tier::Store);
    assert_eq!((result.status, result.fill), (FetchStatus::Coalesced, None));
    assert_eq!(origin.fetches(), 0);
}

#[tokio::test(start_paused = true)]
async fn the_absence_of_a_value_is_cached() {
    let origin = FakeOrigin::fast("");
    origin.lose_value();
    let test = TestCache::of_origin(&origin, config());
    let fetched = test.get_or_fetch(&request("k")).await;
    assert_eq!(found(&fetched).outcome, Outcome::Negative);
    assert_eq!((fetched.status, fetched.fill), (FetchStatus::Fetched, Some(FillOutcome::Stored)));
    let read = test.get_or_fetch(&request("k")).await;
    assert_eq!((found(&read).outcome, read.status), (Outcome::Negative, FetchStatus::Read));
    assert_eq!((origin.fetches(), test.counted(Counter::Negative)), (1, 1), "the fetch is a miss");
    sleep(10 * SECOND).await;
    test.get_or_fetch(&request("k")).await;
    assert_eq!(origin.fetches(), 2, "negative_ttl has passed");
}

#[tokio::test(start_paused = true)]
async fn an_uncacheable_value_is_answered() {
    let origin = FakeOrigin::uncacheable("v");
    let test = TestCache::of_origin(&origin, config());
    let result = test.get_or_fetch(&request("k")).await;
    assert_eq!(
        (value(&result), result.fill),
        (("v", Outcome::Hit), Some(FillOutcome::Uncacheable))
    );
    assert_eq!(found(&result).tier, Tier::Origin { is_stored: false });
    assert!(!result.degraded);
}

#[tokio::test(start_paused = true)]
async fn an_unchanged_value_is_reported_as_revalidated() {
    let origin = FakeOrigin::revalidating("v");
    let test = TestCache::of_origin(&origin, config());
    test.get_or_fetch(&request("k")).await;
    let forced = in_mode(FetchMode::NoCache);
    let (first, second) = tokio::join!(test.get_or_fetch(&forced), test.get_or_fetch(&forced));
    assert_eq!(seen(&first), ("v", Outcome::Hit, FetchStatus::Revalidated));
    assert_eq!(first.fill, Some(FillOutcome::Stored));
    assert_eq!(second.status, FetchStatus::Coalesced);
}

#[tokio::test(start_paused = true)]
async fn a_deleted_value_is_answered_and_not_stored() {
    let origin = FakeOrigin::slow("v", SECOND);
    let test = TestCache::of_origin(&origin, config());
    let deleting = async {
        sleep(SECOND / 2).await;
        test.cache.delete(&key("k"), Duration::ZERO).await.unwrap();
    };
    let request = request("k");
    let (result, ()) = tokio::join!(test.get_or_fetch(&request), deleting);
    assert_eq!(value(&result), ("v", Outcome::Hit));
    assert_eq!(result.fill, Some(FillOutcome::LeaseLost(LeaseLoss::Invalidated)));
    assert_eq!(found(&result).tier, Tier::Origin { is_stored: false });
    assert!(test.stored("k").await.is_none());
}

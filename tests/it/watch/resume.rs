//! Streams that continue an earlier one: all changes are delivered, or a reset.

use larder::pb::v1::ResetReason;

use crate::support::{
    client::{Cache, NS, invalidate},
    fleet::Fleet,
    targets,
    watch::{Watch, WatchEvent, watch_request},
};

const CONFIG: &str = "[watch]\nheartbeat = '100ms'\n";

/// Opens a stream that continues at a token.
async fn resume(cache: &Cache, keys: bool, token: &[u8]) -> Watch {
    Watch::open(cache, watch_request(&[NS], keys, token)).await.unwrap()
}

/// Expects that the stream does not continue the earlier one.
async fn expect_new(watch: &mut Watch) {
    assert_eq!(watch.event().await, WatchEvent::Reset(ResetReason::NotResumable));
    assert!(matches!(watch.event().await, WatchEvent::Ready { resumed: false, .. }));
}

/// Expects these changes, perhaps several times, and then Ready.
async fn expect_resumed(watch: &mut Watch, expected: &[WatchEvent]) {
    let mut missed = Vec::new();
    loop {
        match watch.event().await {
            WatchEvent::Ready { resumed, .. } => {
                assert!(resumed);
                break;
            }
            WatchEvent::Heartbeat { .. } => {}
            event => missed.push(event),
        }
    }
    for expected in expected {
        let is_received = missed.iter().any(|event| includes(event, expected));
        assert!(is_received, "{expected:?} is not among {missed:?}");
    }
}

/// Whether the first includes the second, perhaps together with other tags.
fn includes(event: &WatchEvent, expected: &WatchEvent) -> bool {
    match (event, expected) {
        (WatchEvent::Tags(_, tags), WatchEvent::Tags(_, expected)) => {
            expected.iter().all(|tag| tags.contains(tag))
        }
        _ => event == expected,
    }
}

on_both_stores!(what_was_missed_comes_before_ready, config: CONFIG, |env| {
    for keys in [true, false] {
        let mut watch = Watch::of_ns(&env.cache, keys).await;
        env.cache.put("before", "v").await;
        if keys {
            watch.expect_keys(&["before"]).await;
        }
        let token = watch.token().await;
        drop(watch);
        let mut expected = vec![WatchEvent::tag_of_ns("t")];
        if keys {
            env.cache.put("missed", "v").await;
            let keys = vec![("missed".to_owned(), String::new())];
            expected.push(WatchEvent::Keys(NS.to_owned(), keys));
        }
        targets::invalidate(&env.cache, &[targets::tags(&["t"])]).await;
        // The other stream has taken note of the changes.
        Watch::of_ns(&env.cache, keys).await.token().await;
        let mut resumed = resume(&env.cache, keys, &token).await;
        expect_resumed(&mut resumed, &expected).await;
        env.cache.invalidate_namespace(invalidate(NS)).await.unwrap();
        resumed.expect(&WatchEvent::all_of_ns()).await;
    }
});

on_both_stores!(a_token_of_another_stream_continues_nothing, config: CONFIG, |env| {
    let mut watch = Watch::of_ns(&env.cache, true).await;
    let token = watch.token().await;
    expect_new(&mut resume(&env.cache, false, &token).await).await;
    expect_new(&mut resume(&env.cache, true, &token[1..]).await).await;
    let mut resumed = resume(&env.cache, true, &token).await;
    expect_resumed(&mut resumed, &[]).await;
});

/// Bans and generations are in Redis, so that every replica can deliver the missed ones.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_replica_delivers_the_missed_invalidations() {
    let mut fleet = Fleet::start(2, CONFIG).await;
    // A namespace that is in use.
    fleet.caches[0].put("k", "v").await;
    targets::invalidate(&fleet.caches[0], &[targets::tags(&["first"])]).await;
    let mut watch = Watch::of_ns(&fleet.caches[0], false).await;
    let token = watch.token().await;
    drop(watch);
    targets::invalidate(&fleet.caches[0], &[targets::tags(&["t"]), targets::pattern("k*")]).await;
    let missed = [WatchEvent::tag_of_ns("t"), WatchEvent::pattern_of_ns("k*")];
    let mut resumed = resume(&fleet.caches[1], false, &token).await;
    expect_resumed(&mut resumed, &missed).await;
    targets::invalidate(&fleet.caches[0], &[targets::tags(&["later"])]).await;
    resumed.expect(&WatchEvent::tag_of_ns("later")).await;

    // A new replica has no history either.
    fleet.replace(0).await;
    let mut restarted = resume(&fleet.caches[0], false, &token).await;
    expect_resumed(&mut restarted, &missed).await;

    // A namespace that was invalidated may have been invalidated again since.
    fleet.caches[1].invalidate_namespace(invalidate(NS)).await.unwrap();
    fleet.caches[1].put("k", "v").await;
    resumed.expect(&WatchEvent::all_of_ns()).await;
    expect_new(&mut resume(&fleet.caches[0], false, &token).await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_are_only_known_to_the_replica_of_the_stream() {
    let fleet = Fleet::start(2, CONFIG).await;
    let mut watch = Watch::of_ns(&fleet.caches[0], true).await;
    let token = watch.token().await;
    fleet.caches[1].put("k", "v").await;
    expect_new(&mut resume(&fleet.caches[1], true, &token).await).await;
    let mut resumed = resume(&fleet.caches[0], true, &token).await;
    let changed = WatchEvent::Keys(NS.to_owned(), vec![("k".to_owned(), String::new())]);
    watch.expect_keys(&["k"]).await;
    drop(watch);
    let mut again = resume(&fleet.caches[0], true, &token).await;
    expect_resumed(&mut again, &[changed]).await;
    resumed.ready().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_of_redis_ends_every_token() {
    let mut fleet = Fleet::start(1, CONFIG).await;
    fleet.caches[0].put("k", "v").await;
    let mut watch = Watch::of_ns(&fleet.caches[0], false).await;
    let token = watch.token().await;
    drop(watch);
    fleet.redis.restart().await;
    let mut resumed = resume(&fleet.caches[0], false, &token).await;
    assert!(matches!(resumed.event().await, WatchEvent::Reset(_)));
    resumed.ready().await;
}

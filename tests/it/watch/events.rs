//! Events of changes of every kind, on both stores and through other replicas.

use std::time::{Duration, Instant};

use larder::pb::v1::{
    BatchDeleteRequest, BatchSetRequest, PatchRequest, SetRequest, SetResult, patch_request::Patch,
    watch_response::Event,
};
use tonic::Code;

use crate::support::{
    client::{
        Cache, NS, data, delete, duration, fill, increment, invalidate, json, key_ref, params, set,
        text, touch,
    },
    fleet::Fleet,
    origin::ok,
    status::expect_error,
    targets,
    wait::throughout,
    watch::{Watch, WatchEvent, watch_request},
};

/// Changes entries in every way, through `cache`, and expects the events.
async fn change_everything(cache: &Cache, watch: &mut Watch) {
    cache.put("set", "v").await;
    watch.expect_keys(&["set"]).await;
    cache.set(set("large", data(vec![1; 100_000]))).await.unwrap();
    watch.expect_keys(&["large"]).await;
    cache.delete(delete("set")).await.unwrap();
    watch.expect_keys(&["set"]).await;
    cache.increment(increment("counter", 1)).await.unwrap();
    watch.expect_keys(&["counter"]).await;
    let lease = cache.lease("filled").await;
    let filled = cache.set(fill("filled", json("{}"), &lease)).await.unwrap();
    assert_eq!(filled.result(), SetResult::Stored);
    watch.expect_keys(&["filled"]).await;
    let patch = PatchRequest {
        namespace: NS.to_owned(),
        key: "filled".to_owned(),
        patch: Some(Patch::MergePatch("{\"a\":1}".to_owned())),
        ..Default::default()
    };
    cache.patch(patch).await.unwrap();
    watch.expect_keys(&["filled"]).await;
    cache.touch(touch("filled", 60_000)).await.unwrap();
    watch.expect_keys(&["filled"]).await;
    let names: Vec<String> = (0..500).map(|number| format!("batch-{number}")).collect();
    let items = names.iter().map(|name| set(name, text("v"))).collect();
    cache.batch_set(BatchSetRequest { items }).await.unwrap();
    let all: Vec<&str> = names.iter().map(String::as_str).collect();
    watch.expect_keys(&all).await;
    let keys = names.iter().map(|name| key_ref(name)).collect();
    cache.batch_delete(BatchDeleteRequest { keys, ..Default::default() }).await.unwrap();
    watch.expect_keys(&all).await;
    targets::invalidate(cache, &[targets::tags(&["t"]), targets::pattern("k:*")]).await;
    watch.expect(&WatchEvent::tag_of_ns("t")).await;
    watch.expect(&WatchEvent::pattern_of_ns("k:*")).await;
    cache.invalidate_namespace(invalidate(NS)).await.unwrap();
    watch.expect(&WatchEvent::all_of_ns()).await;
}

on_both_stores!(changes_of_every_kind_are_delivered, |env| {
    let mut watch = Watch::of_ns(&env.cache, true).await;
    change_everything(&env.cache, &mut watch).await;
});

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn changes_through_another_replica_are_delivered() {
    let fleet = Fleet::start(2, "").await;
    let mut watch = Watch::of_ns(&fleet.caches[0], true).await;
    change_everything(&fleet.caches[1], &mut watch).await;
}

on_both_stores!(invalidations_of_an_empty_namespace_are_delivered, |env| {
    let mut watch = Watch::of_ns(&env.cache, false).await;
    for _ in 0..2 {
        env.cache.invalidate_namespace(invalidate(NS)).await.unwrap();
        watch.expect(&WatchEvent::all_of_ns()).await;
        targets::invalidate(&env.cache, &[targets::tags(&["t"])]).await;
        watch.expect(&WatchEvent::tag_of_ns("t")).await;
    }
});

on_both_stores!(only_watched_changes_are_delivered, |env| {
    let mut plain = Watch::of_ns(&env.cache, false).await;
    let request = watch_request(&["other", "ns"], true, b"");
    let mut both = Watch::open(&env.cache, request).await.unwrap();
    both.ready().await;
    env.cache.put("k", "v").await;
    both.expect_keys(&["k"]).await;
    let third = SetRequest { namespace: "third".to_owned(), ..set("k", text("v")) };
    env.cache.set(third).await.unwrap();
    env.cache.invalidate_namespace(invalidate("third")).await.unwrap();
    env.cache.invalidate_namespace(invalidate("other")).await.unwrap();
    both.expect(&WatchEvent::Namespace("other".to_owned())).await;
    plain.expect_silence(Duration::from_millis(300)).await;
});

on_both_stores!(keys_with_params_have_a_digest, |env| {
    let mut watch = Watch::of_ns(&env.cache, true).await;
    let with_params = SetRequest { params: params(&[("lang", "de")]), ..set("k:1", text("v")) };
    env.cache.set(with_params).await.unwrap();
    let listed = env.cache.list_keys(larder::pb::v1::ListKeysRequest {
        namespace: NS.to_owned(),
        ..Default::default()
    });
    let digest = listed.await.unwrap().remove(0).params_digest;
    assert_eq!(digest.len(), 43);
    loop {
        if let WatchEvent::Keys(_, keys) = watch.news().await {
            assert_eq!(keys, [("k:1".to_owned(), digest)]);
            break;
        }
    }
});

with_origin!(fills_from_origins_and_refreshes_are_delivered, |env, origin| {
    let mut watch = Watch::of_ns(&env.cache, true).await;
    origin.always(ok("fetched", &[]));
    env.cache.fetched("k").await;
    watch.expect_keys(&["k"]).await;
});

const OFTEN: [(&str, &str); 2] =
    [("LARDER_WATCH__HEARTBEAT", "200ms"), ("LARDER_WATCH__MAX_DELAY", "700ms")];

on_both_stores!(ready_has_the_times_and_heartbeats_come, env: OFTEN, |env| {
    let mut watch =
        Watch::open(&env.cache, watch_request(&[NS], false, b"")).await.unwrap();
    let first = watch.stream.message().await.unwrap().unwrap();
    let Some(Event::Ready(ready)) = first.event else { panic!("{first:?}") };
    assert_eq!(duration(ready.heartbeat), Duration::from_millis(200));
    assert_eq!(duration(ready.max_delay), Duration::from_millis(700));
    assert!(!ready.resumed && !ready.resume_token.is_empty());
    let began = Instant::now();
    for _ in 0..3 {
        assert!(matches!(watch.event().await, WatchEvent::Heartbeat { .. }));
    }
    assert!(began.elapsed() >= Duration::from_millis(500), "{:?}", began.elapsed());
});

const STRICT: &str = "strict_namespaces = true\n[namespaces.ns]";

on_both_stores!(invalid_watches_are_refused, config: STRICT, |env| {
    let refused = async |namespaces: &[&str], token: &[u8]| {
        Watch::open(&env.cache, watch_request(namespaces, false, token)).await.map(drop)
    };
    expect_error(refused(&[], b"").await, Code::InvalidArgument, "INVALID_ARGUMENT");
    expect_error(refused(&["ns"; 65], b"").await, Code::InvalidArgument, "INVALID_ARGUMENT");
    expect_error(refused(&["ns", "Ns"], b"").await, Code::InvalidArgument, "INVALID_ARGUMENT");
    let token = vec![1; 20_000];
    expect_error(refused(&["ns"], &token).await, Code::InvalidArgument, "INVALID_ARGUMENT");
    expect_error(refused(&["ns", "other"], b"").await, Code::NotFound, "UNKNOWN_NAMESPACE");
    assert!(refused(&["ns"; 64], b"").await.is_ok());
});

/// A change is delivered long before `max_delay`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn changes_are_delivered_soon() {
    let fleet = Fleet::start(2, "").await;
    let mut watch = Watch::of_ns(&fleet.caches[0], true).await;
    let mut delays = Vec::new();
    for number in 0..50 {
        let key = format!("k{number}");
        fleet.caches[1].put(&key, "v").await;
        let acknowledged = Instant::now();
        watch.expect_keys(&[&key]).await;
        delays.push(acknowledged.elapsed());
        throughout(Duration::from_millis(5), async || {}).await;
    }
    delays.sort();
    eprintln!("received after: median {:?}, at most {:?}", delays[25], delays[49]);
    assert!(delays[25] < Duration::from_millis(200), "{delays:?}");
}

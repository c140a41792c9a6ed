//! Which reads the near cache answers.

use larder::pb::v1::{
    BatchGetOrFetchRequest, BatchGetRequest, Consistency, FetchStatus, GetOrFetchRequest,
    GetRequest, Outcome, StatsRequest, Tier, batch_get_or_fetch_result,
};

use super::{CONFIG, read_with_tier, wait_until_coherent, wait_until_near};
use crate::support::{
    client::{
        Fetched as _, as_text, batch_get, data, delete, fetch, fill, get, increment, invalidate,
        key_ref, set, set_for, text, touch,
    },
    env::Env,
    fleet::{Fleet, metric},
    redis::RedisServer,
    server::Larder,
    status::expect_violation,
    wait::{SOON, eventually},
};

fn strict(key: &str) -> GetRequest {
    GetRequest { consistency: Consistency::Store.into(), ..get(key) }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn near_hits_do_not_reach_redis() {
    let fleet = Fleet::start(1, CONFIG).await;
    let cache = &fleet.caches[0];
    wait_until_coherent(&fleet.servers[0]).await;
    cache.put("k", "v").await;
    wait_until_near(cache, "k", "v").await;
    fleet.redis.reset_counts().await;
    for _ in 0..100 {
        assert_eq!(read_with_tier(cache, get("k")).await, (Some("v".to_owned()), Tier::Near));
        let fetched = cache.get_or_fetch(fetch("k", 0)).await.unwrap();
        assert_eq!((fetched.fetch_status(), fetched.degraded), (FetchStatus::Unspecified, false));
        assert_eq!(fetched.expect_found().entry.unwrap().tier(), Tier::Near);
    }
    let counts = fleet.redis.counts().await;
    assert_eq!(counts.get("mget"), None, "{counts:?}");
    let response = cache.rpc().get(get("k")).await.unwrap();
    assert_eq!(response.metadata().get("x-cache").unwrap(), "HIT");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn store_consistency_bypasses_the_near_cache() {
    let fleet = Fleet::start(1, CONFIG).await;
    let cache = &fleet.caches[0];
    wait_until_coherent(&fleet.servers[0]).await;
    cache.put("k", "v").await;
    wait_until_near(cache, "k", "v").await;
    let consistency = Consistency::Store.into();
    for _ in 0..10 {
        assert_eq!(read_with_tier(cache, strict("k")).await, (Some("v".to_owned()), Tier::Store));
        let fetched =
            cache.get_or_fetch(GetOrFetchRequest { consistency, ..fetch("k", 0) }).await.unwrap();
        assert_eq!(fetched.expect_found().entry.unwrap().tier(), Tier::Store);
        let request = BatchGetRequest { consistency, ..batch_get(vec![key_ref("k")]) };
        let result = cache.batch_get(request).await.unwrap().remove(0).results.remove(0);
        assert_eq!(result.entry.unwrap().tier(), Tier::Store);
    }
    let unknown = GetRequest { consistency: 99, ..get("k") };
    expect_violation(cache.get(unknown).await, "consistency");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_reads_only_the_rest_from_redis() {
    let fleet = Fleet::start(1, CONFIG).await;
    let cache = &fleet.caches[0];
    wait_until_coherent(&fleet.servers[0]).await;
    for key in ["a", "b", "c"] {
        cache.put(key, key).await;
    }
    wait_until_near(cache, "b", "b").await;
    let keys = || batch_get(["a", "b", "none", "c"].map(key_ref).into());
    let tiers = async || {
        let results = cache.batch_get(keys()).await.unwrap().remove(0).results;
        let texts: Vec<_> = results.iter().map(|result| as_text(result.value.clone())).collect();
        assert_eq!(texts, [Some("a".to_owned()), Some("b".to_owned()), None, Some("c".to_owned())]);
        assert_eq!(results[2].outcome(), Outcome::Miss);
        [0, 1, 3].map(|index: usize| results[index].entry.as_ref().unwrap().tier())
    };
    assert_eq!(tiers().await, [Tier::Store, Tier::Near, Tier::Store]);
    eventually("the near cache holds all keys", SOON, async || {
        (tiers().await == [Tier::Near; 3]).then_some(())
    })
    .await;
    let request = BatchGetOrFetchRequest {
        keys: ["a", "none", "c"].map(key_ref).into(),
        ..Default::default()
    };
    let results = cache.batch_get_or_fetch(request).await.unwrap();
    let answers = results.into_iter().map(|result| match result.result {
        Some(batch_get_or_fetch_result::Result::Answer(answer)) => answer,
        other => panic!("{other:?}"),
    });
    let [a, none, c] = answers.collect::<Vec<_>>().try_into().unwrap();
    for (answer, expected) in [(a, "a"), (c, "c")] {
        let found = answer.expect_found();
        assert_eq!(found.entry.unwrap().tier(), Tier::Near);
        assert_eq!(as_text(found.value).unwrap(), expected);
    }
    none.expect_lease();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn other_namespaces_and_the_embedded_store_have_no_near_cache() {
    let fleet = Fleet::start(1, CONFIG).await;
    let embedded = Env::memory(&[], CONFIG).await;
    for (cache, namespace) in [(&fleet.caches[0], "other"), (&embedded.cache, "ns")] {
        let in_namespace =
            larder::pb::v1::SetRequest { namespace: namespace.to_owned(), ..set("k", text("v")) };
        cache.set(in_namespace).await.unwrap();
        for _ in 0..20 {
            let request = GetRequest { namespace: namespace.to_owned(), ..get("k") };
            assert_eq!(read_with_tier(cache, request).await, (Some("v".to_owned()), Tier::Store));
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn near_entries_expire_on_time() {
    let fleet = Fleet::start(1, CONFIG).await;
    let cache = &fleet.caches[0];
    wait_until_coherent(&fleet.servers[0]).await;
    for round in 0..5 {
        let key = format!("k{round}");
        let began = std::time::Instant::now();
        cache.set(set_for(&key, text("v"), 300)).await.unwrap();
        let stored = std::time::Instant::now();
        let mut near = 0;
        loop {
            let asked = std::time::Instant::now();
            let (value, tier) = read_with_tier(cache, get(&key)).await;
            near += u32::from(tier == Tier::Near);
            // The replica estimates the store's clock to within a few milliseconds.
            if asked - stored > std::time::Duration::from_millis(330) {
                assert_eq!(value, None, "{:?} after it was stored", asked - began);
                break;
            }
        }
        assert!(near > 10, "{near} near hits");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_reads_its_own_writes() {
    let fleet = Fleet::start(1, CONFIG).await;
    let cache = &fleet.caches[0];
    wait_until_coherent(&fleet.servers[0]).await;
    for round in 0..50 {
        let (one, two) = (format!("{round}"), format!("{round}b"));
        cache.put("k", &one).await;
        wait_until_near(cache, "k", &one).await;
        cache.put("k", &two).await;
        assert_eq!(cache.read("k").await, Some(two.clone()));
        wait_until_near(cache, "k", &two).await;
        cache.delete(delete("k")).await.unwrap();
        assert_eq!(cache.read("k").await, None);
        let lease = cache.lease("k").await;
        cache.set(fill("k", text(&one), &lease)).await.unwrap();
        wait_until_near(cache, "k", &one).await;
        cache.invalidate_namespace(invalidate("ns")).await.unwrap();
        assert_eq!(cache.read("k").await, None);
        cache.increment(increment("n", 1)).await.unwrap();
        wait_until_near(cache, "n", "1").await;
        cache.increment(increment("n", 1)).await.unwrap();
        assert_eq!(cache.read("n").await.as_deref(), Some("2"));
        wait_until_near(cache, "n", "2").await;
        cache.touch(touch("n", 3_600_000)).await.unwrap();
        let remaining =
            cache.get(get("n")).await.unwrap().entry.unwrap().ttl_remaining.unwrap().seconds;
        assert!(remaining > 3_500, "{remaining} s");
        cache.delete(delete("n")).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_near_cache_is_bounded_and_counted() {
    let fleet = Fleet::start(1, CONFIG).await;
    let (server, cache) = (&fleet.servers[0], &fleet.caches[0]);
    wait_until_coherent(server).await;
    for number in 0..200 {
        let key = format!("k{number}");
        cache.set(set(&key, data(vec![7; 16 * 1024]))).await.unwrap();
        for _ in 0..3 {
            cache.get(get(&key)).await.unwrap();
        }
    }
    assert!(metric(server, "larder_near_size_bytes").await <= f64::from(1 << 20));
    assert!(metric(server, "larder_near_entries").await > 10.0);
    assert!(metric(server, "larder_near_evictions_total").await > 10.0);
    assert!(metric(server, "larder_near_announced_total").await >= 200.0);
    let hits = metric(server, "larder_near_hits_total").await;
    assert!(hits > 100.0, "{hits}");
    eventually("Stats reports the same", SOON, async || {
        let stats = cache.stats(StatsRequest::default()).await.unwrap();
        (stats.totals.unwrap().total.unwrap().near_hits as f64 == hits).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_permission_to_track_redis_is_read() {
    let redis = RedisServer::start_tcp().await;
    let mut connection = redis.connection().await;
    let user = ["ACL", "SETUSER", "app", "on", ">secret", "~larder:*", "+@all", "-client"];
    redis::cmd(user[0]).arg(&user[1..]).exec_async(&mut connection).await.unwrap();
    let larder = Larder::redis(&redis.url().replace("redis://", "redis://app:secret@"))
        .config(CONFIG)
        .start()
        .await;
    let cache = larder.client().await;
    let message = "the near cache is not used";
    eventually("the message is logged", SOON, async || {
        larder.logs().contains(message).then_some(())
    })
    .await;
    eventually("reads and writes work", SOON, async || {
        cache.set(set("k", text("v"))).await.unwrap();
        (tier_of_k(&cache).await == Tier::Store).then_some(())
    })
    .await;
    for _ in 0..20 {
        assert_eq!(read_with_tier(&cache, get("k")).await, (Some("v".to_owned()), Tier::Store));
    }
    assert_eq!(metric(&larder, "larder_near_coherent").await, 0.0);
}

async fn tier_of_k(cache: &crate::support::client::Cache) -> Tier {
    cache.get(get("k")).await.unwrap().entry.map_or(Tier::Unspecified, |entry| entry.tier())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reload_switches_the_near_cache_on_and_off() {
    let fleet = Fleet::start(1, "").await;
    let (server, cache) = (&fleet.servers[0], &fleet.caches[0]);
    cache.put("k", "v").await;
    assert_eq!(read_with_tier(cache, get("k")).await.1, Tier::Store);
    server.rewrite_config(CONFIG);
    server.signal(nix::sys::signal::Signal::SIGHUP);
    wait_until_near(cache, "k", "v").await;
    server.rewrite_config("[namespaces.other]\nttl = '1m'\n");
    server.signal(nix::sys::signal::Signal::SIGHUP);
    eventually("the near cache is off", SOON, async || {
        (read_with_tier(cache, get("k")).await.1 == Tier::Store).then_some(())
    })
    .await;
    assert_eq!(read_with_tier(cache, get("k")).await.1, Tier::Store);
}

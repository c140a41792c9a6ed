//! Calls, failures and outages, so that each panel has something to show.

use std::time::Duration;

use larder::pb::v1::{
    GetOrFetchRequest, GetRequest, InvalidateRequest, SetRequest, set_request::Condition,
};

use tonic::Request;

use super::scene::Scene;
use crate::support::{
    client::{Cache, Fetched as _, abandon, data, delete, fetch, fill, get, invalidate, set, text},
    fleet::metric,
    origin::{after, ok, status},
    targets::{pattern, tags},
    wait::{SOON, eventually},
    watch::Watch,
};

/// Calls of all kinds at the three replicas.
pub(crate) async fn calls(scene: &Scene) {
    let [one, two, _] = &scene.caches[..] else { panic!("three replicas") };
    for cache in &scene.caches {
        // A server serves before its store answers.
        eventually("values are stored", SOON, async || {
            let answer = cache.set(set("first", text("v"))).await.unwrap();
            (!answer.degraded).then_some(())
        })
        .await;
    }
    let mut watch = Watch::of_ns(two, true).await;
    one.put("1:a", "v").await;
    one.put("k", "v").await;
    watch.event().await;
    for cache in [one, two] {
        cache.read("k").await;
        cache.read("missing").await;
    }
    let refused = SetRequest { condition: Some(Condition::IfAbsent(true)), ..set("k", text("w")) };
    one.set(refused).await.unwrap();
    one.get(get("")).await.unwrap_err();
    one.delete(delete("k")).await.unwrap();
    let bans = InvalidateRequest { targets: vec![tags(&["x"])], ..InvalidateRequest::default() };
    let both = [
        bans.clone(),
        bans,
        InvalidateRequest { targets: vec![pattern("2:*")], ..InvalidateRequest::default() },
    ];
    let all = both.map(|request| one.invalidate(request));
    for answer in futures::future::join_all(all).await {
        answer.unwrap();
    }
    one.invalidate_namespace(invalidate("ns")).await.unwrap();
    leases(one, two).await;
    near_cache(scene).await;
    events(scene).await;
}

/// Leases that end in every way.
async fn leases(one: &Cache, two: &Cache) {
    let lease = one.lease("abandoned").await;
    two.get_or_fetch(fetch("abandoned", 0)).await.unwrap().expect_contended();
    one.abandon(abandon("abandoned", &lease)).await.unwrap();
    let lease = one.lease("filled").await;
    one.set(fill("filled", text("v"), &lease)).await.unwrap();
    let lease = one.lease("superseded").await;
    two.put("superseded", "v").await;
    one.set(fill("superseded", text("w"), &lease)).await.unwrap();
    let lease = one.lease("invalidated").await;
    two.delete(delete("invalidated")).await.unwrap();
    one.set(fill("invalidated", text("w"), &lease)).await.unwrap();
    let lease = one.lease("expired").await;
    eventually("the lease expires", SOON, async || {
        let answer = two.get_or_fetch(fetch("expired", 0)).await.unwrap();
        matches!(answer.outcome, Some(larder::pb::v1::get_or_fetch_response::Outcome::Lease(_)))
            .then_some(())
    })
    .await;
    one.set(fill("expired", text("w"), &lease)).await.unwrap();
}

/// More values than the near cache holds, and reads of one of them.
async fn near_cache(scene: &Scene) {
    let (replica, cache) = (&scene.replicas[0], &scene.caches[0]);
    let namespace = || "near".to_owned();
    for number in 0..40 {
        let value = data(vec![b'x'; 4096]);
        let request = SetRequest { namespace: namespace(), ..set(&number.to_string(), value) };
        cache.set(request).await.unwrap();
    }
    eventually("the near cache answers and evicts", SOON, async || {
        for number in (0..40).chain([39; 5]) {
            let request = GetRequest { namespace: namespace(), ..get(&number.to_string()) };
            cache.get(request).await.unwrap();
        }
        let hits = metric(replica, "larder_near_hits_total").await;
        (hits > 0.0 && metric(replica, "larder_near_evictions_total").await > 0.0).then_some(())
    })
    .await;
}

/// An event by a call, and one by a stream.
async fn events(scene: &Scene) {
    let address = scene.replicas[0].address().to_string();
    let publish = ["events", "publish", "changed", "id=1", "--address", &address];
    let output = crate::support::server::run(&publish, &[]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let mut redis = scene.redis.connection().await;
    let mut add = redis::cmd("XADD");
    add.arg("events").arg("*").arg("event").arg("changed").arg("id").arg("1");
    add.query_async::<String>(&mut redis).await.unwrap();
}

/// Fetches that succeed, are shared, refreshed early, stale, forbidden to store, and fail until the
/// breaker opens.
pub(crate) async fn origin(scene: &Scene) {
    let cache = &scene.caches[1];
    let call = |key: &str| {
        let namespace = if key == "early" { "early" } else { "api" }.to_owned();
        cache.get_or_fetch(GetOrFetchRequest { namespace, ..fetch(key, 20_000) })
    };
    scene.origin.answer(|request| {
        let slow = Duration::from_millis(if request.before > 0 { 600 } else { 30 });
        let lifetime = |seconds: u32| format!("max-age={seconds}, stale-if-error=60");
        match request.target.as_str() {
            "/v/none" => status(404),
            "/v/private" => ok("v", &[("cache-control", "no-store")]),
            "/v/shared" => after(Duration::from_millis(200), ok("v", &[])),
            "/v/early" => {
                after(Duration::from_millis(500), ok("v", &[("cache-control", "max-age=5")]))
            }
            "/v/swr" => ok("v", &[("cache-control", "max-age=1, stale-while-revalidate=60")]),
            "/v/soft" => after(slow, ok("v", &[("cache-control", lifetime(1).as_str())])),
            "/v/stale" if request.before == 0 => {
                ok("v", &[("cache-control", lifetime(1).as_str())])
            }
            _ => status(500),
        }
    });
    for key in ["none", "none", "private", "swr", "soft", "stale", "early"] {
        call(key).await.unwrap();
    }
    let shared = [call("shared"), call("shared"), call("shared")];
    for answer in futures::future::join_all(shared).await {
        answer.unwrap();
    }
    for (key, counter) in [
        ("early", "larder_refreshes_early_total"),
        ("swr", "larder_stale_while_revalidate_total"),
        ("soft", "larder_stale_soft_timeout_total"),
        ("stale", "larder_stale_if_error_total"),
    ] {
        eventually(counter, 2 * SOON, async || {
            let _ = call(key).await;
            (metric(&scene.replicas[1], counter).await > 0.0).then_some(())
        })
        .await;
    }
    eventually("the breaker of the origin opens", SOON, async || {
        let _ = call("broken").await;
        (metric(&scene.replicas[1], "larder_origin_breaker_open").await > 0.0).then_some(())
    })
    .await;
}

/// A read, and a fetch from the origin, that belong to this trace.
pub(crate) async fn traced(scene: &Scene, trace: &str) {
    let cache = &scene.caches[0];
    cache.get(in_trace(get("traced"), trace)).await.unwrap();
    scene.origin.always(ok("v", &[]));
    let fetched = GetOrFetchRequest { namespace: "api".to_owned(), ..fetch("traced", 20_000) };
    cache.get_or_fetch(in_trace(fetched, trace)).await.unwrap().expect_found();
}

fn in_trace<T>(message: T, trace: &str) -> Request<T> {
    let mut request = Request::new(message);
    let context = format!("00-{trace}-b7ad6b7169203331-01");
    request.metadata_mut().insert("traceparent", context.parse().unwrap());
    request
}

/// Refused callers, quotas, handshakes, wrong tokens and sessions at the guarded server.
pub(crate) async fn guarded(scene: &Scene) {
    let token = scene.caller_token();
    assert!(scene.command(&["set", "shop", "a", "v"], token));
    assert!(!scene.command(&["set", "shop", "b", "v"], token), "max_keys is 1");
    assert!(!scene.command(&["get", "other", "a"], token), "no permission");
    eventually("the rate of the quota is exceeded", SOON, async || {
        (!scene.command(&["get", "shop", "a"], token)).then_some(())
    })
    .await;
    let wrong = scene.command(&["get", "shop", "a"], "a-token-that-is-not-known-0123456789");
    assert!(!wrong, "the token is unknown");
    assert_eq!(scene.guarded.admin("/metrics").await.status, 401);
    scene.begin_and_end_session().await;
}

/// Evictions from the embedded store, and leases without room.
pub(crate) async fn embedded(scene: &Scene) {
    let cache = scene.embedded.client().await;
    eventually("entries are evicted", SOON, async || {
        for number in 0..20 {
            cache.set(set(&number.to_string(), data(vec![b'x'; 60_000]))).await.unwrap();
        }
        (metric(&scene.embedded, "larder_memory_evictions_total").await > 0.0).then_some(())
    })
    .await;
}

/// A Redis that is full, and one that does not answer.
pub(crate) async fn outages(scene: &Scene) {
    let [one, two, three] = &scene.caches[..] else { panic!("three replicas") };
    three.delete(delete("k")).await.unwrap_err();
    let mut redis = scene.redis.connection().await;
    let mut limit = async |bytes: &str| {
        let mut set = redis::cmd("CONFIG");
        set.arg("SET").arg("maxmemory").arg(bytes);
        set.query_async::<()>(&mut redis).await.unwrap();
    };
    limit("1").await;
    one.set(set("full", text("v"))).await.unwrap();
    eventually("the fault lasts", SOON, async || {
        (metric(&scene.replicas[0], "larder_store_fault_lasting").await >= 1.0).then_some(())
    })
    .await;
    limit("0").await;

    scene.redis.pause();
    scene.origin.always(ok("v", &[]));
    let fetched = GetOrFetchRequest { namespace: "api".to_owned(), ..fetch("outage", 20_000) };
    // The breaker of the second replica's origin is open.
    one.get_or_fetch(fetched).await.unwrap();
    one.delete(delete("queued")).await.unwrap();
    for (replica, cache) in scene.replicas.iter().zip([one, two, three]) {
        eventually("the breaker of the store opens", SOON, async || {
            cache.read("k").await;
            (metric(replica, "larder_store_breaker_open").await == 1.0).then_some(())
        })
        .await;
    }
    scene.redis.resume();
    for replica in &scene.replicas {
        eventually("Redis is healthy", SOON, async || {
            (metric(replica, "larder_store_healthy").await == 1.0).then_some(())
        })
        .await;
    }
}

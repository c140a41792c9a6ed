//! A server without the commands that managed services do not have.

use std::time::Duration;

use larder::pb::v1::{ListKeysRequest, StatsRequest};

use crate::support::{
    client::{Fetched as _, delete, fetch, fill, invalidate, text},
    fleet::metric,
    redis::RedisServer,
    server::Larder,
    wait::{SOON, eventually, throughout},
};

const LINE: &str = "Redis lacks commands that Larder can do without";
const NEAR: &str = "[namespaces.ns.near_cache]\nmax_bytes = '1MiB'\n";

async fn server_without(commands: &[&'static str]) -> RedisServer {
    let rename = |name: &&'static str| ["--rename-command", *name, ""];
    RedisServer::start_with(&commands.iter().flat_map(rename).collect::<Vec<_>>()).await
}

fn lines(larder: &Larder, text: &str) -> usize {
    larder.logs().lines().filter(|line| line.contains(text)).count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn larder_works_without_optional_commands_and_logs_it_once() {
    let commands = ["INFO", "DBSIZE", "RANDOMKEY", "MEMORY", "SCAN", "CLIENT", "CONFIG"];
    let redis = server_without(&commands).await;
    let larder = Larder::redis(&redis.url()).config(NEAR).start().await;
    let cache = larder.client().await;
    cache.put("k", "v").await;
    assert_eq!(cache.read("k").await.as_deref(), Some("v"));
    assert!(cache.delete(delete("k")).await.unwrap().existed);
    // Waiters ask from time to time.
    let lease = cache.lease("leased").await;
    let waiter = cache.clone();
    let waiting = tokio::spawn(async move { waiter.get_or_fetch(fetch("leased", 20_000)).await });
    cache.set(fill("leased", text("v"), &lease)).await.unwrap();
    waiting.await.unwrap().unwrap().expect_found();
    cache.invalidate_namespace(invalidate("ns")).await.unwrap();
    assert_eq!(cache.read("leased").await, None);
    let stats = cache.stats(StatsRequest::default()).await.unwrap();
    let store = stats.store.unwrap();
    assert!(store.reachable && !stats.degraded && store.cause.is_empty(), "{store:?}");
    let keys = ListKeysRequest { namespace: "ns".to_owned(), ..Default::default() };
    assert!(cache.rpc().list_keys(keys).await.is_err());
    // Longer than several probes, and pauses between attempts to follow Redis.
    throughout(Duration::from_secs(4), async || {
        cache.put("k", "v").await;
        assert_eq!(metric(&larder, "larder_store_healthy").await, 1.0);
    })
    .await;
    let log = larder.logs();
    let line = log.lines().rfind(|line| line.contains(LINE)).expect("the line");
    for command in ["INFO", "DBSIZE", "RANDOMKEY", "MEMORY USAGE", "SCAN", "CLIENT TRACKING"] {
        assert!(line.contains(command), "{command}: {line}");
    }
    // The connection that follows leases may be faster than the probe.
    assert!(lines(&larder, LINE) <= 2, "{log}");
    for other in ["answers with an error", "cannot be followed", "does not suit"] {
        assert_eq!(lines(&larder, other), 0, "{log}");
    }
}

/// Without MEMORY USAGE, the sizes are those of the values.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sizes_are_known_without_memory_usage() {
    let redis = server_without(&["MEMORY"]).await;
    let larder = Larder::redis(&redis.url()).start().await;
    let cache = larder.client().await;
    cache.put("k", &"v".repeat(50_000)).await;
    let size = eventually("the size is known", SOON, async || {
        let stats = cache.stats(StatsRequest::default()).await.unwrap();
        let of_ns = stats.namespaces.into_iter().find(|stats| stats.namespace == "ns")?;
        of_ns.size.filter(|size| size.keys > 0)
    })
    .await;
    assert!(size.bytes >= 50_000, "{size:?}");
}

/// A server that lacks what is needed is not used quietly.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_needed_command_that_is_missing_is_a_fault() {
    let redis = server_without(&["EVALSHA"]).await;
    let larder = Larder::redis(&redis.url()).start().await;
    let cache = larder.client().await;
    let _ = cache.delete(delete("k")).await;
    eventually("the fault is reported", SOON, async || {
        let log = larder.logs();
        (log.contains("\"unknown_command\"") && log.contains("EVALSHA")).then_some(())
    })
    .await;
    assert_eq!(lines(&larder, LINE), 0);
}

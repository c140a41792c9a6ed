//! Connections that Redis or a proxy closes while Redis works: no operation fails.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use larder::pb::v1::Outcome;
use redis::aio::MultiplexedConnection;
use tokio::task::JoinHandle;

use crate::support::{
    client::{Cache, delete, fetch, fill, get, increment, set, text, touch},
    fleet::metric,
    proxy::Proxy,
    redis::RedisServer,
    server::{Builder, Larder},
    tls::TlsRedisServer,
    wait::{SOON, eventually, throughout},
};

async fn clients(admin: &mut MultiplexedConnection) -> usize {
    let list: String = redis::cmd("CLIENT")
        .arg("LIST")
        .arg("TYPE")
        .arg("normal")
        .query_async(admin)
        .await
        .unwrap();
    list.lines().count()
}

async fn kill_clients(admin: &mut MultiplexedConnection) {
    let mut kill = redis::cmd("CLIENT");
    kill.arg("KILL").arg("TYPE").arg("normal").arg("SKIPME").arg("yes");
    eventually("there are clients", SOON, async || {
        (kill.query_async::<u64>(admin).await.unwrap() > 0).then_some(())
    })
    .await;
}

/// One call of each kind; each must reach the store.
async fn all_calls_work(cache: &Cache, round: usize) {
    let key = format!("k{round}");
    cache.put(&key, "v").await;
    let answer = cache.get(get(&key)).await.unwrap();
    assert_eq!((answer.outcome(), answer.degraded), (Outcome::Hit, false));
    assert!(cache.touch(touch(&key, 60_000)).await.unwrap().found);
    assert_eq!(cache.increment(increment(&format!("n{round}"), 2)).await.unwrap().value, 2);
    let leased = format!("leased{round}");
    let lease = cache.lease(&leased).await;
    cache.set(fill(&leased, text(&"v".repeat(10_000)), &lease)).await.unwrap();
    assert!(!cache.get_or_fetch(fetch(&leased, 0)).await.unwrap().degraded);
    assert!(cache.delete(delete(&key)).await.unwrap().existed);
}

/// Connections that are idle when they are closed are not used any more.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_idle_connections_fail_no_operation() {
    let redis = RedisServer::start().await;
    assert_killed_connections_fail_nothing(Larder::redis(&redis.url()), &redis).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_idle_connections_with_tls_fail_no_operation() {
    let server = TlsRedisServer::start(&[]).await;
    let larder = Larder::redis(&server.url()).env("SSL_CERT_FILE", server.authority());
    assert_killed_connections_fail_nothing(larder, &server.redis).await;
}

async fn assert_killed_connections_fail_nothing(larder: Builder, redis: &RedisServer) {
    let larder = larder
        .env("LARDER_STORE__CONNECTIONS", 32)
        .env("LARDER_STORE__BREAKER_THRESHOLD", 1)
        .start()
        .await;
    let (cache, mut admin) = (larder.client().await, redis.connection().await);
    eventually("the store is reached", SOON, async || {
        (!cache.get(get("k")).await.unwrap().degraded).then_some(())
    })
    .await;
    for round in 0..5 {
        all_calls_work(&cache, round).await;
        eventually("all connections are open", SOON, async || {
            (clients(&mut admin).await >= 32).then_some(())
        })
        .await;
        kill_clients(&mut admin).await;
    }
    all_calls_work(&cache, 5).await;
    assert!(!larder.logs().contains("the store is unavailable"));
}

/// Reads that were on their way when the connection was closed are sent again. No read meets more
/// than one end of all connections, however slow the machine is.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reads_survive_killed_connections() {
    let redis = RedisServer::start().await;
    let larder = Larder::redis(&redis.url()).start().await;
    let (cache, mut admin) = (larder.client().await, redis.connection().await);
    cache.put("k", "v").await;
    let done = Arc::new(AtomicBool::new(false));
    let reads = Arc::new([const { AtomicU64::new(0) }; 8]);
    let readers: Vec<_> = (0..reads.len())
        .map(|reader| {
            let (cache, done, reads) = (cache.clone(), done.clone(), reads.clone());
            tokio::spawn(async move {
                while !done.load(Ordering::Relaxed) {
                    let answer = cache.get(get("k")).await.unwrap();
                    assert_eq!((answer.outcome(), answer.degraded), (Outcome::Hit, false));
                    reads[reader].fetch_add(1, Ordering::Relaxed);
                }
            })
        })
        .collect();
    let count = || reads.each_ref().map(|reads| reads.load(Ordering::Relaxed));
    for _ in 0..20 {
        kill_clients(&mut admin).await;
        let at_kill = count();
        eventually("every read of that time has ended", SOON, async || {
            let have_ended = count().iter().zip(at_kill).all(|(now, then)| *now > then);
            (have_ended || readers.iter().any(JoinHandle::is_finished)).then_some(())
        })
        .await;
    }
    done.store(true, Ordering::Relaxed);
    for reader in readers {
        reader.await.unwrap();
    }
}

/// The `timeout` setting of Redis closes idle connections.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_closed_for_idleness_fail_no_operation() {
    let redis = RedisServer::start_with(&["--timeout", "1"]).await;
    let larder = Larder::redis(&redis.url()).env("LARDER_STORE__CONNECTIONS", 16).start().await;
    let cache = larder.client().await;
    for round in 0..3 {
        all_calls_work(&cache, round).await;
        throughout(Duration::from_millis(2_500), async || {}).await;
    }
    all_calls_work(&cache, 3).await;
}

/// A proxy that cuts all connections and accepts new ones at once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_cut_by_a_proxy_fail_no_operation() {
    let redis = RedisServer::start().await;
    let mut proxy = Proxy::start(redis.upstream()).await;
    let larder = Larder::redis(&proxy.redis_url())
        .env("LARDER_STORE__BREAKER_THRESHOLD", 1000)
        .start()
        .await;
    let cache = larder.client().await;
    for round in 0..3 {
        all_calls_work(&cache, round).await;
        proxy.cut().await;
        proxy.restore().await;
        eventually("the store is read again", SOON, async || {
            (!cache.get(get("k")).await.unwrap().degraded).then_some(())
        })
        .await;
    }
    assert!(!cache.set(set("k", text("v"))).await.unwrap().degraded);
}

/// The connections end while the process is suspended, as on a machine that sleeps. When it
/// resumes, writes are waiting, and the ends of the connections too.
async fn assert_writes_survive_a_suspension(larder: Builder, redis: &RedisServer) {
    let larder = larder
        .env("LARDER_STORE__CONNECTIONS", 32)
        .env("LARDER_STORE__BREAKER_THRESHOLD", 1000)
        .start()
        .await;
    let (cache, mut admin) = (larder.client().await, redis.connection().await);
    let mut refused = 0;
    for round in 0..10 {
        eventually("all connections are open", SOON, async || {
            let is_degraded = cache.get(get("k")).await.unwrap().degraded;
            let open = metric(&larder, "db_client_connection_count").await;
            (!is_degraded && open >= 32.0).then_some(())
        })
        .await;
        larder.signal(nix::sys::signal::Signal::SIGSTOP);
        kill_clients(&mut admin).await;
        let writes: Vec<_> = (0..64)
            .map(|number| {
                let (cache, key) = (cache.clone(), format!("k{round}-{number}"));
                tokio::spawn(async move { cache.set(set(&key, text("v"))).await.unwrap() })
            })
            .collect();
        throughout(Duration::from_millis(100), async || {}).await;
        larder.signal(nix::sys::signal::Signal::SIGCONT);
        for write in writes {
            refused += usize::from(write.await.unwrap().degraded);
        }
    }
    assert_eq!(refused, 0, "of 640 writes");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writes_survive_a_suspension() {
    let redis = RedisServer::start().await;
    assert_writes_survive_a_suspension(Larder::redis(&redis.url()), &redis).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writes_with_tls_survive_a_suspension() {
    let server = TlsRedisServer::start(&[]).await;
    let larder = Larder::redis(&server.url()).env("SSL_CERT_FILE", server.authority());
    assert_writes_survive_a_suspension(larder, &server.redis).await;
}

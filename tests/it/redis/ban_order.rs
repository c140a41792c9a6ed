//! Bans that overtake each other on their way to the log, to the markers and back.

use std::time::Duration;

use larder::pb::v1::{SetRequest, TagTarget, Target, target::Target as Kind};
use redis::aio::MultiplexedConnection;

use crate::support::{
    client::{Cache, get, set, text},
    proxy::Proxy,
    redis::RedisServer,
    server::Larder,
    targets::invalidate,
    wait::{eventually, throughout},
};

/// Attempts to make a ban overtake another one, and how many must succeed. Commands that come
/// before on one of the connections foil an attempt.
const ATTEMPTS: usize = 30;
const SUCCESSES: usize = 3;

fn ban(namespace: &str, tag: &str) -> Target {
    let (namespace, tags) = (namespace.to_owned(), vec![tag.to_owned()]);
    Target { target: Some(Kind::Tags(TagTarget { namespace, tags })) }
}

async fn put(cache: &Cache, namespace: &str, key: &str, tag: &str) {
    let (namespace, tags) = (namespace.to_owned(), vec![tag.to_owned()]);
    cache.set(SetRequest { namespace, tags, ..set(key, text("v")) }).await.unwrap();
}

async fn has(cache: &Cache, namespace: &str, key: &str) -> bool {
    let mut request = get(key);
    request.namespace = namespace.to_owned();
    cache.get(request).await.unwrap().value.is_some()
}

async fn is_logged(raw: &MultiplexedConnection, namespace: &str, tag: &str) -> Option<()> {
    let log = format!("larder:b:{{{namespace}:bans}}:t");
    let score: Option<f64> =
        redis::cmd("ZSCORE").arg(log).arg(tag).query_async(&mut raw.clone()).await.unwrap();
    score.map(|_| ())
}

async fn mgets(redis: &RedisServer) -> u64 {
    redis.counts().await.get("mget").copied().unwrap_or(0)
}

/// The replica learns the second ban first. The answer to the first one must not make it forget the
/// second, whose markers are about to be moved.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_answer_to_an_earlier_ban_does_not_undo_a_later_one() {
    let redis = RedisServer::start().await;
    let raw = redis.connection().await;
    let mut proxy = Proxy::start(redis.upstream()).await;
    let start = async |url: &str| {
        let larder = Larder::redis(url)
            .env("LARDER_STORE__TIMEOUT", "8s")
            .env("LARDER_STORE__SWEEP_RATE", 0)
            .env("LARDER_STATS__FLUSH_INTERVAL", "1h")
            .start()
            .await;
        let cache = larder.client().await;
        (larder, cache)
    };
    let (_behind_proxy, cache) = start(&proxy.redis_url()).await;
    let (_other_larder, other) = start(&redis.url()).await;
    // Loads the scripts.
    put(&cache, "loading", "k", "t").await;
    invalidate(&cache, &[ban("loading", "t")]).await;
    let mut overtaken = 0;
    for attempt in 0..ATTEMPTS {
        if overtaken == SUCCESSES {
            break;
        }
        let namespace = &*format!("ns-{attempt}");
        for tag in ["first-tag", "second-tag"] {
            put(&cache, namespace, tag, tag).await;
            assert!(has(&cache, namespace, tag).await && has(&other, namespace, tag).await);
        }
        proxy.hold_replies();
        let mut bans = Vec::new();
        for tag in ["first-tag", "second-tag"] {
            let (cache, target) = (cache.clone(), ban(namespace, tag));
            bans.push(tokio::spawn(async move { invalidate(&cache, &[target]).await }));
            eventually("the ban is in the log", Duration::from_secs(5), async || {
                is_logged(&raw, namespace, tag).await
            })
            .await;
        }
        // The log with both bans is learned, and the markers are asked for, before the log with one
        // ban arrives.
        let before = mgets(&redis).await;
        proxy.hold_replies_without("second-tag");
        let are_read = tokio::time::timeout(Duration::from_millis(500), until(&redis, before + 1));
        if are_read.await.is_ok() {
            proxy.hold_replies_without("first-tag");
            throughout(Duration::from_millis(50), async || {}).await;
            overtaken += 1;
        }
        proxy.restore().await;
        for ban in bans {
            ban.await.unwrap();
        }
        for (name, cache) in [("banning", &cache), ("other", &other)] {
            for key in ["first-tag", "second-tag"] {
                assert!(!has(cache, namespace, key).await, "{key} through the {name} replica");
            }
        }
    }
    assert_eq!(overtaken, SUCCESSES, "few bans have overtaken another");
}

async fn until(redis: &RedisServer, reads: u64) {
    while mgets(redis).await < reads {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

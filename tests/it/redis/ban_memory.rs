//! A replica's memory for bans is bounded, and so is the time of a read of an old entry.

use std::{
    sync::atomic::{AtomicUsize, Ordering::Relaxed},
    time::{Duration, Instant},
};

use futures_util::future::join_all;
use larder::pb::v1::{SetRequest, TagTarget, Target, target::Target as Kind};

use super::ban_setup::{LOG, Setup, put};
use crate::support::{
    client::{Cache, get, set, text},
    server::Larder,
    targets::{invalidate, tags},
    wait::{SOON, eventually},
};

const TAGS: usize = 100_000;
const MIB: f64 = 1024.0 * 1024.0;

fn banned_tags(namespace: &str, numbers: std::ops::Range<usize>) -> Vec<Target> {
    let target = |number: usize| TagTarget {
        namespace: namespace.to_owned(),
        tags: vec![format!("tag-{number:0>60}")],
    };
    numbers.map(|number| Target { target: Some(Kind::Tags(target(number))) }).collect()
}

/// The time within which a tenth of the reads is answered. The keys have 32 tags each, and are
/// older than all bans. Other work on the machine does not count.
async fn fast_read(cache: &Cache, keys: std::ops::Range<usize>) -> Duration {
    let mut times = Vec::new();
    for number in keys {
        let began_at = Instant::now();
        assert!(cache.read(&format!("k{number}")).await.is_some());
        times.push(began_at.elapsed());
    }
    times.sort_unstable();
    times[times.len() / 10]
}

async fn put_many(cache: &Cache) {
    for number in 0..400 {
        let tags = (0..32).map(|tag| format!("kept-{tag}")).collect();
        cache.set(SetRequest { tags, ..set(&format!("k{number}"), text("v")) }).await.unwrap();
    }
}

/// Bans 100,000 tags, 1,000 at a time, and compares the times of reads.
async fn reads_stay_fast(cache: &Cache, sweeps: bool) {
    put_many(cache).await;
    invalidate(cache, &banned_tags("ns", 0..1)).await;
    let few = fast_read(cache, 0..200).await;
    for first in (0..TAGS).step_by(1000) {
        let results = invalidate(cache, &banned_tags("ns", first..first + 1000)).await;
        assert!(results.iter().all(|result| !result.namespace_invalidated), "{first}");
    }
    let many = fast_read(cache, 200..400).await;
    eprintln!("a Get takes {few:?} after one ban, {many:?} after {TAGS}");
    assert!(many < 3 * few + Duration::from_millis(2), "{few:?} {many:?}");
    if sweeps {
        return;
    }
    let results = invalidate(cache, &banned_tags("ns", TAGS..TAGS + 1)).await;
    assert!(results[0].namespace_invalidated, "there is no place for another tag");
    assert!(cache.get(get("k0")).await.unwrap().value.is_none());
    put(cache, "k0", "new", "t").await;
    invalidate(cache, &[tags(&["other"])]).await;
    assert_eq!(cache.read("k0").await.as_deref(), Some("new"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_thousand_banned_tags_on_redis() {
    const LARGE: &[(&str, &str)] =
        &[("LARDER_DEFAULTS__MAX_BANNED_TAGS", "100000"), ("LARDER_STORE__SWEEP_RATE", "0")];
    let setup = Setup::start_with(1, LARGE).await;
    reads_stay_fast(setup.cache(0), false).await;
    let used = setup.metric("larder_store_bans_used_bytes").await;
    assert!(used < 5.0 * MIB, "the bans are dropped: {used}");
    assert_eq!(setup.metric("larder_store_bans_limit_bytes").await, 64.0 * MIB);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_thousand_banned_tags_in_the_embedded_store() {
    let larder = Larder::memory().env("LARDER_DEFAULTS__TTL_JITTER", 0).start().await;
    let cache = larder.client().await;
    reads_stay_fast(&cache, true).await;
    // No entry is older when the sweeper has checked all of them.
    eventually("the bans are dropped", SOON, async || {
        let metrics = larder.admin("/metrics").await.body;
        metrics.lines().any(|line| line == "larder_memory_bans 0").then_some(())
    })
    .await;
    assert!(cache.read("k0").await.is_some());
}

/// Bans one tag after the other, `at_once` calls in flight, for some seconds or until 100,000 are
/// banned. Each has a number and an id of its own.
async fn one_by_one(cache: &Cache, at_once: usize) -> usize {
    const TIME: Duration = Duration::from_secs(8);
    put_many(cache).await;
    invalidate(cache, &banned_tags("ns", 0..1)).await;
    let few = fast_read(cache, 0..200).await;
    let (began_at, next) = (Instant::now(), AtomicUsize::new(1));
    let worker = async || {
        let mut fastest = Duration::MAX;
        while began_at.elapsed() < TIME {
            let number = next.fetch_add(1, Relaxed);
            if number >= TAGS {
                break;
            }
            let called_at = Instant::now();
            let results = invalidate(cache, &banned_tags("ns", number..number + 1)).await;
            assert!(!results[0].namespace_invalidated, "{number}");
            if began_at.elapsed() > TIME / 2 {
                fastest = fastest.min(called_at.elapsed());
            }
        }
        fastest
    };
    let fastest = join_all((0..at_once).map(|_| worker())).await.into_iter().min().unwrap();
    let (banned, many) = (next.load(Relaxed).min(TAGS), fast_read(cache, 200..400).await);
    eprintln!(
        "{banned} bans; a Get takes {few:?} after one, {many:?} after all, a ban {fastest:?}"
    );
    assert!(many < 3 * few + Duration::from_millis(2), "{few:?} {many:?}");
    banned
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tags_banned_one_after_the_other_on_redis() {
    const LARGE: &[(&str, &str)] =
        &[("LARDER_DEFAULTS__MAX_BANNED_TAGS", "100000"), ("LARDER_STORE__SWEEP_RATE", "0")];
    let mut setup = Setup::start_with(2, LARGE).await;
    let banned = one_by_one(&setup.cache(0).clone(), 16).await;
    let ids: usize = redis::cmd("ZCARD").arg(LOG[4]).query_async(&mut setup.raw).await.unwrap();
    assert!(ids <= 50_000 && ids >= banned.min(10_000), "{ids} ids of {banned} bans");
    put(setup.cache(1), "k0", "new", "t").await;
    assert_eq!(setup.read_by_all("k0").await, vec![Some("new".to_owned()); 2]);
    invalidate(setup.cache(1), &[tags(&["t"])]).await;
    assert_eq!(setup.read_by_all("k0").await, [None, None]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tags_banned_one_after_the_other_in_the_embedded_store() {
    let larder = Larder::memory().env("LARDER_DEFAULTS__TTL_JITTER", 0).start().await;
    one_by_one(&larder.client().await, 16).await;
}

/// A log that was dropped is read again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_memory_of_known_bans_is_bounded() {
    const SMALL: &[(&str, &str)] = &[
        ("LARDER_DEFAULTS__MAX_BANNED_TAGS", "100000"),
        ("LARDER_STORE__MAX_BAN_BYTES", "1MiB"),
        ("LARDER_STORE__SWEEP_RATE", "0"),
    ];
    let setup = Setup::start_with(2, SMALL).await;
    let namespaces = ["one", "two", "three"];
    let entry = |namespace: &str, key: &str, tag: String| SetRequest {
        namespace: namespace.to_owned(),
        tags: vec![tag],
        ..set(key, text("v"))
    };
    for namespace in namespaces {
        let banned = format!("tag-{:0>60}", 7);
        setup.cache(0).set(entry(namespace, "banned", banned)).await.unwrap();
        setup.cache(0).set(entry(namespace, "kept", "kept".to_owned())).await.unwrap();
        for first in [0, 1000, 2000, 3000] {
            let results =
                invalidate(setup.cache(0), &banned_tags(namespace, first..first + 1000)).await;
            assert!(!results[0].namespace_invalidated);
        }
    }
    for _ in 0..3 {
        for namespace in namespaces {
            for replica in 0..2 {
                let read = async |key: &str| {
                    let mut request = get(key);
                    request.namespace = namespace.to_owned();
                    setup.cache(replica).get(request).await.unwrap().value.is_some()
                };
                assert!(!read("banned").await && read("kept").await, "{namespace}");
            }
        }
        let used = setup.metric("larder_store_bans_used_bytes").await;
        assert!(used <= 2.0 * MIB, "of two replicas: {used}");
    }
    assert!(setup.metric("larder_store_bans_forgotten_total").await > 0.0);
    // The bans of one namespace alone are too many.
    let mut was_invalidated = false;
    for first in (0..20_000).step_by(1000) {
        let results = invalidate(setup.cache(1), &banned_tags("one", first..first + 1000)).await;
        was_invalidated |= results[0].namespace_invalidated;
    }
    assert!(was_invalidated);
    assert!(setup.metric("larder_store_bans_used_bytes").await <= 2.0 * MIB);
    let mut request = get("kept");
    request.namespace = "one".to_owned();
    assert!(setup.cache(0).get(request).await.unwrap().value.is_none());
}

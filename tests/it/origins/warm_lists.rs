//! Configured warm lists, fetched at startup and periodically, once in the fleet.

use std::{fs, path::Path, time::Duration};

use larder::pb::v1::{WarmRequest, WarmResponse};
use serde_json::Value;
use tonic::Code;

use super::warming::{LONG_LEASE, Store, open, warmed};
use crate::support::{
    client::NS,
    env::read_through,
    origin::{Origin, OriginRequest, numbered, ok},
    redis::RedisServer,
    server::Larder,
    status::expect_error,
    wait::{SOON, eventually, throughout},
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn configured_keys_and_file_are_warmed_at_startup() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("keys");
    fs::write(&file, format!("c\n\n{}\nwith space/and slash\n", "k".repeat(1025))).unwrap();
    let origin = Origin::start().await;
    let config = with_warm_list(&origin, &format!("warm.keys = ['a', 'b']\n{}", warm_file(&file)));
    for store in Store::BOTH {
        let (before, env) = (origin.calls(), store.start(&config).await);
        let report = reports(&env.larder, 1).await.pop().unwrap();
        assert_eq!(
            (&report["done"], &report["stored"], &report["failed"]),
            (&4.into(), &4.into(), &0.into()),
            "{report}"
        );
        assert_eq!(report["namespace"], NS);
        for key in ["a", "b", "c", "with space/and slash"] {
            assert!(env.cache.read(key).await.is_some(), "{key}");
        }
        // Invalid keys are skipped, with a warning.
        let warnings = lines(&env.larder, "keys of the warm list are left out");
        assert_eq!(warnings.len(), 1, "{warnings:?}");
        assert_eq!(warnings[0]["level"], "WARN");
        assert_eq!(origin.calls(), before + 4);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn call_without_keys_warms_the_list() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("keys");
    fs::write(&file, "b\n").unwrap();
    let origin = Origin::start().await;
    let config = with_warm_list(&origin, &format!("warm.keys = ['a']\n{}", warm_file(&file)));
    for store in Store::BOTH {
        let env = store.start(&config).await;
        reports(&env.larder, 1).await;
        let list = || WarmRequest { namespace: NS.to_owned(), ..WarmRequest::default() };
        let counts =
            |answer: WarmResponse| (answer.total, answer.done, answer.stored, answer.fresh);
        assert_eq!(counts(warmed(&env.cache, list()).await), (2, 2, 0, 2));
        assert_eq!(
            counts(warmed(&env.cache, WarmRequest { refresh: true, ..list() }).await),
            (2, 2, 2, 0)
        );
        // Each call reads the file again.
        fs::write(&file, "b\nc\n").unwrap();
        assert_eq!(counts(warmed(&env.cache, list()).await), (3, 3, 1, 2));
        fs::remove_file(&file).unwrap();
        expect_error(
            open(&env.cache, list()).await,
            Code::FailedPrecondition,
            "WARM_LIST_UNREADABLE",
        );
        fs::write(&file, "b\n").unwrap();
    }
}

with_origin!(a_call_without_keys_and_without_a_list_is_refused, |env, origin| {
    let request = WarmRequest { namespace: NS.to_owned(), ..WarmRequest::default() };
    expect_error(open(&env.cache, request).await, Code::FailedPrecondition, "NO_WARM_LIST");
    assert_eq!(origin.calls(), 0);
});

with_origin!(
    expired_keys_are_fetched_again_periodically,
    namespace: "ttl = '200ms'",
    origin: "min_lease = '10s'\nwarm.keys = ['short', 'long']\nwarm.interval = '1s'",
    |env, origin| {
        origin.answer(|request: &OriginRequest| match request.target.as_str() {
            "/v/long" => ok("v", &[("cache-control", "max-age=3600")]),
            _ => numbered(request),
        });
        reports(&env.larder, 3).await;
        let calls =
            |target: &str| origin.requests().iter().filter(|sent| sent.target == target).count();
        assert!(calls("/v/short") >= 3, "{}", calls("/v/short"));
        // The first fetch may have been answered before the test set the TTL.
        assert!(calls("/v/long") <= 2, "{}", calls("/v/long"));
    }
);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replicas_share_the_warming() {
    let (redis, origin) = (RedisServer::start().await, Origin::start().await);
    let config = with_warm_list(&origin, "warm.keys = ['a', 'b', 'c']\nwarm.rate = 1000");
    let replica = || Larder::redis(&redis.url()).config(&config).start();
    // Replicas that warm at the same time fetch each key once.
    let (first, second) = tokio::join!(replica(), replica());
    let mut stored = 0;
    for larder in [&first, &second] {
        let report = reports(larder, 1).await.pop().unwrap();
        assert_eq!((&report["done"], &report["failed"]), (&3.into(), &0.into()), "{report}");
        stored += report["stored"].as_u64().unwrap();
    }
    assert_eq!((stored, origin.calls()), (3, 3));
    // A later replica finds all keys fresh.
    let third = replica().await;
    let report = reports(&third, 1).await.pop().unwrap();
    assert_eq!((&report["done"], &report["fresh"]), (&3.into(), &3.into()), "{report}");
    assert_eq!(origin.calls(), 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn warming_waits_for_the_store() {
    let (mut redis, origin) = (RedisServer::stopped(), Origin::start().await);
    let config = with_warm_list(&origin, "warm.keys = ['a', 'b']");
    let larder = Larder::redis(&redis.url()).default_timeouts().config(&config).start().await;
    throughout(Duration::from_millis(500), async || assert_eq!(origin.calls(), 0)).await;
    redis.restart().await;
    let report = reports(&larder, 1).await.pop().unwrap();
    assert_eq!((&report["done"], &report["stored"]), (&2.into(), &2.into()), "{report}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unreadable_list_does_not_prevent_startup() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("keys");
    let origin = Origin::start().await;
    let config = with_warm_list(&origin, &format!("{}\nwarm.interval = '1s'", warm_file(&file)));
    for store in Store::BOTH {
        let env = store.start(&config).await;
        eventually("the error is logged", SOON, async || {
            (!lines(&env.larder, "the warm list cannot be read").is_empty()).then_some(())
        })
        .await;
        assert!(env.cache.fetched("k").await.0.is_some());
        // The list is read once the file exists.
        fs::write(&file, "late\n").unwrap();
        reports(&env.larder, 1).await;
        assert!(env.cache.read("late").await.is_some());
        fs::remove_file(&file).unwrap();
    }
}

fn with_warm_list(origin: &Origin, list: &str) -> String {
    read_through(&origin.url("/v/{key}"), "", &format!("{LONG_LEASE}\n{list}"))
}

fn warm_file(path: &Path) -> String {
    format!("warm.file = '{}'", path.display())
}

/// Waits for `count` log lines about completed warms and returns all of them.
async fn reports(larder: &Larder, count: usize) -> Vec<Value> {
    eventually("the list is warmed", SOON, async || {
        let reports = lines(larder, "warmed by the warm list");
        (reports.len() >= count).then_some(reports)
    })
    .await
}

/// The fields of each log line with this message, and its level.
fn lines(larder: &Larder, message: &str) -> Vec<Value> {
    let logs = larder.logs();
    let lines = logs.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let matching = lines.filter(|line| line["fields"]["message"] == message);
    matching
        .map(|mut line| {
            let level = line["level"].take();
            let mut fields = line["fields"].take();
            fields["level"] = level;
            fields
        })
        .collect()
}

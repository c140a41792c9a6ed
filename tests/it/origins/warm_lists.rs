//! Warm lists: fetched at the start and from time to time, once in the fleet, whatever single keys are like.

use std::{fs, path::Path, time::Duration};

use larder::pb::v1::{WarmRequest, WarmResponse};
use serde_json::Value;
use tonic::Code;

use super::warming::{STEADY, Store, open, warmed};
use crate::support::{
    client::NS,
    env::{PATIENT, read_through},
    origin::{Asked, Origin, numbered, ok},
    redis::RedisServer,
    server::Larder,
    status::expect_error,
    wait::{SOON, eventually, throughout},
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_of_the_configuration_and_of_the_file_are_warmed_at_the_start() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("keys");
    fs::write(&file, format!("c\n\n{}\nwith space/and slash\n", "k".repeat(1025))).unwrap();
    let origin = Origin::start().await;
    let config = listing(&origin, &format!("warm.keys = ['a', 'b']\n{}", in_file(&file)));
    for store in Store::BOTH {
        let (before, env) = (origin.calls(), store.start(&config).await);
        let round = rounds(&env.larder, 1).await.pop().unwrap();
        assert_eq!(
            (&round["done"], &round["stored"], &round["failed"]),
            (&4.into(), &4.into(), &0.into()),
            "{round}"
        );
        assert_eq!(round["namespace"], NS);
        for key in ["a", "b", "c", "with space/and slash"] {
            assert!(env.cache.read(key).await.is_some(), "{key}");
        }
        // What cannot be a key is left out, and that is said.
        let complaints = lines(&env.larder, "a key of the warm list is left out");
        assert_eq!(complaints.len(), 1, "{complaints:?}");
        assert_eq!(complaints[0]["level"], "WARN");
        assert_eq!(origin.calls(), before + 4);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_list_is_what_a_call_without_keys_warms() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("keys");
    fs::write(&file, "b\n").unwrap();
    let origin = Origin::start().await;
    let config = listing(&origin, &format!("warm.keys = ['a']\n{}", in_file(&file)));
    for store in Store::BOTH {
        let env = store.start(&config).await;
        rounds(&env.larder, 1).await;
        let list = || WarmRequest { namespace: NS.to_owned(), ..WarmRequest::default() };
        let counts =
            |answer: WarmResponse| (answer.total, answer.done, answer.stored, answer.fresh);
        assert_eq!(counts(warmed(&env.cache, list()).await), (2, 2, 0, 2));
        assert_eq!(
            counts(warmed(&env.cache, WarmRequest { refresh: true, ..list() }).await),
            (2, 2, 2, 0)
        );
        // The file is read for each call.
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

with_origin!(an_empty_list_is_warmed_at_once, |env, origin| {
    let last =
        warmed(&env.cache, WarmRequest { namespace: NS.to_owned(), ..WarmRequest::default() })
            .await;
    assert_eq!(last, WarmResponse { took: last.took, ..WarmResponse::default() });
    assert_eq!(origin.calls(), 0);
});

with_origin!(
    what_has_expired_is_fetched_again_by_and_by,
    namespace: "ttl = '200ms'",
    origin: "min_lease = '10s'\nwarm.keys = ['short', 'long']\nwarm.interval = '1s'",
    |env, origin| {
        origin.answer(|asked: &Asked| match asked.target.as_str() {
            "/v/long" => ok("v", &[("cache-control", "max-age=3600")]),
            _ => numbered(asked),
        });
        rounds(&env.larder, 3).await;
        let calls =
            |target: &str| origin.asked().iter().filter(|asked| asked.target == target).count();
        assert!(calls("/v/short") >= 3, "{}", calls("/v/short"));
        // At the very first it may have been asked before the test said how long it lasts.
        assert!(calls("/v/long") <= 2, "{}", calls("/v/long"));
    }
);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_replica_finds_everything_fresh() {
    let (redis, origin) = (RedisServer::start().await, Origin::start().await);
    let config = listing(&origin, "warm.keys = ['a', 'b', 'c']\nwarm.rate = 1000");
    let replica = || Larder::redis(&redis.url()).envs(&PATIENT).config(&config).start();
    // At the same time they share the work.
    let (first, second) = tokio::join!(replica(), replica());
    let mut stored = 0;
    for larder in [&first, &second] {
        let round = rounds(larder, 1).await.pop().unwrap();
        assert_eq!((&round["done"], &round["failed"]), (&3.into(), &0.into()), "{round}");
        stored += round["stored"].as_u64().unwrap();
    }
    assert_eq!((stored, origin.calls()), (3, 3));
    // Later there is nothing to do.
    let third = replica().await;
    let round = rounds(&third, 1).await.pop().unwrap();
    assert_eq!((&round["done"], &round["fresh"]), (&3.into(), &3.into()), "{round}");
    assert_eq!(origin.calls(), 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_fetched_that_could_not_be_stored() {
    let (mut redis, origin) = (RedisServer::stopped(), Origin::start().await);
    let config = listing(&origin, "warm.keys = ['a', 'b']");
    let larder = Larder::redis(&redis.url()).envs(&PATIENT).config(&config).start().await;
    throughout(Duration::from_millis(500), async || assert_eq!(origin.calls(), 0)).await;
    redis.restart().await;
    let round = rounds(&larder, 1).await.pop().unwrap();
    assert_eq!((&round["done"], &round["stored"]), (&2.into(), &2.into()), "{round}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_list_that_cannot_be_read_does_not_keep_the_server_from_serving() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("keys");
    let origin = Origin::start().await;
    let config = listing(&origin, &format!("{}\nwarm.interval = '1s'", in_file(&file)));
    for store in Store::BOTH {
        let env = store.start(&config).await;
        eventually("it is said", SOON, async || {
            (!lines(&env.larder, "the warm list cannot be read").is_empty()).then_some(())
        })
        .await;
        assert!(env.cache.fetched("k").await.0.is_some());
        // As soon as it can be read, it is.
        fs::write(&file, "late\n").unwrap();
        rounds(&env.larder, 1).await;
        assert!(env.cache.read("late").await.is_some());
        fs::remove_file(&file).unwrap();
    }
}

fn listing(origin: &Origin, list: &str) -> String {
    read_through(&origin.url("/v/{key}"), "", &format!("{STEADY}\n{list}"))
}

fn in_file(path: &Path) -> String {
    format!("warm.file = '{}'", path.display())
}

/// What the server logged of its first rounds, once there are so many.
async fn rounds(larder: &Larder, count: usize) -> Vec<Value> {
    eventually("the rounds are over", SOON, async || {
        let rounds = lines(larder, "warmed by the warm list");
        (rounds.len() >= count).then_some(rounds)
    })
    .await
}

/// The fields of each log line with a message, its level among them.
fn lines(larder: &Larder, message: &str) -> Vec<Value> {
    let logs = larder.logs();
    let lines = logs.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let told = lines.filter(|line| line["fields"]["message"] == message);
    told.map(|mut line| {
        let level = line["level"].take();
        let mut fields = line["fields"].take();
        fields["level"] = level;
        fields
    })
    .collect()
}

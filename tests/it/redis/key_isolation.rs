//! Hostile namespaces, keys and params never reach another entry.

use std::collections::{BTreeMap, BTreeSet};

use larder::pb::v1::{
    BatchDeleteRequest, BatchSetRequest, GetRequest, InvalidateNamespaceRequest, KeyRef,
    SetRequest, SetResult,
};
use proptest::{
    collection::{btree_map, btree_set},
    prelude::*,
    test_runner::{Config, TestRunner},
};
use redis::AsyncCommands as _;

use crate::support::{
    client::{Cache, as_text, batch_get, data, text},
    env::Env,
    redis::RedisServer,
    server::Larder,
};

/// Namespace, key and params of an entry, in an ordered type so that sets exclude duplicates.
type Name = (String, String, BTreeMap<String, String>);

/// Parts of Redis key names, and characters special to Redis, Lua, a terminal or a shell.
const PIECES: [&str; 30] = [
    ":",
    "{",
    "}",
    "\0",
    "🦀",
    "larder",
    "ns",
    "k",
    "p",
    "g",
    "l",
    "t",
    "0",
    "1",
    "stats",
    "ns:0",
    "{ns:0}",
    ":k:",
    ":p:",
    "larder:{ns:0}:k:",
    "larder:l:{ns:0}:k:",
    "*",
    "?",
    "[",
    "\\",
    "\"",
    "\r\n",
    " ",
    "é",
    "e\u{301}",
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hostile_names_never_collide_on_memory() {
    let env = Env::memory(&[], "").await;
    assert_no_collisions(&env.cache);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hostile_names_never_collide_on_redis() {
    // With one shard, every entry of a namespace has the same slot and the same marker.
    let env = Env::redis(&[("LARDER_STORE__SHARDS", "1")], "").await;
    assert_no_collisions(&env.cache);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn names_of_redis_keys_are_ordinary_keys() {
    let redis = RedisServer::start().await;
    let larder = Larder::redis(&redis.url()).env("LARDER_STORE__SHARDS", "1").start().await;
    let cache = larder.client().await;
    let mut connection = redis.connection().await;

    let page = BTreeMap::from([("page".to_owned(), "1".to_owned())]);
    let mut names: BTreeSet<Name> = BTreeSet::new();
    for namespace in ["ns", "k", "stats"] {
        names.insert((namespace.to_owned(), "key".to_owned(), BTreeMap::new()));
        names.insert((namespace.to_owned(), "key".to_owned(), page.clone()));
    }
    // Twice, so that names are also built from the Redis keys of such names.
    for _ in 0..2 {
        write_and_check(&cache, &names).await.unwrap();
        for namespace in ["ns", "k", "stats"] {
            // Leases are Redis keys as well.
            let missing = larder::pb::v1::GetOrFetchRequest {
                namespace: namespace.to_owned(),
                key: format!("missing{}", names.len()),
                ..Default::default()
            };
            cache.get_or_fetch(missing).await.unwrap();
        }
        let physical: Vec<Vec<u8>> = connection.keys("*").await.unwrap();
        assert!(physical.len() >= names.len());
        for name in physical.iter().filter_map(|name| std::str::from_utf8(name).ok()) {
            let tails = name
                .char_indices()
                .filter(|(_, letter)| *letter == ':')
                .map(|(at, _)| &name[at + 1..]);
            for tail in tails.chain([name]).filter(|tail| (1..=1024).contains(&tail.len())) {
                names.insert(("ns".to_owned(), tail.to_owned(), BTreeMap::new()));
                names.insert(("k".to_owned(), tail.to_owned(), page.clone()));
            }
        }
    }
    assert!(names.len() > 60, "{}", names.len());
    write_and_check(&cache, &names).await.unwrap();
}

/// Writes entries under sets of hostile names, and checks that reading, deleting or invalidating
/// some of them does not affect the others.
fn assert_no_collisions(cache: &Cache) {
    let runtime = tokio::runtime::Handle::current();
    let config =
        Config { cases: 40, failure_persistence: None, max_shrink_iters: 200, ..Config::default() };
    tokio::task::block_in_place(|| {
        TestRunner::new(config)
            .run(&btree_set(name(), 2..24), |names| {
                runtime.block_on(write_and_check(cache, &names))
            })
            .unwrap();
    });
}

async fn write_and_check(cache: &Cache, names: &BTreeSet<Name>) -> Result<(), TestCaseError> {
    let namespaces: BTreeSet<&String> = names.iter().map(|(namespace, _, _)| namespace).collect();
    for namespace in &namespaces {
        cache
            .invalidate_namespace(InvalidateNamespaceRequest {
                namespace: (*namespace).clone(),
                ..InvalidateNamespaceRequest::default()
            })
            .await
            .unwrap();
    }
    let mut expected: BTreeMap<&Name, Option<String>> = BTreeMap::new();
    let names: Vec<&Name> = names.iter().collect();
    for (number, chunk) in names.chunks(500).enumerate() {
        let values = (0..chunk.len()).map(|index| format!("value {number}-{index}"));
        let items =
            chunk.iter().zip(values.clone()).map(|(name, value)| set(name, &value)).collect();
        let results = cache.batch_set(BatchSetRequest { items }).await.unwrap().results;
        prop_assert!(
            results.iter().all(|result| result.result() == SetResult::Stored),
            "{results:?}"
        );
        expected.extend(chunk.iter().copied().zip(values.map(Some)));
    }
    check(cache, &expected).await?;

    for number in 0..names.len().min(5) {
        let gone = names[number * 7 % names.len()];
        let keys = vec![key_ref(gone)];
        let existed = cache
            .batch_delete(BatchDeleteRequest { keys, ..BatchDeleteRequest::default() })
            .await
            .unwrap()
            .existed;
        prop_assert_eq!(existed, [expected.insert(gone, None).flatten().is_some()], "{:?}", gone);
    }
    check(cache, &expected).await?;

    let emptied = *namespaces.first().unwrap();
    cache
        .invalidate_namespace(InvalidateNamespaceRequest {
            namespace: emptied.clone(),
            ..InvalidateNamespaceRequest::default()
        })
        .await
        .unwrap();
    for (name, value) in &mut expected {
        if name.0 == *emptied {
            *value = None;
        }
    }
    check(cache, &expected).await
}

async fn check(
    cache: &Cache,
    expected: &BTreeMap<&Name, Option<String>>,
) -> Result<(), TestCaseError> {
    let names: Vec<&Name> = expected.keys().copied().collect();
    let mut seen = Vec::new();
    for keys in names.chunks(500) {
        let keys = keys.iter().map(|name| key_ref(name)).collect();
        let chunks = cache.batch_get(batch_get(keys)).await.unwrap();
        seen.extend(
            chunks.into_iter().flat_map(|chunk| chunk.results).map(|result| as_text(result.value)),
        );
    }
    for ((name, value), seen) in expected.iter().zip(seen) {
        prop_assert_eq!(value, &seen, "{:?}", name);
    }
    Ok(())
}

fn name() -> impl Strategy<Value = Name> {
    // A small alphabet, so that similar names occur in one set.
    let piece = prop::sample::select(PIECES.as_slice());
    let key = prop_oneof![
        4 => prop::collection::vec(piece.clone(), 1..6).prop_map(|pieces| pieces.concat()),
        1 => any::<String>().prop_map(|key| {
            if key.is_empty() { "x".to_owned() } else { truncated(&key) }
        }),
        1 => piece.clone().prop_map(|piece| truncated(&piece.repeat(1024))),
    ];
    let namespace = prop::sample::select(
        ["ns", "ns0", "ns.0", "n", "k", "p", "g", "l", "0", "stats", "larder"].as_slice(),
    );
    let params =
        btree_map(piece.clone().prop_map(str::to_owned), piece.prop_map(str::to_owned), 0..3);
    (namespace.prop_map(str::to_owned), key, params)
}

/// The longest prefix of a key that fits into 1,024 bytes.
fn truncated(key: &str) -> String {
    let end = (0..=1024).rev().find(|end| key.is_char_boundary(*end)).unwrap_or_default();
    key[..end.min(key.len())].to_owned()
}

fn key_ref(name: &Name) -> KeyRef {
    let params: BTreeMap<String, String> = name.2.clone().into_iter().collect();
    KeyRef { namespace: name.0.clone(), key: name.1.clone(), params }
}

fn set(name: &Name, value: &str) -> SetRequest {
    let KeyRef { namespace, key, params } = key_ref(name);
    SetRequest { namespace, key, params, value: Some(text(value)), ..Default::default() }
}

on_both_stores!(keys_that_differ_in_one_byte_are_distinct, |env| {
    let long = "k".repeat(1023);
    let keys: Vec<String> = ["a", "b", "\0", "\u{7f}"]
        .iter()
        .map(|last| format!("{long}{last}"))
        .chain([long.clone()])
        .collect();
    for key in &keys {
        env.cache.set(crate::support::client::set(key, data(key.as_bytes()))).await.unwrap();
    }
    for key in &keys {
        let request =
            GetRequest { namespace: "ns".to_owned(), key: key.clone(), ..Default::default() };
        assert_eq!(env.cache.get(request).await.unwrap().value, Some(data(key.as_bytes())));
    }
});

//! Schema versions of a namespace: releases side by side on one Redis.

use larder::pb::v1::{
    BatchDeleteRequest, BatchSetRequest, IncrementRequest, PatchRequest, PatchResult, SetResult,
    Value, patch_request::Patch, value::Kind,
};

use crate::support::{
    client::{
        Cache, as_text, batch_get, delete, fill, increment, invalidate, key_ref, renewal, set,
        text, touch,
    },
    redis::RedisServer,
    server::Larder,
    wait::{SOON, eventually},
};

const ROUNDS: usize = 100;

/// A replica whose release caches the values of this schema version; empty: none.
async fn release(redis: &RedisServer, version: &str) -> (Larder, Cache) {
    let config = format!("[namespaces.ns]\nversion = \"{version}\"\n[namespaces.ns.near_cache]\n");
    let larder = Larder::redis(&redis.url()).config(&config).start().await;
    let cache = larder.client().await;
    (larder, cache)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn releases_side_by_side_never_read_each_others_entries() {
    let redis = RedisServer::start().await;
    let (_old_larder, old) = release(&redis, "1").await;
    let (_new_larder, new) = release(&redis, "2").await;
    let (_unversioned_larder, unversioned) = release(&redis, "").await;
    let (_same_larder, same) = release(&redis, "2").await;
    let work = async |cache: &Cache, name: &str| {
        for round in 0..ROUNDS {
            let key = format!("k{}", round % 5);
            cache.set(set(&key, text(name))).await.unwrap();
            assert_eq!(cache.read(&key).await.as_deref(), Some(name));
            let keys = (0..5).map(|number| key_ref(&format!("k{number}"))).collect();
            let chunks = cache.batch_get(batch_get(keys)).await.unwrap();
            for result in chunks.into_iter().flat_map(|chunk| chunk.results) {
                let value = as_text(result.value);
                assert!(value.as_deref().is_none_or(|value| value == name), "{value:?}");
            }
        }
    };
    tokio::join!(work(&old, "old"), work(&new, "new"), work(&unversioned, "none"));
    // Replicas of the same release share their entries.
    assert_eq!(same.read("k0").await.as_deref(), Some("new"));

    assert!(new.delete(delete("k0")).await.unwrap().existed);
    assert_eq!((old.read("k0").await.as_deref(), new.read("k0").await), (Some("old"), None));
    let keys = vec![key_ref("k1"), key_ref("k2")];
    let request = BatchDeleteRequest { keys, ..Default::default() };
    assert_eq!(new.batch_delete(request).await.unwrap().deleted, [true, true]);
    assert_eq!(unversioned.read("k1").await.as_deref(), Some("none"));

    // An invalidation is one of all releases.
    new.invalidate_namespace(invalidate("ns")).await.unwrap();
    for cache in [&old, &new, &unversioned] {
        eventually("no entry is left", SOON, async || {
            cache.read("k3").await.is_none().then_some(())
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_call_names_the_entry_of_its_release() {
    let redis = RedisServer::start().await;
    let (_old_larder, old) = release(&redis, "1").await;
    let (_new_larder, new) = release(&redis, "2").await;
    let json = Value { kind: Some(Kind::Json("{}".into())) };
    for key in ["patched", "touched"] {
        old.set(set(key, json.clone())).await.unwrap();
    }
    assert_eq!(old.increment(increment("counted", 5)).await.unwrap().value, 5);

    assert!(!new.touch(touch("touched", 1000)).await.unwrap().found);
    let present = IncrementRequest { if_present: true, ..increment("counted", 1) };
    assert!(new.increment(present).await.unwrap().missing);
    let patch = PatchRequest {
        namespace: "ns".to_owned(),
        key: "patched".to_owned(),
        patch: Some(Patch::MergePatch("{}".to_owned())),
        ..Default::default()
    };
    assert_eq!(new.patch(patch.clone()).await.unwrap().result(), PatchResult::Missing);
    assert_eq!(old.patch(patch).await.unwrap().result(), PatchResult::Applied);

    // Each release has a lease of its own.
    let (leased_by_old, leased_by_new) = (old.lease("leased").await, new.lease("leased").await);
    assert!(new.renew(renewal("leased", &leased_by_old)).await.unwrap().expires_in.is_none());
    assert!(new.renew(renewal("leased", &leased_by_new)).await.unwrap().expires_in.is_some());
    let filled = async |cache: &Cache, value, lease| {
        cache.set(fill("leased", text(value), lease)).await.unwrap().result()
    };
    assert_eq!(filled(&new, "x", &leased_by_old).await, SetResult::LeaseLost);
    assert_eq!(filled(&old, "old", &leased_by_old).await, SetResult::Stored);
    assert_eq!(filled(&new, "new", &leased_by_new).await, SetResult::Stored);
    let (value, _) = old.fetched("leased").await;
    assert_eq!(value.as_deref(), Some("old"));
    let items = vec![set("batch", text("old"))];
    old.batch_set(BatchSetRequest { items }).await.unwrap();
    assert_eq!(new.read("batch").await, None);
    assert_eq!(old.read("batch").await.as_deref(), Some("old"));
}

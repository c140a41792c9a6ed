//! Schema versions of a namespace: releases side by side on one Redis.

use larder::pb::v1::{
    BatchDeleteRequest, BatchSetRequest, IncrementRequest, InspectEntryRequest, ListKeysRequest,
    ListedKey, PatchRequest, PatchResult, SetRequest, SetResult, Value, patch_request::Patch,
    value::Kind,
};

use crate::support::{
    batch::{answers, batch},
    client::{
        Cache, Fetched as _, as_text, batch_get, delete, fill, get, increment, invalidate, key_ref,
        renewal, set, text, touch,
    },
    origin::numbered,
    redis::RedisServer,
    server::Larder,
    status::expect_violation,
    stream::Stream,
    targets,
    wait::{SOON, eventually},
};

const ROUNDS: usize = 100;

/// The source of the schema version.
#[derive(Clone, Copy)]
enum Way {
    /// The configuration of the namespace.
    Configured,
    /// The metadata of requests.
    OfClient,
    /// Each of them one half of it.
    Both,
}

impl Way {
    /// A replica with a client whose release caches the values of this schema version; empty: none.
    async fn release(self, redis: &RedisServer, version: &str) -> (Larder, Cache) {
        let (configured, of_client) = match self {
            Self::Configured => (version, ""),
            Self::OfClient => ("", version),
            // Releases differ in one of the halves.
            Self::Both => match version {
                "1" => ("1", "2"),
                "2" => ("2", "1"),
                _ => ("2", ""),
            },
        };
        let near = "[namespaces.ns.near_cache]";
        let config = format!("[namespaces.ns]\nversion = \"{configured}\"\n{near}\n");
        let larder = Larder::redis(&redis.url()).config(&config).start().await;
        let cache = larder.client().await.of_schema(of_client);
        (larder, cache)
    }
}

/// Makes a test for each way.
macro_rules! in_each_way {
    ($name:ident, |$way:ident| $body:block) => {
        mod $name {
            use super::*;

            async fn run($way: Way) $body

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn configured() {
                run(Way::Configured).await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn of_client() {
                run(Way::OfClient).await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn both() {
                run(Way::Both).await;
            }
        }
    };
}

in_each_way!(releases_side_by_side_never_read_each_others_entries, |way| {
    let redis = RedisServer::start().await;
    let (_old_larder, old) = way.release(&redis, "1").await;
    let (_new_larder, new) = way.release(&redis, "2").await;
    let (_unversioned_larder, unversioned) = way.release(&redis, "").await;
    let (_same_larder, same) = way.release(&redis, "2").await;
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
});

in_each_way!(every_call_names_the_entry_of_its_release, |way| {
    let redis = RedisServer::start().await;
    let (_old_larder, old) = way.release(&redis, "1").await;
    let (_new_larder, new) = way.release(&redis, "2").await;
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

    // An invalidation of a key is one of its release, and one by tag of all.
    let tagged = SetRequest { tags: vec!["t".to_owned()], ..set("tagged", text("old")) };
    old.set(tagged).await.unwrap();
    assert!(!targets::invalidate(&new, &[targets::key("tagged")]).await[0].existed);
    assert!(old.read("tagged").await.is_some());
    targets::invalidate(&new, &[targets::tags(&["t"])]).await;
    eventually("the tag is banned", SOON, async || {
        old.read("tagged").await.is_none().then_some(())
    })
    .await;

    // A stream holds the lease of its release.
    let mut of_old = Stream::lease(&old, "streamed").await;
    let mut of_new = Stream::lease(&new, "streamed").await;
    assert_eq!(of_old.fill("old").await, SetResult::Stored);
    assert_eq!(of_new.fill("new").await, SetResult::Stored);
    assert_eq!(old.read("streamed").await.as_deref(), Some("old"));
    let fetched = answers(&new, batch(&["streamed", "missing"])).await;
    let Ok([streamed, missing]) = <[_; 2]>::try_from(fetched) else { panic!("two answers") };
    assert_eq!(as_text(streamed.expect_found().value).as_deref(), Some("new"));
    missing.expect_lease();

    let inspected = async |cache: &Cache, request: InspectEntryRequest| {
        cache.admin().inspect_entry(request).await.unwrap().into_inner().entry
    };
    let by_name = |key: &str| InspectEntryRequest {
        namespace: "ns".to_owned(),
        key: key.to_owned(),
        ..Default::default()
    };
    let (of_old, of_new) =
        (inspected(&old, by_name("streamed")).await, inspected(&new, by_name("streamed")).await);
    assert_ne!(of_old.unwrap().version, of_new.unwrap().version);
    assert_eq!(inspected(&new, by_name("batch")).await, None);
    // A listing has the entries of all releases, by the digests under which they are stored.
    let request = ListKeysRequest {
        namespace: "ns".to_owned(),
        glob: "streamed".to_owned(),
        ..Default::default()
    };
    let listed = new.list_keys(request).await.unwrap();
    assert_eq!(listed.len(), 2, "{listed:?}");
    for ListedKey { key, params_digest } in listed {
        let by_digest = InspectEntryRequest { params_digest, ..by_name(&key) };
        assert!(inspected(&new, by_digest).await.is_some());
    }
});

on_both_stores!(schema_version_of_a_client_is_validated, |env| {
    for version in ["a b", "a/b", &"x".repeat(65)] {
        let cache = env.cache.of_schema(version);
        expect_violation(cache.get(get("k")).await, "larder-schema-version");
        expect_violation(cache.set(set("k", text("v"))).await, "larder-schema-version");
    }
    let (one, two) = (env.cache.of_schema("v1.0_a-b"), env.cache.of_schema(&"x".repeat(64)));
    one.put("k", "one").await;
    assert_eq!((two.read("k").await, env.cache.read("k").await), (None, None));
    assert_eq!(one.read("k").await.as_deref(), Some("one"));
});

with_origin!(clients_of_two_releases_do_not_share_fetches, |env, origin| {
    origin.answer(numbered);
    let (old, new) = (env.cache.of_schema("1"), env.cache.of_schema("2"));
    let (of_old, of_new) = (old.fetched("k").await.0, new.fetched("k").await.0);
    let of_none = env.cache.fetched("k").await.0;
    assert_eq!((old.fetched("k").await.0, new.fetched("k").await.0), (of_old, of_new));
    assert_eq!(env.cache.fetched("k").await.0, of_none);
    assert_eq!(origin.calls(), 3);
});

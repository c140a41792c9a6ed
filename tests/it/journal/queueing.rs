use larder::pb::v1::{
    BatchDeleteRequest, DeleteRequest, Durability, InvalidateNamespaceRequest, InvalidateRequest,
    PublishEventRequest, SetRequest, SetResult,
};
use tonic::Code;

use super::{await_replayed, await_store, deleted, journaled};
use crate::{
    near::wait_until_coherent,
    support::{
        client::{Cache, batch_get, delete, get, invalidate, key_ref, ms, set, text},
        fleet::metric,
        proxy::Proxy,
        redis::RedisServer,
        server::Larder,
        status::{expect_retry, expect_violation},
        targets,
        wait::{SOON, eventually},
    },
};

const CONFIG: &str = "[[events.changed]]\nnamespace = 'of-event'\n\
                      [journal]\nquarantine = '0s'\n";

/// A server whose connection to Redis can be cut.
struct Setup {
    proxy: Proxy,
    larder: Larder,
    cache: Cache,
    _redis: RedisServer,
    _directory: tempfile::TempDir,
}

impl Setup {
    async fn start(config: &str) -> Self {
        let redis = RedisServer::start().await;
        let proxy = Proxy::start(redis.upstream()).await;
        let directory = tempfile::tempdir().unwrap();
        let builder = journaled(&proxy.redis_url(), directory.path()).config(config);
        let larder = builder.start().await;
        let cache = larder.client().await;
        Self { proxy, larder, cache, _redis: redis, _directory: directory }
    }

    /// Stores a value in a namespace.
    async fn put(&self, namespace: &str, key: &str, tags: &[&str]) {
        let tags = tags.iter().map(ToString::to_string).collect();
        let request = SetRequest { namespace: namespace.to_owned(), tags, ..set(key, text("old")) };
        assert_eq!(self.cache.set(request).await.unwrap().result(), SetResult::Stored);
    }

    /// Whether a read finds the value, and whether it is degraded.
    async fn read(&self, namespace: &str, key: &str) -> (bool, bool) {
        let mut request = get(key);
        request.namespace = namespace.to_owned();
        let answer = self.cache.get(request).await.unwrap();
        (answer.value.is_some(), answer.degraded)
    }
}

/// The entries that are invalidated, by namespace and key.
const INVALIDATED: [(&str, &str); 8] = [
    ("ns", "deleted"),
    ("ns", "batch-1"),
    ("ns", "batch-2"),
    ("ns", "target"),
    ("tagged", "k"),
    ("matched", "user:1"),
    ("whole", "k"),
    ("of-event", "k"),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_invalidation_is_queued_and_none_of_its_entries_is_read_again() {
    let mut setup = Setup::start(CONFIG).await;
    for (namespace, key) in INVALIDATED {
        setup.put(namespace, key, &["t"]).await;
        assert_eq!(setup.read(namespace, key).await, (true, false));
    }
    setup.put("ns", "kept", &[]).await;
    setup.put("tagged", "kept", &[]).await;
    assert_eq!(deleted(&setup.cache, "absent").await, Durability::Applied);
    setup.proxy.cut().await;
    let cache = &setup.cache;
    assert_eq!(deleted(cache, "deleted").await, Durability::Queued);
    let keys = vec![key_ref("batch-1"), key_ref("batch-2")];
    let batch = BatchDeleteRequest { keys, ..BatchDeleteRequest::default() };
    let answer = cache.batch_delete(batch).await.unwrap();
    assert_eq!(answer.durabilities().collect::<Vec<_>>(), [Durability::Queued; 2]);
    let tagged = targets::within("tagged", targets::tags(&["t"]));
    let matched = targets::within("matched", targets::pattern("user:*"));
    let request = targets::request(&[targets::key("target"), tagged, matched]);
    let answer = cache.invalidate(request).await.unwrap();
    assert_eq!(answer.durability(), Durability::Queued);
    let each = answer.results.iter().map(larder::pb::v1::TargetResult::durability);
    assert_eq!(each.collect::<Vec<_>>(), [Durability::Queued; 3]);
    let answer = cache.invalidate_namespace(invalidate("whole")).await.unwrap();
    assert_eq!(answer.durability(), Durability::Queued);
    let event = PublishEventRequest { name: "changed".to_owned(), ..Default::default() };
    let answer = cache.admin().publish_event(event).await.unwrap().into_inner();
    assert_eq!(answer.durability(), Durability::Queued);
    assert_eq!(metric(&setup.larder, "larder_journal_entries").await, 8.0);
    assert!(metric(&setup.larder, "larder_journal_size_bytes").await > 8.0 * 64.0);
    assert!(setup.larder.logs().contains("invalidations are queued in the journal"));

    setup.proxy.restore().await;
    eventually("the journal is replayed", SOON, async || {
        for (namespace, key) in INVALIDATED {
            let (is_found, _) = setup.read(namespace, key).await;
            assert!(!is_found, "{namespace}/{key}");
        }
        let entries = metric(&setup.larder, "larder_journal_entries").await;
        (entries == 0.0).then_some(())
    })
    .await;
    for (namespace, key) in INVALIDATED {
        assert_eq!(setup.read(namespace, key).await, (false, false), "{namespace}/{key}");
    }
    // Nothing else is invalidated.
    for namespace in ["ns", "tagged"] {
        assert_eq!(setup.read(namespace, "kept").await, (true, false));
    }
    assert_eq!(metric(&setup.larder, "larder_journal_age_seconds").await, 0.0);
    assert_eq!(deleted(&setup.cache, "kept").await, Durability::Applied);
    eventually("the replay is logged", SOON, async || {
        setup.larder.logs().contains("the journal is replayed").then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_entry_with_a_queued_deletion_is_neither_read_nor_written_before_the_replay() {
    let setup = Setup::start(CONFIG).await;
    setup.put("ns", "deleted", &[]).await;
    setup.put("ns", "other", &[]).await;
    // Only the replay is held back: its deletion is the only script that is not answered.
    setup.proxy.hold_requests();
    assert_eq!(deleted(&setup.cache, "deleted").await, Durability::Queued);
    let refused = setup.cache.increment(crate::support::client::increment("deleted", 1)).await;
    expect_retry(refused, Code::Unavailable, "STORE_UNAVAILABLE");
    let keys = vec![key_ref("deleted"), key_ref("other")];
    setup.proxy.flow();
    eventually("the batch is read from Redis", SOON, async || {
        let results = setup.cache.batch_get(batch_get(keys.clone())).await.unwrap().remove(0);
        assert!(results.results[0].value.is_none());
        results.results[1].value.is_some().then_some(())
    })
    .await;
    await_replayed(&setup.larder).await;
    assert_eq!(setup.read("ns", "deleted").await, (false, false));
    setup.put("ns", "deleted", &[]).await;
    assert_eq!(setup.read("ns", "deleted").await, (true, false));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_caller_can_require_applied() {
    let mut setup = Setup::start(CONFIG).await;
    setup.put("ns", "k", &[]).await;
    let applied = Durability::Applied.into();
    let request = || DeleteRequest { required_durability: applied, ..delete("other") };
    let answer = setup.cache.delete(request()).await.unwrap();
    assert_eq!(answer.durability(), Durability::Applied);
    let unknown = DeleteRequest { required_durability: 9, ..delete("k") };
    expect_violation(setup.cache.delete(unknown).await, "required_durability");
    setup.proxy.cut().await;
    let cache = &setup.cache;
    let deletion = cache.delete(DeleteRequest { required_durability: applied, ..delete("k") });
    expect_retry(deletion.await, Code::Unavailable, "NOT_APPLIED");
    let keys = vec![key_ref("other")];
    let batch =
        BatchDeleteRequest { keys, required_durability: applied, ..BatchDeleteRequest::default() };
    expect_retry(cache.batch_delete(batch).await, Code::Unavailable, "NOT_APPLIED");
    let whole =
        InvalidateNamespaceRequest { namespace: "other".to_owned(), required_durability: applied };
    expect_retry(cache.invalidate_namespace(whole).await, Code::Unavailable, "NOT_APPLIED");
    let targets = vec![targets::tags(&["t"])];
    let tags = InvalidateRequest { targets, required_durability: applied, hold_off: None };
    expect_retry(cache.invalidate(tags).await, Code::Unavailable, "NOT_APPLIED");
    let event = PublishEventRequest {
        name: "changed".to_owned(),
        required_durability: applied,
        ..Default::default()
    };
    let published = cache.admin().publish_event(event).await;
    expect_retry(published.map(drop), Code::Unavailable, "NOT_APPLIED");
    // A condition and a returned value need the store.
    let returned = DeleteRequest { return_value: true, ..delete("k") };
    expect_retry(cache.delete(returned).await, Code::Unavailable, "STORE_UNAVAILABLE");
    // They are applied later all the same.
    setup.proxy.restore().await;
    await_replayed(&setup.larder).await;
    assert_eq!(setup.read("ns", "k").await, (false, false));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hold_off_ends_when_it_was_to_end() {
    let mut setup = Setup::start(CONFIG).await;
    setup.put("ns", "k", &[]).await;
    let stale = setup.cache.lease("held").await;
    setup.proxy.cut().await;
    let hold_off = DeleteRequest { hold_off: ms(600_000), ..delete("held") };
    let answer = setup.cache.delete(hold_off).await.unwrap();
    assert_eq!(answer.durability(), Durability::Queued);
    let brief = DeleteRequest { hold_off: ms(1), ..delete("k") };
    assert_eq!(setup.cache.delete(brief).await.unwrap().durability(), Durability::Queued);
    setup.proxy.restore().await;
    await_replayed(&setup.larder).await;
    let refused = setup.cache.set(crate::support::client::fill("held", text("v"), &stale)).await;
    assert_ne!(refused.unwrap().result(), SetResult::Stored);
    let held = setup.cache.lease("held").await;
    let refused = setup.cache.set(crate::support::client::fill("held", text("v"), &held)).await;
    assert_ne!(refused.unwrap().result(), SetResult::Stored, "the hold-off lasts");
    let lease = setup.cache.lease("k").await;
    let filled = setup.cache.set(crate::support::client::fill("k", text("v"), &lease)).await;
    assert_eq!(filled.unwrap().result(), SetResult::Stored, "the hold-off is over");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn copies_in_the_near_cache_are_removed() {
    let config = format!("{}{CONFIG}", crate::near::CONFIG);
    let mut setup = Setup::start(&config).await;
    wait_until_coherent(&setup.larder).await;
    for key in ["deleted", "other"] {
        setup.cache.put(key, "old").await;
        crate::near::wait_until_near(&setup.cache, key, "old").await;
    }
    setup.proxy.cut().await;
    assert_eq!(deleted(&setup.cache, "deleted").await, Durability::Queued);
    let answer = setup.cache.get(get("deleted")).await.unwrap();
    assert!(answer.value.is_none() && answer.entry.is_none(), "{answer:?}");
    setup.proxy.restore().await;
    await_replayed(&setup.larder).await;
    await_store(&setup.cache, "other").await;
    let answer = setup.cache.get(get("deleted")).await.unwrap();
    assert!(answer.value.is_none());
}

//! `store.wait_replicas` and `store.failover_window`: a failover does not take back what was
//! acknowledged.

use std::time::Duration;

use futures::future::join_all;
use larder::pb::v1::{SetRequest, SetResult, set_request::Condition};
use tonic::Code;

use crate::support::{
    client::{Cache, delete, get, invalidate, set, text},
    cluster::RedisCluster,
    fleet::metric,
    proxy::Proxy,
    redis::RedisServer,
    server::Larder,
    status::expect_error,
    targets,
    wait::{SOON, eventually, throughout},
};

/// Time after which a change that no replica has is refused.
const WAIT: &str = "300ms";
/// Time limit of a failover of a cluster.
const SLOW: Duration = Duration::from_secs(30);

/// A primary behind a name, and a replica that follows it through a proxy of its own.
struct Setup {
    primary: RedisServer,
    replica: RedisServer,
    name: Proxy,
    replication: Proxy,
    larder: Larder,
    cache: Cache,
}

impl Setup {
    async fn start(wait_replicas: &str, failover_window: &str) -> Self {
        // The first sync of a replica begins at once.
        let primary = RedisServer::start_tcp_with(&["--repl-diskless-sync-delay", "0"]).await;
        let arguments = ["--repl-timeout", "600"];
        let replica = RedisServer::start_tcp_with(&arguments).await;
        let name = Proxy::start(primary.upstream()).await;
        let replication = Proxy::start(primary.upstream()).await;
        let port = replication.address().port();
        let mut connection = replica.connection().await;
        let mut follow = redis::cmd("REPLICAOF");
        follow.arg("127.0.0.1").arg(port).exec_async(&mut connection).await.unwrap();
        let larder = Larder::redis(&name.redis_url())
            .env("LARDER_STORE__WAIT_REPLICAS", wait_replicas)
            .env("LARDER_STORE__WAIT_TIMEOUT", WAIT)
            .env("LARDER_STORE__FAILOVER_WINDOW", failover_window)
            .start()
            .await;
        let cache = larder.client().await;
        let setup = Self { primary, replica, name, replication, larder, cache };
        setup.await_replicated().await;
        setup
    }

    /// Waits until the replica has everything.
    async fn await_replicated(&self) {
        let mut connection = self.primary.connection().await;
        eventually("the replica has everything", SOON, async || {
            let mut commands = redis::pipe();
            commands.cmd("SET").arg("mark").arg("1").ignore().cmd("WAIT").arg(1).arg(100);
            let (replicas,): (u64,) = commands.query_async(&mut connection).await.unwrap();
            (replicas == 1).then_some(())
        })
        .await;
    }

    /// The primary is lost, with what its replica does not have.
    async fn fail_over(&mut self) {
        self.primary.kill();
        let mut connection = self.replica.connection().await;
        let mut promote = redis::cmd("REPLICAOF");
        promote.arg("NO").arg("ONE").exec_async(&mut connection).await.unwrap();
        self.name.redirect(self.replica.upstream());
        eventually("the new primary answers", SOON, async || {
            let answer = self.cache.get(get("other")).await.ok()?;
            (!answer.degraded).then_some(())
        })
        .await;
    }

    /// The entries that are still there.
    async fn left(&self) -> Vec<&'static str> {
        let mut left = Vec::new();
        for key in ["deleted", "tagged", "matched", "conditional"] {
            if self.cache.read(key).await.as_deref() == Some("old") {
                left.push(key);
            }
        }
        let mut other = get("k");
        other.namespace = "other".to_owned();
        if self.cache.get(other).await.unwrap().value.is_some() {
            left.push("namespace");
        }
        left
    }

    /// Stores what the changes concern. Returns the version for the conditional Set.
    async fn fill(&self) -> String {
        self.cache.put("deleted", "old").await;
        self.cache.put("matched", "old").await;
        let tagged = SetRequest { tags: vec!["t".to_owned()], ..set("tagged", text("old")) };
        assert_eq!(self.cache.set(tagged).await.unwrap().result(), SetResult::Stored);
        let other = SetRequest { namespace: "other".to_owned(), ..set("k", text("old")) };
        assert_eq!(self.cache.set(other).await.unwrap().result(), SetResult::Stored);
        let version = self.cache.put("conditional", "old").await;
        self.await_replicated().await;
        assert_eq!(self.left().await.len(), 5);
        version
    }

    async fn change_all(&self, version: &str) {
        self.cache.delete(delete("deleted")).await.unwrap();
        targets::invalidate(&self.cache, &[targets::tags(&["t"])]).await;
        targets::invalidate(&self.cache, &[targets::pattern("match*")]).await;
        self.cache.invalidate_namespace(invalidate("other")).await.unwrap();
        let set = self.cache.set(conditional(version)).await.unwrap();
        assert_eq!(set.result(), SetResult::Stored, "{set:?}");
        assert_eq!(self.left().await, [""; 0]);
    }
}

fn conditional(version: &str) -> SetRequest {
    let condition = Some(Condition::IfVersion(version.to_owned()));
    SetRequest { condition, ..set("conditional", text("new")) }
}

/// Without the option, a failover takes back what the replica does not have. This shows that the
/// tests below can fail.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failover_takes_back_changes_that_wait_for_no_replica() {
    let mut setup = Setup::start("0", "0s").await;
    let version = setup.fill().await;
    setup.replication.hold_replies();
    setup.change_all(&version).await;
    setup.fail_over().await;
    let left = setup.left().await;
    assert_eq!(left, ["deleted", "tagged", "matched", "conditional", "namespace"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_last_invalidations_are_applied_again_after_a_failover() {
    let mut setup = Setup::start("0", "10s").await;
    let version = setup.fill().await;
    setup.replication.hold_replies();
    setup.change_all(&version).await;
    let remembered = metric(&setup.larder, "larder_store_failover_remembered").await;
    assert_eq!(remembered, 4.0, "Sets are not invalidations");
    setup.fail_over().await;
    eventually("the invalidations are applied again", SOON, async || {
        // The conditional Set is lost: it is no invalidation.
        let left = setup.left().await;
        assert!(left.iter().all(|key| *key == "conditional"), "{left:?}");
        let reapplied = metric(&setup.larder, "larder_store_failover_reapplied_total").await;
        (reapplied == 4.0).then_some(())
    })
    .await;
    assert_eq!(setup.left().await, ["conditional"]);
    assert_eq!(metric(&setup.larder, "larder_store_failover_reapplying").await, 0.0);
    for key in ["deleted", "tagged", "matched"] {
        assert!(!setup.cache.get(get(key)).await.unwrap().degraded, "{key}");
    }
    assert!(setup.larder.logs().contains("the last invalidations are applied again"));
}

/// A promoted primary without replicas of its own is enough.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn invalidations_are_applied_again_to_a_primary_without_replicas() {
    let mut setup = Setup::start("1", "10s").await;
    setup.cache.put("deleted", "old").await;
    setup.cache.delete(delete("deleted")).await.unwrap();
    setup.fail_over().await;
    eventually("the key is read again", SOON, async || {
        let answer = setup.cache.get(get("deleted")).await.unwrap();
        assert!(answer.value.is_none());
        (!answer.degraded).then_some(())
    })
    .await;
}

/// Each primary of a cluster can be replaced alone.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_last_invalidations_are_applied_again_after_a_failover_of_a_cluster() {
    let cluster = RedisCluster::start_replicated().await;
    let larder = Larder::redis(&cluster.url()).start().await;
    let cache = larder.client().await;
    let keys: Vec<String> = (0..12).map(|number| format!("k{number}")).collect();
    eventually("all keys are deleted", SOON, async || {
        for key in &keys {
            cache.delete(delete(key)).await.ok()?;
        }
        Some(())
    })
    .await;
    cluster.await_replicated(0).await;
    cluster.fail_over_by_hand(0).await;
    cluster.await_failover(0, 0).await;
    eventually("the invalidations are applied again", SLOW, async || {
        for key in &keys {
            let answer = cache.get(get(key)).await.unwrap();
            assert!(answer.value.is_none());
        }
        let reapplied = metric(&larder, "larder_store_failover_reapplied_total").await;
        (reapplied >= 12.0).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failover_takes_back_nothing_that_a_replica_has() {
    let mut setup = Setup::start("1", "0s").await;
    let version = setup.fill().await;
    setup.change_all(&version).await;
    // Later changes are not acknowledged.
    setup.replication.hold_replies();
    let cache = &setup.cache;
    let answer = cache.delete(delete("other")).await;
    let refused = expect_error(answer, Code::Unavailable, "NOT_REPLICATED");
    assert!(refused.retry_info().is_some(), "{refused:?}");
    for target in [targets::tags(&["t"]), targets::pattern("*"), targets::key("k")] {
        let answer = cache.invalidate(targets::request(&[target])).await;
        expect_error(answer, Code::Unavailable, "NOT_REPLICATED");
    }
    let answer = cache.invalidate_namespace(invalidate("ns")).await;
    expect_error(answer, Code::Unavailable, "NOT_REPLICATED");
    let absent = SetRequest { condition: Some(Condition::IfAbsent(true)), ..set("c", text("v")) };
    let answer = cache.set(absent).await.unwrap();
    assert_eq!((answer.result(), answer.degraded), (SetResult::NotStored, true), "{answer:?}");
    assert!(answer.cause.contains("store.wait_replicas"), "{answer:?}");
    // An unconditional Set may be lost, and does not wait.
    assert_eq!(cache.set(set("s", text("v"))).await.unwrap().result(), SetResult::Stored);
    assert!(
        metric(&setup.larder, r#"larder_store_replica_waits_total{outcome="failed"}"#).await >= 6.0
    );
    assert!(setup.larder.logs().contains("replicas of Redis lack a change"));
    setup.fail_over().await;
    assert_eq!(setup.left().await, [""; 0]);
}

/// The replica lags behind from time to time, while many callers delete.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_acknowledged_delete_comes_back() {
    for (wait_replicas, window) in [("0", "0s"), ("all", "0s"), ("0", "60s")] {
        let (is_waiting, is_safe) = (wait_replicas != "0", (wait_replicas, window) != ("0", "0s"));
        let mut setup = Setup::start(wait_replicas, window).await;
        let keys: Vec<String> = (0..600).map(|number| format!("k{number}")).collect();
        for key in &keys {
            setup.cache.put(key, "old").await;
        }
        setup.await_replicated().await;
        let deletes = keys.chunks(50).map(async |keys| {
            let mut deleted = Vec::new();
            for key in keys {
                if setup.cache.delete(delete(key)).await.is_err() {
                    break;
                }
                deleted.push(key.clone());
            }
            deleted
        });
        let lag = async {
            for _ in 0..10 {
                setup.replication.hold_replies();
                throughout(Duration::from_millis(5), async || {}).await;
                setup.replication.flow();
                throughout(Duration::from_millis(10), async || {}).await;
            }
            setup.replication.hold_replies();
        };
        let (deleted, ()) = tokio::join!(join_all(deletes), lag);
        let deleted: Vec<String> = deleted.into_iter().flatten().collect();
        if is_waiting {
            // The last ones were deleted while the replica lagged behind.
            let answer = setup.cache.delete(delete(&keys[0])).await;
            expect_error(answer, Code::Unavailable, "NOT_REPLICATED");
        } else {
            setup.cache.put("last", "old").await;
            setup.replication.flow();
            setup.await_replicated().await;
            setup.replication.hold_replies();
            setup.cache.delete(delete("last")).await.unwrap();
        }
        setup.fail_over().await;
        let mut back = 0;
        for key in deleted.iter().map(String::as_str).chain(["last"]) {
            back += usize::from(setup.cache.read(key).await.is_some());
        }
        assert_eq!(back == 0, is_safe, "{back} of {} are back", deleted.len());
        assert!(!deleted.is_empty());
    }
}

/// Each primary of a cluster has replicas of its own.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_primary_of_a_cluster_waits_for_its_own_replicas() {
    let mut cluster = RedisCluster::start_replicated().await;
    let larder = Larder::redis(&cluster.url())
        .env("LARDER_STORE__WAIT_REPLICAS", 1)
        .env("LARDER_STORE__WAIT_TIMEOUT", WAIT)
        .start()
        .await;
    let cache = larder.client().await;
    let keys: Vec<String> = (0..12).map(|number| format!("k{number}")).collect();
    eventually("all keys are deleted", SOON, async || {
        for key in &keys {
            cache.delete(delete(key)).await.ok()?;
        }
        Some(())
    })
    .await;
    cache.invalidate_namespace(invalidate("ns")).await.unwrap();
    targets::invalidate(&cache, &[targets::pattern("*")]).await;

    let replicas = cluster.primaries().end..cluster.primaries().end + 3;
    let paused = replicas.start;
    cluster.server(paused).pause();
    let (mut acknowledged, mut refused) = (0, 0);
    for key in &keys {
        match cache.delete(delete(key)).await {
            Ok(_) => acknowledged += 1,
            Err(status) => {
                expect_error::<()>(Err(status), Code::Unavailable, "NOT_REPLICATED");
                refused += 1;
            }
        }
    }
    assert!(acknowledged > 0 && refused > 0, "{acknowledged} {refused}");
    // A namespace is on all primaries.
    let answer = cache.invalidate_namespace(invalidate("ns")).await;
    expect_error(answer, Code::Unavailable, "NOT_REPLICATED");
    cluster.server(paused).resume();
    eventually("all keys are deleted", SOON, async || {
        for key in &keys {
            cache.delete(delete(key)).await.ok()?;
        }
        Some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_primary_without_replicas_is_named_at_the_start() {
    let server = RedisServer::start_tcp().await;
    let larder = Larder::redis(&server.url())
        .env("LARDER_STORE__WAIT_REPLICAS", "all")
        .env("LARDER_STORE__WAIT_TIMEOUT", WAIT)
        .start()
        .await;
    eventually("the log has the missing replicas", SOON, async || {
        let logs = larder.logs();
        (logs.contains("replicas of Redis lack a change")
            && logs.contains("0 of 1 replicas have it after 300ms (store.wait_timeout)"))
        .then_some(())
    })
    .await;
}

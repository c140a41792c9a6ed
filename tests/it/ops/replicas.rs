//! AdminService: what the replicas report of themselves.

use larder::pb::v1::{ListReplicasRequest, ListReplicasResponse, Replica, origin_state::Breaker};
use nix::sys::signal::Signal;

use crate::support::{
    client::{Cache, batch_get, fetch, key_ref},
    fleet::Fleet,
    origin::{Origin, status},
    redis::RedisServer,
    server::Larder,
    wait::{SOON, eventually},
};

/// Replicas report each fifth flush.
const FAST: &str = "[stats]\nflush_interval = '50ms'\n";

async fn replicas(cache: &Cache) -> ListReplicasResponse {
    cache.admin().list_replicas(ListReplicasRequest::default()).await.unwrap().into_inner()
}

fn ids(response: &ListReplicasResponse) -> Vec<String> {
    response.replicas.iter().map(|replica| replica.replica.clone().unwrap().id).collect()
}

/// Waits for a list of `count` replicas that have all reported.
async fn listed(cache: &Cache, count: usize) -> ListReplicasResponse {
    eventually(&format!("{count} replicas are listed"), SOON, async || {
        Some(replicas(cache).await).filter(|list| list.replicas.len() == count)
    })
    .await
}

on_both_stores!(a_replica_reports_its_process, |env| {
    let list = replicas(&env.cache).await;
    assert!(!list.degraded);
    let [replica] = &list.replicas[..] else { panic!("{list:?}") };
    let info = replica.replica.as_ref().unwrap();
    assert_eq!(info.version, env!("CARGO_PKG_VERSION"));
    assert!(replica.resident_bytes > 1 << 20 && !replica.host.is_empty(), "{replica:?}");
    assert!(replica.reported_at.unwrap().seconds >= info.started_at.unwrap().seconds - 1);
    assert_eq!((replica.store_trouble.as_str(), replica.origins.len()), ("", 0));
    eventually("its connection and its store are reported", SOON, async || {
        let replica = replicas(&env.cache).await.replicas.remove(0);
        (replica.store_available && replica.connections > 0).then_some(())
    })
    .await;
});

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_replica_lists_the_fleet_until_a_replica_ends() {
    let mut fleet = Fleet::start(3, FAST).await;
    let list = listed(&fleet.caches[0], 3).await;
    for cache in &fleet.caches {
        assert_eq!(ids(&listed(cache, 3).await), ids(&list));
    }
    let starts = list.replicas.iter().map(|replica| {
        let start = replica.replica.as_ref().unwrap().started_at.unwrap();
        (start.seconds, start.nanos)
    });
    assert!(starts.is_sorted(), "{list:?}");
    // Load on the last replica is seen from the first.
    let load = async {
        loop {
            fleet.caches[2].batch_get(batch_get(vec![key_ref("k"); 100])).await.unwrap();
        }
    };
    let seen = eventually("the load is reported", SOON, async || {
        let list = replicas(&fleet.caches[0]).await;
        let busy = |replica: &Replica| replica.requests_per_second > 100.0 && replica.cpus > 0.0;
        let busy = list.replicas.iter().position(busy);
        busy.map(|index| ids(&list)[index].clone())
    });
    let busiest = tokio::select! {
        busiest = seen => busiest,
        () = load => unreachable!("it has no end"),
    };
    assert_eq!(busiest, ids(&list)[2]);

    fleet.servers[2].signal(Signal::SIGTERM);
    fleet.servers[2].wait_exit(SOON).await;
    let left = listed(&fleet.caches[0], 2).await;
    assert_eq!(ids(&left), ids(&list)[..2]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_open_breaker_is_seen_from_another_replica() {
    let origin = Origin::start().await;
    origin.always(status(503));
    let url = origin.url("/{key}?token=s3cret");
    let config = format!(
        "{FAST}[namespaces.ns.origin]\nurl = '{url}'\nbreaker_threshold = 2\nretries = 0\n\
         breaker_cooldown = '10m'\n"
    );
    let fleet = Fleet::start(2, &config).await;
    let list = listed(&fleet.caches[1], 2).await;
    for replica in &list.replicas {
        let [origin] = &replica.origins[..] else { panic!("{replica:?}") };
        assert_eq!((origin.breaker(), origin.failures.len()), (Breaker::Closed, 0));
        assert_eq!((origin.namespace.as_str(), origin.last_error.as_str()), ("ns", ""));
        assert!(origin.url.ends_with("/{key}?token=***"), "{origin:?}");
    }
    for key in ["a", "b", "c"] {
        fleet.caches[0].get_or_fetch(fetch(key, 10_000)).await.unwrap_err();
    }
    let seen = eventually("the breaker is open", SOON, async || {
        let list = replicas(&fleet.caches[1]).await;
        // A report may have been made between two calls.
        let open = |replica: &&Replica| {
            let origin = &replica.origins[0];
            origin.breaker() == Breaker::Open && origin.failures.len() == 2
        };
        list.replicas.iter().find(open).cloned()
    })
    .await;
    assert_eq!(seen.replica.as_ref().unwrap().id, ids(&list)[0]);
    let origin = &seen.origins[0];
    let failures = origin.failures.iter().map(|(kind, count)| (kind.as_str(), *count));
    assert_eq!(failures.collect::<Vec<_>>(), [("breaker_open", 1), ("failed", 2)], "{origin:?}");
    assert!(origin.last_error.contains("503") && !origin.last_error.contains("s3cret"));
    let before = list.replicas[0].origins[0].since.unwrap();
    assert!(origin.since.unwrap().seconds >= before.seconds, "{origin:?}");
    let rest = replicas(&fleet.caches[1]).await;
    assert_eq!(rest.replicas[1].origins[0].breaker(), Breaker::Closed);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_lists_itself_while_redis_is_away() {
    let mut redis = RedisServer::start().await;
    let server = async || Larder::redis(&redis.url()).default_timeouts().config(FAST).start().await;
    let (here, _there) = (server().await, server().await);
    let cache = here.client().await;
    let both = listed(&cache, 2).await;
    redis.kill();
    let own = eventually("the outage is reported", SOON, async || {
        let list = replicas(&cache).await;
        let is_reported = list.degraded && !list.replicas[0].store_available;
        is_reported.then_some(list)
    })
    .await;
    assert_eq!(ids(&own), ids(&both)[..1]);
    assert!(!own.replicas[0].store_trouble.is_empty(), "{own:?}");
    redis.restart().await;
    let back = listed(&cache, 2).await;
    assert!(!back.degraded);
}

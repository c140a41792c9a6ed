//! Invalidation by other replicas and by changes in Redis itself.

use std::time::{Duration, Instant};

use larder::pb::v1::{SetRequest, Tier};

use super::{CONFIG, read_with_tier, wait_until_coherent, wait_until_near};
use crate::support::{
    client::{Cache, as_text, delete, get, invalidate, params, set, text},
    fleet::{Fleet, metric},
    wait::{SOON, eventually},
};

/// Two replicas with coherent near caches.
async fn fleet() -> Fleet {
    let fleet = Fleet::start(2, CONFIG).await;
    for server in &fleet.servers {
        wait_until_coherent(server).await;
    }
    fleet
}

/// Waits until a replica reads the expected text, and returns how long that took.
async fn wait_until_read(cache: &Cache, key: &str, expected: Option<&str>) -> Duration {
    let began = Instant::now();
    while cache.read(key).await.as_deref() != expected {
        assert!(began.elapsed() < SOON, "{key} does not become {expected:?}");
    }
    began.elapsed()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn other_replicas_invalidate_near_entries() {
    let fleet = fleet().await;
    let [here, there] = [&fleet.caches[0], &fleet.caches[1]];
    let mut delays = Vec::new();
    for round in 0..50 {
        let value = round.to_string();
        there.put("k", &value).await;
        delays.push(wait_until_read(here, "k", Some(&value)).await);
        wait_until_near(here, "k", &value).await;
        there.delete(delete("k")).await.unwrap();
        delays.push(wait_until_read(here, "k", None).await);
        there.put("k", &value).await;
        wait_until_near(here, "k", &value).await;
        there.invalidate_namespace(invalidate("ns")).await.unwrap();
        delays.push(wait_until_read(here, "k", None).await);
    }
    delays.sort();
    eprintln!(
        "seen through the other replica after: median {:?}, at most {:?}",
        delays[75], delays[149]
    );
    // Long before near entries would be read from Redis again.
    assert!(delays[75] < Duration::from_millis(500), "{delays:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn invalidation_respects_params() {
    let fleet = fleet().await;
    let [here, there] = [&fleet.caches[0], &fleet.caches[1]];
    let with =
        |value: &str| SetRequest { params: params(&[("lang", "de")]), ..set("k:{}", text(value)) };
    let request =
        || larder::pb::v1::GetRequest { params: params(&[("lang", "de")]), ..get("k:{}") };
    there.set(with("1")).await.unwrap();
    there.put("k:{}", "plain").await;
    wait_until_near(here, "k:{}", "plain").await;
    eventually("the near cache holds the entry", SOON, async || {
        (read_with_tier(here, request()).await == (Some("1".to_owned()), Tier::Near)).then_some(())
    })
    .await;
    there.set(with("2")).await.unwrap();
    eventually("the entry is invalidated", SOON, async || {
        (as_text(here.get(request()).await.unwrap().value).as_deref() == Some("2")).then_some(())
    })
    .await;
    assert_eq!(read_with_tier(here, get("k:{}")).await, (Some("plain".to_owned()), Tier::Near));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn changes_in_redis_invalidate_near_entries() {
    let fleet = fleet().await;
    let here = &fleet.caches[0];
    let mut connection = fleet.redis.connection().await;
    here.put("k", "v").await;
    wait_until_near(here, "k", "v").await;
    let keys: Vec<String> =
        redis::cmd("KEYS").arg("larder:{ns:*}:k:k").query_async(&mut connection).await.unwrap();
    redis::cmd("DEL").arg(&keys).exec_async(&mut connection).await.unwrap();
    wait_until_read(here, "k", None).await;
    here.put("k", "v").await;
    wait_until_near(here, "k", "v").await;
    redis::cmd("FLUSHALL").exec_async(&mut connection).await.unwrap();
    wait_until_read(here, "k", None).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_connection_only_flushes_the_near_cache() {
    let fleet = fleet().await;
    let [here, there] = [&fleet.caches[0], &fleet.caches[1]];
    let mut connection = fleet.redis.connection().await;
    for round in 0..5 {
        let value = round.to_string();
        there.put("k", &value).await;
        wait_until_near(here, "k", &value).await;
        kill_tracking_connections(&mut connection).await;
        there.put("k", "changed").await;
        wait_until_read(here, "k", Some("changed")).await;
        wait_until_near(here, "k", "changed").await;
    }
    assert!(metric(&fleet.servers[0], "larder_near_flushes_total").await >= 5.0);
}

/// Kills the connections on which Redis sends invalidations.
pub(crate) async fn kill_tracking_connections(connection: &mut redis::aio::MultiplexedConnection) {
    let clients: String = redis::cmd("CLIENT").arg("LIST").query_async(connection).await.unwrap();
    let field = |client: &str, name: &str| {
        client
            .split(' ')
            .find_map(|field| field.strip_prefix(name).map(str::to_owned))
            .unwrap_or_default()
    };
    let mut killed = 0;
    // Flag B: tracking in broadcasting mode.
    for client in clients.lines().filter(|client| field(client, "flags=").contains('B')) {
        let id = field(client, "id=");
        killed += redis::cmd("CLIENT")
            .arg("KILL")
            .arg("ID")
            .arg(id)
            .query_async::<u32>(connection)
            .await
            .unwrap();
    }
    assert!(killed > 0, "no tracking connection: {clients}");
}

/// With many namespaces, Redis announces the changes of all under one prefix.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_namespaces_are_followed_by_one_prefix() {
    const NAMESPACES: usize = 129;
    let table = |number| format!("[namespaces.n{number}.near_cache]\nmax_bytes = '64KiB'\n");
    let config: String = (1..NAMESPACES).map(table).collect();
    let fleet = Fleet::start(2, &format!("{CONFIG}{config}")).await;
    for server in &fleet.servers {
        wait_until_coherent(server).await;
    }
    let mut connection = fleet.redis.connection().await;
    let stats: String = redis::cmd("INFO").arg("stats").query_async(&mut connection).await.unwrap();
    // Leases, the logs of bans, and entries.
    assert!(stats.contains("tracking_total_prefixes:3\r\n"), "{stats}");

    let [here, there] = [&fleet.caches[0], &fleet.caches[1]];
    there.put("k", "1").await;
    wait_until_near(here, "k", "1").await;
    there.put("k", "2").await;
    wait_until_read(here, "k", Some("2")).await;
    wait_until_near(here, "k", "2").await;
    there.invalidate_namespace(invalidate("ns")).await.unwrap();
    wait_until_read(here, "k", None).await;

    let announced = fleet.metric("larder_near_announced_total").await;
    let foreign = SetRequest { namespace: "foreign".to_owned(), ..set("k", text("v")) };
    there.set(foreign).await.unwrap();
    there.put("k", "3").await;
    eventually("the change is announced", SOON, async || {
        (fleet.metric("larder_near_announced_total").await > announced).then_some(())
    })
    .await;
    // The entry and its marker, to both replicas.
    let announced = fleet.metric("larder_near_announced_total").await - announced;
    assert!(announced <= 4.0, "{announced}: a namespace without a near cache is counted");
}

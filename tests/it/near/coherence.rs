//! Changes by other replicas and in Redis itself.

use std::time::{Duration, Instant};

use larder::pb::v1::{SetRequest, Tier};

use super::{CONFIG, coherent, found, remembered};
use crate::support::{
    client::{Cache, as_text, delete, get, invalidate, params, set, text},
    fleet::{Fleet, metric},
    wait::{SOON, eventually},
};

/// Two replicas that remember.
async fn fleet() -> Fleet {
    let fleet = Fleet::start(2, CONFIG).await;
    for server in &fleet.servers {
        coherent(server).await;
    }
    fleet
}

/// Waits until a replica reads this, and tells how long that took.
async fn becomes(cache: &Cache, key: &str, expected: Option<&str>) -> Duration {
    let began = Instant::now();
    while cache.read(key).await.as_deref() != expected {
        assert!(began.elapsed() < SOON, "{key} does not become {expected:?}");
    }
    began.elapsed()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_another_replica_does_is_announced() {
    let fleet = fleet().await;
    let [here, there] = [&fleet.caches[0], &fleet.caches[1]];
    let mut delays = Vec::new();
    for round in 0..50 {
        let value = round.to_string();
        there.put("k", &value).await;
        delays.push(becomes(here, "k", Some(&value)).await);
        remembered(here, "k", &value).await;
        there.delete(delete("k")).await.unwrap();
        delays.push(becomes(here, "k", None).await);
        there.put("k", &value).await;
        remembered(here, "k", &value).await;
        there.invalidate_namespace(invalidate("ns")).await.unwrap();
        delays.push(becomes(here, "k", None).await);
    }
    delays.sort();
    eprintln!(
        "seen through the other replica after: median {:?}, at most {:?}",
        delays[75], delays[149]
    );
    // Long before what is remembered would be asked for again.
    assert!(delays[75] < Duration::from_millis(500), "{delays:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn params_are_part_of_what_is_announced() {
    let fleet = fleet().await;
    let [here, there] = [&fleet.caches[0], &fleet.caches[1]];
    let with =
        |value: &str| SetRequest { params: params(&[("lang", "de")]), ..set("k:{}", text(value)) };
    let reading =
        || larder::pb::v1::GetRequest { params: params(&[("lang", "de")]), ..get("k:{}") };
    there.set(with("1")).await.unwrap();
    there.put("k:{}", "plain").await;
    remembered(here, "k:{}", "plain").await;
    eventually("it is remembered", SOON, async || {
        (found(here, reading()).await == (Some("1".to_owned()), Tier::Near)).then_some(())
    })
    .await;
    there.set(with("2")).await.unwrap();
    eventually("it is announced", SOON, async || {
        (as_text(here.get(reading()).await.unwrap().value).as_deref() == Some("2")).then_some(())
    })
    .await;
    assert_eq!(found(here, get("k:{}")).await, (Some("plain".to_owned()), Tier::Near));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_happens_in_redis_itself_is_announced() {
    let fleet = fleet().await;
    let here = &fleet.caches[0];
    let mut connection = fleet.redis.connection().await;
    here.put("k", "v").await;
    remembered(here, "k", "v").await;
    let keys: Vec<String> =
        redis::cmd("KEYS").arg("larder:{ns:*}:k:k").query_async(&mut connection).await.unwrap();
    redis::cmd("DEL").arg(&keys).exec_async(&mut connection).await.unwrap();
    becomes(here, "k", None).await;
    here.put("k", "v").await;
    remembered(here, "k", "v").await;
    redis::cmd("FLUSHALL").exec_async(&mut connection).await.unwrap();
    becomes(here, "k", None).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_connection_costs_what_is_remembered_and_nothing_else() {
    let fleet = fleet().await;
    let [here, there] = [&fleet.caches[0], &fleet.caches[1]];
    let mut connection = fleet.redis.connection().await;
    for round in 0..5 {
        let value = round.to_string();
        there.put("k", &value).await;
        remembered(here, "k", &value).await;
        kill_followers(&mut connection).await;
        there.put("k", "changed").await;
        becomes(here, "k", Some("changed")).await;
        remembered(here, "k", "changed").await;
    }
    assert!(metric(&fleet.servers[0], "larder_near_flushes_total").await >= 5.0);
}

/// Ends the connections on which Redis announces changes.
pub(super) async fn kill_followers(connection: &mut redis::aio::MultiplexedConnection) {
    let clients: String = redis::cmd("CLIENT").arg("LIST").query_async(connection).await.unwrap();
    let field = |client: &str, name: &str| {
        client
            .split(' ')
            .find_map(|field| field.strip_prefix(name).map(str::to_owned))
            .unwrap_or_default()
    };
    let mut killed = 0;
    // B: tracks in broadcasting mode.
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
    assert!(killed > 0, "nobody follows: {clients}");
}

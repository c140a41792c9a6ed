//! Replicas on one cluster.

use larder::pb::v1::{GetResponse, SetResult};

use crate::support::{
    client::{Cache, get, set, text},
    cluster::RedisCluster,
    fleet::metric,
    server::Larder,
    wait::{SOON, eventually},
};

/// Two replicas on a cluster. Few shards, so that tests can move all of them.
pub(super) struct Replicas {
    // Declared before the store, so that the servers are dropped first.
    pub(super) servers: Vec<Larder>,
    pub(super) caches: Vec<Cache>,
    pub(super) cluster: RedisCluster,
}

pub(super) const SHARDS: usize = 8;

impl Replicas {
    pub(super) async fn start(cluster: RedisCluster, config: &str) -> Self {
        Self::start_with(cluster, config, &[]).await
    }

    pub(super) async fn start_with(
        cluster: RedisCluster,
        config: &str,
        variables: &[(&str, &str)],
    ) -> Self {
        let (mut servers, mut caches) = (Vec::new(), Vec::new());
        for _ in 0..2 {
            let larder = Larder::redis(&cluster.url())
                .default_timeouts()
                .env("LARDER_DEFAULTS__TTL_JITTER", 0)
                .env("LARDER_STORE__SHARDS", SHARDS)
                .envs(variables)
                .config(config)
                .start()
                .await;
            let cache = larder.client().await;
            await_primaries(&larder, 3).await;
            eventually("the store stores", SOON, async || {
                let answer = cache.set(set("first", text("v"))).await.ok()?;
                (answer.result() == SetResult::Stored).then_some(())
            })
            .await;
            servers.push(larder);
            caches.push(cache);
        }
        Self { servers, caches, cluster }
    }

    /// The primary of a shard of the default namespace, and its slot.
    pub(super) async fn shard(&self, shard: usize) -> (usize, u16) {
        let slot = self.cluster.slot_of(&format!("larder:{{ns:{shard}}}:g")).await;
        (self.cluster.owner_of(slot, None).await.expect("a primary"), slot)
    }

    /// Sum of a metric of both replicas.
    pub(super) async fn metric(&self, name: &str) -> f64 {
        let mut sum = 0.0;
        for server in &self.servers {
            sum += metric(server, name).await;
        }
        sum
    }
}

/// Waits until this many primaries are available.
pub(super) async fn await_primaries(larder: &Larder, count: u32) {
    eventually(&format!("{count} primaries are available"), SOON, async || {
        let available = metric(larder, "larder_store_cluster_primary_available").await;
        (available == f64::from(count)).then_some(())
    })
    .await;
}

/// A read that is not degraded, as soon as there is one.
pub(super) async fn read_soon(cache: &Cache, key: &str) -> GetResponse {
    eventually(&format!("{key} is readable"), SOON, async || {
        let answer = cache.get(get(key)).await.unwrap();
        (!answer.degraded).then_some(answer)
    })
    .await
}

//! Several servers that share a Redis.

use super::{client::Cache, redis::RedisServer, server::Larder};

/// Servers with the same configuration and store.
pub(crate) struct Fleet {
    // Declared before the store, so that the servers are dropped first.
    pub(crate) servers: Vec<Larder>,
    /// A client of each server, in the same order.
    pub(crate) caches: Vec<Cache>,
    pub(crate) redis: RedisServer,
    config: String,
}

// === impl Fleet ===

impl Fleet {
    /// Starts `size` servers with this config file, without TTL jitter.
    pub(crate) async fn start(size: usize, config: &str) -> Self {
        let redis = RedisServer::start().await;
        let mut fleet =
            Self { servers: Vec::new(), caches: Vec::new(), redis, config: config.to_owned() };
        for _ in 0..size {
            let server = fleet.server().await;
            fleet.caches.push(server.client().await);
            fleet.servers.push(server);
        }
        fleet
    }

    /// Replaces a server with a new one.
    pub(crate) async fn replace(&mut self, number: usize) {
        let server = self.server().await;
        self.caches[number] = server.client().await;
        self.servers[number] = server;
    }

    /// Sum of a counter or a gauge over all servers.
    pub(crate) async fn metric(&self, name: &str) -> f64 {
        let mut sum = 0.0;
        for server in &self.servers {
            sum += metric(server, name).await;
        }
        sum
    }

    async fn server(&self) -> Larder {
        let builder = Larder::redis(&self.redis.url()).env("LARDER_DEFAULTS__TTL_JITTER", 0);
        builder.config(&self.config).start().await
    }
}

/// Sum of all series of a counter or a gauge; zero without any.
pub(crate) async fn metric(server: &Larder, name: &str) -> f64 {
    let text = server.admin("/metrics").await.body;
    let series = text.lines().filter_map(|line| line.strip_prefix(name));
    series
        .filter(|rest| rest.starts_with(['{', ' ']))
        .map(|rest| rest.rsplit_once(' ').unwrap().1.parse::<f64>().unwrap())
        .sum()
}

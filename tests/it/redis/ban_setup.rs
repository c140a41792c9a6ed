//! Replicas on one Redis, and what a failover does to the keys that bans need.

use larder::pb::v1::{SetRequest, SetResult};
use redis::aio::MultiplexedConnection;

use crate::support::{
    client::{Cache, set, text},
    redis::RedisServer,
    server::Larder,
};

/// The keys of the log of bans of the namespace `ns`.
pub(super) const LOG: [&str; 6] = [
    "larder:h:{ns:bans}",
    "larder:b:{ns:bans}:t",
    "larder:b:{ns:bans}:g",
    "larder:b:{ns:bans}:o",
    "larder:b:{ns:bans}:i",
    "larder:b:{ns:bans}:c",
];

/// Replicas on one Redis.
pub(super) struct Setup {
    // Declared before the store, so that the servers are dropped first.
    pub(super) replicas: Vec<(Larder, Cache)>,
    variables: &'static [(&'static str, &'static str)],
    pub(super) redis: RedisServer,
    pub(super) raw: MultiplexedConnection,
}

// === impl Setup ===

impl Setup {
    pub(super) async fn start(replicas: usize) -> Self {
        Self::start_with(replicas, &[]).await
    }

    /// Starts replicas with further variables.
    pub(super) async fn start_with(
        replicas: usize,
        variables: &'static [(&'static str, &'static str)],
    ) -> Self {
        Self::start_on(RedisServer::start().await, replicas, variables).await
    }

    /// Starts replicas on this server.
    pub(super) async fn start_on(
        redis: RedisServer,
        replicas: usize,
        variables: &'static [(&'static str, &'static str)],
    ) -> Self {
        let raw = redis.connection().await;
        let mut setup = Self { replicas: Vec::new(), variables, redis, raw };
        for _ in 0..replicas {
            setup.add_replica().await;
        }
        setup
    }

    pub(super) async fn add_replica(&mut self) -> Cache {
        let larder = Larder::redis(&self.redis.url())
            .env("LARDER_DEFAULTS__TTL_JITTER", 0)
            .env("LARDER_DEFAULTS__MAX_BANNED_TAGS", 10)
            .envs(self.variables)
            .start()
            .await;
        let cache = larder.client().await;
        self.replicas.push((larder, cache.clone()));
        cache
    }

    pub(super) fn cache(&self, replica: usize) -> &Cache {
        &self.replicas[replica].1
    }

    /// The values that the replicas read.
    pub(super) async fn read_by_all(&self, key: &str) -> Vec<Option<String>> {
        let mut read = Vec::new();
        for (_, cache) in &self.replicas {
            read.push(cache.read(key).await);
        }
        read
    }

    /// The keys of Redis with these names, as DUMP returns them.
    pub(super) async fn dump(&mut self, names: &[String]) -> Vec<Option<Vec<u8>>> {
        let mut dump = redis::pipe();
        for name in names {
            dump.cmd("DUMP").arg(name);
        }
        dump.query_async(&mut self.raw).await.unwrap()
    }

    /// Sets the keys of Redis back to what they were.
    pub(super) async fn restore(&mut self, names: &[String], dumped: Vec<Option<Vec<u8>>>) {
        let mut restore = redis::pipe();
        for (name, dumped) in names.iter().zip(dumped) {
            match dumped {
                Some(dumped) => {
                    restore.cmd("RESTORE").arg(name).arg(0).arg(dumped).arg("REPLACE").ignore();
                }
                None => {
                    restore.cmd("DEL").arg(name).ignore();
                }
            }
        }
        restore.exec_async(&mut self.raw).await.unwrap();
    }

    pub(super) async fn markers(&mut self) -> Vec<String> {
        self.names("larder:{ns:*}:g").await
    }

    /// The names of all keys of Redis that match a pattern.
    pub(super) async fn names(&mut self, pattern: &str) -> Vec<String> {
        redis::cmd("KEYS").arg(pattern).query_async(&mut self.raw).await.unwrap()
    }

    /// Number of banned tags and patterns in the log.
    pub(super) async fn logged_bans(&mut self) -> u64 {
        let mut count = redis::pipe();
        count.cmd("ZCARD").arg(LOG[1]).cmd("ZCARD").arg(LOG[2]);
        let (tags, globs): (u64, u64) = count.query_async(&mut self.raw).await.unwrap();
        tags + globs
    }

    /// Sum of a metric of all replicas.
    pub(super) async fn metric(&self, name: &str) -> f64 {
        let mut sum = 0.0;
        for (larder, _) in &self.replicas {
            let metrics = larder.admin("/metrics").await.body;
            let value = metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
            sum += value.map_or(0.0, |value| value.parse::<f64>().unwrap());
        }
        sum
    }
}

pub(super) fn log() -> Vec<String> {
    LOG.map(str::to_owned).to_vec()
}

pub(super) async fn put(cache: &Cache, key: &str, value: &str, tag: &str) {
    let request = SetRequest { tags: vec![tag.to_owned()], ..set(key, text(value)) };
    assert_eq!(cache.set(request).await.unwrap().result(), SetResult::Stored);
}

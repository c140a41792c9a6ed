//! Concurrent fills, deletes and invalidations on two replicas.

// Every order of a few calls, checked against a model.
mod interleavings;
// Concurrent callers and invalidations, checked against the origin's counter.
mod invalidation_stress;
// Clients that die and replicas that stop while a stream holds a lease.
mod lease_holder_failures;
// Patches of one value on several replicas at once.
mod patches;
// One lease per key across replicas, also when its holder dies.
mod singleflight;

use crate::support::{client::Cache, redis::RedisServer, server::Larder};

/// Two servers that share a Redis.
struct Fleet {
    // Declared before the store, so that the servers are dropped first.
    servers: [Larder; 2],
    caches: [Cache; 2],
    _redis: RedisServer,
}

impl Fleet {
    async fn start(variables: &[(&str, &str)]) -> Self {
        let redis = RedisServer::start().await;
        let server = async || {
            let builder = Larder::redis(&redis.url()).env("LARDER_DEFAULTS__TTL_JITTER", 0);
            builder.envs(variables).start().await
        };
        let servers = [server().await, server().await];
        let caches = [servers[0].client().await, servers[1].client().await];
        Self { servers, caches, _redis: redis }
    }
}

//! Fills, deletes and invalidations on two replicas at once.

// Many callers, many rounds, and a clock that everybody agrees on: the origin's counter.
mod crowds;
// Callers that die, and replicas that stop, while a lease is held by a stream.
mod dead_holders;
// Every order of a few steps, against a model.
mod interleavings;
// One origin call per key, also when somebody dies.
mod one_fill;

use crate::support::{client::Cache, redis::RedisServer, server::Larder};

/// Two servers that share a Redis.
struct Fleet {
    // Before their store, so that they are gone first.
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

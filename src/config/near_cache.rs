//! The near cache of a namespace: `[namespaces.<name>.near_cache]`.

use std::time::Duration;

use super::value::{GIB, HOUR, KIB, MILLISECOND, duration, size};
use super::visitor::{ConfigVisitor, Section};

/// `[namespaces.<name>.near_cache]`: the cache in each replica for a namespace in Redis.
#[derive(Clone, Debug, PartialEq)]
pub struct NearCacheConfig {
    /// Memory limit on each replica, in bytes.
    pub max_bytes: usize,
    /// Upper bound on the time for which a read can miss a write or an invalidation that was
    /// acknowledged through another replica. It should be several times the round trip to Redis.
    pub max_staleness: Duration,
}

impl Default for NearCacheConfig {
    fn default() -> Self {
        Self { max_bytes: 64 * 1024 * 1024, max_staleness: Duration::from_secs(1) }
    }
}

impl Section for NearCacheConfig {
    fn visit(&mut self, visitor: &mut impl ConfigVisitor) {
        visitor.key("max_bytes", &mut self.max_bytes, size(64 * KIB..=1024 * GIB));
        visitor.key("max_staleness", &mut self.max_staleness, duration(50 * MILLISECOND, HOUR));
    }
}

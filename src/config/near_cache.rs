use std::time::Duration;

use super::value::{GIB, HOUR, KIB, MILLISECOND, duration, size};
use super::visitor::{ConfigVisitor, Section};

/// `[namespaces.<name>.near_cache]`: what each replica remembers of a namespace in Redis.
#[derive(Clone, Debug, PartialEq)]
pub struct NearCacheConfig {
    /// Memory for it, in bytes.
    pub max_bytes: usize,
    /// For how long at most a read may miss a write or an invalidation that was acknowledged through another replica.
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

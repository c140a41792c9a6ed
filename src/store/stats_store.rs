//! The fleet's counters.

use async_trait::async_trait;

use super::Result;
use crate::stats::delta::{StatsDelta, StatsReport};

/// Adds up the counters of all replicas.
#[async_trait]
pub trait StatsStore: Send + Sync {
    /// Adds what one replica has counted. Idempotent: a delta whose sequence number was added
    /// before is ignored.
    async fn add(&self, delta: &StatsDelta) -> Result<()>;

    /// The sum of what all replicas have added.
    async fn report(&self) -> Result<StatsReport>;
}

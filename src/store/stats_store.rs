//! The fleet's counters.

use async_trait::async_trait;

use super::Result;
use crate::{
    model::Namespace,
    stats::{
        delta::{StatsDelta, StatsReport},
        hot_keys::{HotKeyBucket, HotKeyCounts, HotKeyRange},
    },
};

/// Adds up the counters of all replicas.
#[async_trait]
pub trait StatsStore: Send + Sync {
    /// Adds what one replica has counted. Idempotent: a delta whose sequence number was added
    /// before is ignored.
    async fn add(&self, delta: &StatsDelta) -> Result<()>;

    /// The sum of what all replicas have added.
    async fn report(&self) -> Result<StatsReport>;

    /// Replaces what a replica has sampled in some buckets. Idempotent.
    async fn put_hot_keys(&self, replica: u64, buckets: &[HotKeyBucket]) -> Result<()>;

    /// Samples of all replicas in a namespace: one element per replica and bucket, with the id of
    /// the replica.
    async fn hot_keys(
        &self,
        namespace: &Namespace,
        range: &HotKeyRange,
    ) -> Result<Vec<(u64, HotKeyCounts)>>;
}

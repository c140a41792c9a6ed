//! The fleet's counters.

use async_trait::async_trait;

use super::Result;
use crate::{
    model::Namespace,
    stats::{
        delta::{StatsDelta, StatsReport},
        history::HistorySpan,
        hot_keys::{HotKeyBucket, HotKeyCounts, HotKeyRange},
        replica_report::ReplicaReport,
        windows::HistoryBucket,
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

    /// The sums of all replicas in each step of a span, the oldest first. Each step is there, also
    /// without counts; the last one has not ended.
    async fn history(&self, span: HistorySpan) -> Result<Vec<HistoryBucket>>;

    /// Replaces the report of a replica. Idempotent.
    async fn put_replica(&self, report: &ReplicaReport) -> Result<()>;

    /// Removes the reports of a replica that ends. Idempotent.
    async fn remove_replica(&self, replica: u64) -> Result<()>;

    /// The reports of the last two minutes or more: perhaps several of a replica, and perhaps older
    /// ones.
    async fn replicas(&self) -> Result<Vec<ReplicaReport>>;

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

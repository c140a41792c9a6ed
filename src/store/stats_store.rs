//! The fleet's counters.

use std::collections::BTreeMap;

use async_trait::async_trait;

use super::Result;
use crate::{
    model::Namespace,
    stats::{
        delta::{StatsDelta, StatsReport},
        history::HistorySpan,
        hot_keys::{HotKeyBucket, HotKeyCounts, HotKeyRange},
        replica_report::ReplicaReport,
        reuse::{
            counts::ReuseFigures,
            event::{ReuseAnswer, SentEvents},
            table::{ReuseState, ReuseTable},
        },
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

    /// Leaves events of followed keys for the replica that joins those of all, and returns the
    /// shares that it has put last. If that is this one, returns all that were left. A batch that
    /// was sent again after an error may be among them twice, under the same id. A replica joins
    /// them for as long as it calls this more often than every 20 s.
    async fn exchange_reuse(&self, replica: u64, events: &SentEvents) -> Result<ReuseAnswer>;

    /// The followed keys of a namespace, as they were put last.
    async fn reuse_table(&self, namespace: &str) -> Result<Option<ReuseTable>>;

    /// The counts of followed keys in a bucket of [`REUSE_WINDOW`](crate::stats::reuse), by
    /// namespace.
    async fn reuse_figures(&self, bucket: u64) -> Result<BTreeMap<String, ReuseFigures>>;

    /// Replaces the counts and the tables of some namespaces. Idempotent.
    async fn put_reuse(&self, state: &ReuseState) -> Result<()>;
}

//! Statistics of the fleet, through the circuit breaker.

use std::collections::BTreeMap;

use async_trait::async_trait;

use super::CircuitBreakerStore;
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
    store::{Inspect, Operation, Result, StatsStore},
};

#[async_trait]
impl<S: StatsStore + Inspect> StatsStore for CircuitBreakerStore<S> {
    async fn add(&self, delta: &StatsDelta) -> Result<()> {
        self.run(Operation::StatsAdd, self.inner.add(delta)).await
    }

    async fn report(&self) -> Result<StatsReport> {
        self.run(Operation::StatsReport, self.inner.report()).await
    }

    async fn history(&self, span: HistorySpan) -> Result<Vec<HistoryBucket>> {
        self.run(Operation::History, self.inner.history(span)).await
    }

    async fn put_replica(&self, report: &ReplicaReport) -> Result<()> {
        self.run(Operation::PutReplica, self.inner.put_replica(report)).await
    }

    async fn remove_replica(&self, replica: u64) -> Result<()> {
        self.run(Operation::RemoveReplica, self.inner.remove_replica(replica)).await
    }

    async fn replicas(&self) -> Result<Vec<ReplicaReport>> {
        self.run(Operation::Replicas, self.inner.replicas()).await
    }

    async fn put_hot_keys(&self, replica: u64, buckets: &[HotKeyBucket]) -> Result<()> {
        self.run(Operation::PutHotKeys, self.inner.put_hot_keys(replica, buckets)).await
    }

    async fn hot_keys(
        &self,
        namespace: &Namespace,
        range: &HotKeyRange,
    ) -> Result<Vec<(u64, HotKeyCounts)>> {
        self.run(Operation::HotKeys, self.inner.hot_keys(namespace, range)).await
    }

    async fn exchange_reuse(&self, replica: u64, events: &SentEvents) -> Result<ReuseAnswer> {
        self.run(Operation::ExchangeReuse, self.inner.exchange_reuse(replica, events)).await
    }

    async fn reuse_table(&self, namespace: &str) -> Result<Option<ReuseTable>> {
        self.run(Operation::ReuseTable, self.inner.reuse_table(namespace)).await
    }

    async fn reuse_figures(&self, bucket: u64) -> Result<BTreeMap<String, ReuseFigures>> {
        self.run(Operation::ReuseFigures, self.inner.reuse_figures(bucket)).await
    }

    async fn put_reuse(&self, state: &ReuseState) -> Result<()> {
        self.run(Operation::PutReuse, self.inner.put_reuse(state)).await
    }
}

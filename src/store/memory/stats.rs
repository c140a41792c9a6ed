//! The counters of the replicas on the embedded store.

use std::collections::BTreeMap;

use async_trait::async_trait;

use super::MemoryStore;
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
        windows::{self, HistoryBucket},
    },
    store::{Result, StatsStore},
};

#[async_trait]
impl StatsStore for MemoryStore {
    async fn add(&self, delta: &StatsDelta) -> Result<()> {
        self.0.stats.lock().add(&delta.counts, self.0.now());
        Ok(())
    }

    async fn report(&self) -> Result<StatsReport> {
        let store = &*self.0;
        let report = windows::report(store.now(), |part, report| {
            store.stats.lock().add_part(part, report);
        });
        Ok(report.await)
    }

    async fn history(&self, span: HistorySpan) -> Result<Vec<HistoryBucket>> {
        Ok(self.0.stats.lock().history(span.window(), self.0.now()))
    }

    async fn put_replica(&self, report: &ReplicaReport) -> Result<()> {
        let now = self.0.now();
        let mut reports = self.0.reports.lock();
        reports.retain(|_, report| report.is_current(now));
        reports.insert(report.replica.id, report.clone());
        Ok(())
    }

    async fn remove_replica(&self, replica: u64) -> Result<()> {
        self.0.reports.lock().remove(&replica);
        Ok(())
    }

    async fn replicas(&self) -> Result<Vec<ReplicaReport>> {
        Ok(self.0.reports.lock().values().cloned().collect())
    }

    async fn put_hot_keys(&self, replica: u64, buckets: &[HotKeyBucket]) -> Result<()> {
        self.0.hot_keys.lock().put(replica, buckets, self.0.now());
        Ok(())
    }

    async fn hot_keys(
        &self,
        namespace: &Namespace,
        range: &HotKeyRange,
    ) -> Result<Vec<(u64, HotKeyCounts)>> {
        Ok(self.0.hot_keys.lock().of(namespace, range))
    }

    async fn exchange_reuse(&self, replica: u64, events: &SentEvents) -> Result<ReuseAnswer> {
        Ok(self.0.reuse.lock().exchange(replica, events, self.0.now()))
    }

    async fn reuse_table(&self, namespace: &str) -> Result<Option<ReuseTable>> {
        Ok(self.0.reuse.lock().table(namespace))
    }

    async fn reuse_figures(&self, bucket: u64) -> Result<BTreeMap<String, ReuseFigures>> {
        Ok(self.0.reuse.lock().figures(bucket))
    }

    async fn put_reuse(&self, state: &ReuseState) -> Result<()> {
        self.0.reuse.lock().put(state, self.0.now());
        Ok(())
    }
}

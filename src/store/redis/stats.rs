//! The fleet's counters in Redis: one hash for the totals, and one per minute, per ten minutes and
//! per hour. The reports of the replicas are next to them.

use std::collections::BTreeMap;

use async_trait::async_trait;
use redis::Value;

use super::{
    RedisStore,
    closed_buckets::BucketReader,
    pool::Retry,
    request::unexpected,
    script::STATS,
    stats_hash::{SEPARATOR, SINCE, presence_field},
};
use crate::{
    model::Namespace,
    stats::{
        counters::cell_name,
        delta::{StatsDelta, StatsReport},
        history::HistorySpan,
        hot_keys::{HotKeyBucket, HotKeyCounts, HotKeyRange},
        replica_report::ReplicaReport,
        reuse::{
            counts::ReuseFigures,
            event::{ReuseAnswer, SentEvents},
            table::{ReuseState, ReuseTable},
        },
        windows::{ALL, HistoryBucket},
    },
    store::{Result, StatsStore, Store as _},
};

#[async_trait]
impl StatsStore for RedisStore {
    async fn add(&self, delta: &StatsDelta) -> Result<()> {
        let now = self.now();
        let [minute, ten_minutes, hour] =
            ALL.map(|window| self.schema.bucket(window, window.bucket(now)));
        let totals = self.schema.totals();
        let keys = [totals, minute, ten_minutes, hour, self.schema.sequence(delta.replica)];
        let mut call = STATS.call(&keys);
        call.arg(delta.sequence);
        for window in ALL {
            call.arg(window.retention_ms());
        }
        call.arg(presence_field(&delta.sender)).arg(SINCE).arg(now.0);
        for (namespace, counts) in &delta.counts {
            for (cell, count) in counts.0.iter().enumerate().filter(|(_, count)| **count > 0) {
                call.arg(format!("{namespace}{SEPARATOR}{}", cell_name(cell))).arg(*count);
            }
        }
        match self.router.eval(&STATS, &call, Retry::Idempotent).await? {
            Value::Int(_) => Ok(()),
            _ => Err(unexpected("stats.lua")),
        }
    }

    async fn report(&self) -> Result<StatsReport> {
        self.closed_buckets.report(self.buckets(), self.now()).await
    }

    async fn history(&self, span: HistorySpan) -> Result<Vec<HistoryBucket>> {
        self.closed_buckets.history(self.buckets(), span.window(), self.now()).await
    }

    async fn put_replica(&self, report: &ReplicaReport) -> Result<()> {
        self.store_report(report).await
    }

    async fn remove_replica(&self, replica: u64) -> Result<()> {
        self.drop_reports(replica).await
    }

    async fn replicas(&self) -> Result<Vec<ReplicaReport>> {
        self.read_reports().await
    }

    async fn put_hot_keys(&self, replica: u64, buckets: &[HotKeyBucket]) -> Result<()> {
        self.store_hot_keys(replica, buckets).await
    }

    async fn hot_keys(
        &self,
        namespace: &Namespace,
        range: &HotKeyRange,
    ) -> Result<Vec<(u64, HotKeyCounts)>> {
        self.read_hot_keys(namespace, range).await
    }

    async fn exchange_reuse(&self, replica: u64, events: &SentEvents) -> Result<ReuseAnswer> {
        self.exchange_reuse_events(replica, events).await
    }

    async fn reuse_table(&self, namespace: &str) -> Result<Option<ReuseTable>> {
        self.read_reuse_table(namespace).await
    }

    async fn reuse_figures(&self, bucket: u64) -> Result<BTreeMap<String, ReuseFigures>> {
        self.read_reuse_figures(bucket).await
    }

    async fn put_reuse(&self, state: &ReuseState) -> Result<()> {
        self.store_reuse(state).await
    }
}

impl RedisStore {
    fn buckets(&self) -> BucketReader<'_> {
        BucketReader { router: &self.router, schema: &self.schema }
    }
}

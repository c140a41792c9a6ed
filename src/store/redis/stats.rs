//! The fleet's counters in Redis: one hash for the totals, and one per minute and per ten minutes.

use std::collections::{BTreeMap, HashMap};

use async_trait::async_trait;
use redis::Value;
use tokio::sync::Mutex;

use super::{
    RedisStore, key_schema::KeySchema, pool::Retry, request::unexpected, router::Router,
    script::STATS,
};
use crate::{
    model::{Namespace, Timestamp},
    stats::{
        counters::{cell_name, cell_of},
        delta::{ByNamespace, ReplicaInfo, StatsDelta, StatsReport},
        hot_keys::{HotKeyBucket, HotKeyCounts, HotKeyRange},
        reuse::{
            counts::ReuseFigures,
            event::ReuseBatch,
            table::{ReuseState, ReuseTable},
        },
        windows::{DAY, HOUR, Window, merge},
    },
    store::{Result, StatsStore, Store as _},
};

/// Separates a namespace, which cannot contain it, from the name of a counter.
const SEPARATOR: char = '|';
/// Prefix of the field by which a replica shows that it runs.
const PRESENCE: &str = "replica:";
/// Field of the totals: when counting began. As with a presence, earlier releases skip it.
const SINCE: &str = "since";
/// Hashes read in one round trip: with many namespaces each has thousands of fields, and requests
/// share the connection.
const HASHES_PER_READ: usize = 8;

/// Counters of the buckets that have ended, which do not change any more, by the name of the key.
#[derive(Default)]
pub(super) struct ClosedBuckets(Mutex<HashMap<String, ByNamespace>>);

#[async_trait]
impl StatsStore for RedisStore {
    async fn add(&self, delta: &StatsDelta) -> Result<()> {
        let now = self.now();
        let keys = [
            self.schema.totals(),
            self.schema.bucket(HOUR, HOUR.bucket(now)),
            self.schema.bucket(DAY, DAY.bucket(now)),
            self.schema.sequence(delta.replica),
        ];
        let mut call = STATS.call(&keys);
        call.arg(delta.sequence).arg(HOUR.retention_ms()).arg(DAY.retention_ms());
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
        self.closed_buckets.report(&self.router, &self.schema, self.now()).await
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

    async fn exchange_reuse(
        &self,
        replica: u64,
        events: &ReuseBatch,
    ) -> Result<Option<Vec<ReuseBatch>>> {
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

// === impl ClosedBuckets ===

impl ClosedBuckets {
    /// Sums the totals and the windows that end at `now`, and reads only the buckets that are not
    /// known yet.
    async fn report(
        &self,
        router: &Router,
        schema: &KeySchema,
        now: Timestamp,
    ) -> Result<StatsReport> {
        // Held during the reads: a report that waits finds the buckets that the one before it read.
        let mut closed = self.0.lock().await;
        let names =
            |window: Window| window.at(now).map(move |bucket| schema.bucket(window, bucket));
        let hour: Vec<String> = names(HOUR).collect();
        let day: Vec<String> = names(DAY).collect();
        closed.retain(|name, _| hour.contains(name) || day.contains(name));
        let missing: Vec<&String> =
            hour.iter().chain(&day).filter(|name| !closed.contains_key(*name)).collect();
        let current = HOUR.bucket(now);
        let recent = [current, current.saturating_sub(1)].map(|bucket| schema.bucket(HOUR, bucket));
        let mut replicas = Vec::new();
        for names in missing.chunks(HASHES_PER_READ) {
            for (name, hash) in names.iter().zip(read_hashes(router, names).await?) {
                if recent.contains(name) {
                    replicas.extend(hash.replicas);
                }
                closed.insert((*name).clone(), hash.counts);
            }
        }
        replicas.sort_unstable();
        replicas.dedup();
        let StatsHash { counts: total, since, .. } =
            read_hashes(router, &[&schema.totals()]).await?.pop().unwrap_or_default();
        let sum = |names: &[String]| {
            let mut sum = ByNamespace::new();
            names
                .iter()
                .filter_map(|name| closed.get(name))
                .for_each(|counts| merge(&mut sum, counts));
            sum
        };
        let (last_hour, last_day) = (sum(&hour), sum(&day));
        let report = StatsReport { since, total, last_hour, last_day, replicas };
        // The current bucket still changes. So may the one before it, for replicas that are late.
        for window in [HOUR, DAY] {
            let current = window.bucket(now);
            for bucket in [current, current.saturating_sub(1)] {
                closed.remove(&schema.bucket(window, bucket));
            }
        }
        Ok(report)
    }
}

/// Content of a hash.
#[derive(Default)]
struct StatsHash {
    counts: ByNamespace,
    replicas: Vec<ReplicaInfo>,
    since: Option<Timestamp>,
}

async fn read_hashes(router: &Router, names: &[&String]) -> Result<Vec<StatsHash>> {
    let mut commands = redis::pipe();
    names.iter().for_each(|name| {
        commands.hgetall(name);
    });
    let mut hashes = Vec::with_capacity(names.len());
    for hash in router.query_all(&commands).await? {
        hashes.push(StatsHash::read(hash)?);
        // With many namespaces, one hash is enough work between two yields.
        tokio::task::yield_now().await;
    }
    Ok(hashes)
}

/// The field by which a replica shows in a bucket that it runs. It has no [`SEPARATOR`], so that
/// earlier releases skip it.
fn presence_field(ReplicaInfo { id, version, started_at_ms }: &ReplicaInfo) -> String {
    format!("{PRESENCE}{id:016x}:{started_at_ms}:{version}")
}

fn parse_presence(field: &str) -> Option<ReplicaInfo> {
    let (id, rest) = field.strip_prefix(PRESENCE)?.split_once(':')?;
    let (started_at_ms, version) = rest.split_once(':')?;
    Some(ReplicaInfo {
        id: u64::from_str_radix(id, 16).ok()?,
        version: version.to_owned(),
        started_at_ms: started_at_ms.parse().ok()?,
    })
}

impl StatsHash {
    fn read(hash: Value) -> Result<Self> {
        let fields: Vec<(String, u64)> =
            redis::from_redis_value(hash).map_err(redis::RedisError::from)?;
        let mut read = Self::default();
        for (field, count) in fields {
            read.replicas.extend(parse_presence(&field));
            if field == SINCE {
                read.since = Some(Timestamp(count));
            }
            // A replica of a later release may have counters that this release lacks.
            let Some((namespace, name)) = field.split_once(SEPARATOR) else { continue };
            let Some(cell) = cell_of(name) else { continue };
            let counts = match read.counts.get_mut(namespace) {
                Some(counts) => counts,
                None => read.counts.entry(namespace.to_owned()).or_default(),
            };
            counts.0[cell] = counts.0[cell].saturating_add(count);
        }
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn presence_of_a_replica_survives_its_field() {
        let replica =
            ReplicaInfo { id: 7, version: "0.2.0-rc.1+x:y".to_owned(), started_at_ms: 1 << 40 };
        let field = presence_field(&replica);
        assert_eq!(parse_presence(&field), Some(replica));
        assert!(!field.contains(SEPARATOR));
        for other in ["ns|hits", "replica:", "replica:x:1:v", "replica:1:v"] {
            assert_eq!(parse_presence(other), None, "{other}");
        }
    }
}

//! The fleet's counters in Redis: one hash for the totals, and one for every minute and ten minutes.

use async_trait::async_trait;
use redis::Value;

use super::{RedisStore, pool::Retry, script::STATS, unexpected};
use crate::{
    stats::{
        counters::{cell_name, cell_of},
        delta::{ByNamespace, StatsDelta, StatsReport},
        windows::{DAY, HOUR, Window, merge},
    },
    store::{Result, StatsStore, Store as _},
};

/// Between the name of a namespace, which cannot contain it, and the name of a counter.
const SEPARATOR: char = '|';
/// Buckets read in one go: with many namespaces each has thousands of fields, and requests share the connection.
const HASHES_AT_ONCE: usize = 8;

#[async_trait]
impl StatsStore for RedisStore {
    async fn add(&self, delta: &StatsDelta) -> Result<()> {
        let now = self.now();
        let keys = [
            self.layout.totals(),
            self.layout.bucket(HOUR, HOUR.bucket(now)),
            self.layout.bucket(DAY, DAY.bucket(now)),
            self.layout.sequence(delta.replica),
        ];
        let mut call = STATS.call(&keys);
        call.arg(delta.sequence).arg(HOUR.retention_ms()).arg(DAY.retention_ms());
        for (namespace, counts) in &delta.counts {
            for (cell, counted) in counts.0.iter().enumerate().filter(|(_, counted)| **counted > 0)
            {
                call.arg(format!("{namespace}{SEPARATOR}{}", cell_name(cell))).arg(*counted);
            }
        }
        match self.pool.eval(&STATS, &call, Retry::Harmless).await? {
            Value::Int(_) => Ok(()),
            _ => Err(unexpected("ledger.lua")),
        }
    }

    async fn report(&self) -> Result<StatsReport> {
        // One at a time: who waits here finds the closed buckets of who was before.
        let mut closed = self.closed_buckets.lock().await;
        let now = self.now();
        let newest = [HOUR, DAY].map(|window| self.layout.bucket(window, window.bucket(now)));
        let names =
            |window: Window| window.at(now).map(move |bucket| self.layout.bucket(window, bucket));
        let hour: Vec<String> = names(HOUR).collect();
        let day: Vec<String> = names(DAY).collect();
        closed.retain(|name, _| hour.contains(name) || day.contains(name));
        let missing: Vec<&String> =
            hour.iter().chain(&day).filter(|name| !closed.contains_key(*name)).collect();
        for part in missing.chunks(HASHES_AT_ONCE) {
            for (name, counts) in part.iter().zip(self.hashes(part).await?) {
                closed.insert((*name).clone(), counts);
            }
        }
        let total = self.hashes(&[&self.layout.totals()]).await?.pop().unwrap_or_default();
        let sum = |names: &[String]| {
            let mut sum = ByNamespace::new();
            names
                .iter()
                .filter_map(|name| closed.get(name))
                .for_each(|counts| merge(&mut sum, counts));
            sum
        };
        let report = StatsReport { total, last_hour: sum(&hour), last_day: sum(&day) };
        // The current buckets go on counting; so may the ones before, for replicas that are a little late.
        let before = [HOUR, DAY]
            .map(|window| self.layout.bucket(window, window.bucket(now).saturating_sub(1)));
        newest.iter().chain(&before).for_each(|name| drop(closed.remove(name)));
        Ok(report)
    }
}

impl RedisStore {
    async fn hashes(&self, names: &[&String]) -> Result<Vec<ByNamespace>> {
        let mut commands = redis::pipe();
        names.iter().for_each(|name| {
            commands.hgetall(name);
        });
        let mut hashes = Vec::with_capacity(names.len());
        for hash in self.pool.query_all(&commands).await? {
            let mut counts = ByNamespace::new();
            add_hash(&mut counts, hash)?;
            hashes.push(counts);
            // With many namespaces one hash is work enough for one turn.
            tokio::task::yield_now().await;
        }
        Ok(hashes)
    }
}

fn add_hash(sum: &mut ByNamespace, hash: Value) -> Result<()> {
    let fields: Vec<(String, u64)> =
        redis::from_redis_value(hash).map_err(redis::RedisError::from)?;
    for (field, counted) in fields {
        // A newer replica may count what this one does not know.
        let Some((namespace, name)) = field.split_once(SEPARATOR) else { continue };
        let Some(cell) = cell_of(name) else { continue };
        let counts = match sum.get_mut(namespace) {
            Some(counts) => counts,
            None => sum.entry(namespace.to_owned()).or_default(),
        };
        counts.0[cell] = counts.0[cell].saturating_add(counted);
    }
    Ok(())
}

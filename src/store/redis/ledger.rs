//! The fleet's counters in Redis: one hash for the totals, and one for every minute and ten minutes.

use async_trait::async_trait;
use redis::Value;

use super::{RedisStore, pool::Repeat, script::LEDGER, unexpected};
use crate::{
    stats::{
        counts::{cell_name, cell_of},
        ledger::{ByNamespace, Delta, Report},
        windows::{DAY, HOUR, Window},
    },
    store::{Ledger, Result, Store as _},
};

/// Between the name of a namespace, which cannot contain it, and the name of a counter.
const SEPARATOR: char = '|';

#[async_trait]
impl Ledger for RedisStore {
    async fn add(&self, delta: &Delta) -> Result<()> {
        let now = self.now();
        let keys = [
            self.layout.totals(),
            self.layout.bucket(HOUR, HOUR.bucket(now)),
            self.layout.bucket(DAY, DAY.bucket(now)),
            self.layout.sequence(delta.replica),
        ];
        let mut call = LEDGER.call(&keys);
        call.arg(delta.sequence).arg(HOUR.keep_ms()).arg(DAY.keep_ms());
        for (namespace, counts) in &delta.counts {
            for (cell, counted) in counts.0.iter().enumerate().filter(|(_, counted)| **counted > 0) {
                call.arg(format!("{namespace}{SEPARATOR}{}", cell_name(cell))).arg(*counted);
            }
        }
        match self.pool.eval(&LEDGER, &call, Repeat::Harmless).await? {
            Value::Int(_) => Ok(()),
            _ => Err(unexpected("ledger.lua")),
        }
    }

    async fn report(&self) -> Result<Report> {
        let now = self.now();
        let mut hashes = redis::pipe();
        hashes.hgetall(self.layout.totals());
        for window in [HOUR, DAY] {
            for bucket in window.at(now) {
                hashes.hgetall(self.layout.bucket(window, bucket));
            }
        }
        let mut hashes = self.pool.query_all(&hashes).await?.into_iter();
        let sum = |hashes: &mut dyn Iterator<Item = Value>| -> Result<ByNamespace> {
            let mut sum = ByNamespace::new();
            for hash in hashes {
                add_hash(&mut sum, hash)?;
            }
            Ok(sum)
        };
        let buckets = |window: Window| usize::try_from(window.buckets).unwrap_or(usize::MAX);
        Ok(Report {
            total: sum(&mut hashes.by_ref().take(1))?,
            last_hour: sum(&mut hashes.by_ref().take(buckets(HOUR)))?,
            last_day: sum(&mut hashes.by_ref().take(buckets(DAY)))?,
        })
    }
}

fn add_hash(sum: &mut ByNamespace, hash: Value) -> Result<()> {
    let fields: Vec<(String, u64)> = redis::from_redis_value(hash).map_err(redis::RedisError::from)?;
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

//! Reads the buckets of the fleet's counters, and keeps those that do not change any more.

use std::{collections::HashMap, sync::Arc};

use tokio::sync::Mutex;

use super::{key_schema::KeySchema, router::Router, stats_hash::StatsHash};
use crate::{
    model::Timestamp,
    stats::{
        counters::SparseCounters,
        delta::{ByNamespace, ReplicaInfo, StatsReport},
        windows::{ALL, Bucket, DAY, HOUR, HistoryBucket, Window, add_bucket},
    },
    store::Result,
};

/// Hashes read in one round trip: with many namespaces each has thousands of fields, and requests
/// share the connection.
const HASHES_PER_READ: usize = 8;

/// Counters of the buckets that have ended. Their number is bounded by the windows: those of the
/// week are read, and kept, only for a history.
#[derive(Default)]
pub(super) struct ClosedBuckets(Mutex<Known>);

/// Buckets by their width in milliseconds and their number.
type Known = HashMap<(u64, u64), Arc<Bucket>>;

/// The server that has the buckets, and the names of their keys.
#[derive(Clone, Copy)]
pub(super) struct BucketReader<'a> {
    pub(super) router: &'a Router,
    pub(super) schema: &'a KeySchema,
}

impl ClosedBuckets {
    /// Sums the totals and the windows that end at `now`, and reads only the buckets that are not
    /// known yet.
    pub(super) async fn report(
        &self,
        reader: BucketReader<'_>,
        now: Timestamp,
    ) -> Result<StatsReport> {
        // Held during the reads: a report that waits finds the buckets that the one before it read.
        let mut known = self.0.lock().await;
        let mut replicas = reader.complete(&mut known, HOUR, now).await?;
        reader.complete(&mut known, DAY, now).await?;
        replicas.sort_unstable();
        replicas.dedup();
        let totals = reader.schema.totals();
        let StatsHash { counts: total, since, .. } =
            reader.hashes(&[totals]).await?.pop().unwrap_or_default();
        let sum = |window: Window| {
            let mut sum = ByNamespace::new();
            let buckets =
                window.at(now).filter_map(|number| known.get(&(window.bucket_ms, number)));
            buckets.for_each(|bucket| add_bucket(&mut sum, bucket));
            sum
        };
        let (last_hour, last_day) = (sum(HOUR), sum(DAY));
        forget_open(&mut known, now);
        Ok(StatsReport { since, total, last_hour, last_day, replicas })
    }

    /// The buckets of the window that ends at `now`, the oldest first, also those without counts.
    pub(super) async fn history(
        &self,
        reader: BucketReader<'_>,
        window: Window,
        now: Timestamp,
    ) -> Result<Vec<HistoryBucket>> {
        let mut known = self.0.lock().await;
        reader.complete(&mut known, window, now).await?;
        let bucket = |number| HistoryBucket {
            start: window.start(number),
            counts: known.get(&(window.bucket_ms, number)).cloned().unwrap_or_default(),
        };
        let buckets = window.at(now).map(bucket).collect();
        forget_open(&mut known, now);
        Ok(buckets)
    }
}

/// Forgets the buckets that still change, and those that have left their window. The current bucket
/// changes, and so may the one before it, for replicas that are late.
fn forget_open(known: &mut Known, now: Timestamp) {
    known.retain(|(bucket_ms, number), _| {
        let window = ALL.into_iter().find(|window| window.bucket_ms == *bucket_ms);
        window.is_some_and(|window| {
            window.at(now).contains(number) && number + 1 < window.bucket(now)
        })
    });
}

impl BucketReader<'_> {
    /// Reads the buckets of a window that are not known. Returns the replicas that have shown in
    /// the last two that they run.
    async fn complete(
        self,
        known: &mut Known,
        window: Window,
        now: Timestamp,
    ) -> Result<Vec<ReplicaInfo>> {
        let key = |number| (window.bucket_ms, number);
        let missing: Vec<u64> =
            window.at(now).filter(|number| !known.contains_key(&key(*number))).collect();
        let mut replicas = Vec::new();
        for numbers in missing.chunks(HASHES_PER_READ) {
            let names: Vec<String> =
                numbers.iter().map(|number| self.schema.bucket(window, *number)).collect();
            for (number, hash) in numbers.iter().zip(self.hashes(&names).await?) {
                if number + 1 >= window.bucket(now) {
                    replicas.extend(hash.replicas);
                }
                known.insert(key(*number), Arc::new(sparse(&hash.counts)));
            }
        }
        Ok(replicas)
    }

    async fn hashes(self, names: &[String]) -> Result<Vec<StatsHash>> {
        let mut commands = redis::pipe();
        names.iter().for_each(|name| {
            commands.hgetall(name);
        });
        let mut hashes = Vec::with_capacity(names.len());
        for hash in self.router.query_all(&commands).await? {
            hashes.push(StatsHash::read(hash)?);
            // With many namespaces, one hash is enough work between two yields.
            tokio::task::yield_now().await;
        }
        Ok(hashes)
    }
}

fn sparse(counts: &ByNamespace) -> Bucket {
    let sparse = counts.iter().map(|(name, counts)| (name.clone(), SparseCounters::from(counts)));
    sparse.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::windows::WEEK;

    #[test]
    fn buckets_that_have_ended_are_kept_while_they_are_in_their_window() {
        let now = Timestamp(1_000_000 * WEEK.bucket_ms + 30 * 60_000);
        let mut known = Known::new();
        for window in ALL {
            let newest = window.bucket(now);
            let numbers = (newest - window.buckets - 5)..=(newest + 5);
            known.extend(numbers.map(|number| ((window.bucket_ms, number), Arc::default())));
        }
        known.insert((7, 1), Arc::default());
        forget_open(&mut known, now);
        for window in ALL {
            let numbers = known.keys().filter(|(bucket_ms, _)| *bucket_ms == window.bucket_ms);
            let (newest, count) = (numbers.clone().map(|key| key.1).max(), numbers.count() as u64);
            assert_eq!((newest, count), (Some(window.bucket(now) - 2), window.buckets - 2));
        }
        let expected: u64 = ALL.iter().map(|window| window.buckets - 2).sum();
        assert_eq!(known.len() as u64, expected);
    }
}

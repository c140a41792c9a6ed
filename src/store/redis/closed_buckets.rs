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

/// Buckets of a window that were read and are not kept.
#[derive(Default)]
struct Read {
    /// The buckets that still change.
    open: Known,
    /// The replicas that have shown in these that they run.
    replicas: Vec<ReplicaInfo>,
}

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
        forget_changing(&mut known, now);
        let hour = reader.complete(&mut known, HOUR, now).await?;
        let day = reader.complete(&mut known, DAY, now).await?;
        let mut replicas = hour.replicas;
        replicas.sort_unstable();
        replicas.dedup();
        let totals = reader.schema.totals();
        let StatsHash { counts: total, since, .. } =
            reader.hashes(&[totals]).await?.pop().unwrap_or_default();
        let sum = |window: Window, open: &Known| {
            let mut sum = ByNamespace::new();
            let keys = window.at(now).map(|number| (window.bucket_ms, number));
            let buckets = keys.filter_map(|key| known.get(&key).or_else(|| open.get(&key)));
            buckets.for_each(|bucket| add_bucket(&mut sum, bucket));
            sum
        };
        let (last_hour, last_day) = (sum(HOUR, &hour.open), sum(DAY, &day.open));
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
        forget_changing(&mut known, now);
        let Read { open, .. } = reader.complete(&mut known, window, now).await?;
        let bucket = |number| {
            let key = (window.bucket_ms, number);
            let counts = known.get(&key).or_else(|| open.get(&key));
            HistoryBucket {
                start: window.start(number),
                counts: counts.cloned().unwrap_or_default(),
            }
        };
        Ok(window.at(now).map(bucket).collect())
    }
}

/// Forgets the buckets that have left their window, and those that change again because the clock
/// was set back.
fn forget_changing(known: &mut Known, now: Timestamp) {
    known.retain(|(bucket_ms, number), _| {
        let window = ALL.into_iter().find(|window| window.bucket_ms == *bucket_ms);
        window
            .is_some_and(|window| window.at(now).contains(number) && !is_open(window, *number, now))
    });
}

/// Whether a bucket still changes. The current bucket does, and so may the one before it, for
/// replicas that are late.
fn is_open(window: Window, number: u64, now: Timestamp) -> bool {
    number + 1 >= window.bucket(now)
}

impl Read {
    /// Keeps a bucket among those that have ended, unless it is open.
    fn keep(&mut self, ended: &mut Known, (key, is_open): ((u64, u64), bool), hash: StatsHash) {
        let bucket = Arc::new(sparse(&hash.counts));
        if is_open {
            self.replicas.extend(hash.replicas);
            self.open.insert(key, bucket);
        } else {
            ended.insert(key, bucket);
        }
    }
}

impl BucketReader<'_> {
    /// Reads the buckets of a window that are not known, and keeps those that have ended: a later
    /// read may fail, or the caller may stop waiting.
    async fn complete(self, known: &mut Known, window: Window, now: Timestamp) -> Result<Read> {
        let key = |number| (window.bucket_ms, number);
        let missing: Vec<u64> =
            window.at(now).filter(|number| !known.contains_key(&key(*number))).collect();
        let mut read = Read::default();
        for numbers in missing.chunks(HASHES_PER_READ) {
            let names: Vec<String> =
                numbers.iter().map(|number| self.schema.bucket(window, *number)).collect();
            for (number, hash) in numbers.iter().zip(self.hashes(&names).await?) {
                let is_open = is_open(window, *number, now);
                read.keep(known, (key(*number), is_open), hash);
            }
        }
        Ok(read)
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
        forget_changing(&mut known, now);
        for window in ALL {
            let numbers = known.keys().filter(|(bucket_ms, _)| *bucket_ms == window.bucket_ms);
            let (newest, count) = (numbers.clone().map(|key| key.1).max(), numbers.count() as u64);
            assert_eq!((newest, count), (Some(window.bucket(now) - 2), window.buckets - 2));
        }
        let expected: u64 = ALL.iter().map(|window| window.buckets - 2).sum();
        assert_eq!(known.len() as u64, expected);
    }

    #[test]
    fn bucket_that_changes_is_never_among_those_that_have_ended() {
        let now = Timestamp(1_000_000 * HOUR.bucket_ms);
        let (mut known, mut read) = (Known::new(), Read::default());
        for number in HOUR.at(now) {
            let replicas = vec![ReplicaInfo::default()];
            let key = ((HOUR.bucket_ms, number), is_open(HOUR, number, now));
            read.keep(&mut known, key, StatsHash { replicas, ..StatsHash::default() });
        }
        let newest = HOUR.bucket(now);
        assert_eq!(known.keys().map(|key| key.1).max(), Some(newest - 2));
        assert!(read.open.contains_key(&(HOUR.bucket_ms, newest)));
        assert_eq!((known.len(), read.open.len(), read.replicas.len()), (58, 2, 2));
    }
}

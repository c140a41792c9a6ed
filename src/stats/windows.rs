//! Sliding windows of buckets: one bucket per minute for the last hour, and one per ten minutes for
//! the last 24 hours.

use std::collections::BTreeMap;

use super::{
    counters::SparseCounters,
    delta::{ByNamespace, StatsReport},
};
use crate::model::Timestamp;

/// Resolution and length of a sliding window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// Width of a bucket, in milliseconds.
    pub bucket_ms: u64,
    /// Number of buckets in the window, including the current one.
    pub buckets: u64,
}

/// The last hour.
pub const HOUR: Window = Window { bucket_ms: 60_000, buckets: 60 };
/// The last 24 hours.
pub const DAY: Window = Window { bucket_ms: 600_000, buckets: 144 };

impl Window {
    /// Returns the number of the bucket that contains `now`.
    pub fn bucket(&self, now: Timestamp) -> u64 {
        now.0 / self.bucket_ms
    }

    /// Returns the numbers of the buckets in the window that ends at `now`.
    pub fn at(&self, now: Timestamp) -> std::ops::RangeInclusive<u64> {
        let newest = self.bucket(now);
        newest.saturating_sub(self.buckets - 1)..=newest
    }

    /// Time for which a bucket must be retained, in milliseconds.
    pub fn retention_ms(&self) -> u64 {
        self.bucket_ms * (self.buckets + 1)
    }
}

/// Counts in both windows and in total: the statistics of the embedded store, and those that a
/// replica keeps of itself.
#[derive(Debug, Default)]
pub struct Windows {
    total: ByNamespace,
    minutes: BTreeMap<u64, Bucket>,
    ten_minutes: BTreeMap<u64, Bucket>,
}

/// Counts of one bucket. Sparse, because there are many buckets, and most counters of most
/// namespaces are zero.
type Bucket = BTreeMap<String, SparseCounters>;

impl Windows {
    /// Adds counts to the buckets of `now`, and drops buckets that have left their window.
    pub fn add(&mut self, counts: &ByNamespace, now: Timestamp) {
        merge(&mut self.total, counts);
        for (window, buckets) in [(HOUR, &mut self.minutes), (DAY, &mut self.ten_minutes)] {
            let bucket = buckets.entry(window.bucket(now)).or_default();
            for (namespace, counters) in counts {
                bucket.entry(namespace.clone()).or_default().add(counters);
            }
            let oldest = *window.at(now).start();
            *buckets = buckets.split_off(&oldest);
        }
    }

    /// Sums the windows that end at `now`.
    pub fn report(&self, now: Timestamp) -> StatsReport {
        let sum = |window: Window, buckets: &BTreeMap<u64, Bucket>| {
            let mut sum = ByNamespace::new();
            for (namespace, counts) in buckets.range(window.at(now)).flat_map(|(_, bucket)| bucket)
            {
                counts.add_to(sum.entry(namespace.clone()).or_default());
            }
            sum
        };
        StatsReport {
            total: self.total.clone(),
            last_hour: sum(HOUR, &self.minutes),
            last_day: sum(DAY, &self.ten_minutes),
        }
    }
}

/// Adds `counts` to `into`, namespace by namespace.
pub fn merge(into: &mut ByNamespace, counts: &ByNamespace) {
    for (namespace, counters) in counts {
        into.entry(namespace.clone()).or_default().add(counters);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::counters::{Counter, Counters};

    fn hits(namespace: &str, hits: u64) -> ByNamespace {
        let mut counts = Counters::default();
        counts.0[Counter::Hits as usize] = hits;
        ByNamespace::from([(namespace.to_owned(), counts)])
    }

    fn hits_in(counts: &ByNamespace) -> u64 {
        counts.values().map(|counts| counts.get(Counter::Hits)).sum()
    }

    #[test]
    fn counts_leave_a_window_with_age_and_stay_in_the_total() {
        let start = Timestamp(1_000_000 * DAY.bucket_ms);
        let at = |minutes: u64| Timestamp(start.0 + minutes * 60_000);
        let mut windows = Windows::default();
        windows.add(&hits("a", 1), at(0));
        windows.add(&hits("b", 2), at(59));
        let hits_at = |minutes| {
            let report = windows.report(at(minutes));
            (hits_in(&report.total), hits_in(&report.last_hour), hits_in(&report.last_day))
        };
        assert_eq!(hits_at(59), (3, 3, 3));
        assert_eq!(hits_at(60), (3, 2, 3));
        assert_eq!(hits_at(119), (3, 0, 3));
        assert_eq!(hits_at(24 * 60), (3, 0, 2));
        assert_eq!(hits_at(26 * 60), (3, 0, 0));
    }

    #[test]
    fn old_buckets_are_dropped() {
        let mut windows = Windows::default();
        for minute in 0..10_000 {
            windows.add(&hits("a", 1), Timestamp(minute * 60_000));
        }
        assert_eq!(windows.minutes.len(), 60);
        assert_eq!(windows.ten_minutes.len(), 144);
        assert_eq!(hits_in(&windows.report(Timestamp(9_999 * 60_000)).total), 10_000);
    }
}

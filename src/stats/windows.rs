//! Sliding windows of buckets: one bucket per minute for the last hour, one per ten minutes for the
//! last 24 hours, and one per hour for the last seven days.

use std::{collections::BTreeMap, sync::Arc};

use tokio::task::yield_now;

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

/// A part of the sums of [`Windows`]. To add all parts at once would hold up other tasks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// The totals.
    Total,
    /// A bucket of the last hour.
    Minute(u64),
    /// A bucket of the last 24 hours.
    TenMinutes(u64),
}

/// Parts of a report that are added without a yield.
const PARTS_PER_YIELD: usize = 4;

/// The last hour.
pub const HOUR: Window = Window { bucket_ms: 60_000, buckets: 60 };
/// The last 24 hours.
pub const DAY: Window = Window { bucket_ms: 600_000, buckets: 144 };
/// The last seven days.
pub const WEEK: Window = Window { bucket_ms: 3_600_000, buckets: 168 };
/// All windows in which counts are added.
pub const ALL: [Window; 3] = [HOUR, DAY, WEEK];

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

    /// Returns the begin of a bucket.
    pub fn start(&self, bucket: u64) -> Timestamp {
        Timestamp(bucket.saturating_mul(self.bucket_ms))
    }

    /// Time for which a bucket must be retained, in milliseconds.
    pub fn retention_ms(&self) -> u64 {
        self.bucket_ms * (self.buckets + 1)
    }
}

/// Counts in all windows and in total: the statistics of the embedded store, and those that a
/// replica keeps of itself.
#[derive(Debug, Default)]
pub struct Windows {
    /// When counts were added first.
    since: Option<Timestamp>,
    total: ByNamespace,
    minutes: Buckets,
    ten_minutes: Buckets,
    hours: Buckets,
}

/// Counts of one bucket. Sparse, because there are many buckets, and most counters of most
/// namespaces are zero.
pub type Bucket = BTreeMap<String, SparseCounters>;

/// Counts of one bucket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HistoryBucket {
    /// Begin of its time, by the store's clock.
    pub start: Timestamp,
    /// The counts by namespace; empty if nothing was counted.
    pub counts: Arc<Bucket>,
}

/// The buckets of a window by their numbers. They are shared with the histories that are read.
type Buckets = BTreeMap<u64, Arc<Bucket>>;

impl Windows {
    /// Adds counts to the buckets of `now`, and drops buckets that have left their window.
    pub fn add(&mut self, counts: &ByNamespace, now: Timestamp) {
        self.since.get_or_insert(now);
        merge(&mut self.total, counts);
        let Self { minutes, ten_minutes, hours, .. } = self;
        for (window, buckets) in ALL.into_iter().zip([minutes, ten_minutes, hours]) {
            let bucket = Arc::make_mut(buckets.entry(window.bucket(now)).or_default());
            for (namespace, counters) in counts {
                bucket.entry(namespace.clone()).or_default().add(counters);
            }
            let oldest = *window.at(now).start();
            *buckets = buckets.split_off(&oldest);
        }
    }

    /// Adds one part of the sums to `report`.
    pub fn add_part(&self, part: Part, report: &mut StatsReport) {
        let (buckets, number, sums) = match part {
            Part::Total => {
                report.since = self.since;
                report.total = self.total.clone();
                return;
            }
            Part::Minute(number) => (&self.minutes, number, &mut report.last_hour),
            Part::TenMinutes(number) => (&self.ten_minutes, number, &mut report.last_day),
        };
        if let Some(bucket) = buckets.get(&number) {
            add_bucket(sums, bucket);
        }
    }

    /// The buckets of the window that ends at `now`, the oldest first, also those without counts.
    pub fn history(&self, window: Window, now: Timestamp) -> Vec<HistoryBucket> {
        let buckets = match window {
            WEEK => &self.hours,
            DAY => &self.ten_minutes,
            _ => &self.minutes,
        };
        let bucket = |number| HistoryBucket {
            start: window.start(number),
            counts: buckets.get(&number).cloned().unwrap_or_default(),
        };
        window.at(now).map(bucket).collect()
    }
}

/// Adds the counts of a bucket to `sums`, namespace by namespace.
pub fn add_bucket(sums: &mut ByNamespace, bucket: &Bucket) {
    for (namespace, counts) in bucket {
        match sums.get_mut(namespace) {
            Some(sum) => counts.add_to(sum),
            None => counts.add_to(sums.entry(namespace.clone()).or_default()),
        }
    }
}

/// Sums the windows that end at `now` from the parts that `add_part` adds, and yields between them.
pub async fn report(
    now: Timestamp,
    mut add_part: impl FnMut(Part, &mut StatsReport) + Send,
) -> StatsReport {
    let mut report = StatsReport::default();
    let minutes = HOUR.at(now).map(Part::Minute);
    let ten_minutes = DAY.at(now).map(Part::TenMinutes);
    let parts = [Part::Total].into_iter().chain(minutes).chain(ten_minutes);
    for (index, part) in parts.enumerate() {
        add_part(part, &mut report);
        if index % PARTS_PER_YIELD == 0 {
            yield_now().await;
        }
    }
    report
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

    async fn report_of(windows: &Windows, now: Timestamp) -> StatsReport {
        report(now, |part, report| windows.add_part(part, report)).await
    }

    #[tokio::test]
    async fn report_yields() {
        let windows = Windows::default();
        let mut report = std::pin::pin!(report_of(&windows, Timestamp(0)));
        assert!(futures_util::poll!(&mut report).is_pending());
        assert_eq!(report.await, StatsReport::default());
    }

    #[tokio::test]
    async fn counts_leave_a_window_with_age_and_stay_in_the_total() {
        let start = Timestamp(1_000_000 * DAY.bucket_ms);
        let at = |minutes: u64| Timestamp(start.0 + minutes * 60_000);
        let mut windows = Windows::default();
        windows.add(&hits("a", 1), at(0));
        windows.add(&hits("b", 2), at(59));
        let hits_at = async |minutes| {
            let report = report_of(&windows, at(minutes)).await;
            (hits_in(&report.total), hits_in(&report.last_hour), hits_in(&report.last_day))
        };
        assert_eq!(hits_at(59).await, (3, 3, 3));
        assert_eq!(hits_at(60).await, (3, 2, 3));
        assert_eq!(hits_at(119).await, (3, 0, 3));
        assert_eq!(hits_at(24 * 60).await, (3, 0, 2));
        assert_eq!(hits_at(26 * 60).await, (3, 0, 0));
        assert_eq!(report_of(&windows, at(26 * 60)).await.since, Some(at(0)));
    }

    #[tokio::test]
    async fn old_buckets_are_dropped() {
        let mut windows = Windows::default();
        for minute in 0..10_000 {
            windows.add(&hits("a", 1), Timestamp(minute * 60_000));
        }
        assert_eq!(windows.minutes.len(), 60);
        assert_eq!(windows.ten_minutes.len(), 144);
        assert_eq!(windows.hours.len(), 167, "all of them");
        let report = report_of(&windows, Timestamp(9_999 * 60_000)).await;
        assert_eq!(hits_in(&report.total), 10_000);
        windows.add(&hits("a", 1), Timestamp(300 * WEEK.bucket_ms));
        assert_eq!(windows.hours.len(), 35, "the last is number 300, and the first is 133");
    }
}

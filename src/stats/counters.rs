//! The set of counters that every namespace has.

use std::{collections::HashMap, sync::LazyLock, time::Duration};

use crate::model::SaturatingFrom as _;

/// Counted events of a namespace. The order is that of the cells in [`Counters`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(usize)]
pub enum Counter {
    /// Reads answered with a fresh value that was there before the call.
    Hits,
    /// Reads answered with a stale value.
    Stale,
    /// Reads answered with a negative entry: the origin has no value.
    Negative,
    /// Reads answered without a value, or with one that was fetched or waited for.
    Misses,
    /// Values stored.
    Sets,
    /// Sets that were not stored.
    SetsRefused,
    /// Entries deleted.
    Deletes,
    /// Namespaces invalidated.
    Invalidations,
    /// Leases granted.
    LeasesGranted,
    /// GetOrFetch calls that found the lease taken.
    LeasesRefused,
    /// Leases released without a value.
    LeasesAbandoned,
    /// Answers given while the store was unavailable.
    Degraded,
    /// Fetches that an origin answered.
    Fetches,
    /// Fetches that failed, including those rejected without a call to the origin.
    FetchesFailed,
    /// GetOrFetch calls answered by the fetch of another call.
    FetchesCoalesced,
    /// Refreshes that started before the value was stale.
    EarlyRefreshes,
    /// Stale values served during a refresh.
    StaleWhileRevalidate,
    /// Stale values served because the origin failed.
    StaleIfError,
    /// Stale values served because the origin took too long.
    StaleSoftTimeout,
    /// Fills refused because the lease had expired.
    FillsLost,
    /// Fills refused because the entry was invalidated after the lease was granted.
    FillsInvalidated,
    /// Fills refused because the entry was written after the lease was granted.
    FillsSuperseded,
    /// Fetched values that the store did not accept, or that had no lease.
    FillsNotStored,
    /// Fetched values that the origin forbids to store.
    Uncacheable,
    /// Hits and negative answers that came from the near cache. They also count as such.
    NearHits,
    /// Tags and patterns invalidated.
    Bans,
    /// Invalidations that were applied together with an earlier one.
    InvalidationsCoalesced,
    /// GetOrFetch calls that were answered with a time to ask again.
    Contended,
}

/// Kind of a measured latency.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LatencyKind {
    /// Read that found a value.
    Hit,
    /// Read that found no value.
    Miss,
    /// Successful fetch.
    Fetch,
    /// Computation of a caller under a lease, until its value was stored.
    Compute,
}

/// Upper bounds of the latency buckets in microseconds. One more bucket without a bound follows.
pub const LATENCY_BOUNDS_US: [u64; 18] = [
    10, 20, 50, 100, 200, 500, 1_000, 2_000, 5_000, 10_000, 20_000, 50_000, 100_000, 200_000,
    500_000, 1_000_000, 2_000_000, 5_000_000,
];
const BUCKETS: usize = LATENCY_BOUNDS_US.len() + 1;
const EVENTS: usize = Counter::ALL.len();
/// Number of cells: one per counter and one per latency bucket.
pub const CELLS: usize = EVENTS + 4 * BUCKETS;

/// Snapshot of a set of counters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Counters(pub [u64; CELLS]);

/// A set of counters that are mostly zero: the other cells with their numbers, sorted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SparseCounters(Vec<(u16, u64)>);

// === impl Counter ===

impl Counter {
    /// All counters, in the order of their cells.
    pub const ALL: [Self; 28] = [
        Self::Hits,
        Self::Stale,
        Self::Negative,
        Self::Misses,
        Self::Sets,
        Self::SetsRefused,
        Self::Deletes,
        Self::Invalidations,
        Self::LeasesGranted,
        Self::LeasesRefused,
        Self::LeasesAbandoned,
        Self::Degraded,
        Self::Fetches,
        Self::FetchesFailed,
        Self::FetchesCoalesced,
        Self::EarlyRefreshes,
        Self::StaleWhileRevalidate,
        Self::StaleIfError,
        Self::StaleSoftTimeout,
        Self::FillsLost,
        Self::FillsInvalidated,
        Self::FillsSuperseded,
        Self::FillsNotStored,
        Self::Uncacheable,
        Self::NearHits,
        Self::Bans,
        Self::InvalidationsCoalesced,
        Self::Contended,
    ];

    /// The outcomes of reads, from which hit rates are computed.
    pub const READS: [Self; 4] = [Self::Hits, Self::Stale, Self::Negative, Self::Misses];

    /// Reads, writes and deletions of entries; each key of a batch counts.
    pub const REQUESTS: [Self; 7] = [
        Self::Hits,
        Self::Stale,
        Self::Negative,
        Self::Misses,
        Self::Sets,
        Self::SetsRefused,
        Self::Deletes,
    ];

    /// Name in the store. Renaming a counter would lose its earlier counts.
    pub fn name(self) -> &'static str {
        match self {
            Self::Hits => "hits",
            Self::Stale => "stale",
            Self::Negative => "negative",
            Self::Misses => "misses",
            Self::Sets => "sets",
            Self::SetsRefused => "sets_refused",
            Self::Deletes => "deletes",
            Self::Invalidations => "invalidations",
            Self::LeasesGranted => "leases_granted",
            Self::LeasesRefused => "leases_refused",
            Self::LeasesAbandoned => "leases_abandoned",
            Self::Degraded => "degraded",
            Self::Fetches => "fetches",
            Self::FetchesFailed => "fetches_failed",
            Self::FetchesCoalesced => "fetches_coalesced",
            Self::EarlyRefreshes => "early_refreshes",
            Self::StaleWhileRevalidate => "stale_while_revalidate",
            Self::StaleIfError => "stale_if_error",
            Self::StaleSoftTimeout => "stale_soft_timeout",
            Self::FillsLost => "fills_lost",
            Self::FillsInvalidated => "fills_invalidated",
            Self::FillsSuperseded => "fills_superseded",
            Self::FillsNotStored => "fills_not_stored",
            Self::Uncacheable => "uncacheable",
            Self::NearHits => "near_hits",
            Self::Bans => "bans",
            Self::InvalidationsCoalesced => "invalidations_coalesced",
            Self::Contended => "contended",
        }
    }
}

/// Name of a cell in the store: the name of the counter, or `h`, `m`, `f` or `c` with the
/// number of a latency bucket.
pub fn cell_name(cell: usize) -> String {
    match Counter::ALL.get(cell) {
        Some(counter) => counter.name().to_owned(),
        None if cell < EVENTS + BUCKETS => format!("h{}", cell - EVENTS),
        None if cell < EVENTS + 2 * BUCKETS => format!("m{}", cell - EVENTS - BUCKETS),
        None if cell < EVENTS + 3 * BUCKETS => format!("f{}", cell - EVENTS - 2 * BUCKETS),
        None => format!("c{}", cell - EVENTS - 3 * BUCKETS),
    }
}

/// Returns the cell with this name; none if this release has no such counter.
pub fn cell_of(name: &str) -> Option<usize> {
    static CELLS_BY_NAME: LazyLock<HashMap<String, usize>> =
        LazyLock::new(|| (0..CELLS).map(|cell| (cell_name(cell), cell)).collect());
    CELLS_BY_NAME.get(name).copied()
}

pub(super) fn bucket_cell(kind: LatencyKind, took: Duration) -> usize {
    let micros = u64::saturating_from(took.as_micros());
    let bucket = LATENCY_BOUNDS_US.partition_point(|bound| *bound < micros);
    first_bucket(kind) + bucket
}

fn first_bucket(kind: LatencyKind) -> usize {
    match kind {
        LatencyKind::Hit => EVENTS,
        LatencyKind::Miss => EVENTS + BUCKETS,
        LatencyKind::Fetch => EVENTS + 2 * BUCKETS,
        LatencyKind::Compute => EVENTS + 3 * BUCKETS,
    }
}

// === impl Counters ===

impl Default for Counters {
    fn default() -> Self {
        Self([0; CELLS])
    }
}

impl Counters {
    /// Returns the value of one counter.
    pub fn get(&self, counter: Counter) -> u64 {
        self.0[counter as usize]
    }

    /// Adds `other` cell by cell.
    pub fn add(&mut self, other: &Self) {
        self.0.iter_mut().zip(other.0).for_each(|(cell, count)| *cell = cell.saturating_add(count));
    }

    /// Returns the difference to an `earlier` snapshot.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        Self(std::array::from_fn(|cell| self.0[cell].saturating_sub(earlier.0[cell])))
    }

    /// Whether every cell is zero.
    pub fn is_zero(&self) -> bool {
        self.0.iter().all(|cell| *cell == 0)
    }

    /// Share of reads that the cache answered; none without reads.
    pub fn hit_rate(&self) -> Option<f64> {
        let answered =
            self.get(Counter::Hits) + self.get(Counter::Stale) + self.get(Counter::Negative);
        let all = answered + self.get(Counter::Misses);
        #[allow(clippy::cast_precision_loss)]
        (all > 0).then(|| answered as f64 / all as f64)
    }

    /// Reads, writes and deletions of entries, including those that changed nothing.
    pub fn requests(&self) -> u64 {
        Counter::REQUESTS.into_iter().map(|counter| self.get(counter)).sum()
    }

    /// Number of measured latencies.
    pub fn total(&self, kind: LatencyKind) -> u64 {
        self.0[first_bucket(kind)..][..BUCKETS].iter().sum()
    }

    /// Estimates a quantile of the latency by linear interpolation in its bucket; none without
    /// calls.
    pub fn latency(&self, kind: LatencyKind, quantile: f64) -> Option<Duration> {
        let buckets = &self.0[first_bucket(kind)..][..BUCKETS];
        let total = self.total(kind);
        if total == 0 {
            return None;
        }
        #[allow(clippy::cast_precision_loss)]
        let rank = quantile * total as f64;
        let mut below = 0.0;
        for (bucket, count) in buckets.iter().enumerate() {
            #[allow(clippy::cast_precision_loss)]
            let count = *count as f64;
            if count > 0.0 && below + count >= rank {
                let lower = bucket.checked_sub(1).map_or(0, |previous| LATENCY_BOUNDS_US[previous]);
                let upper = LATENCY_BOUNDS_US.get(bucket).copied().unwrap_or(lower);
                #[allow(clippy::cast_precision_loss)]
                let micros = lower as f64
                    + (upper - lower) as f64 * ((rank - below) / count).clamp(0.0, 1.0);
                return Some(Duration::from_secs_f64(micros / 1e6));
            }
            below += count;
        }
        LATENCY_BOUNDS_US.last().map(|bound| Duration::from_micros(*bound))
    }
}

// === impl SparseCounters ===

impl From<&Counters> for SparseCounters {
    fn from(counters: &Counters) -> Self {
        let cells = (0..).zip(counters.0);
        let mut cells: Vec<_> = cells.filter(|(_, count)| *count > 0).collect();
        cells.shrink_to_fit();
        Self(cells)
    }
}

impl SparseCounters {
    /// Adds `other` cell by cell.
    pub fn add(&mut self, other: &Counters) {
        for (cell, count) in (0..).zip(other.0).filter(|(_, count)| *count > 0) {
            match self.0.binary_search_by_key(&cell, |(cell, _)| *cell) {
                Ok(index) => self.0[index].1 = self.0[index].1.saturating_add(count),
                Err(index) => self.0.insert(index, (cell, count)),
            }
        }
    }

    /// Adds these counters to `sum`.
    pub fn add_to(&self, sum: &mut Counters) {
        for (cell, count) in &self.0 {
            let cell = &mut sum.0[usize::from(*cell)];
            *cell = cell.saturating_add(*count);
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::stats::striped_counters::StripedCounters;

    #[test]
    fn cell_names_are_unique_and_resolve_to_their_cell() {
        let names: std::collections::BTreeSet<String> = (0..CELLS).map(cell_name).collect();
        assert_eq!(names.len(), CELLS);
        assert!((0..CELLS).all(|cell| cell_of(&cell_name(cell)) == Some(cell)));
        assert_eq!(cell_of("h19"), None);
    }

    #[test]
    fn counters_are_listed_in_the_order_of_their_cells() {
        for (index, counter) in Counter::ALL.into_iter().enumerate() {
            assert_eq!(counter as usize, index);
        }
    }

    #[test]
    fn sparse_counters_add_up_like_plain_counters() {
        let mut counts = Counters::default();
        (counts.0[0], counts.0[7], counts.0[CELLS - 1]) = (1, 2, 3);
        let mut sparse = SparseCounters::default();
        sparse.add(&counts);
        sparse.add(&counts);
        let (mut sum, mut twice) = (Counters::default(), counts.clone());
        sparse.add_to(&mut sum);
        twice.add(&counts);
        assert_eq!((&sum, sparse.0.len()), (&twice, 3));
        assert_eq!(SparseCounters::from(&sum), sparse);
    }

    #[test]
    fn quantile_lies_in_the_bucket_of_its_rank() {
        let counters = StripedCounters::default();
        (0..90).for_each(|_| counters.time(LatencyKind::Hit, Duration::from_micros(15)));
        (0..10).for_each(|_| counters.time(LatencyKind::Hit, Duration::from_millis(3)));
        let counts = counters.snapshot();
        let p50 = counts.latency(LatencyKind::Hit, 0.5).unwrap();
        assert!(p50 > Duration::from_micros(10) && p50 <= Duration::from_micros(20), "{p50:?}");
        let p99 = counts.latency(LatencyKind::Hit, 0.99).unwrap();
        assert!(p99 > Duration::from_millis(2) && p99 <= Duration::from_millis(5), "{p99:?}");
        assert_eq!(counts.latency(LatencyKind::Miss, 0.5), None);
    }

    #[test]
    fn hit_rate_includes_stale_and_negative_answers() {
        let counters = StripedCounters::default();
        counters.count_many(Counter::Hits, 2);
        counters.count(Counter::Stale);
        counters.count_many(Counter::Negative, 3);
        counters.count_many(Counter::Misses, 2);
        assert_eq!(counters.snapshot().hit_rate(), Some(0.75));
        assert_eq!(Counters::default().hit_rate(), None);
    }
}

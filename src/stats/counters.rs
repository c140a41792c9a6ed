//! The counters that every namespace has.

use std::{collections::HashMap, sync::LazyLock, time::Duration};

use crate::model::SaturatingFrom as _;

/// What is counted per namespace. The order is that of the cells in [`Counters`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(usize)]
pub enum Counter {
    /// Reads answered with a fresh value.
    Hits,
    /// Reads answered with a stale value.
    Stale,
    /// Reads answered with the knowledge that there is no value.
    Negative,
    /// Reads answered without a value.
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
    /// GetOrFetch calls that found somebody else at work.
    LeasesRefused,
    /// Leases given back without a value.
    LeasesAbandoned,
    /// Answers given while the store could not be asked.
    Degraded,
    /// Answers of origins.
    Fetches,
    /// Fetches that failed, also because the origin was not asked.
    FetchesFailed,
    /// GetOrFetch calls answered with what was fetched for another.
    FetchesCoalesced,
    /// Refreshes begun before the value was stale.
    EarlyRefreshes,
    /// Stale values served while they are refreshed.
    StaleWhileRevalidate,
    /// Stale values served because the origin failed.
    StaleIfError,
    /// Stale values served because the origin took too long.
    StaleSoftTimeout,
    /// Fills refused because the lease had run out.
    FillsLost,
    /// Fills refused because the entry was invalidated meanwhile.
    FillsInvalidated,
    /// Fills refused because the entry was written meanwhile.
    FillsSuperseded,
    /// Fetched values that the store did not take.
    FillsNotStored,
    /// Fetched values that must not be stored.
    Uncacheable,
    /// Those of the hits and negative answers that the near cache had.
    NearHits,
}

/// Which latency is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LatencyKind {
    /// Of reads that found a value.
    Hit,
    /// Of reads that found none.
    Miss,
    /// Of fetches that succeeded.
    Fetch,
}

/// Upper bounds of the latency buckets in microseconds; a last bucket without a bound follows.
pub const LATENCY_BOUNDS_US: [u64; 18] = [
    10, 20, 50, 100, 200, 500, 1_000, 2_000, 5_000, 10_000, 20_000, 50_000, 100_000, 200_000,
    500_000, 1_000_000, 2_000_000, 5_000_000,
];
const BUCKETS: usize = LATENCY_BOUNDS_US.len() + 1;
const EVENTS: usize = Counter::ALL.len();
/// Number of cells.
pub const CELLS: usize = EVENTS + 3 * BUCKETS;

/// A set of counters at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Counters(pub [u64; CELLS]);

/// A set of counters of which most are zero, by cell.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SparseCounters(Vec<(u16, u64)>);

// === impl Counter ===

impl Counter {
    /// All counters, in the order of their cells.
    pub const ALL: [Self; 25] = [
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
    ];

    /// Name in the store; a change loses what was counted before.
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
        }
    }
}

/// Name of a cell in the store: the counter's, or `h`, `m` or `f` and the number of a latency bucket.
pub fn cell_name(cell: usize) -> String {
    match Counter::ALL.get(cell) {
        Some(counter) => counter.name().to_owned(),
        None if cell < EVENTS + BUCKETS => format!("h{}", cell - EVENTS),
        None if cell < EVENTS + 2 * BUCKETS => format!("m{}", cell - EVENTS - BUCKETS),
        None => format!("f{}", cell - EVENTS - 2 * BUCKETS),
    }
}

/// The cell of a name, if this release knows it.
pub fn cell_of(name: &str) -> Option<usize> {
    static CELLS_BY_NAME: LazyLock<HashMap<String, usize>> =
        LazyLock::new(|| (0..CELLS).map(|cell| (cell_name(cell), cell)).collect());
    CELLS_BY_NAME.get(name).copied()
}

pub(super) fn bucket_cell(timed: LatencyKind, took: Duration) -> usize {
    let micros = u64::saturating_from(took.as_micros());
    let bucket = LATENCY_BOUNDS_US.partition_point(|bound| *bound < micros);
    first_bucket(timed) + bucket
}

fn first_bucket(timed: LatencyKind) -> usize {
    match timed {
        LatencyKind::Hit => EVENTS,
        LatencyKind::Miss => EVENTS + BUCKETS,
        LatencyKind::Fetch => EVENTS + 2 * BUCKETS,
    }
}

// === impl Counts ===

impl Default for Counters {
    fn default() -> Self {
        Self([0; CELLS])
    }
}

impl Counters {
    /// The value of one counter.
    pub fn get(&self, counter: Counter) -> u64 {
        self.0[counter as usize]
    }

    /// Adds all of `other`.
    pub fn add(&mut self, other: &Self) {
        self.0.iter_mut().zip(other.0).for_each(|(cell, more)| *cell = cell.saturating_add(more));
    }

    /// What was counted since `earlier`.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        Self(std::array::from_fn(|cell| self.0[cell].saturating_sub(earlier.0[cell])))
    }

    /// Whether nothing was counted.
    pub fn is_zero(&self) -> bool {
        self.0.iter().all(|cell| *cell == 0)
    }

    /// Share of reads that were answered from the cache; none without reads.
    pub fn hit_rate(&self) -> Option<f64> {
        let answered =
            self.get(Counter::Hits) + self.get(Counter::Stale) + self.get(Counter::Negative);
        let all = answered + self.get(Counter::Misses);
        #[allow(clippy::cast_precision_loss)]
        (all > 0).then(|| answered as f64 / all as f64)
    }

    /// The latency that a share of the calls did not exceed, by linear interpolation in its bucket; none without calls.
    pub fn latency(&self, timed: LatencyKind, share: f64) -> Option<Duration> {
        let buckets = &self.0[first_bucket(timed)..][..BUCKETS];
        let total: u64 = buckets.iter().sum();
        if total == 0 {
            return None;
        }
        #[allow(clippy::cast_precision_loss)]
        let rank = share * total as f64;
        let mut below = 0.0;
        for (bucket, count) in buckets.iter().enumerate() {
            #[allow(clippy::cast_precision_loss)]
            let count = *count as f64;
            if count > 0.0 && below + count >= rank {
                let lower = bucket.checked_sub(1).map_or(0, |before| LATENCY_BOUNDS_US[before]);
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

// === impl SparseCounts ===

impl SparseCounters {
    /// Adds all of `other`.
    pub fn add(&mut self, other: &Counters) {
        for (cell, more) in (0..).zip(other.0).filter(|(_, more)| *more > 0) {
            match self.0.binary_search_by_key(&cell, |(cell, _)| *cell) {
                Ok(place) => self.0[place].1 = self.0[place].1.saturating_add(more),
                Err(place) => self.0.insert(place, (cell, more)),
            }
        }
    }

    /// Adds all of this to `sum`.
    pub fn add_to(&self, sum: &mut Counters) {
        for (cell, more) in &self.0 {
            let cell = &mut sum.0[usize::from(*cell)];
            *cell = cell.saturating_add(*more);
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::stats::striped_counters::StripedCounters;

    #[test]
    fn cells_have_names_of_their_own() {
        let names: std::collections::BTreeSet<String> = (0..CELLS).map(cell_name).collect();
        assert_eq!(names.len(), CELLS);
        assert!((0..CELLS).all(|cell| cell_of(&cell_name(cell)) == Some(cell)));
        assert_eq!(cell_of("h19"), None);
    }

    #[test]
    fn every_counter_stands_at_its_place() {
        for (place, counter) in Counter::ALL.into_iter().enumerate() {
            assert_eq!(counter as usize, place);
        }
    }

    #[test]
    fn sparse_counters_count_the_same() {
        let mut counts = Counters::default();
        (counts.0[0], counts.0[7], counts.0[CELLS - 1]) = (1, 2, 3);
        let mut sparse = SparseCounters::default();
        sparse.add(&counts);
        sparse.add(&counts);
        let (mut sum, mut twice) = (Counters::default(), counts.clone());
        sparse.add_to(&mut sum);
        twice.add(&counts);
        assert_eq!((sum, sparse.0.len()), (twice, 3));
    }

    #[test]
    fn quantiles_lie_in_the_bucket_that_holds_them() {
        let live = StripedCounters::default();
        (0..90).for_each(|_| live.time(LatencyKind::Hit, Duration::from_micros(15)));
        (0..10).for_each(|_| live.time(LatencyKind::Hit, Duration::from_millis(3)));
        let counts = live.snapshot();
        let p50 = counts.latency(LatencyKind::Hit, 0.5).unwrap();
        assert!(p50 > Duration::from_micros(10) && p50 <= Duration::from_micros(20), "{p50:?}");
        let p99 = counts.latency(LatencyKind::Hit, 0.99).unwrap();
        assert!(p99 > Duration::from_millis(2) && p99 <= Duration::from_millis(5), "{p99:?}");
        assert_eq!(counts.latency(LatencyKind::Miss, 0.5), None);
    }

    #[test]
    fn hit_rate_counts_every_read() {
        let live = StripedCounters::default();
        live.count_many(Counter::Hits, 2);
        live.count(Counter::Stale);
        live.count(Counter::Misses);
        assert_eq!(live.snapshot().hit_rate(), Some(0.75));
        assert_eq!(Counters::default().hit_rate(), None);
    }
}

//! Shares that are estimated from followed keys, with their errors.

use std::time::Duration;

use crate::stats::reuse::{
    GROUPS, TTLS_MS,
    counts::{ReuseCounts, ReuseFigures},
};

/// Deviations within which 95 % of the estimates are, with the degrees of freedom of the groups.
const DEVIATIONS: f64 = 2.13;
/// If none of n cases was seen, the share is below 3 / n with a probability of 95 %.
const UNSEEN: f64 = 3.0;

/// Largest error of a share that is shown.
const MAX_ERROR: f64 = 0.1;

/// Fewest misses of followed keys by which the counted misses are scaled.
const MIN_MISSES: u64 = 200;

/// A share that is estimated.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Share {
    /// The estimate.
    pub value: f64,
    /// How far off it may be, with a probability of 95 %.
    pub error: f64,
}

/// Estimates for a namespace, from its followed keys.
#[derive(Debug, Clone, PartialEq)]
pub struct ReuseEstimate {
    /// The counts of all groups.
    pub counts: ReuseCounts,
    /// Mean TTL of the values that were stored; zero if none was.
    pub mean_ttl: Duration,
    /// Effects of other TTLs, the shortest first.
    pub ttls: Vec<TtlEstimate>,
    figures: ReuseFigures,
}

/// Effect of another TTL.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TtlEstimate {
    /// The TTL.
    pub ttl: Duration,
    /// Share of the reads that would have been hits, of those that the cache was asked for.
    pub hit_rate: Share,
    /// Share of the misses that would have been hits; negative if there were more misses. None
    /// without misses.
    pub saved: Option<Share>,
    /// Share of the hits that would have been misses. None without hits.
    pub lost: Option<Share>,
    /// Share of the memory that would have been free. None for a TTL that is not shorter than the
    /// mean.
    pub freed: Option<Share>,
}

impl Share {
    /// The lowest share that is likely.
    pub fn lowest(self) -> f64 {
        self.value - self.error
    }

    /// The highest share that is likely.
    pub fn highest(self) -> f64 {
        self.value + self.error
    }

    /// Whether the error is small enough for the share to be of use: ten points.
    pub fn is_well_known(self) -> bool {
        self.error <= MAX_ERROR
    }

    /// As a share of a whole.
    fn of_whole(self) -> Self {
        Self { value: self.value.clamp(0.0, 1.0), ..self }
    }

    /// One minus this.
    fn rest(self) -> Self {
        Self { value: 1.0 - self.value, ..self }
    }

    fn times(self, factor: f64) -> Self {
        Self { value: self.value * factor, error: self.error * factor }
    }
}

impl ReuseEstimate {
    /// The estimates for a namespace with this share of misses among its reads; none if no read
    /// and no end of an entry was seen.
    pub fn of(figures: ReuseFigures, miss_rate: Option<f64>) -> Option<Self> {
        let counts = figures.sum();
        if counts.seen_hits + counts.seen_misses + counts.seen_ended == 0 {
            return None;
        }
        let mean_ttl = Duration::from_millis(counts.ttl_millis / counts.writes.max(1));
        let mut estimate = Self { counts, mean_ttl, ttls: Vec::new(), figures };
        let is_enough = estimate.counts.seen_misses >= MIN_MISSES;
        let miss_rate = miss_rate.filter(|_| is_enough).map(|rate| estimate.asked(rate));
        let ttls = (0..TTLS_MS.len()).filter_map(|index| estimate.ttl(index, miss_rate));
        estimate.ttls = ttls.collect();
        Some(estimate)
    }

    /// The share of misses without the reads that count as misses and did not ask the cache.
    fn asked(&self, miss_rate: f64) -> f64 {
        let ReuseCounts { misses, skipped, .. } = self.counts;
        let skipped = miss_rate * (skipped as f64 / (misses as f64 + skipped as f64).max(1.0));
        (miss_rate - skipped) / (1.0 - skipped).max(f64::MIN_POSITIVE)
    }

    /// Whether a few keys with most of the reads are followed decides on the share of the hits
    /// among the reads of followed keys, but has little influence on that of the misses: no key is
    /// missed more often than its TTL ends. So the counted misses are scaled, if they can be.
    fn ttl(&self, index: usize, miss_rate: Option<f64>) -> Option<TtlEstimate> {
        let seen = &self.counts;
        let ttl = Duration::from_millis(TTLS_MS[index]);
        let again = self
            .share(seen.seen_misses, |counts| (counts.missed[index] as f64, counts.misses as f64));
        let seen_reads = seen.seen_hits.saturating_add(seen.seen_misses);
        let missed = match (again, miss_rate) {
            (Some(again), Some(miss_rate)) => again.times(miss_rate),
            _ => self.share(seen_reads, |counts| {
                (counts.missed[index] as f64, counts.hits as f64 + counts.misses as f64)
            })?,
        };
        let lost = match (again, miss_rate) {
            (Some(again), Some(miss_rate)) => (miss_rate < 1.0).then(|| {
                let further = Share { value: again.value - 1.0, ..again };
                further.times(miss_rate / (1.0 - miss_rate))
            }),
            _ => self.share(seen.seen_hits, |counts| {
                (counts.missed[index] as f64 - counts.misses as f64, counts.hits as f64)
            }),
        };
        let kept = self
            .share(seen.seen_ended, |counts| (counts.would_hold[index] as f64, counts.held as f64));
        Some(TtlEstimate {
            ttl,
            hit_rate: missed.rest().of_whole(),
            saved: again.map(Share::rest),
            lost,
            freed: kept.map(Share::rest).filter(|_| ttl < self.mean_ttl),
        })
    }

    /// The share of the first count in the second, of which `seen` were seen. None if there are
    /// none. The error is that of a jackknife: how much the share varies if one group of keys is
    /// left out.
    pub fn share(&self, seen: u64, of: impl Fn(&ReuseCounts) -> (f64, f64)) -> Option<Share> {
        let parts = self.figures.groups.each_ref().map(&of);
        let (part, all) =
            parts.iter().fold((0.0, 0.0), |sum, part| (sum.0 + part.0, sum.1 + part.1));
        if seen == 0 || all <= 0.0 {
            return None;
        }
        let without =
            parts.map(
                |(own_part, own_all)| {
                    if all > own_all { (part - own_part) / (all - own_all) } else { part / all }
                },
            );
        let groups = GROUPS as f64;
        let mean = without.iter().sum::<f64>() / groups;
        let spread: f64 = without.iter().map(|share| (share - mean).powi(2)).sum();
        let deviation = (spread * (groups - 1.0) / groups).sqrt();
        let error = (DEVIATIONS * deviation).max(UNSEEN / seen as f64);
        Some(Share { value: part / all, error })
    }
}

#[cfg(test)]
mod tests;

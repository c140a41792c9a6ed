//! Rates over a sliding window.

use std::collections::VecDeque;

use crate::pb::v1::Counters;

/// Time over which rates are measured, in seconds. Replicas report every 5 s, so that it has
/// several reports of each.
const WINDOW: f64 = 20.0;
/// Shortest time over which a rate is measured, in seconds.
const SHORTEST: f64 = 10.0;
/// Time for which rates are kept, in seconds.
const TRAIL: f64 = 60.0;
/// Columns of a trail.
pub(in crate::cli::top) const TRAIL_COLUMNS: usize = 15;

/// Numbers of events, or of events per second.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(in crate::cli::top) struct Flow {
    pub(in crate::cli::top) reads: f64,
    /// Reads that a cache answered.
    pub(in crate::cli::top) served: f64,
    pub(in crate::cli::top) stale: f64,
    pub(in crate::cli::top) sets: f64,
    pub(in crate::cli::top) deletes: f64,
    pub(in crate::cli::top) fetches: f64,
    pub(in crate::cli::top) failed: f64,
    pub(in crate::cli::top) coalesced: f64,
}

/// Counters over some time, of which the slope is the rate.
#[derive(Debug, Default)]
pub(super) struct SlidingRates {
    /// Times in seconds, and the sums of all events so far.
    samples: VecDeque<(f64, Flow)>,
    /// Times in seconds, and reads per second.
    trail: VecDeque<(f64, f64)>,
}

impl Flow {
    pub(super) fn of(counters: &Counters) -> Self {
        let served = counters.hits + counters.stale + counters.negative;
        Self {
            reads: (served + counters.misses) as f64,
            served: served as f64,
            stale: counters.stale as f64,
            sets: counters.sets as f64,
            deletes: counters.deletes as f64,
            fetches: counters.fetches as f64,
            failed: counters.fetches_failed as f64,
            coalesced: counters.fetches_coalesced as f64,
        }
    }

    /// The sum of two flows, the second one by a factor.
    pub(super) fn plus(self, factor: f64, other: Self) -> Self {
        Self {
            reads: factor.mul_add(other.reads, self.reads),
            served: factor.mul_add(other.served, self.served),
            stale: factor.mul_add(other.stale, self.stale),
            sets: factor.mul_add(other.sets, self.sets),
            deletes: factor.mul_add(other.deletes, self.deletes),
            fetches: factor.mul_add(other.fetches, self.fetches),
            failed: factor.mul_add(other.failed, self.failed),
            coalesced: factor.mul_add(other.coalesced, self.coalesced),
        }
    }

    pub(super) fn per(self, seconds: f64) -> Self {
        Self::default().plus(1.0 / seconds, self)
    }

    /// The part of the reads that a cache answered; none without reads.
    pub(super) fn hit_rate(&self) -> Option<f64> {
        self.share(self.served)
    }

    pub(super) fn stale_rate(&self) -> Option<f64> {
        self.share(self.stale)
    }

    fn share(&self, part: f64) -> Option<f64> {
        (self.reads > 0.0).then(|| (part / self.reads).clamp(0.0, 1.0))
    }

    fn is_before(&self, later: &Self) -> bool {
        self.reads <= later.reads && self.sets <= later.sets && self.fetches <= later.fetches
    }
}

impl SlidingRates {
    /// Adds the sums at a time in seconds. Sums that have become smaller are of another store, or
    /// of one replica only, and begin a new window.
    pub(super) fn add(&mut self, at: f64, counted: Flow) {
        if self.samples.back().is_some_and(|(_, last)| !last.is_before(&counted)) {
            self.samples.clear();
        }
        self.samples.push_back((at, counted));
        // Two samples are left, however long an interval is.
        while self.samples.len() > 2 && self.samples[0].0 < at - WINDOW {
            self.samples.pop_front();
        }
        if let Some((_, rates)) = self.rates() {
            self.trail.push_back((at, rates.reads));
        }
        while self.trail.front().is_some_and(|(time, _)| *time <= at - TRAIL) {
            self.trail.pop_front();
        }
    }

    /// The time over which the rates are measured, in seconds, and the events per second; none
    /// before that is long enough.
    ///
    /// They are the slopes by least squares. The counters grow in steps, when replicas report, and
    /// a difference of two samples would jump by a step.
    pub(super) fn rates(&self) -> Option<(f64, Flow)> {
        let window = self.samples.back()?.0 - self.samples.front()?.0;
        if window < SHORTEST {
            return None;
        }
        let start = self.samples[0];
        let number = self.samples.len() as f64;
        let mean = self.samples.iter().map(|(time, _)| time - start.0).sum::<f64>() / number;
        let (mut products, mut squares) = (Flow::default(), 0.0);
        for (time, counted) in &self.samples {
            let distance = time - start.0 - mean;
            // Differences to the first sample are small enough to be exact.
            products = products.plus(distance, counted.plus(-1.0, start.1));
            squares += distance * distance;
        }
        Some((window, products.per(squares)))
    }

    /// Reads per second in the last minute, the newest at the end, in [`TRAIL_COLUMNS`] columns or
    /// fewer.
    pub(super) fn trail(&self) -> Vec<f64> {
        let Some((newest, _)) = self.trail.back() else { return Vec::new() };
        let width = TRAIL / TRAIL_COLUMNS as f64;
        let mut columns: Vec<(usize, f64, f64)> = Vec::new();
        for (time, reads) in &self.trail {
            let age = ((newest - time) / width) as usize;
            match columns.last_mut() {
                Some((last, sum, number)) if *last == age => {
                    *sum += reads;
                    *number += 1.0;
                }
                Some(_) | None => columns.push((age, *reads, 1.0)),
            }
        }
        columns.into_iter().map(|(_, sum, number)| sum / number).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reads(number: f64) -> Flow {
        Flow { reads: number, served: number / 2.0, ..Flow::default() }
    }

    fn add_all(rates: &mut SlidingRates, samples: impl IntoIterator<Item = (f64, f64)>) {
        for (at, number) in samples {
            rates.add(at, reads(number));
        }
    }

    #[test]
    fn rates_are_the_slope_of_the_counters() {
        let mut rates = SlidingRates::default();
        add_all(&mut rates, (0..20).map(|at| (f64::from(at), 7e12 + 100.0 * f64::from(at))));
        let (window, flow) = rates.rates().unwrap_or_default();
        assert!((window - 19.0).abs() < 1e-9 && (flow.reads - 100.0).abs() < 1e-6, "{flow:?}");
        assert_eq!(flow.hit_rate(), Some(0.5));
    }

    #[test]
    fn reports_every_five_seconds_make_no_spikes() {
        for phase in 0..10 {
            let mut rates = SlidingRates::default();
            let mut shown = Vec::new();
            for step in 0..60 {
                let at = 2.0 * f64::from(step);
                let reported = ((at + f64::from(phase) / 2.0) / 5.0).floor() * 5.0;
                rates.add(at, reads(1000.0 * reported));
                shown.extend(rates.rates().filter(|_| at >= 20.0).map(|(_, flow)| flow.reads));
            }
            assert!(shown.len() > 45);
            let is_near = |rate: &f64| (880.0..1120.0).contains(rate);
            assert!(shown.iter().all(is_near), "{phase}: {shown:?}");
        }
    }

    #[test]
    fn there_is_no_rate_before_ten_seconds() {
        let mut rates = SlidingRates::default();
        add_all(&mut rates, [(0.0, 0.0), (5.0, 5.0), (9.0, 9.0)]);
        assert_eq!(rates.rates(), None);
        add_all(&mut rates, [(10.0, 10.0)]);
        assert!(rates.rates().is_some());
    }

    #[test]
    fn a_long_interval_has_a_rate_of_two_samples() {
        let mut rates = SlidingRates::default();
        add_all(&mut rates, [(0.0, 0.0), (60.0, 60.0), (120.0, 180.0)]);
        assert!(rates.rates().is_some_and(|(window, flow)| {
            (window - 60.0).abs() < 1e-9 && (flow.reads - 2.0).abs() < 1e-9
        }));
    }

    #[test]
    fn counters_that_begin_again_begin_a_new_window() {
        let mut rates = SlidingRates::default();
        add_all(&mut rates, [(0.0, 1000.0), (10.0, 2000.0), (12.0, 5.0)]);
        assert_eq!(rates.rates(), None);
    }

    #[test]
    fn trail_has_a_column_for_four_seconds() {
        let mut rates = SlidingRates::default();
        add_all(&mut rates, (0..100).map(|at| (f64::from(at), 50.0 * f64::from(at))));
        let trail = rates.trail();
        assert_eq!(trail.len(), TRAIL_COLUMNS);
        assert!(trail.iter().all(|rate| (rate - 50.0).abs() < 1e-6), "{trail:?}");
    }
}

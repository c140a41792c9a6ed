//! A histogram of latencies with a bounded size.

use std::time::Duration;

/// Steps of each power of two: a latency is known to 1.6 %.
const STEPS: u64 = 64;
/// Steps for all latencies up to 12 days, in microseconds.
const CELLS: usize = 36 * STEPS as usize;

/// Latencies in steps that grow with them.
#[derive(Debug)]
pub(super) struct Latencies {
    cells: Vec<u64>,
    count: u64,
    longest: Duration,
}

impl Default for Latencies {
    fn default() -> Self {
        Self { cells: vec![0; CELLS], count: 0, longest: Duration::ZERO }
    }
}

impl Latencies {
    pub(super) fn add(&mut self, took: Duration) {
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        self.cells[cell(micros)] += 1;
        self.count += 1;
        self.longest = self.longest.max(took);
    }

    pub(super) fn merge(&mut self, other: &Self) {
        self.cells.iter_mut().zip(&other.cells).for_each(|(sum, count)| *sum += count);
        self.count += other.count;
        self.longest = self.longest.max(other.longest);
    }

    pub(super) fn count(&self) -> u64 {
        self.count
    }

    /// The longest one; none without any.
    pub(super) fn longest(&self) -> Option<Duration> {
        (self.count > 0).then_some(self.longest)
    }

    /// The latency that this share of all does not exceed; none without any.
    pub(super) fn quantile(&self, share: f64) -> Option<Duration> {
        // Far below the largest number.
        let rank = ((self.count as f64 * share).ceil() as u64).clamp(1, self.count.max(1));
        let mut seen = 0;
        let place = self.cells.iter().position(|count| {
            seen += count;
            seen >= rank
        })?;
        Some(Duration::from_micros(last_of(place)).min(self.longest))
    }
}

/// The place of a number. Numbers below twice the steps have a place each.
fn cell(micros: u64) -> usize {
    let shift = (u64::BITS - micros.leading_zeros()).saturating_sub(STEPS.ilog2() + 1);
    let place = u64::from(shift) * STEPS + (micros >> shift);
    (place as usize).min(CELLS - 1)
}

/// The largest number of a place.
fn last_of(place: usize) -> u64 {
    let place = place as u64;
    let shift = (place / STEPS).saturating_sub(1);
    ((place - shift * STEPS + 1) << shift) - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_number_is_in_its_place() {
        for exponent in 0..40 {
            for number in [1_u64 << exponent, (1 << exponent) + 1, (1 << exponent) * 3 / 2] {
                let last = last_of(cell(number));
                assert!(number <= last && last - number <= number / STEPS, "{number}: {last}");
                assert!(cell(last) == cell(number) && cell(last + 1) == cell(number) + 1);
            }
        }
        assert_eq!(cell(u64::MAX), CELLS - 1);
    }

    #[test]
    fn quantiles_are_those_of_all_latencies() {
        let (mut one, mut two) = (Latencies::default(), Latencies::default());
        assert_eq!((one.quantile(0.5), one.longest()), (None, None));
        (1..=500).for_each(|millis| one.add(Duration::from_millis(millis)));
        (501..=1000).for_each(|millis| two.add(Duration::from_millis(millis)));
        one.merge(&two);
        assert_eq!((one.count(), one.longest()), (1000, Some(Duration::from_secs(1))));
        for (share, millis) in [(0.5, 500.0), (0.99, 990.0), (0.001, 1.0), (1.0, 1000.0)] {
            let found = one.quantile(share).map_or(f64::NAN, |took| took.as_secs_f64() * 1000.0);
            assert!((found / millis - 1.0).abs() < 0.02, "{share}: {found}");
        }
    }
}

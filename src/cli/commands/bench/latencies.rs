//! A histogram of latencies with a bounded size.

use std::time::Duration;

use hdrhistogram::{CreationError, Histogram};

/// The longest latency that is counted as it is, in microseconds: an hour.
const LONGEST: u64 = 3_600_000_000;
/// A latency is known to 0.1 %.
const DIGITS: u8 = 3;

#[derive(Debug)]
pub(super) struct Latencies(Histogram<u64>);

impl Latencies {
    pub(super) fn new() -> Result<Self, CreationError> {
        Histogram::new_with_bounds(1, LONGEST, DIGITS).map(Self)
    }

    pub(super) fn add(&mut self, took: Duration) {
        self.0.saturating_record(u64::try_from(took.as_micros()).unwrap_or(u64::MAX));
    }

    /// The latencies of both.
    pub(super) fn with(&self, other: &Self) -> Self {
        let mut all = self.0.clone();
        // Both have the same bounds.
        all += &other.0;
        Self(all)
    }

    pub(super) fn count(&self) -> u64 {
        self.0.len()
    }

    /// The longest one; none without any.
    pub(super) fn longest(&self) -> Option<Duration> {
        self.quantile(1.0)
    }

    /// The latency that this share of all does not exceed; none without any.
    pub(super) fn quantile(&self, share: f64) -> Option<Duration> {
        let micros = self.0.value_at_quantile(share);
        (!self.0.is_empty()).then_some(Duration::from_micros(micros))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_those_of_all_latencies() {
        let (mut one, mut two) = (Latencies::new().unwrap(), Latencies::new().unwrap());
        assert_eq!((one.quantile(0.5), one.longest()), (None, None));
        (1..=500).for_each(|millis| one.add(Duration::from_millis(millis)));
        (501..=1000).for_each(|millis| two.add(Duration::from_millis(millis)));
        let all = one.with(&two);
        assert_eq!((one.count(), all.count()), (500, 1000));
        for (share, millis) in [(0.5, 500.0), (0.99, 990.0), (0.001, 1.0), (1.0, 1000.0)] {
            let found = all.quantile(share).map_or(f64::NAN, |took| took.as_secs_f64() * 1000.0);
            assert!((found / millis - 1.0).abs() < 0.001, "{share}: {found}");
        }
    }

    #[test]
    fn each_latency_is_counted() {
        let mut latencies = Latencies::new().unwrap();
        for took in [Duration::ZERO, Duration::from_nanos(1), Duration::MAX] {
            latencies.add(took);
        }
        assert_eq!(latencies.count(), 3);
        assert!(latencies.longest().unwrap() >= Duration::from_micros(LONGEST));
    }
}

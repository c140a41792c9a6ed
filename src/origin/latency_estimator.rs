//! Estimates an origin's latency as RFC 6298 does for round trips: the smoothed mean, and an upper
//! bound of the mean plus four times the smoothed deviation.

use std::time::Duration;

use parking_lot::Mutex;

/// Latency estimate of one origin. None before the first observation.
#[derive(Debug, Default)]
pub(super) struct LatencyEstimator(Mutex<Option<Estimate>>);

#[derive(Debug, Clone, Copy)]
struct Estimate {
    mean: Duration,
    deviation: Duration,
}

impl LatencyEstimator {
    /// Adds the latency of a successful fetch.
    pub(super) fn observe(&self, latency: Duration) {
        let mut estimate = self.0.lock();
        *estimate = Some(match *estimate {
            None => Estimate { mean: latency, deviation: latency / 2 },
            Some(Estimate { mean, deviation }) => Estimate {
                mean: (mean * 7 + latency) / 8,
                deviation: (deviation * 3 + mean.abs_diff(latency)) / 4,
            },
        });
    }

    /// Mean latency.
    pub(super) fn mean(&self) -> Option<Duration> {
        self.0.lock().map(|estimate| estimate.mean)
    }

    /// Upper bound: few fetches take longer.
    pub(super) fn upper_bound(&self) -> Option<Duration> {
        self.0.lock().map(|estimate| estimate.mean + estimate.deviation * 4)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn estimator(latencies: impl IntoIterator<Item = u64>) -> LatencyEstimator {
        let estimator = LatencyEstimator::default();
        for millis in latencies {
            estimator.observe(Duration::from_millis(millis));
        }
        estimator
    }

    fn upper_bound(latencies: impl IntoIterator<Item = u64>) -> Duration {
        estimator(latencies).upper_bound().unwrap()
    }

    #[test]
    fn without_observations_there_is_no_estimate() {
        let estimator = LatencyEstimator::default();
        assert_eq!((estimator.mean(), estimator.upper_bound()), (None, None));
    }

    #[test]
    fn estimates_are_those_of_rfc_6298() {
        let micros = |micros| Some(Duration::from_micros(micros));
        for (latencies, mean, bound) in [
            (&[100][..], 100_000, 300_000),
            (&[100, 180], 110_000, 110_000 + 4 * 57_500),
            (&[100, 20], 90_000, 90_000 + 4 * 57_500),
            (&[100, 180, 110], 110_000, 110_000 + 4 * 43_125),
        ] {
            let estimator = estimator(latencies.iter().copied());
            assert_eq!(estimator.mean(), micros(mean), "{latencies:?}");
            assert_eq!(estimator.upper_bound(), micros(bound), "{latencies:?}");
        }
    }

    #[test]
    fn upper_bound_follows_changes() {
        let millis = Duration::from_millis;
        let steady = upper_bound([100; 50]);
        assert!((millis(100)..millis(110)).contains(&steady), "{steady:?}");
        let slower = upper_bound([100; 50].into_iter().chain([1000; 50]));
        assert!((millis(1000)..millis(1100)).contains(&slower), "{slower:?}");
        assert!(upper_bound([10, 500].repeat(20)) > millis(500));
    }
}

//! How long an origin takes, as far as has been seen: the estimator of RFC 6298, which bounds a quantity by its smoothed mean and
//! its smoothed deviation.

use std::time::Duration;

use parking_lot::Mutex;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct LatencyEstimator(Mutex<Option<Seen>>);

#[derive(Debug, Clone, Copy)]
struct Seen {
    mean: Duration,
    deviation: Duration,
}

impl LatencyEstimator {
    /// Takes note of a fetch.
    pub(super) fn observe(&self, took: Duration) {
        let mut seen = self.0.lock();
        *seen = Some(match *seen {
            None => Seen { mean: took, deviation: took / 2 },
            Some(Seen { mean, deviation }) => Seen {
                mean: (mean * 7 + took) / 8,
                deviation: (deviation * 3 + mean.abs_diff(took)) / 4,
            },
        });
    }

    /// How long a fetch takes on average; none if none was seen.
    pub(super) fn mean(&self) -> Option<Duration> {
        self.0.lock().map(|seen| seen.mean)
    }

    /// A time that few fetches exceed; none if none was seen.
    pub(super) fn bound(&self) -> Option<Duration> {
        self.0.lock().map(|seen| seen.mean + seen.deviation * 4)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn after(times: impl IntoIterator<Item = u64>) -> Duration {
        let pace = LatencyEstimator::default();
        times.into_iter().for_each(|millis| pace.observe(Duration::from_millis(millis)));
        pace.bound().unwrap()
    }

    #[test]
    fn follows_what_it_sees() {
        assert_eq!(LatencyEstimator::default().bound(), None);
        assert_eq!(after([100]), Duration::from_millis(300));
        let steady = after([100; 50]);
        assert!(
            steady >= Duration::from_millis(100) && steady < Duration::from_millis(110),
            "{steady:?}"
        );
        let slower = after([100; 50].into_iter().chain([1000; 50]));
        assert!(
            slower >= Duration::from_secs(1) && slower < Duration::from_millis(1100),
            "{slower:?}"
        );
        assert!(after([10, 500].repeat(20)) > Duration::from_millis(500));
    }
}

//! Pauses between attempts, such as those to connect.

use std::time::Duration;

use backon::{BackoffBuilder as _, ExponentialBuilder};

/// Pauses without end, which grow from `min` to `max`, both before jitter, which at most doubles
/// them.
pub fn growing_pauses(min: Duration, max: Duration) -> impl Iterator<Item = Duration> + Send {
    let growing = ExponentialBuilder::new().with_min_delay(min).with_max_delay(max);
    growing.without_max_times().with_jitter().build()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_and_never_end() {
        let (min, max) = (Duration::from_millis(50), Duration::from_secs(1));
        let pauses: Vec<Duration> = growing_pauses(min, max).take(100).collect();
        assert_eq!(pauses.len(), 100);
        assert!(pauses[0] < 2 * min && pauses[99] >= max);
        assert!(pauses.iter().all(|pause| (min..=2 * max).contains(pause)), "{pauses:?}");
    }
}

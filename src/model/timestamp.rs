//! Points in time in milliseconds by the store's clock.

use std::time::Duration;

use super::SaturatingFrom as _;

/// A point in time by the store's clock, in milliseconds since the Unix epoch.
///
/// All times of an entry come from the clock of the store that holds it. So the clocks of two
/// replicas are never compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Timestamp(pub u64);

impl Timestamp {
    /// Adds `duration`, rounded up to whole milliseconds. Saturates at the largest timestamp.
    #[must_use]
    pub fn after(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(millis_ceil(duration)))
    }

    /// The time since `earlier`; zero if `earlier` is not in the past.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }
}

/// Converts a duration to milliseconds and rounds up, so that a positive duration never becomes
/// zero.
pub fn millis_ceil(duration: Duration) -> u64 {
    u64::saturating_from(duration.as_nanos().div_ceil(1_000_000))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn millis_are_rounded_up() {
        assert_eq!(millis_ceil(Duration::ZERO), 0);
        assert_eq!(millis_ceil(Duration::from_nanos(1)), 1);
        assert_eq!(millis_ceil(Duration::from_millis(1)), 1);
        assert_eq!(millis_ceil(Duration::from_nanos(1_000_001)), 2);
        assert_eq!(millis_ceil(Duration::MAX), u64::MAX);
    }

    #[test]
    fn after_adds_and_saturates() {
        assert_eq!(Timestamp(5).after(Duration::from_millis(7)), Timestamp(12));
        assert_eq!(Timestamp(u64::MAX - 1).after(Duration::from_millis(1)), Timestamp(u64::MAX));
        assert_eq!(Timestamp(u64::MAX - 1).after(Duration::from_millis(2)), Timestamp(u64::MAX));
        assert_eq!(Timestamp(5).after(Duration::MAX), Timestamp(u64::MAX));
    }

    #[test]
    fn since_is_zero_for_a_later_time() {
        assert_eq!(Timestamp(12).since(Timestamp(5)), Duration::from_millis(7));
        assert_eq!(Timestamp(5).since(Timestamp(5)), Duration::ZERO);
        assert_eq!(Timestamp(5).since(Timestamp(6)), Duration::ZERO);
    }
}

//! Durations: how long values are fresh, and durations on the wire.

use std::time::Duration;

/// 100 years, which is more than any server permits: the server shortens it to its limit. No
/// duration is longer, so that sums with points in time do not overflow.
pub(crate) const FOREVER: Duration = Duration::from_secs(100 * 365 * 24 * 3600);
const MILLISECOND: Duration = Duration::from_millis(1);

/// How long a value is fresh. Any [`Duration`] is one; zero means that nothing is stored, and the
/// entry is deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ttl(Duration);

impl Ttl {
    /// The longest TTL that the server permits.
    pub const FOREVER: Self = Self(FOREVER);

    pub(crate) const fn is_zero(self) -> bool {
        self.0.is_zero()
    }

    pub(crate) fn to_wire(self) -> prost_types::Duration {
        to_wire(self.0)
    }
}

impl From<Duration> for Ttl {
    fn from(duration: Duration) -> Self {
        Self(duration)
    }
}

/// The message of a duration, cut to milliseconds; a positive one is at least a millisecond, and at
/// most 100 years.
pub(crate) fn to_wire(duration: Duration) -> prost_types::Duration {
    let duration = if duration.is_zero() { duration } else { duration.clamp(MILLISECOND, FOREVER) };
    prost_types::Duration {
        seconds: i64::try_from(duration.as_secs()).unwrap_or(i64::MAX),
        nanos: i32::try_from(duration.subsec_millis()).unwrap_or_default() * 1_000_000,
    }
}

/// The duration of a message, at most 100 years; `None` if it is unset or negative.
pub(crate) fn from_wire(message: Option<prost_types::Duration>) -> Option<Duration> {
    message.and_then(|message| Duration::try_from(message).ok()).map(|given| given.min(FOREVER))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fractions_of_a_millisecond_are_cut() {
        let wire = to_wire(Duration::from_micros(1_234_900));
        assert_eq!((wire.seconds, wire.nanos), (1, 234_000_000));
    }

    #[test]
    fn a_positive_duration_is_a_millisecond_at_least() {
        assert_eq!(to_wire(Duration::from_nanos(1)).nanos, 1_000_000);
        assert_eq!(to_wire(Duration::ZERO).nanos, 0);
    }

    #[test]
    fn forever_is_a_hundred_years() {
        let longest = Ttl::from(Duration::MAX).to_wire();
        assert_eq!(longest, Ttl::FOREVER.to_wire());
        assert_eq!(longest.seconds, 3_153_600_000);
    }
}

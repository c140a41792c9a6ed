//! A clock that also runs while the machine sleeps.

use std::time::Duration;

/// A point in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Moment(Duration);

impl Moment {
    /// The time since the boot, sleep included.
    #[cfg(target_os = "linux")]
    #[inline]
    pub(crate) fn now() -> Self {
        let read = nix::time::clock_gettime(nix::time::ClockId::CLOCK_BOOTTIME);
        // The clock exists on all kernels that are in use.
        Self(read.map(Duration::from).unwrap_or_default())
    }

    /// The steady clock of the platform.
    #[cfg(not(target_os = "linux"))]
    pub(crate) fn now() -> Self {
        static BEGUN: std::sync::LazyLock<tokio::time::Instant> =
            std::sync::LazyLock::new(tokio::time::Instant::now);
        Self(BEGUN.elapsed() + Duration::from_nanos(1))
    }

    #[inline]
    pub(crate) const fn since(self, earlier: Self) -> Duration {
        self.0.saturating_sub(earlier.0)
    }

    pub(crate) const fn after(self, time: Duration) -> Self {
        Self(self.0.saturating_add(time))
    }

    /// Nanoseconds, for an atomic.
    #[inline]
    pub(crate) fn nanos(self) -> u64 {
        self.0.as_secs().saturating_mul(1_000_000_000).saturating_add(self.0.subsec_nanos().into())
    }
}

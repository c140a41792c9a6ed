//! A clock that also runs while the machine sleeps.

use std::time::Duration;

/// A point in time, in nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Moment(u64);

const SECOND: u64 = 1_000_000_000;

/// The clock that runs on during sleep: on macOS it is the monotonic one.
#[cfg(all(unix, any(target_os = "linux", target_os = "android")))]
const CLOCK: nix::time::ClockId = nix::time::ClockId::CLOCK_BOOTTIME;
#[cfg(all(unix, not(any(target_os = "linux", target_os = "android"))))]
const CLOCK: nix::time::ClockId = nix::time::ClockId::CLOCK_MONOTONIC;

impl Moment {
    /// The time since the boot, sleep included.
    #[cfg(unix)]
    #[inline]
    pub(crate) fn now() -> Self {
        let read = nix::time::clock_gettime(CLOCK);
        // The clock exists on all kernels that are in use, and is not negative.
        Self(read.map_or(0, |time| {
            time.tv_sec().cast_unsigned() * SECOND + time.tv_nsec().cast_unsigned()
        }))
    }

    /// The steady clock of the platform.
    #[cfg(not(unix))]
    pub(crate) fn now() -> Self {
        static BEGUN: std::sync::LazyLock<tokio::time::Instant> =
            std::sync::LazyLock::new(tokio::time::Instant::now);
        Self(nanos(BEGUN.elapsed()) + 1)
    }

    #[inline]
    pub(crate) const fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }

    pub(crate) fn after(self, time: Duration) -> Self {
        Self(self.0.saturating_add(nanos(time)))
    }

    /// Nanoseconds, for an atomic.
    #[inline]
    pub(crate) const fn nanos(self) -> u64 {
        self.0
    }
}

fn nanos(time: Duration) -> u64 {
    time.as_nanos().try_into().unwrap_or(u64::MAX)
}

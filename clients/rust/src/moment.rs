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

    /// The latest time of now, if this is the time of [`Ticks`].
    #[inline]
    pub(crate) const fn at_latest(self) -> Self {
        Self(self.0.saturating_add(LAG))
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

/// Far more than a tick, which takes 10 ms at most: that of a virtual machine can come late.
const LAG: u64 = SECOND / 10;

/// A clock that is cheap to read: it stands still between two ticks of the system.
#[derive(Debug)]
pub(crate) struct Ticks {
    #[cfg(any(target_os = "linux", target_os = "android"))]
    tick: Option<nix::sys::time::TimeSpec>,
    #[cfg(any(target_os = "linux", target_os = "android"))]
    at: Moment,
}

#[cfg(any(target_os = "linux", target_os = "android"))]
impl Ticks {
    pub(crate) const fn new() -> Self {
        Self { tick: None, at: Moment(0) }
    }

    /// The time of the first call since the last tick. A wake from sleep is a tick, too.
    #[inline]
    pub(crate) fn now(&mut self) -> Moment {
        let tick = nix::time::clock_gettime(nix::time::ClockId::CLOCK_MONOTONIC_COARSE).ok();
        if tick.is_none() || tick != self.tick {
            (self.tick, self.at) = (tick, Moment::now());
        }
        self.at
    }
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
impl Ticks {
    pub(crate) const fn new() -> Self {
        Self {}
    }

    /// The time: here there is no cheaper clock.
    #[expect(clippy::unused_self, reason = "as with a cheaper clock")]
    pub(crate) fn now(&mut self) -> Moment {
        Moment::now()
    }
}

fn nanos(time: Duration) -> u64 {
    time.as_nanos().try_into().unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_of_ticks_follows_the_clock() {
        let mut ticks = Ticks::new();
        let begun = Moment::now();
        let mut last = ticks.now();
        while last.since(begun) < Duration::from_millis(50) {
            let (before, read) = (Moment::now(), ticks.now());
            assert!(last <= read && read <= Moment::now());
            assert!(before.since(read) < Duration::from_secs(5), "it stands still");
            last = read;
        }
    }
}

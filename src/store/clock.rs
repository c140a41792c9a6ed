//! The store's clock.

use std::{
    sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use tokio::time::Instant;

use crate::model::{SaturatingFrom as _, Timestamp};

/// Round trips longer than twice this say too little about the server's clock to refine it.
const MAX_TRUSTED_UNCERTAINTY: Duration = Duration::from_millis(2);

/// A change of the offset from which on the server's clock was set, rather than measured better.
const MIN_STEP_MS: u64 = 1000;

/// A clock that does not jump: the local monotonic clock plus an offset.
///
/// It begins with the local wall-clock time. The embedded store leaves it at that; the Redis store
/// synchronizes it with the server's clock.
#[derive(Debug)]
pub(super) struct StoreClock {
    started_at: Instant,
    /// Store time minus time since `started_at`, in milliseconds.
    offset_ms: AtomicI64,
    is_synchronized: AtomicBool,
    steps: AtomicU64,
}

impl StoreClock {
    pub(super) fn new() -> Self {
        let wall_clock = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
        Self {
            started_at: Instant::now(),
            offset_ms: AtomicI64::new(i64::saturating_from(wall_clock.as_millis())),
            is_synchronized: AtomicBool::new(false),
            steps: AtomicU64::new(0),
        }
    }

    /// The store's time, as estimated.
    pub(super) fn now(&self) -> Timestamp {
        let millis = self.offset_ms.load(Ordering::Relaxed) + self.millis_until(Instant::now());
        Timestamp(u64::try_from(millis).unwrap_or(0))
    }

    /// Time since the clock was created.
    pub(super) fn uptime(&self) -> Duration {
        self.started_at.elapsed()
    }

    /// Times that the server's clock was set forward or back.
    pub(super) fn steps(&self) -> u64 {
        self.steps.load(Ordering::Relaxed)
    }

    /// Synchronizes with a server whose clock showed `server_time` at some moment between `sent_at`
    /// and now.
    pub(super) fn synchronize(&self, server_time: Timestamp, sent_at: Instant) {
        let uncertainty = sent_at.elapsed() / 2;
        let server_time = i64::saturating_from(server_time.0);
        let offset = server_time.saturating_sub(self.millis_until(sent_at + uncertainty));
        // The answer of a slow round trip is imprecise. It must not replace the offset of a quick
        // one unless it proves that offset wrong.
        let before = self.offset_ms.load(Ordering::Relaxed);
        let error = offset.abs_diff(before);
        if uncertainty < MAX_TRUSTED_UNCERTAINTY || u128::from(error) > uncertainty.as_millis() {
            self.offset_ms.store(offset, Ordering::Relaxed);
        }
        // The first answer corrects the local wall clock, which is another clock.
        let was_synchronized = self.is_synchronized.swap(true, Ordering::Relaxed);
        let beyond_doubt = u128::from(error) > uncertainty.as_millis();
        if was_synchronized && beyond_doubt && error >= MIN_STEP_MS {
            self.on_step(offset.saturating_sub(before));
        }
    }

    #[cold]
    fn on_step(&self, step_ms: i64) {
        self.steps.fetch_add(1, Ordering::Relaxed);
        tracing::warn!(
            step_ms,
            "the clock of Redis was set: lifetimes of what it keeps change by the step"
        );
    }

    fn millis_until(&self, instant: Instant) -> i64 {
        i64::saturating_from(instant.saturating_duration_since(self.started_at).as_millis())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const MILLISECOND: Duration = Duration::from_millis(1);
    const SERVER_TIME: Timestamp = Timestamp(1_000_000);

    /// A clock after a round trip of `round_trip_ms`, in whose middle the server's clock showed
    /// [`SERVER_TIME`].
    async fn synchronized(round_trip_ms: u32) -> StoreClock {
        let clock = StoreClock::new();
        let sent_at = Instant::now();
        tokio::time::advance(MILLISECOND * round_trip_ms).await;
        clock.synchronize(SERVER_TIME, sent_at);
        clock
    }

    #[tokio::test(start_paused = true)]
    async fn starts_with_the_wall_clock_and_advances_with_the_monotonic_clock() {
        let before = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis();
        let clock = StoreClock::new();
        let after = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis();
        let started = clock.now();
        assert!((before..=after).contains(&u128::from(started.0)), "{started:?}");
        tokio::time::advance(MILLISECOND * 1_500).await;
        assert_eq!(clock.now().0 - started.0, 1_500);
        assert_eq!(clock.uptime(), MILLISECOND * 1_500);
    }

    #[tokio::test(start_paused = true)]
    async fn synchronizes_to_the_middle_of_the_round_trip() {
        let clock = synchronized(10).await;
        assert_eq!(clock.now(), Timestamp(1_000_005));
        tokio::time::advance(MILLISECOND * 1_000).await;
        assert_eq!(clock.now(), Timestamp(1_001_005));
    }

    #[tokio::test(start_paused = true)]
    async fn slow_round_trip_changes_only_an_offset_that_it_disproves() {
        let clock = synchronized(0).await;
        let sent_at = Instant::now();
        tokio::time::advance(MILLISECOND * 10).await;
        // The middle of the round trip is 1,000,005 by this clock. Errors up to 5 ms are possible.
        clock.synchronize(Timestamp(1_000_010), sent_at);
        assert_eq!(clock.now(), Timestamp(1_000_010), "within the uncertainty");
        clock.synchronize(Timestamp(1_000_011), sent_at);
        assert_eq!(clock.now(), Timestamp(1_000_016), "beyond the uncertainty");
    }

    #[tokio::test(start_paused = true)]
    async fn quick_round_trip_always_counts() {
        let clock = synchronized(0).await;
        let sent_at = Instant::now();
        tokio::time::advance(MILLISECOND * 3).await;
        clock.synchronize(Timestamp(1_000_002), sent_at);
        assert_eq!(clock.now(), Timestamp(1_000_004));
    }

    #[tokio::test(start_paused = true)]
    async fn steps_of_the_server_are_counted() {
        let clock = synchronized(0).await;
        assert_eq!(clock.steps(), 0, "the first answer is no step");
        clock.synchronize(Timestamp(SERVER_TIME.0 + 999), Instant::now());
        assert_eq!(clock.steps(), 0);
        clock.synchronize(Timestamp(SERVER_TIME.0 - 500), Instant::now());
        assert_eq!((clock.steps(), clock.now()), (1, Timestamp(SERVER_TIME.0 - 500)));
        clock.synchronize(Timestamp(SERVER_TIME.0 + 3_600_000), Instant::now());
        assert_eq!(clock.steps(), 2);
        let sent_at = Instant::now();
        tokio::time::advance(MILLISECOND * 5_000).await;
        clock.synchronize(Timestamp(SERVER_TIME.0 + 3_600_000), sent_at);
        assert_eq!(clock.steps(), 2, "within the uncertainty of a slow answer");
    }

    #[tokio::test(start_paused = true)]
    async fn time_before_the_epoch_is_shown_as_the_epoch() {
        let clock = synchronized(0).await;
        clock.offset_ms.store(-5, Ordering::Relaxed);
        assert_eq!(clock.now(), Timestamp(0));
    }
}

//! The store's clock.

use std::{
    sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering::Relaxed},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use tokio::time::Instant;

use crate::model::{SaturatingFrom as _, Timestamp};

/// Round trips longer than twice this are too inexact to refine the server's clock.
const MAX_TRUSTED_UNCERTAINTY: Duration = Duration::from_millis(2);

/// Largest error of a clock after a quick round trip, and its rounding to milliseconds.
const CLOCK_MARGIN: Duration = Duration::from_millis(5);

/// A change of the offset from which on the server's clock was set, rather than measured better.
const MIN_STEP_MS: u64 = 1000;

/// Time in which two clocks may drift apart by a millisecond: 1000 ppm, twice what NTP slews.
const MIN_DRIFT_TIME: Duration = Duration::from_secs(1);

/// A clock that does not jump back: the local monotonic clock plus an offset.
///
/// It begins with the local wall-clock time. The embedded store leaves it at that; the Redis store
/// synchronizes it with the server's clock, and follows that if it is set forward. If the server's
/// clock is set back, lifetimes would last longer by the step. So this clock goes on as before, and
/// is ahead of the server's from then on. All replicas must agree on by how much, see
/// [`super::redis`].
#[derive(Debug)]
pub(super) struct StoreClock {
    started_at: Instant,
    /// Store time minus time since `started_at`, in milliseconds.
    offset_ms: AtomicI64,
    /// Store time minus the server's time, in milliseconds. Never decreases.
    ahead_ms: AtomicU64,
    is_synchronized: AtomicBool,
    has_adopted: AtomicBool,
    /// Time since `started_at` at the last synchronization, in milliseconds.
    synchronized_at_ms: AtomicI64,
    /// Answers to what was sent before this time since `started_at`, in milliseconds, may show the
    /// server's clock before its last step back.
    stepped_at_ms: AtomicI64,
    steps: AtomicU64,
}

/// State of the store's clock that the replicas share.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct SharedClock {
    /// Lead of the store's clock over the server's, in milliseconds.
    pub(super) ahead_ms: u64,
    /// A recent time by the store's clock.
    pub(super) latest: Timestamp,
}

impl StoreClock {
    pub(super) fn new() -> Self {
        let wall_clock = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
        Self {
            started_at: Instant::now(),
            offset_ms: AtomicI64::new(i64::saturating_from(wall_clock.as_millis())),
            ahead_ms: AtomicU64::new(0),
            is_synchronized: AtomicBool::new(false),
            has_adopted: AtomicBool::new(false),
            synchronized_at_ms: AtomicI64::new(0),
            stepped_at_ms: AtomicI64::new(0),
            steps: AtomicU64::new(0),
        }
    }

    /// The store's time, as estimated.
    pub(super) fn now(&self) -> Timestamp {
        let millis = self.offset_ms.load(Relaxed) + self.millis_until(Instant::now());
        Timestamp(u64::try_from(millis).unwrap_or(0))
    }

    /// The latest time at which a write with this timeout that is sent now may be applied.
    ///
    /// It is earlier than the timeout by the error of each of the `clocks` that were estimated, but
    /// at most by a quarter: a write that was reported as failed must not be applied afterwards.
    pub(super) fn write_deadline(&self, timeout: Duration, clocks: u32) -> Timestamp {
        let margin = (CLOCK_MARGIN * clocks).min(timeout / 4);
        self.now().after(timeout - margin)
    }

    /// The time of the server's clock, as estimated.
    pub(super) fn server_time(&self) -> Timestamp {
        Timestamp(self.now().0.saturating_sub(self.ahead_ms()))
    }

    /// Lead of the store's clock over the server's, in milliseconds.
    pub(super) fn ahead_ms(&self) -> u64 {
        self.ahead_ms.load(Relaxed)
    }

    /// Time since the clock was created.
    pub(super) fn uptime(&self) -> Duration {
        self.started_at.elapsed()
    }

    /// Times that the server's clock was set forward or back.
    pub(super) fn steps(&self) -> u64 {
        self.steps.load(Relaxed)
    }

    /// Takes over the shared state, before [`Self::synchronize`] with the same time.
    pub(super) fn adopt(&self, shared: SharedClock, server_time: Timestamp, sent_at: Instant) {
        if self.ahead_ms.fetch_max(shared.ahead_ms, Relaxed) < shared.ahead_ms {
            self.stepped_at_ms.fetch_max(self.millis_until(sent_at), Relaxed);
        }
        if self.has_adopted.swap(true, Relaxed) {
            return;
        }
        // The server's clock may have been set back while no replica ran. How long that was is
        // unknown, so the store's clock goes on where it was.
        let behind = shared.latest.0.saturating_sub(server_time.0.saturating_add(self.ahead_ms()));
        if behind >= MIN_STEP_MS {
            self.ahead_ms.fetch_add(behind, Relaxed);
            self.on_step(-i64::saturating_from(behind));
        }
    }

    /// Synchronizes with a server whose clock showed `server_time` at some moment between `sent_at`
    /// and now.
    pub(super) fn synchronize(&self, server_time: Timestamp, sent_at: Instant) {
        if self.millis_until(sent_at) < self.stepped_at_ms.load(Relaxed) {
            return;
        }
        let uncertainty = sent_at.elapsed() / 2;
        let measured_at = self.millis_until(sent_at + uncertainty);
        let ahead = self.ahead_ms();
        let store_time = i64::saturating_from(server_time.0.saturating_add(ahead));
        let offset = store_time.saturating_sub(measured_at);
        let before = self.offset_ms.load(Relaxed);
        let error = offset.abs_diff(before);
        let is_proven = u128::from(error) > uncertainty.as_millis();
        // The first answer corrects the local wall clock, which is another clock.
        let was_synchronized = self.is_synchronized.swap(true, Relaxed);
        let last = self.synchronized_at_ms.swap(measured_at, Relaxed);
        let unmeasured_ms = u64::try_from(measured_at.saturating_sub(last)).unwrap_or(0);
        let drift_ms = unmeasured_ms / u64::saturating_from(MIN_DRIFT_TIME.as_millis());
        let is_step = was_synchronized && is_proven && error >= MIN_STEP_MS + drift_ms;
        if is_step && offset < before {
            // Of two answers that prove the same step, one counts.
            let stepped = ahead.saturating_add(error);
            if self.ahead_ms.compare_exchange(ahead, stepped, Relaxed, Relaxed).is_ok() {
                self.stepped_at_ms.fetch_max(self.millis_until(Instant::now()), Relaxed);
                self.on_step(offset.saturating_sub(before));
            }
            return;
        }
        if is_step {
            self.on_step(offset.saturating_sub(before));
        }
        if is_proven || uncertainty < MAX_TRUSTED_UNCERTAINTY {
            // The answer of a slow round trip is imprecise. It must not replace the offset of a
            // quick one unless it proves that offset wrong.
            self.offset_ms.store(offset, Relaxed);
        }
    }

    #[cold]
    fn on_step(&self, step_ms: i64) {
        self.steps.fetch_add(1, Relaxed);
        let effect = if step_ms < 0 {
            "lifetimes are measured as before"
        } else {
            "what Redis keeps expires early"
        };
        tracing::warn!(step_ms, effect, "the clock of Redis was set");
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
    async fn the_deadline_of_a_write_allows_for_the_errors_of_clocks() {
        let clock = synchronized(0).await;
        let deadline =
            |timeout, clocks| clock.write_deadline(MILLISECOND * timeout, clocks).0 - SERVER_TIME.0;
        assert_eq!(deadline(250, 1), 245);
        assert_eq!(deadline(250, 2), 240);
        assert_eq!(deadline(8, 2), 6);
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
        assert_eq!(clock.steps(), 1);
        clock.synchronize(Timestamp(SERVER_TIME.0 + 3_600_000), Instant::now());
        assert_eq!(clock.steps(), 2);
        let sent_at = Instant::now();
        tokio::time::advance(MILLISECOND * 5_000).await;
        clock.synchronize(Timestamp(SERVER_TIME.0 + 3_600_000), sent_at);
        assert_eq!(clock.steps(), 2, "within the uncertainty of a slow answer");
    }

    const HOUR_MS: u64 = 3_600_000;

    #[tokio::test(start_paused = true)]
    async fn goes_on_as_before_while_the_server_is_set_back_and_forward_again() {
        let clock = synchronized(0).await;
        clock.synchronize(Timestamp(SERVER_TIME.0 - 2000), Instant::now());
        assert_eq!((clock.now(), clock.ahead_ms(), clock.steps()), (SERVER_TIME, 2000, 1));
        tokio::time::advance(MILLISECOND * 1000).await;
        clock.synchronize(Timestamp(SERVER_TIME.0 - 1000), Instant::now());
        assert_eq!((clock.now().0, clock.steps()), (SERVER_TIME.0 + 1000, 1), "no further step");
        // Forward steps are followed: this replica may have been suspended.
        clock.synchronize(Timestamp(SERVER_TIME.0 + HOUR_MS), Instant::now());
        let expected = SERVER_TIME.0 + HOUR_MS + 2000;
        assert_eq!((clock.now().0, clock.ahead_ms(), clock.steps()), (expected, 2000, 2));
    }

    #[tokio::test(start_paused = true)]
    async fn small_corrections_and_drift_are_followed_back() {
        let clock = synchronized(0).await;
        clock.synchronize(Timestamp(SERVER_TIME.0 - 999), Instant::now());
        assert_eq!((clock.now().0, clock.ahead_ms()), (SERVER_TIME.0 - 999, 0));
        tokio::time::advance(MILLISECOND * 3_600_000).await;
        let drifted = SERVER_TIME.0 - 999 + HOUR_MS - 4000;
        clock.synchronize(Timestamp(drifted), Instant::now());
        assert_eq!((clock.now().0, clock.ahead_ms()), (drifted, 0));
    }

    const STEP_MS: u64 = 600_000;
    const SET_BACK: Timestamp = Timestamp(SERVER_TIME.0 - STEP_MS);

    #[tokio::test(start_paused = true)]
    async fn replica_that_has_not_measured_a_step_adopts_it() {
        let shared = SharedClock { ahead_ms: STEP_MS, latest: SERVER_TIME };
        let (running, started) = (synchronized(0).await, StoreClock::new());
        for clock in [&running, &started] {
            clock.adopt(shared, SET_BACK, Instant::now());
            clock.synchronize(SET_BACK, Instant::now());
            assert_eq!((clock.now(), clock.ahead_ms(), clock.steps()), (SERVER_TIME, STEP_MS, 0));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn step_while_no_replica_ran_is_measured_by_the_next_one() {
        let clock = StoreClock::new();
        let shared = SharedClock { ahead_ms: 5, latest: SERVER_TIME };
        clock.adopt(shared, SET_BACK, Instant::now());
        clock.synchronize(SET_BACK, Instant::now());
        assert_eq!((clock.now(), clock.steps()), (SERVER_TIME, 1));
        // A later value of another replica does not count as a step.
        let later = SharedClock { latest: Timestamp(SERVER_TIME.0 + 5000), ..shared };
        clock.adopt(later, SET_BACK, Instant::now());
        assert_eq!((clock.ahead_ms(), clock.steps()), (STEP_MS, 1));
    }

    #[tokio::test(start_paused = true)]
    async fn answer_from_before_a_step_is_ignored_after_it() {
        let clock = synchronized(0).await;
        let sent_at = Instant::now();
        tokio::time::advance(MILLISECOND * 10).await;
        clock.synchronize(SET_BACK, Instant::now());
        clock.synchronize(SERVER_TIME, sent_at);
        let expected = (Timestamp(SERVER_TIME.0 + 10), STEP_MS + 10, 1);
        assert_eq!((clock.now(), clock.ahead_ms(), clock.steps()), expected);
    }

    #[tokio::test(start_paused = true)]
    async fn time_before_the_epoch_is_shown_as_the_epoch() {
        let clock = synchronized(0).await;
        clock.offset_ms.store(-5, Relaxed);
        assert_eq!(clock.now(), Timestamp(0));
    }
}

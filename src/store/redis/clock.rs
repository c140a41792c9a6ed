//! The server's clock, as seen from here.

use std::{
    sync::atomic::{AtomicI64, Ordering},
    time::Duration,
};

use tokio::time::Instant;

use crate::model::{SaturatingFrom as _, Timestamp};

/// How often the server's clock must be read to stay current while there is no traffic. Each ping
/// reads it, so this is also the interval of the pings while the store works.
pub const CLOCK_SYNC_INTERVAL: Duration = Duration::from_secs(1);

/// Tells the server's time without asking it, from the difference to the local monotonic clock when it was last seen.
#[derive(Debug)]
pub(super) struct ServerClock {
    started: Instant,
    /// Server time minus time since the start, in milliseconds.
    offset: AtomicI64,
}

impl ServerClock {
    /// Supposes that the server's clock shows the same as the local one, until it is seen.
    pub(super) fn new() -> Self {
        let local = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .unwrap_or(Duration::ZERO);
        Self {
            started: Instant::now(),
            offset: AtomicI64::new(i64::try_from(local.as_millis()).unwrap_or(0)),
        }
    }

    /// The server's time.
    pub(super) fn now(&self) -> Timestamp {
        Timestamp(
            u64::try_from(self.offset.load(Ordering::Relaxed) + self.since_start(Instant::now()))
                .unwrap_or(0),
        )
    }

    /// Takes note that the server's clock showed `shown` at some moment between `asked` and now.
    pub(super) fn seen(&self, shown: Timestamp, asked: Instant) {
        let uncertainty = asked.elapsed() / 2;
        let shown = i64::saturating_from(shown.0);
        let offset = shown.saturating_sub(self.since_start(asked + uncertainty));
        // A slow answer says little: it must not spoil what a quick one said before, unless it proves that wrong.
        let error = offset.abs_diff(self.offset.load(Ordering::Relaxed));
        if uncertainty < Duration::from_millis(2) || u128::from(error) > uncertainty.as_millis() {
            self.offset.store(offset, Ordering::Relaxed);
        }
    }

    fn since_start(&self, instant: Instant) -> i64 {
        i64::saturating_from(instant.saturating_duration_since(self.started).as_millis())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn follows_the_server_s_clock_and_not_the_local_one() {
        let clock = ServerClock::new();
        let asked = Instant::now();
        tokio::time::advance(Duration::from_millis(10)).await;
        clock.seen(Timestamp(1_000_000), asked);
        assert_eq!(clock.now(), Timestamp(1_000_005));
        clock.seen(Timestamp(1_000_004), asked);
        assert_eq!(clock.now(), Timestamp(1_000_005));
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(clock.now(), Timestamp(1_001_005));
    }
}

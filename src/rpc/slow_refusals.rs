//! Slow refusals: callers that retry at once, or guess credentials, cost little.
//!
//! A refused call costs a tenth of one that is served. Callers that repeat it as fast as they can
//! would still take the processor from others. So only a bounded number of refusals per second is
//! answered at once. Those above it are held back for a moment, in which their callers cannot
//! repeat them.

use std::{num::NonZeroU32, sync::Arc, time::Duration};

use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use tokio::time::{Instant, sleep};
use transport::{ConnectionShare, FairLimit, Resource, Taken};

/// Refusals per second that are answered at once.
const AT_ONCE: NonZeroU32 = NonZeroU32::new(100).unwrap();
/// As many of them can come together.
const BURST: NonZeroU32 = NonZeroU32::new(1_000).unwrap();
/// Shortest time for which the others are held back. It is random, up to twice as long, so that
/// calls that were refused together are not repeated together.
const PAUSE: Duration = Duration::from_millis(50);
/// Refusals that are held back at the same time. Above that, they are answered at once.
const MAX_HELD: usize = 8_192;
/// Refusals of a connection that may be held back while a reserve is free.
const HELD_FLOOR: usize = 64;

/// Decides which refusals are held back.
#[derive(Debug)]
pub(super) struct SlowRefusals {
    at_once: DefaultDirectRateLimiter,
    held: Arc<FairLimit>,
}

/// The pause before a refusal.
pub(super) struct RefusalPause(Taken);

impl SlowRefusals {
    pub(super) fn new() -> Self {
        Self {
            at_once: RateLimiter::direct(Quota::per_second(AT_ONCE).allow_burst(BURST)),
            held: FairLimit::new(Resource::Refusals, MAX_HELD, HELD_FLOOR),
        }
    }

    /// The pause before a refusal; none if it is answered at once. A call whose deadline is close
    /// is, so that its caller gets the reason.
    pub(super) fn pause(
        &self,
        connection: &Arc<ConnectionShare>,
        deadline: Option<Instant>,
    ) -> Option<RefusalPause> {
        let is_urgent = deadline.is_some_and(|deadline| deadline < Instant::now() + 3 * PAUSE);
        if is_urgent || self.at_once.check().is_ok() {
            return None;
        }
        self.held.try_take(connection, 1).map(RefusalPause)
    }

    /// Refusals that are held back.
    pub(super) fn held(&self) -> usize {
        self.held.used()
    }
}

impl RefusalPause {
    pub(super) async fn wait(self) {
        sleep(PAUSE.mul_f64(rand::random_range(1.0..2.0))).await;
        drop(self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn refusals_above_the_rate_are_held_back() {
        let refusals = SlowRefusals::new();
        let connection = Arc::new(ConnectionShare::default());
        let is_paused = |deadline| refusals.pause(&connection, deadline);
        for number in 0..BURST.get() {
            assert!(is_paused(None).is_none(), "{number}");
        }
        let Some(pause) = is_paused(None) else { panic!("the burst is used up") };
        let close = Instant::now() + 2 * PAUSE;
        assert!(is_paused(Some(close)).is_none(), "the deadline is close");
        let begun = Instant::now();
        pause.wait().await;
        assert!((PAUSE..=2 * PAUSE).contains(&begun.elapsed()), "{:?}", begun.elapsed());
    }

    #[tokio::test(start_paused = true)]
    async fn the_number_that_is_held_back_is_bounded() {
        let refusals = SlowRefusals::new();
        let connection = Arc::new(ConnectionShare::default());
        let held: Vec<_> =
            (0..2 * MAX_HELD).filter_map(|_| refusals.pause(&connection, None)).collect();
        assert!((HELD_FLOOR..MAX_HELD + 1).contains(&held.len()), "{}", held.len());
    }
}

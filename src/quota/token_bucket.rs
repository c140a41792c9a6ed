//! A token bucket that can go into debt.
//!
//! The cost of a call is known when it has ended: so many keys, and so many bytes of its answer. A
//! bucket that refuses more than it has (as those of the crate `governor`) cannot be charged then.
//! This one is charged in any case, and refuses further calls until the debt is paid off.

use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

/// Tokens that come back at a constant rate. Those of one second can be used at once.
#[derive(Debug)]
pub(super) struct TokenBucket {
    per_second: f64,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// Negative: a debt.
    tokens: f64,
    at: Instant,
}

impl TokenBucket {
    /// A full bucket.
    pub(super) fn new(per_second: u64) -> Self {
        let per_second = as_f64(per_second);
        Self { per_second, state: Mutex::new(State { tokens: per_second, at: Instant::now() }) }
    }

    /// Takes `tokens` if there is one, and goes into debt for the others. Otherwise returns the
    /// time until there is one.
    pub(super) fn try_take(&self, tokens: u64) -> Result<(), Duration> {
        let mut state = self.state.lock();
        let now = Instant::now();
        let refilled = (now - state.at).as_secs_f64() * self.per_second;
        state.tokens = (state.tokens + refilled).min(self.per_second);
        state.at = now;
        if state.tokens >= 1.0 {
            state.tokens -= as_f64(tokens);
            return Ok(());
        }
        Err(Duration::from_secs_f64((1.0 - state.tokens) / self.per_second))
    }

    /// Takes tokens in any case.
    pub(super) fn charge(&self, tokens: u64) {
        self.state.lock().tokens -= as_f64(tokens);
    }
}

// No rate and no size has more than 53 significant bits.
#[allow(clippy::cast_precision_loss)]
fn as_f64(tokens: u64) -> f64 {
    tokens as f64
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn tokens_come_back_at_the_rate() {
        let bucket = TokenBucket::new(10);
        (0..10).for_each(|_| bucket.try_take(1).unwrap());
        let wait = bucket.try_take(1).unwrap_err();
        assert!((0.099..0.101).contains(&wait.as_secs_f64()), "{wait:?}");
        tokio::time::advance(Duration::from_millis(101)).await;
        bucket.try_take(1).unwrap();
        assert!(bucket.try_take(1).is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn a_debt_is_paid_off_at_the_rate() {
        let bucket = TokenBucket::new(1000);
        bucket.try_take(2000).unwrap();
        bucket.charge(1000);
        let wait = bucket.try_take(1).unwrap_err();
        assert!((2.0..2.1).contains(&wait.as_secs_f64()), "{wait:?}");
        tokio::time::advance(Duration::from_millis(1900)).await;
        assert!(bucket.try_take(1).is_err());
        tokio::time::advance(Duration::from_millis(200)).await;
        bucket.try_take(1).unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn no_more_than_a_second_is_saved_up() {
        let bucket = TokenBucket::new(1000);
        tokio::time::advance(Duration::from_secs(60)).await;
        bucket.try_take(1000).unwrap();
        assert!(bucket.try_take(1).is_err());
    }
}

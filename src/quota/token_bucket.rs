//! A token bucket that can go into debt.
//!
//! The cost of a call is known when it has ended: so many keys, and so many bytes of its answer. A
//! bucket that refuses more than it has (as those of the crate `governor`) cannot be charged then.
//! This one is charged in any case, and refuses further calls until the debt is paid off.

use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

/// Tokens that come back at a rate. Those of one second can be used at once. The rate is that of
/// the call, as credentials of one principal can have several.
#[derive(Debug)]
pub(super) struct TokenBucket(Mutex<State>);

#[derive(Debug)]
struct State {
    /// None: not used so far. Negative: a debt.
    tokens: Option<f64>,
    at: Instant,
}

impl Default for TokenBucket {
    /// A full bucket.
    fn default() -> Self {
        Self(Mutex::new(State { tokens: None, at: Instant::now() }))
    }
}

impl TokenBucket {
    /// Takes a token if there is one. Otherwise returns the time until there is one.
    pub(super) fn try_take(&self, per_second: u64) -> Result<(), Duration> {
        let rate = as_f64(per_second);
        let mut state = self.0.lock();
        let now = Instant::now();
        let refilled = (now - state.at).as_secs_f64() * rate;
        let tokens = state.tokens.map_or(rate, |tokens| (tokens + refilled).min(rate));
        state.at = now;
        state.tokens = Some(tokens);
        if tokens >= 1.0 {
            state.tokens = Some(tokens - 1.0);
            return Ok(());
        }
        Err(Duration::from_secs_f64((1.0 - tokens) / rate))
    }

    /// Takes tokens in any case. The bucket has been used before.
    pub(super) fn charge(&self, tokens: u64) {
        if let Some(left) = &mut self.0.lock().tokens {
            *left -= as_f64(tokens);
        }
    }

    /// Time since it was last used.
    pub(super) fn idle(&self) -> Duration {
        self.0.lock().at.elapsed()
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
        let bucket = TokenBucket::default();
        (0..10).for_each(|_| bucket.try_take(10).unwrap());
        let wait = bucket.try_take(10).unwrap_err();
        assert!((0.099..0.101).contains(&wait.as_secs_f64()), "{wait:?}");
        tokio::time::advance(Duration::from_millis(101)).await;
        bucket.try_take(10).unwrap();
        assert!(bucket.try_take(10).is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn a_debt_is_paid_off_at_the_rate() {
        let bucket = TokenBucket::default();
        bucket.try_take(1000).unwrap();
        bucket.charge(2999);
        let wait = bucket.try_take(1000).unwrap_err();
        assert!((2.0..2.1).contains(&wait.as_secs_f64()), "{wait:?}");
        tokio::time::advance(Duration::from_millis(1900)).await;
        assert!(bucket.try_take(1000).is_err());
        tokio::time::advance(Duration::from_millis(200)).await;
        bucket.try_take(1000).unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn no_more_than_a_second_is_saved_up() {
        let bucket = TokenBucket::default();
        bucket.try_take(1000).unwrap();
        tokio::time::advance(Duration::from_secs(60)).await;
        bucket.try_take(1000).unwrap();
        bucket.charge(999);
        assert!(bucket.try_take(1000).is_err());
    }
}

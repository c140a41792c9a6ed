//! Spares calls the deadline while the cache is away, and bounds retries.

use std::{sync::Arc, time::Duration};

use parking_lot::Mutex;
use tokio::time::Instant;

const FAILURES: u32 = 5;
const OPEN: Duration = Duration::from_millis(500);
const JITTER: Duration = Duration::from_millis(250);

#[derive(Debug, Default)]
struct State {
    failures: u32,
    open_until: Option<Instant>,
    /// Number of the call that tries; zero: none.
    trial: u64,
    trials: u64,
}

/// After 5 outages in a row, calls that fail open are not sent for 500 to 750 ms. Then one tries,
/// and after each that fails the same time passes, until one succeeds. A call that tries can wait
/// for a computation of another process: after the same time another call tries, too.
#[derive(Debug, Default)]
pub(crate) struct Breaker(Mutex<State>);

impl Breaker {
    /// A permit for a call; `None` if it is not to be sent.
    pub(crate) fn allow(self: &Arc<Self>) -> Option<Permit> {
        let mut state = self.0.lock();
        if state.failures < FAILURES {
            return Some(self.always());
        }
        if state.open_until.is_some_and(|until| Instant::now() < until) {
            return None;
        }
        state.trials += 1;
        state.trial = state.trials;
        state.open();
        Some(Permit { breaker: Arc::clone(self), trial: state.trial })
    }

    /// A permit for a call that is always sent.
    pub(crate) fn always(self: &Arc<Self>) -> Permit {
        Permit { breaker: Arc::clone(self), trial: 0 }
    }
}

impl State {
    fn open(&mut self) {
        let jitter = JITTER.mul_f64(rand::random::<f64>());
        self.open_until = Some(Instant::now() + OPEN + jitter);
    }
}

/// One call. Without a report of its end it has no effect.
#[derive(Debug)]
pub(crate) struct Permit {
    breaker: Arc<Breaker>,
    /// Zero for a call that does not try.
    trial: u64,
}

impl Permit {
    /// The server has answered.
    pub(crate) fn success(mut self) {
        let mut state = self.breaker.0.lock();
        *state = State { trials: state.trials, ..State::default() };
        drop(state);
        self.trial = 0;
    }

    /// The call has ended with an outage. Those of calls that are sent while the breaker is open do
    /// not put the next trial off.
    pub(crate) fn failure(mut self) {
        let mut state = self.breaker.0.lock();
        state.failures = state.failures.saturating_add(1);
        if state.failures == FAILURES || (self.trial != 0 && self.trial == state.trial) {
            state.open();
            state.trial = 0;
        }
        drop(state);
        self.trial = 0;
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if self.trial == 0 {
            return;
        }
        let mut state = self.breaker.0.lock();
        if state.trial == self.trial {
            // It has left without a result: the next call tries.
            (state.trial, state.open_until) = (0, None);
        }
    }
}

const TOKENS: f64 = 10.0;
const TOKENS_PER_SUCCESS: f64 = 0.1;

/// Bounds retries, so that they do not multiply the load of a server in trouble.
#[derive(Debug)]
pub(crate) struct RetryBudget(Mutex<f64>);

impl Default for RetryBudget {
    fn default() -> Self {
        Self(Mutex::new(TOKENS))
    }
}

impl RetryBudget {
    pub(crate) fn success(&self) {
        let mut tokens = self.0.lock();
        *tokens = TOKENS.min(*tokens + TOKENS_PER_SUCCESS);
    }

    /// Counts a failure. Whether it may be followed by a retry.
    pub(crate) fn failure(&self) -> bool {
        let mut tokens = self.0.lock();
        *tokens = (*tokens - 1.0).max(0.0);
        *tokens > TOKENS / 2.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn opened() -> Arc<Breaker> {
        let breaker = Arc::new(Breaker::default());
        for _ in 0..FAILURES {
            breaker.always().failure();
        }
        breaker
    }

    #[tokio::test(start_paused = true)]
    async fn one_call_tries_until_one_succeeds() {
        let breaker = opened();
        assert!(breaker.allow().is_none());
        tokio::time::advance(OPEN + JITTER).await;
        let trial = breaker.allow();
        assert!(breaker.allow().is_none(), "a second call tries");
        drop(trial);
        breaker.allow().into_iter().for_each(Permit::success);
        assert!(breaker.allow().is_some() && breaker.allow().is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn a_trial_that_fails_opens_it_again() {
        let breaker = opened();
        tokio::time::advance(OPEN + JITTER).await;
        breaker.allow().into_iter().for_each(Permit::failure);
        assert!(breaker.allow().is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn a_trial_that_takes_long_does_not_hold_the_next_one_up() {
        let breaker = opened();
        tokio::time::advance(OPEN + JITTER).await;
        let long = breaker.allow();
        assert!(long.is_some() && breaker.allow().is_none());
        tokio::time::advance(OPEN + JITTER).await;
        let second = breaker.allow();
        assert!(second.is_some() && breaker.allow().is_none(), "one more tries");
        drop(long);
        assert!(breaker.allow().is_none(), "the end of the first leaves the second alone");
        second.into_iter().for_each(Permit::success);
        assert!(breaker.allow().is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn outages_of_calls_that_are_always_sent_do_not_put_the_next_trial_off() {
        let breaker = opened();
        tokio::time::advance(OPEN + JITTER - Duration::from_millis(1)).await;
        breaker.always().failure();
        tokio::time::advance(Duration::from_millis(1)).await;
        assert!(breaker.allow().is_some());
    }

    #[test]
    fn half_of_the_tokens_are_for_retries() {
        let budget = RetryBudget::default();
        assert_eq!((0..20).filter(|_| budget.failure()).count(), 4);
    }
}

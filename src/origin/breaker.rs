//! A circuit breaker that tries an origin out with one real fetch at a time.
//!
//! Unlike the store, an origin is only known by what it is asked, so there is no probe of its own: after a cooldown one fetch is let
//! through, and its outcome decides for all others.

use std::{sync::Arc, time::Duration};

use parking_lot::Mutex;
use tokio::{sync::watch, time::Instant};

/// See the module. Clones share the state.
#[derive(Clone)]
pub struct Breaker {
    threshold: u32,
    cooldown: Duration,
    state: Arc<Mutex<State>>,
    closed: watch::Sender<bool>,
}

#[derive(Debug, Clone, Copy)]
enum State {
    Closed {
        failures: u32,
    },
    Open {
        until: Instant,
    },
    /// One fetch is under way to see whether the origin is well again.
    Probing,
}

/// The permission for one fetch. Dropped without a word, it says nothing of the origin.
pub(super) struct Ticket {
    breaker: Breaker,
    is_probe: bool,
}

impl Breaker {
    /// Opens after `threshold` failures in a row, never if that is zero, for about `cooldown` at a time.
    pub fn new(threshold: u32, cooldown: Duration) -> Self {
        let state = Arc::new(Mutex::new(State::Closed { failures: 0 }));
        Self { threshold, cooldown, state, closed: watch::Sender::new(true) }
    }

    /// Whether it is closed; follows every change.
    pub fn closed(&self) -> watch::Receiver<bool> {
        self.closed.subscribe()
    }

    /// Lets a fetch through, or says when the next one may be.
    pub(super) fn admit(&self) -> Result<Ticket, Duration> {
        let mut state = self.state.lock();
        let is_probe = match *state {
            State::Closed { .. } => false,
            State::Open { until } => {
                let left = until.saturating_duration_since(Instant::now());
                if !left.is_zero() {
                    return Err(left);
                }
                *state = State::Probing;
                true
            }
            State::Probing => return Err(self.cooldown / 10),
        };
        Ok(Ticket { breaker: self.clone(), is_probe })
    }

    /// For how long no fetch is let through; none if one may be.
    pub(super) fn left_alone(&self) -> Option<Duration> {
        match *self.state.lock() {
            State::Closed { .. } => None,
            State::Open { until } => {
                Some(until.saturating_duration_since(Instant::now())).filter(|left| !left.is_zero())
            }
            State::Probing => Some(self.cooldown / 10),
        }
    }

    fn open(&self) -> State {
        // Replicas that saw the same outage should not all try the origin at the same moment.
        State::Open { until: Instant::now() + self.cooldown.mul_f64(rand::random_range(0.8..1.2)) }
    }

    fn settle(&self, state: &mut State, next: State) {
        *state = next;
        let closed = matches!(next, State::Closed { .. });
        self.closed.send_if_modified(|was| std::mem::replace(was, closed) != closed);
    }
}

impl Ticket {
    /// The same permission some time later, if there still is one; otherwise says when the next one may be.
    pub(super) fn renewed(self) -> Result<Self, Duration> {
        if self.is_probe { Ok(self) } else { self.breaker.admit() }
    }

    /// The origin answered.
    pub(super) fn succeeded(mut self) {
        let mut state = self.breaker.state.lock();
        // What began before the breaker opened says nothing of how the origin is now.
        if self.is_probe || matches!(*state, State::Closed { .. }) {
            self.breaker.settle(&mut state, State::Closed { failures: 0 });
        }
        drop(state);
        self.is_probe = false;
    }

    /// The origin is in trouble.
    pub(super) fn failed(mut self) {
        let breaker = &self.breaker;
        let mut state = breaker.state.lock();
        match *state {
            State::Closed { failures }
                if breaker.threshold == 0 || failures + 1 < breaker.threshold =>
            {
                *state = State::Closed { failures: failures.saturating_add(1) };
            }
            State::Closed { .. } => breaker.settle(&mut state, breaker.open()),
            State::Probing if self.is_probe => breaker.settle(&mut state, breaker.open()),
            State::Open { .. } | State::Probing => {}
        }
        drop(state);
        self.is_probe = false;
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if self.is_probe {
            *self.breaker.state.lock() = State::Open { until: Instant::now() };
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const COOLDOWN: Duration = Duration::from_secs(10);

    fn opened() -> Breaker {
        let breaker = Breaker::new(2, COOLDOWN);
        for _ in 0..2 {
            breaker.admit().ok().unwrap().failed();
        }
        breaker
    }

    #[tokio::test(start_paused = true)]
    async fn opens_after_failures_in_a_row_only() {
        let breaker = Breaker::new(2, COOLDOWN);
        for _ in 0..5 {
            breaker.admit().ok().unwrap().failed();
            breaker.admit().ok().unwrap().succeeded();
        }
        assert!(*breaker.closed().borrow());
        let breaker = opened();
        assert!(!*breaker.closed().borrow());
        let left = breaker.admit().err().unwrap();
        assert!(left > Duration::ZERO && left <= COOLDOWN.mul_f64(1.2), "{left:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn one_probe_at_a_time_decides() {
        let breaker = opened();
        tokio::time::advance(COOLDOWN * 2).await;
        let probe = breaker.admit().ok().unwrap();
        assert!(breaker.admit().is_err(), "a second probe");
        probe.failed();
        assert!(breaker.admit().is_err());
        tokio::time::advance(COOLDOWN * 2).await;
        let probe = breaker.admit().ok().unwrap();
        assert!(!*breaker.closed().borrow());
        probe.succeeded();
        assert!(*breaker.closed().borrow());
        let (one, two) = (breaker.admit(), breaker.admit());
        assert!(one.is_ok() && two.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn a_probe_that_was_given_up_makes_room_for_the_next() {
        let breaker = opened();
        tokio::time::advance(COOLDOWN * 2).await;
        drop(breaker.admit());
        assert!(breaker.admit().is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn what_began_before_it_opened_does_not_close_it() {
        let breaker = Breaker::new(2, COOLDOWN);
        let early = breaker.admit().ok().unwrap();
        breaker.admit().ok().unwrap().failed();
        breaker.admit().ok().unwrap().failed();
        early.succeeded();
        assert!(breaker.admit().is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn a_permission_ends_when_it_opens() {
        let breaker = Breaker::new(1, COOLDOWN);
        let early = breaker.admit().ok().unwrap().renewed().ok().unwrap();
        breaker.admit().ok().unwrap().failed();
        assert!(early.renewed().is_err());
        tokio::time::advance(COOLDOWN * 2).await;
        let probe = breaker.admit().ok().unwrap().renewed().ok().unwrap();
        assert!(breaker.admit().is_err());
        probe.succeeded();
        assert!(breaker.admit().is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn a_threshold_of_zero_never_opens() {
        let breaker = Breaker::new(0, COOLDOWN);
        for _ in 0..100 {
            breaker.admit().ok().unwrap().failed();
        }
        assert!(breaker.admit().is_ok());
    }
}

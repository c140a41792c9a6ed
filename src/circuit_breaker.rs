//! A circuit breaker: after consecutive failures, calls to a service are rejected until the service
//! is known to work again. One state machine, two ways to find out:
//!
//! ```text
//! Closed   --consecutive failures reach the threshold-->  Open
//! Open     --a background probe succeeds-->               Closed    (CircuitBreaker::run_probe)
//! Open     --a call arrives after the cooldown-->         HalfOpen  (TrialBreaker::admit)
//! HalfOpen --the trial succeeds-->                        Closed
//! HalfOpen --the trial fails-->                           Open
//! ```
//!
//! The breaker depends on no service and no error type: the caller decides which failures count.

mod background_probe;
mod trial_call;

use std::sync::atomic::{AtomicU32, Ordering};

use parking_lot::Mutex;
use tokio::{sync::watch, time::Instant};

pub use self::{
    background_probe::ProbeIntervals,
    trial_call::{CallPermit, TrialBreaker},
};

/// State of a circuit breaker. It holds no clock and no lock.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum BreakerState {
    /// Calls pass.
    #[default]
    Closed,
    /// Calls are rejected.
    Open {
        /// From then on a call may pass as a trial. None: only a background probe ends this state.
        retry_at: Option<Instant>,
    },
    /// A trial call is under way.
    HalfOpen {
        /// From then on another call may pass as a trial. None: not before the first has ended.
        expires_at: Option<Instant>,
    },
}

/// Runs after each change, with true if the breaker has closed and false if it has opened.
type ChangeHook = Box<dyn Fn(bool) + Send + Sync>;

/// A breaker that starts open and that [`CircuitBreaker::run_probe`] closes. No call is used to
/// test the service: an outage costs each caller nothing, and the service one probe per interval.
pub struct CircuitBreaker {
    /// Consecutive failures that open it; zero: it never opens.
    failure_threshold: u32,
    consecutive_failures: AtomicU32,
    state: Mutex<BreakerState>,
    /// When it closed or opened last. A trial that fails is no change.
    changed_at: Mutex<Instant>,
    /// Mirrors `state`, so that calls read it without the lock.
    closed: watch::Sender<bool>,
    on_change: ChangeHook,
}

// === impl BreakerState ===

impl BreakerState {
    /// Whether a call may pass, if only as a trial.
    pub fn admits(self, now: Instant) -> bool {
        match self {
            Self::Closed => true,
            Self::Open { retry_at: trial_at } | Self::HalfOpen { expires_at: trial_at } => {
                trial_at.is_some_and(|trial_at| trial_at <= now)
            }
        }
    }

    /// Makes the call that begins now a trial, if a trial is due. Returns whether it is one.
    pub fn begin_trial(&mut self, now: Instant, expires_at: Option<Instant>) -> bool {
        let is_trial = *self != Self::Closed && self.admits(now);
        if is_trial {
            *self = Self::HalfOpen { expires_at };
        }
        is_trial
    }
}

// === impl CircuitBreaker ===

impl CircuitBreaker {
    /// A breaker that is open until the first successful probe, and opens again after
    /// `failure_threshold` consecutive failures (zero: never).
    pub fn new(failure_threshold: u32, on_change: impl Fn(bool) + Send + Sync + 'static) -> Self {
        let state = BreakerState::Open { retry_at: None };
        Self::in_state(state, failure_threshold, Box::new(on_change))
    }

    fn in_state(state: BreakerState, failure_threshold: u32, on_change: ChangeHook) -> Self {
        Self {
            failure_threshold,
            consecutive_failures: AtomicU32::new(0),
            state: Mutex::new(state),
            changed_at: Mutex::new(Instant::now()),
            closed: watch::Sender::new(state == BreakerState::Closed),
            on_change,
        }
    }

    /// Whether calls pass.
    pub fn is_closed(&self) -> bool {
        *self.closed.borrow()
    }

    /// Whether calls pass, with every change.
    pub fn subscribe(&self) -> watch::Receiver<bool> {
        self.closed.subscribe()
    }

    /// Counts the outcome of a call. Only errors for which `is_outage` holds are failures. Any
    /// other error is an answer, which shows that the service works.
    pub fn record<T, E>(&self, outcome: &Result<T, E>, is_outage: impl FnOnce(&E) -> bool) {
        match outcome {
            Err(error) if is_outage(error) => {
                if self.count_failure() {
                    self.open(None);
                }
            }
            _ => self.reset_failures(),
        }
    }

    fn close(&self) {
        self.transition(|_| BreakerState::Closed);
    }

    fn open(&self, retry_at: Option<Instant>) {
        self.transition(|state| {
            if state == BreakerState::Closed { BreakerState::Open { retry_at } } else { state }
        });
    }

    /// Returns whether the threshold is reached.
    fn count_failure(&self) -> bool {
        let before = self.consecutive_failures.fetch_add(1, Ordering::Relaxed);
        self.failure_threshold != 0 && before.saturating_add(1) >= self.failure_threshold
    }

    fn reset_failures(&self) {
        // Successful calls only read, so that they do not contend for the cache line.
        if self.consecutive_failures.load(Ordering::Relaxed) != 0 {
            self.consecutive_failures.store(0, Ordering::Relaxed);
        }
    }

    fn transition(&self, next: impl FnOnce(BreakerState) -> BreakerState) {
        let mut state = self.state.lock();
        *state = next(*state);
        let closed = *state == BreakerState::Closed;
        if closed {
            self.reset_failures();
        }
        let has_changed =
            self.closed.send_if_modified(|was| std::mem::replace(was, closed) != closed);
        if has_changed {
            *self.changed_at.lock() = Instant::now();
        }
        drop(state);
        if has_changed {
            (self.on_change)(closed);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::Arc, time::Duration};

    use super::*;

    const OUTAGE: Result<(), &str> = Err("outage");
    const REFUSED: Result<(), &str> = Err("refused");

    fn closed_breaker(failure_threshold: u32) -> (CircuitBreaker, Arc<Mutex<Vec<bool>>>) {
        let changes: Arc<Mutex<Vec<bool>>> = Arc::default();
        let log = changes.clone();
        let breaker = CircuitBreaker::new(failure_threshold, move |closed| log.lock().push(closed));
        breaker.close();
        (breaker, changes)
    }

    fn record(breaker: &CircuitBreaker, outcome: &Result<(), &str>) {
        breaker.record(outcome, |error| *error == "outage");
    }

    #[test]
    fn new_breaker_is_open() {
        let breaker = CircuitBreaker::new(1, |_| ());
        assert!(!breaker.is_closed());
        record(&breaker, &Ok(()));
        assert!(!breaker.is_closed(), "only a probe closes it");
    }

    #[test]
    fn opens_after_consecutive_failures_only() {
        let (breaker, _) = closed_breaker(3);
        for outcome in [OUTAGE, OUTAGE, Ok(()), OUTAGE, OUTAGE] {
            record(&breaker, &outcome);
            assert!(breaker.is_closed());
        }
        record(&breaker, &OUTAGE);
        assert!(!breaker.is_closed());
    }

    #[test]
    fn error_answers_show_that_the_service_works() {
        let (breaker, _) = closed_breaker(2);
        for outcome in [REFUSED, REFUSED, OUTAGE, REFUSED, OUTAGE] {
            record(&breaker, &outcome);
            assert!(breaker.is_closed());
        }
    }

    #[test]
    fn threshold_of_zero_never_opens() {
        let (breaker, _) = closed_breaker(0);
        for _ in 0..100 {
            record(&breaker, &OUTAGE);
        }
        assert!(breaker.is_closed());
    }

    #[test]
    fn closing_forgets_earlier_failures() {
        let (breaker, _) = closed_breaker(2);
        for _ in 0..5 {
            record(&breaker, &OUTAGE);
        }
        breaker.close();
        record(&breaker, &OUTAGE);
        assert!(breaker.is_closed());
        record(&breaker, &OUTAGE);
        assert!(!breaker.is_closed());
    }

    #[test]
    fn each_change_is_reported_once() {
        let (breaker, changes) = closed_breaker(1);
        let mut subscriber = breaker.subscribe();
        assert!(*subscriber.borrow_and_update());
        record(&breaker, &OUTAGE);
        record(&breaker, &OUTAGE);
        assert!(!*subscriber.borrow_and_update());
        breaker.close();
        breaker.close();
        assert!(subscriber.has_changed().is_ok_and(|has_changed| has_changed));
        assert!(*subscriber.borrow_and_update());
        assert_eq!(*changes.lock(), [true, false, true]);
    }

    #[test]
    fn state_admits_calls_and_trials_when_they_are_due() {
        let now = Instant::now();
        let (earlier, later) =
            (now.checked_sub(Duration::from_millis(1)), now.checked_add(Duration::from_millis(1)));
        for (state, admits, is_trial) in [
            (BreakerState::Closed, true, false),
            (BreakerState::Open { retry_at: None }, false, false),
            (BreakerState::Open { retry_at: later }, false, false),
            (BreakerState::Open { retry_at: Some(now) }, true, true),
            (BreakerState::Open { retry_at: earlier }, true, true),
            (BreakerState::HalfOpen { expires_at: None }, false, false),
            (BreakerState::HalfOpen { expires_at: later }, false, false),
            (BreakerState::HalfOpen { expires_at: Some(now) }, true, true),
        ] {
            assert_eq!(state.admits(now), admits, "{state:?}");
            let mut after = state;
            assert_eq!(after.begin_trial(now, later), is_trial, "{state:?}");
            let expected =
                if is_trial { BreakerState::HalfOpen { expires_at: later } } else { state };
            assert_eq!(after, expected);
        }
    }
}

//! Recovery by trial calls: one call at a time shows whether the service is back.

use std::time::Duration;

use tokio::{sync::watch, time::Instant};

use super::{BreakerState, CircuitBreaker};

/// A breaker that starts closed. After a cooldown it admits one call at a time as a trial, and the
/// outcome decides for all others. For services that are known only by the calls made to them.
pub struct TrialBreaker {
    breaker: CircuitBreaker,
    cooldown: Duration,
}

/// Permission for one call. Dropped without an outcome, it counts neither as a success nor as a
/// failure.
#[must_use = "a dropped permit ends a trial without an outcome"]
pub struct CallPermit<'a> {
    breaker: &'a TrialBreaker,
    is_trial: bool,
}

// === impl TrialBreaker ===

impl TrialBreaker {
    /// A closed breaker. It opens after `failure_threshold` consecutive failures (zero: never), for
    /// about `cooldown` at a time.
    pub fn new(failure_threshold: u32, cooldown: Duration) -> Self {
        let breaker =
            CircuitBreaker::in_state(BreakerState::Closed, failure_threshold, Box::new(|_| ()));
        Self { breaker, cooldown }
    }

    /// Whether all calls pass, with every change.
    pub fn subscribe(&self) -> watch::Receiver<bool> {
        self.breaker.subscribe()
    }

    /// The state, and when the breaker closed or opened last; its creation, if it never did. A
    /// trial that fails is no change.
    pub fn state(&self) -> (BreakerState, Instant) {
        let state = self.breaker.state.lock();
        (*state, *self.breaker.changed_at.lock())
    }

    /// Admits a call.
    ///
    /// # Errors
    /// The breaker is open, or a trial is under way: the time after which to try again.
    pub fn admit(&self) -> Result<CallPermit<'_>, Duration> {
        if self.breaker.is_closed() {
            return Ok(self.permit(false));
        }
        let mut state = self.breaker.state.lock();
        let is_trial = state.begin_trial(Instant::now(), None);
        match self.remaining(*state) {
            Some(remaining) if !is_trial => Err(remaining),
            _ => Ok(self.permit(is_trial)),
        }
    }

    /// Time until a call may pass; none if it may now.
    pub fn retry_after(&self) -> Option<Duration> {
        if self.breaker.is_closed() {
            return None;
        }
        let remaining = self.remaining(*self.breaker.state.lock());
        remaining.filter(|remaining| !remaining.is_zero())
    }

    fn permit(&self, is_trial: bool) -> CallPermit<'_> {
        CallPermit { breaker: self, is_trial }
    }

    fn remaining(&self, state: BreakerState) -> Option<Duration> {
        match state {
            BreakerState::Closed | BreakerState::Open { retry_at: None } => None,
            BreakerState::Open { retry_at: Some(retry_at) } => {
                Some(retry_at.saturating_duration_since(Instant::now()))
            }
            // How long the trial takes is unknown.
            BreakerState::HalfOpen { .. } => Some(self.cooldown / 10),
        }
    }

    fn retry_at(&self) -> Instant {
        // Replicas that saw the same outage should not all try the service at the same moment.
        Instant::now() + self.cooldown.mul_f64(rand::random_range(0.8..1.2))
    }
}

// === impl CallPermit ===

impl CallPermit<'_> {
    /// Checks the permit again after a wait: the breaker may have opened in the meantime.
    ///
    /// # Errors
    /// See [`TrialBreaker::admit`].
    pub fn renew(self) -> Result<Self, Duration> {
        if self.is_trial { Ok(self) } else { self.breaker.admit() }
    }

    /// Reports that the service answered.
    pub fn succeed(mut self) {
        let TrialBreaker { breaker, .. } = self.breaker;
        if std::mem::take(&mut self.is_trial) {
            breaker.close();
        } else if breaker.is_closed() {
            breaker.reset_failures();
        }
        // The outcome of a call that began before the breaker opened is outdated.
    }

    /// Reports that the service is in trouble.
    pub fn fail(mut self) {
        let TrialBreaker { breaker, .. } = self.breaker;
        let retry_at = self.breaker.retry_at();
        if std::mem::take(&mut self.is_trial) {
            breaker.transition(|_| BreakerState::Open { retry_at: Some(retry_at) });
        } else if breaker.is_closed() && breaker.count_failure() {
            breaker.open(Some(retry_at));
        }
    }
}

impl Drop for CallPermit<'_> {
    fn drop(&mut self) {
        if self.is_trial {
            let retry_at = Some(Instant::now());
            self.breaker.breaker.transition(|_| BreakerState::Open { retry_at });
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const COOLDOWN: Duration = Duration::from_secs(10);
    /// Longer than any jittered cooldown.
    const COOLED_DOWN: Duration = Duration::from_secs(20);

    fn open_breaker() -> TrialBreaker {
        let breaker = TrialBreaker::new(2, COOLDOWN);
        for _ in 0..2 {
            breaker.admit().unwrap().fail();
        }
        breaker
    }

    fn is_closed(breaker: &TrialBreaker) -> bool {
        *breaker.subscribe().borrow()
    }

    #[tokio::test(start_paused = true)]
    async fn opens_after_consecutive_failures_only() {
        let breaker = TrialBreaker::new(2, COOLDOWN);
        for _ in 0..5 {
            breaker.admit().unwrap().fail();
            breaker.admit().unwrap().succeed();
        }
        assert!(is_closed(&breaker));
        assert_eq!(breaker.retry_after(), None);
        assert!(!is_closed(&open_breaker()));
    }

    #[tokio::test(start_paused = true)]
    async fn open_breaker_rejects_calls_for_the_jittered_cooldown() {
        for _ in 0..20 {
            let breaker = open_breaker();
            let remaining = breaker.admit().err().unwrap();
            assert!((COOLDOWN.mul_f64(0.8)..COOLDOWN.mul_f64(1.2)).contains(&remaining));
            assert_eq!(breaker.retry_after(), Some(remaining));
            tokio::time::advance(remaining - Duration::from_millis(2)).await;
            assert!(breaker.admit().is_err());
            tokio::time::advance(Duration::from_millis(3)).await;
            assert_eq!(breaker.retry_after(), None);
            assert!(breaker.admit().is_ok());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn one_trial_at_a_time_decides() {
        let breaker = open_breaker();
        tokio::time::advance(COOLED_DOWN).await;
        let trial = breaker.admit().unwrap();
        assert_eq!(breaker.admit().err(), Some(COOLDOWN / 10), "a second trial");
        assert_eq!(breaker.retry_after(), Some(COOLDOWN / 10));
        trial.fail();
        assert!(breaker.admit().err().unwrap() > COOLDOWN / 2, "another cooldown");
        tokio::time::advance(COOLED_DOWN).await;
        let trial = breaker.admit().unwrap();
        assert!(!is_closed(&breaker));
        trial.succeed();
        assert!(is_closed(&breaker));
        assert_eq!(breaker.retry_after(), None);
        let (one, two) = (breaker.admit(), breaker.admit());
        assert!(one.is_ok() && two.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn successful_trial_forgets_earlier_failures() {
        let breaker = open_breaker();
        tokio::time::advance(COOLED_DOWN).await;
        breaker.admit().unwrap().succeed();
        breaker.admit().unwrap().fail();
        assert!(is_closed(&breaker));
    }

    #[tokio::test(start_paused = true)]
    async fn dropped_trial_admits_the_next_one_at_once() {
        let breaker = open_breaker();
        tokio::time::advance(COOLED_DOWN).await;
        drop(breaker.admit());
        assert_eq!(breaker.retry_after(), None);
        assert!(!is_closed(&breaker));
        let trial = breaker.admit().unwrap();
        assert!(breaker.admit().is_err(), "the next one is a trial as well");
        trial.succeed();
        assert!(is_closed(&breaker));
    }

    #[tokio::test(start_paused = true)]
    async fn an_outage_lasts_from_its_begin_through_failed_trials() {
        let created_at = Instant::now();
        let breaker = TrialBreaker::new(1, COOLDOWN);
        tokio::time::advance(COOLDOWN).await;
        assert_eq!(breaker.state(), (BreakerState::Closed, created_at));
        breaker.admit().unwrap().fail();
        let opened_at = Instant::now();
        for _ in 0..3 {
            assert!(matches!(breaker.state(), (BreakerState::Open { .. }, at) if at == opened_at));
            tokio::time::advance(COOLED_DOWN).await;
            let trial = breaker.admit().unwrap();
            let half_open = BreakerState::HalfOpen { expires_at: None };
            assert_eq!(breaker.state(), (half_open, opened_at));
            trial.fail();
        }
        tokio::time::advance(COOLED_DOWN).await;
        breaker.admit().unwrap().succeed();
        assert_eq!(breaker.state(), (BreakerState::Closed, Instant::now()));
    }

    #[tokio::test(start_paused = true)]
    async fn dropped_permit_is_no_outcome() {
        let breaker = TrialBreaker::new(2, COOLDOWN);
        breaker.admit().unwrap().fail();
        drop(breaker.admit());
        breaker.admit().unwrap().fail();
        assert!(!is_closed(&breaker), "the failures are still consecutive");
    }

    #[tokio::test(start_paused = true)]
    async fn calls_from_before_an_outage_do_not_end_it() {
        let breaker = TrialBreaker::new(2, COOLDOWN);
        let (early, late, failed) =
            (breaker.admit().unwrap(), breaker.admit().unwrap(), breaker.admit().unwrap());
        breaker.admit().unwrap().fail();
        breaker.admit().unwrap().fail();
        early.succeed();
        assert!(breaker.admit().is_err());
        tokio::time::advance(COOLED_DOWN).await;
        failed.fail();
        let trial = breaker.admit().unwrap();
        late.succeed();
        assert!(breaker.admit().is_err(), "the trial is still under way");
        drop(trial);
    }

    #[tokio::test(start_paused = true)]
    async fn permit_ends_when_the_breaker_opens() {
        let breaker = TrialBreaker::new(1, COOLDOWN);
        let early = breaker.admit().unwrap().renew().unwrap();
        breaker.admit().unwrap().fail();
        assert!(early.renew().is_err());
        tokio::time::advance(COOLED_DOWN).await;
        let trial = breaker.admit().unwrap().renew().unwrap();
        assert!(breaker.admit().is_err());
        trial.succeed();
        assert!(breaker.admit().is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn threshold_of_zero_never_opens() {
        let breaker = TrialBreaker::new(0, COOLDOWN);
        for _ in 0..100 {
            breaker.admit().unwrap().fail();
        }
        assert!(breaker.admit().is_ok());
    }
}

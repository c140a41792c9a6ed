//! One address of an origin: its connection, its calls in flight, and its ejection after failures.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use parking_lot::Mutex;
use tokio::time::Instant;
use tonic::transport::{Channel, Endpoint as EndpointOptions};

use super::{connector::Connector, error::CallOutcome};
use crate::circuit_breaker::BreakerState;

const MIN_EJECTION: Duration = Duration::from_millis(100);
const MAX_EJECTION: Duration = Duration::from_secs(5);
/// Consecutive timeouts that eject an endpoint. A slow origin answers some calls; where no call is
/// answered the host may be gone.
const TIMEOUTS_TO_EJECT: u32 = 3;

/// One address. It connects when it is first called, and again whenever its connection has ended.
pub(super) struct Endpoint {
    socket: SocketAddr,
    channel: Channel,
    in_flight: AtomicUsize,
    health: Mutex<Health>,
}

/// Outlier ejection: a circuit breaker whose open state means "chosen only if there is no other".
/// Unlike a breaker that rejects calls, it learns from every call: any answer closes it, and any
/// failure during a trial counts.
#[derive(Default)]
struct Health {
    state: BreakerState,
    /// Consecutive ejections: each lasts longer than the one before.
    ejections: u32,
    consecutive_timeouts: u32,
}

/// A call to an endpoint, from the choice of the endpoint to the outcome.
pub(super) struct EndpointCall {
    endpoint: Arc<Endpoint>,
    deadline: Instant,
    has_ended: bool,
}

// === impl Endpoint ===

impl Endpoint {
    pub(super) fn new(
        socket: SocketAddr,
        endpoint: &EndpointOptions,
        connect_timeout: Duration,
    ) -> Self {
        let channel = endpoint.connect_with_connector_lazy(Connector::new(socket, connect_timeout));
        Self { socket, channel, in_flight: AtomicUsize::new(0), health: Mutex::default() }
    }

    pub(super) fn socket(&self) -> SocketAddr {
        self.socket
    }

    pub(super) fn in_flight(&self) -> usize {
        self.in_flight.load(Ordering::Relaxed)
    }

    /// Whether it is preferred over ejected endpoints.
    pub(super) fn is_available(&self, now: Instant) -> bool {
        self.health.lock().state.admits(now)
    }

    /// Begins a call.
    pub(super) fn begin_call(self: Arc<Self>, now: Instant, deadline: Instant) -> EndpointCall {
        self.health.lock().begin_call(now);
        self.in_flight.fetch_add(1, Ordering::Relaxed);
        EndpointCall { endpoint: self, deadline, has_ended: false }
    }
}

// === impl EndpointCall ===

impl EndpointCall {
    pub(super) fn socket(&self) -> SocketAddr {
        self.endpoint.socket
    }

    pub(super) fn channel(&self) -> Channel {
        self.endpoint.channel.clone()
    }

    /// Reports the outcome.
    pub(super) fn end(mut self, outcome: CallOutcome) {
        self.has_ended = true;
        let mut health = self.endpoint.health.lock();
        match outcome {
            CallOutcome::Answered => health.answered(),
            CallOutcome::NotConnected | CallOutcome::Broken => health.failed(Instant::now()),
            // A peer that shuts down gracefully.
            CallOutcome::Unprocessed => {}
            CallOutcome::TimedOut => health.timed_out(Instant::now()),
        }
    }
}

impl Drop for EndpointCall {
    fn drop(&mut self) {
        self.endpoint.in_flight.fetch_sub(1, Ordering::Relaxed);
        let now = Instant::now();
        // Dropped at its deadline, and not because the caller has cancelled.
        if !self.has_ended && self.deadline <= now {
            self.endpoint.health.lock().timed_out(now);
        }
    }
}

// === impl Health ===

impl Health {
    fn begin_call(&mut self, now: Instant) {
        if self.state != BreakerState::Closed {
            self.state.begin_trial(now, Some(now + ejection_time(self.ejections)));
        }
    }

    fn failed(&mut self, now: Instant) {
        // Many calls fail with one connection: while the endpoint is ejected they count once.
        let is_trial = matches!(self.state, BreakerState::HalfOpen { .. });
        if is_trial || self.state.admits(now) {
            self.ejections = self.ejections.saturating_add(1);
            let retry_at = Some(now + ejection_time(self.ejections));
            self.state = BreakerState::Open { retry_at };
        }
    }

    fn timed_out(&mut self, now: Instant) {
        self.consecutive_timeouts += 1;
        let is_trial = matches!(self.state, BreakerState::HalfOpen { .. });
        if is_trial || self.consecutive_timeouts >= TIMEOUTS_TO_EJECT {
            self.consecutive_timeouts = 0;
            self.failed(now);
        }
    }

    fn answered(&mut self) {
        *self = Self::default();
    }
}

/// Doubles with each consecutive ejection; jittered by a quarter.
fn ejection_time(ejections: u32) -> Duration {
    let factor = 1_u32.checked_shl(ejections.saturating_sub(1)).unwrap_or(u32::MAX);
    MIN_EJECTION.saturating_mul(factor).min(MAX_EJECTION).mul_f64(rand::random_range(0.75..1.25))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MARGIN: Duration = Duration::from_millis(1);

    fn is_available(health: &Health, now: Instant) -> bool {
        health.state.admits(now)
    }

    /// The end of the current ejection.
    fn ejected_until(health: &Health) -> Instant {
        match health.state {
            BreakerState::Open { retry_at: Some(at) }
            | BreakerState::HalfOpen { expires_at: Some(at) } => at,
            state @ (BreakerState::Closed
            | BreakerState::Open { .. }
            | BreakerState::HalfOpen { .. }) => panic!("not ejected: {state:?}"),
        }
    }

    fn ejected(now: Instant) -> Health {
        let mut health = Health::default();
        health.failed(now);
        health
    }

    #[test]
    fn failed_trials_eject_for_longer_each_time() {
        let mut now = Instant::now();
        let mut health = Health::default();
        let mut last = Duration::ZERO;
        for _ in 0..3 {
            assert!(is_available(&health, now));
            health.begin_call(now);
            health.failed(now);
            assert!(!is_available(&health, now));
            let until = ejected_until(&health);
            assert!(until - now > last);
            last = until - now;
            now = until;
        }
    }

    #[test]
    fn failures_of_other_calls_do_not_prolong_an_ejection() {
        let now = Instant::now();
        let mut health = ejected(now);
        let until = ejected_until(&health);
        health.failed(until - MARGIN);
        assert_eq!((ejected_until(&health), health.ejections), (until, 1));
        health.failed(until);
        assert!(ejected_until(&health) > until);
    }

    #[test]
    fn one_call_is_the_trial_until_it_expires() {
        let now = Instant::now();
        let mut health = ejected(now);
        let trial_at = ejected_until(&health);
        health.begin_call(trial_at);
        assert!(!is_available(&health, trial_at));
        let expires_at = ejected_until(&health);
        assert!(expires_at > trial_at);
        assert!(!is_available(&health, expires_at - MARGIN));
        health.begin_call(expires_at);
        assert!(ejected_until(&health) > expires_at, "another trial");
    }

    #[test]
    fn any_answer_ends_the_ejection() {
        let now = Instant::now();
        let mut health = ejected(now);
        health.answered();
        assert!(is_available(&health, now));
        assert_eq!((health.ejections, health.consecutive_timeouts), (0, 0));
    }

    #[test]
    fn only_consecutive_timeouts_eject() {
        let now = Instant::now();
        let mut health = Health::default();
        for _ in 0..2 {
            for _ in 1..TIMEOUTS_TO_EJECT {
                health.timed_out(now);
                assert!(is_available(&health, now));
            }
            health.answered();
        }
        for _ in 1..TIMEOUTS_TO_EJECT {
            health.timed_out(now);
        }
        health.timed_out(now);
        assert!(!is_available(&health, now));
        assert_eq!(health.consecutive_timeouts, 0);
    }

    #[test]
    fn trial_that_times_out_ejects_again() {
        let now = Instant::now();
        let mut health = ejected(now);
        let trial_at = ejected_until(&health);
        health.begin_call(trial_at);
        health.timed_out(trial_at);
        assert_eq!((health.ejections, health.consecutive_timeouts), (2, 0));
    }

    #[test]
    fn ejection_time_doubles_up_to_a_limit() {
        for (ejections, millis) in [
            (0, 100),
            (1, 100),
            (2, 200),
            (3, 400),
            (6, 3200),
            (7, 5000),
            (33, 5000),
            (u32::MAX, 5000),
        ] {
            let expected = Duration::from_millis(millis);
            for _ in 0..20 {
                let time = ejection_time(ejections);
                assert!(
                    (expected.mul_f64(0.75)..expected.mul_f64(1.25)).contains(&time),
                    "{time:?}"
                );
            }
        }
    }

    fn endpoint() -> Arc<Endpoint> {
        let options = EndpointOptions::from_static("http://origin.test");
        let socket = SocketAddr::from(([127, 0, 0, 1], 1));
        Arc::new(Endpoint::new(socket, &options, Duration::from_secs(1)))
    }

    fn begin_call(endpoint: &Arc<Endpoint>, timeout: Duration) -> EndpointCall {
        let now = Instant::now();
        endpoint.clone().begin_call(now, now + timeout)
    }

    #[tokio::test(start_paused = true)]
    async fn calls_in_flight_are_counted() {
        let endpoint = endpoint();
        let call = begin_call(&endpoint, MARGIN);
        let other = begin_call(&endpoint, MARGIN);
        assert_eq!(endpoint.in_flight(), 2);
        assert_eq!(call.socket(), endpoint.socket());
        call.end(CallOutcome::Answered);
        drop(other);
        assert_eq!(endpoint.in_flight(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn connection_failures_eject_at_once() {
        for (outcome, is_ejected) in [
            (CallOutcome::NotConnected, true),
            (CallOutcome::Broken, true),
            (CallOutcome::Unprocessed, false),
            (CallOutcome::TimedOut, false),
            (CallOutcome::Answered, false),
        ] {
            let endpoint = endpoint();
            begin_call(&endpoint, MARGIN).end(outcome);
            assert_eq!(!endpoint.is_available(Instant::now()), is_ejected, "{outcome:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn answer_ends_the_ejection() {
        let endpoint = endpoint();
        let late = begin_call(&endpoint, MARGIN);
        begin_call(&endpoint, MARGIN).end(CallOutcome::NotConnected);
        late.end(CallOutcome::Answered);
        assert!(endpoint.is_available(Instant::now()));
    }

    #[tokio::test(start_paused = true)]
    async fn timeouts_count_whether_reported_or_dropped_at_the_deadline() {
        let endpoint = endpoint();
        for _ in 1..TIMEOUTS_TO_EJECT {
            begin_call(&endpoint, MARGIN).end(CallOutcome::TimedOut);
        }
        let dropped = begin_call(&endpoint, MARGIN);
        tokio::time::advance(MARGIN).await;
        assert!(endpoint.is_available(Instant::now()));
        drop(dropped);
        assert!(!endpoint.is_available(Instant::now()));
    }

    #[tokio::test(start_paused = true)]
    async fn cancelled_calls_do_not_count() {
        let endpoint = endpoint();
        for _ in 0..2 * TIMEOUTS_TO_EJECT {
            drop(begin_call(&endpoint, MARGIN));
        }
        assert!(endpoint.is_available(Instant::now()));
    }

    #[tokio::test(start_paused = true)]
    async fn reported_outcome_counts_once() {
        let endpoint = endpoint();
        for _ in 1..TIMEOUTS_TO_EJECT {
            let call = begin_call(&endpoint, MARGIN);
            tokio::time::advance(MARGIN).await;
            call.end(CallOutcome::TimedOut);
        }
        assert!(endpoint.is_available(Instant::now()));
        let call = begin_call(&endpoint, MARGIN);
        tokio::time::advance(MARGIN).await;
        call.end(CallOutcome::Unprocessed);
        assert!(endpoint.is_available(Instant::now()));
    }

    #[tokio::test(start_paused = true)]
    async fn ejected_endpoint_admits_one_trial() {
        let endpoint = endpoint();
        begin_call(&endpoint, MARGIN).end(CallOutcome::Broken);
        tokio::time::advance(MIN_EJECTION * 2).await;
        assert!(endpoint.is_available(Instant::now()));
        let trial = begin_call(&endpoint, MARGIN);
        assert!(!endpoint.is_available(Instant::now()));
        trial.end(CallOutcome::Answered);
        assert!(endpoint.is_available(Instant::now()));
    }
}

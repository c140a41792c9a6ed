//! One address of an origin: its connection, who is using it, and how it has done lately.

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
use tonic::transport::{self, Channel};

use super::{connector::Connector, error::CallOutcome};

const SHORTEST_BACK_OFF: Duration = Duration::from_millis(100);
const LONGEST_BACK_OFF: Duration = Duration::from_secs(5);
/// Calls in a row that are not answered in time. A slow origin answers some; where nothing answers there may be nobody.
const SILENCES: u32 = 3;

/// One address. It connects when it is first called, and again whenever its connection has ended.
pub(super) struct Endpoint {
    socket: SocketAddr,
    channel: Channel,
    in_flight: AtomicUsize,
    health: Mutex<Health>,
}

/// ```text
/// Good     --the connection fails, or no answer to several-->  SetAside
/// SetAside --its time is over, a call-->                       Probed    (the one call that finds out)
/// Probed   --the connection fails, or no answer-->             SetAside  (for longer)
/// any      --an answer-->                                      Good
/// ```
#[derive(Default)]
struct Health {
    /// In a row. None: all is well.
    failures: u32,
    set_aside_until: Option<Instant>,
    probed: bool,
    silences: u32,
}

/// A call on an address, from the choice to the answer.
pub(super) struct EndpointCall {
    address: Arc<Endpoint>,
    deadline: Instant,
    has_ended: bool,
}

// === impl Address ===

impl Endpoint {
    pub(super) fn new(
        socket: SocketAddr,
        endpoint: &transport::Endpoint,
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

    /// Whether a call may go here when there is a choice.
    pub(super) fn is_open(&self, now: Instant) -> bool {
        self.health.lock().is_open(now)
    }

    /// Begins a call.
    pub(super) fn take(self: Arc<Self>, now: Instant, deadline: Instant) -> EndpointCall {
        self.health.lock().probe(now);
        self.in_flight.fetch_add(1, Ordering::Relaxed);
        EndpointCall { address: self, deadline, has_ended: false }
    }
}

// === impl Turn ===

impl EndpointCall {
    pub(super) fn socket(&self) -> SocketAddr {
        self.address.socket
    }

    pub(super) fn channel(&self) -> Channel {
        self.address.channel.clone()
    }

    /// Takes note of how the call ended.
    pub(super) fn ended(mut self, reach: CallOutcome) {
        self.has_ended = true;
        let mut health = self.address.health.lock();
        match reach {
            CallOutcome::Answered => health.good(),
            CallOutcome::NotConnected | CallOutcome::Broken => health.bad(Instant::now()),
            // A peer that goes away in good order.
            CallOutcome::NotTaken => {}
            CallOutcome::TimedOut => health.silent(Instant::now()),
        }
    }
}

impl Drop for EndpointCall {
    fn drop(&mut self) {
        self.address.in_flight.fetch_sub(1, Ordering::Relaxed);
        let now = Instant::now();
        // Given up at its deadline, and not because somebody has gone.
        if !self.has_ended && self.deadline <= now {
            self.address.health.lock().silent(now);
        }
    }
}

// === impl Health ===

impl Health {
    fn is_open(&self, now: Instant) -> bool {
        self.set_aside_until.is_none_or(|until| until <= now)
    }

    fn probe(&mut self, now: Instant) {
        if self.set_aside_until.is_some() && self.is_open(now) {
            self.probed = true;
            self.set_aside_until = Some(now + back_off(self.failures));
        }
    }

    fn bad(&mut self, now: Instant) {
        // Many calls fail with one connection; they are one failure.
        if self.probed || self.is_open(now) {
            self.failures = self.failures.saturating_add(1);
            self.set_aside_until = Some(now + back_off(self.failures));
            self.probed = false;
        }
    }

    fn silent(&mut self, now: Instant) {
        self.silences += 1;
        if self.probed || self.silences >= SILENCES {
            self.silences = 0;
            self.bad(now);
        }
    }

    fn good(&mut self) {
        *self = Self::default();
    }
}

fn back_off(failures: u32) -> Duration {
    let factor = 1_u32.checked_shl(failures.saturating_sub(1)).unwrap_or(u32::MAX);
    SHORTEST_BACK_OFF
        .saturating_mul(factor)
        .min(LONGEST_BACK_OFF)
        .mul_f64(rand::random_range(0.75..1.25))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_set_aside_for_longer_each_time_and_probed_by_one() {
        let mut now = Instant::now();
        let mut health = Health::default();
        let mut last = Duration::ZERO;
        for _ in 0..3 {
            assert!(health.is_open(now));
            health.probe(now);
            health.bad(now);
            assert!(!health.is_open(now));
            let until = health.set_aside_until.unwrap_or(now);
            assert!(until - now > last);
            // Others that fail meanwhile make it no worse.
            health.bad(now);
            assert_eq!(health.set_aside_until, Some(until));
            last = until - now;
            now = until;
        }
        health.probe(now);
        assert!(!health.is_open(now), "somebody is finding out");
        health.good();
        assert!(health.is_open(now));
        for _ in 1..SILENCES {
            health.silent(now);
            assert!(health.is_open(now));
        }
        health.silent(now);
        assert!(!health.is_open(now));
        assert!(back_off(u32::MAX) <= LONGEST_BACK_OFF.mul_f64(1.25));
    }
}

//! When a connection ends: when the peer sends no preface, when it is idle or old, when a new
//! connection needs its place, and at shutdown.

use std::{
    error::Error,
    fmt,
    future::{Future, poll_fn},
    pin::Pin,
    sync::Arc,
    time::Duration,
};

use hyper_util::server::graceful::GracefulConnection;
use tokio::time::{Instant, Sleep, sleep_until, timeout};

use super::driver::Driver;
use crate::{
    Options,
    backlog::Stalled,
    connection_stats::CloseReason,
    connection_table::{ConnectionState, ConnectionTable, OpenConnection, Order},
    pending_io::PendingIo,
};

/// Time a peer has to send the HTTP/2 preface.
const PREFACE_TIMEOUT: Duration = Duration::from_secs(10);
/// Time at shutdown to read a preface that has already arrived.
const FINAL_READ_TIMEOUT: Duration = Duration::from_millis(100);
/// Time in which the peer of a connection that is closed without open streams must react.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);
/// How often the activity of a connection is checked within the time that it may be idle.
const IDLE_CHECKS: u32 = 8;

/// Decides when a connection ends.
pub(super) struct Lifecycle {
    state: Arc<ConnectionState>,
    table: Arc<ConnectionTable>,
    pending: PendingIo,
    /// How long it may be idle; `None`: for ever.
    max_idle: Option<Duration>,
    grace: Duration,
    preface_until: Instant,
    end_of_life: Instant,
    /// The next time at which something may be due.
    timer: Pin<Box<Sleep>>,
    /// Whether the last check found streams.
    was_busy: bool,
    /// The last order of the server.
    order: Order,
    /// Set once GOAWAY was sent.
    closing: Option<Closing>,
}

/// A connection that has sent GOAWAY: the peer must open no more streams.
struct Closing {
    reason: CloseReason,
    /// When its streams are cut off; `None` if the server decides.
    until: Option<Instant>,
}

enum Event {
    Timer,
    Order(Order),
}

/// Next step of a connection.
enum Next {
    Stay,
    /// By GOAWAY. Streams may finish.
    Close(Closing),
    /// At once.
    End(CloseReason),
}

impl Lifecycle {
    pub(super) fn new(options: &Options, connection: &OpenConnection, pending: PendingIo) -> Self {
        let now = Instant::now();
        let (state, table) = (connection.state.clone(), connection.table.clone());
        let mut lifecycle = Self {
            state,
            table,
            pending,
            max_idle: Some(options.max_idle).filter(|max| !max.is_zero()),
            grace: options.max_age_grace,
            preface_until: now + PREFACE_TIMEOUT,
            end_of_life: end_of_life(options.max_age),
            timer: Box::pin(sleep_until(now)),
            was_busy: false,
            order: Order::None,
            closing: None,
        };
        lifecycle.set_timer(now);
        lifecycle
    }

    /// Drives the connection until it ends.
    pub(super) async fn run<C>(mut self, driver: &mut Driver<'_, C>) -> CloseReason
    where
        C: GracefulConnection<Error = hyper::Error>,
    {
        loop {
            let event = tokio::select! {
                // The driver first: it is nearly always the one that is ready.
                biased;
                result = &mut *driver => return self.reason_of(&result),
                event = self.next_event() => event,
            };
            let next = match event {
                Event::Timer => self.timer_fired(),
                Event::Order(order) => self.ordered(order, &mut *driver).await,
            };
            match next {
                Next::Stay => {}
                Next::Close(closing) => {
                    self.closing = Some(closing);
                    driver.http.as_mut().graceful_shutdown();
                    self.set_timer(Instant::now());
                }
                Next::End(reason) => return reason,
            }
        }
    }

    async fn next_event(&mut self) -> Event {
        tokio::select! {
            biased;
            order = poll_fn(|cx| self.state.poll_order(self.order, cx)) => Event::Order(order),
            () = &mut self.timer => Event::Timer,
        }
    }

    /// Why a connection ended of itself.
    fn reason_of(&self, result: &Result<Result<(), hyper::Error>, Stalled>) -> CloseReason {
        let failed = match result {
            Err(Stalled) => CloseReason::Stalled,
            Ok(Ok(())) => CloseReason::Ended,
            Ok(Err(error)) => {
                tracing::debug!(error = %ErrorChain(error), "a connection failed");
                if error.is_timeout() { CloseReason::Keepalive } else { CloseReason::Failed }
            }
        };
        self.closing.as_ref().map_or(failed, |closing| closing.reason)
    }

    /// Follows an order of the server.
    async fn ordered<C: Future + Unpin>(&mut self, order: Order, driver: C) -> Next {
        self.order = order;
        let displaced =
            || Closing { reason: CloseReason::Displaced, until: Some(Instant::now() + self.grace) };
        match order {
            Order::None => Next::Stay,
            Order::Drain if self.closing.is_some() => {
                // From now on the server decides when it ends.
                self.closing = Some(Closing { reason: CloseReason::Shutdown, until: None });
                Next::Stay
            }
            Order::Drain if self.has_preface(driver).await => {
                Next::Close(Closing { reason: CloseReason::Shutdown, until: None })
            }
            Order::MakeRoom if self.closing.is_some() => Next::Stay,
            Order::MakeRoom if self.state.preface.is_complete() => Next::Close(displaced()),
            Order::MakeRoom | Order::MakeRoomNow => Next::End(CloseReason::Displaced),
            Order::Drain | Order::Abort => Next::End(CloseReason::Shutdown),
        }
    }

    /// Checks what is due.
    fn timer_fired(&mut self) -> Next {
        let now = Instant::now();
        let next = match &self.closing {
            Some(closing) => self.check_closing(closing, now),
            None => self.check_open(now),
        };
        self.set_timer(now);
        next
    }

    fn check_closing(&self, closing: &Closing, now: Instant) -> Next {
        match closing.until {
            Some(until) if now >= until => {
                tracing::debug!("streams were open after the grace of their connection");
                Next::End(CloseReason::Grace)
            }
            // The peer does not react.
            Some(_) if !self.is_busy() => Next::End(closing.reason),
            _ => Next::Stay,
        }
    }

    fn check_open(&mut self, now: Instant) -> Next {
        if now >= self.preface_until && !self.state.preface.is_complete() {
            tracing::debug!("a peer did not speak HTTP/2 in time");
            return Next::End(CloseReason::Silent);
        }
        let until = Some(now + self.grace);
        if now >= self.end_of_life {
            return Next::Close(Closing { reason: CloseReason::Age, until });
        }
        // A peer without a preface cannot be sent a GOAWAY.
        if self.max_idle.is_none() || !self.state.preface.is_complete() {
            return Next::Stay;
        }
        let is_busy = self.is_busy();
        // The end of a stream is noticed by the first check after it.
        if std::mem::replace(&mut self.was_busy, is_busy) || is_busy {
            self.state.set_active(&self.table);
            return Next::Stay;
        }
        if self.idle_until().is_some_and(|until| now >= until) {
            return Next::Close(Closing { reason: CloseReason::Idle, until });
        }
        Next::Stay
    }

    /// Whether streams are open, or bytes of responses are not sent.
    fn is_busy(&self) -> bool {
        self.state.has_streams() || self.pending.has_any()
    }

    /// When the connection is idle for too long.
    fn idle_until(&self) -> Option<Instant> {
        Some(self.state.active_at(&self.table) + self.max_idle?)
    }

    fn set_timer(&mut self, now: Instant) {
        let at = match &self.closing {
            Some(Closing { until: Some(until), .. }) => (*until).min(now + CLOSE_TIMEOUT),
            Some(Closing { until: None, .. }) => now + NEVER,
            None => {
                let mut at = self.end_of_life;
                if !self.state.preface.is_complete() && now < self.preface_until {
                    at = at.min(self.preface_until);
                }
                if let (Some(max_idle), Some(until)) = (self.max_idle, self.idle_until()) {
                    let check = now + max_idle / IDLE_CHECKS;
                    at = at.min(if until > now { check.min(until) } else { check });
                }
                at
            }
        };
        self.timer.as_mut().reset(at);
    }

    /// Returns whether the peer has sent its preface, after a last attempt to read it. A peer
    /// without one has no request in flight and cannot be sent a GOAWAY.
    async fn has_preface<C: Future + Unpin>(&self, driver: C) -> bool {
        if self.state.preface.is_complete() {
            return true;
        }
        let is_closed = timeout(FINAL_READ_TIMEOUT, driver).await.is_ok();
        !is_closed && self.state.preface.is_complete()
    }
}

/// Later than any time that matters.
const NEVER: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

fn end_of_life(max_age: Duration) -> Instant {
    let age = if max_age.is_zero() { NEVER } else { max_age.mul_f64(rand::random_range(0.9..1.1)) };
    Instant::now() + age
}

/// Shows an error and its sources in one line.
struct ErrorChain<'a>(&'a dyn Error);

impl fmt::Display for ErrorChain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)?;
        let mut sources = std::iter::successors(self.0.source(), |error| (*error).source());
        sources.try_for_each(|error| write!(f, ": {error}"))
    }
}

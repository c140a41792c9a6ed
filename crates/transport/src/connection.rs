//! Serves one connection, from the preface to the last response.
//!
//! [`serve_connection`] builds the parts of a connection, [`Driver`] polls them, and [`Lifecycle`]
//! ends the connection: when the peer sends no preface, when it is idle or old, when a new
//! connection needs its place, and at shutdown.

use std::{
    error::Error,
    fmt,
    future::{Future, poll_fn, ready},
    io,
    net::SocketAddr,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::{Pin, pin},
    sync::Arc,
    task::{self, Poll},
    time::Duration,
};

use bytes::Bytes;
use futures_util::{FutureExt as _, future::Either};
use http::{Request, Response};
use http_body::Body;
use hyper::{
    body::Incoming,
    rt::Executor as _,
    server::conn::http2,
    service::{Service, service_fn},
};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::graceful::GracefulConnection,
};
use tokio::{
    net::TcpStream,
    time::{Instant, Sleep, sleep_until, timeout},
};

use crate::{
    Admission, Dispatched, Options, Reply,
    backlog::{Backlog, Stalled},
    connection_stats::CloseReason,
    connection_table::{ConnectionState, ConnectionTable, OpenConnection, Order},
    first_bytes::ForeignLog,
    inline_executor::{InlineExecutor, StreamSet},
    pending_io::PendingIo,
    preface::PrefaceIo,
    read_gate::ReadGate,
    request_body::RequestBody,
    response_body::{ResponseBody, ResponseProgress},
    stall_guard::StallGuard,
    stall_policy::StallPolicy,
    write_coalescing::{CoalescingIo, WriteBuffer},
};

/// Flow-control windows in bytes. With HTTP/2's default of 64 KiB one large value would take many
/// round trips.
const STREAM_WINDOW: u32 = 1024 * 1024;
const CONNECTION_WINDOW: u32 = 4 * 1024 * 1024;
/// Bytes buffered per stream before a response waits for a slow peer.
const SEND_BUFFER: usize = 512 * 1024;
/// Reset streams that are remembered. A connection with more is under attack and is closed
/// (CVE-2023-44487, RUSTSEC-2024-0003).
const MAX_LOCAL_RESETS: usize = 1024;
const MAX_PENDING_RESETS: usize = 64;
/// Time a peer has to send the HTTP/2 preface.
const PREFACE_TIMEOUT: Duration = Duration::from_secs(10);
/// Time at shutdown to read a preface that has already arrived.
const FINAL_READ_TIMEOUT: Duration = Duration::from_millis(100);
/// Time in which the peer of a connection that is closed without open streams must react.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);
/// How often the activity of a connection is checked within the time that it may be idle.
const IDLE_CHECKS: u32 = 8;

/// Shared by all connections of a server.
pub(crate) struct Context {
    pub(crate) options: Options,
    pub(crate) admission: Arc<Admission>,
    pub(crate) stall_policy: Arc<StallPolicy>,
    pub(crate) foreign_log: ForeignLog,
}

/// Serves `stream` until the peer closes it or its [`Lifecycle`] ends.
pub(crate) async fn serve_connection<H, F, B>(
    stream: TcpStream,
    peer: SocketAddr,
    connection: OpenConnection,
    context: Arc<Context>,
    handler: H,
) where
    H: Fn(Request<RequestBody>) -> Dispatched<F>,
    F: Future<Output = Reply<B>> + Send + 'static,
    B: Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    // Otherwise a response waits for the acknowledgement of the one before.
    let _ = stream.set_nodelay(true);
    let mut streams = StreamSet::new();
    let executor = streams.executor();
    let pending = PendingIo::new(connection.table.stats.clone(), context.stall_policy.clone());
    let gate = ReadGate::new(context.admission.backpressure().clone(), pending.clone());
    let (io, buffer) = CoalescingIo::new(stream, gate.clone());
    let io = PrefaceIo::new(io, connection.state.preface.clone());
    connection.state.begin(executor.clone());
    let lifecycle = Lifecycle::new(&context.options, &connection, pending.clone());
    let active = (connection.state.clone(), connection.table.clone());
    let backlog = Backlog::new(pending.clone());
    let service = service(handler, executor.clone(), gate.clone(), pending.clone(), active);
    let http = pin!(
        configure(http2::Builder::new(executor), &context.options)
            .serve_connection(TokioIo::new(io), service)
    );
    let mut driver = Driver { http, streams: &mut streams, gate, buffer, pending, backlog };
    let reason = lifecycle.run(&mut driver).await;
    if let Some(protocol) = connection.state.preface.foreign_protocol() {
        context.foreign_log.write(protocol, peer);
        connection.close(CloseReason::Foreign);
    } else {
        connection.close(reason);
    }
}

fn configure(
    mut http: http2::Builder<InlineExecutor>,
    options: &Options,
) -> http2::Builder<InlineExecutor> {
    // No gRPC client reads the date.
    http.auto_date_header(false)
        .timer(TokioTimer::new())
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_concurrent_streams(options.max_streams)
        .max_header_list_size(options.max_header_bytes)
        .max_local_error_reset_streams(MAX_LOCAL_RESETS)
        .max_pending_accept_reset_streams(MAX_PENDING_RESETS)
        .max_send_buf_size(SEND_BUFFER);
    if !options.keepalive_interval.is_zero() {
        http.keep_alive_interval(options.keepalive_interval)
            .keep_alive_timeout(options.keepalive_timeout);
    }
    http
}

/// Adapts `handler` to hyper. Requests make the connection `active`.
fn service<H, F, B>(
    handler: H,
    executor: InlineExecutor,
    gate: ReadGate,
    pending: PendingIo,
    active: (Arc<ConnectionState>, Arc<ConnectionTable>),
) -> impl Service<
    Request<Incoming>,
    Response = Response<ResponseBody<B>>,
    Error = io::Error,
    Future = impl Future<Output = io::Result<Response<ResponseBody<B>>>> + Send + 'static,
>
where
    H: Fn(Request<RequestBody>) -> Dispatched<F>,
    F: Future<Output = Reply<B>> + Send + 'static,
    B: Body<Data = Bytes> + Send + Unpin + 'static,
{
    service_fn(move |request: Request<Incoming>| {
        active.0.set_active(&active.1);
        let request = request.map(|body| RequestBody::new(body, pending.clone()));
        // As in the streams, a panic must not end the other requests of the connection. The panic
        // hook has logged it.
        let Ok(dispatched) = catch_unwind(AssertUnwindSafe(|| handler(request))) else {
            return Either::Right(ready(Err(io::Error::other("the handler panicked"))));
        };
        // hyper passes the stream to the executor as soon as it has this future.
        let progress = ResponseProgress::new(pending.clone());
        executor.prepare(dispatched.may_spawn, Some(StallGuard::new(progress.clone())));
        if dispatched.is_queued {
            gate.request_queued();
        }
        let executor = executor.clone();
        Either::Left(dispatched.reply.map(move |reply| {
            if let Some(unread) = reply.unread {
                executor.execute(unread.discard_rest());
            }
            Ok(reply.response.map(|body| ResponseBody::begin(body, progress, reply.held)))
        }))
    })
}

/// Polls a connection and its streams, and sends what they have written.
struct Driver<'a, C> {
    http: Pin<&'a mut C>,
    streams: &'a mut StreamSet,
    gate: ReadGate,
    buffer: WriteBuffer,
    pending: PendingIo,
    backlog: Backlog,
}

impl<C: Future> Future for Driver<'_, C> {
    type Output = Result<C::Output, Stalled>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut task::Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        this.gate.begin_poll();
        loop {
            let are_left = this.streams.poll_batch(cx);
            // Writes the responses of the streams to the buffer.
            let polled = this.http.as_mut().poll(cx);
            // Streams that end as their bytes are written do so before the bytes leave.
            let are_left = are_left || this.pending.take_resumed();
            let poll_again = polled.is_pending() && (are_left || this.gate.end_poll(cx));
            if !poll_again {
                // If the peer is gone, hyper sees it at the next read.
                let is_blocked = this.buffer.poll_send(cx).is_pending();
                if polled.is_pending() {
                    let blocked_at = is_blocked.then(|| this.buffer.total());
                    return this.backlog.poll_stalled(blocked_at, cx).map(Err);
                }
                return polled.map(Ok);
            }
        }
    }
}

/// Decides when a connection ends.
struct Lifecycle {
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
    fn new(options: &Options, connection: &OpenConnection, pending: PendingIo) -> Self {
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
    async fn run<C>(mut self, driver: &mut Driver<'_, C>) -> CloseReason
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

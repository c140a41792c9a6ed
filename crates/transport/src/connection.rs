//! Serves one connection, from the preface to the last response.
//!
//! [`serve_connection`] builds the parts of a connection, [`Driver`] polls them, and [`Lifecycle`]
//! ends the connection: when the peer sends no preface, at its maximum age, and at shutdown.

use std::{
    error::Error,
    fmt,
    future::{Future, ready},
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
    sync::OwnedSemaphorePermit,
    time::{Instant, Sleep, sleep, sleep_until, timeout},
};

use crate::{
    Admission, Dispatched, Options, Reply, Shutdown,
    bodies::{RequestBody, ResponseBody, ResponseProgress},
    first_bytes::ForeignLog,
    inline_executor::{InlineExecutor, StreamSet},
    pending_io::PendingIo,
    preface::{Preface, PrefaceIo},
    read_gate::ReadGate,
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

/// Shared by all connections of a server.
pub(crate) struct Context {
    pub(crate) options: Options,
    pub(crate) admission: Arc<Admission>,
    pub(crate) shutdown: Shutdown,
    pub(crate) stall_policy: Arc<StallPolicy>,
    pub(crate) foreign_log: ForeignLog,
}

/// Serves `stream` until the peer closes it or its [`Lifecycle`] ends. `slot` counts it as open.
pub(crate) async fn serve_connection<H, F, B>(
    stream: TcpStream,
    peer: SocketAddr,
    slot: OwnedSemaphorePermit,
    context: Arc<Context>,
    handler: H,
) where
    H: Fn(Request<RequestBody>) -> Dispatched<F>,
    F: Future<Output = Reply<B>> + Send + 'static,
    B: Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    let _slot = slot;
    // Otherwise a response waits for the acknowledgement of the one before.
    let _ = stream.set_nodelay(true);
    let mut streams = StreamSet::new();
    let executor = streams.executor();
    let pending = PendingIo::new(context.stall_policy.clone());
    let gate = ReadGate::new(context.admission.backpressure().clone(), pending.clone());
    let (io, buffer) = CoalescingIo::new(stream, gate.clone());
    let (io, preface) = PrefaceIo::new(io);
    let service = service(handler, executor.clone(), gate.clone(), pending);
    let http = pin!(
        configure(http2::Builder::new(executor), &context.options)
            .serve_connection(TokioIo::new(io), service)
    );
    let mut driver = Driver { http, streams: &mut streams, gate, buffer };
    Lifecycle::new(&context, preface.clone()).run(&mut driver).await;
    if let Some(protocol) = preface.foreign_protocol() {
        context.foreign_log.write(protocol, peer);
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

/// Adapts `handler` to hyper.
fn service<H, F, B>(
    handler: H,
    executor: InlineExecutor,
    gate: ReadGate,
    pending: PendingIo,
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
}

impl<C: Future> Future for Driver<'_, C> {
    type Output = C::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut task::Context<'_>) -> Poll<C::Output> {
        let this = &mut *self;
        this.gate.begin_poll();
        loop {
            let are_left = this.streams.poll_batch(cx);
            // Writes the responses of the streams to the buffer.
            let polled = this.http.as_mut().poll(cx);
            let poll_again = polled.is_pending() && (are_left || this.gate.end_poll(cx));
            if !poll_again {
                // If the peer is gone, hyper sees it at the next read.
                let _ = this.buffer.poll_send(cx);
                return polled;
            }
        }
    }
}

/// Decides when a connection ends.
struct Lifecycle<'a> {
    shutdown: &'a Shutdown,
    preface: Preface,
    /// None once it has passed.
    preface_timeout: Option<Pin<Box<Sleep>>>,
    /// The end of the connection's age, and then of the grace.
    end_of_life: Pin<Box<Sleep>>,
    grace: Duration,
    /// Whether the peer was told to open no more streams.
    is_draining: bool,
}

enum Event {
    PrefaceTimeout,
    MaxAge,
    GraceOver,
    Drain,
    Abort,
}

impl<'a> Lifecycle<'a> {
    fn new(context: &'a Context, preface: Preface) -> Self {
        Self {
            shutdown: &context.shutdown,
            preface,
            preface_timeout: Some(Box::pin(sleep(PREFACE_TIMEOUT))),
            end_of_life: Box::pin(sleep_until(end_of_life(context.options.max_age))),
            grace: context.options.max_age_grace,
            is_draining: false,
        }
    }

    /// Drives the connection until it ends.
    async fn run<C>(mut self, driver: &mut Driver<'_, C>)
    where
        C: GracefulConnection<Error = hyper::Error>,
    {
        loop {
            let event = tokio::select! {
                // The driver first: it is nearly always the one that is ready.
                biased;
                result = &mut *driver => {
                    if let Err(error) = result {
                        tracing::debug!(error = %ErrorChain(&error), "a connection failed");
                    }
                    return;
                }
                event = self.next_event() => event,
            };
            let stays_open = match event {
                Event::PrefaceTimeout => self.end_preface_timeout(),
                Event::MaxAge => {
                    self.end_of_life.set(sleep(self.grace));
                    true
                }
                Event::GraceOver => {
                    tracing::debug!("streams were open after the grace of their connection");
                    false
                }
                Event::Drain => self.has_preface(&mut *driver).await,
                Event::Abort => false,
            };
            if !stays_open {
                return;
            }
            if matches!(event, Event::MaxAge | Event::Drain) {
                self.is_draining = true;
                driver.http.as_mut().graceful_shutdown();
            }
        }
    }

    async fn next_event(&mut self) -> Event {
        let preface_timeout = async {
            match &mut self.preface_timeout {
                Some(timeout) => timeout.await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            () = preface_timeout => Event::PrefaceTimeout,
            () = &mut self.end_of_life => {
                if self.is_draining { Event::GraceOver } else { Event::MaxAge }
            }
            () = self.shutdown.drain.cancelled(), if !self.is_draining => Event::Drain,
            () = self.shutdown.abort.cancelled() => Event::Abort,
        }
    }

    /// Returns whether the peer has sent its preface in time.
    fn end_preface_timeout(&mut self) -> bool {
        self.preface_timeout = None;
        if !self.preface.is_complete() {
            tracing::debug!("a peer did not speak HTTP/2 in time");
        }
        self.preface.is_complete()
    }

    /// Returns whether the peer has sent its preface, after a last attempt to read it. A peer
    /// without one has no request in flight and cannot be sent a GOAWAY.
    async fn has_preface<C: Future + Unpin>(&self, driver: C) -> bool {
        if self.preface.is_complete() {
            return true;
        }
        let is_closed = timeout(FINAL_READ_TIMEOUT, driver).await.is_ok();
        !is_closed && self.preface.is_complete()
    }
}

fn end_of_life(max_age: Duration) -> Instant {
    const NEVER: Duration = Duration::from_secs(10 * 365 * 24 * 3600);
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

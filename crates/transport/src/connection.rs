//! Serves one connection, from the preface to the last response.
//!
//! [`serve_connection`] builds the parts of a connection, [`Driver`] polls them, and [`Lifecycle`]
//! ends the connection.

mod driver;
mod handshake;
mod lifecycle;

use std::{
    error::Error,
    future::{Future, ready},
    io,
    net::SocketAddr,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::pin,
    sync::Arc,
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
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpStream;

use crate::{
    Admission, Dispatched, Options, Reply,
    backlog::Backlog,
    connection_stats::CloseReason,
    connection_table::{ConnectionState, ConnectionTable, OpenConnection},
    first_bytes::ForeignLog,
    inline_executor::{InlineExecutor, StreamSet},
    peer::Peer,
    pending_io::PendingIo,
    preface::PrefaceIo,
    read_gate::ReadGate,
    request_body::RequestBody,
    response_body::{ResponseBody, ResponseProgress},
    socket::Socket,
    stall_guard::StallGuard,
    stall_policy::StallPolicy,
    tls::TlsPort,
    write_coalescing::CoalescingIo,
};
use driver::Driver;
use lifecycle::Lifecycle;

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
/// Shared by all connections of a server.
pub(crate) struct Context {
    pub(crate) options: Options,
    pub(crate) admission: Arc<Admission>,
    pub(crate) stall_policy: Arc<StallPolicy>,
    pub(crate) foreign_log: ForeignLog,
    /// `None`: the port speaks plain HTTP/2.
    pub(crate) tls: Option<Arc<TlsPort>>,
}

/// Serves `stream` until the peer closes it or its [`Lifecycle`] ends.
pub(crate) async fn serve_connection<H, F, B>(
    stream: TcpStream,
    address: SocketAddr,
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
    let peer = Peer::new(address);
    let (socket, peer) = match &context.tls {
        None => (Socket::Plain(stream), peer),
        // On the heap: it is large, and connections without TLS need no place for it.
        Some(tls) => match Box::pin(handshake::accept(tls, stream, peer, &connection)).await {
            Ok(accepted) => accepted,
            Err(reason) => return connection.close(reason),
        },
    };
    let mut streams = StreamSet::new();
    let executor = streams.executor();
    let stats = connection.table.stats.clone();
    let pending = PendingIo::new(stats, peer, context.stall_policy.clone());
    let gate = ReadGate::new(context.admission.backpressure().clone(), pending.clone());
    let (io, buffer) = CoalescingIo::new(socket, gate.clone());
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
        context.foreign_log.write(protocol, address);
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

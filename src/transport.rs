//! Connections: accepted, bounded, aged and drained. Knows nothing of what is asked on them.

mod awaited;
mod backpressure;
mod handshake;
mod outbox;
mod streams;
#[cfg(test)]
mod wakes;

use std::{
    future::{Future, poll_fn, ready},
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use futures_util::{FutureExt as _, future::Either};
use http::{Request, Response};
use hyper::{body::Incoming, server::conn::http2, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
    time::Instant,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tonic::body::Body;

pub use awaited::RequestBody;
pub use backpressure::Backpressure;

use awaited::Awaited;
use backpressure::Intake;
use handshake::CountedIo;
use outbox::{CoalescedIo, Outbox};
use streams::Streams;

use crate::error_chain::ErrorChain;

/// HTTP/2 windows. The protocol's default of 64 KiB would make one value of the default size limit take many round trips.
const STREAM_WINDOW: u32 = 1024 * 1024;
const CONNECTION_WINDOW: u32 = 4 * 1024 * 1024;
/// Bytes kept for a slow reader before the answer waits for him.
const SEND_BUFFER: usize = 512 * 1024;
/// Streams reset by either side that are remembered; beyond this a connection is under attack and is closed
/// (CVE-2023-44487, RUSTSEC-2024-0003).
const MAX_LOCAL_RESETS: usize = 1024;
const MAX_PENDING_RESETS: usize = 64;
/// Time for a peer to say that it speaks HTTP/2.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// Time for what has arrived to be read before a silent connection is dropped at shutdown.
const LAST_WORDS: Duration = Duration::from_millis(100);
/// After an error of the listener, such as too many open files.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Limits of the transport. A duration of zero means never.
#[derive(Debug, Clone)]
pub struct TransportOptions {
    /// Connections at a time; more wait to be accepted.
    pub max_connections: usize,
    /// Streams at a time on one connection.
    pub max_streams: u32,
    /// Size of all headers of one request.
    pub max_header_bytes: u32,
    /// When a connection is asked to be replaced, to within a tenth, so that load balancers can even out.
    pub max_age: Duration,
    /// Time without traffic after which the peer is asked for a sign of life.
    pub keepalive_interval: Duration,
    /// How long the peer may take for it.
    pub keepalive_timeout: Duration,
}

/// What has to be done for a request.
pub struct Work<F> {
    /// Whether it may be so much that, if it has to wait for something, it goes on beside the other requests of its connection.
    pub is_heavy: bool,
    /// Whether it was asked for while there was enough to do, so that it is not begun yet.
    pub is_too_much: bool,
    /// The answer.
    pub answer: F,
}

/// What a request is answered.
pub struct Answer {
    /// What is sent.
    pub response: Response<Body>,
    /// The rest of a request that was turned away without being read.
    pub unread: Option<RequestBody>,
}

/// How the connections are told to end.
#[derive(Debug, Clone, Default)]
pub struct Shutdown {
    /// No new connections and no new requests; what was begun is finished.
    pub drain: CancellationToken,
    /// What is not finished is cut off.
    pub cut: CancellationToken,
}

/// Accepts connections and serves requests with `answer` until `shutdown.drain`, then waits until the open ones have ended,
/// which they do at `shutdown.cut` at the latest. Those that have brought too much are read in turns under `backpressure`.
pub async fn serve<A, F>(
    listener: TcpListener,
    options: TransportOptions,
    backpressure: Arc<Backpressure>,
    shutdown: Shutdown,
    answer: A,
) where
    A: Fn(Request<RequestBody>) -> Work<F> + Clone + Send + Sync + 'static,
    F: Future<Output = Answer> + Send + 'static,
{
    let connections = TaskTracker::new();
    let places = Arc::new(Semaphore::new(options.max_connections));
    let options = Arc::new(options);
    let accepting = async {
        loop {
            // The semaphore is never closed.
            let Ok(place) = places.clone().acquire_owned().await else { return };
            match listener.accept().await {
                Ok((stream, _)) => {
                    let (options, backpressure) = (options.clone(), backpressure.clone());
                    let serving = serve_connection(
                        stream,
                        place,
                        options,
                        backpressure,
                        shutdown.clone(),
                        answer.clone(),
                    );
                    connections.spawn(serving);
                }
                Err(error) => pause_after(&error).await,
            }
        }
    };
    shutdown.drain.run_until_cancelled(accepting).await;
    drop(listener);
    connections.close();
    // Each of them ends at `shutdown.cut`.
    connections.wait().await;
}

async fn pause_after(error: &io::Error) {
    let peer_has_gone =
        matches!(error.kind(), io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset);
    if !peer_has_gone {
        tracing::warn!(%error, "cannot accept connections");
        tokio::time::sleep(ACCEPT_PAUSE).await;
    }
}

async fn serve_connection<A, F>(
    stream: TcpStream,
    _place: OwnedSemaphorePermit,
    options: Arc<TransportOptions>,
    backpressure: Arc<Backpressure>,
    shutdown: Shutdown,
    answer: A,
) where
    A: Fn(Request<RequestBody>) -> Work<F>,
    F: Future<Output = Answer> + Send + 'static,
{
    // Without it answers wait for the acknowledgement of earlier ones.
    let _ = stream.set_nodelay(true);
    let mut streams = Streams::new();
    let begin = streams.executor();
    let awaited = Awaited::new(begin.clone());
    let intake = Intake::new(backpressure, awaited.clone());
    let service = service_fn(|request: Request<Incoming>| {
        let request = request.map(|body| awaited.request(body));
        // As in the answer itself, a panic must not take the other requests of the connection with it. The panic hook has logged it.
        let Ok(work) = catch_unwind(AssertUnwindSafe(|| answer(request))) else {
            return Either::Right(ready(Err(io::Error::other("it panicked"))));
        };
        // hyper hands the stream to the executor as soon as it has the future of the answer.
        begin.next_is_heavy(work.is_heavy);
        if work.is_too_much {
            intake.brings_too_much();
        }
        let awaited = awaited.clone();
        Either::Left(work.answer.map(|answer| {
            if let Some(rest) = answer.unread {
                rest.discard_rest();
            }
            Ok(answer.response.map(|body| awaited.answer(body)))
        }))
    });
    let (io, outbox) = CoalescedIo::new(stream, intake.clone());
    let (io, received) = CountedIo::new(io);
    let mut http = http2::Builder::new(streams.executor());
    // No gRPC client looks at the date.
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
    let mut connection = std::pin::pin!(http.serve_connection(TokioIo::new(io), service));
    let mut handshake = std::pin::pin!(tokio::time::sleep(HANDSHAKE_TIMEOUT));
    let mut age = std::pin::pin!(tokio::time::sleep_until(end_of_life(options.max_age)));
    let (mut shaking_hands, mut leaving) = (true, false);
    loop {
        tokio::select! {
            ended = poll_fn(|cx| poll_and_send(connection.as_mut(), &mut streams, &intake, &outbox, cx)) => {
                if let Err(error) = ended {
                    tracing::debug!(error = %ErrorChain(&error), "a connection failed");
                }
                return;
            }
            () = &mut handshake, if shaking_hands => {
                if !received.is_handshake() {
                    tracing::debug!("a peer did not speak HTTP/2 in time");
                    return;
                }
                shaking_hands = false;
            }
            () = &mut age, if !leaving => {
                leaving = true;
                connection.as_mut().graceful_shutdown();
            }
            () = shutdown.drain.cancelled(), if !leaving => {
                // What a peer has said may only not have been read yet.
                let serving = poll_fn(|cx| poll_and_send(connection.as_mut(), &mut streams, &intake, &outbox, cx));
                if !received.is_handshake() && tokio::time::timeout(LAST_WORDS, serving).await.is_ok() {
                    return;
                }
                // A peer that has not said anything has nothing to finish, and cannot be told.
                if !received.is_handshake() {
                    return;
                }
                leaving = true;
                connection.as_mut().graceful_shutdown();
            }
            () = shutdown.cut.cancelled() => return,
        }
    }
}

/// Goes on with what a connection has to do, and sends all that was written. If the peer is gone, the connection will find out by
/// itself.
fn poll_and_send<C: Future>(
    mut connection: Pin<&mut C>,
    streams: &mut Streams,
    intake: &Intake,
    outbox: &Outbox,
    cx: &mut Context<'_>,
) -> Poll<C::Output> {
    intake.goes_on();
    loop {
        let are_left = streams.poll(cx);
        // It writes what they answered.
        let polled = connection.as_mut().poll(cx);
        let goes_on = polled.is_pending() && (are_left || intake.reads_on(cx));
        if !goes_on {
            let _ = outbox.poll_send(cx);
            return polled;
        }
    }
}

fn end_of_life(max_age: Duration) -> Instant {
    const FOR_EVER: Duration = Duration::from_secs(10 * 365 * 24 * 3600);
    let age =
        if max_age.is_zero() { FOR_EVER } else { max_age.mul_f64(rand::random_range(0.9..1.1)) };
    Instant::now() + age
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;

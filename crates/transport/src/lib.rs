//! An HTTP/2 server for many small answers.
//!
//! The server calls a handler with each request, and leaves the meaning of the request to it.
//! [`serve`] accepts connections, bounds them, replaces them at an age and drains them at shutdown.
//! `connection_table` selects the connection that makes room when there are too many. It is built
//! on hyper. Six things differ from hyper's own loop, and each of them is described in its module:
//!
//! - `write_coalescing`: responses that are ready together leave in one system call.
//! - `inline_executor`: streams run in the task of their connection.
//! - `admission`: a limit on concurrent requests, with a short queue that serves the connections in
//!   turns.
//! - `fair_limit`: limits that no connection can take alone, of requests, streams and bytes.
//! - `message`, `stall_guard` and `backlog`: requests that are incomplete, and responses that are
//!   not read, hold little and not for long.
//! - `backpressure`, `read_gate`, `request_body`, `response_body` and `pending_io`: while requests
//!   are queued, the connections that brought them are not read.
//!
//! With [`ServerParts::tls`] the connections have TLS (`tls`). All of the above is above it.
//!
//! [`runtime`] builds the Tokio runtime. Its threads release backpressure when they have no task,
//! and can poll for events before they sleep (feature `busy-poll`).
//!
//! ```no_run
//! use std::{sync::Arc, time::Duration};
//!
//! use http::{Request, Response};
//! use http_body_util::Full;
//! use transport::{
//!     Admission, ConnectionStats, Dispatched, FairLimit, Options, Reply, RequestBody, Resource,
//!     ServerParts, Shutdown, StallPolicy, runtime, serve,
//! };
//!
//! fn main() -> std::io::Result<()> {
//!     let options = Options {
//!         max_streams: 256,
//!         max_header_bytes: 16 * 1024,
//!         max_idle: Duration::ZERO,
//!         max_age: Duration::ZERO,
//!         max_age_grace: Duration::from_secs(60),
//!         keepalive_interval: Duration::from_secs(30),
//!         keepalive_timeout: Duration::from_secs(10),
//!     };
//!     let admission = Admission::new(1000);
//!     let runtime::Threads { runtime, .. } = runtime::build(Duration::ZERO, &admission)?;
//!     runtime.block_on(async {
//!         let listener = tokio::net::TcpListener::bind("127.0.0.1:8080").await?;
//!         let handler = |_: Request<RequestBody>| Dispatched {
//!             may_spawn: false,
//!             is_queued: false,
//!             reply: async {
//!                 Reply { response: Response::new(Full::from("hello")), unread: None, held: None }
//!             },
//!         };
//!         let buffered = FairLimit::new(Resource::Bytes, 64 << 20, 64 << 10);
//!         let server = ServerParts {
//!             options,
//!             admission,
//!             stall_policy: StallPolicy::new(Duration::from_secs(30), buffered),
//!             stats: Arc::new(ConnectionStats::new(1024)),
//!             tls: None,
//!             shutdown: Shutdown::default(),
//!         };
//!         serve(listener, server, handler).await;
//!         Ok(())
//!     })
//! }
//! ```

mod accept_errors;
mod acceptor;
mod admission;
mod backlog;
mod backpressure;
#[cfg(feature = "busy-poll")]
mod busy_poll;
mod connection;
mod connection_candidates;
mod connection_limiter;
mod connection_share;
mod connection_stats;
mod connection_table;
mod fair_limit;
mod first_bytes;
mod inline_executor;
mod message;
mod peer;
mod pending_io;
mod preface;
mod read_gate;
mod request_body;
mod response_body;
pub mod runtime;
mod socket;
mod stall_guard;
mod stall_policy;
mod threads;
mod tls;
mod wait_queue;
#[cfg(test)]
mod wake_counter;
mod write_coalescing;

use std::{error::Error, future::Future, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use tokio::{net::TcpListener, time::MissedTickBehavior};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

pub use accept_errors::{AcceptError, AcceptErrors};
pub use admission::{Admission, Permit, Rejected};
pub use connection_share::{ConnectionShare, Resource};
pub use connection_stats::{CloseReason, ConnectionStats};
pub use fair_limit::{FairLimit, Taken};
pub use message::{Exhausted, MessageBody, MessageReader};
pub use peer::Peer;
pub use request_body::RequestBody;
pub use stall_policy::StallPolicy;
pub use tls::{
    CountedSocket, HandshakeFailure, HandshakeOutcome, PortNames, TlsConnection, TlsPort,
    TlsSettings,
};

use acceptor::Acceptor;
use connection::{Context, serve_connection};
use connection_table::{ConnectionTable, Order};
use first_bytes::ForeignLog;

/// Maximum and minimum time between two ticks of the clock that measures idleness.
const MAX_TICK: Duration = Duration::from_secs(1);
const MIN_TICK: Duration = Duration::from_millis(10);

/// Limits of the server.
#[derive(Debug, Clone)]
pub struct Options {
    /// Maximum number of concurrent streams of a connection.
    pub max_streams: u32,
    /// Maximum size of all headers of a request, in bytes.
    pub max_header_bytes: u32,
    /// Time without open streams after which a connection is closed gracefully. Zero means never.
    pub max_idle: Duration,
    /// Age at which a peer is asked to open a new connection, give or take a tenth, so that load
    /// balancers can spread the load. Zero means never.
    pub max_age: Duration,
    /// Time after that in which open streams may end; then the connection is closed.
    pub max_age_grace: Duration,
    /// Time without traffic after which the peer is sent a PING. Zero means never.
    pub keepalive_interval: Duration,
    /// Time the peer has to answer the PING.
    pub keepalive_timeout: Duration,
}

/// State and limits of a server, which its connections share.
pub struct ServerParts {
    /// Limits of its connections.
    pub options: Options,
    /// Limit on its concurrent requests.
    pub admission: Arc<Admission>,
    /// Resets the responses that the peer does not read.
    pub stall_policy: Arc<StallPolicy>,
    /// Counts its connections, and has their limit.
    pub stats: Arc<ConnectionStats>,
    /// TLS of its connections; `None` for plain HTTP/2.
    pub tls: Option<Arc<TlsPort>>,
    /// Ends it.
    pub shutdown: Shutdown,
}

/// The future of a reply, and how to run it.
pub struct Dispatched<F> {
    /// Whether the stream gets a task of its own if it has to wait, because it may be much work.
    /// Other streams run in the task of their connection.
    pub may_spawn: bool,
    /// Whether the request is [queued](Admission::acquire_queued).
    pub is_queued: bool,
    /// Resolves to the [`Reply`].
    pub reply: F,
}

/// The reply to a request.
pub struct Reply<B> {
    /// The response to send.
    pub response: Response<B>,
    /// The body of a request that was rejected before its body was read.
    pub unread: Option<RequestBody>,
    /// Bytes and permit that the response holds until all of it is sent.
    pub held: Option<Held>,
}

/// Bytes and permit of a response.
#[derive(Debug)]
pub struct Held {
    /// Its bytes. `None` if they count only while they wait for the peer.
    pub bytes: Option<Taken>,
    /// Its request is in flight until then, or until the peer has kept it waiting for a second: an
    /// unread response holds bytes, and no place of a request.
    pub permit: Option<Permit>,
}

/// The two stages of a shutdown.
#[derive(Debug, Clone, Default)]
pub struct Shutdown {
    /// Stops new connections and requests. Requests in flight finish.
    pub drain: CancellationToken,
    /// Closes all connections, whatever is in flight.
    pub abort: CancellationToken,
}

/// Accepts connections and serves their requests with `handler` until [`Shutdown::drain`], then
/// waits until the open connections have ended, which they do at [`Shutdown::abort`] at the latest.
///
/// Above the limit of [`ServerParts::stats`] a new connection displaces an idle one, or is refused.
/// While requests are queued in [`ServerParts::admission`], the connections that brought them are
/// read less often.
pub async fn serve<H, F, B>(listener: TcpListener, server: ServerParts, handler: H)
where
    H: Fn(Request<RequestBody>) -> Dispatched<F> + Clone + Send + Sync + 'static,
    F: Future<Output = Reply<B>> + Send + 'static,
    B: Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    let ServerParts { options, admission, stall_policy, stats, tls, shutdown } = server;
    let connections = TaskTracker::new();
    let tick = tick_length(options.max_idle);
    let table = ConnectionTable::new(stats, tick);
    let mut ticks = tokio::time::interval(tick);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let foreign_log = ForeignLog::default();
    let context = Arc::new(Context { options, admission, stall_policy, foreign_log, tls });
    let mut acceptor = Acceptor::new(table.clone());
    let accept_loop = async {
        loop {
            let accepted = tokio::select! {
                biased;
                _ = ticks.tick() => {
                    acceptor.tick();
                    continue;
                }
                accepted = listener.accept() => accepted,
            };
            let Some((stream, peer, connection)) = acceptor.admit(accepted).await else { continue };
            let (context, handler) = (context.clone(), handler.clone());
            connections.spawn(serve_connection(stream, peer, connection, context, handler));
        }
    };
    shutdown.drain.run_until_cancelled(accept_loop).await;
    drop(listener);
    connections.close();
    table.order_all(Order::Drain);
    if shutdown.abort.run_until_cancelled(connections.wait()).await.is_none() {
        table.order_all(Order::Abort);
        connections.wait().await;
    }
}

fn tick_length(max_idle: Duration) -> Duration {
    if max_idle.is_zero() { MAX_TICK } else { (max_idle / 16).clamp(MIN_TICK, MAX_TICK) }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;

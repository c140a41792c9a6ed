//! The admin port: HTTP for Prometheus, for probes without gRPC, and for events. With a token, all
//! but the probes needs it or a session.

mod access;
mod attempts;
mod cookies;
mod form;
mod login;
mod open_metrics;
mod origin;
mod pages;
mod refusals;
mod sessions;
mod tokens;

use std::{
    collections::VecDeque,
    future::ready,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use axum::{
    Router,
    extract::{ConnectInfo, Request, State},
    http::StatusCode,
    middleware,
    routing::get,
};
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use prometheus::Registry;
use repeated_events::{RepeatedEvent, Summary};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpListener,
    task::{AbortHandle, JoinSet},
    time::MissedTickBehavior,
};
use tokio_util::sync::CancellationToken;
use transport::{AcceptError, AcceptErrors, CloseReason, ConnectionStats, TlsConnection, TlsPort};

use crate::health::Health;
use access::{LIVEZ, READYZ, require_credentials};

pub use access::AdminAccess;
pub use sessions::Session;

/// Maximum number of open connections. Each lasts for one request.
pub const MAX_CONNECTIONS: usize = 128;
/// Time in which a peer must send its request.
const HEADER_TIMEOUT: Duration = Duration::from_secs(5);
/// Time in which a connection must end, with its answer.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(30);
/// Time between two checks whether events that are logged are over.
const TICK: Duration = Duration::from_secs(1);

#[derive(Clone)]
struct Admin {
    registry: Registry,
    health: Health,
}

/// The parts of the admin port.
pub struct AdminPort {
    /// The metrics that `/metrics` shows.
    pub registry: Registry,
    /// The state that the probes ask for.
    pub health: Health,
    /// Decides which requests are answered.
    pub access: Arc<AdminAccess>,
    /// Further routes.
    pub routes: Router,
    /// Counts the connections, and has their limit.
    pub stats: Arc<ConnectionStats>,
    /// TLS of the port; none for plain HTTP.
    pub tls: Option<Arc<TlsPort>>,
}

/// A connection that is served.
struct Served {
    task: AbortHandle,
    /// Whether its request has come, or at least its head.
    is_asked: Arc<AtomicBool>,
}

/// An open connection, counted until it is dropped.
struct OpenConnection {
    stats: Arc<ConnectionStats>,
    /// The reason if its task is aborted.
    reason: CloseReason,
}

/// Serves `/metrics`, `/livez`, `/readyz` and the further routes until `stop` is cancelled.
pub async fn serve(listener: TcpListener, port: AdminPort, stop: CancellationToken) {
    let AdminPort { registry, health, access, routes, stats, tls } = port;
    let router = Router::new()
        .route("/metrics", get(open_metrics::metrics))
        .route(LIVEZ, get(async || "ok\n"))
        .route(READYZ, get(readyz))
        .with_state(Admin { registry, health: health.clone() })
        .merge(login::router(access.clone(), health))
        .merge(routes)
        .layer(middleware::from_fn_with_state(access, require_credentials));
    stop.run_until_cancelled(accept(&listener, &router, &stats, tls.as_ref())).await;
}

/// Serves one request per connection. Above the limit of `stats` the oldest connection without a
/// complete request is closed, so that peers that send nothing cannot keep probes out. Requests in
/// flight go on, unless there are only such.
async fn accept(
    listener: &TcpListener,
    router: &Router,
    stats: &Arc<ConnectionStats>,
    tls: Option<&Arc<TlsPort>>,
) {
    let mut connections = VecDeque::new();
    // Aborts the connections when it is dropped.
    let mut tasks = JoinSet::new();
    let (mut errors, mut displaced) = (AcceptErrors::new("admin"), RepeatedEvent::default());
    let mut ticks = tokio::time::interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let accepted = tokio::select! {
            biased;
            _ = ticks.tick() => {
                errors.tick();
                if let Some(Summary { count, seconds }) = displaced.ended() {
                    tracing::info!(count, seconds, "the admin port has few connections again");
                }
                continue;
            }
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, peer)) => {
                let connection = OpenConnection::new(stats.clone());
                let is_asked = Arc::<AtomicBool>::default();
                let (router, tls) = (with_peer(router, peer, &is_asked), tls.cloned());
                let served = async move {
                    match tls {
                        None => serve_connection(stream, router, connection).await,
                        Some(tls) => match tls.accept(stream, peer).await {
                            Ok(TlsConnection { stream, .. }) => {
                                serve_connection(stream, router, connection).await;
                            }
                            Err(failure) => connection.close(failure.close_reason()),
                        },
                    }
                };
                connections.push_back(Served { task: tasks.spawn(served), is_asked });
            }
            Err(error) => {
                if errors.handle(&error).await != AcceptError::PeerGone {
                    stats.add_accept_error();
                }
            }
        }
        while tasks.try_join_next().is_some() {}
        if connections.len() > stats.limit() {
            connections.retain(|connection: &Served| !connection.task.is_finished());
        }
        if connections.len() > stats.limit()
            && let Some(oldest) = take_oldest(&mut connections)
        {
            oldest.task.abort();
            if let Some(Summary { count, seconds }) = displaced.occurred() {
                let limit = stats.limit();
                tracing::warn!(
                    limit,
                    count,
                    seconds,
                    remedy = "find out what connects to the admin port",
                    "the admin port has too many connections: the oldest ones are closed"
                );
            }
        }
    }
}

/// The oldest connection without a complete request, or else the oldest.
fn take_oldest(connections: &mut VecDeque<Served>) -> Option<Served> {
    let is_silent = |connection: &Served| !connection.is_asked.load(Relaxed);
    let oldest = connections.iter().position(is_silent).unwrap_or(0);
    connections.remove(oldest)
}

/// The routes for one connection, whose requests have the address of its peer.
fn with_peer(router: &Router, peer: SocketAddr, is_asked: &Arc<AtomicBool>) -> Router {
    let is_asked = is_asked.clone();
    router.clone().layer(middleware::map_request(move |mut request: Request| {
        is_asked.store(true, Relaxed);
        request.extensions_mut().insert(ConnectInfo(peer));
        ready(request)
    }))
}

async fn serve_connection(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    router: Router,
    mut connection: OpenConnection,
) {
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    // A peer that does not read its answer is not worth a line.
    connection.reason = match tokio::time::timeout(CONNECTION_TIMEOUT, served).await {
        Ok(Ok(())) => CloseReason::Ended,
        Ok(Err(error)) if error.is_timeout() => CloseReason::Silent,
        Ok(Err(_)) => CloseReason::Failed,
        Err(_elapsed) => CloseReason::Timeout,
    };
}

impl OpenConnection {
    fn new(stats: Arc<ConnectionStats>) -> Self {
        stats.add_open();
        Self { stats, reason: CloseReason::Displaced }
    }

    fn close(mut self, reason: CloseReason) {
        self.reason = reason;
    }
}

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.stats.add_closed(self.reason);
    }
}

async fn readyz(State(admin): State<Admin>) -> (StatusCode, &'static str) {
    if admin.health.is_ready() {
        (StatusCode::OK, "ok\n")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "not ready\n")
    }
}

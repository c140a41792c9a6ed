//! The admin port: HTTP for Prometheus, for probes without gRPC, for events, and for the pages of
//! the dashboard. With a token, all but the probes needs a token or a session.

mod access;
mod access_end;
mod attempts;
mod bearer;
mod connection;
mod cookies;
mod form;
mod guard;
mod login;
mod open_metrics;
mod origin;
mod pages;
mod refusals;
mod rules;
mod sessions;
mod tokens;

use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use axum::{Router, extract::State, http::StatusCode, middleware, routing::get};
use prometheus::Registry;
use repeated_events::{RepeatedEvent, Summary};
use tokio::{
    net::TcpListener,
    task::{AbortHandle, JoinSet},
    time::MissedTickBehavior,
};
use tokio_util::sync::CancellationToken;
use transport::{AcceptError, AcceptErrors, ConnectionStats, TlsConnection, TlsPort};

use crate::health::Health;
use access::{LIVEZ, READYZ, require_credentials};
use connection::{ConnectionState, OpenConnection, serve_connection};
use guard::{guard_pages, guard_programs};

pub use access::AdminAccess;
pub use access_end::AccessEnd;
pub use connection::LongAnswer;
pub use form::MAX_FORM_BYTES;
pub use guard::OperatorNeeded;
pub use sessions::Session;

/// Maximum number of open connections. Each lasts for one request.
pub const MAX_CONNECTIONS: usize = 128;
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
    /// Further routes, for programs.
    pub routes: Router,
    /// Pages for people.
    pub pages: Router,
    /// Counts the connections, and has their limit.
    pub stats: Arc<ConnectionStats>,
    /// TLS of the port; none for plain HTTP.
    pub tls: Option<Arc<TlsPort>>,
}

/// A connection that is served.
struct Served {
    task: AbortHandle,
    /// Whether its request has come, with its body.
    is_asked: Arc<AtomicBool>,
}

/// Serves `/metrics`, `/livez`, `/readyz` and the further routes until `stop` is cancelled.
pub async fn serve(listener: TcpListener, port: AdminPort, stop: CancellationToken) {
    let AdminPort { registry, health, access, routes, pages, stats, tls } = port;
    let admin = Admin { registry, health };
    let programs = Router::new()
        .route("/metrics", get(open_metrics::metrics))
        .with_state(admin.clone())
        .merge(routes)
        .route_layer(middleware::from_fn_with_state(access.clone(), guard_programs));
    let router = Router::new()
        .route(LIVEZ, get(async || "ok\n"))
        .route(READYZ, get(readyz))
        .with_state(admin)
        .merge(login::router(access.clone()))
        .merge(programs)
        .merge(pages.route_layer(middleware::from_fn_with_state(access.clone(), guard_pages)))
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
                let state = ConnectionState::default();
                let (router, tls) = (router.clone(), tls.cloned());
                let is_asked = state.is_asked.clone();
                let served = async move {
                    match tls {
                        None => {
                            let router = state.routes(&router, peer, None);
                            serve_connection(stream, router, &state, connection).await;
                        }
                        Some(tls) => match tls.accept(stream, peer).await {
                            Ok(TlsConnection { stream, certificate }) => {
                                let router = state.routes(&router, peer, certificate);
                                serve_connection(stream, router, &state, connection).await;
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

/// The oldest connection without a complete request, or else the oldest. Never the newest, which
/// had no time to send one.
fn take_oldest(connections: &mut VecDeque<Served>) -> Option<Served> {
    let others = connections.len().saturating_sub(1);
    let is_silent = |connection: &Served| !connection.is_asked.load(Relaxed);
    let oldest = connections.iter().take(others).position(is_silent).unwrap_or(0);
    connections.remove(oldest)
}

async fn readyz(State(admin): State<Admin>) -> (StatusCode, &'static str) {
    if admin.health.is_ready() {
        (StatusCode::OK, "ok\n")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "not ready\n")
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_newest_connection_stays() {
        let connection = |is_asked: bool| {
            let task = tokio::spawn(async {}).abort_handle();
            Served { task, is_asked: Arc::new(AtomicBool::new(is_asked)) }
        };
        let taken = |asked: &[bool]| {
            let mut connections: VecDeque<Served> =
                asked.iter().map(|it| connection(*it)).collect();
            let task = take_oldest(&mut connections).unwrap().task.id();
            assert!(connections.iter().all(|left| left.task.id() != task));
            let left = connections.iter().map(|left| left.is_asked.load(Relaxed));
            left.collect::<Vec<bool>>()
        };
        assert_eq!(taken(&[true, false, false]), [true, false]);
        assert_eq!(taken(&[true, true, false]), [true, false], "the oldest of those that asked");
        assert_eq!(taken(&[false, true]), [true]);
        assert!(taken(&[false]).is_empty());
    }
}

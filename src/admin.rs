//! The admin port: HTTP for Prometheus and for probes without gRPC.

use std::{collections::VecDeque, time::Duration};

use axum::{
    Router,
    extract::State,
    http::{StatusCode, header},
    response::IntoResponse,
    routing::get,
};
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use prometheus::{Encoder as _, Registry, TextEncoder};
use tokio::{
    net::{TcpListener, TcpStream},
    task::{AbortHandle, JoinSet},
};
use tokio_util::sync::CancellationToken;

use crate::health::Health;

/// Open connections. Each lasts for one request.
const MAX_CONNECTIONS: usize = 128;
/// Time in which a peer must send its request.
const HEADER_TIMEOUT: Duration = Duration::from_secs(5);
/// Time in which a connection must end, with its answer.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(30);
/// Pause after an error of the listener, such as too many open files.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

#[derive(Clone)]
struct Admin {
    registry: Registry,
    health: Health,
}

/// Serves `/metrics`, `/livez` and `/readyz` until `stop` is cancelled.
pub async fn serve(
    listener: TcpListener,
    registry: Registry,
    health: Health,
    stop: CancellationToken,
) {
    let router = Router::new()
        .route("/metrics", get(metrics))
        .route("/livez", get(async || "ok\n"))
        .route("/readyz", get(readyz))
        .with_state(Admin { registry, health });
    stop.run_until_cancelled(accept(&listener, &router)).await;
}

/// Serves one request per connection. Above [`MAX_CONNECTIONS`] the oldest connection is closed,
/// so that peers that send nothing cannot keep probes out.
async fn accept(listener: &TcpListener, router: &Router) {
    let mut connections = VecDeque::new();
    // Aborts the connections when it is dropped.
    let mut tasks = JoinSet::new();
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                connections.push_back(tasks.spawn(serve_connection(stream, router.clone())));
            }
            Err(error) => {
                tracing::debug!(%error, "cannot accept connections of the admin port");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
        while tasks.try_join_next().is_some() {}
        if connections.len() > MAX_CONNECTIONS {
            connections.retain(|connection: &AbortHandle| !connection.is_finished());
        }
        if connections.len() > MAX_CONNECTIONS
            && let Some(oldest) = connections.pop_front()
        {
            oldest.abort();
        }
    }
}

async fn serve_connection(stream: TcpStream, router: Router) {
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    // A peer that does not read its answer is not worth a line.
    let _ = tokio::time::timeout(CONNECTION_TIMEOUT, served).await;
}

async fn metrics(State(admin): State<Admin>) -> impl IntoResponse {
    let encoder = TextEncoder::new();
    let mut text = Vec::new();
    match encoder.encode(&admin.registry.gather(), &mut text) {
        Ok(()) => {
            (StatusCode::OK, [(header::CONTENT_TYPE, encoder.format_type().to_owned())], text)
        }
        Err(error) => {
            tracing::error!(%error, "cannot write the metrics");
            let content_type = "text/plain; charset=utf-8".to_owned();
            (
                StatusCode::INTERNAL_SERVER_ERROR,
                [(header::CONTENT_TYPE, content_type)],
                b"cannot write the metrics\n".to_vec(),
            )
        }
    }
}

async fn readyz(State(admin): State<Admin>) -> (StatusCode, &'static str) {
    if admin.health.is_ready() {
        (StatusCode::OK, "ok\n")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "not ready\n")
    }
}

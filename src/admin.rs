//! The admin port: HTTP for Prometheus and for probes without gRPC.

use axum::{
    Router,
    extract::State,
    http::{StatusCode, header},
    response::IntoResponse,
    routing::get,
};
use prometheus::{Encoder as _, Registry, TextEncoder};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::health::Health;

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
    let served = stop.run_until_cancelled(axum::serve(listener, router).into_future()).await;
    if let Some(Err(error)) = served {
        tracing::error!(%error, "the admin port is closed");
    }
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

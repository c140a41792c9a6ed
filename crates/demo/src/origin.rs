//! The API from which the replicas fetch. It is slow at times, and fails at times.

use std::{path::PathBuf, time::Duration};

use axum::{
    Router,
    extract::{Path, State},
    http::{StatusCode, header::CONTENT_TYPE},
    response::{IntoResponse, Response},
    routing::get,
};
use serde_json::Value;
use tokio::{
    fs,
    net::TcpListener,
    time::{Instant, sleep},
};

use crate::{Error, values};

/// Users with higher numbers do not exist.
const USERS: u32 = 1_900;
/// One of so many requests for a user fails.
const FAILURES: u32 = 100;
/// Each minute, prices fail from this second to that one.
const OUTAGE: std::ops::Range<u64> = 20..35;
/// One of so many searches has no result.
const EMPTY: u32 = 4;

/// Serves the API on a free port, and writes its address to a file.
pub(crate) async fn serve(port_file: PathBuf) -> Result<(), Error> {
    let listener = TcpListener::bind("127.0.0.1:0").await.map_err(Error::Serve)?;
    let address = listener.local_addr().map_err(Error::Serve)?.to_string();
    // In one step: a reader of the file sees all of it or nothing.
    let temporary = port_file.with_extension("new");
    let written = async {
        fs::write(&temporary, address).await?;
        fs::rename(&temporary, &port_file).await
    };
    written.await.map_err(|source| Error::Write { path: port_file.clone(), source })?;
    let routes = Router::new()
        .route("/users/{id}", get(user))
        .route("/prices/{id}", get(price))
        .route("/products/{id}", get(product))
        .route("/search/{id}", get(search))
        .with_state(Instant::now());
    axum::serve(listener, routes).await.map_err(Error::Serve)
}

async fn user(Path(id): Path<u32>) -> Response {
    sleep(Duration::from_millis(rand::random_range(5..40))).await;
    if rand::random_range(0..FAILURES) == 0 {
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    }
    if id >= USERS {
        return StatusCode::NOT_FOUND.into_response();
    }
    let tags = [("cache-tag", format!("team-{}", id % 20))];
    (tags, json(&values::user(id))).into_response()
}

async fn price(State(start): State<Instant>, Path(id): Path<u32>) -> Response {
    let second = start.elapsed().as_secs();
    if OUTAGE.contains(&(second % 60)) {
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    }
    sleep(Duration::from_millis(rand::random_range(2..10))).await;
    json(&values::price(id, second)).into_response()
}

async fn product(Path(id): Path<u32>) -> Response {
    sleep(Duration::from_millis(rand::random_range(2..10))).await;
    json(&values::user(id)).into_response()
}

async fn search(Path(id): Path<u32>) -> Response {
    sleep(Duration::from_millis(rand::random_range(20..150))).await;
    if id.is_multiple_of(EMPTY) {
        return StatusCode::NOT_FOUND.into_response();
    }
    json(&values::user(id)).into_response()
}

fn json(value: &Value) -> impl IntoResponse {
    ([(CONTENT_TYPE, "application/json")], value.to_string())
}

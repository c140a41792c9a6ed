//! One connection of the admin port: one request, within a time.

use std::{
    future::ready,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    task::Poll,
    time::Duration,
};

use axum::{
    Router,
    body::{Body, Bytes, HttpBody as _},
    extract::{ConnectInfo, Request},
    middleware,
};
use futures_util::{StreamExt as _, stream};
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    time::sleep,
};
use transport::{CloseReason, ConnectionStats};

/// Time in which a peer must send its request.
const HEADER_TIMEOUT: Duration = Duration::from_secs(5);
/// Time in which a connection must end, with its answer.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(30);
/// Time in which a connection with a [`LongAnswer`] must end. A peer that does not read its answer
/// holds its place no longer.
const LONG_TIMEOUT: Duration = Duration::from_secs(15 * 60);

/// Lets the answer of a request take longer than others. An extension of requests.
#[derive(Debug, Clone, Default)]
pub struct LongAnswer(Arc<AtomicBool>);

impl LongAnswer {
    /// Longest time of such an answer. The connection is closed some time after that.
    pub const LIMIT: Duration = Duration::from_secs(10 * 60);

    /// The answer of this request is a long one. How many there are is for the handler to limit.
    pub fn begin(&self) {
        self.0.store(true, Relaxed);
    }
}

/// The verified client certificate of a connection in DER. An extension of requests.
#[derive(Debug, Clone)]
pub(super) struct PeerCertificate(pub(super) Bytes);

/// State of a connection, shared with the listener.
#[derive(Debug, Clone, Default)]
pub(super) struct ConnectionState {
    /// Whether its request has come, with its body.
    pub(super) is_asked: Arc<AtomicBool>,
    answer: LongAnswer,
}

/// An open connection, counted until it is dropped.
pub(super) struct OpenConnection {
    stats: Arc<ConnectionStats>,
    /// The reason if its task is aborted.
    reason: CloseReason,
}

impl ConnectionState {
    /// The routes for this connection, whose requests have the address of its peer, and its
    /// certificate.
    pub(super) fn routes(
        &self,
        router: &Router,
        peer: SocketAddr,
        certificate: Option<Bytes>,
    ) -> Router {
        let (state, certificate) = (self.clone(), certificate.map(PeerCertificate));
        router.clone().layer(middleware::map_request(move |request: Request| {
            let mut request = request.map(|body| marked_at_end(body, state.is_asked.clone()));
            request.extensions_mut().insert(ConnectInfo(peer));
            request.extensions_mut().insert(state.answer.clone());
            if let Some(certificate) = certificate.clone() {
                request.extensions_mut().insert(certificate);
            }
            ready(request)
        }))
    }

    /// Ends when the connection has taken too long.
    async fn expired(&self) {
        sleep(CONNECTION_TIMEOUT).await;
        if self.answer.0.load(Relaxed) {
            sleep(LONG_TIMEOUT - CONNECTION_TIMEOUT).await;
        }
    }
}

/// A body that sets the flag when all of it has come.
fn marked_at_end(body: Body, has_come: Arc<AtomicBool>) -> Body {
    if body.is_end_stream() {
        has_come.store(true, Relaxed);
        return body;
    }
    let end = stream::poll_fn(move |_| {
        has_come.store(true, Relaxed);
        Poll::Ready(None)
    });
    Body::from_stream(body.into_data_stream().chain(end))
}

/// Serves the request of a connection.
pub(super) async fn serve_connection(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    router: Router,
    state: &ConnectionState,
    mut connection: OpenConnection,
) {
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    // A peer that does not read its answer is not worth a line.
    connection.reason = tokio::select! {
        served = served => match served {
            Ok(()) => CloseReason::Ended,
            Err(error) if error.is_timeout() => CloseReason::Silent,
            Err(_) => CloseReason::Failed,
        },
        () = state.expired() => CloseReason::Timeout,
    };
}

impl OpenConnection {
    pub(super) fn new(stats: Arc<ConnectionStats>) -> Self {
        stats.add_open();
        Self { stats, reason: CloseReason::Displaced }
    }

    pub(super) fn close(mut self, reason: CloseReason) {
        self.reason = reason;
    }
}

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.stats.add_closed(self.reason);
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::timeout;

    use super::*;

    async fn ends_within(state: &ConnectionState, limit: Duration) -> bool {
        timeout(limit, state.expired()).await.is_ok()
    }

    #[tokio::test(start_paused = true)]
    async fn a_long_answer_has_a_limit_of_its_own() {
        let state = ConnectionState::default();
        assert!(!ends_within(&state, CONNECTION_TIMEOUT - Duration::from_millis(5)).await);
        assert!(ends_within(&state, CONNECTION_TIMEOUT + Duration::from_millis(5)).await);
        state.answer.begin();
        assert!(!ends_within(&state, LongAnswer::LIMIT + CONNECTION_TIMEOUT).await);
        assert!(ends_within(&state, LONG_TIMEOUT + Duration::from_millis(5)).await);
    }
}

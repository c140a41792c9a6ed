//! Opens connections to one address. The name in the certificate remains that of the origin's URL.

use std::{
    future::Future,
    io,
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use http::Uri;
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use tokio::{
    net::TcpStream,
    time::{Instant, timeout},
};
use tower::Service;

/// Time for which a failed attempt fails further ones. The library makes one attempt after another
/// for the waiting calls, and each attempt would run into its own timeout.
const FAILURE_TTL: Duration = Duration::from_millis(50);
/// Longest time without an acknowledgement of sent bytes. Keepalive does not apply while there is
/// something to send.
#[cfg(any(target_os = "linux", target_os = "android"))]
const TCP_USER_TIMEOUT: Duration = Duration::from_secs(10);

/// Connects to one address.
#[derive(Clone)]
pub(super) struct Connector {
    socket: SocketAddr,
    timeout: Duration,
    last_failure: Arc<Mutex<Option<ConnectError>>>,
}

struct ConnectError {
    at: Instant,
    kind: io::ErrorKind,
}

impl Connector {
    pub(super) fn new(socket: SocketAddr, timeout: Duration) -> Self {
        Self { socket, timeout, last_failure: Arc::default() }
    }

    async fn connect(self) -> io::Result<TokioIo<TcpStream>> {
        if let Some(failure) = &*self.last_failure.lock()
            && failure.at.elapsed() < FAILURE_TTL
        {
            return Err(self.error(failure.kind));
        }
        let connecting = timeout(self.timeout, TcpStream::connect(self.socket));
        match connecting.await.unwrap_or_else(|elapsed| Err(elapsed.into())) {
            Ok(stream) => {
                set_options(&stream);
                Ok(TokioIo::new(stream))
            }
            Err(error) => {
                *self.last_failure.lock() =
                    Some(ConnectError { at: Instant::now(), kind: error.kind() });
                Err(self.error(error.kind()))
            }
        }
    }

    fn error(&self, kind: io::ErrorKind) -> io::Error {
        io::Error::new(kind, format!("cannot connect to {}: {kind}", self.socket))
    }
}

/// Sets socket options. They are optional, so errors do not matter.
fn set_options(stream: &TcpStream) {
    let _ = stream.set_nodelay(true);
    #[cfg(any(target_os = "linux", target_os = "android"))]
    let _ = socket2::SockRef::from(stream).set_tcp_user_timeout(Some(TCP_USER_TIMEOUT));
}

impl Service<Uri> for Connector {
    type Response = TokioIo<TcpStream>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Self::Response>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        Box::pin(self.clone().connect())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    /// A connector whose address accepts connections.
    async fn connector() -> (Connector, TcpListener) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        (Connector::new(listener.local_addr().unwrap(), Duration::from_secs(60)), listener)
    }

    fn fail(connector: &Connector, at: Instant) {
        let kind = io::ErrorKind::ConnectionRefused;
        *connector.last_failure.lock() = Some(ConnectError { at, kind });
    }

    #[tokio::test]
    async fn sockets_have_their_options() {
        let (mut connector, _listener) = connector().await;
        let stream = connector.call(Uri::from_static("http://origin.test")).await.unwrap();
        let stream = stream.inner();
        assert!(stream.nodelay().unwrap());
        #[cfg(target_os = "linux")]
        {
            let timeout = socket2::SockRef::from(stream).tcp_user_timeout().unwrap();
            assert_eq!(timeout, Some(TCP_USER_TIMEOUT));
        }
    }

    #[tokio::test]
    async fn failure_fails_further_attempts_for_a_moment() {
        let (connector, _listener) = connector().await;
        fail(&connector, Instant::now() + Duration::from_secs(60));
        let error = connector.clone().connect().await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
        let cause = format!("cannot connect to {}: connection refused", connector.socket);
        assert_eq!(error.to_string(), cause);
        fail(&connector, Instant::now() - FAILURE_TTL);
        assert!(connector.connect().await.is_ok());
    }

    #[tokio::test]
    async fn failed_attempt_is_remembered() {
        // Bound without listening, so that connections are refused.
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let connector = Connector::new(socket.local_addr().unwrap(), Duration::from_secs(60));
        let error = connector.clone().connect().await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
        let remembered = connector.last_failure.lock().as_ref().map(|failure| failure.kind);
        assert_eq!(remembered, Some(io::ErrorKind::ConnectionRefused));
    }
}

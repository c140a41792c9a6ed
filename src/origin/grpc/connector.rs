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

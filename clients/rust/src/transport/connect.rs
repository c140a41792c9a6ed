//! Opens connections.

use std::{io, sync::Arc, time::Duration};

use hyper::client::conn::http2;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpStream, lookup_host},
};
use tonic::body::Body;

use super::{
    link::Sender,
    target::{Endpoint, Place, Target},
};

const STREAM_WINDOW: u32 = 1024 * 1024;
const CONNECTION_WINDOW: u32 = 4 * 1024 * 1024;

/// How connections are opened.
pub(crate) struct Connector {
    pub(crate) target: Target,
    /// Time to connect, the handshake included.
    pub(crate) timeout: Duration,
    /// Time between two pings while calls run; `None`: no pings.
    pub(crate) keepalive: Option<Duration>,
    /// Time for the answer to a ping.
    pub(crate) keepalive_timeout: Duration,
    #[cfg(feature = "tls")]
    pub(crate) tls: Option<super::tls::Tls>,
}

/// The result of a resolution of all names of a target.
pub(crate) struct Resolved {
    pub(crate) places: Vec<Place>,
    /// Names that have no address, or could not be asked for.
    pub(crate) errors: Vec<(String, io::Error)>,
}

/// Runs what a connection spawns for each call. That is large: in a box it is not moved about.
#[derive(Clone)]
struct Tasks;

impl<F: Future<Output = ()> + Send + 'static> hyper::rt::Executor<F> for Tasks {
    fn execute(&self, task: F) {
        tokio::spawn(Box::pin(task));
    }
}

/// Runs a connection until it ends.
pub(crate) type Running = std::pin::Pin<Box<dyn Future<Output = ()> + Send>>;

impl Connector {
    /// All places of the target, and the names that cannot be resolved, with their errors.
    pub(crate) async fn resolve(&self) -> Resolved {
        let (mut places, mut errors) = (Vec::new(), Vec::new());
        for endpoint in &self.target.0 {
            match endpoint {
                Endpoint::Unix(path) => places.push(Place::Unix(path.clone())),
                Endpoint::Tcp { host, port } => match lookup_host((host.as_str(), *port)).await {
                    Ok(found) => places
                        .extend(found.map(|address| Place::Tcp { address, host: host.clone() })),
                    Err(error) => errors.push((host.clone(), error)),
                },
            }
        }
        Resolved { places, errors }
    }

    /// Whether certificates have changed, so that connections are to be replaced.
    #[cfg(feature = "tls")]
    pub(crate) fn renewed(&self) -> bool {
        self.tls.as_ref().is_some_and(super::tls::Tls::renewed)
    }

    #[cfg(not(feature = "tls"))]
    pub(crate) const fn renewed(&self) -> bool {
        false
    }

    #[cfg(feature = "tls")]
    const fn is_secure(&self) -> bool {
        self.tls.is_some()
    }

    #[cfg(not(feature = "tls"))]
    const fn is_secure(&self) -> bool {
        false
    }

    /// Scheme of the requests.
    pub(crate) const fn scheme(&self) -> &'static str {
        if self.is_secure() { "https" } else { "http" }
    }

    /// The authority of requests to a place.
    pub(crate) fn authority(place: &Place) -> String {
        match place {
            Place::Tcp { address, host } if host.contains(':') => {
                format!("[{host}]:{}", address.port())
            }
            Place::Tcp { address, host } => format!("{host}:{}", address.port()),
            Place::Unix(_) => "localhost".to_owned(),
        }
    }

    /// Connects within the timeout.
    pub(crate) async fn connect(self: Arc<Self>, place: Place) -> io::Result<(Sender, Running)> {
        let timeout = self.timeout;
        let late = || io::Error::new(io::ErrorKind::TimedOut, format!("not within {timeout:?}"));
        tokio::time::timeout(timeout, self.open(place)).await.unwrap_or_else(|_| Err(late()))
    }

    async fn open(&self, place: Place) -> io::Result<(Sender, Running)> {
        match place {
            Place::Tcp { address, host } => {
                let stream = TcpStream::connect(address).await?;
                stream.set_nodelay(true)?;
                self.secure(stream, &host).await
            }
            #[cfg(unix)]
            Place::Unix(path) => self.handshake(tokio::net::UnixStream::connect(path).await?).await,
            #[cfg(not(unix))]
            Place::Unix(_) => Err(io::ErrorKind::Unsupported.into()),
        }
    }

    #[cfg(feature = "tls")]
    async fn secure(&self, stream: TcpStream, host: &str) -> io::Result<(Sender, Running)> {
        let Some(tls) = &self.tls else { return self.handshake(stream).await };
        let name = tls.name(host).map_err(io::Error::other)?;
        let connector = tokio_rustls::TlsConnector::from(tls.config());
        self.handshake(connector.connect(name, stream).await?).await
    }

    #[cfg(not(feature = "tls"))]
    async fn secure(&self, stream: TcpStream, _: &str) -> io::Result<(Sender, Running)> {
        self.handshake(stream).await
    }

    async fn handshake<S>(&self, stream: S) -> io::Result<(Sender, Running)>
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let mut builder = http2::Builder::new(Tasks);
        builder
            .timer(TokioTimer::new())
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .keep_alive_interval(self.keepalive)
            .keep_alive_timeout(self.keepalive_timeout)
            .keep_alive_while_idle(false);
        let (sender, connection) =
            builder.handshake::<_, Body>(TokioIo::new(stream)).await.map_err(io::Error::other)?;
        let running = async move {
            // How a connection ends is seen by the calls on it.
            let _ = connection.await;
        };
        Ok((sender, Box::pin(running)))
    }
}

//! Opening of connections whose written bytes are counted.
//!
//! The client library reports that a connection has ended, and not whether a command was written
//! before. A command during which no byte was written was surely not applied. With TLS, bytes count
//! as written when the TLS layer takes them.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use redis::{
    AsyncConnectionConfig, Client, ConnectionAddr, ErrorKind, RedisError, RedisResult,
    aio::MultiplexedConnection, io::tcp::TcpSettings,
};
use rustls::{ClientConfig, RootCertStore, pki_types::ServerName};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpStream, UnixStream},
    task::JoinHandle,
};
use tokio_rustls::TlsConnector;

use crate::tls::ClientTls;

/// Number of bytes that were written to a connection.
#[derive(Debug, Clone, Default)]
pub(super) struct WrittenBytes(Arc<AtomicU64>);

/// A connection, and what belongs to it.
pub(super) struct Opened {
    pub(super) connection: MultiplexedConnection,
    /// None for connections that the client library opens.
    pub(super) written: Option<WrittenBytes>,
    /// The task that reads and writes; aborted when it is dropped.
    pub(super) driver: Option<Driver>,
}

/// A task that ends when this is dropped.
#[derive(Debug)]
pub(super) struct Driver(Option<JoinHandle<()>>);

struct CountingStream<S> {
    inner: S,
    written: WrittenBytes,
    /// Bytes that `inner` has written itself, if it writes others than it is given. A write that
    /// fails may have sent some of them.
    sent: Option<WrittenBytes>,
}

/// The TCP settings of a cache.
pub(super) fn tcp_settings() -> TcpSettings {
    let keepalive = socket2::TcpKeepalive::new()
        .with_time(Duration::from_secs(15))
        .with_interval(Duration::from_secs(5));
    TcpSettings::default().set_nodelay(true).set_keepalive(keepalive)
}

/// Opens a connection to the server of `client`, with the settings `tls` if it has TLS. The caller
/// limits the time.
pub(super) async fn open(
    client: &Client,
    config: &AsyncConnectionConfig,
    tls: Option<&ClientTls>,
) -> RedisResult<Opened> {
    let info = client.get_connection_info();
    match info.addr() {
        ConnectionAddr::Tcp(host, port) => {
            let stream = connect_tcp(client, host, *port).await?;
            open_counted(client, CountingStream::new(stream), config).await
        }
        ConnectionAddr::Unix(path) => {
            let stream = UnixStream::connect(path).await?;
            open_counted(client, CountingStream::new(stream), config).await
        }
        ConnectionAddr::TcpTls { host, port, insecure: false, tls_params: None } => {
            let name = ServerName::try_from(host.clone())
                .map_err(|_| RedisError::from((ErrorKind::InvalidClientConfig, "no host name")))?;
            let tls = match tls {
                Some(tls) => tls.current(),
                None => Arc::new(system_tls().await?),
            };
            let stream = CountingStream::new(connect_tcp(client, host, *port).await?);
            let sent = Some(stream.written.clone());
            let stream = TlsConnector::from(tls).connect(name, stream).await?;
            let stream = CountingStream { sent, ..CountingStream::new(stream) };
            open_counted(client, stream, config).await
        }
        _ => {
            let connection = client.get_multiplexed_async_connection_with_config(config).await?;
            Ok(Opened { connection, written: None, driver: None })
        }
    }
}

/// Opens a connection that lasts for as long as it is used. The time limit is that of `config`, or
/// `limit` with the settings `tls`, which the client library cannot use.
pub(super) async fn connect(
    client: &Client,
    config: &AsyncConnectionConfig,
    tls: Option<&ClientTls>,
    limit: Duration,
) -> RedisResult<MultiplexedConnection> {
    let Some(tls) = tls else {
        return client.get_multiplexed_async_connection_with_config(config).await;
    };
    let opened = tokio::time::timeout(limit, open(client, config, Some(tls))).await;
    let Opened { connection, driver, .. } =
        opened.map_err(|_elapsed| io::Error::from(io::ErrorKind::TimedOut))??;
    if let Some(driver) = driver {
        driver.detach();
    }
    Ok(connection)
}

async fn connect_tcp(client: &Client, host: &str, port: u16) -> RedisResult<TcpStream> {
    let stream = TcpStream::connect((host, port)).await?;
    let settings = client.get_connection_info().tcp_settings();
    stream.set_nodelay(settings.nodelay())?;
    if let Some(keepalive) = settings.keepalive() {
        socket2::SockRef::from(&stream).set_tcp_keepalive(keepalive)?;
    }
    Ok(stream)
}

/// Trusts the certificate authorities of the system, which may have changed since the last
/// connection.
async fn system_tls() -> RedisResult<ClientConfig> {
    let load = || rustls_native_certs::load_native_certs().certs;
    let certificates = tokio::task::spawn_blocking(load).await.map_err(io::Error::other)?;
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(certificates);
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?;
    Ok(config.with_root_certificates(roots).with_no_client_auth())
}

async fn open_counted(
    client: &Client,
    stream: CountingStream<impl AsyncRead + AsyncWrite + Unpin + Send + 'static>,
    config: &AsyncConnectionConfig,
) -> RedisResult<Opened> {
    let written = stream.written.clone();
    let settings = client.get_connection_info().redis_settings();
    let (connection, driver) =
        MultiplexedConnection::new_with_config(settings, stream, config.clone()).await?;
    let driver = Some(Driver(Some(tokio::spawn(driver))));
    Ok(Opened { connection, written: Some(written), driver })
}

impl WrittenBytes {
    /// The number of bytes so far.
    pub(super) fn get(&self) -> u64 {
        self.0.load(Ordering::Acquire)
    }
}

impl Driver {
    /// Whether the connection has ended.
    pub(super) fn has_ended(&self) -> bool {
        self.0.as_ref().is_some_and(JoinHandle::is_finished)
    }

    /// The task ends with its connection.
    fn detach(mut self) {
        self.0 = None;
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        if let Some(task) = &self.0 {
            task.abort();
        }
    }
}

// === impl CountingStream ===

impl<S> CountingStream<S> {
    fn new(inner: S) -> Self {
        Self { inner, written: WrittenBytes::default(), sent: None }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for CountingStream<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_read(cx, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for CountingStream<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let sent_before = self.sent.as_ref().map(WrittenBytes::get);
        let outcome = Pin::new(&mut self.inner).poll_write(cx, bytes);
        let count = match &outcome {
            Poll::Ready(Ok(count)) => *count as u64,
            Poll::Ready(Err(_)) => {
                u64::from(self.sent.as_ref().map(WrittenBytes::get) != sent_before)
            }
            Poll::Pending => 0,
        };
        if count > 0 {
            self.written.0.fetch_add(count, Ordering::Release);
        }
        outcome
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    #[tokio::test]
    async fn only_written_bytes_are_counted() {
        let (near, mut far) = tokio::io::duplex(16);
        let mut stream = CountingStream::new(near);
        let written = stream.written.clone();
        far.write_all(b"hello").await.unwrap();
        stream.read_exact(&mut [0; 5]).await.unwrap();
        assert_eq!(written.get(), 0);
        stream.write_all(b"hi").await.unwrap();
        assert_eq!(written.get(), 2);
        drop(far);
        assert!(stream.write_all(b"hi").await.is_err());
        assert_eq!(written.get(), 2, "a failed write sends nothing");
    }

    /// A layer that sends two bytes and then fails, as TLS may.
    struct Failing(WrittenBytes, u64);

    impl AsyncWrite for Failing {
        fn poll_write(
            self: Pin<&mut Self>,
            _cx: &mut Context<'_>,
            _bytes: &[u8],
        ) -> Poll<io::Result<usize>> {
            self.0.0.fetch_add(self.1, Ordering::Release);
            Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()))
        }

        fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    #[tokio::test]
    async fn write_that_fails_after_a_part_was_sent_is_counted() {
        for (sends, is_counted) in [(0, false), (2, true)] {
            let sent = WrittenBytes::default();
            let mut stream = CountingStream {
                sent: Some(sent.clone()),
                ..CountingStream::new(Failing(sent, sends))
            };
            assert!(stream.write_all(b"hi").await.is_err());
            assert_eq!(stream.written.get() > 0, is_counted, "{sends} bytes were sent");
        }
    }
}

//! Opening of connections whose written bytes are counted.
//!
//! The client library tells that a connection has ended, and not whether a command was written
//! before. A command during which no byte was written was surely not applied.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll},
};

use redis::{
    AsyncConnectionConfig, Client, ConnectionAddr, RedisResult, aio::MultiplexedConnection,
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpStream, UnixStream},
    task::JoinHandle,
};

/// Number of bytes that were written to a connection.
#[derive(Debug, Clone, Default)]
pub(super) struct WrittenBytes(Arc<AtomicU64>);

/// A connection, and what belongs to it.
pub(super) struct Opened {
    pub(super) connection: MultiplexedConnection,
    /// None with TLS, whose connections the client library opens.
    pub(super) written: Option<WrittenBytes>,
    /// The task that reads and writes; aborted when it is dropped.
    pub(super) driver: Option<Driver>,
}

/// A task that ends when this is dropped.
#[derive(Debug)]
pub(super) struct Driver(JoinHandle<()>);

struct CountingStream<S> {
    inner: S,
    written: WrittenBytes,
}

/// Opens a connection to the server of `client`. The caller limits the time.
pub(super) async fn open(client: &Client, config: &AsyncConnectionConfig) -> RedisResult<Opened> {
    let info = client.get_connection_info();
    match info.addr() {
        ConnectionAddr::Tcp(host, port) => {
            let stream = TcpStream::connect((host.as_str(), *port)).await?;
            let settings = info.tcp_settings();
            stream.set_nodelay(settings.nodelay())?;
            if let Some(keepalive) = settings.keepalive() {
                socket2::SockRef::from(&stream).set_tcp_keepalive(keepalive)?;
            }
            open_counted(client, stream, config).await
        }
        ConnectionAddr::Unix(path) => {
            open_counted(client, UnixStream::connect(path).await?, config).await
        }
        _ => {
            let connection = client.get_multiplexed_async_connection_with_config(config).await?;
            Ok(Opened { connection, written: None, driver: None })
        }
    }
}

async fn open_counted(
    client: &Client,
    inner: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    config: &AsyncConnectionConfig,
) -> RedisResult<Opened> {
    let written = WrittenBytes::default();
    let stream = CountingStream { inner, written: written.clone() };
    let settings = client.get_connection_info().redis_settings();
    let (connection, driver) =
        MultiplexedConnection::new_with_config(settings, stream, config.clone()).await?;
    let driver = Some(Driver(tokio::spawn(driver)));
    Ok(Opened { connection, written: Some(written), driver })
}

impl WrittenBytes {
    /// The number of bytes so far.
    pub(super) fn get(&self) -> u64 {
        self.0.load(Ordering::Acquire)
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        self.0.abort();
    }
}

// === impl CountingStream ===

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
        let outcome = Pin::new(&mut self.inner).poll_write(cx, bytes);
        if let Poll::Ready(Ok(count)) = &outcome {
            self.written.0.fetch_add(*count as u64, Ordering::Release);
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
        let written = WrittenBytes::default();
        let mut stream = CountingStream { inner: near, written: written.clone() };
        far.write_all(b"hello").await.unwrap();
        stream.read_exact(&mut [0; 5]).await.unwrap();
        assert_eq!(written.get(), 0);
        stream.write_all(b"hi").await.unwrap();
        assert_eq!(written.get(), 2);
        drop(far);
        assert!(stream.write_all(b"hi").await.is_err());
        assert_eq!(written.get(), 2, "a failed write sends nothing");
    }
}

//! The two directions of a connection, with or without TLS.

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use parking_lot::Mutex;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{
        TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
};
use tokio_rustls::server::TlsStream;

use crate::tls::CountedSocket;

/// A connection that is ready for HTTP/2.
pub(crate) enum Socket {
    Plain(TcpStream),
    Tls(Box<TlsStream<CountedSocket>>),
}

/// Both directions share the session. Only the connection's task uses it, so the lock is never
/// contended.
type SharedSession = Arc<Mutex<Box<TlsStream<CountedSocket>>>>;

/// The direction from the peer.
pub(crate) enum SocketReader {
    Plain(OwnedReadHalf),
    Tls(SharedSession),
}

/// The direction to the peer.
pub(crate) enum SocketWriter {
    Plain {
        half: OwnedWriteHalf,
        /// Bytes that the socket has taken so far.
        sent: u64,
    },
    Tls(SharedSession),
}

impl Socket {
    pub(crate) fn into_split(self) -> (SocketReader, SocketWriter) {
        match self {
            Self::Plain(stream) => {
                let (reader, half) = stream.into_split();
                (SocketReader::Plain(reader), SocketWriter::Plain { half, sent: 0 })
            }
            Self::Tls(stream) => {
                let session = Arc::new(Mutex::new(stream));
                (SocketReader::Tls(session.clone()), SocketWriter::Tls(session))
            }
        }
    }
}

impl SocketReader {
    /// Ready if a read may find something: bytes of the peer, its end, or an error. With TLS a part
    /// of a record is not enough, so that the read may be pending.
    #[inline]
    pub(crate) fn poll_read_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Plain(reader) => reader.as_ref().poll_read_ready(cx),
            Self::Tls(session) => {
                let session = session.lock();
                let (socket, tls) = session.get_ref();
                // It wants no more while it has bytes that are not read.
                if tls.wants_read() { socket.poll_read_ready(cx) } else { Poll::Ready(Ok(())) }
            }
        }
    }
}

impl AsyncRead for SocketReader {
    #[inline]
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(reader) => Pin::new(reader).poll_read(cx, buf),
            Self::Tls(session) => {
                match ready!(Pin::new(&mut *session.lock()).poll_read(cx, buf)) {
                    // An end without a close_notify. The frames of HTTP/2 show what is missing.
                    Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                        Poll::Ready(Ok(()))
                    }
                    read => Poll::Ready(read),
                }
            }
        }
    }
}

impl SocketWriter {
    #[inline]
    pub(crate) fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self {
            Self::Plain { half, sent } => {
                let polled = Pin::new(half).poll_write(cx, bytes);
                if let Poll::Ready(Ok(taken)) = polled {
                    *sent += taken as u64;
                }
                polled
            }
            Self::Tls(session) => Pin::new(&mut *session.lock()).poll_write(cx, bytes),
        }
    }

    /// Sends the records that are encrypted and not sent.
    #[inline]
    pub(crate) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Plain { .. } => Poll::Ready(Ok(())),
            Self::Tls(session) => {
                let mut session = session.lock();
                if session.get_ref().1.wants_write() {
                    Pin::new(&mut *session).poll_flush(cx)
                } else {
                    Poll::Ready(Ok(()))
                }
            }
        }
    }

    pub(crate) fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Plain { half, .. } => Pin::new(half).poll_shutdown(cx),
            Self::Tls(session) => Pin::new(&mut *session.lock()).poll_shutdown(cx),
        }
    }

    /// Bytes that the system has taken so far.
    pub(crate) fn sent(&self) -> u64 {
        match self {
            Self::Plain { sent, .. } => *sent,
            Self::Tls(session) => session.lock().get_ref().0.sent(),
        }
    }
}

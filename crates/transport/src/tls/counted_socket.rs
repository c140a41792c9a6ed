//! The socket below TLS. It counts the bytes that it sends, and keeps the first ones that it
//! receives, by which the protocol of a peer without TLS is recognized.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};

/// First bytes that are kept.
const BEGIN_BYTES: usize = 24;

/// A socket that counts what it sends.
#[derive(Debug)]
pub struct CountedSocket {
    stream: TcpStream,
    sent: u64,
    begin: [u8; BEGIN_BYTES],
    /// Length of `begin`.
    received: usize,
}

impl CountedSocket {
    pub(super) fn new(stream: TcpStream) -> Self {
        Self { stream, sent: 0, begin: [0; BEGIN_BYTES], received: 0 }
    }

    /// Bytes that the system has taken so far.
    pub(crate) fn sent(&self) -> u64 {
        self.sent
    }

    /// The first bytes of the peer.
    pub(super) fn begin(&self) -> &[u8] {
        &self.begin[..self.received]
    }

    /// Ready if there is something to read.
    pub(crate) fn poll_read_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream.poll_read_ready(cx)
    }

    #[cold]
    fn keep(&mut self, bytes: &[u8]) {
        let length = bytes.len().min(BEGIN_BYTES - self.received);
        self.begin[self.received..][..length].copy_from_slice(&bytes[..length]);
        self.received += length;
    }

    fn count(&mut self, polled: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if let Poll::Ready(Ok(bytes)) = polled {
            self.sent += bytes as u64;
        }
        polled
    }
}

impl AsyncRead for CountedSocket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(cx, buf);
        if self.received < BEGIN_BYTES {
            self.keep(&buf.filled()[before..]);
        }
        polled
    }
}

impl AsyncWrite for CountedSocket {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.count(polled)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write_vectored(cx, slices);
        self.count(polled)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

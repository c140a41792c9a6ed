//! Detects whether a peer has sent the HTTP/2 connection preface. hyper waits for the preface
//! without a limit, and a graceful shutdown before it never ends.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
};

use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::first_bytes::ForeignProtocol;

/// The client preface, and the header of the SETTINGS frame that must follow it (RFC 9113, 3.4).
const PREFACE_BYTES: usize = 24 + 9;

/// First bytes by which a protocol is recognized: those of the preface.
const CLASSIFIED_BYTES: usize = 24;

/// An IO stream that counts the bytes read from it until the preface is complete.
pub(crate) struct PrefaceIo<S> {
    stream: S,
    preface: Preface,
}

/// Bytes received of a peer's preface. Clones share the count.
#[derive(Clone, Default)]
pub(crate) struct Preface(Arc<State>);

#[derive(Default)]
struct State {
    received: AtomicUsize,
    begin: Mutex<Begin>,
}

/// The first bytes, which may come one by one: HTTP/1 methods and commands of Redis begin as the
/// preface does, with a P.
#[derive(Default)]
struct Begin {
    bytes: Vec<u8>,
    foreign: Option<ForeignProtocol>,
}

impl Preface {
    pub(crate) fn is_complete(&self) -> bool {
        self.0.received.load(Ordering::Relaxed) >= PREFACE_BYTES
    }

    /// The protocol of a peer that does not begin as HTTP/2.
    pub(crate) fn foreign_protocol(&self) -> Option<ForeignProtocol> {
        self.0.begin.lock().foreign
    }

    /// As if the peer had sent it.
    #[cfg(test)]
    pub(crate) fn complete(&self) {
        self.0.received.store(PREFACE_BYTES, Ordering::Relaxed);
    }

    #[cold]
    fn add(&self, bytes: &[u8]) {
        let mut begin = self.0.begin.lock();
        let room = CLASSIFIED_BYTES - begin.bytes.len();
        begin.bytes.extend_from_slice(&bytes[..bytes.len().min(room)]);
        begin.foreign = ForeignProtocol::of(&begin.bytes);
        drop(begin);
        self.0.received.fetch_add(bytes.len(), Ordering::Relaxed);
    }
}

impl<S> PrefaceIo<S> {
    pub(crate) fn new(stream: S, preface: Preface) -> Self {
        Self { stream, preface }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for PrefaceIo<S> {
    #[inline]
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(cx, buf);
        if !self.preface.is_complete() {
            self.preface.add(&buf.filled()[before..]);
        }
        polled
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for PrefaceIo<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of_parts(bytes: &[u8], length: usize) -> Option<ForeignProtocol> {
        let preface = Preface::default();
        bytes.chunks(length).for_each(|part| preface.add(part));
        preface.foreign_protocol()
    }

    #[test]
    fn protocol_is_recognized_in_whatever_parts_its_first_bytes_come() {
        let cases: [(&[u8], _); 5] = [
            (b"POST /larder.v1.CacheService/Get HTTP/1.1\r\n", Some(ForeignProtocol::Http1)),
            (b"PRI * HTTP/1.1\r\n\r\n and more", Some(ForeignProtocol::Unknown)),
            (b"PING\r\n", Some(ForeignProtocol::Resp)),
            (b"\x16\x03\x01\x02\x00\x01", Some(ForeignProtocol::Tls)),
            (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0", None),
        ];
        for (bytes, protocol) in cases {
            for length in [1, 2, 3, 100] {
                assert_eq!(of_parts(bytes, length), protocol, "{bytes:?} by {length}");
            }
        }
    }
}

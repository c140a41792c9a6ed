//! Collects the bytes written to a connection, so that responses that are ready at the same time
//! leave in one system call.
//!
//! hyper flushes after each frame. Here a flush does nothing. The bytes are sent after the
//! connection and all of its woken streams have been polled, or as soon as there are more than
//! [`MAX_BUFFERED`].

use std::{
    cell::RefCell,
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::{
    read_gate::{GatedReader, ReadGate},
    socket::{Socket, SocketWriter},
};

/// Maximum number of unsent bytes.
const MAX_BUFFERED: usize = 64 * 1024;
/// Buffers each thread keeps for its connections. Most connections are idle most of the time and
/// have no buffer.
const SPARE_BUFFERS: usize = 16;

thread_local! {
    static SPARE: RefCell<Vec<Vec<u8>>> = const { RefCell::new(Vec::new()) };
}

/// The IO stream hyper reads from and writes to.
pub(crate) struct CoalescingIo {
    reader: GatedReader,
    buffer: WriteBuffer,
}

/// Bytes written and not yet sent. Clones share the buffer. Only the connection's task uses it, so
/// the lock is never contended.
#[derive(Clone)]
pub(crate) struct WriteBuffer(Arc<Mutex<Unsent>>);

struct Unsent {
    writer: SocketWriter,
    bytes: Vec<u8>,
    /// Length of the prefix of `bytes` that is sent, or encrypted.
    sent: usize,
}

impl CoalescingIo {
    pub(crate) fn new(socket: Socket, gate: ReadGate) -> (Self, WriteBuffer) {
        let (reader, writer) = socket.into_split();
        let reader = GatedReader::new(reader, gate);
        let unsent = Unsent { writer, bytes: Vec::new(), sent: 0 };
        let buffer = WriteBuffer(Arc::new(Mutex::new(unsent)));
        (Self { reader, buffer: buffer.clone() }, buffer)
    }
}

impl WriteBuffer {
    /// Sends as many bytes as the socket takes. Pending if some are left; the task is woken when
    /// the socket takes more.
    pub(crate) fn poll_send(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.lock().poll_send(cx)
    }

    /// Bytes that the socket has taken so far.
    pub(crate) fn total(&self) -> u64 {
        self.0.lock().writer.sent()
    }
}

impl Unsent {
    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.len() > 0 {
            let sent = ready!(self.writer.poll_write(cx, &self.bytes[self.sent..]))?;
            if sent == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.sent += sent;
        }
        self.recycle_buffer();
        self.writer.poll_flush(cx)
    }

    fn len(&self) -> usize {
        self.bytes.len() - self.sent
    }

    fn recycle_buffer(&mut self) {
        self.sent = 0;
        let mut buffer = std::mem::take(&mut self.bytes);
        if buffer.capacity() > 0 {
            buffer.clear();
            SPARE.with_borrow_mut(|spare| {
                if spare.len() < SPARE_BUFFERS {
                    spare.push(buffer);
                }
            });
        }
    }

    #[inline]
    fn append(&mut self, bytes: &[u8]) {
        if self.bytes.capacity() == 0 {
            self.bytes = SPARE.with_borrow_mut(Vec::pop).unwrap_or_default();
        }
        self.bytes.extend_from_slice(bytes);
    }

    /// Resolves to the number of bytes that can be appended, which is not zero.
    fn poll_capacity(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        if self.bytes.len() >= MAX_BUFFERED
            && let Poll::Ready(Err(error)) = self.poll_send(cx)
        {
            return Poll::Ready(Err(error));
        }
        // Sent bytes stay in the buffer until all are sent.
        let capacity = MAX_BUFFERED.saturating_sub(self.bytes.len());
        // At zero, `poll_send` was pending and has registered the waker.
        if capacity == 0 { Poll::Pending } else { Poll::Ready(Ok(capacity)) }
    }
}

impl AsyncRead for CoalescingIo {
    #[inline]
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.reader).poll_read(cx, buf)
    }
}

impl AsyncWrite for CoalescingIo {
    #[inline]
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let mut unsent = self.buffer.0.lock();
        let taken = ready!(unsent.poll_capacity(cx))?.min(bytes.len());
        unsent.append(&bytes[..taken]);
        Poll::Ready(Ok(taken))
    }

    #[inline]
    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let mut unsent = self.buffer.0.lock();
        let capacity = ready!(unsent.poll_capacity(cx))?;
        let mut taken = 0;
        for slice in slices {
            let part = slice.len().min(capacity - taken);
            unsent.append(&slice[..part]);
            taken += part;
        }
        Poll::Ready(Ok(taken))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut unsent = self.buffer.0.lock();
        ready!(unsent.poll_send(cx))?;
        unsent.writer.poll_shutdown(cx)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::future::poll_fn;

    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        net::{TcpListener, TcpStream},
    };

    use super::*;
    use crate::pending_io::PendingIo;

    async fn pair() -> (CoalescingIo, WriteBuffer, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let peer = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (io, buffer) = CoalescingIo::new(
            Socket::Plain(listener.accept().await.unwrap().0),
            ReadGate::new(Arc::default(), PendingIo::default()),
        );
        (io, buffer, peer)
    }

    #[tokio::test]
    async fn several_writes_are_sent_together() {
        let (mut io, buffer, mut peer) = pair().await;
        for part in ["one ", "two ", "three"] {
            io.write_all(part.as_bytes()).await.unwrap();
            io.flush().await.unwrap();
        }
        let mut received = [0; 64];
        assert_eq!(peer.try_read(&mut received).unwrap_err().kind(), io::ErrorKind::WouldBlock);
        poll_fn(|cx| buffer.poll_send(cx)).await.unwrap();
        let length = peer.read(&mut received).await.unwrap();
        assert_eq!(&received[..length], b"one two three");
    }

    #[tokio::test]
    async fn the_buffer_is_bounded_while_the_peer_does_not_read() {
        let (mut io, buffer, mut peer) = pair().await;
        let chunk = vec![7; MAX_BUFFERED];
        let mut written = 0;
        let blocked = poll_fn(|cx| {
            loop {
                match Pin::new(&mut io).poll_write(cx, &chunk) {
                    Poll::Ready(taken) => written += taken.unwrap(),
                    Poll::Pending => return Poll::Ready(()),
                }
            }
        });
        blocked.await;
        assert!(buffer.0.lock().bytes.len() <= MAX_BUFFERED);
        let reading = tokio::spawn(async move {
            let mut all = Vec::new();
            peer.read_to_end(&mut all).await.unwrap();
            all.len()
        });
        io.shutdown().await.unwrap();
        drop((io, buffer));
        assert_eq!(reading.await.unwrap(), written);
    }
}

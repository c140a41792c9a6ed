//! Collects what is written to a connection, so that the answers that are ready at the same time leave in one system call.
//!
//! hyper flushes after each frame. Here a flush does nothing; what was written is sent when the connection has been polled,
//! and with it all streams that had something to say, or as soon as there is more than [`LIMIT`] of it.

use std::{
    cell::RefCell,
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use parking_lot::Mutex;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpStream, tcp::OwnedWriteHalf},
};

use super::backpressure::{Intake, PacedReader};

/// Bytes that wait at most.
const LIMIT: usize = 64 * 1024;
/// Buffers that each thread keeps for its next connection that has something to send. Most connections are idle most of the
/// time, and have none.
const SPARE_BUFFERS: usize = 16;

thread_local! {
    static SPARE: RefCell<Vec<Vec<u8>>> = const { RefCell::new(Vec::new()) };
}

/// What hyper reads from and writes to.
pub(super) struct CoalescedIo {
    reader: PacedReader,
    outbox: Outbox,
}

/// What was written and not sent. Clones share it; only the connection's own task touches it, so nobody ever waits for the lock.
#[derive(Clone)]
pub(super) struct Outbox(Arc<Mutex<Waiting>>);

struct Waiting {
    writer: OwnedWriteHalf,
    bytes: Vec<u8>,
    /// How many of them are sent.
    sent: usize,
}

impl CoalescedIo {
    pub(super) fn new(stream: TcpStream, intake: Intake) -> (Self, Outbox) {
        let (reader, writer) = stream.into_split();
        let reader = PacedReader::new(reader, intake);
        let outbox = Outbox(Arc::new(Mutex::new(Waiting { writer, bytes: Vec::new(), sent: 0 })));
        (Self { reader, outbox: outbox.clone() }, outbox)
    }
}

impl Outbox {
    /// Sends what waits, as far as the peer takes it. Pending if some is left; the task is woken when there is room for it.
    pub(super) fn poll_send(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.lock().poll_send(cx)
    }
}

impl Waiting {
    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.len() > 0 {
            let sent = ready!(Pin::new(&mut self.writer).poll_write(cx, &self.bytes[self.sent..]))?;
            if sent == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.sent += sent;
        }
        self.lay_buffer_aside();
        Poll::Ready(Ok(()))
    }

    fn len(&self) -> usize {
        self.bytes.len() - self.sent
    }

    fn lay_buffer_aside(&mut self) {
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

    fn append(&mut self, bytes: &[u8]) {
        if self.bytes.capacity() == 0 {
            self.bytes = SPARE.with_borrow_mut(Vec::pop).unwrap_or_default();
        }
        self.bytes.extend_from_slice(bytes);
    }

    /// Makes room for at least one byte more.
    fn poll_room(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        if self.bytes.len() >= LIMIT
            && let Poll::Ready(Err(error)) = self.poll_send(cx)
        {
            return Poll::Ready(Err(error));
        }
        // What is sent already is in the buffer until all of it is.
        let room = LIMIT.saturating_sub(self.bytes.len());
        // If there is none, sending has left word to be woken.
        if room == 0 { Poll::Pending } else { Poll::Ready(Ok(room)) }
    }
}

impl AsyncRead for CoalescedIo {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.reader).poll_read(cx, buf)
    }
}

impl AsyncWrite for CoalescedIo {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let mut waiting = self.outbox.0.lock();
        let taken = ready!(waiting.poll_room(cx))?.min(bytes.len());
        waiting.append(&bytes[..taken]);
        Poll::Ready(Ok(taken))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let mut waiting = self.outbox.0.lock();
        let room = ready!(waiting.poll_room(cx))?;
        let mut taken = 0;
        for part in parts {
            let some = part.len().min(room - taken);
            waiting.append(&part[..some]);
            taken += some;
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
        let mut waiting = self.outbox.0.lock();
        ready!(waiting.poll_send(cx))?;
        Pin::new(&mut waiting.writer).poll_shutdown(cx)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::future::poll_fn;

    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        net::TcpListener,
    };

    use super::{
        super::{awaited::Awaited, streams::Streams},
        *,
    };

    async fn pair() -> (CoalescedIo, Outbox, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let peer = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (io, outbox) = CoalescedIo::new(
            listener.accept().await.unwrap().0,
            Intake::new(Arc::default(), Awaited::new(Streams::new().executor())),
        );
        (io, outbox, peer)
    }

    #[tokio::test]
    async fn what_is_written_is_sent_together() {
        let (mut io, outbox, mut peer) = pair().await;
        for part in ["one ", "two ", "three"] {
            io.write_all(part.as_bytes()).await.unwrap();
            io.flush().await.unwrap();
        }
        let mut buffer = [0; 64];
        assert_eq!(peer.try_read(&mut buffer).unwrap_err().kind(), io::ErrorKind::WouldBlock);
        poll_fn(|cx| outbox.poll_send(cx)).await.unwrap();
        let received = peer.read(&mut buffer).await.unwrap();
        assert_eq!(&buffer[..received], b"one two three");
    }

    #[tokio::test]
    async fn a_peer_that_does_not_read_does_not_fill_the_memory() {
        let (mut io, outbox, mut peer) = pair().await;
        let chunk = vec![7; LIMIT];
        let mut written = 0;
        let stuck = poll_fn(|cx| {
            loop {
                match Pin::new(&mut io).poll_write(cx, &chunk) {
                    Poll::Ready(taken) => written += taken.unwrap(),
                    Poll::Pending => return Poll::Ready(()),
                }
            }
        });
        stuck.await;
        assert!(outbox.0.lock().bytes.len() <= LIMIT);
        let reading = tokio::spawn(async move {
            let mut all = Vec::new();
            peer.read_to_end(&mut all).await.unwrap();
            all.len()
        });
        io.shutdown().await.unwrap();
        drop((io, outbox));
        assert_eq!(reading.await.unwrap(), written);
    }
}

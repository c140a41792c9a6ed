//! Polls the parts of one connection.

use std::{
    future::Future,
    pin::Pin,
    task::{self, Poll},
};

use crate::{
    backlog::{Backlog, Stalled},
    inline_executor::StreamSet,
    pending_io::PendingIo,
    read_gate::ReadGate,
    write_coalescing::WriteBuffer,
};

/// Polls a connection and its streams, and sends what they have written.
pub(super) struct Driver<'a, C> {
    pub(super) http: Pin<&'a mut C>,
    pub(super) streams: &'a mut StreamSet,
    pub(super) gate: ReadGate,
    pub(super) buffer: WriteBuffer,
    pub(super) pending: PendingIo,
    pub(super) backlog: Backlog,
}

impl<C: Future> Future for Driver<'_, C> {
    type Output = Result<C::Output, Stalled>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut task::Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        this.gate.begin_poll();
        loop {
            let are_left = this.streams.poll_batch(cx);
            // Writes the responses of the streams to the buffer.
            let polled = this.http.as_mut().poll(cx);
            // Streams that end as their bytes are written do so before the bytes leave.
            let are_left = are_left || this.pending.take_resumed();
            let poll_again = polled.is_pending() && (are_left || this.gate.end_poll(cx));
            if !poll_again {
                // If the peer is gone, hyper sees it at the next read.
                let is_blocked = this.buffer.poll_send(cx).is_pending();
                if polled.is_pending() {
                    let blocked_at = is_blocked.then(|| this.buffer.total());
                    return this.backlog.poll_stalled(blocked_at, cx).map(Err);
                }
                return polled.map(Ok);
            }
        }
    }
}

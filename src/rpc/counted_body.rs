//! A request stream whose incomplete messages count against the bytes of its connection.
//!
//! The service reads a stream as it arrives, and keeps a message until it is complete. So this
//! follows the frame headers of the messages, and counts the bytes of the last, incomplete one.

use std::{
    error::Error,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tonic::Status;
use transport::{ConnectionShare, FairLimit, Taken};

use crate::quota::CallQuota;

/// Length of the frame header before a message: a flag and the length of the message.
const HEADER: usize = 5;

/// Counts the incomplete message of `B`. `F` makes the status of a stream over the limit.
pub(super) struct CountedBody<B, F> {
    body: B,
    position: Position,
    held: Option<Taken>,
    limit: Arc<FairLimit>,
    connection: Arc<ConnectionShare>,
    refuse: F,
    quota: Option<Arc<CallQuota>>,
}

/// A position in a stream of messages.
#[derive(Debug, Default)]
struct Position {
    header: [u8; HEADER],
    /// Bytes of the current message that have arrived, with its header.
    arrived: usize,
}

impl Position {
    /// Passes over a part of the stream.
    fn pass(&mut self, mut part: &[u8]) {
        while !part.is_empty() {
            if self.arrived < HEADER {
                let count = part.len().min(HEADER - self.arrived);
                self.header[self.arrived..self.arrived + count].copy_from_slice(&part[..count]);
                self.arrived += count;
                part = &part[count..];
            }
            let [_, a, b, c, d] = self.header;
            let length = HEADER + u32::from_be_bytes([a, b, c, d]) as usize;
            if self.arrived >= HEADER {
                let count = part.len().min(length - self.arrived);
                self.arrived += count;
                part = &part[count..];
                if self.arrived == length {
                    self.arrived = 0;
                }
            }
        }
    }
}

impl<B, F: Fn() -> Status> CountedBody<B, F> {
    /// Counts against `limit`, of which `connection` has a share.
    pub(super) fn new(
        body: B,
        limit: Arc<FairLimit>,
        connection: Arc<ConnectionShare>,
        refuse: F,
    ) -> Self {
        let position = Position::default();
        Self { body, position, held: None, limit, connection, refuse, quota: None }
    }

    /// Charges what arrives to a quota.
    pub(super) fn charged_to(self, quota: Option<Arc<CallQuota>>) -> Self {
        Self { quota, ..self }
    }

    /// Counts what has arrived of an incomplete message. Returns false if it is too much.
    fn count(&mut self, part: &[u8]) -> bool {
        if let Some(quota) = &self.quota {
            quota.charge_bytes(part.len());
        }
        self.position.pass(part);
        let arrived = self.position.arrived;
        // Less than before: of another message.
        let is_same = self.held.as_ref().is_some_and(|held| held.amount() <= arrived);
        if arrived == 0 || !is_same {
            self.held = None;
        }
        if arrived == 0 {
            return true;
        }
        match &mut self.held {
            Some(held) => held.try_grow(arrived - held.amount()),
            None => {
                self.held = self.limit.try_take(&self.connection, arrived);
                self.held.is_some()
            }
        }
    }
}

impl<B, F> Body for CountedBody<B, F>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
    F: Fn() -> Status + Unpin,
{
    type Data = Bytes;
    type Error = Box<dyn Error + Send + Sync>;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        if let Some(Ok(frame)) = &frame
            && let Some(part) = frame.data_ref()
            && !self.count(part)
        {
            return Poll::Ready(Some(Err(Box::new((self.refuse)()))));
        }
        Poll::Ready(frame.map(|frame| frame.map_err(Into::into)))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use http_body_util::{BodyExt as _, StreamBody};
    use tonic::Code;
    use transport::Resource;

    use super::*;

    fn message(length: u32) -> Vec<u8> {
        [&[0], &length.to_be_bytes()[..], &vec![7; length as usize]].concat()
    }

    #[test]
    fn only_the_incomplete_message_is_counted() {
        let stream = [message(10), message(0), message(300)].concat();
        for size in 1..stream.len() {
            let mut position = Position::default();
            let mut passed = 0;
            for part in stream.chunks(size) {
                position.pass(part);
                passed += part.len();
                let expected = match passed {
                    0..15 => passed,
                    15..20 => passed - 15,
                    20..325 => passed - 20,
                    _ => 0,
                };
                assert_eq!(position.arrived, expected, "{passed} bytes in parts of {size}");
            }
        }
    }

    #[tokio::test]
    async fn bytes_are_counted_until_the_message_is_complete_or_the_share_exceeded() {
        let limit = FairLimit::new(Resource::Bytes, 100, 0);
        let parts = [message(30), vec![0, 0, 0, 1, 0], vec![7; 40], vec![7; 40]];
        let parts = parts.map(|part| Ok::<_, Status>(Frame::data(part.into())));
        let body = StreamBody::new(futures_util::stream::iter(parts));
        let refuse = || Status::resource_exhausted("too much");
        let mut body = CountedBody::new(body, limit.clone(), Arc::default(), refuse);
        for held in [0, 5, 45] {
            assert!(body.frame().await.unwrap().is_ok());
            assert_eq!(limit.used(), held);
        }
        let error = body.frame().await.unwrap().unwrap_err();
        assert_eq!(Status::from_error(error).code(), Code::ResourceExhausted);
        drop(body);
        assert_eq!(limit.used(), 0);
    }
}

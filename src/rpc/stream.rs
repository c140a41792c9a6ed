//! The answer to BatchGet: as many messages as it takes to keep each small.

use std::{pin::Pin, vec};

use futures_util::{Stream, stream};
use prost::Message as _;
use tokio::time::Instant;
use tonic::Status;

use super::{convert, status};
use crate::{
    cache::{BatchRead, Read},
    pb::v1 as pb,
};

/// Above this a message is sent: far below the 4 MiB that clients accept by default, with room for one value of the default
/// size limit.
const MESSAGE_BYTES: usize = 1024 * 1024;

pub(super) type BatchGetStream = Pin<Box<dyn Stream<Item = Result<pb::BatchGetResponse, Status>> + Send>>;

/// A batch on its way out.
struct Chunks {
    batch: BatchRead,
    /// Read, and in no message yet.
    read: vec::IntoIter<Read>,
    /// What was too much for the message before.
    left_over: Option<(pb::BatchGetResult, bool)>,
    ended: bool,
}

/// Reads a batch as fast as the caller takes it, until the deadline.
pub(super) fn batch_get(batch: BatchRead, deadline: Option<Instant>) -> BatchGetStream {
    let chunks = Chunks { batch, read: Vec::new().into_iter(), left_over: None, ended: false };
    Box::pin(stream::unfold(chunks, move |mut chunks| async move {
        if chunks.ended {
            return None;
        }
        let message = match deadline {
            None => Ok(chunks.next_message().await),
            Some(deadline) => tokio::time::timeout_at(deadline, chunks.next_message()).await,
        };
        match message {
            Ok(Some(message)) => Some((Ok(message), chunks)),
            Ok(None) => None,
            Err(_) => {
                chunks.ended = true;
                Some((Err(status::deadline_exceeded()), chunks))
            }
        }
    }))
}

impl Chunks {
    async fn next_message(&mut self) -> Option<pb::BatchGetResponse> {
        let mut message = pb::BatchGetResponse::default();
        let mut size = 0;
        while let Some((result, degraded)) = self.next_result().await {
            size += result.encoded_len();
            if size > MESSAGE_BYTES && !message.results.is_empty() {
                self.left_over = Some((result, degraded));
                break;
            }
            message.degraded |= degraded;
            message.results.push(result);
        }
        (!message.results.is_empty()).then_some(message)
    }

    async fn next_result(&mut self) -> Option<(pb::BatchGetResult, bool)> {
        if let Some(left_over) = self.left_over.take() {
            return Some(left_over);
        }
        loop {
            if let Some(read) = self.read.next() {
                let degraded = read.degraded;
                return Some((convert::batch_get_result(read), degraded));
            }
            self.read = self.batch.next_part().await?.into_iter();
        }
    }
}

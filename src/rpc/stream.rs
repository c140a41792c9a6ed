//! The answer to BatchGet: as many messages as it takes to keep each small.

use prost::Message as _;
use tokio::{
    sync::mpsc::{self, Sender},
    time::Instant,
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

use super::{convert, status};
use crate::{cache::BatchRead, pb::v1 as pb};

/// Above this a message is sent: far below the 4 MiB that clients accept by default, with room for one value of the default
/// size limit.
const MESSAGE_BYTES: usize = 1024 * 1024;

pub(super) type BatchGetStream = ReceiverStream<Result<pb::BatchGetResponse, Status>>;

/// Reads a batch as fast as the caller takes it, until the deadline.
pub(super) fn batch_get(batch: BatchRead, deadline: Option<Instant>) -> BatchGetStream {
    let (sender, receiver) = mpsc::channel(1);
    tokio::spawn(async move {
        let gone = sender.clone();
        let work = async {
            match deadline {
                None => send(batch, &sender).await,
                Some(deadline) => {
                    if tokio::time::timeout_at(deadline, send(batch, &sender)).await.is_err() {
                        let _ = sender.try_send(Err(status::deadline_exceeded()));
                    }
                }
            }
        };
        tokio::select! {
            () = work => {}
            () = gone.closed() => {}
        }
    });
    ReceiverStream::new(receiver)
}

async fn send(mut batch: BatchRead, sender: &Sender<Result<pb::BatchGetResponse, Status>>) {
    let mut message = pb::BatchGetResponse::default();
    let mut size = 0;
    while let Some(reads) = batch.next_part().await {
        for read in reads {
            let degraded = read.degraded;
            let result = convert::batch_get_result(read);
            let added = result.encoded_len();
            if size + added > MESSAGE_BYTES && !message.results.is_empty() {
                size = 0;
                if sender.send(Ok(std::mem::take(&mut message))).await.is_err() {
                    return;
                }
            }
            size += added;
            message.degraded |= degraded;
            message.results.push(result);
        }
    }
    let _ = sender.send(Ok(message)).await;
}

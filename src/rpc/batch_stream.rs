//! Streamed responses to batches, split into messages of bounded size.

use std::{pin::Pin, vec};

use futures_util::{Stream, stream};
use prost::Message as _;
use tokio::time::Instant;
use tonic::Status;

use super::{convert, deadline, fetch_batch::FetchBatch};
use crate::{
    cache::{BatchGet, GetResult, LeaseGuard},
    pb::v1 as pb,
};

/// Size above which a message is sent, in bytes. Even with one more value of the default size
/// limit, a message stays below the 4 MiB that clients accept by default.
const MESSAGE_BYTES: usize = 1024 * 1024;
/// Upper bound of the encoded size of a BatchGetResult without its value and tags, in bytes.
const RESULT_OVERHEAD: usize = 80;
/// Upper bound of the encoded size of a tag without its text, in bytes.
const TAG_OVERHEAD: usize = 3;

/// A stream of response messages.
pub(super) type ResponseStream<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// A batch that is read chunk by chunk.
pub(super) trait Batch: Send + 'static {
    /// The result for one key.
    type Item: Send;
    /// A response message, which holds several results.
    type Message: Send;

    /// The next results; `None` at the end.
    fn next_chunk(&mut self) -> impl Future<Output = Option<Vec<Self::Item>>> + Send;

    /// Size of an item in its message, in bytes.
    fn size(item: &Self::Item) -> usize;

    /// Whether an item must not wait for the next chunk.
    fn is_urgent(item: &Self::Item) -> bool;

    /// A message with room for some items.
    fn message(items: usize) -> Self::Message;

    /// Adds an item to a message that is about to be sent.
    fn add(message: &mut Self::Message, item: Self::Item);
}

struct Messages<B: Batch> {
    batch: B,
    /// Items that have been read but not sent.
    chunk: vec::IntoIter<B::Item>,
    /// The item that did not fit into the last message.
    overflow: Option<B::Item>,
    is_ended: bool,
}

/// Reads a batch as fast as the client receives it, until the deadline.
pub(super) fn responses<B: Batch>(
    batch: B,
    deadline: Option<Instant>,
) -> ResponseStream<B::Message> {
    let messages =
        Messages { batch, chunk: Vec::new().into_iter(), overflow: None, is_ended: false };
    Box::pin(stream::unfold(messages, move |mut messages| async move {
        if messages.is_ended {
            return None;
        }
        match deadline::within(deadline, messages.next_message()).await {
            Ok(message) => message.map(|message| (Ok(message), messages)),
            Err(status) => {
                messages.is_ended = true;
                Some((Err(status), messages))
            }
        }
    }))
}

impl<B: Batch> Messages<B> {
    async fn next_message(&mut self) -> Option<B::Message> {
        let mut message = None;
        let (mut size, mut is_urgent) = (0, false);
        // An urgent item is sent before the next chunk is read.
        while !(is_urgent && self.overflow.is_none() && self.chunk.len() == 0)
            && let Some(item) = self.next_item().await
        {
            is_urgent |= B::is_urgent(&item);
            size += B::size(&item);
            if size > MESSAGE_BYTES && message.is_some() {
                self.overflow = Some(item);
                break;
            }
            let items = 1 + self.chunk.len();
            B::add(message.get_or_insert_with(|| B::message(items)), item);
        }
        message
    }

    async fn next_item(&mut self) -> Option<B::Item> {
        if let Some(item) = self.overflow.take() {
            return Some(item);
        }
        loop {
            if let Some(item) = self.chunk.next() {
                return Some(item);
            }
            self.chunk = self.batch.next_chunk().await?.into_iter();
        }
    }
}

impl Batch for BatchGet {
    /// A result, and whether it is degraded.
    type Item = (pb::BatchGetResult, bool);
    type Message = pb::BatchGetResponse;

    async fn next_chunk(&mut self) -> Option<Vec<Self::Item>> {
        let results = BatchGet::next_chunk(self).await?;
        let item = |result: GetResult| {
            let degraded = result.degraded;
            (convert::batch_get_result(result), degraded)
        };
        Some(results.into_iter().map(item).collect())
    }

    /// An upper bound: the exact size is computed only once, by the encoder.
    fn size((result, _): &Self::Item) -> usize {
        let value = result.value.as_ref().map_or(0, convert::value_bytes);
        let tags = result.entry.iter().flat_map(|entry| &entry.tags);
        let tags: usize = tags.map(|tag| tag.len() + TAG_OVERHEAD).sum();
        value + tags + RESULT_OVERHEAD
    }

    fn is_urgent(_: &Self::Item) -> bool {
        false
    }

    fn message(items: usize) -> Self::Message {
        pb::BatchGetResponse { results: Vec::with_capacity(items), degraded: false }
    }

    fn add(message: &mut Self::Message, (result, degraded): Self::Item) {
        message.degraded |= degraded;
        message.results.push(result);
    }
}

impl Batch for FetchBatch {
    /// A result, and its lease.
    type Item = (pb::BatchGetOrFetchResult, Option<LeaseGuard>);
    type Message = pb::BatchGetOrFetchResponse;

    async fn next_chunk(&mut self) -> Option<Vec<Self::Item>> {
        let results = self.next_results().await?;
        Some(results.into_iter().map(convert::batch_get_or_fetch_result).collect())
    }

    fn size((result, _): &Self::Item) -> usize {
        result.encoded_len()
    }

    /// A granted lease is already running out.
    fn is_urgent((_, lease): &Self::Item) -> bool {
        lease.is_some()
    }

    fn message(items: usize) -> Self::Message {
        pb::BatchGetOrFetchResponse { results: Vec::with_capacity(items) }
    }

    fn add(message: &mut Self::Message, (result, lease): Self::Item) {
        message.results.push(result);
        // The lease of a result that is never sent is released by its guard.
        lease.map(LeaseGuard::into_token);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use futures_util::StreamExt as _;
    use tonic::Code;

    use super::*;

    /// Chunks of items, given as their sizes; zero is an urgent item.
    struct Sizes(vec::IntoIter<Vec<usize>>);

    impl Batch for Sizes {
        type Item = usize;
        type Message = Vec<usize>;

        async fn next_chunk(&mut self) -> Option<Vec<usize>> {
            tokio::time::sleep(Duration::from_secs(1)).await;
            self.0.next()
        }

        fn size(item: &usize) -> usize {
            *item
        }

        fn is_urgent(item: &usize) -> bool {
            *item == 0
        }

        fn message(items: usize) -> Vec<usize> {
            Vec::with_capacity(items)
        }

        fn add(message: &mut Vec<usize>, item: usize) {
            message.push(item);
        }
    }

    async fn messages(
        chunks: &[&[usize]],
        deadline: Option<Instant>,
    ) -> Vec<Result<Vec<usize>, Code>> {
        let chunks: Vec<_> = chunks.iter().map(|chunk| chunk.to_vec()).collect();
        let responses = responses(Sizes(chunks.into_iter()), deadline);
        responses.map(|message| message.map_err(|status| status.code())).collect().await
    }

    #[tokio::test(start_paused = true)]
    async fn items_of_several_chunks_share_a_message_up_to_its_size() {
        const HALF: usize = MESSAGE_BYTES / 2;
        assert_eq!(messages(&[&[1, 2], &[3]], None).await, [Ok(vec![1, 2, 3])]);
        let split = messages(&[&[HALF, HALF, 1], &[2]], None).await;
        assert_eq!(split, [Ok(vec![HALF, HALF]), Ok(vec![1, 2])]);
        let oversized = messages(&[&[1, 4 * HALF, 1]], None).await;
        assert_eq!(oversized, [Ok(vec![1]), Ok(vec![4 * HALF]), Ok(vec![1])]);
        assert_eq!(messages(&[], None).await, []);
    }

    #[tokio::test(start_paused = true)]
    async fn urgent_item_is_sent_with_its_chunk() {
        let sent = messages(&[&[1], &[0, 2], &[3]], None).await;
        assert_eq!(sent, [Ok(vec![1, 0, 2]), Ok(vec![3])]);
    }

    #[tokio::test(start_paused = true)]
    async fn stream_ends_with_its_deadline() {
        let deadline = Some(Instant::now() + Duration::from_millis(1500));
        let sent = messages(&[&[0], &[0], &[0]], deadline).await;
        assert_eq!(sent, [Ok(vec![0]), Err(Code::DeadlineExceeded)]);
    }

    #[test]
    fn size_of_a_result_is_a_tight_upper_bound() {
        let longest = prost_types::Duration { seconds: i64::MAX, nanos: 999_999_999 };
        for (bytes, tags) in [(0, 0), (1, 1), (100, 32), (1024 * 1024, 32)] {
            let value = pb::Value { kind: Some(pb::value::Kind::Data(vec![7; bytes].into())) };
            let entry = pb::EntryInfo {
                version: "0123456789abcdef".to_owned(),
                age: Some(longest),
                ttl_remaining: Some(longest),
                tags: vec!["t".repeat(128); tags],
                tier: pb::Tier::Origin.into(),
            };
            let outcome = pb::Outcome::Negative.into();
            let (value, entry) = (Some(value), Some(entry));
            let result = pb::BatchGetResult { outcome, value, entry, ..Default::default() };
            let item = (result, false);
            let estimated = <BatchGet as Batch>::size(&item);
            let encoded =
                pb::BatchGetResponse { results: vec![item.0], degraded: false }.encoded_len();
            assert!(
                encoded <= estimated && estimated <= encoded + RESULT_OVERHEAD,
                "{encoded} bytes, estimated as {estimated}"
            );
        }
    }
}

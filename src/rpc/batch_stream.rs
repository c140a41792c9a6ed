//! The answers to batches: as many messages as it takes to keep each small.

use std::{pin::Pin, vec};

use futures_util::{Stream, stream};
use prost::Message as _;
use tokio::time::Instant;
use tonic::Status;

use super::{convert, convert::get_or_fetch, status};
use crate::{
    cache::{BatchGet, BatchGetOrFetch, LeaseGuard},
    pb::v1 as pb,
};

/// Above this a message is sent: far below the 4 MiB that clients accept by default, with room for one value of the default
/// size limit.
const MESSAGE_BYTES: usize = 1024 * 1024;
/// What a result takes beside its value and tags, and a tag beside its text, at most.
const BESIDE_VALUE: usize = 80;
const BESIDE_TAG: usize = 3;

/// Messages on their way out.
pub(super) type Messages<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// A batch that is read part by part.
pub(super) trait Batch: Send + 'static {
    /// What one key came to.
    type Item: Send;
    /// A message with as many of them as fit.
    type Chunk: Default + Send;

    /// The next results; none when there are no more.
    fn next_part(&mut self) -> impl Future<Output = Option<Vec<Self::Item>>> + Send;

    /// Bytes that a result takes in a message.
    fn size(item: &Self::Item) -> usize;

    /// Whether a result should not wait for others.
    fn is_urgent(item: &Self::Item) -> bool;

    /// Puts a result into a message.
    fn add(chunk: &mut Self::Chunk, item: Self::Item);
}

/// A batch on its way out.
struct Chunks<B: Batch> {
    batch: B,
    /// GetResult, and in no message yet.
    read: vec::IntoIter<B::Item>,
    /// What was too much for the message before.
    left_over: Option<B::Item>,
    ended: bool,
}

/// Reads a batch as fast as the caller takes it, until the deadline.
pub(super) fn messages<B: Batch>(batch: B, deadline: Option<Instant>) -> Messages<B::Chunk> {
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

impl<B: Batch> Chunks<B> {
    async fn next_message(&mut self) -> Option<B::Chunk> {
        let mut message = None;
        let (mut size, mut is_urgent) = (0, false);
        // What is urgent does not wait for the next part to be read.
        while !(is_urgent && self.left_over.is_none() && self.read.len() == 0)
            && let Some(item) = self.next_item().await
        {
            is_urgent |= B::is_urgent(&item);
            size += B::size(&item);
            if size > MESSAGE_BYTES && message.is_some() {
                self.left_over = Some(item);
                break;
            }
            B::add(message.get_or_insert_default(), item);
        }
        message
    }

    async fn next_item(&mut self) -> Option<B::Item> {
        if let Some(left_over) = self.left_over.take() {
            return Some(left_over);
        }
        loop {
            if let Some(read) = self.read.next() {
                return Some(read);
            }
            self.read = self.batch.next_part().await?.into_iter();
        }
    }
}

impl Batch for BatchGet {
    type Item = (pb::BatchGetResult, bool);
    type Chunk = pb::BatchGetResponse;

    async fn next_part(&mut self) -> Option<Vec<Self::Item>> {
        let reads = BatchGet::next_chunk(self).await?;
        let item = |read: crate::cache::GetResult| {
            let degraded = read.degraded;
            (convert::batch_get_result(read), degraded)
        };
        Some(reads.into_iter().map(item).collect())
    }

    fn size((result, _): &Self::Item) -> usize {
        // At least that much: adding it up to the byte is left to the encoder.
        let value = result.value.as_ref().map_or(0, convert::value_bytes);
        let tags = result
            .entry
            .iter()
            .flat_map(|entry| &entry.tags)
            .map(|tag| tag.len() + BESIDE_TAG)
            .sum::<usize>();
        value + tags + BESIDE_VALUE
    }

    fn is_urgent(_: &Self::Item) -> bool {
        false
    }

    fn add(chunk: &mut Self::Chunk, (result, degraded): Self::Item) {
        chunk.degraded |= degraded;
        chunk.results.push(result);
    }
}

impl Batch for BatchGetOrFetch {
    type Item = (pb::BatchGetOrFetchResult, Option<LeaseGuard>);
    type Chunk = pb::BatchGetOrFetchResponse;

    async fn next_part(&mut self) -> Option<Vec<Self::Item>> {
        let fetched = BatchGetOrFetch::next_chunk(self).await?;
        Some(fetched.into_iter().map(get_or_fetch::batch_result).collect())
    }

    fn size((result, _): &Self::Item) -> usize {
        result.encoded_len()
    }

    /// The time of a lease is running.
    fn is_urgent((_, lease): &Self::Item) -> bool {
        lease.is_some()
    }

    fn add(chunk: &mut Self::Chunk, (result, lease): Self::Item) {
        chunk.results.push(result);
        // Until now it would have gone back if the caller had left.
        lease.map(LeaseGuard::into_token);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_result_takes_no_more_than_is_counted_for_it() {
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
            let item =
                (pb::BatchGetResult { outcome, value: Some(value), entry: Some(entry) }, false);
            let counted = <BatchGet as Batch>::size(&item);
            let taken =
                pb::BatchGetResponse { results: vec![item.0], degraded: false }.encoded_len();
            assert!(
                taken <= counted && counted <= taken + BESIDE_VALUE,
                "{taken} counted as {counted}"
            );
        }
    }
}

//! BatchGet and BatchGetOrFetch with fields that few callers set, apart from the plain ones.

use prost::Message as _;

use super::{
    batch_stream::Batch,
    convert::{self, BatchReadOptions},
    fetch_batch::FetchBatch,
};
use crate::{cache::BatchGet, pb::v1 as pb};

/// A BatchGet with such fields.
pub(super) struct BatchWithOptions {
    batch: BatchGet,
    options: BatchReadOptions,
    /// Index of the key of the next result.
    next: usize,
}

impl BatchWithOptions {
    pub(super) fn new(batch: BatchGet, options: BatchReadOptions) -> Self {
        Self { batch, options, next: 0 }
    }
}

impl Batch for BatchWithOptions {
    type Item = <BatchGet as Batch>::Item;
    type Message = pb::BatchGetResponse;

    async fn next_chunk(&mut self) -> Option<Vec<Self::Item>> {
        let mut results = BatchGet::next_chunk(&mut self.batch).await?;
        if let Some(touch) = self.options.touch {
            self.batch.slide(&mut results, touch).await;
        }
        let first = self.next;
        self.next += results.len();
        let options = &mut self.options;
        let items = results.into_iter().zip(first..);
        Some(items.map(|(result, index)| options.result(index, result)).collect())
    }

    fn size((result, _): &Self::Item) -> usize {
        result.encoded_len()
    }

    fn is_urgent(_: &Self::Item) -> bool {
        false
    }

    fn message(items: usize) -> Self::Message {
        <BatchGet as Batch>::message(items)
    }

    fn add(message: &mut Self::Message, item: Self::Item) {
        <BatchGet as Batch>::add(message, item);
    }
}

/// A BatchGetOrFetch with such fields.
pub(super) struct FetchWithOptions {
    batch: FetchBatch,
    options: BatchReadOptions,
    /// Index of the key of the next result.
    next: usize,
}

impl FetchWithOptions {
    pub(super) fn new(batch: FetchBatch, options: BatchReadOptions) -> Self {
        Self { batch, options, next: 0 }
    }
}

impl Batch for FetchWithOptions {
    type Item = <FetchBatch as Batch>::Item;
    type Message = pb::BatchGetOrFetchResponse;

    async fn next_chunk(&mut self) -> Option<Vec<Self::Item>> {
        let mut results = self.batch.next_results().await?;
        if let Some(touch) = self.options.touch {
            self.batch.slide(&mut results, touch).await;
        }
        let first = self.next;
        self.next += results.len();
        let options = &mut self.options;
        let items = results.into_iter().zip(first..).map(|(result, index)| {
            convert::projected_result(result, |entry| options.found(index, entry))
        });
        Some(items.collect())
    }

    fn size(item: &Self::Item) -> usize {
        <FetchBatch as Batch>::size(item)
    }

    fn is_urgent(item: &Self::Item) -> bool {
        <FetchBatch as Batch>::is_urgent(item)
    }

    fn message(items: usize) -> Self::Message {
        <FetchBatch as Batch>::message(items)
    }

    fn add(message: &mut Self::Message, item: Self::Item) {
        <FetchBatch as Batch>::add(message, item);
    }
}

//! BatchGet with fields that few callers set, apart from the plain BatchGet.

use prost::Message as _;

use super::{batch_stream::Batch, convert::BatchReadOptions};
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

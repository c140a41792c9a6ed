//! Rarely used fields of a stored entry.

use std::sync::Arc;

use crate::{
    model::{Entry, FetchMetadata, Tags, millis_ceil},
    store::memory::{
        allocation::{ARC_HEADER, allocated},
        name,
    },
};

/// Rarely used fields of an entry.
#[derive(Default)]
pub(super) struct Extras {
    /// The version and the name, where a block with the value would waste memory.
    pub(super) head: Option<Box<[u8]>>,
    pub(super) tags: Tags,
    pub(super) fetch_metadata: Option<Arc<FetchMetadata>>,
    /// In milliseconds.
    pub(super) stale_while_revalidate: u64,
    pub(super) stale_if_error: u64,
    pub(super) revalidation_window: u64,
}

/// Memory of [`Extras`], besides what they point to.
pub(super) const EXTRAS: u64 = allocated(size_of::<Extras>(), align_of::<Extras>());

impl Extras {
    pub(super) fn of(entry: &Entry) -> Self {
        Self {
            head: None,
            tags: entry.tags.clone(),
            fetch_metadata: entry.fetch_metadata.clone(),
            stale_while_revalidate: millis_ceil(entry.stale_while_revalidate),
            stale_if_error: millis_ceil(entry.stale_if_error),
            revalidation_window: millis_ceil(entry.revalidation_window),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        let has_values =
            self.head.is_some() || !self.tags.is_empty() || self.fetch_metadata.is_some();
        !has_values && self.windows() == 0
    }

    /// Time from the end of the TTL to the expiry, in milliseconds.
    pub(super) fn windows(&self) -> u64 {
        [self.stale_while_revalidate, self.stale_if_error, self.revalidation_window]
            .into_iter()
            .fold(0, u64::saturating_add)
    }

    pub(super) fn boxed(self) -> Option<Box<Self>> {
        (!self.is_empty()).then(|| Box::new(self))
    }

    pub(super) fn memory(&self) -> u64 {
        let head = self.head.as_ref().map_or(0, |head| name::memory(head.len()));
        let tags: u64 = self.tags.iter().map(|tag| allocated(tag.capacity(), 1)).sum();
        let tag_list = match self.tags.len() {
            0 => 0,
            tags => allocated(ARC_HEADER + tags * size_of::<String>(), align_of::<String>()),
        };
        let fetch_metadata = self.fetch_metadata.as_ref().map_or(0, |metadata| {
            let validators = [&metadata.validators.etag, &metadata.validators.last_modified];
            let texts = validators.into_iter().flatten().map(|text| allocated(text.len(), 1));
            let size = ARC_HEADER + size_of::<FetchMetadata>();
            allocated(size, align_of::<FetchMetadata>()) + texts.sum::<u64>()
        });
        EXTRAS + head + tags + tag_list + fetch_metadata
    }
}

//! Entries: what the cache holds, as plain data.

use std::{fmt, ops::Deref, sync::Arc, time::Duration};

use bytes::Bytes;

use super::Timestamp;

/// Maximum number of tags on one entry.
pub const MAX_TAGS: usize = 32;
/// Maximum length of a tag, in bytes.
pub const MAX_TAG_BYTES: usize = 128;

/// Kind of value that an entry holds. The numbers are part of the stored format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// Any bytes.
    Bytes = 0,
    /// UTF-8 text.
    Text = 1,
    /// One JSON document.
    Json = 2,
    /// A negative entry: the origin has no value for the key.
    Negative = 3,
}

/// Opaque id of one written value. Random, because a counter would repeat numbers after a failover
/// that lost writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Version(pub u64);

/// Tags of an entry, sorted and unique. Cheap to clone; without tags there is no allocation.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Tags(Option<Arc<[String]>>);

/// Lifetime of an entry: fresh for the TTL, then stale in two windows that follow one another
/// (RFC 5861), then kept for revalidation only, then expired.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Lifetime {
    /// Time for which the value is fresh.
    pub ttl: Duration,
    /// Window after the TTL in which the stale value may be served during a refresh.
    pub stale_while_revalidate: Duration,
    /// Window after that in which the stale value may be served if the origin fails.
    pub stale_if_error: Duration,
    /// Window after that in which the entry is not served, but the origin can still confirm that
    /// the value has not changed.
    pub revalidation_window: Duration,
}

/// Validators of a value (RFC 9110): the origin compares them to decide whether it has changed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Validators {
    /// HTTP's `ETag` with its quotes, or the opaque tag of a gRPC origin.
    pub etag: Option<Box<str>>,
    /// HTTP's `Last-Modified`, as the origin sent it.
    pub last_modified: Option<Box<str>>,
}

/// Source of an origin's answer besides the key: hashes of the origin's configuration.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct FetchSource {
    /// The protocol and the URL. Validators are only comparable within it.
    pub target: u64,
    /// The headers of the requests.
    pub headers: u64,
}

/// Metadata of a value that was fetched from an origin.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FetchMetadata {
    /// Validators that the origin sent with the value.
    pub validators: Validators,
    /// Duration of the fetch, to the millisecond.
    pub fetch_time: Duration,
    /// Where the value comes from. `None` if an earlier release fetched it.
    pub source: Option<FetchSource>,
}

/// A value about to be stored.
#[derive(Debug, Clone)]
pub struct NewEntry {
    /// Kind of the value.
    pub kind: Kind,
    /// The value.
    pub data: Bytes,
    /// Id of this write.
    pub version: Version,
    /// Lifetime, which begins when the store writes the entry.
    pub lifetime: Lifetime,
    /// Tags.
    pub tags: Tags,
    /// Metadata of the fetch; none if the value was set by a caller.
    pub fetch_metadata: Option<Arc<FetchMetadata>>,
}

/// A stored value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Kind of the value.
    pub kind: Kind,
    /// The value.
    pub data: Bytes,
    /// Id of the write.
    pub version: Version,
    /// Time of the write.
    pub created_at: Timestamp,
    /// End of the TTL.
    pub fresh_until: Timestamp,
    /// Window after `fresh_until` in which the value may be served during a refresh.
    pub stale_while_revalidate: Duration,
    /// Window after that in which the value may be served if the origin fails.
    pub stale_if_error: Duration,
    /// Window after that in which the entry is kept for revalidation and not served.
    pub revalidation_window: Duration,
    /// Tags.
    pub tags: Tags,
    /// Metadata of the fetch; none if the value was set by a caller.
    pub fetch_metadata: Option<Arc<FetchMetadata>>,
}

// === impl Kind ===

impl Kind {
    /// Returns the kind with this stored number; none if this release has no such kind.
    pub fn from_byte(byte: u8) -> Option<Self> {
        [Self::Bytes, Self::Text, Self::Json, Self::Negative]
            .into_iter()
            .find(|kind| *kind as u8 == byte)
    }
}

// === impl Version ===

impl Version {
    /// Generates an id.
    pub fn random() -> Self {
        Self(rand::random())
    }

    /// Encodes the id as 16 hexadecimal digits. Every response carries one, so this avoids the
    /// slower `format!`.
    pub fn to_text(self) -> String {
        data_encoding::HEXLOWER.encode(&self.0.to_be_bytes())
    }

    /// Decodes the text that [`Version::to_text`] wrote; none for any other text.
    pub fn parse(text: &str) -> Option<Self> {
        let canonical =
            text.len() == 16 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        canonical.then(|| u64::from_str_radix(text, 16).ok()).flatten().map(Self)
    }
}

// === impl Tags ===

impl Deref for Tags {
    type Target = [String];

    fn deref(&self) -> &[String] {
        self.0.as_deref().unwrap_or_default()
    }
}

impl fmt::Debug for Tags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

impl From<Vec<String>> for Tags {
    fn from(tags: Vec<String>) -> Self {
        Self((!tags.is_empty()).then(|| tags.into()))
    }
}

impl<const LEN: usize> From<[String; LEN]> for Tags {
    fn from(tags: [String; LEN]) -> Self {
        Vec::from(tags).into()
    }
}

impl FromIterator<String> for Tags {
    fn from_iter<I: IntoIterator<Item = String>>(tags: I) -> Self {
        Vec::from_iter(tags).into()
    }
}

// === impl Validators ===

impl Validators {
    /// Whether the origin sent no validator.
    pub fn is_empty(&self) -> bool {
        self.etag.is_none() && self.last_modified.is_none()
    }
}

// === impl Lifetime ===

impl Lifetime {
    /// Time from the write to the expiry; saturates.
    pub fn total(&self) -> Duration {
        [self.stale_while_revalidate, self.stale_if_error, self.revalidation_window]
            .into_iter()
            .fold(self.ttl, Duration::saturating_add)
    }
}

// === impl Entry ===

impl Entry {
    /// Builds the entry that results from writing `new` at `now`.
    pub fn written(new: &NewEntry, now: Timestamp) -> Self {
        Self {
            kind: new.kind,
            data: new.data.clone(),
            version: new.version,
            created_at: now,
            fresh_until: now.after(new.lifetime.ttl),
            stale_while_revalidate: new.lifetime.stale_while_revalidate,
            stale_if_error: new.lifetime.stale_if_error,
            revalidation_window: new.lifetime.revalidation_window,
            tags: new.tags.clone(),
            fetch_metadata: new.fetch_metadata.clone(),
        }
    }

    /// Estimated heap memory of the entry in bytes, besides the struct itself.
    pub fn heap_bytes(&self) -> usize {
        // Overhead of the allocator, or the counters of an `Arc`.
        const ALLOCATION: usize = 16;
        let tags: usize =
            self.tags.iter().map(|tag| tag.len() + size_of::<String>() + ALLOCATION).sum();
        let fetch_metadata = self.fetch_metadata.as_ref().map_or(0, |metadata| {
            let validators = [&metadata.validators.etag, &metadata.validators.last_modified];
            let texts = validators.into_iter().flatten().map(|text| text.len() + ALLOCATION);
            size_of::<FetchMetadata>() + 2 * ALLOCATION + texts.sum::<usize>()
        });
        self.data.len() + tags + fetch_metadata
    }

    /// Whether the entry holds a value that is fresh at `now`. A negative entry holds no value.
    pub fn is_fresh(&self, now: Timestamp) -> bool {
        self.kind != Kind::Negative && now < self.fresh_until
    }

    /// Starts a new lifetime at `now`.
    pub fn reschedule(&mut self, lifetime: &Lifetime, now: Timestamp) {
        self.fresh_until = now.after(lifetime.ttl);
        self.stale_while_revalidate = lifetime.stale_while_revalidate;
        self.stale_if_error = lifetime.stale_if_error;
        self.revalidation_window = lifetime.revalidation_window;
    }

    /// End of the last window in which the entry may be served.
    pub fn stale_until(&self) -> Timestamp {
        self.fresh_until.after(self.stale_while_revalidate).after(self.stale_if_error)
    }

    /// Time at which the entry expires and the store may drop it.
    pub fn expires_at(&self) -> Timestamp {
        self.stale_until().after(self.revalidation_window)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;

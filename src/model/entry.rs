//! What the cache holds: pure data, known to every layer.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;

/// Most tags on one entry.
pub const MAX_TAGS: usize = 32;
/// Longest tag, in bytes.
pub const MAX_TAG_BYTES: usize = 128;

/// A point in time by the store's clock, in milliseconds since the Unix epoch.
///
/// All times of an entry are read from the clock of the store that holds it, so that the clocks of two replicas are
/// never compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Timestamp(pub u64);

/// What kind of value an entry holds. The numbers are part of the stored format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// Any bytes.
    Bytes = 0,
    /// UTF-8 text.
    Text = 1,
    /// One JSON document.
    Json = 2,
    /// The origin is known to have no value.
    Negative = 3,
}

/// Opaque id of one written value. Random, because a counter would repeat itself after a failover that lost writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Version(pub u64);

/// Tags of an entry, sorted and without repetition.
pub type Tags = Arc<[String]>;

/// How long an entry lives: fresh, then stale in two windows, one after the other (RFC 5861), then gone.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Lifetime {
    /// How long the value is fresh.
    pub ttl: Duration,
    /// How long after that it may be served while somebody refreshes it.
    pub stale_while_revalidate: Duration,
    /// How long after that it may be served because the origin failed.
    pub stale_if_error: Duration,
    /// How long after that it is kept, not to be served, but for the origin to say that it is still good.
    pub revalidation_window: Duration,
}

/// What an origin says by which it recognises a value that has not changed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Validators {
    /// HTTP's `ETag` with its quotes, or what a gRPC origin chose. Opaque.
    pub etag: Option<Box<str>>,
    /// HTTP's `Last-Modified`, as it was sent.
    pub last_modified: Option<Box<str>>,
}

/// What is known of a value that was fetched from an origin.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FetchMetadata {
    /// By which the origin recognises it.
    pub validators: Validators,
    /// How long the fetch took, to the millisecond.
    pub fetch_time: Duration,
}

/// A value about to be stored.
#[derive(Debug, Clone)]
pub struct NewEntry {
    /// Kind of the value.
    pub kind: Kind,
    /// The value.
    pub data: Bytes,
    /// The id under which this write will be known.
    pub version: Version,
    /// How long it lives, from the moment the store takes it.
    pub lifetime: Lifetime,
    /// Its tags.
    pub tags: Tags,
    /// Where it came from, if it was fetched.
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
    /// When it was written.
    pub created_at: Timestamp,
    /// Until when it is fresh.
    pub fresh_until: Timestamp,
    /// Length of the window that follows `fresh_until`.
    pub stale_while_revalidate: Duration,
    /// Length of the window that follows that.
    pub stale_if_error: Duration,
    /// Length of the window that follows that, in which the entry is not served any more.
    pub revalidation_window: Duration,
    /// Its tags.
    pub tags: Tags,
    /// Where the value came from, if it was fetched.
    pub fetch_metadata: Option<Arc<FetchMetadata>>,
}

// === impl Millis ===

impl Timestamp {
    /// This time, later by `duration`; the end of time when that does not fit.
    #[must_use]
    pub fn after(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(millis_ceil(duration)))
    }

    /// How long after `earlier` this is; zero when it is not after.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }
}

/// Milliseconds of a duration, sub-millisecond parts rounded up: a positive duration never becomes zero.
pub fn millis_ceil(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX)
}

// === impl Kind ===

impl Kind {
    /// The kind of a stored number, if this release knows it.
    pub fn from_byte(byte: u8) -> Option<Self> {
        [Self::Bytes, Self::Text, Self::Json, Self::Negative]
            .into_iter()
            .find(|kind| *kind as u8 == byte)
    }
}

// === impl Version ===

impl Version {
    /// A new id.
    pub fn random() -> Self {
        Self(rand::random())
    }

    /// 16 hexadecimal digits. Every answer has it, so it does not go through the machinery of formatting.
    pub fn to_text(self) -> String {
        data_encoding::HEXLOWER.encode(&self.0.to_be_bytes())
    }

    /// Reads what [`Version::to_text`] wrote.
    pub fn parse(text: &str) -> Option<Self> {
        let canonical =
            text.len() == 16 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        canonical.then(|| u64::from_str_radix(text, 16).ok()).flatten().map(Self)
    }
}

// === impl Validators ===

impl Validators {
    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.etag.is_none() && self.last_modified.is_none()
    }
}

// === impl Lifetime ===

impl Lifetime {
    /// From writing to the hard expiry.
    pub fn total(&self) -> Duration {
        [self.stale_while_revalidate, self.stale_if_error, self.revalidation_window]
            .into_iter()
            .fold(self.ttl, Duration::saturating_add)
    }
}

// === impl Entry ===

impl Entry {
    /// The entry that a draft becomes when it is stored at `now`.
    pub fn written(draft: &NewEntry, now: Timestamp) -> Self {
        Self {
            kind: draft.kind,
            data: draft.data.clone(),
            version: draft.version,
            created_at: now,
            fresh_until: now.after(draft.lifetime.ttl),
            stale_while_revalidate: draft.lifetime.stale_while_revalidate,
            stale_if_error: draft.lifetime.stale_if_error,
            revalidation_window: draft.lifetime.revalidation_window,
            tags: draft.tags.clone(),
            fetch_metadata: draft.fetch_metadata.clone(),
        }
    }

    /// Bytes that it takes in memory beside its own struct.
    pub fn heap_bytes(&self) -> usize {
        const ALLOCATION: usize = 16;
        let tags: usize =
            self.tags.iter().map(|tag| tag.len() + size_of::<String>() + ALLOCATION).sum();
        let fetch_metadata = self.fetch_metadata.as_ref().map_or(0, |fetch_metadata| {
            let validators =
                [&fetch_metadata.validators.etag, &fetch_metadata.validators.last_modified];
            let texts = validators.into_iter().flatten().map(|text| text.len() + ALLOCATION);
            size_of::<FetchMetadata>() + 2 * ALLOCATION + texts.sum::<usize>()
        });
        self.data.len() + tags + fetch_metadata
    }

    /// Whether the entry holds a value that is fresh at `now`.
    pub fn is_fresh(&self, now: Timestamp) -> bool {
        self.kind != Kind::Negative && now < self.fresh_until
    }

    /// Gives the entry a new lifetime from `now`.
    pub fn reschedule(&mut self, lifetime: &Lifetime, now: Timestamp) {
        self.fresh_until = now.after(lifetime.ttl);
        self.stale_while_revalidate = lifetime.stale_while_revalidate;
        self.stale_if_error = lifetime.stale_if_error;
        self.revalidation_window = lifetime.revalidation_window;
    }

    /// When the entry can no longer be served.
    pub fn stale_until(&self) -> Timestamp {
        self.fresh_until.after(self.stale_while_revalidate).after(self.stale_if_error)
    }

    /// When the entry is gone for good.
    pub fn expires_at(&self) -> Timestamp {
        self.stale_until().after(self.revalidation_window)
    }
}

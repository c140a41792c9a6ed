//! Changes that are sent together.

use std::sync::OnceLock;

use bytes::Bytes;
use tokio::time::Instant;

use super::changed_keys::ChangedKeys;
use crate::model::Namespace;

/// Changes in a namespace.
#[derive(Debug, Clone)]
pub enum PublishedChange {
    /// These entries were written or removed.
    Keys(ChangedKeys),
    /// All entries are invalid.
    Namespace,
    /// The entries with one of these tags are invalid.
    Tags(Vec<String>),
    /// The entries whose key matches this glob are invalid.
    Pattern(String),
}

/// A change of a namespace, as all of its watchers share it.
#[derive(Debug)]
pub struct ChangeBatch {
    namespace: Namespace,
    change: PublishedChange,
    since: Instant,
    encoded: OnceLock<Bytes>,
}

/// Memory of a batch in bytes, besides its change.
const OVERHEAD: usize = size_of::<ChangeBatch>() + 64;

impl PublishedChange {
    /// Memory of what the change names, in bytes.
    fn memory(&self) -> usize {
        match self {
            Self::Keys(keys) => keys.memory(),
            Self::Namespace => 0,
            Self::Tags(tags) => tags.iter().map(|tag| tag.len() + size_of::<String>()).sum(),
            Self::Pattern(glob) => glob.len(),
        }
    }

    /// Number of keys, tags and patterns; 1 for a namespace.
    pub fn len(&self) -> usize {
        match self {
            Self::Keys(keys) => keys.len(),
            Self::Tags(tags) => tags.len(),
            Self::Namespace | Self::Pattern(_) => 1,
        }
    }

    /// Whether nothing has changed.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl ChangeBatch {
    /// A change whose first part was published at `since`.
    pub(super) fn new(namespace: Namespace, change: PublishedChange, since: Instant) -> Self {
        Self { namespace, change, since, encoded: OnceLock::new() }
    }

    /// The namespace.
    pub fn namespace(&self) -> &Namespace {
        &self.namespace
    }

    /// The change.
    pub fn change(&self) -> &PublishedChange {
        &self.change
    }

    /// When the first part of the change was published.
    pub fn since(&self) -> Instant {
        self.since
    }

    /// The change as bytes. `encode` runs once for all watchers.
    pub fn encoded(&self, encode: impl FnOnce(&Self) -> Bytes) -> Bytes {
        self.encoded.get_or_init(|| encode(self)).clone()
    }

    /// Memory in bytes. The encoded form takes about as much as the change itself.
    pub(super) fn memory(&self) -> usize {
        2 * self.change.memory() + OVERHEAD
    }
}

//! Facts about many entries of a namespace, found one bounded step at a time.

use super::KeyListPosition;
use crate::model::Timestamp;

/// Facts about one entry. Sizes are in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EntryFacts {
    /// Size of the key, without params.
    pub key_bytes: u64,
    /// Size of the value.
    pub value_bytes: u64,
    /// When the value was written or last revalidated.
    pub created_at: Timestamp,
    /// When it becomes stale.
    pub fresh_until: Timestamp,
}

/// The entries that a step found, and where the next one begins; `None` at the end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EntrySample {
    /// Valid entries, in an order that depends neither on their sizes nor on their times.
    pub entries: Vec<EntryFacts>,
    /// Where the next step begins.
    pub next: Option<KeyListPosition>,
}

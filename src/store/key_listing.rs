//! Listing the keys of a namespace, one bounded step at a time.

use crate::model::{EntryKey, Glob, Namespace};

/// One step of a listing.
#[derive(Debug, Clone)]
pub struct KeyListStep {
    /// The namespace whose keys are listed.
    pub namespace: Namespace,
    /// Only keys that match; `None` lists all.
    pub glob: Option<Glob>,
    /// Where the step begins.
    pub position: KeyListPosition,
    /// How many entries of the store, of any namespace, are visited; at most
    /// [`KeyListStep::MAX_VISITS`]. A store may visit some more.
    pub visits: usize,
}

/// Where a step of a listing begins. Its meaning is the store's. One of another store, or of
/// another process of the same store, stands for the beginning.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct KeyListPosition {
    /// Process of the store that made the position.
    pub origin: u64,
    /// Position within its table; zero is the beginning.
    pub cursor: u64,
}

/// The keys that a step found, and where the next one begins; `None` at the end of the listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyListPart {
    /// Keys of valid entries, in no order.
    pub keys: Vec<EntryKey>,
    /// Where the next step begins.
    pub next: Option<KeyListPosition>,
}

/// The namespaces that a step found, and where the next one begins; `None` at the end.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NamespaceListPart {
    /// Names of namespaces, in no order.
    pub namespaces: Vec<Namespace>,
    /// Where the next step begins.
    pub next: Option<KeyListPosition>,
}

impl KeyListStep {
    /// Most entries that one step visits: about a millisecond of the store's time.
    pub const MAX_VISITS: usize = 1000;

    /// Whether a key is listed.
    pub fn selects(&self, key: &str) -> bool {
        self.glob.as_ref().is_none_or(|glob| glob.matches(key))
    }
}

impl KeyListPosition {
    /// The position if `origin` made it, and the beginning otherwise.
    pub fn cursor_of(self, origin: u64) -> u64 {
        if self.origin == origin { self.cursor } else { 0 }
    }
}

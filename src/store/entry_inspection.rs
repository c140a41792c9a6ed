//! The state of one key in a store.

use std::time::Duration;

use crate::model::Entry;

/// Entry, lease and bans of one key in a store, whether or not a read returns the entry.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct EntryInspection {
    /// The entry.
    pub entry: Option<Entry>,
    /// Whether the entry is invalidated: no read returns it, and its memory is freed later.
    pub is_invalidated: bool,
    /// Number of the newest ban that the entry is not older than.
    pub ban_sequence: u64,
    /// The bans that make the entry invalid, the newest first; at most
    /// [`EntryInspection::MAX_BANS`].
    pub bans: Vec<MatchingBan>,
    /// Memory of the entry in the store, in bytes.
    pub stored_bytes: u64,
    /// The lease of the key, or what is left of it.
    pub lease: Option<LeaseInspection>,
}

/// A ban that matches an entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MatchingBan {
    /// Its pattern.
    pub pattern: BanPattern,
    /// Its number in the sequence of the namespace's bans.
    pub sequence: u64,
}

/// The pattern of a ban.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BanPattern {
    /// Entries with this tag.
    Tag(String),
    /// Entries whose key matches this glob.
    Glob(String),
}

impl EntryInspection {
    /// Most bans that are listed.
    pub const MAX_BANS: usize = 100;
}

/// The lease of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeaseInspection {
    /// Its state.
    pub state: LeaseInspectionState,
    /// Time until the state ends.
    pub remaining: Duration,
}

/// The state of a lease.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LeaseInspectionState {
    /// A caller or a replica computes the value.
    Held,
    /// The entry was deleted, written or invalidated since: the holder's fill is refused.
    Voided,
    /// The last holder gave up, for this cause; no other lease is granted.
    BackedOff(String),
    /// No fill is accepted since a delete with a hold-off.
    HeldOff,
}

//! Generations of a namespace: invalidating it sets one flag, and a ban another one.
//!
//! A ban ends the current generation as the one that writes belong to. Its entries and leases stay
//! valid unless the ban matches: they are *superseded*, and checked before they are used.

use std::sync::{
    Arc, OnceLock,
    atomic::{AtomicBool, AtomicU64, Ordering},
};

use parking_lot::Mutex;

use super::{
    allocation::{ARC_HEADER, allocated},
    namespace_state::NamespaceState,
    succession::Succession,
};
use crate::{
    model::{Namespace, Timestamp},
    store::{MatchingBan, NamespaceUsage},
};

/// The entries and leases of a namespace between two invalidations or bans.
pub(super) struct Generation {
    state: Arc<NamespaceState>,
    lineage: Arc<Lineage>,
    /// Number of the newest ban when the generation began.
    sequence: u64,
    /// Whether there is a newer generation. Set after its bans are stored.
    superseded: AtomicBool,
}

/// The generations of a namespace between two invalidations of the whole of it.
#[derive(Default)]
struct Lineage {
    ended: AtomicBool,
    /// Unset until the first ban. Locked after the bans of the namespace.
    succession: OnceLock<Box<Mutex<Succession<Generation>>>>,
    keys: AtomicU64,
    bytes: AtomicU64,
}

// === impl Generation ===

impl Generation {
    pub(super) fn of(state: &Arc<NamespaceState>) -> Arc<Self> {
        let lineage = Arc::default();
        Arc::new(Self {
            state: state.clone(),
            lineage,
            sequence: state.ban_sequence(),
            superseded: AtomicBool::default(),
        })
    }

    /// Memory of the first generation of a namespace, in bytes.
    pub(super) fn memory() -> u64 {
        let word = align_of::<usize>();
        allocated(ARC_HEADER + size_of::<Self>(), word)
            + allocated(ARC_HEADER + size_of::<Lineage>(), word)
    }

    /// The generation that follows this one after the ban `sequence`. The caller holds the lock
    /// that new operations need. This one is not superseded yet.
    pub(super) fn succeeded(self: &Arc<Self>, sequence: u64) -> Arc<Self> {
        let (state, lineage) = (self.state.clone(), self.lineage.clone());
        let superseded = AtomicBool::default();
        let successor = Arc::new(Self { state, lineage, sequence, superseded });
        let succession = self.lineage.succession.get_or_init(Box::default);
        succession.lock().supersede(self, self.sequence, &successor);
        successor
    }

    /// Number of the newest ban that no entry and no lease is older than. This generation is the
    /// current one.
    pub(super) fn oldest_sequence(&self) -> u64 {
        let elders = self.lineage.succession.get().and_then(|elders| elders.lock().oldest());
        elders.unwrap_or(self.sequence)
    }

    /// Memory of the earlier generations that are still in use, in bytes.
    pub(super) fn elders_memory(&self) -> u64 {
        let memory = allocated(ARC_HEADER + size_of::<Self>(), align_of::<usize>());
        self.lineage.succession.get().map_or(0, |elders| elders.lock().memory(memory))
    }

    /// Makes all entries and leases of the namespace invalid.
    pub(super) fn end(&self) {
        self.lineage.ended.store(true, Ordering::Release);
        self.supersede();
    }

    /// Has entries and leases checked against newer bans, which must be there by now.
    pub(super) fn supersede(&self) {
        self.superseded.store(true, Ordering::Release);
    }

    pub(super) fn namespace(&self) -> &Namespace {
        self.state.name()
    }

    pub(super) fn state(&self) -> &Arc<NamespaceState> {
        &self.state
    }

    /// Whether the entries and leases of the generation are valid without a check.
    pub(super) fn is_current(&self) -> bool {
        !self.superseded.load(Ordering::Acquire)
    }

    /// Whether the whole namespace was invalidated since.
    pub(super) fn is_ended(&self) -> bool {
        !self.is_current() && self.lineage.ended.load(Ordering::Acquire)
    }

    /// The current generation for an entry of this one, which is superseded; none if the entry is
    /// invalid.
    pub(super) fn renewed(&self, key: &str, tags: &[String]) -> Option<Arc<Self>> {
        if self.is_ended() {
            return None;
        }
        let bans = self.state.bans()?.read();
        if bans.table().bans(self.sequence, key, tags) {
            return None;
        }
        self.lineage.succession.get()?.lock().current()
    }

    /// Number of the newest ban when the generation began.
    pub(super) fn sequence(&self) -> u64 {
        self.sequence
    }

    /// The newer bans that match an entry of this generation.
    pub(super) fn matching_bans(&self, key: &str, tags: &[String]) -> Vec<MatchingBan> {
        let bans = self.state.bans().filter(|_| !self.is_ended());
        bans.map(|bans| bans.read().table().list(self.sequence, key, tags)).unwrap_or_default()
    }

    /// The bans that refuse a fill under a lease of this generation.
    pub(super) fn refusing_bans(&self, key: &str, tags: &[String]) -> Vec<MatchingBan> {
        let bans = self.state.bans().filter(|_| !self.is_ended());
        bans.map(|bans| bans.read().table().refusing(self.sequence, key, tags)).unwrap_or_default()
    }

    /// Number of patterns that [`Generation::renewed`] may match a key with.
    pub(super) fn check_effort(&self) -> u32 {
        let bans = if self.is_ended() { None } else { self.state.bans() };
        let globs = bans.map_or(0, |bans| bans.read().table().glob_count());
        u32::try_from(globs).unwrap_or(u32::MAX)
    }

    /// Whether a lease of this generation on a key is invalid, whatever the tags of its fill.
    pub(super) fn is_lease_invalid(&self, key: &str) -> bool {
        !self.is_current() && (self.is_ended() || self.is_banned(key))
    }

    #[cold]
    fn is_banned(&self, key: &str) -> bool {
        let bans = self.state.bans();
        bans.is_some_and(|bans| bans.read().table().bans(self.sequence, key, &[]))
    }

    /// Whether a ban refuses a fill under a lease of this generation.
    pub(super) fn refuses_fill(&self, key: &str, tags: &[String], now: Timestamp) -> bool {
        (!self.is_current() || self.state.checks_fills(now)) && self.bans_fill(key, tags, now)
    }

    #[cold]
    fn bans_fill(&self, key: &str, tags: &[String], now: Timestamp) -> bool {
        let bans = self.state.bans();
        bans.is_some_and(|bans| bans.read().table().refuses_fill(self.sequence, key, tags, now))
    }

    /// Keys and bytes of the namespace, including invalid entries that were written after the last
    /// invalidation of all.
    pub(super) fn usage(&self) -> NamespaceUsage {
        NamespaceUsage {
            keys: self.lineage.keys.load(Ordering::Relaxed),
            bytes: self.lineage.bytes.load(Ordering::Relaxed),
            ..NamespaceUsage::default()
        }
    }

    /// Whether an entry of `other` counts in the [usage](Self::usage) of this generation.
    pub(super) fn counts(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.lineage, &other.lineage)
    }

    pub(super) fn add_entry(&self, bytes: u64) {
        self.lineage.keys.fetch_add(1, Ordering::Relaxed);
        self.lineage.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(super) fn remove_entry(&self, bytes: u64) {
        self.lineage.keys.fetch_sub(1, Ordering::Relaxed);
        self.lineage.bytes.fetch_sub(bytes, Ordering::Relaxed);
    }
}

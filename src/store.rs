//! The interface between the cache and the stores, and the stores.
//!
//! A store keeps entries until their hard expiry, keeps leases, and applies each operation
//! atomically for its key. It may lose anything at any time. It never returns an entry under
//! another key, never one that was written before a [`Store::delete`] or [`Store::invalidate`] of
//! it that succeeded, and never one past its hard expiry. Only [`Store::near`] may be behind, by
//! no more than was configured. Freshness, the permission to fill and the answer to the caller are
//! decided in [`crate::cache`].

mod ban_listing;
mod ban_log_lines;
mod bans;
pub mod circuit_breaker_store;
mod clock;
mod entry_inspection;
mod entry_sample;
mod error;
pub mod failover_window;
mod held_quotas;
mod inspect;
mod invalidation;
pub mod journal;
mod key_listing;
pub mod key_watch;
mod lease;
pub mod memory;
pub mod metrics;
pub mod near_cache;
mod operation;
pub mod redis;
mod stats_store;
mod targets;

use std::time::Duration;

use async_trait::async_trait;
use tokio::time::Instant;

use crate::model::{Entry, EntryKey, Lifetime, Namespace, NewEntry, Timestamp, Version};

pub use ban_listing::{BanListing, ListedBan};
pub use bans::{Ban, BanLimits, BanOutcome};
pub use entry_inspection::{
    BanPattern, EntryInspection, LeaseInspection, LeaseInspectionState, MatchingBan,
};
pub use entry_sample::{EntryFacts, EntrySample};
pub use error::{Error, ErrorKind, Result};
pub use held_quotas::{HeldQuotaLimits, HeldQuotas};
pub use inspect::{
    Inspect, NamespaceFilter, NamespacePage, NamespaceUsage, StoreInfo, TTL_CLASSES, Topology,
    Trouble, Unsuitable, ttl_class,
};
pub use invalidation::{BanRecord, Invalidation};
pub use key_listing::{KeyListPart, KeyListPosition, KeyListStep, NamespaceListPart};
pub use lease::{
    AcquireOutcome, AcquireRequest, LeaseLoss, LeaseStatus, LeaseToken, Leases, MAX_CAUSE_BYTES,
    RevalidateOutcome, Revalidation, short_cause,
};
pub use operation::Operation;
pub use stats_store::StatsStore;

/// Condition under which a write is applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Condition {
    /// Unconditionally.
    Always,
    /// Only if there is no fresh entry.
    IfAbsent,
    /// Only if there is a fresh entry.
    IfPresent,
    /// Only if the entry has this version.
    IfVersion(Version),
    /// Only if the entry has this version and is fresh. The new one takes over the end of its TTL;
    /// that of the new one does not count.
    Replacing(Version),
}

/// Result of [`Store::put`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PutOutcome {
    /// The entry is stored.
    Stored,
    /// The condition did not hold.
    ConditionNotMet,
}

/// Parameters of [`Store::take`].
#[derive(Debug, Clone, Copy, Default)]
pub struct Take {
    /// Time in which no fill is accepted afterwards.
    pub hold_off: Duration,
    /// The version that the entry must have.
    pub if_version: Option<Version>,
    /// Whether the entry is returned.
    pub returns_entry: bool,
}

/// Result of [`Store::take`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TakeOutcome {
    /// The entry is removed; it is here if it was asked for.
    Removed(Option<Entry>),
    /// There was no entry.
    Absent,
    /// The entry has another version.
    OtherVersion,
}

/// Parameters of [`Store::increment`].
#[derive(Debug, Clone, Copy)]
pub struct Increment {
    /// Added to the counter; negative subtracts.
    pub delta: i64,
    /// Value of a counter that does not exist, before `delta` is added. `None`: none is created.
    pub initial: Option<i64>,
    /// Lifetime of a counter that does not exist.
    pub lifetime: Lifetime,
    /// Version of the entry after the increment.
    pub version: Version,
}

/// Result of [`Store::increment`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IncrementOutcome {
    /// The increment is applied.
    Sum {
        /// The counter's new value.
        value: i64,
        /// Time for which the counter is fresh.
        ttl_remaining: Duration,
    },
    /// There is no counter, and none is created.
    Missing,
    /// The entry is not a decimal integer of 64 bits.
    NotAnInteger,
    /// The sum does not fit in 64 bits.
    Overflow,
}

/// The result of one of several reads.
pub type ReadOutcome = Result<Option<Entry>>;

/// Stores entries.
#[async_trait]
pub trait Store: Send + Sync {
    /// The near cache's copy of an entry, if it is recent enough at `now` to be an answer. The
    /// entry may have expired. Does not block.
    fn near(&self, _key: &EntryKey, _now: Instant) -> Option<Entry> {
        None
    }

    /// Removes the near cache's copies of the entries of a namespace, or of all. Returns their
    /// number and their memory in bytes. Does not block.
    fn flush_near(&self, _namespace: Option<&Namespace>) -> (u64, u64) {
        (0, 0)
    }

    /// Reads one entry.
    async fn get(&self, key: &EntryKey) -> Result<Option<Entry>>;

    /// Reads entries, in the order of `keys`. Some of the reads may fail alone, if a part of the
    /// store is away; if all of them do, the call fails.
    async fn get_many(&self, keys: &[EntryKey]) -> Result<Vec<ReadOutcome>>;

    /// Writes one entry and voids its lease.
    async fn put(
        &self,
        key: &EntryKey,
        entry: &NewEntry,
        condition: Condition,
    ) -> Result<PutOutcome>;

    /// Removes one entry and voids its lease. No fill is accepted until `hold_off` has passed, not
    /// even under a lease that is granted in the meantime. Returns whether there was an entry.
    async fn delete(&self, key: &EntryKey, hold_off: Duration) -> Result<bool>;

    /// As [`Store::delete`], on a condition, and with the removed entry. An unmet condition changes
    /// nothing.
    async fn take(&self, key: &EntryKey, take: &Take) -> Result<TakeOutcome>;

    /// Makes every entry and lease of a namespace invalid, at a cost that does not depend on their
    /// number.
    async fn invalidate(&self, namespace: &Namespace) -> Result<()>;

    /// Makes the entries of a namespace invalid that match `ban`, at a cost that does not depend on
    /// their number. A fill of such an entry is refused under a lease from before, and under any
    /// lease until the hold-off of `ban` has passed.
    async fn ban(&self, namespace: &Namespace, ban: &Ban, limits: &BanLimits)
    -> Result<BanOutcome>;

    /// Gives a fresh entry a new lifetime from now. Returns whether there was a fresh entry.
    async fn touch(&self, key: &EntryKey, lifetime: Lifetime) -> Result<bool>;

    /// As [`Store::touch`], but only for the entry with this version, and only if it is then fresh
    /// for longer. Returns whether it is.
    async fn prolong(&self, key: &EntryKey, version: Version, lifetime: Lifetime) -> Result<bool>;

    /// Adds to a counter and voids its lease. An entry that is not fresh counts as missing.
    async fn increment(&self, key: &EntryKey, increment: &Increment) -> Result<IncrementOutcome>;

    /// The store's clock, as estimated by this replica. Does not block.
    fn now(&self) -> Timestamp;
}

/// A store as the cache uses it: entries and leases.
pub trait Backend: Store + Leases {}

impl<T: Store + Leases> Backend for T {}

/// A store as the statistics of the fleet use it: counters, state, and the clock of [`Store`].
pub trait StatsBackend: Store + StatsStore + Inspect {}

impl<T: Store + StatsStore + Inspect> StatsBackend for T {}

//! What the cache needs of a place to keep entries, and the places there are.
//!
//! A store keeps entries until their hard expiry, keeps leases, and applies each operation atomically for its key. It may lose
//! anything at any time, but it never returns an entry under another key, never one that was written before a
//! [`Store::delete`] or [`Store::invalidate`] of it that succeeded, and never one past its hard expiry. [`Store::near`]
//! alone may be behind, by no more than was configured. What is fresh,
//! who may fill and what a caller is told is not its business.

pub mod breaker;
pub mod circuit_breaker_store;
pub mod key_watch;
pub mod memory;
pub mod metrics;
pub mod near_cache;
pub mod redis;

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use tokio::time::Instant;

use crate::{
    model::{
        Entry, EntryKey, FetchMetadata, Lifetime, Namespace, NewEntry, Tags, Timestamp, Version,
    },
    stats::delta::{StatsDelta, StatsReport},
};

/// Result of a store operation.
pub type Result<T> = std::result::Result<T, Error>;

/// Why a store did not do what it was asked.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{kind}")]
pub struct Error {
    /// What kind of failure it is.
    pub kind: ErrorKind,
    /// What the store's client said, if anything.
    #[source]
    pub source: Option<Arc<dyn std::error::Error + Send + Sync>>,
}

/// Kinds of store failures.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ErrorKind {
    /// The store could not be reached, or does not accept commands.
    #[error("the store cannot be reached")]
    Unreachable,
    /// The store did not answer in time. The operation may or may not have been applied; a write is not applied later.
    #[error("the store did not answer in time")]
    Timeout,
    /// The store was not asked, because it failed before and has not been seen well since.
    #[error("the store is being left alone after repeated failures")]
    BreakerOpen,
    /// A write reached the store after its time limit and was not applied.
    #[error("the write reached the store too late")]
    Late,
    /// The store has no room for the value.
    #[error("the store has no room")]
    Full,
    /// The store answered with an error of its own.
    #[error("the store refused the operation")]
    Refused,
}

/// When a write is to be applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Condition {
    /// In any case.
    Always,
    /// Only if there is no fresh entry.
    IfAbsent,
    /// Only if there is a fresh entry.
    IfPresent,
    /// Only if the entry has this version.
    IfVersion(Version),
}

/// What became of a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PutOutcome {
    /// It is stored.
    Stored,
    /// The condition did not hold.
    ConditionNotMet,
}

/// What became of a write under a lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FillStatus {
    /// It is stored.
    Stored,
    /// The lease is no longer held.
    LeaseLost,
    /// The entry or its namespace was invalidated since the lease was granted.
    Invalidated,
    /// The entry was written since the lease was granted.
    Superseded,
}

/// Proof of a lease: 128 random bits.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct LeaseToken(pub [u8; 16]);

/// The question who computes a key.
#[derive(Debug, Clone, Copy)]
pub struct AcquireRequest {
    /// By which the lease is known if it is granted.
    pub token: LeaseToken,
    /// How long the lease holds.
    pub ttl: Duration,
    /// An entry that is fresh no longer than until this counts as if it were not: zero for any fresh entry to be good
    /// enough, the end of time for none.
    pub fresher_than: Timestamp,
}

/// Answer to the question who computes a key.
#[derive(Debug)]
pub enum AcquireOutcome {
    /// Nobody needs to: there is a fresh entry.
    Found(Entry),
    /// The one who asked. There may be an entry, in whatever state.
    Granted {
        /// The previous value.
        previous: Option<Entry>,
    },
    /// Somebody else, for at most that long.
    Held {
        /// Until the lease runs out.
        expires_in: Duration,
    },
    /// Nobody for a while, because the last one failed.
    BackedOff {
        /// Until the next lease can be granted.
        remaining: Duration,
        /// The previous value.
        previous: Option<Entry>,
        /// What the last one said.
        cause: String,
    },
    /// Everybody for himself for a while, because the entry was deleted and what can be read of it may still be outdated:
    /// nothing that is computed now will be taken.
    HeldOff {
        /// Until a value can be stored again.
        remaining: Duration,
    },
}

/// Whether a lease holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LeaseStatus {
    /// It does.
    Held,
    /// It had expired, was given to somebody else or was given back.
    Lost,
    /// The entry or its namespace was invalidated since it was granted.
    Invalidated,
    /// The entry was written since it was granted.
    Superseded,
}

/// The word of an origin that the stored value is still good.
#[derive(Debug, Clone)]
pub struct Revalidation {
    /// Id of the value.
    pub version: Version,
    /// How long it lives from now.
    pub lifetime: Lifetime,
    /// Its tags from now on.
    pub tags: Tags,
    /// Where it came from.
    pub fetch_metadata: Arc<FetchMetadata>,
}

/// What became of a confirmation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RevalidateOutcome {
    /// The entry lives on, and the lease has ended; or why it does not.
    Settled(FillStatus),
    /// The store does not have the value any more. The lease still holds.
    Gone,
}

/// What to add to a counter.
#[derive(Debug, Clone, Copy)]
pub struct Increment {
    /// What to add.
    pub delta: i64,
    /// What a missing counter counts from.
    pub initial: i64,
    /// Lifetime of a counter that does not exist yet.
    pub lifetime: Lifetime,
    /// Id of the write.
    pub version: Version,
}

/// What became of an increment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IncrementOutcome {
    /// It is applied.
    Sum {
        /// The sum.
        value: i64,
        /// For how long the counter is fresh.
        ttl_remaining: Duration,
    },
    /// The entry is not a decimal integer of 64 bits.
    NotAnInteger,
    /// The sum does not fit in 64 bits.
    Overflow,
}

/// Keeps entries.
#[async_trait]
pub trait Store: Send + Sync {
    /// What this replica itself remembers of an entry, as long as that is recent enough at `now` to be an answer. It may have
    /// expired. Does not wait.
    fn near(&self, _key: &EntryKey, _now: Instant) -> Option<Entry> {
        None
    }

    /// Reads one entry.
    async fn get(&self, key: &EntryKey) -> Result<Option<Entry>>;

    /// Reads entries, in the order of `keys`.
    async fn get_many(&self, keys: &[EntryKey]) -> Result<Vec<Option<Entry>>>;

    /// Writes one entry and voids its lease.
    async fn put(
        &self,
        key: &EntryKey,
        draft: &NewEntry,
        condition: Condition,
    ) -> Result<PutOutcome>;

    /// Removes one entry and voids its lease; answers whether there was an entry. No fill is taken until `hold_off` has passed,
    /// also not of a lease that was granted meanwhile.
    async fn delete(&self, key: &EntryKey, hold_off: Duration) -> Result<bool>;

    /// Makes every entry and lease of a namespace invalid, at a cost that does not depend on how many there are.
    async fn invalidate(&self, namespace: &Namespace) -> Result<()>;

    /// Gives a fresh entry a new lifetime from now; answers whether there was one.
    async fn touch(&self, key: &EntryKey, lifetime: Lifetime) -> Result<bool>;

    /// Adds to a counter and voids its lease. An entry that is not fresh counts as missing.
    async fn increment(&self, key: &EntryKey, increment: &Increment) -> Result<IncrementOutcome>;

    /// The store's clock, as well as it is known here. Does not wait.
    fn now(&self) -> Timestamp;
}

/// Keeps leases: who may compute which key.
#[async_trait]
pub trait Leases: Send + Sync {
    /// Asks for the lease of a key that seems to be missing or stale.
    async fn acquire(&self, key: &EntryKey, ask: &AcquireRequest) -> Result<AcquireOutcome>;

    /// Makes a lease hold for `ttl` from now, if it still holds.
    async fn extend(&self, key: &EntryKey, token: LeaseToken, ttl: Duration)
    -> Result<LeaseStatus>;

    /// Writes an entry if the lease still holds, and ends the lease.
    async fn fill(&self, key: &EntryKey, token: LeaseToken, draft: &NewEntry)
    -> Result<FillStatus>;

    /// Gives the stored value a new lifetime if the lease still holds, and ends the lease. The value is not moved, and keeps its
    /// version; its age begins anew.
    async fn confirm(
        &self,
        key: &EntryKey,
        token: LeaseToken,
        confirmation: &Revalidation,
    ) -> Result<RevalidateOutcome>;

    /// Removes an entry if the lease still holds, and ends the lease.
    async fn discard(&self, key: &EntryKey, token: LeaseToken) -> Result<LeaseStatus>;

    /// Ends a lease, if it is held, and grants no other for `backoff`, in which `cause` is told to those who ask, at
    /// most [`MAX_CAUSE_BYTES`] of it; answers whether it was held.
    async fn abandon(
        &self,
        key: &EntryKey,
        token: LeaseToken,
        backoff: Duration,
        cause: &str,
    ) -> Result<bool>;

    /// Registers for news of the key's lease: it ended, or it may have.
    fn wait_for(&self, key: &EntryKey) -> key_watch::KeyWatch;
}

/// Keeps the fleet's counters.
#[async_trait]
pub trait StatsStore: Send + Sync {
    /// Adds what one replica counted. A delta that was added before, as its sequence number tells, is not added again.
    async fn add(&self, delta: &StatsDelta) -> Result<()>;

    /// What all replicas counted, up to their last [`StatsStore::add`].
    async fn report(&self) -> Result<StatsReport>;
}

/// Tells how the store is.
#[async_trait]
pub trait Inspect: Send + Sync {
    /// `memory` or `redis`; known even while the store is unreachable.
    fn kind(&self) -> &'static str;

    /// Whether the store answers, asked as cheaply as possible.
    async fn ping(&self) -> Result<()>;

    /// What the store says of itself.
    async fn facts(&self) -> Result<StoreInfo>;

    /// What the store holds per namespace.
    async fn sizes(&self) -> Result<Vec<(Namespace, NamespaceUsage)>>;
}

/// All that Larder asks of a store.
pub trait Backend: Store + Leases + StatsStore + Inspect {}

impl<T: Store + Leases + StatsStore + Inspect> Backend for T {}

/// What a store says of itself. Sizes in bytes.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct StoreInfo {
    /// Version of the server.
    pub server_version: String,
    /// Memory in use.
    pub used_bytes: u64,
    /// The most memory that was in use.
    pub peak_bytes: u64,
    /// Memory limit; zero is none.
    pub max_bytes: u64,
    /// Resident memory over memory in use.
    pub fragmentation_ratio: Option<f64>,
    /// What the store does when it is full.
    pub eviction_policy: String,
    /// Entries evicted because the store was full.
    pub evicted_keys: u64,
    /// Entries that expired.
    pub expired_keys: u64,
    /// Keys in the store.
    pub keys: u64,
    /// Connected clients.
    pub clients: Option<u64>,
    /// Commands per second, lately.
    pub ops_per_second: Option<u64>,
    /// How the store persists.
    pub persistence: String,
    /// Time since the store started.
    pub uptime: Duration,
}

/// What a store holds for one namespace.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NamespaceUsage {
    /// Number of entries.
    pub keys: u64,
    /// Their size in the store's memory, in bytes.
    pub bytes: u64,
    /// Whether the numbers are estimated from a sample.
    pub sampled: bool,
    /// Entries per class of remaining lifetime; see [`TTL_CLASSES`].
    pub ttl: [u64; TTL_CLASSES.len() + 1],
}

/// Most bytes of a cause that are kept.
pub const MAX_CAUSE_BYTES: usize = 96;

/// As much of a cause as is kept.
pub fn short_cause(cause: &str) -> &str {
    let end = (0..=cause.len().min(MAX_CAUSE_BYTES)).rev().find(|end| cause.is_char_boundary(*end));
    &cause[..end.unwrap_or(0)]
}

/// Upper bounds of the classes of remaining lifetime; a last class without a bound follows.
pub const TTL_CLASSES: [Duration; 4] = [
    Duration::from_secs(60),
    Duration::from_secs(600),
    Duration::from_secs(3600),
    Duration::from_secs(86_400),
];

/// The class of a remaining lifetime.
pub fn ttl_class(remaining: Duration) -> usize {
    TTL_CLASSES.iter().position(|bound| remaining <= *bound).unwrap_or(TTL_CLASSES.len())
}

// === impl Error ===

impl Error {
    /// A failure with its cause.
    pub fn new(
        kind: ErrorKind,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        Self { kind, source: Some(Arc::from(source.into())) }
    }
}

impl From<ErrorKind> for Error {
    fn from(kind: ErrorKind) -> Self {
        Self { kind, source: None }
    }
}

// === impl ErrorKind ===

impl ErrorKind {
    /// Whether it says that the store is in trouble, rather than this one operation.
    pub fn is_outage(self) -> bool {
        match self {
            Self::Unreachable | Self::Timeout => true,
            Self::BreakerOpen | Self::Late | Self::Full | Self::Refused => false,
        }
    }

    /// Name for metrics and logs.
    pub fn name(self) -> &'static str {
        match self {
            Self::Unreachable => "unreachable",
            Self::Timeout => "timeout",
            Self::BreakerOpen => "breaker_open",
            Self::Late => "late",
            Self::Full => "full",
            Self::Refused => "refused",
        }
    }
}

// === impl LeaseToken ===

impl LeaseToken {
    /// A new token, not guessable.
    pub fn random() -> Self {
        Self(rand::random())
    }
}

impl std::fmt::Debug for LeaseToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("LeaseToken(..)")
    }
}

// === impl Size ===

impl NamespaceUsage {
    /// What a sample of `drawn` keys says about a store of `keys`.
    #[must_use]
    pub fn scaled(&self, keys: u64, drawn: u64) -> Self {
        let scale = |number: u64| {
            let scaled = u128::from(number) * u128::from(keys) / u128::from(drawn.max(1));
            u64::try_from(scaled).unwrap_or(u64::MAX)
        };
        Self {
            keys: scale(self.keys),
            bytes: scale(self.bytes),
            sampled: true,
            ttl: self.ttl.map(scale),
        }
    }

    /// Scales the classes of lifetimes, of which only a sample was looked at, to the number of keys.
    pub fn scale_ttl(&mut self) {
        let looked_at: u64 = self.ttl.iter().sum();
        if looked_at > 0 && looked_at < self.keys {
            let (keys, ttl) = (self.keys, self.ttl);
            self.ttl = ttl.map(|class| {
                u64::try_from(u128::from(class) * u128::from(keys) / u128::from(looked_at))
                    .unwrap_or(0)
            });
            self.sampled = true;
        }
    }
}

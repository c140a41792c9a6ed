//! Results of calls.

use std::{sync::Arc, time::Duration};

use crate::{Failure, Version, pb, ttl::from_wire};

/// Result of a read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// A fresh value.
    Hit,
    /// A value past its TTL, within the staleness window.
    Stale,
    /// The cached absence of a value.
    Negative,
    /// No value.
    Miss,
}

/// Where a value comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Tier {
    /// The near cache of the server.
    Near,
    /// The store of the server.
    Store,
    /// The origin of the namespace.
    Origin,
    /// The near cache of this process.
    Client,
    /// Computed by this call or by one that it joined.
    Loader,
}

/// Tags of an entry, which results share.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tags(Option<Arc<[String]>>);

impl Tags {
    pub(crate) fn new(tags: Vec<String>) -> Self {
        Self((!tags.is_empty()).then(|| tags.into()))
    }
}

impl std::ops::Deref for Tags {
    type Target = [String];

    fn deref(&self) -> &[String] {
        self.0.as_deref().unwrap_or_default()
    }
}

/// Result of a read. The value is shared with the near cache and with calls that joined.
#[derive(Debug)]
#[non_exhaustive]
pub struct Read<V> {
    /// The outcome.
    pub outcome: Outcome,
    /// The value; `None` unless the outcome is Hit or Stale.
    pub value: Option<Arc<V>>,
    /// Version of the value, for `if_version`; `None` if it is not in the store.
    pub version: Option<Version>,
    /// Time since the value was written.
    pub age: Option<Duration>,
    /// Time until the value becomes stale.
    pub ttl_remaining: Option<Duration>,
    /// Tags of the entry, sorted.
    pub tags: Tags,
    /// Where the value comes from.
    pub tier: Option<Tier>,
    /// The cache or its store was away, slow or full.
    pub degraded: bool,
    /// Why there is no value, or no fresh one.
    pub error: Option<Failure>,
    /// Result of storing a value that was computed; `None` if none was.
    /// In a box, so that a hit is small.
    pub stored: Option<Box<Write>>,
    /// Whether the value was computed for another call of this process that this one joined.
    pub joined: bool,
}

impl<V> Clone for Read<V> {
    fn clone(&self) -> Self {
        Self {
            outcome: self.outcome,
            value: self.value.clone(),
            version: self.version.clone(),
            age: self.age,
            ttl_remaining: self.ttl_remaining,
            tags: self.tags.clone(),
            tier: self.tier,
            degraded: self.degraded,
            error: self.error.clone(),
            stored: self.stored.clone(),
            joined: self.joined,
        }
    }
}

impl<V> Read<V> {
    pub(crate) fn miss(degraded: bool, error: Option<Failure>) -> Self {
        Self {
            outcome: Outcome::Miss,
            value: None,
            version: None,
            age: None,
            ttl_remaining: None,
            tags: Tags::default(),
            tier: None,
            degraded,
            error,
            stored: None,
            joined: false,
        }
    }

    /// The result of an entry.
    pub(crate) fn entry(
        outcome: Outcome,
        value: Option<V>,
        entry: Option<pb::EntryInfo>,
        degraded: bool,
    ) -> Self {
        let entry = entry.unwrap_or_default();
        Self {
            outcome,
            value: value.map(Arc::new),
            version: Version::new(&entry.version),
            age: from_wire(entry.age),
            ttl_remaining: from_wire(entry.ttl_remaining),
            tier: tier(entry.tier()),
            tags: Tags::new(entry.tags),
            degraded,
            error: None,
            stored: None,
            joined: false,
        }
    }

    /// A value that a loader computed.
    pub(crate) fn loaded(value: V, stored: Write, tags: Vec<String>) -> Self {
        let (version, ttl_remaining) = match &stored {
            Write::Stored { version, ttl } => (Some(version.clone()), Some(*ttl)),
            Write::NotStored { .. } => (None, None),
        };
        Self {
            value: Some(Arc::new(value)),
            outcome: Outcome::Hit,
            version,
            age: Some(Duration::ZERO),
            ttl_remaining,
            tags: Tags::new(tags),
            tier: Some(Tier::Loader),
            stored: Some(Box::new(stored)),
            ..Self::miss(false, None)
        }
    }

    /// Whether there is a value.
    #[must_use]
    pub const fn found(&self) -> bool {
        self.value.is_some()
    }

    /// The value.
    #[must_use]
    pub fn value(&self) -> Option<&V> {
        self.value.as_deref()
    }

    /// The value, without the other facts.
    #[must_use]
    pub fn into_value(self) -> Option<Arc<V>> {
        self.value
    }
}

const fn tier(tier: pb::Tier) -> Option<Tier> {
    match tier {
        pb::Tier::Unspecified => None,
        pb::Tier::Near => Some(Tier::Near),
        pb::Tier::Store => Some(Tier::Store),
        pb::Tier::Origin => Some(Tier::Origin),
    }
}

/// Why a value is not stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Reason {
    /// The condition of the write does not hold.
    ConditionNotMet,
    /// The lease expired or passed to another caller.
    LeaseLost,
    /// The entry, one of its tags or the namespace was invalidated since the lease was granted.
    Invalidated,
    /// The entry was written since the lease was granted.
    Superseded,
    /// The store is full, there was no lease, or the loader does not want the value stored.
    NotStored,
    /// The TTL is zero: the entry is deleted.
    Expired,
    /// The value cannot be sent.
    NotEncodable,
    /// The store was away.
    Degraded,
    /// The server was away, slow or overloaded.
    Unavailable,
}

impl Reason {
    /// The name that all client libraries use, such as `LEASE_LOST`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ConditionNotMet => "CONDITION_NOT_MET",
            Self::LeaseLost => "LEASE_LOST",
            Self::Invalidated => "INVALIDATED",
            Self::Superseded => "SUPERSEDED",
            Self::NotStored => "NOT_STORED",
            Self::Expired => "EXPIRED",
            Self::NotEncodable => "NOT_ENCODABLE",
            Self::Degraded => "DEGRADED",
            Self::Unavailable => "UNAVAILABLE",
        }
    }
}

/// Result of a write.
#[derive(Clone, Debug)]
pub enum Write {
    /// The value is stored.
    #[non_exhaustive]
    Stored {
        /// Version of the value, for `if_version`.
        version: Version,
        /// The TTL applied.
        ttl: Duration,
    },
    /// The value is not stored.
    #[non_exhaustive]
    NotStored {
        /// Why.
        reason: Reason,
        /// The cache or its store was away, slow or full.
        degraded: bool,
        /// The error, if there was one.
        error: Option<Failure>,
    },
}

impl Write {
    pub(crate) const fn refused(reason: Reason) -> Self {
        Self::NotStored { reason, degraded: false, error: None }
    }

    pub(crate) const fn away(reason: Reason, error: Option<Failure>) -> Self {
        Self::NotStored { reason, degraded: true, error }
    }

    /// Whether the value is stored.
    #[must_use]
    pub const fn is_stored(&self) -> bool {
        matches!(self, Self::Stored { .. })
    }

    /// Why the value is not stored.
    #[must_use]
    pub const fn reason(&self) -> Option<Reason> {
        match self {
            Self::Stored { .. } => None,
            Self::NotStored { reason, .. } => Some(*reason),
        }
    }

    pub(crate) const fn degraded(&self) -> bool {
        matches!(self, Self::NotStored { degraded: true, .. })
    }

    pub(crate) fn error(&self) -> Option<Failure> {
        match self {
            Self::Stored { .. } => None,
            Self::NotStored { error, .. } => error.clone(),
        }
    }
}

/// Result of a deletion.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Deleted<V> {
    /// Whether there was an entry.
    pub existed: bool,
    /// Whether an entry was removed.
    pub deleted: bool,
    /// The entry that was removed, with `return_value`.
    pub removed: Option<Read<V>>,
    /// The deletion is in the journal of the server, and applied when its store is back.
    pub queued: bool,
}

/// Result of a touch.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Touched {
    /// Whether there was a fresh entry.
    pub found: bool,
    /// The TTL applied.
    pub ttl: Option<Duration>,
    /// The cache or its store was away, slow or full.
    pub degraded: bool,
    /// The error, if there was one.
    pub error: Option<Failure>,
}

/// Result of an increment.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Incremented {
    /// The sum; `None` if there is no counter and `if_present` is set.
    pub value: Option<i64>,
    /// Version of the counter.
    pub version: Option<Version>,
    /// Time until the counter expires.
    pub ttl_remaining: Option<Duration>,
}

/// Result of a patch.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Patched {
    /// The changed value is stored.
    #[non_exhaustive]
    Applied {
        /// Version of the changed value.
        version: Version,
        /// How long it is fresh.
        ttl: Duration,
    },
    /// The entry has another version than `if_version`.
    ConditionNotMet,
    /// There is no fresh value.
    Missing,
}

/// Result of an invalidation.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Invalidated {
    /// The invalidation is in the journal of the server, and applied when its store is back.
    pub queued: bool,
    /// Whether the whole namespace was invalidated.
    pub namespace_invalidated: bool,
    /// For each key, in the order of the call: whether there was an entry.
    pub existed: Vec<bool>,
}

/// Result of an event.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Published {
    /// Targets that the rules of the server have selected.
    pub targets: usize,
    /// Whether any of them is in the journal, and applied when the store is back.
    pub queued: bool,
}

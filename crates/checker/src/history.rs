//! Calls with their times and answers. Times are microseconds on one monotonic clock.

mod fault;

use std::sync::Arc;

pub(crate) use fault::{Emptied, End, Fault, Loss};

/// Microseconds since the start of the checker.
pub(crate) type Micros = u64;

/// The end of what has none.
pub(crate) const NEVER: Micros = Micros::MAX;

/// Number of a written value, unique in a run.
pub(crate) type WriteId = u64;

/// Number of a lease, made of its token.
pub(crate) type LeaseId = u64;

/// Number of an entry's version.
pub(crate) type Version = u64;

/// Position of a namespace in [`crate::names::NAMESPACES`].
pub(crate) type Namespace = u8;

/// Keys of each namespace that calls of one round use.
pub(crate) const KEYS_OF_ROUND: u32 = 24;
/// Patterns that each select a part of these keys.
pub(crate) const GROUPS: u32 = 6;

/// An entry. Numbers of keys are not used again in a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Key {
    pub(crate) namespace: Namespace,
    pub(crate) number: u32,
}

/// Bits of the tags of a value, by their numbers.
pub(crate) type TagSet = u8;

/// The condition of a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Condition {
    Always,
    IfAbsent,
    IfPresent,
    IfVersion(Version),
    /// A fill.
    Lease(LeaseId),
}

/// The entries that an invalidation concerns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Target {
    Key(Key),
    /// Entries of a round with one of the tags.
    Tags {
        namespace: Namespace,
        round: u32,
        tags: TagSet,
    },
    /// Entries of a round whose key begins alike.
    Group {
        namespace: Namespace,
        round: u32,
        group: u32,
    },
    Namespace(Namespace),
}

/// How a value is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ReadKind {
    Get,
    /// With `CONSISTENCY_STORE`.
    GetFromStore,
    Batch,
    GetOrFetch,
}

/// One call, or one item of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Call {
    Read { key: Key, kind: ReadKind },
    Write { key: Key, write: WriteId, ttl: Micros, tags: TagSet, condition: Condition },
    Invalidate(Target),
    Touch { key: Key, ttl: Micros },
    Increment { key: Key },
    Abandon { key: Key, lease: LeaseId },
}

/// A value as it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ReadValue {
    /// Entry and write that the value itself names; none if it has another form.
    pub(crate) source: Option<(Key, WriteId)>,
    pub(crate) is_stale: bool,
    /// The value of another caller's computation, without the store.
    pub(crate) is_coalesced: bool,
    pub(crate) version: Version,
}

/// Why a call has no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Failure {
    /// `RESOURCE_EXHAUSTED`: nothing was done.
    Overloaded,
    /// `UNAVAILABLE` of the store: it may have been done.
    StoreUnavailable,
    /// The replica is shutting down.
    ShuttingDown,
    /// The connection was refused or lost, with the error.
    Connection(Arc<str>),
    /// No answer until the deadline.
    Deadline,
    /// Any other status.
    Other(Arc<str>),
}

/// Why a write was refused for certain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusal {
    ConditionNotMet,
    LeaseLost,
    Invalidated,
    Superseded,
}

/// The outcome of a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Answer {
    Value(ReadValue),
    Miss {
        degraded: bool,
    },
    Granted {
        lease: LeaseId,
        expires_in: Micros,
        degraded: bool,
        stale: Option<ReadValue>,
    },
    Contended,
    Stored {
        ttl: Micros,
        version: Version,
    },
    Refused(Refusal),
    /// Not stored, and not applied after the answer.
    NotStored {
        degraded: bool,
    },
    /// An invalidation, a touch or an abandon that was applied.
    Done,
    /// An invalidation that the journal of the replica has, and Redis has not.
    Queued,
    /// A touch without effect, or one that was not applied.
    NoEffect,
    Counted(i64),
    Failed(Failure),
}

/// A call with its answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Record {
    pub(crate) client: u16,
    pub(crate) replica: u8,
    pub(crate) began: Micros,
    pub(crate) ended: Micros,
    pub(crate) call: Call,
    pub(crate) answer: Answer,
}

/// Numbers of the promises that the checks need.
#[derive(Debug, Clone)]
pub(crate) struct Rules {
    /// Bound on outdated reads, by namespace; zero without a near cache.
    pub(crate) max_staleness: Vec<Micros>,
    /// Time after the TTL for which a value may be served, by namespace.
    pub(crate) stale_window: Vec<Micros>,
    /// The deadline of a call, after which a write may not be applied any more.
    pub(crate) deadline: Micros,
    /// Allowance for clocks and their resolution.
    pub(crate) margin: Micros,
    /// Longest time from an acknowledged invalidation to its event.
    pub(crate) watch_delay: Micros,
    /// Time after a fault in which a replica may still fail calls.
    pub(crate) recovery: Micros,
    /// Time after a failover in which a replica applies its last invalidations again.
    pub(crate) reapplied: Micros,
}

/// Calls to check, in the order of their begin.
#[derive(Debug, Clone)]
pub(crate) struct History {
    pub(crate) records: Vec<Record>,
    pub(crate) faults: Arc<[Fault]>,
    pub(crate) emptied: Arc<[Emptied]>,
    pub(crate) rules: Arc<Rules>,
}

/// A broken promise.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Violation {
    pub(crate) promise: &'static str,
    pub(crate) text: String,
    /// The entry that it concerns.
    pub(crate) key: Option<Key>,
    pub(crate) at: Micros,
}

// === impl Key ===

impl Key {
    pub(crate) fn round(self) -> u32 {
        self.number / KEYS_OF_ROUND
    }

    pub(crate) fn group(self) -> u32 {
        self.number % GROUPS
    }
}

// === impl Target ===

impl Target {
    pub(crate) fn namespace(self) -> Namespace {
        match self {
            Self::Key(key) => key.namespace,
            Self::Tags { namespace, .. } | Self::Group { namespace, .. } => namespace,
            Self::Namespace(namespace) => namespace,
        }
    }

    /// Whether the target may concern a key, whatever its tags are.
    pub(crate) fn may_match(self, key: Key) -> bool {
        self.matches(key, TagSet::MAX)
    }

    /// Whether the target concerns an entry with these tags.
    pub(crate) fn matches(self, key: Key, of_entry: TagSet) -> bool {
        let of_round = |namespace, round| namespace == key.namespace && round == key.round();
        match self {
            Self::Key(other) => other == key,
            Self::Tags { namespace, round, tags } => {
                of_round(namespace, round) && tags & of_entry != 0
            }
            Self::Group { namespace, round, group } => {
                of_round(namespace, round) && group == key.group()
            }
            Self::Namespace(namespace) => namespace == key.namespace,
        }
    }
}

// === impl Call ===

impl Call {
    /// The entry of the call; none for one that concerns several.
    pub(crate) fn key(&self) -> Option<Key> {
        match *self {
            Self::Read { key, .. }
            | Self::Write { key, .. }
            | Self::Touch { key, .. }
            | Self::Increment { key }
            | Self::Abandon { key, .. }
            | Self::Invalidate(Target::Key(key)) => Some(key),
            Self::Invalidate(_) => None,
        }
    }

    /// Name in tables.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Read { kind: ReadKind::Get, .. } => "Get",
            Self::Read { kind: ReadKind::GetFromStore, .. } => "Get, from the store",
            Self::Read { kind: ReadKind::Batch, .. } => "BatchGet, each key",
            Self::Read { kind: ReadKind::GetOrFetch, .. } => "GetOrFetch",
            Self::Write { condition: Condition::Always, .. } => "Set",
            Self::Write { condition: Condition::IfAbsent, .. } => "Set, if absent",
            Self::Write { condition: Condition::IfPresent, .. } => "Set, if present",
            Self::Write { condition: Condition::IfVersion(_), .. } => "Set, if version",
            Self::Write { condition: Condition::Lease(_), .. } => "Set, under a lease",
            Self::Invalidate(Target::Key(_)) => "Delete",
            Self::Invalidate(Target::Tags { .. }) => "Invalidate, tags",
            Self::Invalidate(Target::Group { .. }) => "Invalidate, pattern",
            Self::Invalidate(Target::Namespace(_)) => "InvalidateNamespace",
            Self::Touch { .. } => "Touch",
            Self::Increment { .. } => "Increment",
            Self::Abandon { .. } => "Abandon",
        }
    }
}

// === impl Answer ===

impl Answer {
    /// Name in tables.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Value(value) if value.is_stale => "stale",
            Self::Value(_) => "hit",
            Self::Miss { degraded: true } | Self::Granted { degraded: true, .. } => "degraded",
            Self::Miss { .. } => "miss",
            Self::Granted { .. } => "lease",
            Self::Contended => "contended",
            Self::Stored { .. } => "stored",
            Self::Refused(_) | Self::NoEffect => "refused",
            Self::NotStored { .. } => "not stored",
            Self::Done | Self::Counted(_) => "done",
            Self::Queued => "queued",
            Self::Failed(Failure::Overloaded) => "overloaded",
            Self::Failed(Failure::StoreUnavailable) => "unavailable",
            Self::Failed(_) => "failed",
        }
    }

    /// Whether the call certainly changed nothing.
    pub(crate) fn is_certainly_nothing(&self) -> bool {
        matches!(self, Self::Refused(_) | Self::NoEffect | Self::Failed(Failure::Overloaded))
    }

    /// The value of a read.
    pub(crate) fn value(&self) -> Option<&ReadValue> {
        match self {
            Self::Value(value) => Some(value),
            Self::Granted { stale, .. } => stale.as_ref(),
            _ => None,
        }
    }
}

// === impl Record ===

impl Record {
    /// The moment until which the call may have taken effect.
    pub(crate) fn effect_until(&self) -> Micros {
        match &self.answer {
            Answer::Failed(Failure::Overloaded) => self.ended,
            // The replay may come at any time.
            Answer::Failed(_) | Answer::Queued => NEVER,
            _ => self.ended,
        }
    }

    /// Whether the call and an interval overlap, if the call may have had an effect.
    pub(crate) fn may_act_within(&self, from: Micros, until: Micros) -> bool {
        !self.answer.is_certainly_nothing() && self.began <= until && self.effect_until() >= from
    }
}

//! Why a store operation failed.

use std::sync::Arc;

/// Result of a store operation.
pub type Result<T> = std::result::Result<T, Error>;

/// A failed store operation: its kind and, where there is one, the client library's error.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{kind}")]
pub struct Error {
    /// The kind of failure.
    pub kind: ErrorKind,
    /// The error of the store's client library.
    #[source]
    pub source: Option<Arc<dyn std::error::Error + Send + Sync>>,
}

/// Kinds of store failures.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ErrorKind {
    /// The store could not be reached, or does not accept commands.
    #[error("the store cannot be reached")]
    Unreachable,
    /// The store did not answer in time. The operation may or may not have been applied; a write
    /// is not applied later.
    #[error("the store did not answer in time (store.timeout)")]
    Timeout,
    /// The part of the store that has the key could not be reached or did not answer in time, and
    /// other parts work. The operation may or may not have been applied; a write is not applied
    /// later.
    #[error("the part of the store that has the key does not answer")]
    PartUnavailable,
    /// The circuit breaker is open: the store was not asked.
    #[error(
        "the circuit breaker of the store is open after repeated failures (store.breaker_threshold)"
    )]
    BreakerOpen,
    /// A write reached the store after its time limit and was not applied.
    #[error("the write reached the store too late")]
    Late,
    /// The write is applied, but too few replicas of Redis have it: a failover may take it back.
    #[error(
        "the change is applied, but a failover of Redis may take it back (store.wait_replicas)"
    )]
    NotReplicated,
    /// The store is away, and the journal has the invalidation, which is applied at its return. For
    /// any other operation: the journal has an invalidation of the entry.
    #[error("the store is away, and an invalidation of the entry waits for it in the journal")]
    Queued,
    /// The store is back after an outage, and other replicas may not have replayed their journals.
    #[error("the store is back, and other replicas may have to replay their journals first")]
    Quarantined,
    /// Another primary answers, and the last invalidations are not applied to it yet.
    #[error("another primary of Redis answers, and an invalidation is not applied to it yet")]
    Reapplying,
    /// The store has no memory for the value.
    #[error("the store is out of memory (memory.max_bytes, or maxmemory of Redis)")]
    Full,
    /// The namespace has as many entries as it may.
    #[error("the namespace has as many entries as its quota allows (quota.max_keys)")]
    KeyQuota,
    /// The namespace holds as many bytes as it may.
    #[error("the namespace holds as many bytes as its quota allows (quota.max_bytes)")]
    ByteQuota,
    /// The store answered with an error of its own.
    #[error("the store refused the operation")]
    Refused,
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

    /// Whether the answer to a call that must not fail is `degraded`. A full store was asked and
    /// has answered; after any other failure the store's content is unknown.
    pub fn is_degraded(&self) -> bool {
        self.kind != ErrorKind::Full && !self.kind.is_quota()
    }
}

impl From<ErrorKind> for Error {
    fn from(kind: ErrorKind) -> Self {
        Self { kind, source: None }
    }
}

// === impl ErrorKind ===

impl ErrorKind {
    /// Whether the namespace holds as much as it may.
    pub fn is_quota(self) -> bool {
        matches!(self, Self::KeyQuota | Self::ByteQuota)
    }

    /// Whether the failure is an outage of the store, rather than of this one operation.
    pub fn is_outage(self) -> bool {
        match self {
            Self::Unreachable | Self::Timeout => true,
            Self::PartUnavailable
            | Self::BreakerOpen
            | Self::Late
            | Self::NotReplicated
            | Self::Queued
            | Self::Quarantined
            | Self::Reapplying
            | Self::Full
            | Self::KeyQuota
            | Self::ByteQuota
            | Self::Refused => false,
        }
    }

    /// Whether the same operation may succeed a moment later.
    pub fn is_transient(self) -> bool {
        match self {
            Self::Timeout
            | Self::Unreachable
            | Self::PartUnavailable
            | Self::Late
            | Self::NotReplicated
            | Self::Quarantined
            | Self::Reapplying => true,
            Self::BreakerOpen
            | Self::Queued
            | Self::Full
            | Self::KeyQuota
            | Self::ByteQuota
            | Self::Refused => false,
        }
    }

    /// Whether the store was away or too slow, so that an invalidation can wait for its return.
    pub fn is_queueable(self) -> bool {
        match self {
            Self::Unreachable
            | Self::Timeout
            | Self::PartUnavailable
            | Self::BreakerOpen
            | Self::Late => true,
            Self::NotReplicated
            | Self::Queued
            | Self::Quarantined
            | Self::Reapplying
            | Self::Full
            | Self::KeyQuota
            | Self::ByteQuota
            | Self::Refused => false,
        }
    }

    /// Name in metrics and logs.
    pub fn name(self) -> &'static str {
        match self {
            Self::Unreachable => "unreachable",
            Self::Timeout => "timeout",
            Self::PartUnavailable => "part_unavailable",
            Self::BreakerOpen => "breaker_open",
            Self::Late => "late",
            Self::NotReplicated => "not_replicated",
            Self::Queued => "queued",
            Self::Quarantined => "quarantined",
            Self::Reapplying => "reapplying",
            Self::Full => "full",
            Self::KeyQuota => "key_quota",
            Self::ByteQuota => "byte_quota",
            Self::Refused => "refused",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [ErrorKind; 13] = [
        ErrorKind::Unreachable,
        ErrorKind::Timeout,
        ErrorKind::PartUnavailable,
        ErrorKind::BreakerOpen,
        ErrorKind::Late,
        ErrorKind::NotReplicated,
        ErrorKind::Queued,
        ErrorKind::Quarantined,
        ErrorKind::Reapplying,
        ErrorKind::Full,
        ErrorKind::KeyQuota,
        ErrorKind::ByteQuota,
        ErrorKind::Refused,
    ];

    #[test]
    fn only_a_lack_of_space_is_no_degradation() {
        let others = ALL.into_iter().filter(|kind| !Error::from(*kind).is_degraded());
        assert_eq!(
            others.map(ErrorKind::name).collect::<Vec<_>>(),
            ["full", "key_quota", "byte_quota"]
        );
    }

    #[test]
    fn outages_and_transient_failures_are_distinguished() {
        let outages = ALL.map(|kind| (kind.is_outage(), kind.is_transient()));
        let (no, yes) = ((false, false), (true, true));
        let transient = (false, true);
        let expected = [
            yes, yes, transient, no, transient, transient, no, transient, transient, no, no, no, no,
        ];
        assert_eq!(outages, expected);
    }

    #[test]
    fn an_invalidation_waits_for_a_store_that_is_away() {
        let queueable = ALL.into_iter().filter(|kind| kind.is_queueable()).map(ErrorKind::name);
        let expected = ["unreachable", "timeout", "part_unavailable", "breaker_open", "late"];
        assert_eq!(queueable.collect::<Vec<_>>(), expected);
    }

    #[test]
    fn names_are_distinct() {
        let names: std::collections::BTreeSet<_> = ALL.map(ErrorKind::name).into();
        assert_eq!(names.len(), ALL.len());
    }
}

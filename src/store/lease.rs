//! Leases: which caller may compute which key.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;

use super::{Result, key_watch::KeyWatch};
use crate::model::{
    Entry, EntryKey, FetchMetadata, Lifetime, NewEntry, Tags, Timestamp, Version, text_prefix,
};

/// Longest cause of a back-off that is stored, in bytes.
pub const MAX_CAUSE_BYTES: usize = 96;

/// Identifies a lease: 80 random bits, and 48 bits with the time at which it was asked for. By the
/// time, any replica can measure how long the holder has computed; no decision depends on it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct LeaseToken(pub [u8; 16]);

/// Why a lease no longer permits a fill.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LeaseLoss {
    /// The lease expired, was given back, or was granted to another caller.
    Expired,
    /// The entry or its namespace was invalidated after the lease was granted.
    Invalidated,
    /// The entry was written after the lease was granted.
    Superseded,
}

/// Whether a lease was held when the store applied an operation under it.
pub type LeaseStatus = std::result::Result<(), LeaseLoss>;

/// Parameters of [`Leases::acquire`].
#[derive(Debug, Clone, Copy)]
pub struct AcquireRequest {
    /// Identifies the lease if it is granted.
    pub token: LeaseToken,
    /// Duration of the lease.
    pub ttl: Duration,
    /// An entry that is fresh no longer than until this time counts as not fresh. Zero accepts any
    /// fresh entry, the largest timestamp accepts none.
    pub fresher_than: Timestamp,
}

/// Result of [`Leases::acquire`].
#[derive(Debug)]
pub enum AcquireOutcome {
    /// No lease is needed: there is a fresh entry.
    Found(Entry),
    /// The caller holds the lease.
    Granted {
        /// The stored entry, fresh or not.
        previous: Option<Entry>,
    },
    /// Another caller holds the lease.
    Held {
        /// Time until that lease expires.
        expires_in: Duration,
    },
    /// No lease is granted for a while, because the last holder failed.
    BackedOff {
        /// Time until a lease can be granted again.
        remaining: Duration,
        /// The stored entry, fresh or not.
        previous: Option<Entry>,
        /// Why the last holder failed.
        cause: String,
    },
    /// The entry was deleted with a hold-off. Every caller computes for itself, and no fill is
    /// accepted, because sources may still return the old value.
    HeldOff {
        /// Time until a fill is accepted again.
        remaining: Duration,
    },
}

/// Extends the life of a stored value that the origin declared unchanged (RFC 9111, 4.3.4).
#[derive(Debug, Clone)]
pub struct Revalidation {
    /// Version of the value that was revalidated.
    pub version: Version,
    /// The new lifetime, from now.
    pub lifetime: Lifetime,
    /// The new tags.
    pub tags: Tags,
    /// The new fetch metadata.
    pub fetch_metadata: Arc<FetchMetadata>,
}

/// Result of [`Leases::revalidate`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RevalidateOutcome {
    /// The entry has its new lifetime, and the lease has ended.
    Revalidated,
    /// The lease no longer permits a fill.
    LeaseLost(LeaseLoss),
    /// The store no longer has that version of the value. The lease is still held.
    Gone,
}

/// Grants leases and accepts fills under them.
#[async_trait]
pub trait Leases: Send + Sync {
    /// Asks for the lease of a key that seems to be missing or stale.
    async fn acquire(&self, key: &EntryKey, request: &AcquireRequest) -> Result<AcquireOutcome>;

    /// Makes a lease last for `ttl` from now, if it is still held.
    async fn extend(&self, key: &EntryKey, token: LeaseToken, ttl: Duration)
    -> Result<LeaseStatus>;

    /// Writes an entry if the lease is still held, and ends the lease.
    async fn fill(
        &self,
        key: &EntryKey,
        token: LeaseToken,
        entry: &NewEntry,
    ) -> Result<LeaseStatus>;

    /// Gives the stored value a new lifetime if the lease is still held, and ends the lease. The
    /// value is not transferred and keeps its version; its age starts again.
    async fn revalidate(
        &self,
        key: &EntryKey,
        token: LeaseToken,
        revalidation: &Revalidation,
    ) -> Result<RevalidateOutcome>;

    /// Removes an entry if the lease is still held, and ends the lease as [`Leases::abandon`] does.
    async fn discard(
        &self,
        key: &EntryKey,
        token: LeaseToken,
        backoff: Duration,
        cause: &str,
    ) -> Result<LeaseStatus>;

    /// Ends a lease if it is still held, and grants no other for `backoff`. Calls in the meantime
    /// are answered with `cause`, shortened to [`MAX_CAUSE_BYTES`]. Returns whether the lease was
    /// held.
    async fn abandon(
        &self,
        key: &EntryKey,
        token: LeaseToken,
        backoff: Duration,
        cause: &str,
    ) -> Result<bool>;

    /// Watches the key's lease: notified when the lease ends, or may have ended.
    fn watch_lease(&self, key: &EntryKey) -> KeyWatch;
}

/// The longest prefix of a cause that fits into [`MAX_CAUSE_BYTES`].
pub fn short_cause(cause: &str) -> &str {
    text_prefix(cause, MAX_CAUSE_BYTES)
}

// === impl LeaseToken ===

impl LeaseToken {
    /// Length in bytes.
    pub const BYTES: usize = 16;
    /// A longer time is no computation: the token is made up, or a clock was set.
    const MAX_AGE: Duration = Duration::from_secs(86_400);

    /// A new token that cannot be guessed.
    pub fn random() -> Self {
        Self(rand::random())
    }

    /// A new token of a lease that is asked for at `now`.
    pub fn asked_at(now: Timestamp) -> Self {
        let mut token = Self::random();
        token.0[10..].copy_from_slice(&now.0.to_be_bytes()[2..]);
        token
    }

    /// Time from when the lease was asked for until `now`; none if it cannot be true.
    pub fn age(self, now: Timestamp) -> Option<Duration> {
        let mut asked_at = [0; 8];
        asked_at[2..].copy_from_slice(&self.0[10..]);
        let asked_at = u64::from_be_bytes(asked_at);
        let age = Duration::from_millis(now.0.checked_sub(asked_at)?);
        (age <= Self::MAX_AGE).then_some(age)
    }
}

impl std::fmt::Debug for LeaseToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("LeaseToken(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn causes_are_cut_at_a_character_boundary() {
        assert_eq!(short_cause("timeout"), "timeout");
        assert_eq!(short_cause(&"x".repeat(97)).len(), MAX_CAUSE_BYTES);
        assert_eq!(short_cause(&"é".repeat(49)).len(), MAX_CAUSE_BYTES);
        assert_eq!(short_cause(&format!("x{}", "é".repeat(49))).len(), MAX_CAUSE_BYTES - 1);
    }

    #[test]
    fn a_token_has_the_age_of_its_lease() {
        let asked_at = Timestamp(1_764_000_000_123);
        let token = LeaseToken::asked_at(asked_at);
        assert_ne!(token.0, LeaseToken::asked_at(asked_at).0);
        let age = Duration::from_millis(1_500);
        assert_eq!(token.age(asked_at.after(age)), Some(age));
        assert_eq!(token.age(Timestamp(asked_at.0 - 1)), None, "a clock was set back");
        assert_eq!(token.age(asked_at.after(Duration::from_secs(86_401))), None);
        assert_eq!(LeaseToken([0xff; 16]).age(asked_at), None);
    }

    #[test]
    fn tokens_differ_and_are_not_printed() {
        assert_ne!(LeaseToken::random().0, LeaseToken::random().0);
        assert_eq!(format!("{:?}", LeaseToken([7; 16])), "LeaseToken(..)");
    }
}

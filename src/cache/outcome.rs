//! An entry as a read reports it.

use std::time::Duration;

use crate::model::{Entry, Kind, Timestamp};

/// State of the entry that a read found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// A fresh value.
    Hit,
    /// A value past its TTL, within a window in which it may be served.
    Stale,
    /// The origin is known to have no value.
    Negative,
}

/// Where an entry was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tier {
    /// The replica's near cache.
    Near,
    /// The store.
    Store,
    /// The origin, during the call.
    Origin {
        /// Whether the entry is in the store now.
        is_stored: bool,
    },
}

/// An entry that a read found.
#[derive(Debug, Clone)]
pub struct Found {
    /// The entry.
    pub entry: Entry,
    /// State of the entry.
    pub outcome: Outcome,
    /// Time since the entry was written.
    pub age: Duration,
    /// Time until the entry is no longer fresh; zero if it is not fresh.
    pub ttl_remaining: Duration,
    /// Where the entry was read.
    pub tier: Tier,
}

impl Found {
    /// `entry` as the store returned it at `now`.
    pub(super) fn new(entry: Entry, outcome: Outcome, now: Timestamp) -> Self {
        // This replica only estimates the store's clock: an age must not be negative, and a TTL
        // not longer than the entry's.
        let now = now.max(entry.created_at);
        Self {
            age: now.since(entry.created_at),
            ttl_remaining: entry.fresh_until.since(now),
            entry,
            outcome,
            tier: Tier::Store,
        }
    }

    /// An entry that is known to be fresh.
    pub(super) fn fresh(entry: Entry, now: Timestamp) -> Self {
        let outcome = if entry.kind == Kind::Negative { Outcome::Negative } else { Outcome::Hit };
        Self::new(entry, outcome, now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::testing::entry;

    #[test]
    fn age_and_ttl_follow_the_clock() {
        let stored = Entry {
            created_at: Timestamp(1000),
            fresh_until: Timestamp(3000),
            ..entry("v", Duration::ZERO)
        };
        let seen = |now| {
            let found = Found::fresh(stored.clone(), Timestamp(now));
            (found.age.as_millis(), found.ttl_remaining.as_millis())
        };
        assert_eq!(seen(1500), (500, 1500));
        assert_eq!(seen(4000), (3000, 0));
        assert_eq!(seen(900), (0, 2000), "a clock that is behind makes no entry younger");
    }

    #[test]
    fn a_fresh_negative_entry_is_not_a_hit() {
        let negative = Entry { kind: Kind::Negative, ..entry("", Duration::ZERO) };
        assert_eq!(Found::fresh(negative, Timestamp(0)).outcome, Outcome::Negative);
        assert_eq!(Found::fresh(entry("v", Duration::ZERO), Timestamp(0)).outcome, Outcome::Hit);
    }
}

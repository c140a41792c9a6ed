//! Events of followed keys: what happens to a few of them, for the estimates of reuse.
//!
//! A key that is not followed costs the hash of its name.

use super::{FetchMode, Found, GetOrFetchOutcome, GetOrFetchResult, NamespaceContext, Outcome};
use crate::{
    model::{Entry, EntryKey, Lifetime, SaturatingFrom as _, Timestamp, millis_ceil},
    stats::reuse::event::{FollowedEntry, ReuseEvent},
    store::Backend,
};

/// A followed key at the time of a read.
#[derive(Clone, Copy)]
pub(super) struct FollowedKey {
    hash: u64,
    at: u64,
}

/// A read, for the key that was read.
#[derive(Clone, Copy)]
pub(super) enum FollowedRead<'a> {
    /// An entry answered it.
    Hit(&'a Found),
    /// No entry answered it.
    Miss,
    /// Whether there is an entry is not known, or the caller did not want it.
    Unknown,
}

impl<'a> FollowedRead<'a> {
    /// A read that found this.
    pub(super) fn of(found: Option<&'a Found>, degraded: bool) -> Self {
        match found {
            _ if degraded => Self::Unknown,
            Some(found) => Self::Hit(found),
            None => Self::Miss,
        }
    }

    /// A GetOrFetch.
    pub(super) fn of_fetch(result: &'a GetOrFetchResult, mode: FetchMode) -> Self {
        match &result.outcome {
            _ if result.degraded || mode == FetchMode::NoCache => Self::Unknown,
            GetOrFetchOutcome::Found(found) if !result.status.is_miss() => Self::Hit(found),
            // The caller may answer with it while it computes.
            GetOrFetchOutcome::Lease(offer) if offer.stale_while_revalidate => {
                offer.stale.as_ref().map_or(Self::Miss, Self::Hit)
            }
            GetOrFetchOutcome::Found(_)
            | GetOrFetchOutcome::Lease(_)
            | GetOrFetchOutcome::Contended { .. }
            | GetOrFetchOutcome::NotCached => Self::Miss,
        }
    }
}

impl NamespaceContext {
    /// The hash of a key; none if it is not followed.
    #[inline]
    fn followed_hash(&self, key: &EntryKey) -> Option<u64> {
        let hash = key.stable_hash();
        self.counters.reuse().follows(hash).then_some(hash)
    }

    /// The key as it is read at this time; none if it is not followed. For a read that has a value
    /// computed, the time is that before: the miss comes before the write. `key` is the name of the
    /// entry in the store, as below.
    #[inline]
    pub(super) fn followed_at(
        &self,
        key: &EntryKey,
        at: impl FnOnce() -> Timestamp,
    ) -> Option<FollowedKey> {
        self.followed_hash(key).map(|hash| FollowedKey { hash, at: at().0 })
    }

    /// Follows a read.
    #[inline]
    pub(super) fn follow_read(&self, key: Option<FollowedKey>, read: FollowedRead<'_>) {
        if let Some(FollowedKey { hash, at }) = key {
            let event = match read {
                FollowedRead::Hit(found) => ReuseEvent::Hit {
                    at,
                    count: 1,
                    entry: followed(&found.entry),
                    is_stale: found.outcome == Outcome::Stale,
                },
                FollowedRead::Miss => ReuseEvent::Miss { at },
                FollowedRead::Unknown => return self.counters.reuse().skip(),
            };
            self.counters.reuse().add(hash, event);
        }
    }

    /// Follows a value of so many bytes that the store has taken.
    #[inline]
    pub(super) fn follow_write(
        &self,
        store: &dyn Backend,
        key: &EntryKey,
        lifetime: &Lifetime,
        bytes: usize,
    ) {
        if let Some(hash) = self.followed_hash(key) {
            let entry = FollowedEntry {
                written_at: store.now().0,
                ttl: millis_ceil(lifetime.ttl),
                window: millis_ceil(lifetime.stale_while_revalidate),
                bytes: bytes as u64,
                kept: millis_ceil(lifetime.total().saturating_sub(lifetime.ttl)),
            };
            self.follow_entry(hash, entry);
        }
    }

    /// Follows a fetched value that the store has taken.
    #[inline]
    pub(super) fn follow_fill(&self, key: &EntryKey, entry: &Entry) {
        if let Some(hash) = self.followed_hash(key) {
            self.follow_entry(hash, followed(entry));
        }
    }

    /// Follows a new TTL.
    #[inline]
    pub(super) fn follow_touch(&self, key: &EntryKey, now: Timestamp, lifetime: &Lifetime) {
        if let Some(hash) = self.followed_hash(key) {
            let touch = ReuseEvent::Touch { at: now.0, ttl: millis_ceil(lifetime.ttl) };
            self.counters.reuse().add(hash, touch);
        }
    }

    /// Follows the deletion of an entry.
    #[inline]
    pub(super) fn follow_removal(&self, store: &dyn Backend, key: &EntryKey) {
        if let Some(hash) = self.followed_hash(key) {
            self.counters.reuse().add(hash, ReuseEvent::Removal { at: store.now().0 });
        }
    }

    fn follow_entry(&self, hash: u64, entry: FollowedEntry) {
        let config = self.config();
        let longest = millis_ceil(config.ttl.min(config.max_ttl));
        let shortest = longest as f64 * (1.0 - config.ttl_jitter);
        let is_default_ttl = entry.ttl <= longest && entry.ttl as f64 >= shortest - 1.0;
        self.counters.reuse().add(hash, ReuseEvent::Write { entry, is_default_ttl });
    }
}

fn followed(entry: &Entry) -> FollowedEntry {
    FollowedEntry {
        written_at: entry.created_at.0,
        ttl: u64::saturating_from(entry.fresh_until.since(entry.created_at).as_millis()),
        window: millis_ceil(entry.stale_while_revalidate),
        bytes: entry.data.len() as u64,
        kept: u64::saturating_from(entry.expires_at().since(entry.fresh_until).as_millis()),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;

//! The leases that a quota counts.

use std::{
    collections::{BTreeSet, HashMap},
    time::Duration,
};

use parking_lot::Mutex;
use tokio::time::Instant;

use crate::model::EntryKey;

/// A token of a lease.
type Token = [u8; 16];

/// Leases by token, until they end or expire. Its size is bounded by the limit of its callers.
#[derive(Debug, Default)]
pub(super) struct LeaseLedger(Mutex<Leases>);

#[derive(Debug, Default)]
struct Leases {
    by_token: HashMap<Token, (EntryKey, Instant)>,
    by_end: BTreeSet<(Instant, Token)>,
}

impl LeaseLedger {
    /// Adds a lease, or returns the time until one of the `limit` leases expires.
    pub(super) fn hold(
        &self,
        key: &EntryKey,
        token: Token,
        ttl: Duration,
        limit: usize,
    ) -> Result<(), Duration> {
        let now = Instant::now();
        let mut leases = self.0.lock();
        leases.expire(now);
        if leases.by_token.len() >= limit {
            return Err(leases.by_end.first().map_or(ttl, |(end, _)| *end - now));
        }
        leases.by_token.insert(token, (key.clone(), now + ttl));
        leases.by_end.insert((now + ttl, token));
        Ok(())
    }

    /// Extends the lease of a key.
    pub(super) fn extend(&self, key: &EntryKey, token: Token, ttl: Duration) {
        let mut leases = self.0.lock();
        if leases.remove(key, token) {
            let end = Instant::now() + ttl;
            leases.by_token.insert(token, (key.clone(), end));
            leases.by_end.insert((end, token));
        }
    }

    /// Ends the lease of a key. Nothing happens if it is not held: a token alone does not end the
    /// lease of another key.
    pub(super) fn end(&self, key: &EntryKey, token: Token) {
        self.0.lock().remove(key, token);
    }

    /// Leases that are held.
    pub(super) fn len(&self) -> usize {
        let mut leases = self.0.lock();
        leases.expire(Instant::now());
        leases.by_token.len()
    }
}

impl Leases {
    fn expire(&mut self, now: Instant) {
        while let Some((end, token)) = self.by_end.first().copied()
            && end <= now
        {
            self.by_end.remove(&(end, token));
            self.by_token.remove(&token);
        }
    }

    fn remove(&mut self, key: &EntryKey, token: Token) -> bool {
        let Some((held, end)) = self.by_token.get(&token) else { return false };
        if held != key {
            return false;
        }
        self.by_end.remove(&(*end, token));
        self.by_token.remove(&token).is_some()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::model::Namespace;

    const SECOND: Duration = Duration::from_secs(1);

    fn key(name: &str) -> EntryKey {
        EntryKey::new(Namespace::new("shop").unwrap(), name, std::iter::empty()).unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn a_lease_counts_until_it_ends_or_expires() {
        let ledger = LeaseLedger::default();
        let hold = |token, seconds| ledger.hold(&key("k"), [token; 16], seconds * SECOND, 2);
        hold(1, 1).unwrap();
        hold(2, 3).unwrap();
        assert_eq!(hold(3, 1), Err(SECOND));
        ledger.end(&key("k"), [9; 16]);
        assert_eq!(ledger.len(), 2);
        ledger.end(&key("k"), [2; 16]);
        hold(3, 3).unwrap();
        tokio::time::advance(2 * SECOND).await;
        hold(4, 1).unwrap();
        assert_eq!(ledger.len(), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn a_token_does_not_end_the_lease_of_another_key() {
        let ledger = LeaseLedger::default();
        ledger.hold(&key("k"), [1; 16], SECOND, 1).unwrap();
        ledger.end(&key("other"), [1; 16]);
        ledger.extend(&key("other"), [1; 16], SECOND);
        assert_eq!(ledger.hold(&key("x"), [2; 16], SECOND, 1), Err(SECOND));
    }

    #[tokio::test(start_paused = true)]
    async fn a_renewed_lease_counts_for_longer() {
        let ledger = LeaseLedger::default();
        ledger.hold(&key("k"), [1; 16], SECOND, 1).unwrap();
        ledger.extend(&key("k"), [1; 16], 3 * SECOND);
        tokio::time::advance(2 * SECOND).await;
        assert_eq!(ledger.hold(&key("k"), [2; 16], SECOND, 1), Err(SECOND));
        assert_eq!(ledger.len(), 1);
    }
}

//! The leases that a quota counts.

use std::{collections::HashMap, time::Duration};

use parking_lot::Mutex;
use tokio::time::Instant;

/// Leases by token, until they are given back or expire. Its size is bounded by its limit.
#[derive(Debug)]
pub(super) struct LeaseLedger {
    limit: usize,
    ends: Mutex<HashMap<[u8; 16], Instant>>,
}

impl LeaseLedger {
    pub(super) fn new(limit: usize) -> Self {
        Self { limit, ends: Mutex::default() }
    }

    /// Adds a lease, or returns the time until one of those that are held expires.
    pub(super) fn hold(&self, token: [u8; 16], ttl: Duration) -> Result<(), Duration> {
        let now = Instant::now();
        let mut ends = self.ends.lock();
        if ends.len() >= self.limit {
            ends.retain(|_, end| *end > now);
        }
        if ends.len() >= self.limit {
            return Err(ends.values().min().map_or(ttl, |end| *end - now));
        }
        ends.insert(token, now + ttl);
        Ok(())
    }

    /// Extends a lease that is held.
    pub(super) fn extend(&self, token: [u8; 16], ttl: Duration) {
        if let Some(end) = self.ends.lock().get_mut(&token) {
            *end = Instant::now() + ttl;
        }
    }

    /// Ends a lease. Nothing happens if it is not held.
    pub(super) fn give_back(&self, token: [u8; 16]) {
        self.ends.lock().remove(&token);
    }

    /// Leases that are held.
    pub(super) fn len(&self) -> usize {
        let now = Instant::now();
        let mut ends = self.ends.lock();
        ends.retain(|_, end| *end > now);
        ends.len()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[tokio::test(start_paused = true)]
    async fn a_lease_counts_until_it_is_given_back_or_expires() {
        let ledger = LeaseLedger::new(2);
        ledger.hold([1; 16], SECOND).unwrap();
        ledger.hold([2; 16], 3 * SECOND).unwrap();
        assert_eq!(ledger.hold([3; 16], SECOND), Err(SECOND));
        ledger.give_back([9; 16]);
        assert_eq!(ledger.len(), 2);
        ledger.give_back([2; 16]);
        ledger.hold([3; 16], 3 * SECOND).unwrap();
        tokio::time::advance(2 * SECOND).await;
        ledger.hold([4; 16], SECOND).unwrap();
        assert_eq!(ledger.len(), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn a_renewed_lease_counts_for_longer() {
        let ledger = LeaseLedger::new(1);
        ledger.hold([1; 16], SECOND).unwrap();
        ledger.extend([1; 16], 3 * SECOND);
        tokio::time::advance(2 * SECOND).await;
        assert_eq!(ledger.hold([2; 16], SECOND), Err(SECOND));
        ledger.extend([2; 16], SECOND);
        assert_eq!(ledger.len(), 1);
    }
}

//! Limits that all connections share, and of which no connection can take all.
//!
//! # Algorithm
//!
//! Dynamic thresholds (Choudhury and Hahne, "Dynamic queue length thresholds for shared-memory
//! packet switches", 1998): a connection may hold as much as is free. One busy connection can take
//! half of the limit, and `n` greedy ones take `n` of `n + 1` parts, so that a part as large as
//! theirs is left for the next. A connection that holds no more than the floor is only refused when
//! nothing is free.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering::SeqCst},
};

use crate::connection_share::{ConnectionShare, Resource};

/// The limit of a [`Resource`].
#[derive(Debug)]
pub struct FairLimit {
    resource: Resource,
    limit: usize,
    floor: usize,
    /// What one connection may hold at most.
    ceiling: usize,
    used: AtomicUsize,
}

/// A part of a limit that a connection holds, until it is dropped.
#[derive(Debug)]
pub struct Taken {
    limit: Arc<FairLimit>,
    connection: Arc<ConnectionShare>,
    amount: usize,
}

/// How much one connection may hold while all of them hold `used`.
#[inline]
pub(crate) fn threshold(limit: usize, used: usize, floor: usize) -> usize {
    limit.saturating_sub(used).max(floor)
}

// === impl FairLimit ===

impl FairLimit {
    /// Connections may hold `limit` in total, and each of them `floor` while that much is free.
    #[must_use]
    pub fn new(resource: Resource, limit: usize, floor: usize) -> Arc<Self> {
        Self::with_ceiling(resource, limit, floor, limit)
    }

    /// As [`FairLimit::new`], and no connection may hold more than `ceiling`.
    #[must_use]
    pub fn with_ceiling(
        resource: Resource,
        limit: usize,
        floor: usize,
        ceiling: usize,
    ) -> Arc<Self> {
        Arc::new(Self { resource, limit, floor, ceiling, used: AtomicUsize::new(0) })
    }

    /// What all connections hold.
    pub fn used(&self) -> usize {
        self.used.load(SeqCst)
    }

    /// What all connections may hold.
    pub fn limit(&self) -> usize {
        self.limit
    }

    /// Takes `amount` for a connection; `None` if the limit or the connection's share is exceeded.
    pub fn try_take(
        self: &Arc<Self>,
        connection: &Arc<ConnectionShare>,
        amount: usize,
    ) -> Option<Taken> {
        if amount > self.limit || !self.add(connection, amount) {
            return None;
        }
        Some(Taken { limit: self.clone(), connection: connection.clone(), amount })
    }

    fn add(&self, connection: &ConnectionShare, amount: usize) -> bool {
        let counter = connection.counter(self.resource);
        let others = self.used.fetch_add(amount, SeqCst);
        let held = counter.fetch_add(amount, SeqCst) + amount;
        let share = threshold(self.limit, others, self.floor).min(self.ceiling);
        let is_allowed = others + amount <= self.limit && held <= share;
        if !is_allowed {
            self.subtract(connection, amount);
        }
        is_allowed
    }

    fn subtract(&self, connection: &ConnectionShare, amount: usize) {
        self.used.fetch_sub(amount, SeqCst);
        connection.counter(self.resource).fetch_sub(amount, SeqCst);
    }
}

// === impl Taken ===

impl Taken {
    /// How much is held.
    pub fn amount(&self) -> usize {
        self.amount
    }

    /// Takes `amount` more. Returns false, and keeps what it has, if that is too much.
    pub fn try_grow(&mut self, amount: usize) -> bool {
        let is_allowed = amount <= self.limit.limit && self.limit.add(&self.connection, amount);
        if is_allowed {
            self.amount += amount;
        }
        is_allowed
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        self.limit.subtract(&self.connection, self.amount);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn connection() -> Arc<ConnectionShare> {
        Arc::default()
    }

    /// Takes parts of `amount` until the limit refuses.
    fn take_all(limit: &Arc<FairLimit>, of: &Arc<ConnectionShare>, amount: usize) -> Vec<Taken> {
        std::iter::from_fn(|| limit.try_take(of, amount)).collect()
    }

    #[test]
    fn one_connection_takes_half_of_the_limit() {
        let limit = FairLimit::new(Resource::Bytes, 1000, 0);
        let (greedy, other) = (connection(), connection());
        let held = take_all(&limit, &greedy, 10);
        assert_eq!((held.len(), limit.used()), (50, 500));
        assert_eq!(greedy.of(Resource::Bytes), 500);
        assert!(limit.try_take(&other, 250).is_some());
        drop(held);
        assert_eq!((limit.used(), greedy.of(Resource::Bytes)), (0, 0));
    }

    #[test]
    fn greedy_connections_leave_a_part_as_large_as_theirs() {
        let limit = FairLimit::new(Resource::Requests, 1000, 0);
        let greedy: Vec<_> = (0..9).map(|_| connection()).collect();
        let mut held = Vec::new();
        // Round by round, as if the connections competed.
        while let Some(taken) = greedy.iter().find_map(|one| limit.try_take(one, 1)) {
            held.push(taken);
        }
        let free = limit.limit() - limit.used();
        assert!(free > 0);
        assert_eq!(take_all(&limit, &connection(), 1).len(), free.div_ceil(2));
    }

    #[test]
    fn the_floor_is_granted_while_something_is_free() {
        let limit = FairLimit::new(Resource::Waiting, 10, 4);
        let mut held = take_all(&limit, &connection(), 1);
        assert_eq!(held.len(), 5);
        held.extend(take_all(&limit, &connection(), 1));
        assert_eq!(held.len(), 9);
        held.extend(take_all(&limit, &connection(), 1));
        assert_eq!((held.len(), limit.used()), (10, 10));
    }

    #[test]
    fn the_ceiling_limits_a_connection_that_is_alone() {
        let limit = FairLimit::with_ceiling(Resource::Waiting, 100, 10, 20);
        assert_eq!(take_all(&limit, &connection(), 1).len(), 20);
    }

    #[test]
    fn a_part_grows_within_the_share() {
        let limit = FairLimit::new(Resource::Bytes, 100, 0);
        let mut taken = limit.try_take(&connection(), 10).unwrap();
        assert!(taken.try_grow(30));
        assert!(!taken.try_grow(30), "more than is free");
        assert_eq!(limit.used(), 40);
        drop(taken);
        assert_eq!(limit.used(), 0);
    }

    #[test]
    fn more_than_the_limit_is_refused_even_with_a_floor() {
        let limit = FairLimit::new(Resource::Bytes, 100, 1000);
        assert!(limit.try_take(&connection(), 101).is_none());
        assert!(limit.try_take(&connection(), usize::MAX).is_none());
        assert!(limit.try_take(&connection(), 100).is_some());
    }
}

//! Limits that all connections share, and of which no connection can take all.
//!
//! # Algorithm
//!
//! Dynamic thresholds (Choudhury and Hahne, "Dynamic queue length thresholds for shared-memory
//! packet switches", 1998): a connection may hold as much as is free. One busy connection can take
//! half of the limit, and `n` greedy ones take `n` of `n + 1` parts, so that a part as large as
//! theirs is left for the next. A connection may always hold as much as the floor, while a reserve
//! of the limit is free.
//!
//! Floors alone would give all of the limit to many connections that each hold a floor. So half of
//! the reserve is divided between all open connections in equal parts. The other half stays free,
//! unless there are more connections than places. A limit that is no larger than the floor has no
//! reserve.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering::SeqCst},
};

use crate::connection_share::{ConnectionShare, Resource};

/// The reserve is this part of a limit.
const RESERVE_DIVISOR: usize = 4;

/// The limit of a [`Resource`].
#[derive(Debug)]
pub struct FairLimit {
    resource: Resource,
    limit: usize,
    floor: usize,
    /// The most that one connection may hold.
    ceiling: usize,
    /// The most that it may hold of all resources that occupy its streams.
    streams_ceiling: usize,
    used: AtomicUsize,
}

/// A part of a limit that a connection holds, until it is dropped.
#[derive(Debug)]
pub struct Taken {
    limit: Arc<FairLimit>,
    connection: Arc<ConnectionShare>,
    amount: usize,
}

/// How much a connection may hold while all of them hold `used`.
#[inline]
pub(crate) fn share(
    limit: usize,
    used: usize,
    floor: usize,
    connection: &ConnectionShare,
) -> usize {
    let free = limit.saturating_sub(used);
    let reserve = limit / RESERVE_DIVISOR;
    if free > reserve || limit <= floor {
        free.max(floor)
    } else {
        // One, so that a connection which holds nothing is served.
        (reserve / (2 * connection.open_connections())).max(1)
    }
}

// === impl FairLimit ===

impl FairLimit {
    /// Connections may hold `limit` in total, and each of them `floor` while that much is free.
    #[must_use]
    pub fn new(resource: Resource, limit: usize, floor: usize) -> Arc<Self> {
        Self::with_ceilings(resource, limit, floor, limit, usize::MAX)
    }

    /// As [`FairLimit::new`], and no connection may hold more than `ceiling`, nor more than
    /// `streams_ceiling` of all resources that occupy its streams.
    #[must_use]
    pub fn with_ceilings(
        resource: Resource,
        limit: usize,
        floor: usize,
        ceiling: usize,
        streams_ceiling: usize,
    ) -> Arc<Self> {
        let used = AtomicUsize::new(0);
        Arc::new(Self { resource, limit, floor, ceiling, streams_ceiling, used })
    }

    /// Amount that all connections hold.
    pub fn used(&self) -> usize {
        self.used.load(SeqCst)
    }

    /// The most that all connections may hold.
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
        let share = share(self.limit, others, self.floor, connection).min(self.ceiling);
        let is_allowed = others + amount <= self.limit
            && held <= share
            && (self.streams_ceiling == usize::MAX
                || connection.occupied_streams() <= self.streams_ceiling);
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

    /// Holds `amount` from now on. Returns false, and keeps what it has, if that is too much.
    pub(crate) fn try_resize(&mut self, amount: usize) -> bool {
        if amount > self.amount {
            return self.try_grow(amount - self.amount);
        }
        self.limit.subtract(&self.connection, self.amount - amount);
        self.amount = amount;
        true
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
    use crate::{connection_stats::ConnectionStats, peer::Peer};

    fn connection() -> Arc<ConnectionShare> {
        Arc::default()
    }

    /// A connection of so many.
    fn one_of(connections: usize) -> impl Fn() -> Arc<ConnectionShare> {
        let stats = Arc::new(ConnectionStats::new(connections));
        (0..connections).for_each(|_| stats.add_open());
        move || Arc::new(ConnectionShare::new(stats.clone(), Peer::default()))
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
        let new = one_of(10);
        let greedy: Vec<_> = (0..9).map(|_| new()).collect();
        let mut held = Vec::new();
        // Round by round, as if the connections competed.
        while let Some(taken) = greedy.iter().find_map(|one| limit.try_take(one, 1)) {
            held.push(taken);
        }
        let free = limit.limit() - limit.used();
        assert!(free >= 125, "{free}");
        assert_eq!(take_all(&limit, &new(), 1).len(), 12);
    }

    #[test]
    fn the_floor_is_granted_while_the_reserve_is_free() {
        let limit = FairLimit::new(Resource::Waiting, 40, 16);
        let mut held = take_all(&limit, &connection(), 1);
        assert_eq!(held.len(), 20);
        held.extend(take_all(&limit, &connection(), 1));
        assert_eq!(held.len(), 30);
        let one = one_of(5)();
        held.extend(take_all(&limit, &one, 1));
        assert_eq!((held.len(), limit.used()), (31, 31));
    }

    #[test]
    fn many_connections_with_floors_leave_a_part_of_the_reserve() {
        for connections in [128, 300, 1000] {
            let limit = FairLimit::new(Resource::Requests, 8192, 64);
            let new = one_of(connections + 1);
            let held: Vec<_> = (0..connections).flat_map(|_| take_all(&limit, &new(), 1)).collect();
            let free = limit.limit() - limit.used();
            assert!(free >= 1024, "{connections}: {free}");
            assert!(limit.try_take(&new(), 1).is_some());
            drop(held);
        }
    }

    #[test]
    fn a_limit_that_is_no_larger_than_the_floor_has_no_reserve() {
        let limit = FairLimit::new(Resource::Streams, 6, 64);
        assert_eq!(take_all(&limit, &connection(), 1).len(), 6);
    }

    #[test]
    fn the_ceiling_limits_a_connection_that_is_alone() {
        let limit = FairLimit::with_ceilings(Resource::Waiting, 100, 10, 20, 100);
        assert_eq!(take_all(&limit, &connection(), 1).len(), 20);
    }

    #[test]
    fn resources_that_occupy_streams_have_one_ceiling_together() {
        let resources =
            [Resource::Streams, Resource::Watches, Resource::WatchStreams, Resource::Waiting];
        let one = connection();
        let limits = resources.map(|kind| FairLimit::with_ceilings(kind, 1000, 10, 50, 75));
        let held: Vec<_> = limits.iter().map(|limit| take_all(limit, &one, 1)).collect();
        assert_eq!(held.iter().map(Vec::len).collect::<Vec<_>>(), [50, 25, 0, 0]);
        assert_eq!(take_all(&limits[3], &connection(), 1).len(), 50);
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

//! Quotas: `[auth.roles.<name>.quota]` and `[namespaces.<name>.quota]`.

use super::value::{GIB, KIB, MIB, count, size};
use super::visitor::{ConfigVisitor, Section};

/// How much of a replica may be used. `None`: as much as the limits of the replica allow.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct UseLimits {
    /// Calls per second and replica, where each key of a batch counts as one. As many may come at
    /// once.
    pub requests_per_second: Option<u32>,
    /// Bytes of requests and answers per second and replica. As many may come at once.
    pub bytes_per_second: Option<u64>,
    /// Calls that are processed at the same time by a replica, without streams that stay open.
    pub in_flight: Option<usize>,
    /// Open streams of a replica: FetchStream and Watch.
    pub streams: Option<usize>,
    /// Leases that are held at the same time, per replica.
    pub leases: Option<usize>,
}

/// `[auth.roles.<name>.quota]`: how much each principal with the role may use of a replica.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PrincipalQuotaConfig {
    /// Rates and concurrency.
    pub limits: UseLimits,
    /// Calls that wait for a value at the same time.
    pub waiting: Option<usize>,
    /// Largest value that is written, in bytes.
    pub max_value_bytes: Option<usize>,
}

/// `[namespaces.<name>.quota]`: how much of a replica all callers together may use for a namespace,
/// and how much it may hold in the store.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct NamespaceQuotaConfig {
    /// Rates and concurrency.
    pub limits: UseLimits,
    /// Limits of its entries.
    pub held: HeldLimits,
}

/// Limits of the entries of a namespace in the store. `None`: no limit but the store's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HeldLimits {
    /// Entries in the store.
    pub max_keys: Option<u64>,
    /// Bytes of keys and values in the store, with its overhead.
    pub max_bytes: Option<u64>,
}

impl UseLimits {
    fn visit(&mut self, visitor: &mut impl ConfigVisitor) {
        let requests = count(1..=100_000_000);
        visitor.optional_key("requests_per_second", &mut self.requests_per_second, requests);
        let bytes = size(KIB..=1024 * GIB);
        visitor.optional_key("bytes_per_second", &mut self.bytes_per_second, bytes);
        visitor.optional_key("in_flight", &mut self.in_flight, count(1..=1_000_000));
        visitor.optional_key("streams", &mut self.streams, count(0..=1_000_000));
        visitor.optional_key("leases", &mut self.leases, count(0..=1_000_000));
    }

    /// The limits of several roles: the largest of each figure.
    fn or_more(&self, other: &Self) -> Self {
        Self {
            requests_per_second: self.requests_per_second.max(other.requests_per_second),
            bytes_per_second: self.bytes_per_second.max(other.bytes_per_second),
            in_flight: self.in_flight.max(other.in_flight),
            streams: self.streams.max(other.streams),
            leases: self.leases.max(other.leases),
        }
    }
}

impl Section for PrincipalQuotaConfig {
    fn visit(&mut self, visitor: &mut impl ConfigVisitor) {
        self.limits.visit(visitor);
        visitor.optional_key("waiting", &mut self.waiting, count(0..=1_000_000));
        visitor.optional_key("max_value_bytes", &mut self.max_value_bytes, size(1..=512 * MIB));
    }
}

impl Section for NamespaceQuotaConfig {
    fn visit(&mut self, visitor: &mut impl ConfigVisitor) {
        self.limits.visit(visitor);
        let keys = count(1..=1_000_000_000_000);
        visitor.optional_key("max_keys", &mut self.held.max_keys, keys);
        let bytes = size(KIB..=1024 * GIB);
        visitor.optional_key("max_bytes", &mut self.held.max_bytes, bytes);
    }
}

impl PrincipalQuotaConfig {
    /// The quota of several roles: the largest of each figure that one of them has.
    #[must_use]
    pub fn or_more(&self, other: &Self) -> Self {
        Self {
            limits: self.limits.or_more(&other.limits),
            waiting: self.waiting.max(other.waiting),
            max_value_bytes: self.max_value_bytes.max(other.max_value_bytes),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_figure_of_several_roles_counts() {
        let quota = |in_flight, waiting| PrincipalQuotaConfig {
            limits: UseLimits { in_flight, ..UseLimits::default() },
            waiting,
            max_value_bytes: None,
        };
        let (one, other) = (quota(Some(5), Some(1)), quota(Some(7), None));
        assert_eq!(one.or_more(&other), quota(Some(7), Some(1)));
        assert_eq!(other.or_more(&one), quota(Some(7), Some(1)));
    }
}

//! Deltas that replicas send to the store, and the report that the store answers.

use std::collections::BTreeMap;

use super::counters::Counters;

/// Counters by namespace.
pub type ByNamespace = BTreeMap<String, Counters>;

/// Counts of one replica since its previous delta.
#[derive(Debug, Clone)]
pub struct StatsDelta {
    /// Random id of the replica process.
    pub replica: u64,
    /// Number of the delta, counted by the replica from 1. The store recognises a repeated delta
    /// by it.
    pub sequence: u64,
    /// The counts.
    pub counts: ByNamespace,
}

/// Counts of the whole fleet.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StatsReport {
    /// Since counting began.
    pub total: ByNamespace,
    /// In the last hour.
    pub last_hour: ByNamespace,
    /// In the last 24 hours.
    pub last_day: ByNamespace,
}

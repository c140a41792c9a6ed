//! What replicas hand to the store, and what the store answers.

use std::collections::BTreeMap;

use super::counters::Counters;

/// Counters by namespace.
pub type ByNamespace = BTreeMap<String, Counters>;

/// What one replica counted since it last handed in.
#[derive(Debug, Clone)]
pub struct StatsDelta {
    /// Random id of the replica, for as long as it runs.
    pub replica: u64,
    /// Grows by one with every delta of the replica, so that a repeated delta is told from a new one.
    pub sequence: u64,
    /// What was counted.
    pub counts: ByNamespace,
}

/// What the fleet counted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StatsReport {
    /// Since counting began.
    pub total: ByNamespace,
    /// In the last hour.
    pub last_hour: ByNamespace,
    /// In the last 24 hours.
    pub last_day: ByNamespace,
}

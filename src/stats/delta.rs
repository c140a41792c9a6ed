//! Deltas that replicas send to the store, and the report that the store answers.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::counters::Counters;
use crate::model::Timestamp;

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
    /// Description of the sender.
    pub sender: ReplicaInfo,
}

/// A replica that sends deltas.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(default)]
pub struct ReplicaInfo {
    /// Random id of the process.
    pub id: u64,
    /// Version of Larder.
    pub version: String,
    /// When the process started, by the clock of its machine, in milliseconds since the Unix epoch.
    pub started_at_ms: u64,
}

/// Counts of the whole fleet.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StatsReport {
    /// When counting began, by the store's clock; none if that is not known.
    pub since: Option<Timestamp>,
    /// Since counting began.
    pub total: ByNamespace,
    /// In the last hour.
    pub last_hour: ByNamespace,
    /// In the last 24 hours.
    pub last_day: ByNamespace,
    /// The replicas that have sent a delta in the last minute or two.
    pub replicas: Vec<ReplicaInfo>,
}

//! Counters: per replica in memory, for the whole fleet in the store.

pub mod counters;
pub mod delta;
pub mod history;
pub mod hot_keys;
pub mod read_samples;
pub mod registry;
pub mod replica_report;
pub mod striped_counters;
pub mod windows;

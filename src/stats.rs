//! What happened, counted: per replica in memory, for the whole fleet in the store.

pub mod counts;
pub mod fleet;
pub mod ledger;
pub mod live;
pub mod live_counts;
pub mod windows;

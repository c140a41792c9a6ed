//! Settings of the statistics: `[stats]`.

use std::time::Duration;

use super::value::{HOUR, MILLISECOND, duration};
use super::visitor::{ConfigVisitor, Section};

/// `[stats]`: statistics of the fleet.
#[derive(Clone, Debug, PartialEq)]
pub struct StatsConfig {
    /// Time between two flushes of the counters to the store.
    pub flush_interval: Duration,
}

impl Default for StatsConfig {
    fn default() -> Self {
        Self { flush_interval: Duration::from_secs(1) }
    }
}

impl Section for StatsConfig {
    fn visit(&mut self, visitor: &mut impl ConfigVisitor) {
        visitor.key("flush_interval", &mut self.flush_interval, duration(10 * MILLISECOND, HOUR));
    }
}

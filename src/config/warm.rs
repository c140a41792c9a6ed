//! Keys that are fetched in advance: `[namespaces.<name>.origin.warm]`.

use std::path::PathBuf;
use std::time::Duration;

use super::value::{DAY, SECOND, count, duration, list, optional_path};
use super::visitor::{ConfigVisitor, Section};
use crate::model::MAX_KEY_BYTES;

/// `[namespaces.<name>.origin.warm]`: keys that are fetched before callers request them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WarmConfig {
    /// Keys that are fetched before callers request them.
    pub keys: Vec<String>,
    /// A file with more keys.
    pub file: Option<PathBuf>,
    /// Time between two rounds. `0s`: only one, at the start.
    pub interval: Option<Duration>,
    /// Fetches per second during a round.
    pub rate: u32,
}

impl Default for WarmConfig {
    fn default() -> Self {
        Self { keys: Vec::new(), file: None, interval: None, rate: 50 }
    }
}

impl Section for WarmConfig {
    fn visit(&mut self, visitor: &mut impl ConfigVisitor) {
        let is_key = |key: &str| (1..=MAX_KEY_BYTES).contains(&key.len());
        visitor.key("keys", &mut self.keys, list("keys of 1 to 1024 bytes", is_key));
        visitor.key("file", &mut self.file, optional_path());
        visitor.key("interval", &mut self.interval, duration(SECOND, 365 * DAY).or_off());
        visitor.key("rate", &mut self.rate, count(1..=100_000));
    }
}

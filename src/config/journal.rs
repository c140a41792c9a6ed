//! Settings of the journal: `[journal]`.

use std::path::PathBuf;
use std::time::Duration;

use super::value::{GIB, KIB, MIB, MILLISECOND, SECOND, duration, optional_path, size};
use super::visitor::{ConfigVisitor, Section};

/// `[journal]`: invalidations that are kept on disk while Redis is away.
#[derive(Clone, Debug, PartialEq)]
pub struct JournalConfig {
    /// The file; none for no journal.
    pub path: Option<PathBuf>,
    /// Maximum size of the invalidations in it, in bytes.
    pub max_bytes: u64,
    /// Longest time after an outage in which reads wait for the journals of other replicas. Zero
    /// turns that off.
    pub quarantine: Duration,
}

impl Default for JournalConfig {
    fn default() -> Self {
        Self { path: None, max_bytes: 64 * MIB, quarantine: Duration::from_secs(5) }
    }
}

impl Section for JournalConfig {
    fn visit(&mut self, visitor: &mut impl ConfigVisitor) {
        visitor.key("path", &mut self.path, optional_path());
        visitor.key("max_bytes", &mut self.max_bytes, size(4 * KIB..=64 * GIB));
        let quarantine = duration(10 * MILLISECOND, 600 * SECOND).or_zero();
        visitor.key("quarantine", &mut self.quarantine, quarantine);
    }
}

//! Settings of the journal: `[journal]`.

use std::path::PathBuf;
use std::time::Duration;

use super::value::{GIB, KIB, MIB, MILLISECOND, SECOND, duration, optional_path, size};
use super::visitor::{ConfigVisitor, Section};

/// `[journal]`: invalidations that are kept on disk while Redis is away.
#[derive(Clone, Debug, PartialEq)]
pub struct JournalConfig {
    /// The file, which is created if it does not exist; its directory must exist. Empty: no
    /// journal. A start fails if the file cannot be opened.
    pub path: Option<PathBuf>,
    /// Maximum size of the invalidations in it, in bytes. Further ones are refused (`UNAVAILABLE`).
    /// The file itself is larger: see docs/journal.md#size.
    pub max_bytes: u64,
    /// Longest time after an outage in which reads are misses because other replicas may have
    /// invalidations to replay. Zero turns that off. It needs `path`.
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

//! Logging of repeated failures.

use std::{
    fmt::Display,
    sync::atomic::{AtomicBool, Ordering},
};

/// Logs the first failure of an outage as a warning, and the others at debug level: an outage must
/// be seen, and must not flood the log.
#[derive(Debug, Default)]
pub(super) struct OutageLog {
    is_logged: AtomicBool,
}

impl OutageLog {
    /// Logs a failure.
    pub(super) fn failed(&self, error: &dyn Display, message: &'static str) {
        if self.is_logged.swap(true, Ordering::Relaxed) {
            tracing::debug!(%error, "{message}");
        } else {
            tracing::warn!(%error, "{message}");
        }
    }

    /// Ends the outage. The next failure begins another one.
    pub(super) fn recovered(&self) {
        self.is_logged.store(false, Ordering::Relaxed);
    }
}

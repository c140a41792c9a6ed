//! Logging of repeated failures.

use std::fmt::Display;

use parking_lot::Mutex;

/// Logs the first failure of an outage as a warning, and the others at debug level: an outage must
/// be seen, and must not flood the log.
#[derive(Debug, Default)]
pub(super) struct OutageLog {
    /// The last failure of an outage that lasts.
    last: Mutex<Option<String>>,
}

impl OutageLog {
    /// Logs a failure.
    pub(super) fn failed(&self, error: &dyn Display, message: &'static str) {
        if self.last.lock().replace(error.to_string()).is_some() {
            tracing::debug!(%error, "{message}");
        } else {
            tracing::warn!(%error, "{message}");
        }
    }

    /// Ends the outage. The next failure begins another one.
    pub(super) fn recovered(&self) {
        *self.last.lock() = None;
    }

    /// The last failure, if the outage lasts.
    pub(super) fn last(&self) -> Option<String> {
        self.last.lock().clone()
    }
}

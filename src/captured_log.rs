//! The log of a unit test.

#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use tempfile::NamedTempFile;
use tracing::{Level, subscriber::DefaultGuard};

/// Captures the lines that the thread of a test logs, until it is dropped.
pub(crate) struct CapturedLog {
    file: NamedTempFile,
    _guard: DefaultGuard,
}

impl CapturedLog {
    pub(crate) fn start() -> Self {
        let file = NamedTempFile::new().unwrap();
        let writer = Arc::new(file.reopen().unwrap());
        let subscriber = tracing_subscriber::fmt()
            .with_writer(writer)
            .with_max_level(Level::TRACE)
            .with_ansi(false)
            .finish();
        Self { file, _guard: tracing::subscriber::set_default(subscriber) }
    }

    /// All lines so far.
    pub(crate) fn text(&self) -> String {
        std::fs::read_to_string(self.file.path()).unwrap()
    }

    /// The lines that contain a text.
    pub(crate) fn lines_with(&self, text: &str) -> Vec<String> {
        self.text().lines().filter(|line| line.contains(text)).map(str::to_owned).collect()
    }
}

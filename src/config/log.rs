//! Settings of the log: `[log]`.

use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

use super::value::{boolean, choice, text};
use super::visitor::{ConfigVisitor, Section};

/// `[log]`: the log on stderr.
#[derive(Clone, Debug, PartialEq)]
pub struct LogConfig {
    /// The level, or a filter such as `info,larder::store=debug`.
    pub level: String,
    /// The format of a line: plain text, or one JSON object.
    pub format: LogFormat,
    /// Whether keys are logged in clear text instead of as a hash.
    pub keys: bool,
}

/// The format of a log line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// Plain text.
    Text,
    /// One JSON object per line.
    Json,
}

impl Default for LogConfig {
    fn default() -> Self {
        Self { level: "info".to_owned(), format: LogFormat::Text, keys: false }
    }
}

impl Section for LogConfig {
    fn visit(&mut self, visitor: &mut impl ConfigVisitor) {
        let expected = "a level (error, warn, info, debug, trace, off) or a filter such as \
            info,larder::store=debug";
        visitor.key("level", &mut self.level, text(expected, is_filter));
        let formats = &[("text", LogFormat::Text), ("json", LogFormat::Json)];
        visitor.key("format", &mut self.format, choice(formats));
        visitor.key("keys", &mut self.keys, boolean());
    }
}

/// A single word must be a level: `EnvFilter` would take `verbose` for the name of a module, and
/// log everything of that module and nothing else.
fn is_filter(text: &str) -> bool {
    let word = text.chars().all(|c| c.is_ascii_alphanumeric());
    let valid =
        if word { text.parse::<LevelFilter>().is_ok() } else { EnvFilter::try_new(text).is_ok() };
    valid && !text.is_empty()
}

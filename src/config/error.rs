//! The error of a configuration that cannot be loaded.

use std::fmt;
use std::path::PathBuf;

use super::redact::redact_excerpt;

/// Why a configuration cannot be loaded.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read the configuration file {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The error of the operating system.
        source: std::io::Error,
    },
    /// A file that is read again looks as if it was only written in part.
    #[error("the file {} may be incomplete: {what}; a restart applies it", path.display())]
    Emptied {
        /// The file.
        path: PathBuf,
        /// The missing part.
        what: &'static str,
    },
    /// The file is not TOML.
    #[error("cannot parse the configuration file {file}: {message}")]
    Syntax {
        /// The file.
        file: String,
        /// The parser's message with the line, passwords as `***`.
        message: String,
    },
    /// Keys or values are wrong. All of them are listed, in a stable order.
    #[error("{}", lines(problems))]
    Invalid {
        /// At least one problem.
        problems: Vec<Problem>,
    },
}

/// A wrong key or value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The full key, such as `store.timeout`.
    pub key: String,
    /// The expected and the actual value.
    pub message: String,
    /// The file, variable or flag that set the value; `None` for a default.
    pub origin: Option<String>,
}

impl ConfigError {
    pub(super) fn syntax(file: &str, error: &config::ConfigError) -> Self {
        let message = redact_excerpt(error.to_string().trim_end());
        Self::Syntax { file: file.to_owned(), message }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.key, self.message)?;
        self.origin.as_ref().map_or(Ok(()), |origin| write!(f, " ({origin})"))
    }
}

fn lines(problems: &[Problem]) -> String {
    problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

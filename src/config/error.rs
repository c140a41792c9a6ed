use std::fmt;
use std::path::PathBuf;

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read the configuration file {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// The file is not TOML.
    #[error("cannot parse the configuration file {file}: {message}")]
    Syntax {
        /// The file.
        file: String,
        /// What is wrong and where, passwords as `***`.
        message: String,
    },
    /// Keys or values are wrong; every one of them is listed, in an order that does not change.
    #[error("{}", join(problems))]
    Invalid {
        /// At least one.
        problems: Vec<Problem>,
    },
}

/// One wrong key or value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The full key, such as `store.timeout`.
    pub key: String,
    /// What is wrong: what is expected and what was found.
    pub message: String,
    /// The file, variable or flag the value came from; none if it is a default.
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

fn join(problems: &[Problem]) -> String {
    problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

/// Replaces the passwords of URLs by `***`, line by line and rather too much than too little.
pub(super) fn redact(text: &str) -> String {
    let lines = text.split('\n').map(|line| redact_query(&redact_user_info(line)));
    lines.collect::<Vec<_>>().join("\n")
}

/// Replaces the values in the lines that the parser of TOML stumbled over, `3 | key = value`. Any of them may be a secret, and
/// where it ends is what the parser does not know.
fn redact_excerpt(message: &str) -> String {
    let line = |line: &str| {
        let excerpt =
            line.split_once(" | ").filter(|(number, _)| number.trim().parse::<u32>().is_ok());
        let Some((number, text)) = excerpt else {
            return redact(line);
        };
        let shown = match text.find('=') {
            Some(equals) => &text[..=equals],
            None if text.trim_start().starts_with('[') => return line.to_owned(),
            None => "",
        };
        let hidden = if shown.len() == text.trim_end().len() { "" } else { "***" };
        format!("{number} | {shown}{hidden}")
    };
    message.split('\n').map(line).collect::<Vec<_>>().join("\n")
}

fn redact_user_info(line: &str) -> String {
    let Some(start) = line.find("://").map(|at| at + "://".len()) else {
        return line.to_owned();
    };
    let Some(end) = line.rfind('@').filter(|at| *at > start) else {
        return line.to_owned();
    };
    match line[start..end].find(':') {
        Some(colon) => format!("{}***{}", &line[..=start + colon], &line[end..]),
        None => line.to_owned(),
    }
}

fn redact_query(line: &str) -> String {
    let Some(at) = line.find("pass=").filter(|at| line[..*at].ends_with(['?', '&'])) else {
        return line.to_owned();
    };
    let start = at + "pass=".len();
    let end = line[start..].find('&').map_or(line.len(), |length| start + length);
    format!("{}***{}", &line[..start], &line[end..])
}

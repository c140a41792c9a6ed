//! Collects the problems of a configuration.

use std::collections::BTreeMap;

use config::Value;

use super::error::{ConfigError, Problem};

/// Collects the problems of a configuration, and the origin of each value that was read.
pub(super) struct Diagnostics {
    problems: Vec<Problem>,
    origins: BTreeMap<String, String>,
    file: String,
}

impl Diagnostics {
    /// `file` is the origin of values that name none: only values of the file do not.
    pub(super) fn new(file: String) -> Self {
        Self { problems: Vec::new(), origins: BTreeMap::new(), file }
    }

    /// Whether a key has a problem already.
    pub(super) fn has_problem(&self, key: &str) -> bool {
        self.problems.iter().any(|problem| problem.key == key)
    }

    pub(super) fn push(&mut self, problem: Problem) {
        self.problems.push(problem);
    }

    pub(super) fn problem(&mut self, key: &str, origin: String, message: String) {
        self.push(Problem { key: key.to_owned(), message, origin: Some(origin) });
    }

    /// Rejects a value that was parsed, unless its key has a problem already.
    pub(super) fn reject(&mut self, key: &str, message: String) {
        self.conflict(key, key, message);
    }

    /// Rejects the value of `key` because of `other`, unless one of the two has a problem already.
    pub(super) fn conflict(&mut self, key: &str, other: &str, message: String) {
        if !self.problems.iter().any(|problem| problem.key == key || problem.key == other) {
            let origin = self.origins.get(key).or_else(|| self.origins.get(other)).cloned();
            self.push(Problem { key: key.to_owned(), message, origin });
        }
    }

    /// As [`Self::reject`], for a key of the table `path` that may be missing.
    pub(super) fn reject_in(&mut self, path: &str, key: &str, message: String) {
        if !self.has_problem(key) {
            let origin = self.origins.get(key).or_else(|| self.origins.get(path)).cloned();
            self.push(Problem { key: key.to_owned(), message, origin });
        }
    }

    /// Returns the origin of a value, and remembers it for conflicts found later.
    pub(super) fn record_origin(&mut self, key: &str, value: &Value) -> String {
        let origin = self.origin_of([value]);
        self.origins.insert(key.to_owned(), origin.clone());
        origin
    }

    /// The first origin that one of these values names, or else the file.
    pub(super) fn origin_of<'a>(&self, values: impl IntoIterator<Item = &'a Value>) -> String {
        values.into_iter().find_map(Value::origin).unwrap_or(&self.file).to_owned()
    }

    pub(super) fn into_result(self) -> Result<(), ConfigError> {
        if self.problems.is_empty() {
            return Ok(());
        }
        Err(ConfigError::Invalid { problems: self.problems })
    }
}

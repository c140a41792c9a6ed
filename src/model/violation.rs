//! Violations: what is wrong with an input, in words that the sender can act on.

use std::borrow::Cow;

/// No limit of a violation is as large.
const NO_LIMIT: u64 = u64::MAX;

/// One violated rule: the field, the fault, and the limit if the rule is one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field} {description}")]
pub struct Violation {
    field: Cow<'static, str>,
    description: Cow<'static, str>,
    /// [`NO_LIMIT`] if the rule is not a limit. An `Option` would take twice as much of every
    /// error.
    limit: u64,
}

impl Violation {
    /// Violation of a rule that is not a limit. The description continues the field's name, as in
    /// "key must be set".
    pub fn new(field: &'static str, description: impl Into<Cow<'static, str>>) -> Self {
        Self { field: field.into(), description: description.into(), limit: NO_LIMIT }
    }

    /// Violation of a limit. The description must name the limit too.
    pub fn over_limit(
        field: &'static str,
        description: impl Into<Cow<'static, str>>,
        limit: usize,
    ) -> Self {
        Self { field: field.into(), description: description.into(), limit: limit as u64 }
    }

    /// Prefixes the field with a part of the request, such as `items[3].`.
    #[must_use]
    pub fn within(mut self, part: &str) -> Self {
        self.field = format!("{part}{}", self.field).into();
        self
    }

    /// Replaces the field.
    #[must_use]
    pub fn renamed(mut self, field: String) -> Self {
        self.field = field.into();
        self
    }

    /// Path of the field from the root of the request.
    pub fn field(&self) -> &str {
        &self.field
    }

    /// Description of the fault.
    pub fn description(&self) -> &str {
        &self.description
    }

    /// The limit that was exceeded; none if the rule is not a limit.
    pub fn limit(&self) -> Option<u64> {
        (self.limit != NO_LIMIT).then_some(self.limit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn violation_reads_as_a_sentence_about_its_field() {
        let violation = Violation::new("key", "must be set");
        assert_eq!(violation.to_string(), "key must be set");
        assert_eq!(violation.clone().within("items[3].").to_string(), "items[3].key must be set");
        assert_eq!(violation.renamed("params.id".to_owned()).field(), "params.id");
    }

    #[test]
    fn only_an_exceeded_limit_is_reported() {
        let violation = Violation::over_limit("key", "is 9 bytes long, the limit is 8", 8);
        assert_eq!(violation.limit(), Some(8));
        assert_eq!(violation.description(), "is 9 bytes long, the limit is 8");
        assert_eq!(Violation::new("key", "must be set").limit(), None);
    }
}

//! What is wrong with an input, in words that the one who sent it can act on.

use std::borrow::Cow;

/// One violated rule: which field, what is wrong, and the limit if the rule is one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field} {description}")]
pub struct Violation {
    field: Cow<'static, str>,
    description: Cow<'static, str>,
    limit: Option<u64>,
}

impl Violation {
    /// A rule that is not a number. The description reads on from the field's name, as in "key must be set".
    pub fn new(field: &'static str, description: impl Into<Cow<'static, str>>) -> Self {
        Self { field: field.into(), description: description.into(), limit: None }
    }

    /// A number that was exceeded. The description must name the limit too.
    pub fn over_limit(
        field: &'static str,
        description: impl Into<Cow<'static, str>>,
        limit: usize,
    ) -> Self {
        Self { field: field.into(), description: description.into(), limit: Some(limit as u64) }
    }

    /// The same violation in a part of the request, such as `items[3].`.
    #[must_use]
    pub fn within(mut self, part: &str) -> Self {
        self.field = format!("{part}{}", self.field).into();
        self
    }

    /// The same violation of another field.
    #[must_use]
    pub fn renamed(mut self, field: String) -> Self {
        self.field = field.into();
        self
    }

    /// Path of the field from the root of the request.
    pub fn field(&self) -> &str {
        &self.field
    }

    /// What is wrong.
    pub fn description(&self) -> &str {
        &self.description
    }

    /// The limit that was exceeded, if the rule is one.
    pub fn limit(&self) -> Option<u64> {
        self.limit
    }
}

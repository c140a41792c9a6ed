//! Errors with their causes, as a log line or a terminal shows them.

use std::{error::Error, fmt};

/// Formats an error and its chain of causes in one line. Log formats differ in whether they show
/// the causes of an error.
pub struct ErrorChain<'a>(pub &'a dyn Error);

impl fmt::Display for ErrorChain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)?;
        let mut causes = std::iter::successors(self.0.source(), |cause| (*cause).source());
        causes.try_for_each(|cause| write!(f, ": {cause}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("{text}")]
    struct Failure {
        text: &'static str,
        source: Option<Box<Failure>>,
    }

    #[test]
    fn causes_follow_in_order() {
        let root = Failure { text: "connection refused", source: None };
        let middle = Failure { text: "redis is unreachable", source: Some(Box::new(root)) };
        let error = Failure { text: "not stored", source: Some(Box::new(middle)) };
        assert_eq!(
            ErrorChain(&error).to_string(),
            "not stored: redis is unreachable: connection refused"
        );
    }

    #[test]
    fn error_without_a_cause_stands_alone() {
        let error = Failure { text: "not stored", source: None };
        assert_eq!(ErrorChain(&error).to_string(), "not stored");
    }
}

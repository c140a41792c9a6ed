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

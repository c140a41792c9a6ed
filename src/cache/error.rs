//! Why a call to the cache failed.

use crate::{
    changes::TooManyNamespaces,
    error_chain::ErrorChain,
    model::{Namespace, Violation},
    origin,
    quota::QuotaExceeded,
    store,
};

/// Why a call failed. A miss is not a failure. A store that is down is one only for a call that
/// would otherwise have to claim something it did not do.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The input breaks a rule.
    #[error(transparent)]
    Invalid(#[from] Violation),
    /// The value is larger than its namespace allows.
    #[error(transparent)]
    ValueTooLarge(Violation),
    /// The namespace is not configured, and `strict_namespaces` is on.
    #[error("namespace {0} is not configured, and strict_namespaces is on: add [namespaces.{0}]")]
    UnknownNamespace(Namespace),
    /// The store did not take a write that must not be lost.
    #[error("not done: {}", ErrorChain(.0))]
    StoreUnavailable(store::Error),
    /// The store did not take some of the targets of an event.
    #[error("{} of {targets} targets of event {event} are not invalidated ({}): {error}",
        failed.len(), positions(failed), error = ErrorChain(error))]
    EventNotApplied {
        /// The event.
        event: String,
        /// Positions of the targets that are not confirmed.
        failed: Vec<usize>,
        /// Number of targets.
        targets: usize,
        /// Why they are not.
        error: store::Error,
    },
    /// The call needs an origin, and the namespace has none.
    #[error("namespace {0} has no origin: configure [namespaces.{0}.origin]")]
    NoOrigin(Namespace),
    /// The origin failed, and there is no stale value to serve.
    #[error("the origin of namespace {namespace}: {error}")]
    Origin {
        /// The namespace of the origin.
        namespace: Namespace,
        /// The origin's failure.
        #[source]
        error: origin::Error,
    },
    /// A part of the value is asked for or changed, and it is not JSON.
    #[error("the value of the entry is not JSON")]
    NotJson,
    /// The patch cannot be applied to the value.
    #[error("the patch does not apply: {0}")]
    PatchNotApplicable(String),
    /// Other writes of the entry came first, each time that the call tried to write it.
    #[error("the entry changed during each of {attempts} attempts to write it")]
    Contended {
        /// How often the call tried.
        attempts: u32,
    },
    /// The entry is not a counter.
    #[error("the entry is not a decimal integer of 64 bits")]
    NotAnInteger,
    /// The counter's new value does not fit.
    #[error("the sum does not fit in 64 bits")]
    Overflow,
    /// Too many namespaces are watched.
    #[error(transparent)]
    TooManyWatched(#[from] TooManyNamespaces),
    /// A quota is used up.
    #[error(transparent)]
    QuotaExceeded(#[from] QuotaExceeded),
    /// The replica no longer begins new work.
    #[error("the server is shutting down")]
    ShuttingDown,
}

impl Error {
    /// The same error in a part of the request, such as `items[3].`.
    #[must_use]
    pub fn within(self, part: &str) -> Self {
        match self {
            Self::Invalid(violation) => Self::Invalid(violation.within(part)),
            Self::ValueTooLarge(violation) => Self::ValueTooLarge(violation.within(part)),
            other @ (Self::UnknownNamespace(_)
            | Self::StoreUnavailable(_)
            | Self::EventNotApplied { .. }
            | Self::NoOrigin(_)
            | Self::Origin { .. }
            | Self::NotJson
            | Self::PatchNotApplicable(_)
            | Self::Contended { .. }
            | Self::NotAnInteger
            | Self::Overflow
            | Self::TooManyWatched(_)
            | Self::QuotaExceeded(_)
            | Self::ShuttingDown) => other,
        }
    }
}

/// Numbers with commas between them.
fn positions(numbers: &[usize]) -> String {
    numbers.iter().map(usize::to_string).collect::<Vec<_>>().join(", ")
}

impl From<store::Error> for Error {
    fn from(error: store::Error) -> Self {
        Self::StoreUnavailable(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn violations_name_the_part_of_the_request() {
        let violation = || Violation::new("key", "must be set");
        for error in [Error::Invalid(violation()), Error::ValueTooLarge(violation())] {
            assert_eq!(error.within("items[3].").to_string(), "items[3].key must be set");
        }
        assert_eq!(Error::Overflow.within("x.").to_string(), Error::Overflow.to_string());
    }
}

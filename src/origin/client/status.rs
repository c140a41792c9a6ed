//! The state of an origin, as its client sees it.

use std::collections::BTreeMap;

use parking_lot::Mutex;
use tokio::time::Instant;

use super::OriginClient;
use crate::{
    circuit_breaker::BreakerState,
    origin::{Error, OriginErrorKind},
};

/// State of an origin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OriginStatus {
    /// State of the circuit breaker.
    pub breaker: BreakerState,
    /// When the breaker closed or opened last; the start of the client if it never did.
    pub changed_at: Instant,
    /// Requests in flight; a batch counts as one.
    pub in_flight: usize,
    /// Failed fetches since the start of the client, by the name of their kind.
    pub failures: BTreeMap<&'static str, u64>,
    /// The last failure; empty if there was none.
    pub last_error: String,
}

/// Failures of an origin since the start of its client.
#[derive(Default)]
pub(super) struct Failures(Mutex<Counted>);

#[derive(Default)]
struct Counted {
    by_kind: BTreeMap<&'static str, u64>,
    last: Option<Error>,
}

impl Failures {
    /// Counts a failed fetch. A key that the origin cannot express is a mistake of the caller.
    #[cold]
    pub(super) fn count(&self, error: &Error) {
        if matches!(error.kind, OriginErrorKind::BadKey(_)) {
            return;
        }
        let mut counted = self.0.lock();
        let count = counted.by_kind.entry(error.kind.name()).or_default();
        *count = count.saturating_add(1);
        // A rejection by the breaker does not show why it is open.
        if error.kind != OriginErrorKind::BreakerOpen || counted.last.is_none() {
            counted.last = Some(error.clone());
        }
    }
}

impl OriginClient {
    /// The state of the origin.
    pub fn status(&self) -> OriginStatus {
        let (breaker, changed_at) = self.breaker.state();
        let counted = self.failures.0.lock();
        OriginStatus {
            breaker,
            changed_at,
            in_flight: self.in_flight(),
            failures: counted.by_kind.clone(),
            last_error: counted.last.as_ref().map(ToString::to_string).unwrap_or_default(),
        }
    }
}

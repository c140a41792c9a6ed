//! A namespace as one call sees it.

use std::sync::Arc;

use super::{namespaces::NamespaceRules, outcome::Outcome};
use crate::{
    config::NamespaceConfig,
    stats::{counters::Counter, striped_counters::StripedCounters},
    store::LeaseLoss,
};

/// The rules and counters of a namespace, resolved once per call.
#[derive(Clone)]
pub(super) struct NamespaceContext {
    pub(super) rules: Arc<NamespaceRules>,
    pub(super) counters: Arc<StripedCounters>,
}

impl NamespaceContext {
    /// The namespace's configuration.
    pub(super) fn config(&self) -> &NamespaceConfig {
        &self.rules.config
    }

    /// Counts a read by its outcome; `None` is a miss.
    pub(super) fn count_outcome(&self, outcome: Option<Outcome>) {
        self.counters.count(match outcome {
            Some(Outcome::Hit) => Counter::Hits,
            Some(Outcome::Stale) => Counter::Stale,
            Some(Outcome::Negative) => Counter::Negative,
            None => Counter::Misses,
        });
    }

    /// Counts a fill that its lease no longer permitted.
    pub(super) fn count_lost_fill(&self, loss: LeaseLoss) {
        self.counters.count(match loss {
            LeaseLoss::Expired => Counter::FillsLost,
            LeaseLoss::Invalidated => Counter::FillsInvalidated,
            LeaseLoss::Superseded => Counter::FillsSuperseded,
        });
    }

    /// Counts an answer that was given without the store.
    pub(super) fn count_degraded(&self, degraded: bool) {
        if degraded {
            self.counters.count(Counter::Degraded);
        }
    }
}

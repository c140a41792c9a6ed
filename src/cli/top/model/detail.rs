//! One namespace with everything that is reported of it.

use super::{HotKeyFigures, Model, hot_key_rows, traffic};
use crate::{
    cli::top::figures::{StepFigures, Traffic},
    pb::v1,
};

/// Figures of one namespace.
#[derive(Debug, Default)]
pub(in crate::cli::top) struct NamespaceDetail {
    /// Whether the configuration has a section for it; none if it is not reported.
    pub(in crate::cli::top) is_configured: Option<bool>,
    /// None: it is not reported, or requests to the namespace are refused.
    pub(in crate::cli::top) policy: Option<v1::NamespacePolicy>,
    pub(in crate::cli::top) traffic: Traffic,
    pub(in crate::cli::top) size: Option<v1::NamespaceSize>,
    pub(in crate::cli::top) last_hour: v1::Counters,
    pub(in crate::cli::top) last_day: v1::Counters,
    pub(in crate::cli::top) total: v1::Counters,
    pub(in crate::cli::top) hot_keys: Vec<HotKeyFigures>,
    /// The ended minutes of the last hour, the oldest first.
    pub(in crate::cli::top) steps: Vec<StepFigures>,
}

impl Model {
    /// The figures of a namespace; empty ones if it is not reported.
    pub(in crate::cli::top) fn detail(&self, name: &str) -> NamespaceDetail {
        let stats = self.stats.namespaces.iter().find(|one| one.namespace == name);
        let counted = stats.and_then(|one| one.counted.as_ref());
        let summary = self.policies.get(name);
        let of = |window: fn(&v1::WindowStats) -> Option<v1::Counters>| {
            counted.and_then(window).unwrap_or_default()
        };
        let hot_keys = self.hot_keys.get(name);
        NamespaceDetail {
            is_configured: summary.map(|summary| summary.configured),
            policy: summary.and_then(|summary| summary.policy),
            traffic: traffic::traffic(self.namespaces.get(name), counted, self.counted_for()),
            size: stats.and_then(|one| one.size.clone()),
            last_hour: of(|windows| windows.last_hour),
            last_day: of(|windows| windows.last_day),
            total: of(|windows| windows.total),
            hot_keys: hot_keys
                .map(|(_, keys)| hot_key_rows(name, keys).collect())
                .unwrap_or_default(),
            steps: self.history.of(name),
        }
    }
}

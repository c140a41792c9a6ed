//! Counts of events by name, route and outcome.

use std::{collections::BTreeMap, sync::Arc};

use parking_lot::Mutex;

/// Name of all events without rules, so that publishers cannot create metric labels.
const OTHER: &str = "_other";

/// How an event came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum EventRoute {
    /// PublishEvent.
    Publish,
    /// A target of Invalidate.
    Invalidate,
    /// A CloudEvent on the admin port.
    Http,
    /// An entry of a stream.
    Stream,
}

/// Outcome of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum EventOutcome {
    /// All of its rules are applied.
    Applied,
    /// It has no rules, and nothing is invalidated.
    WithoutRules,
    /// It is refused, and nothing is invalidated.
    Invalid,
    /// The store did not confirm all of its targets.
    NotApplied,
}

/// Counts in memory. There are as many as events with rules, at most, times routes and outcomes.
#[derive(Debug, Default)]
pub struct EventCounts(Mutex<BTreeMap<Label, u64>>);

/// Name, route and outcome of events.
type Label = (Arc<str>, EventRoute, EventOutcome);

impl EventRoute {
    /// The value of the label.
    pub fn name(self) -> &'static str {
        match self {
            Self::Publish => "publish",
            Self::Invalidate => "invalidate",
            Self::Http => "http",
            Self::Stream => "stream",
        }
    }
}

impl EventOutcome {
    /// The value of the label.
    pub fn name(self) -> &'static str {
        match self {
            Self::Applied => "applied",
            Self::WithoutRules => "without_rules",
            Self::Invalid => "invalid",
            Self::NotApplied => "not_applied",
        }
    }
}

impl EventCounts {
    /// Counts an event; `name` is none if it has no rules.
    pub(super) fn count(&self, name: Option<&Arc<str>>, route: EventRoute, outcome: EventOutcome) {
        let name = name.cloned().unwrap_or_else(|| Arc::from(OTHER));
        *self.0.lock().entry((name, route, outcome)).or_default() += 1;
    }

    /// Drops the counts of events without rules, after the rules were replaced.
    pub(super) fn retain(&self, is_known: impl Fn(&str) -> bool) {
        self.0.lock().retain(|(name, ..), _| &**name == OTHER || is_known(name));
    }

    /// Calls `visit` with each count.
    pub fn visit(&self, mut visit: impl FnMut(&str, EventRoute, EventOutcome, u64)) {
        for ((name, route, outcome), count) in &*self.0.lock() {
            visit(name, *route, *outcome, *count);
        }
    }
}

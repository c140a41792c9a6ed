//! Events of the business: what they invalidate, by the rules of the configuration.

mod counts;
mod rules;
#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use super::{Cache, Error, invalidate::Applied};
use crate::{
    cache::{InvalidateTarget, TargetOutcome},
    config::EventRuleConfig,
    model::{Event, Namespace, TargetKind},
};
pub use counts::{EventCounts, EventOutcome, EventRoute};
pub use rules::EventRules;
use rules::RuleTable;

/// Namespaces that one log line names.
const LOGGED_NAMESPACES: usize = 8;
/// Events that one log line names.
const LOGGED_EVENTS: usize = 8;
/// Most targets that are applied together, so that a batch cannot flood the store.
const MAX_TARGETS_AT_ONCE: usize = 1000;
/// Known names that an error suggests.
const SUGGESTIONS: usize = 3;

/// The targets that the rules select for an event.
#[derive(Debug)]
pub struct EventPlan {
    /// Name of the event if it has rules.
    name: Option<Arc<str>>,
    targets: Vec<InvalidateTarget>,
}

/// Outcomes of an event's targets, in the order of the rules that apply.
pub type EventResult = Vec<(InvalidateTarget, TargetOutcome)>;

impl EventPlan {
    /// The targets to invalidate. None if no rule applies.
    pub fn targets(&self) -> &[InvalidateTarget] {
        &self.targets
    }

    /// The kinds, namespaces and names of what they select.
    pub fn parts(&self) -> impl Iterator<Item = (TargetKind, &Namespace, Option<&str>)> {
        self.targets.iter().flat_map(InvalidateTarget::parts)
    }
}

impl Cache {
    /// The rules of events, which can be replaced at any time.
    pub fn events(&self) -> &EventRules {
        &self.events
    }

    /// Replaces the rules of events. An event without rules is refused if `is_strict`.
    pub fn replace_events(
        &self,
        configured: &BTreeMap<String, Vec<EventRuleConfig>>,
        is_strict: bool,
    ) {
        self.events.replace(configured, is_strict);
        self.event_counts.retain(|name| self.events.has(name));
    }

    /// The attributes that the rules of an event need.
    pub fn event_attributes(&self, name: &str) -> BTreeSet<String> {
        self.events.table().attributes(name)
    }

    /// Evaluates the rules of an event, and invalidates nothing.
    ///
    /// # Errors
    /// [`Error::Invalid`]: an attribute that a rule needs is missing or invalid, or the event has
    /// no rules and `strict_events` is on. [`Error::UnknownNamespace`].
    pub fn plan_event(&self, event: &Event, route: EventRoute) -> Result<EventPlan, Error> {
        let table = self.events.table();
        let planned = self.plan_by(&table, event);
        if planned.is_err() {
            let name = table.known_name(event.name());
            self.event_counts.count(name.as_ref(), route, EventOutcome::Invalid);
        }
        planned
    }

    fn plan_by(&self, table: &RuleTable, event: &Event) -> Result<EventPlan, Error> {
        let Some((name, rules)) = table.rules(event.name()) else {
            if table.is_strict() {
                return Err(table.unknown(event.name(), SUGGESTIONS).into());
            }
            return Ok(EventPlan { name: None, targets: Vec::new() });
        };
        let mut targets = Vec::with_capacity(rules.len());
        for (index, rule) in rules.iter().enumerate() {
            let target = rule.target(event);
            let target = target.map_err(|violation| rules::of_rule(violation, index, &name))?;
            if let Some(target) = target {
                self.context(target.namespace())?;
                targets.push(target);
            }
        }
        Ok(EventPlan { name: Some(name), targets })
    }

    /// Applies an event, and reports success only when the store has confirmed all targets.
    ///
    /// # Errors
    /// As [`Cache::plan_event`], before anything is invalidated; [`Error::EventNotApplied`], after
    /// which some targets may be invalidated and others not.
    pub async fn publish(&self, event: &Event, route: EventRoute) -> Result<EventResult, Error> {
        self.publish_plan(self.plan_event(event, route)?, route).await
    }

    /// As [`Cache::publish`], for an event whose rules were evaluated.
    ///
    /// # Errors
    /// [`Error::EventNotApplied`], after which some targets may be invalidated and others not.
    pub async fn publish_plan(
        &self,
        plan: EventPlan,
        route: EventRoute,
    ) -> Result<EventResult, Error> {
        let mut results = self.apply_events(vec![plan], route).await;
        results.pop().unwrap_or(Ok(Vec::new()))
    }

    /// Applies events together. Returns the result of each, in order.
    ///
    /// # Errors
    /// For each event [`Error::EventNotApplied`] if one of its targets was not confirmed, and
    /// [`Error::UnknownNamespace`] if a reload has removed a namespace meanwhile.
    pub async fn apply_events(
        &self,
        plans: Vec<EventPlan>,
        route: EventRoute,
    ) -> Vec<Result<EventResult, Error>> {
        let mut results = Vec::with_capacity(plans.len());
        let mut plans = plans.into_iter().peekable();
        while plans.peek().is_some() {
            let (mut part, mut targets) = (Vec::new(), 0);
            while let Some(plan) = plans.next_if(|plan| {
                part.is_empty() || targets + plan.targets.len() <= MAX_TARGETS_AT_ONCE
            }) {
                targets += plan.targets.len();
                part.push(plan);
            }
            results.extend(self.apply_part(part, route).await);
        }
        results
    }

    /// Applies some events together.
    async fn apply_part(
        &self,
        plans: Vec<EventPlan>,
        route: EventRoute,
    ) -> Vec<Result<EventResult, Error>> {
        let targets: Vec<InvalidateTarget> =
            plans.iter().flat_map(|plan| plan.targets.iter().cloned()).collect();
        let applied = match self.try_invalidate(&targets, Duration::ZERO).await {
            Ok(applied) => applied,
            // A reload has removed it since.
            Err(namespace) => {
                let unknown = |_: &EventPlan| Err(Error::UnknownNamespace(namespace.clone()));
                return plans.iter().map(unknown).collect();
            }
        };
        let Applied { outcomes, failure } = applied;
        let mut outcomes = outcomes.into_iter();
        let mut results = Vec::with_capacity(plans.len());
        let mut done = BTreeSet::new();
        for EventPlan { name, targets } in plans {
            let outcomes: Vec<Option<TargetOutcome>> =
                outcomes.by_ref().take(targets.len()).collect();
            let failed: Vec<usize> =
                (0..targets.len()).filter(|at| outcomes[*at].is_none()).collect();
            let outcome = match (&name, failed.is_empty()) {
                (None, _) => EventOutcome::WithoutRules,
                (Some(_), true) => EventOutcome::Applied,
                (Some(_), false) => EventOutcome::NotApplied,
            };
            self.event_counts.count(name.as_ref(), route, outcome);
            results.push(match failure.as_ref().filter(|_| !failed.is_empty()) {
                Some(error) => Err(Error::EventNotApplied {
                    event: name.as_deref().unwrap_or_default().to_owned(),
                    failed,
                    targets: targets.len(),
                    error: error.clone(),
                }),
                None => {
                    if let Some(name) = name.filter(|_| !targets.is_empty()) {
                        done.insert(name);
                    }
                    Ok(targets.into_iter().zip(outcomes.into_iter().flatten()).collect())
                }
            });
        }
        if !done.is_empty() {
            self.log_events(&done, &targets, route);
        }
        results
    }

    /// Counts an event that is a target of Invalidate.
    pub fn count_event(&self, plan: &EventPlan, outcome: EventOutcome) {
        let outcome = if plan.name.is_none() { EventOutcome::WithoutRules } else { outcome };
        self.event_counts.count(plan.name.as_ref(), EventRoute::Invalidate, outcome);
    }

    /// Counts of events.
    pub fn event_counts(&self) -> &EventCounts {
        &self.event_counts
    }

    #[cold]
    fn log_events(
        &self,
        done: &BTreeSet<Arc<str>>,
        targets: &[InvalidateTarget],
        route: EventRoute,
    ) {
        let Some(count) = self.event_log.lock().occurred() else { return };
        let events: Vec<&str> = done.iter().take(LOGGED_EVENTS).map(|name| &**name).collect();
        let namespaces: BTreeSet<&str> =
            targets.iter().map(|target| target.namespace().as_str()).collect();
        let namespaces: Vec<&str> = namespaces.into_iter().take(LOGGED_NAMESPACES).collect();
        let (mut whole, mut tags, mut patterns, mut keys) = (0, 0, 0, 0);
        for target in targets {
            match target {
                InvalidateTarget::Namespace(_) => whole += 1,
                InvalidateTarget::Tags(_, some) => tags += some.len(),
                InvalidateTarget::Pattern(..) => patterns += 1,
                InvalidateTarget::Key(_) | InvalidateTarget::KeyOfAllVersions(_) => keys += 1,
            }
        }
        let route = route.name();
        tracing::info!(
            count,
            ?events,
            route,
            ?namespaces,
            whole,
            tags,
            patterns,
            keys,
            "invalidated by an event"
        );
    }
}

//! Targets of Invalidate, some of which are events that stand for several.

use super::convert::{RequestedTarget, event_target_results, target_result};
use crate::{
    cache::{Cache, Error, EventOutcome, EventPlan, EventRoute, InvalidateTarget, TargetOutcome},
    pb::v1 as pb,
};

/// The targets of a request, with what its events stand for.
pub(super) struct PlannedTargets {
    /// All targets to invalidate.
    targets: Vec<InvalidateTarget>,
    requested: Vec<Planned>,
}

enum Planned {
    /// The next target.
    One,
    /// As many of the next targets as the event has.
    Event(EventPlan),
}

impl PlannedTargets {
    /// Applies the rules of the events to their attributes.
    ///
    /// # Errors
    /// An event breaks a rule.
    pub(super) fn new(cache: &Cache, requested: Vec<RequestedTarget>) -> Result<Self, Error> {
        let (mut targets, mut planned) = (Vec::new(), Vec::with_capacity(requested.len()));
        for (index, target) in requested.into_iter().enumerate() {
            match target {
                RequestedTarget::One(target) => {
                    targets.push(target);
                    planned.push(Planned::One);
                }
                RequestedTarget::Event(event) => {
                    let plan = cache.plan_event(&event, EventRoute::Invalidate);
                    let path = || format!("targets[{index}].event.");
                    let plan = plan.map_err(|error| error.within(&path()))?;
                    targets.extend_from_slice(plan.targets());
                    planned.push(Planned::Event(plan));
                }
            }
        }
        Ok(Self { targets, requested: planned })
    }

    pub(super) fn targets(&self) -> &[InvalidateTarget] {
        &self.targets
    }

    /// Counts the events.
    pub(super) fn count(&self, cache: &Cache, is_applied: bool) {
        let outcome = if is_applied { EventOutcome::Applied } else { EventOutcome::NotApplied };
        for planned in &self.requested {
            if let Planned::Event(plan) = planned {
                cache.count_event(plan, outcome);
            }
        }
    }

    /// The response, if all targets are invalidated.
    pub(super) fn response(&self, outcomes: &[TargetOutcome]) -> pb::InvalidateResponse {
        let mut rest = self.targets.iter().cloned().zip(outcomes.iter().copied());
        let mut response = pb::InvalidateResponse::default();
        for planned in &self.requested {
            match planned {
                Planned::One => {
                    response.results.extend(rest.next().map(|(_, outcome)| target_result(outcome)));
                }
                Planned::Event(plan) => {
                    let targets = rest.by_ref().take(plan.targets().len()).collect();
                    let targets = event_target_results(targets);
                    response.results.push(joined(&targets));
                    response.events.push(pb::EventResult { targets });
                }
            }
        }
        response
    }
}

/// What became of an event as a whole.
fn joined(targets: &[pb::EventTargetResult]) -> pb::TargetResult {
    let any = |is: fn(&pb::TargetResult) -> bool| {
        targets.iter().filter_map(|one| one.result.as_ref()).any(is)
    };
    pb::TargetResult {
        existed: any(|result| result.existed),
        namespace_invalidated: any(|result| result.namespace_invalidated),
    }
}

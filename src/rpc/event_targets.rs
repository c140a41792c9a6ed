//! Expands events and globs of namespaces into targets of Invalidate.

use tonic::Status;

use super::access::Access;
use super::convert::{RequestedTarget, durability, event_target_results, target_result};
use crate::{
    cache::{
        Cache, Durability, Error, EventOutcome, EventPlan, EventRoute, InvalidateTarget,
        TargetOutcome,
    },
    model::{EntryKey, Namespace},
    pb::v1 as pb,
};

/// Namespaces that are compared with a glob without a yield.
const NAMESPACES_PER_YIELD: usize = 256;

/// The targets of a request, with what its events and globs stand for.
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
    /// So many of the next targets: one per namespace that matches.
    Matching(usize),
}

impl PlannedTargets {
    /// Applies the rules of the events to their attributes, and finds the namespaces of `known`
    /// that match the globs and in which the caller has the permission.
    ///
    /// Ends when there are more than `limit` targets, which is for the caller to refuse: globs and
    /// events multiply, and a request may have a thousand of them for as many namespaces.
    ///
    /// # Errors
    /// An event breaks a rule.
    pub(super) async fn new(
        cache: &Cache,
        requested: Vec<RequestedTarget>,
        known: &[Namespace],
        limit: usize,
        access: &Access,
    ) -> Result<Self, Error> {
        let (mut targets, mut planned) = (Vec::new(), Vec::with_capacity(requested.len()));
        let mut visited = 0_usize;
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
                RequestedTarget::Matching(glob, selection) => {
                    let before = targets.len();
                    for name in known {
                        if glob.matches(name.as_str()) {
                            let target = selection.within(name.clone());
                            // A refusal by name would show that the namespace exists.
                            if access.may_use(&target) {
                                targets.push(target);
                            }
                        }
                        visited += 1;
                        if visited.is_multiple_of(NAMESPACES_PER_YIELD) {
                            tokio::task::yield_now().await;
                        }
                        if targets.len() > limit {
                            break;
                        }
                    }
                    planned.push(Planned::Matching(targets.len() - before));
                }
            }
            if targets.len() > limit {
                break;
            }
        }
        Ok(Self { targets, requested: planned })
    }

    pub(super) fn targets(&self) -> &[InvalidateTarget] {
        &self.targets
    }

    /// Checks the permission for each target: that of the method, or for targets of an event that
    /// for events.
    pub(super) fn check(&self, access: &Access) -> Result<(), Status> {
        let mut targets = self.targets.iter();
        for (index, planned) in self.requested.iter().enumerate() {
            let (count, is_event) = match planned {
                Planned::One => (1, false),
                Planned::Event(plan) => (plan.targets().len(), true),
                Planned::Matching(count) => (*count, false),
            };
            for target in targets.by_ref().take(count) {
                access.check_target(target, index, is_event)?;
            }
        }
        Ok(())
    }

    /// The keys of single entries.
    pub(super) fn keys_mut(&mut self) -> impl Iterator<Item = &mut EntryKey> {
        self.targets.iter_mut().filter_map(|target| match target {
            InvalidateTarget::Key(key) | InvalidateTarget::KeyOfAllVersions(key) => Some(key),
            InvalidateTarget::Namespace(_)
            | InvalidateTarget::Tags(..)
            | InvalidateTarget::Pattern(..) => None,
        })
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
        let durability = durability_of(outcomes);
        let mut response = pb::InvalidateResponse { durability, ..Default::default() };
        for planned in &self.requested {
            match planned {
                Planned::One => {
                    response.results.extend(rest.next().map(|(_, outcome)| target_result(outcome)));
                }
                Planned::Matching(count) => {
                    let (mut namespaces, mut outcomes) = (Vec::new(), Vec::new());
                    for (target, outcome) in rest.by_ref().take(*count) {
                        let namespace = target.namespace().to_string();
                        let namespace_invalidated = target_result(outcome).namespace_invalidated;
                        namespaces.push(pb::NamespaceResult { namespace, namespace_invalidated });
                        outcomes.push(outcome);
                    }
                    let durability = durability_of(&outcomes);
                    let whole = of_namespaces(namespaces);
                    response.results.push(pb::TargetResult { durability, ..whole });
                }
                Planned::Event(plan) => {
                    let targets: Vec<_> = rest.by_ref().take(plan.targets().len()).collect();
                    let outcomes: Vec<_> = targets.iter().map(|(_, outcome)| *outcome).collect();
                    let durability = durability_of(&outcomes);
                    let targets = event_target_results(targets);
                    let whole = joined(&targets);
                    response.results.push(pb::TargetResult { durability, ..whole });
                    response.events.push(pb::EventResult { targets });
                }
            }
        }
        response
    }
}

/// Outcome of an event as a whole.
fn joined(targets: &[pb::EventTargetResult]) -> pb::TargetResult {
    let any = |is: fn(&pb::TargetResult) -> bool| {
        targets.iter().filter_map(|one| one.result.as_ref()).any(is)
    };
    pb::TargetResult {
        existed: any(|result| result.existed),
        namespace_invalidated: any(|result| result.namespace_invalidated),
        ..pb::TargetResult::default()
    }
}

fn durability_of(outcomes: &[TargetOutcome]) -> i32 {
    durability(Durability::of_all(outcomes.iter().map(|outcome| outcome.durability())))
}

/// Outcome of a target in the namespaces that match.
fn of_namespaces(namespaces: Vec<pb::NamespaceResult>) -> pb::TargetResult {
    let is_whole = |result: &pb::NamespaceResult| result.namespace_invalidated;
    let namespace_invalidated = !namespaces.is_empty() && namespaces.iter().all(is_whole);
    pb::TargetResult { namespace_invalidated, namespaces, ..pb::TargetResult::default() }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn target_of_many_namespaces_is_whole_if_it_is_in_each_of_them() {
        let result = |whole: &[bool]| {
            let namespaces = whole.iter().map(|namespace_invalidated| pb::NamespaceResult {
                namespace: "ns".to_owned(),
                namespace_invalidated: *namespace_invalidated,
            });
            of_namespaces(namespaces.collect()).namespace_invalidated
        };
        assert_eq!([&[][..], &[true, false], &[true, true]].map(result), [false, false, true]);
    }
}

//! The last hour in steps of a minute.

use super::{Flow, seconds, traffic::percentiles};
use crate::{cli::top::figures::StepFigures, pb::v1};

/// History of the fleet, and of the namespace that is looked at.
#[derive(Debug, Default)]
pub(super) struct History {
    response: v1::GetHistoryResponse,
}

impl History {
    pub(super) fn new(response: v1::GetHistoryResponse) -> Self {
        Self { response }
    }

    /// Steps of all namespaces together, the oldest first.
    pub(super) fn totals(&self) -> Vec<StepFigures> {
        let counters = self.response.totals.iter().map(|step| step.counters.unwrap_or_default());
        self.steps(counters)
    }

    /// Steps of a namespace, the oldest first; none if it is not among them.
    pub(super) fn of(&self, name: &str) -> Vec<StepFigures> {
        let found = self.response.namespaces.iter().find(|one| one.namespace == name);
        found.map(|one| self.steps(one.steps.iter().copied())).unwrap_or_default()
    }

    fn steps(&self, counters: impl Iterator<Item = v1::Counters>) -> Vec<StepFigures> {
        let step = seconds(self.response.step).filter(|step| *step > 0.0).unwrap_or(60.0);
        let row = |(totals, counters): (&v1::HistoryStep, v1::Counters)| {
            let flow = Flow::of(&counters);
            StepFigures {
                start: totals.start.map(|start| start.to_string()),
                reads_per_second: flow.reads / step,
                hit_rate: flow.hit_rate(),
                stale_rate: flow.stale_rate(),
                hit_latency: percentiles(counters.hit_latency.as_ref()),
                fetches_per_second: flow.fetches / step,
                fetches_failed: counters.fetches_failed,
            }
        };
        let mut steps: Vec<StepFigures> =
            self.response.totals.iter().zip(counters).map(row).collect();
        // The last one has not ended.
        steps.pop();
        steps
    }
}

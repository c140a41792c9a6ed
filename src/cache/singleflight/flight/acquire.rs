//! A flight asks the store for the lease of its key: the answers to the waiters, and the next step.

use std::time::Duration;

use super::{Flight, NextStep};
use crate::{
    cache::{
        policy::{self, Verdict},
        singleflight::{
            cacheability::Prediction,
            fill::{FillOutcome, FillPermit},
            flight_result::FlightResult,
            lease_guard::LeaseGuard,
            waiters::Requirement,
        },
    },
    model::{Entry, Timestamp},
    origin,
    stats::counters::Counter,
    store::{AcquireOutcome, AcquireRequest, Error, LeaseLoss},
};

/// Polls in a row that may fail before the waiters are answered that the store is down.
const MAX_FAILED_POLLS: u32 = 3;

impl Flight {
    /// Asks for the lease, and decides by the answer.
    pub(super) async fn acquire(&mut self) -> NextStep {
        let has_origin = self.job.origin().is_some();
        if has_origin && self.waiters.all_skip_store() {
            return NextStep::Fetch(FillPermit::unleased(FillOutcome::NOT_STORED_DEGRADED));
        }
        if let Some(time) = self.job.origin().and_then(|origin| origin.client.open_for()) {
            return self.reject_by_breaker(time);
        }
        let prediction = if has_origin {
            self.group.predictor.predict(&self.job.key)
        } else {
            Prediction::Unknown
        };
        if prediction == Prediction::Uncacheable {
            return NextStep::Fetch(FillPermit::unleased(FillOutcome::Uncacheable));
        }
        self.lease_ttl = self.job.lease_ttl();
        let mut guard = LeaseGuard::new(&self.group.keeper, &self.job.key);
        let request = AcquireRequest {
            token: guard.token(),
            ttl: self.lease_ttl,
            fresher_than: self.waiters.fresher_than(),
        };
        match self.group.keeper.store.acquire(&self.job.key, &request).await {
            Ok(outcome) => {
                self.failed_polls = 0;
                guard.disarm_unless_granted(&outcome);
                if has_origin {
                    self.next_with_origin(outcome, guard, prediction)
                } else {
                    self.next_without_origin(outcome, guard)
                }
            }
            Err(error) => self.next_after_error(&error),
        }
    }

    /// The namespace has an origin: the flight computes the value.
    fn next_with_origin(
        &mut self,
        outcome: AcquireOutcome,
        guard: LeaseGuard,
        prediction: Prediction,
    ) -> NextStep {
        match outcome {
            // Another replica, whose configuration differs, has fetched it in the meantime.
            AcquireOutcome::Found(entry) if self.job.context.rules.is_of_other_source(&entry) => {
                let not_stored = FillOutcome::NotStored { degraded: false };
                NextStep::Fetch(FillPermit::unleased(not_stored))
            }
            AcquireOutcome::Found(entry) => self.notify_found(&entry),
            AcquireOutcome::Granted { previous } => {
                let rules = &self.job.context.rules;
                let previous = previous.filter(|entry| rules.can_revalidate(entry));
                NextStep::Fetch(FillPermit::leased(guard, previous))
            }
            AcquireOutcome::Held { .. } if prediction == Prediction::ProbablyUncacheable => {
                NextStep::Fetch(FillPermit::unleased(FillOutcome::Uncacheable))
            }
            AcquireOutcome::Held { expires_in } => NextStep::Wait(expires_in),
            AcquireOutcome::BackedOff { remaining, cause, .. } => {
                let error = origin::Error::backed_off(cause, remaining);
                self.waiters.notify_callers(|| FlightResult::OriginFailed(error.clone()));
                NextStep::CoolDown(remaining)
            }
            AcquireOutcome::HeldOff { .. } => {
                let lost = FillOutcome::LeaseLost(LeaseLoss::Invalidated);
                NextStep::Fetch(FillPermit::unleased(lost))
            }
        }
    }

    /// The namespace has no origin: a waiter computes the value.
    fn next_without_origin(&mut self, outcome: AcquireOutcome, guard: LeaseGuard) -> NextStep {
        let expires_in = self.lease_ttl;
        match outcome {
            AcquireOutcome::Found(entry) => self.notify_found(&entry),
            AcquireOutcome::Granted { previous } => {
                let granted = FlightResult::LeaseGranted { guard, expires_in, previous };
                self.waiters.notify_first(granted);
                NextStep::Wait(expires_in)
            }
            AcquireOutcome::Held { expires_in } => NextStep::Wait(expires_in),
            // All waiters are answered now. Otherwise they would try the failed source one after
            // another.
            AcquireOutcome::BackedOff { remaining, previous, cause } => {
                let now = self.group.keeper.store.now();
                self.waiters.notify_all(|wanted| {
                    let cause = cause.clone();
                    let entry =
                        previous.as_ref().filter(|entry| is_usable_on_error(entry, now, wanted));
                    Some(match entry {
                        Some(entry) => FlightResult::Stale { entry: entry.clone(), cause },
                        None => FlightResult::BackedOff { available_in: remaining, cause },
                    })
                });
                NextStep::Continue
            }
            AcquireOutcome::HeldOff { .. } => {
                self.waiters.notify_all(|_| {
                    let guard = LeaseGuard::detached();
                    Some(FlightResult::LeaseGranted { guard, expires_in, previous: None })
                });
                NextStep::Continue
            }
        }
    }

    fn next_after_error(&mut self, error: &Error) -> NextStep {
        if self.job.origin().is_some() {
            let outcome = FillOutcome::NotStored { degraded: error.is_degraded() };
            return NextStep::Fetch(FillPermit::unleased(outcome));
        }
        // One failed poll is no proof of an outage: another caller may be computing the value.
        if error.kind.is_transient() && self.failed_polls < MAX_FAILED_POLLS {
            self.failed_polls += 1;
            return NextStep::Wait(self.poll_interval);
        }
        self.waiters.notify_all(|_| Some(FlightResult::StoreFailed(error.kind.into())));
        NextStep::Continue
    }

    fn notify_found(&mut self, entry: &Entry) -> NextStep {
        let stored = || FlightResult::Stored(entry.clone());
        self.waiters.notify_all(|wanted| wanted.accepts(entry.fresh_until).then(stored));
        NextStep::Continue
    }

    /// The origin's circuit breaker is open: the store need not be asked.
    fn reject_by_breaker(&mut self, time: Duration) -> NextStep {
        self.job.context.counters.count(Counter::FetchesFailed);
        let error = origin::Error::breaker_open(time);
        if let Some(origin) = self.job.origin() {
            origin.client.record_rejection(&error);
        }
        self.waiters.notify_all(|_| Some(FlightResult::OriginFailed(error.clone())));
        NextStep::Continue
    }
}

fn is_usable_on_error(previous: &Entry, now: Timestamp, wanted: &Requirement) -> bool {
    let verdict = policy::evaluate(previous, now, wanted.max_stale);
    !wanted.force_refresh && matches!(verdict, Verdict::Stale | Verdict::StaleIfError)
}

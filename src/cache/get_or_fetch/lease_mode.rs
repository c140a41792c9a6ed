//! GetOrFetch where callers compute: one of them is offered the lease, and the others wait for its
//! value.

use std::time::Duration;

use tokio::time::timeout;

use super::{
    Decision, FetchContext, FetchStatus, GetOrFetchOutcome, GetOrFetchResult, LeaseOffer,
    MIN_RETRY_AFTER,
};
use crate::{
    cache::{FetchMode, Found, LeaseGuard, Outcome, singleflight::FlightResult},
    model::{Entry, Timestamp},
    stats::counters::Counter,
    store::{self, AcquireOutcome, Error},
};

/// Outcome of an attempt to get the lease.
#[expect(clippy::large_enum_variant, reason = "it is taken apart where it is returned")]
pub(in crate::cache) enum LeaseAttempt {
    /// The call is answered.
    Answered(GetOrFetchResult),
    /// Another caller computes the value, which is expected after this time.
    Refused { available_in: Duration },
}

/// The store's answer to a request for the lease.
enum LeaseResponse {
    Answered(GetOrFetchResult),
    Held { available_in: Duration },
    BackedOff { available_in: Duration, previous: Option<Entry>, cause: String },
}

impl FetchContext<'_> {
    /// Acts on the decision for one key.
    pub(super) async fn get_or_lease(&mut self) -> GetOrFetchResult {
        if let Some(result) = self.answer_without_computing().await {
            return result;
        }
        // A flight of this replica has asked for the lease already.
        let skips_attempt =
            !self.wait().is_zero() && self.cache.flights.is_in_flight(&self.request.key);
        let attempt = if skips_attempt {
            LeaseAttempt::Refused { available_in: MIN_RETRY_AFTER }
        } else {
            self.attempt_lease().await
        };
        match attempt {
            LeaseAttempt::Answered(result) => result,
            LeaseAttempt::Refused { available_in } => self.await_holder(available_in).await,
        }
    }

    /// Answers every decision but [`Decision::Compute`].
    pub(in crate::cache) async fn answer_without_computing(&mut self) -> Option<GetOrFetchResult> {
        match self.decision() {
            Decision::Serve(outcome) => Some(self.serve(outcome)),
            Decision::ServeAndRefresh => Some(self.serve_and_refresh().await),
            Decision::NotCached => Some(self.not_cached()),
            Decision::Compute => {
                let error = self.read_error.take()?;
                Some(self.compute_unleased(&error))
            }
        }
    }

    /// Asks for the lease without waiting.
    pub(in crate::cache) async fn attempt_lease(&self) -> LeaseAttempt {
        match self.acquire().await {
            Ok(LeaseResponse::Answered(result)) => LeaseAttempt::Answered(result),
            Ok(LeaseResponse::Held { available_in }) => LeaseAttempt::Refused { available_in },
            Ok(LeaseResponse::BackedOff { available_in, previous, cause }) => {
                let is_forced = self.request.mode == FetchMode::NoCache;
                let stale = previous.filter(|entry| !is_forced && self.is_usable_on_error(entry));
                self.context.counters.count(Counter::LeasesRefused);
                LeaseAttempt::Answered(match stale {
                    Some(entry) => self.served_stale(entry, FetchStatus::Failed(Some(cause))),
                    None => GetOrFetchResult::backed_off(available_in, cause),
                })
            }
            Err(error) => LeaseAttempt::Answered(self.compute_unleased(&error)),
        }
    }

    /// Counts the refused lease, and waits for the holder's value.
    pub(in crate::cache) async fn await_holder(&self, available_in: Duration) -> GetOrFetchResult {
        self.context.counters.count(Counter::LeasesRefused);
        let wait = self.wait();
        if wait.is_zero() {
            return GetOrFetchResult::contended(available_in);
        }
        let Some(mut handle) = self.cache.flights.join(self.job(), self.requirement()) else {
            return GetOrFetchResult::contended(available_in);
        };
        let waiting = timeout(wait, handle.result());
        let result = self.cache.closing.run_until_cancelled(waiting).await;
        let Some(Ok(result)) = result else {
            return GetOrFetchResult::contended(handle.available_in());
        };
        match result {
            FlightResult::Stored(entry) => self.coalesced(entry),
            FlightResult::LeaseGranted { guard, expires_in, previous } => {
                self.offer(guard, expires_in, previous)
            }
            FlightResult::Stale { entry, cause } => {
                self.served_stale(entry, FetchStatus::Failed(Some(cause)))
            }
            FlightResult::BackedOff { available_in, cause } => {
                GetOrFetchResult::backed_off(available_in, cause)
            }
            FlightResult::StoreFailed(error) => self.compute_unleased(&error),
            // The origin has just been removed from the configuration, or added to it.
            FlightResult::Fetched { fetched, .. } => self.coalesced(fetched.entry),
            FlightResult::OriginFailed(_) => GetOrFetchResult::contended(handle.available_in()),
        }
    }

    /// Counts the refused lease, and does not wait.
    pub(in crate::cache) fn refused(&self, available_in: Duration) -> GetOrFetchResult {
        self.context.counters.count(Counter::LeasesRefused);
        GetOrFetchResult::contended(available_in)
    }

    /// Serves the stale entry, with the lease if this caller gets it.
    async fn serve_and_refresh(&mut self) -> GetOrFetchResult {
        let mut degraded = false;
        // A flight of this replica has asked for the lease already.
        if !self.cache.flights.is_in_flight(&self.request.key) {
            match self.acquire().await {
                Ok(LeaseResponse::Answered(result)) => return result,
                Ok(LeaseResponse::Held { .. } | LeaseResponse::BackedOff { .. }) => {}
                Err(error) => degraded = error.is_degraded(),
            }
        }
        if !degraded {
            self.context.counters.count(Counter::LeasesRefused);
        }
        let result = self.serve(Outcome::Stale);
        GetOrFetchResult { status: FetchStatus::Refreshing, degraded, ..result }
    }

    async fn acquire(&self) -> store::Result<LeaseResponse> {
        let ttl = self.context.config().lease_ttl;
        let is_forced = self.request.mode == FetchMode::NoCache;
        let fresher_than = if is_forced { Timestamp(u64::MAX) } else { Timestamp::default() };
        let (guard, outcome) =
            self.cache.flights.acquire_lease(&self.request.key, ttl, fresher_than).await;
        Ok(LeaseResponse::Answered(match outcome? {
            AcquireOutcome::Found(entry) => {
                GetOrFetchOutcome::Found(Found::fresh(entry, self.cache.store.now())).into()
            }
            AcquireOutcome::Granted { previous } => self.offer(guard, ttl, previous),
            // No value that is computed now will be stored, so every caller may compute.
            AcquireOutcome::HeldOff { .. } => self.offer(LeaseGuard::detached(), ttl, None),
            AcquireOutcome::Held { expires_in } => {
                return Ok(LeaseResponse::Held { available_in: expires_in });
            }
            AcquireOutcome::BackedOff { remaining, previous, cause } => {
                return Ok(LeaseResponse::BackedOff { available_in: remaining, previous, cause });
            }
        }))
    }

    /// The caller computes for itself, because the store cannot be asked for a lease.
    fn compute_unleased(&self, error: &Error) -> GetOrFetchResult {
        let expires_in = self.context.config().lease_ttl;
        let result = self.offer(LeaseGuard::detached(), expires_in, self.stored.clone());
        GetOrFetchResult { degraded: error.is_degraded(), ..result }
    }

    fn offer(
        &self,
        guard: LeaseGuard,
        expires_in: Duration,
        previous: Option<Entry>,
    ) -> GetOrFetchResult {
        let stale = previous.filter(|entry| self.is_usable_on_error(entry));
        let stale_while_revalidate = self.request.mode != FetchMode::NoCache
            && stale.as_ref().is_some_and(|entry| self.is_usable_meanwhile(entry));
        let stale = stale.map(|entry| Found::new(entry, Outcome::Stale, self.cache.store.now()));
        let offer = LeaseOffer { guard, expires_in, stale, stale_while_revalidate };
        GetOrFetchOutcome::Lease(offer).into()
    }
}

#[cfg(test)]
mod tests;

//! GetOrFetch where the namespace has an origin: the replica fetches a missing value, once for all
//! its waiters.

use std::time::Duration;

use tokio::time::timeout;

use super::{
    Decision, FetchContext, FetchStatus, GetOrFetchOutcome, GetOrFetchRequest, GetOrFetchResult,
};
use crate::{
    cache::{
        Cache, Error, FetchMode, FillOutcome, Found, NamespaceContext, Outcome, Tier,
        namespaces::OriginBinding,
        policy,
        singleflight::{
            FetchJob, FetchKind, FetchedEntry, Flight, FlightHandle, FlightResult, Requirement,
        },
    },
    error_chain::ErrorChain,
    model::Entry,
    origin,
};

/// First step of a GetOrFetch for one key.
pub(in crate::cache) enum OriginFetch {
    /// The call is answered.
    Answered(GetOrFetchResult),
    /// The call waits for a flight. There is no handle if it may not wait, or if too many do.
    Waiting {
        handle: Option<FlightHandle>,
        /// A new flight, to be started.
        flight: Option<Flight>,
    },
}

impl Cache {
    /// Starts a background refresh of a fresh entry that is due early (see
    /// [`policy::is_due_early`]).
    pub(super) fn refresh_early(
        &self,
        context: &NamespaceContext,
        origin: &OriginBinding,
        request: &GetOrFetchRequest,
        entry: &Entry,
    ) -> FetchStatus {
        let beta = origin.config.early_refresh;
        let is_due = request.mode == FetchMode::Normal
            && policy::is_due_early(entry, self.store.now(), beta, rand::random());
        let newer = Requirement { fresher_than: entry.fresh_until, ..Requirement::default() };
        if is_due && self.flights.refresh(FetchJob::new(context, request), newer) {
            FetchStatus::RefreshingEarly
        } else {
            FetchStatus::Read
        }
    }
}

impl FetchContext<'_> {
    /// Acts on the decision: answers, or joins a flight.
    pub(in crate::cache) fn begin_fetch(&mut self, origin: &OriginBinding) -> OriginFetch {
        OriginFetch::Answered(match self.decision() {
            Decision::Serve(Outcome::Hit) => self.serve_hit(origin),
            Decision::Serve(outcome) => self.serve(outcome),
            Decision::ServeAndRefresh => {
                self.cache.flights.refresh(self.job(), Requirement::default());
                GetOrFetchResult { status: FetchStatus::Refreshing, ..self.serve(Outcome::Stale) }
            }
            Decision::NotCached => self.not_cached(),
            Decision::Compute => return self.join_flight(),
        })
    }

    fn serve_hit(&mut self, origin: &OriginBinding) -> GetOrFetchResult {
        let status = match &self.stored {
            Some(entry) => self.cache.refresh_early(self.context, origin, self.request, entry),
            None => FetchStatus::Read,
        };
        GetOrFetchResult { status, ..self.serve(Outcome::Hit) }
    }

    fn join_flight(&self) -> OriginFetch {
        let flights = &self.cache.flights;
        if self.wait().is_zero() {
            flights.refresh(self.job(), self.requirement());
            return OriginFetch::Waiting { handle: None, flight: None };
        }
        let (handle, flight) = flights.join_unstarted(self.job(), self.requirement()).unzip();
        OriginFetch::Waiting { handle, flight: flight.flatten() }
    }

    /// Waits for the flight's result.
    pub(in crate::cache) async fn await_fetch(
        &self,
        origin: &OriginBinding,
        handle: Option<FlightHandle>,
    ) -> Result<GetOrFetchResult, Error> {
        let mean_fetch_time = origin.client.mean_fetch_time().unwrap_or_default();
        let Some(mut handle) = handle else { return Ok(self.not_yet(mean_fetch_time)) };
        let Some(result) = self.await_result(origin, &mut handle).await else {
            return Ok(self.not_yet(handle.available_in().max(mean_fetch_time)));
        };
        match result {
            FlightResult::Stored(entry) => Ok(self.coalesced(entry)),
            FlightResult::Fetched { fetched, is_first } => Ok(self.fetched(fetched, is_first)),
            FlightResult::OriginFailed(error) => self.stale_or_failed(error),
            FlightResult::Stale { entry, cause } => {
                Ok(self.served_stale(entry, FetchStatus::Failed(Some(cause))))
            }
            FlightResult::BackedOff { available_in, .. } => Ok(self.not_yet(available_in)),
            // The server shuts down, or the origin has just been configured.
            FlightResult::StoreFailed(_) | FlightResult::LeaseGranted { .. } => {
                Ok(self.not_yet(mean_fetch_time))
            }
        }
    }

    /// The flight's result, if it comes in time: within the soft timeout while there is a stale
    /// value to serve, otherwise within the call's wait.
    async fn await_result(
        &self,
        origin: &OriginBinding,
        handle: &mut FlightHandle,
    ) -> Option<FlightResult> {
        let wait = self.wait();
        let soft_timeout = origin.config.soft_timeout.filter(|_| self.stale().is_some());
        let first_wait = soft_timeout.map_or(wait, |soft_timeout| wait.min(soft_timeout));
        if let Ok(result) = timeout(first_wait, handle.result()).await {
            return Some(result);
        }
        // The stale value may have expired in the meantime.
        if first_wait < wait && self.stale().is_none() {
            return timeout(wait - first_wait, handle.result()).await.ok();
        }
        None
    }

    /// The value is not there in time: the stale value, or advice on when to ask again.
    fn not_yet(&self, available_in: Duration) -> GetOrFetchResult {
        let result = match self.stale() {
            Some(entry) => self.served_stale(entry, FetchStatus::SoftTimeout),
            None => GetOrFetchResult::contended(available_in),
        };
        GetOrFetchResult { degraded: self.is_degraded(), ..result }
    }

    fn stale_or_failed(&self, error: origin::Error) -> Result<GetOrFetchResult, Error> {
        if let Some(entry) = self.stale().filter(|_| error.allows_stale) {
            let result = self.served_stale(entry, FetchStatus::Failed(Some(error.to_string())));
            return Ok(GetOrFetchResult { degraded: self.is_degraded(), ..result });
        }
        let namespace = self.request.key.namespace().clone();
        tracing::debug!(%namespace, error = %ErrorChain(&error), "the origin failed");
        Err(Error::Origin { namespace, error })
    }

    /// The origin's answer to this call, or to another one.
    fn fetched(&self, fetched: FetchedEntry, is_first: bool) -> GetOrFetchResult {
        let FetchedEntry { entry, fill, kind, is_cacheable: _ } = fetched;
        let status = match kind {
            _ if !is_first => FetchStatus::Coalesced,
            FetchKind::Full => FetchStatus::Fetched,
            FetchKind::Revalidated => FetchStatus::Revalidated,
        };
        let tier = Tier::Origin { is_stored: fill == FillOutcome::Stored };
        let found = Found { tier, ..Found::fresh(entry, self.cache.store.now()) };
        GetOrFetchResult {
            outcome: GetOrFetchOutcome::Found(found),
            status,
            fill: Some(fill),
            degraded: fill.is_degraded(),
        }
    }
}

#[cfg(test)]
mod tests;

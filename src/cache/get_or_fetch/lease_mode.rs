//! GetOrFetch where callers compute: one of them is offered the lease, and the others wait for its value.

use std::time::Duration;

use tokio::time::Instant;

use super::super::{
    Cache, NamespaceContext, Outcome,
    get_or_fetch::{
        FetchMode, FetchStatus, GetOrFetchOutcome, GetOrFetchRequest, GetOrFetchResult, LeaseOffer,
        RETRY_AFTER, bounded_wait, contended,
    },
    is_degraded,
    policy::Verdict,
    singleflight::lease_guard::LeaseGuard,
    singleflight::waiters::FlightResult,
};
use crate::{
    model::{Entry, Timestamp},
    stats::counters::Counter,
    store::{self, AcquireOutcome, AcquireRequest, LeaseToken},
};

/// What became of the question for a lease.
pub(in crate::cache) enum Asked {
    Answered(GetOrFetchOutcome),
    Refused { available_in: Duration, stale_on_error: Option<(Entry, String)> },
}

impl Cache {
    pub(in crate::cache) async fn get_or_lease(
        &self,
        scope: &NamespaceContext,
        request: &GetOrFetchRequest,
    ) -> GetOrFetchResult {
        let started = Instant::now();
        if request.mode == FetchMode::NoCache {
            let computed = self.compute(scope, request).await;
            return computed.unwrap_or_else(|error| self.without_store(scope, None, &error));
        }
        match self.store.get(&request.key).await {
            Ok(entry) => {
                let (verdict, entry) = self.judge(scope, request, entry, started);
                self.serve_or_compute(scope, request, verdict, entry).await
            }
            Err(error) if request.mode == FetchMode::OnlyIfCached => GetOrFetchResult {
                degraded: is_degraded(&error),
                ..GetOrFetchOutcome::Missing.into()
            },
            Err(error) => self.without_store(scope, None, &error),
        }
    }

    pub(in crate::cache) async fn serve_or_compute(
        &self,
        scope: &NamespaceContext,
        request: &GetOrFetchRequest,
        verdict: Verdict,
        entry: Option<Entry>,
    ) -> GetOrFetchResult {
        match (verdict, entry) {
            (Verdict::Fresh, Some(entry)) => {
                GetOrFetchOutcome::Found(self.found(entry, Outcome::Hit)).into()
            }
            (Verdict::Negative, Some(entry)) => {
                GetOrFetchOutcome::Found(self.found(entry, Outcome::Negative)).into()
            }
            (Verdict::Stale, Some(entry)) if request.mode == FetchMode::OnlyIfCached => {
                GetOrFetchOutcome::Found(self.found(entry, Outcome::Stale)).into()
            }
            (_, _) if request.mode == FetchMode::OnlyIfCached => GetOrFetchOutcome::Missing.into(),
            (Verdict::Stale, Some(entry)) => self.refresh(scope, request, entry).await,
            (_, entry) => match self.compute(scope, request).await {
                Ok(answer) => answer,
                Err(error) => {
                    self.without_store(scope, self.usable(entry, request.max_stale), &error)
                }
            },
        }
    }

    /// The caller computes for itself, with what is already in hand in case that fails.
    pub(in crate::cache) fn without_store(
        &self,
        scope: &NamespaceContext,
        stale: Option<Entry>,
        error: &store::Error,
    ) -> GetOrFetchResult {
        let offer = LeaseOffer {
            grant: LeaseGuard::unshared(),
            expires_in: scope.rules.lease_ttl,
            stale: stale.map(|entry| self.found(entry, Outcome::Stale)),
        };
        GetOrFetchResult { degraded: is_degraded(error), ..GetOrFetchOutcome::Lease(offer).into() }
    }

    /// Somebody should compute a new value, but nobody needs to wait for it.
    pub(in crate::cache) async fn refresh(
        &self,
        scope: &NamespaceContext,
        request: &GetOrFetchRequest,
        stale: Entry,
    ) -> GetOrFetchResult {
        let mut degraded = false;
        // Whoever waits for the key in this replica has seen to it that it is computed.
        if !self.waiting.is_open(&request.key) {
            match self.ask_for_lease(scope, request).await {
                Ok(Asked::Answered(answer)) => return answer.into(),
                Ok(Asked::Refused { .. }) => {}
                Err(error) => degraded = is_degraded(&error),
            }
        }
        if !degraded {
            scope.counts.count(Counter::LeasesRefused);
        }
        let answer = GetOrFetchOutcome::Found(self.found(stale, Outcome::Stale));
        GetOrFetchResult { degraded, status: FetchStatus::Refreshing, ..answer.into() }
    }

    /// Somebody must compute the value, and the others wait for it.
    pub(in crate::cache) async fn compute(
        &self,
        scope: &NamespaceContext,
        request: &GetOrFetchRequest,
    ) -> store::Result<GetOrFetchResult> {
        let wait = bounded_wait(scope, request);
        let mut available_in = RETRY_AFTER.0;
        if wait.is_zero() || !self.waiting.is_open(&request.key) {
            match self.ask_for_lease(scope, request).await? {
                Asked::Answered(answer) => return Ok(answer.into()),
                Asked::Refused { stale_on_error: Some((stale, cause)), .. } => {
                    scope.counts.count(Counter::LeasesRefused);
                    return Ok(self.stale_on_error(stale, cause));
                }
                Asked::Refused { available_in: later, .. } => available_in = later,
            }
        }
        scope.counts.count(Counter::LeasesRefused);
        if wait.is_zero() {
            return Ok(contended(available_in).into());
        }
        let errand = self.errand(scope, request);
        let Some(mut place) = self.waiting.enter(errand, request.wish()) else {
            return Ok(contended(available_in).into());
        };
        let turn = self.closing.run_until_cancelled(tokio::time::timeout(wait, place.turn())).await;
        match turn {
            Some(Ok(FlightResult::Found(entry))) => Ok(self.coalesced(entry)),
            Some(Ok(FlightResult::Lease { grant, expires_in, previous })) => {
                Ok(self.offer(request, grant, expires_in, previous).into())
            }
            Some(Ok(FlightResult::StaleOnError(entry))) => {
                Ok(self.stale_on_error(entry, String::new()))
            }
            Some(Ok(FlightResult::Failed(error))) => Err(error),
            // The origin was taken out of the configuration or put into it a moment ago.
            Some(Ok(FlightResult::Landed { landing, .. })) => Ok(self.coalesced(landing.entry)),
            Some(Ok(FlightResult::OriginFailed(_)) | Err(_)) | None => {
                Ok(contended(place.available_in()).into())
            }
        }
    }

    pub(in crate::cache) async fn ask_for_lease(
        &self,
        scope: &NamespaceContext,
        request: &GetOrFetchRequest,
    ) -> store::Result<Asked> {
        let ttl = scope.rules.lease_ttl;
        let fresher_than = if request.mode == FetchMode::NoCache {
            Timestamp(u64::MAX)
        } else {
            Timestamp::default()
        };
        let ask = AcquireRequest { token: LeaseToken::random(), ttl, fresher_than };
        let (grant, acquired) = LeaseGuard::acquire(&self.waiting, &request.key, ask).await;
        Ok(match acquired? {
            AcquireOutcome::Found(entry) => {
                Asked::Answered(GetOrFetchOutcome::Found(self.landed(entry)))
            }
            AcquireOutcome::Granted { previous } => {
                Asked::Answered(self.offer(request, grant, ttl, previous))
            }
            AcquireOutcome::Held { expires_in } => {
                Asked::Refused { available_in: expires_in, stale_on_error: None }
            }
            AcquireOutcome::BackedOff { remaining, previous, cause } => {
                let stale = previous.filter(|_| request.mode != FetchMode::NoCache);
                let stale_on_error =
                    self.usable(stale, request.max_stale).map(|stale| (stale, cause));
                Asked::Refused { available_in: remaining, stale_on_error }
            }
            // What is computed now will not be stored, whoever does it.
            AcquireOutcome::HeldOff { .. } => {
                Asked::Answered(self.offer(request, LeaseGuard::unshared(), ttl, None))
            }
        })
    }

    fn offer(
        &self,
        request: &GetOrFetchRequest,
        grant: LeaseGuard,
        ttl: Duration,
        previous: Option<Entry>,
    ) -> GetOrFetchOutcome {
        let stale =
            self.usable(previous, request.max_stale).map(|entry| self.found(entry, Outcome::Stale));
        GetOrFetchOutcome::Lease(LeaseOffer { grant, expires_in: ttl, stale })
    }
}

//! GetOrFetch: reads one entry, and has it computed if it is missing.
//!
//! [`decision::decide`] decides whether the stored entry is returned, refreshed or replaced. It is
//! the same for one key and for many ([`super::batch_get_or_fetch`]), and for both ways to compute
//! a value: [`origin_mode`], where the replica fetches it, and [`lease_mode`], where one of the
//! callers does.

mod context;
mod decision;
mod lease_mode;
mod origin_mode;

use std::time::Duration;

use tokio::time::Instant;

use super::{
    Cache, Error, FetchMode, FillOutcome, Found, GetOrFetchRequest, LeaseGuard, NamespaceContext,
    Outcome, Tier, follow::FollowedRead, near_read::NearRead,
};
use crate::stats::counters::{Counter, LatencyKind};
pub(super) use context::FetchContext;
pub(super) use decision::Decision;
pub(super) use lease_mode::LeaseAttempt;
pub(super) use origin_mode::OriginFetch;

/// The shortest and the longest advice on when to ask again for a contended key.
const MIN_RETRY_AFTER: Duration = Duration::from_millis(10);
const MAX_RETRY_AFTER: Duration = Duration::from_secs(1);

/// Answer to a GetOrFetch.
#[derive(Debug)]
pub struct GetOrFetchResult {
    /// The answer for the caller.
    pub outcome: GetOrFetchOutcome,
    /// Work of the call besides reading.
    pub status: FetchStatus,
    /// Outcome of storing the value that the origin returned to this call.
    pub fill: Option<FillOutcome>,
    /// Whether the store could not be asked.
    pub degraded: bool,
}

impl GetOrFetchResult {
    /// Size of the value in the answer, in bytes.
    pub fn value_bytes(&self) -> usize {
        let found = match &self.outcome {
            GetOrFetchOutcome::Found(found) => Some(found),
            GetOrFetchOutcome::Lease(offer) => offer.stale.as_ref(),
            GetOrFetchOutcome::Contended { .. } | GetOrFetchOutcome::NotCached => None,
        };
        found.map_or(0, |found| found.entry.data.len())
    }

    /// Whether another caller computes the value, so that this call would have to wait.
    pub fn is_contended(&self) -> bool {
        matches!(self.outcome, GetOrFetchOutcome::Contended { .. })
            && self.status == FetchStatus::Read
    }
}

/// The answer for the caller.
#[derive(Debug)]
pub enum GetOrFetchOutcome {
    /// A value, or a negative entry.
    Found(Found),
    /// Permission to compute the value.
    Lease(LeaseOffer),
    /// Another caller computes the value.
    Contended {
        /// When to ask again.
        retry_after: Duration,
    },
    /// Nothing is cached, and the caller did not want more.
    NotCached,
}

/// Permission to compute a value.
#[derive(Debug)]
pub struct LeaseOffer {
    /// The lease, to be passed on to the caller.
    pub guard: LeaseGuard,
    /// Time until the lease expires.
    pub expires_in: Duration,
    /// The previous value, if the caller may use it when it cannot compute a new one.
    pub stale: Option<Found>,
    /// Whether the caller may also use it while it computes a new one.
    pub stale_while_revalidate: bool,
}

/// Work of a GetOrFetch besides reading.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FetchStatus {
    /// Nothing.
    Read,
    /// The origin sent the value for this call.
    Fetched,
    /// The origin declared the stored value unchanged for this call.
    Revalidated,
    /// The call waited for another computation of the value.
    Coalesced,
    /// The value is stale and is being refreshed.
    Refreshing,
    /// The value is fresh and is being refreshed before it becomes stale.
    RefreshingEarly,
    /// The value is stale because the fetch takes longer than the soft timeout. The fetch
    /// continues.
    SoftTimeout,
    /// Computing a new value failed, for the cause if it is known: the value is stale, or there is
    /// none until a back-off is over.
    Failed(Option<String>),
}

impl FetchStatus {
    /// Whether the value was fetched, or waited for, in this call. Such an answer is a miss for the
    /// statistics, as the call took as long as one without a cache.
    pub fn is_miss(&self) -> bool {
        match self {
            Self::Fetched | Self::Revalidated | Self::Coalesced => true,
            Self::Read
            | Self::Refreshing
            | Self::RefreshingEarly
            | Self::SoftTimeout
            | Self::Failed(_) => false,
        }
    }
}

impl Cache {
    /// Reads one entry. If it is missing, one caller of all replicas is offered the lease, and the
    /// others wait for the value, bounded by `wait`. If it is stale, one caller is offered the
    /// lease with it, and the others get it at once. Where the namespace has an origin, the
    /// replica fetches the value instead, and no caller is offered a lease.
    ///
    /// # Errors
    /// [`Error::UnknownNamespace`]; [`Error::Origin`] if there is no stale value to serve.
    pub async fn get_or_fetch(
        &self,
        request: &GetOrFetchRequest,
    ) -> Result<GetOrFetchResult, Error> {
        let context = self.context(request.key.namespace())?;
        let request = &*request.stored_in(&context);
        let followed = || context.followed_at(&request.key, || self.store.now());
        let (result, followed) = match self.get_or_fetch_near(&context, request) {
            Some(near) => (Ok(near), followed()),
            None => {
                let stored = FetchContext::read(self, &context, request).await;
                let followed = followed();
                (stored.compute().await, followed)
            }
        };
        self.sample(count_answer(&result, &context), &request.key);
        if let Ok(result) = &result {
            context.follow_read(followed, FollowedRead::of_fetch(result, request.mode));
        }
        result
    }

    /// Answers from the near cache.
    pub(super) fn get_or_fetch_near(
        &self,
        context: &NamespaceContext,
        request: &GetOrFetchRequest,
    ) -> Option<GetOrFetchResult> {
        if request.mode == FetchMode::NoCache {
            return None;
        }
        let started = Instant::now();
        let now = self.store.now();
        let near_read = NearRead { consistency: request.consistency, now, started };
        let found = self.read_near(context, &request.key, near_read)?;
        context.counters.time(LatencyKind::Hit, started.elapsed());
        let is_hit = found.outcome == Outcome::Hit;
        let status = match context.rules.origin.as_ref().filter(|_| is_hit) {
            Some(origin) => self.refresh_early(context, origin, request, &found.entry),
            None => FetchStatus::Read,
        };
        Some(GetOrFetchResult { status, ..GetOrFetchOutcome::Found(found).into() })
    }
}

impl FetchContext<'_> {
    /// Acts on the decision for one key.
    pub(super) async fn compute(mut self) -> Result<GetOrFetchResult, Error> {
        match &self.context.rules.origin {
            Some(origin) => match self.begin_fetch(origin) {
                OriginFetch::Answered(result) => Ok(result),
                OriginFetch::Waiting { handle, flight } => {
                    if let Some(flight) = flight {
                        self.cache.flights.start(flight);
                    }
                    self.await_fetch(origin, handle).await
                }
            },
            None => Ok(self.get_or_lease().await),
        }
    }
}

/// Counts the answer. No cache has answered a call that failed. Returns whether the read is to be
/// sampled.
#[must_use]
pub(super) fn count_answer(
    result: &Result<GetOrFetchResult, Error>,
    context: &NamespaceContext,
) -> bool {
    result.as_ref().map_or_else(|_| context.count_outcome(None), |result| result.count(context))
}

impl GetOrFetchResult {
    /// Counts the answer. Returns whether the read is to be sampled.
    #[must_use]
    fn count(&self, context: &NamespaceContext) -> bool {
        let outcome = match &self.outcome {
            GetOrFetchOutcome::Found(found) => (!self.status.is_miss()).then_some(found.outcome),
            GetOrFetchOutcome::Lease(_) => {
                context.counters.count(Counter::LeasesGranted);
                None
            }
            GetOrFetchOutcome::Contended { .. } => {
                context.counters.count(Counter::Contended);
                None
            }
            GetOrFetchOutcome::NotCached => None,
        };
        context.count_degraded(self.degraded);
        if let Some(counter) = self.status_counter() {
            context.counters.count(counter);
        }
        context.count_outcome(outcome)
    }

    fn status_counter(&self) -> Option<Counter> {
        Some(match &self.status {
            FetchStatus::Read | FetchStatus::Fetched | FetchStatus::Revalidated => return None,
            FetchStatus::Coalesced => Counter::FetchesCoalesced,
            FetchStatus::Refreshing => Counter::StaleWhileRevalidate,
            FetchStatus::RefreshingEarly => Counter::EarlyRefreshes,
            FetchStatus::SoftTimeout => Counter::StaleSoftTimeout,
            // The refused lease is counted instead.
            FetchStatus::Failed(_)
                if matches!(self.outcome, GetOrFetchOutcome::Contended { .. }) =>
            {
                return None;
            }
            FetchStatus::Failed(_) => Counter::StaleIfError,
        })
    }

    /// The entry in the answer, unless it was computed for the call.
    pub(super) fn cached(&mut self) -> Option<&mut Found> {
        match &mut self.outcome {
            GetOrFetchOutcome::Found(found) => {
                let is_cached = matches!(found.tier, Tier::Near | Tier::Store)
                    && self.status != FetchStatus::Coalesced;
                is_cached.then_some(found)
            }
            GetOrFetchOutcome::Lease(_)
            | GetOrFetchOutcome::Contended { .. }
            | GetOrFetchOutcome::NotCached => None,
        }
    }

    /// Whether the caller holds a lease now.
    pub(super) fn is_lease(&self) -> bool {
        matches!(self.outcome, GetOrFetchOutcome::Lease(_)) && !self.degraded
    }

    /// A key for which no lease is granted until the back-off of a failed computation is over.
    pub(super) fn backed_off(available_in: Duration, cause: String) -> Self {
        let retry_after = available_in.max(MIN_RETRY_AFTER);
        let status = FetchStatus::Failed(Some(cause));
        Self { status, ..GetOrFetchOutcome::Contended { retry_after }.into() }
    }

    /// A contended key, whose value is expected after `available_in`.
    pub(super) fn contended(available_in: Duration) -> Self {
        let retry_after = available_in.clamp(MIN_RETRY_AFTER, MAX_RETRY_AFTER);
        GetOrFetchOutcome::Contended { retry_after }.into()
    }
}

impl From<GetOrFetchOutcome> for GetOrFetchResult {
    fn from(outcome: GetOrFetchOutcome) -> Self {
        Self { outcome, status: FetchStatus::Read, fill: None, degraded: false }
    }
}

#[cfg(test)]
mod tests;

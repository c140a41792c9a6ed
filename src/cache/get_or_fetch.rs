//! Reading one entry, and having it computed when it is missing: by a caller (see [`super::get_or_lease`]) or, where the
//! namespace has an origin, by the replica (see [`super::read_through`]).

pub(super) mod lease_mode;
pub(super) mod origin_mode;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use tokio::time::Instant;

use super::{
    Cache, Consistency, Error, Found, NamespaceContext, Outcome, policy, policy::Verdict,
    singleflight::fetch_job::FetchJob, singleflight::fill::FillOutcome,
    singleflight::lease_guard::LeaseGuard, singleflight::waiters::Requirement,
};
use crate::{
    model::{Entry, EntryKey, Kind},
    stats::counters::{Counter, LatencyKind},
};

/// The longest that a call may wait.
pub(super) const MAX_WAIT: Duration = Duration::from_secs(60);
/// The least and the most that is kept back of the time until a call's deadline, so that the answer still arrives before it;
/// a fifth of it in between.
const DEADLINE_MARGIN: (Duration, Duration) =
    (Duration::from_millis(20), Duration::from_millis(200));
/// The shortest and the longest advice on when to ask again for a key that somebody computes.
pub(super) const RETRY_AFTER: (Duration, Duration) =
    (Duration::from_millis(10), Duration::from_secs(1));

/// What is to be read.
#[derive(Debug, Clone)]
pub struct GetOrFetchRequest {
    /// The entry.
    pub key: EntryKey,
    /// The params of its key, for the origin.
    pub params: Arc<BTreeMap<String, String>>,
    /// How stale a value the caller accepts, if less than the namespace.
    pub max_stale: Option<Duration>,
    /// How long the caller is ready to wait; the namespace's `lease_wait` if it does not say.
    pub wait: Option<Duration>,
    /// When the call's deadline is.
    pub deadline: Option<Instant>,
    /// Whether to do what with the cache.
    pub mode: FetchMode,
    /// How recent what is cached must be.
    pub consistency: Consistency,
}

/// What a GetOrFetch may do beside reading.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum FetchMode {
    /// Have the value computed if it is missing.
    #[default]
    Normal,
    /// Have it computed in any case: nothing that was computed before this call will do.
    NoCache,
    /// Nothing.
    OnlyIfCached,
}

/// The answer.
#[derive(Debug)]
pub struct GetOrFetchResult {
    /// What the caller gets.
    pub answer: GetOrFetchOutcome,
    /// What was done beside reading.
    pub status: FetchStatus,
    /// What became of a value that was fetched from the origin for this call.
    pub fill: Option<FillOutcome>,
    /// Whether the store could not be asked.
    pub degraded: bool,
}

/// What was done beside reading.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FetchStatus {
    /// Nothing.
    Read,
    /// The origin sent the value for this call.
    Fetched,
    /// The origin confirmed the stored value for this call.
    Revalidated,
    /// The call waited, and got what somebody else computed.
    Coalesced,
    /// The value is stale, and being refreshed.
    Refreshing,
    /// The value is fresh, and being refreshed before it is stale.
    RefreshingEarly,
    /// The value is stale, because computing a new one takes too long; that goes on.
    SoftTimeout,
    /// The value is stale, because computing a new one failed. The cause, if it is known.
    Failed(String),
}

/// What the caller gets.
#[derive(Debug)]
pub enum GetOrFetchOutcome {
    /// A value, or the knowledge that there is none.
    Found(Found),
    /// The permission to compute it.
    Lease(LeaseOffer),
    /// The advice to come back later.
    Contended {
        /// When.
        retry_after: Duration,
    },
    /// Nothing, as the caller did not want more than what is cached.
    Missing,
}

/// A permission to compute a value.
#[derive(Debug)]
pub struct LeaseOffer {
    /// To be handed over with the answer.
    pub grant: LeaseGuard,
    /// How long it holds.
    pub expires_in: Duration,
    /// The previous value, if it may be used when computing fails.
    pub stale: Option<Found>,
}

impl Cache {
    /// Reads one entry. If it is missing, exactly one caller of all replicas is offered the lease; the others wait for the value,
    /// bounded by `wait`. If it is stale, one caller is offered the lease together with it, and the others get it at once.
    /// Where the namespace has an origin, the value is fetched there instead, and nobody is offered a lease.
    ///
    /// # Errors
    /// [`Error::UnknownNamespace`]; [`Error::Origin`] if there is nothing to answer instead.
    pub async fn get_or_fetch(
        &self,
        request: &GetOrFetchRequest,
    ) -> Result<GetOrFetchResult, Error> {
        let scope = self.scope(request.key.namespace())?;
        let fetched = match (self.fetch_nearby(&scope, request), scope.rules.source()) {
            (Some(nearby), _) => Ok(nearby),
            (None, Some(source)) => self.read_through(&scope, source, request).await,
            (None, None) => Ok(self.get_or_lease(&scope, request).await),
        };
        if let Ok(fetched) = &fetched {
            count(&scope, fetched);
        }
        fetched
    }

    /// Judges what was read, and takes the time.
    pub(super) fn judge(
        &self,
        scope: &NamespaceContext,
        request: &GetOrFetchRequest,
        entry: Option<Entry>,
        started: Instant,
    ) -> (Verdict, Option<Entry>) {
        let verdict = entry.as_ref().map_or(Verdict::Gone, |entry| {
            policy::judge(entry, self.store.now(), request.max_stale)
        });
        let hit_or_miss =
            if verdict == Verdict::Gone { LatencyKind::Miss } else { LatencyKind::Hit };
        scope.counts.time(hit_or_miss, started.elapsed());
        (verdict, entry)
    }

    pub(super) fn errand(&self, scope: &NamespaceContext, request: &GetOrFetchRequest) -> FetchJob {
        FetchJob { key: request.key.clone(), params: request.params.clone(), scope: scope.clone() }
    }

    /// An entry that the store says is fresh.
    pub(super) fn landed(&self, entry: Entry) -> Found {
        let outcome = if entry.kind == Kind::Negative { Outcome::Negative } else { Outcome::Hit };
        self.found(entry, outcome)
    }

    /// The same, for a call that waited for it.
    pub(super) fn coalesced(&self, entry: Entry) -> GetOrFetchResult {
        GetOrFetchResult {
            status: FetchStatus::Coalesced,
            ..GetOrFetchOutcome::Found(self.landed(entry)).into()
        }
    }

    pub(super) fn stale_on_error(&self, entry: Entry, cause: String) -> GetOrFetchResult {
        let answer = GetOrFetchOutcome::Found(self.found(entry, Outcome::Stale));
        GetOrFetchResult { status: FetchStatus::Failed(cause), ..answer.into() }
    }

    /// The entry, if it may be served because computing a new one failed.
    pub(super) fn usable(
        &self,
        stale: Option<Entry>,
        max_stale: Option<Duration>,
    ) -> Option<Entry> {
        stale.filter(|entry| match policy::judge(entry, self.store.now(), max_stale) {
            Verdict::Stale | Verdict::StaleIfError => true,
            Verdict::Fresh | Verdict::Negative | Verdict::Gone => false,
        })
    }
}

impl GetOrFetchRequest {
    pub(super) fn wish(&self) -> Requirement {
        Requirement {
            max_stale: self.max_stale,
            anew: self.mode == FetchMode::NoCache,
            ..Requirement::default()
        }
    }
}

impl From<GetOrFetchOutcome> for GetOrFetchResult {
    fn from(answer: GetOrFetchOutcome) -> Self {
        Self { answer, status: FetchStatus::Read, fill: None, degraded: false }
    }
}

pub(super) fn count(scope: &NamespaceContext, fetched: &GetOrFetchResult) {
    let outcome = match &fetched.answer {
        GetOrFetchOutcome::Found(found) => Some(found.outcome),
        GetOrFetchOutcome::Lease(_) => {
            scope.counts.count(Counter::LeasesGranted);
            None
        }
        GetOrFetchOutcome::Contended { .. } | GetOrFetchOutcome::Missing => None,
    };
    scope.count_outcome(outcome);
    scope.count_degraded(fetched.degraded);
    let counter = match &fetched.status {
        FetchStatus::Read | FetchStatus::Fetched | FetchStatus::Revalidated => return,
        // Without an origin it was a refused lease, and is counted as that.
        FetchStatus::Coalesced if scope.rules.source().is_none() => return,
        FetchStatus::Coalesced => Counter::FetchesCoalesced,
        FetchStatus::Refreshing => Counter::StaleWhileRevalidate,
        FetchStatus::RefreshingEarly => Counter::EarlyRefreshes,
        FetchStatus::SoftTimeout => Counter::StaleSoftTimeout,
        FetchStatus::Failed(_) => Counter::StaleIfError,
    };
    scope.counts.count(counter);
}

pub(super) fn contended(available_in: Duration) -> GetOrFetchOutcome {
    GetOrFetchOutcome::Contended { retry_after: available_in.clamp(RETRY_AFTER.0, RETRY_AFTER.1) }
}

pub(super) fn bounded_wait(scope: &NamespaceContext, request: &GetOrFetchRequest) -> Duration {
    let wait = request.wait.unwrap_or(scope.rules.lease_wait).min(MAX_WAIT);
    let Some(deadline) = request.deadline else { return wait };
    let left = deadline.saturating_duration_since(Instant::now());
    wait.min(left.saturating_sub((left / 5).clamp(DEADLINE_MARGIN.0, DEADLINE_MARGIN.1)))
}

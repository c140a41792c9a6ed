//! GetOrFetch where the namespace has an origin: the replica fetches what is missing, once for all who wait.

use std::time::Duration;

use tokio::time::Instant;

use super::super::{
    Cache, Error, NamespaceContext, Outcome, Tier,
    get_or_fetch::{
        FetchMode, FetchStatus, GetOrFetchOutcome, GetOrFetchRequest, GetOrFetchResult,
        bounded_wait, contended,
    },
    is_degraded,
    namespaces::OriginBinding,
    policy,
    policy::Verdict,
    singleflight::fill::{FetchKind, FetchedEntry},
    singleflight::waiters::{FlightHandle, FlightResult, Requirement},
};
use crate::{
    error_chain::ErrorChain,
    model::{Entry, Kind},
    origin,
};

impl Cache {
    pub(in crate::cache) async fn read_through(
        &self,
        scope: &NamespaceContext,
        source: &OriginBinding,
        request: &GetOrFetchRequest,
    ) -> Result<GetOrFetchResult, Error> {
        let started = Instant::now();
        let (stored, without_store) = match request.mode {
            FetchMode::NoCache => (None, false),
            FetchMode::Normal | FetchMode::OnlyIfCached => match self.store.get(&request.key).await
            {
                Ok(entry) => (entry, false),
                Err(error) => (None, is_degraded(&error)),
            },
        };
        match self.judge(scope, request, stored, started) {
            (Verdict::Fresh, Some(entry)) => Ok(self.serve_fresh(scope, source, request, entry)),
            (Verdict::Negative, Some(entry)) => {
                Ok(GetOrFetchOutcome::Found(self.found(entry, Outcome::Negative)).into())
            }
            (Verdict::Stale, Some(entry)) => Ok(self.serve_stale(scope, request, entry)),
            (_, _) if request.mode == FetchMode::OnlyIfCached => Ok(GetOrFetchResult {
                degraded: without_store,
                ..GetOrFetchOutcome::Missing.into()
            }),
            (_, entry) => self.fetch(scope, source, request, entry, without_store).await,
        }
    }

    pub(in crate::cache) fn serve_fresh(
        &self,
        scope: &NamespaceContext,
        source: &OriginBinding,
        request: &GetOrFetchRequest,
        entry: Entry,
    ) -> GetOrFetchResult {
        let beta = source.config.early_refresh;
        let is_due = request.mode == FetchMode::Normal
            && policy::is_due_early(&entry, self.store.now(), beta, rand::random())
            && self.waiting.refresh(
                self.errand(scope, request),
                Requirement { fresher_than: entry.fresh_until, ..Requirement::default() },
            );
        let status = if is_due { FetchStatus::RefreshingEarly } else { FetchStatus::Read };
        GetOrFetchResult {
            status,
            ..GetOrFetchOutcome::Found(self.found(entry, Outcome::Hit)).into()
        }
    }

    pub(in crate::cache) fn serve_stale(
        &self,
        scope: &NamespaceContext,
        request: &GetOrFetchRequest,
        entry: Entry,
    ) -> GetOrFetchResult {
        let status = match request.mode {
            FetchMode::OnlyIfCached => FetchStatus::Read,
            FetchMode::Normal | FetchMode::NoCache => {
                self.waiting.refresh(self.errand(scope, request), Requirement::default());
                FetchStatus::Refreshing
            }
        };
        GetOrFetchResult {
            status,
            ..GetOrFetchOutcome::Found(self.found(entry, Outcome::Stale)).into()
        }
    }

    /// Waits for the value to be fetched, by whomever. `stored` is what there is to answer instead.
    async fn fetch(
        &self,
        scope: &NamespaceContext,
        source: &OriginBinding,
        request: &GetOrFetchRequest,
        stored: Option<Entry>,
        without_store: bool,
    ) -> Result<GetOrFetchResult, Error> {
        let (errand, wish) =
            (self.errand(scope, request), Requirement { without_store, ..request.wish() });
        let place = if bounded_wait(scope, request).is_zero() {
            self.waiting.refresh(errand, wish);
            None
        } else {
            self.waiting.enter(errand, wish)
        };
        self.await_fetch(scope, source, request, stored, without_store, place).await
    }

    /// Waits in `place`, if there is one, for the value to be fetched.
    pub(in crate::cache) async fn await_fetch(
        &self,
        scope: &NamespaceContext,
        source: &OriginBinding,
        request: &GetOrFetchRequest,
        stored: Option<Entry>,
        without_store: bool,
        place: Option<FlightHandle>,
    ) -> Result<GetOrFetchResult, Error> {
        let stale = || self.usable(stored.clone(), request.max_stale);
        let later = |available_in: Duration| match stale() {
            Some(entry) => {
                let answer = GetOrFetchOutcome::Found(self.found(entry, Outcome::Stale));
                GetOrFetchResult {
                    status: FetchStatus::SoftTimeout,
                    degraded: without_store,
                    ..answer.into()
                }
            }
            None => GetOrFetchResult { degraded: without_store, ..contended(available_in).into() },
        };
        let usually = source.gate.mean_fetch_time().unwrap_or_default();
        let Some(mut place) = place else { return Ok(later(usually)) };
        let wait = bounded_wait(scope, request);
        let soft_timeout = source.config.soft_timeout.filter(|_| stale().is_some());
        let patience = soft_timeout.map_or(wait, |soft_timeout| wait.min(soft_timeout));
        let mut turn = tokio::time::timeout(patience, place.turn()).await;
        if turn.is_err() && patience < wait && stale().is_none() {
            // What would have been answered instead may no longer be.
            turn = tokio::time::timeout(wait - patience, place.turn()).await;
        }
        match turn {
            Ok(FlightResult::Found(entry)) => Ok(self.coalesced(entry)),
            Ok(FlightResult::Landed { landing, is_first }) => Ok(self.fetched(landing, is_first)),
            Ok(FlightResult::OriginFailed(error)) => match stale() {
                Some(entry) => Ok(GetOrFetchResult {
                    degraded: without_store,
                    ..self.stale_on_error(entry, error.to_string())
                }),
                None => Err(failed(request, error)),
            },
            Ok(FlightResult::StaleOnError(entry)) => Ok(self.stale_on_error(entry, String::new())),
            // The server shuts down, or the origin was put into the configuration a moment ago.
            Ok(FlightResult::Failed(_) | FlightResult::Lease { .. }) => Ok(later(usually)),
            Err(_) => Ok(later(place.available_in().max(usually))),
        }
    }

    /// The origin's answer to this call or to another.
    pub(in crate::cache) fn fetched(
        &self,
        landing: FetchedEntry,
        is_first: bool,
    ) -> GetOrFetchResult {
        let FetchedEntry { entry, fill, course, is_cacheable: _ } = landing;
        let outcome = if entry.kind == Kind::Negative { Outcome::Negative } else { Outcome::Hit };
        let status = match course {
            _ if !is_first => FetchStatus::Coalesced,
            FetchKind::Fetched => FetchStatus::Fetched,
            FetchKind::RevalidateOutcome => FetchStatus::Revalidated,
        };
        let mut found = self.found(entry, outcome);
        found.tier = Tier::Origin { is_stored: fill == super::FillOutcome::Stored };
        GetOrFetchResult {
            answer: GetOrFetchOutcome::Found(found),
            status,
            fill: Some(fill),
            degraded: fill.is_degraded(),
        }
    }
}

pub(in crate::cache) fn failed(request: &GetOrFetchRequest, error: origin::Error) -> Error {
    let namespace = request.key.namespace().clone();
    tracing::debug!(%namespace, error = %ErrorChain(&error), "the origin failed");
    Error::Origin { namespace, error }
}

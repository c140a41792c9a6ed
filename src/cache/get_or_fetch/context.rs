//! One key of a GetOrFetch: the request, the namespace, and what the store returned.

use std::time::Duration;

use tokio::time::Instant;

use super::{
    FetchStatus, GetOrFetchOutcome, GetOrFetchResult,
    decision::{Decision, decide},
};
use crate::{
    cache::{
        Cache, FetchMode, Found, GetOrFetchRequest, NamespaceContext, Outcome,
        policy::Verdict,
        singleflight::{FetchJob, Requirement},
    },
    model::Entry,
    stats::counters::LatencyKind,
    store,
};

/// A GetOrFetch for one key, after the store was asked.
pub(in crate::cache) struct FetchContext<'a> {
    pub(in crate::cache) cache: &'a Cache,
    pub(in crate::cache) context: &'a NamespaceContext,
    pub(in crate::cache) request: &'a GetOrFetchRequest,
    /// The stored entry, in any state.
    pub(super) stored: Option<Entry>,
    /// Why the store could not be read.
    pub(super) read_error: Option<store::Error>,
    verdict: Verdict,
    /// When the wait of the whole batch ends, for a key of a batch.
    wait_until: Option<Instant>,
}

impl<'a> FetchContext<'a> {
    /// Asks the store, unless the request skips it.
    pub(in crate::cache) async fn read(
        cache: &'a Cache,
        context: &'a NamespaceContext,
        request: &'a GetOrFetchRequest,
    ) -> Self {
        if request.mode == FetchMode::NoCache {
            return Self::unread(cache, context, request, None);
        }
        let started = Instant::now();
        match cache.store.get(&request.key).await {
            Ok(entry) => Self::of(cache, context, request, entry, started),
            Err(error) => {
                context.counters.time(LatencyKind::Miss, started.elapsed());
                Self::unread(cache, context, request, Some(error))
            }
        }
    }

    /// The store returned `entry` to a read that began at `started`.
    pub(in crate::cache) fn of(
        cache: &'a Cache,
        context: &'a NamespaceContext,
        request: &'a GetOrFetchRequest,
        stored: Option<Entry>,
        started: Instant,
    ) -> Self {
        let evaluate =
            |entry: &Entry| context.rules.evaluate(entry, cache.store.now(), request.max_stale);
        let verdict = stored.as_ref().map_or(Verdict::Expired, evaluate);
        let latency =
            if verdict == Verdict::Expired { LatencyKind::Miss } else { LatencyKind::Hit };
        context.counters.time(latency, started.elapsed());
        Self { cache, context, request, stored, read_error: None, verdict, wait_until: None }
    }

    /// The store was not read, for this reason if it should have been.
    pub(in crate::cache) fn unread(
        cache: &'a Cache,
        context: &'a NamespaceContext,
        request: &'a GetOrFetchRequest,
        read_error: Option<store::Error>,
    ) -> Self {
        let verdict = Verdict::Expired;
        Self { cache, context, request, stored: None, read_error, verdict, wait_until: None }
    }

    /// Bounds the wait by a time instead of by the request's wait.
    pub(in crate::cache) fn waiting_until(self, time: Instant) -> Self {
        Self { wait_until: Some(time), ..self }
    }

    pub(in crate::cache) fn decision(&self) -> Decision {
        decide(self.verdict, self.request.mode)
    }

    /// Size of the stored value, in bytes.
    pub(in crate::cache) fn stored_bytes(&self) -> usize {
        self.stored.as_ref().map_or(0, |entry| entry.data.len())
    }

    /// Whether the store could not be read.
    pub(super) fn is_degraded(&self) -> bool {
        self.read_error.as_ref().is_some_and(store::Error::is_degraded)
    }

    /// The job of a flight for this key.
    pub(super) fn job(&self) -> FetchJob {
        FetchJob::new(self.context, self.request)
    }

    /// The values that this call accepts from a flight.
    pub(super) fn requirement(&self) -> Requirement {
        // The store does not compare the sources of fresh entries.
        let other =
            self.stored.as_ref().filter(|entry| self.context.rules.is_of_other_source(entry));
        Requirement {
            max_stale: self.request.max_stale,
            fresher_than: other.map(|entry| entry.fresh_until).unwrap_or_default(),
            force_refresh: self.request.mode == FetchMode::NoCache,
            skip_store: self.is_degraded(),
        }
    }

    /// How long this call may wait from now.
    pub(super) fn wait(&self) -> Duration {
        let wait = match self.wait_until {
            Some(time) => time.saturating_duration_since(Instant::now()),
            None => self.request.wait.unwrap_or(self.context.config().lease_wait),
        };
        self.request.within_deadline(wait)
    }

    /// Serves the stored entry.
    pub(super) fn serve(&mut self, outcome: Outcome) -> GetOrFetchResult {
        match self.stored.take() {
            Some(entry) => {
                GetOrFetchOutcome::Found(Found::new(entry, outcome, self.cache.store.now())).into()
            }
            None => self.not_cached(),
        }
    }

    pub(super) fn not_cached(&self) -> GetOrFetchResult {
        GetOrFetchResult { degraded: self.is_degraded(), ..GetOrFetchOutcome::NotCached.into() }
    }

    /// The stored entry, if it may stand in for a value that could not be computed.
    pub(super) fn stale(&self) -> Option<Entry> {
        self.stored.clone().filter(|entry| self.is_usable_on_error(entry))
    }

    /// Whether an entry may stand in for a value that could not be computed.
    pub(super) fn is_usable_on_error(&self, entry: &Entry) -> bool {
        matches!(self.verdict(entry), Verdict::Stale | Verdict::StaleIfError)
    }

    /// Whether an entry may stand in for a value while that is computed.
    pub(super) fn is_usable_meanwhile(&self, entry: &Entry) -> bool {
        self.verdict(entry) == Verdict::Stale
    }

    fn verdict(&self, entry: &Entry) -> Verdict {
        self.context.rules.evaluate(entry, self.cache.store.now(), self.request.max_stale)
    }

    /// A fresh entry that another caller computed while this one waited.
    pub(super) fn coalesced(&self, entry: Entry) -> GetOrFetchResult {
        let found = Found::fresh(entry, self.cache.store.now());
        GetOrFetchResult {
            status: FetchStatus::Coalesced,
            ..GetOrFetchOutcome::Found(found).into()
        }
    }

    /// A stale entry that is served with this status.
    pub(super) fn served_stale(&self, entry: Entry, status: FetchStatus) -> GetOrFetchResult {
        let found = Found::new(entry, Outcome::Stale, self.cache.store.now());
        GetOrFetchResult { status, ..GetOrFetchOutcome::Found(found).into() }
    }
}

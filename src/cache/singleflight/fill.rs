//! Fills: a fetched value is stored if the lease under which it was fetched still permits it.

use std::{sync::Arc, time::Duration};

use super::{fetch_job::FetchJob, lease_guard::LeaseGuard};
use crate::{
    cache::{namespaces::OriginBinding, policy},
    model::{Entry, EntryKey, FetchMetadata, Kind, NewEntry, Validators, Version},
    origin::{self, CacheDirectives, FetchBody, FetchResponse, client::TimedResponse},
    stats::counters::Counter,
    store::{Backend, LeaseLoss, LeaseStatus, Result, RevalidateOutcome, Revalidation},
};

/// A fetched entry, and the outcome of storing it.
#[derive(Debug, Clone)]
pub(in crate::cache) struct FetchedEntry {
    /// The value, or the negative entry.
    pub(in crate::cache) entry: Entry,
    /// Outcome of storing it.
    pub(in crate::cache) fill: FillOutcome,
    /// Whether the origin permits caching.
    pub(in crate::cache) is_cacheable: bool,
    /// How it was fetched.
    pub(in crate::cache) kind: FetchKind,
}

/// Outcome of storing a fetched value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FillOutcome {
    /// The value is stored.
    Stored,
    /// The lease no longer permitted a fill, or the key's delete holds fills off.
    LeaseLost(LeaseLoss),
    /// The origin forbids caching, or gave the value no lifetime.
    Uncacheable,
    /// The store could not be asked or is full, or the value was predicted to be uncacheable and
    /// fetched without a lease.
    NotStored {
        /// Whether the store could not be asked.
        degraded: bool,
    },
}

/// How a value was fetched from the origin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::cache) enum FetchKind {
    /// The origin sent the value.
    Full,
    /// The origin declared the stored value unchanged.
    Revalidated,
}

/// Permission to fetch a key, and to store the value if there is a lease.
pub(in crate::cache) struct FillPermit {
    lease: Lease,
    /// The stored entry.
    previous: Option<Entry>,
}

enum Lease {
    Held(LeaseGuard),
    /// There is no lease, or no longer one: what becomes of the value without it.
    None(FillOutcome),
}

/// A fetched value on its way to the store.
enum FillWrite {
    New(NewEntry),
    Revalidation(Entry, Revalidation),
}

// === impl FillOutcome ===

impl FillOutcome {
    /// The store could not be asked.
    pub(super) const NOT_STORED_DEGRADED: Self = Self::NotStored { degraded: true };

    /// Whether the store could not be asked.
    pub fn is_degraded(self) -> bool {
        self == Self::NOT_STORED_DEGRADED
    }

    /// The outcome of a write by the store's answer.
    fn of(status: Result<LeaseStatus>) -> Self {
        match status {
            Ok(Ok(())) => Self::Stored,
            Ok(Err(loss)) => Self::LeaseLost(loss),
            Err(error) => Self::NotStored { degraded: error.is_degraded() },
        }
    }
}

// === impl FillPermit ===

impl FillPermit {
    /// Permission to store the value under a lease.
    pub(super) fn leased(lease: LeaseGuard, previous: Option<Entry>) -> Self {
        Self { lease: Lease::Held(lease), previous }
    }

    /// Permission to fetch a value that is not stored, for the reason in `outcome`.
    pub(super) fn unleased(outcome: FillOutcome) -> Self {
        Self { lease: Lease::None(outcome), previous: None }
    }

    pub(super) fn is_leased(&self) -> bool {
        matches!(self.lease, Lease::Held(_))
    }

    /// The validators of the stored value, for a conditional request.
    pub(super) fn validators(&self) -> Validators {
        let metadata = self.previous.as_ref().and_then(|entry| entry.fetch_metadata.as_ref());
        metadata.map(|metadata| metadata.validators.clone()).unwrap_or_default()
    }

    /// Extends the lease for as long as this is polled. Does not return when the lease is lost:
    /// the waiters want the value even if it is not stored.
    pub(super) async fn keep_lease(&self, ttl: Duration, longest: Duration) {
        if let Lease::Held(guard) = &self.lease {
            guard.keep_alive(ttl, longest).await;
        }
        std::future::pending().await
    }

    /// Gives the lease back, if there is one.
    pub(super) async fn release(self, backoff: Duration, cause: &str) {
        if let Lease::Held(guard) = self.lease {
            guard.release(backoff, cause).await;
        }
    }

    /// Gives the lease back after a failed fetch; no other is granted for `backoff`. The stored
    /// value is removed if the origin's answer ends it, see [`policy::ends_stale`].
    pub(super) async fn fail(
        self,
        store: &dyn Backend,
        key: &EntryKey,
        error: &origin::Error,
        backoff: Duration,
    ) {
        let Lease::Held(guard) = self.lease else { return };
        let cause = error.back_off_cause();
        let now = store.now();
        if self.previous.is_some_and(|entry| policy::ends_stale(&entry, now, error, backoff))
            && store.discard(key, guard.token(), backoff, &cause).await.is_ok()
        {
            return guard.disarm();
        }
        // If the value could not be removed, the next fetch tries again. Until then the back-off
        // bars it.
        guard.release(backoff, &cause).await;
    }

    /// Ends the lease after a fill with this outcome.
    async fn end_lease(&mut self, store: &dyn Backend, job: &FetchJob, outcome: FillOutcome) {
        let lease = std::mem::replace(&mut self.lease, Lease::None(outcome));
        let Lease::Held(guard) = lease else { return };
        match outcome {
            // The store has ended it.
            FillOutcome::Stored | FillOutcome::LeaseLost(_) => guard.disarm(),
            // The stored value differs from the origin's present answer.
            FillOutcome::Uncacheable => {
                match store.discard(&job.key, guard.token(), Duration::ZERO, "").await {
                    Ok(_) => guard.disarm(),
                    Err(_) => guard.release(Duration::ZERO, "").await,
                }
            }
            FillOutcome::NotStored { .. } => guard.release(Duration::ZERO, "").await,
        }
    }
}

// === impl FillWrite ===

impl FillWrite {
    /// Builds the write for an origin's response, and returns whether the origin permits it.
    /// `None` if the origin declares a value unchanged that is not stored.
    fn new(
        job: &FetchJob,
        origin: &OriginBinding,
        previous: Option<&Entry>,
        response: FetchResponse,
        fetch_time: Duration,
    ) -> Option<(Self, bool)> {
        let FetchResponse { body, directives } = response;
        let (kind, data) = match body {
            FetchBody::Value { kind, data } => (kind, data),
            FetchBody::NotFound => (Kind::Negative, bytes::Bytes::new()),
            FetchBody::NotModified => {
                return Some(Self::revalidation(job, origin, previous?, directives, fetch_time));
            }
        };
        let lifetime = policy::fetched_lifetime(
            job.context.config(),
            &origin.config,
            &directives,
            kind,
            rand::random(),
        );
        let entry = NewEntry {
            kind,
            data,
            version: Version::random(),
            lifetime: lifetime.unwrap_or_default(),
            tags: directives.tags.clone().unwrap_or_default(),
            fetch_metadata: Some(fetch_metadata(origin, &directives, fetch_time)),
        };
        Some((Self::New(entry), lifetime.is_some()))
    }

    /// Directives that the 304 lacks keep their stored values (RFC 9111, 4.3.4).
    fn revalidation(
        job: &FetchJob,
        origin: &OriginBinding,
        previous: &Entry,
        directives: CacheDirectives,
        fetch_time: Duration,
    ) -> (Self, bool) {
        // A TTL that holds as before was jittered when the value was stored.
        let jitter = if directives.ttl.is_some() { rand::random() } else { 0.0 };
        let directives = CacheDirectives {
            ttl: directives.ttl.or_else(|| Some(previous.fresh_until.since(previous.created_at))),
            stale_while_revalidate: directives
                .stale_while_revalidate
                .or(Some(previous.stale_while_revalidate)),
            stale_if_error: directives.stale_if_error.or(Some(previous.stale_if_error)),
            ..directives
        };
        let config = job.context.config();
        let lifetime =
            policy::fetched_lifetime(config, &origin.config, &directives, previous.kind, jitter);
        let revalidation = Revalidation {
            version: previous.version,
            lifetime: lifetime.unwrap_or_default(),
            tags: directives.tags.clone().unwrap_or_else(|| previous.tags.clone()),
            fetch_metadata: fetch_metadata(origin, &directives, fetch_time),
        };
        (Self::Revalidation(previous.clone(), revalidation), lifetime.is_some())
    }

    fn fetch_kind(&self) -> FetchKind {
        match self {
            Self::New(_) => FetchKind::Full,
            Self::Revalidation(..) => FetchKind::Revalidated,
        }
    }

    /// The entry that the write results in.
    fn entry(&self, store: &dyn Backend) -> Entry {
        let now = store.now();
        match self {
            Self::New(entry) => Entry::written(entry, now),
            Self::Revalidation(previous, revalidation) => {
                let mut entry = previous.clone();
                entry.created_at = now;
                entry.reschedule(&revalidation.lifetime, now);
                entry.tags = revalidation.tags.clone();
                entry
            }
        }
    }

    /// Stores the value under a lease. `None` if the value that was revalidated is gone; the lease
    /// is still held then.
    async fn apply(
        &self,
        store: &dyn Backend,
        job: &FetchJob,
        lease: &LeaseGuard,
    ) -> Option<FillOutcome> {
        let status = match self {
            Self::New(entry) => store.fill(&job.key, lease.token(), entry).await,
            Self::Revalidation(_, revalidation) => {
                match store.revalidate(&job.key, lease.token(), revalidation).await {
                    Ok(RevalidateOutcome::Revalidated) => Ok(Ok(())),
                    Ok(RevalidateOutcome::LeaseLost(loss)) => Ok(Err(loss)),
                    Ok(RevalidateOutcome::Gone) => return None,
                    Err(error) => Err(error),
                }
            }
        };
        Some(FillOutcome::of(status))
    }
}

/// Stores a response under the permit's lease, and ends the lease. `None` if the origin declared a
/// value unchanged that is no longer stored: the lease is still held, and the value must be
/// fetched again.
pub(super) async fn fill(
    store: &dyn Backend,
    job: &FetchJob,
    origin: &OriginBinding,
    permit: &mut FillPermit,
    TimedResponse { response, elapsed }: TimedResponse,
) -> Option<FetchedEntry> {
    let (write, is_cacheable) =
        FillWrite::new(job, origin, permit.previous.as_ref(), response, elapsed)?;
    let entry = write.entry(store);
    let fill = match &permit.lease {
        // The prediction was wrong, but a value without a lease is not stored.
        Lease::None(FillOutcome::Uncacheable) if is_cacheable => {
            FillOutcome::NotStored { degraded: false }
        }
        Lease::None(outcome) => *outcome,
        Lease::Held(_) if !is_cacheable => FillOutcome::Uncacheable,
        Lease::Held(guard) => match write.apply(store, job, guard).await {
            Some(outcome) => outcome,
            None => {
                permit.previous = None;
                return None;
            }
        },
    };
    count(job, fill, &entry);
    permit.end_lease(store, job, fill).await;
    Some(FetchedEntry { entry, fill, is_cacheable, kind: write.fetch_kind() })
}

fn fetch_metadata(
    origin: &OriginBinding,
    directives: &CacheDirectives,
    fetch_time: Duration,
) -> Arc<FetchMetadata> {
    let (validators, source) = (directives.validators.clone(), Some(origin.client.source()));
    Arc::new(FetchMetadata { validators, fetch_time, source })
}

fn count(job: &FetchJob, fill: FillOutcome, entry: &Entry) {
    let counters = &job.context.counters;
    match fill {
        FillOutcome::Stored => {
            counters.count(Counter::Sets);
            job.context.follow_fill(&job.key, entry);
        }
        FillOutcome::LeaseLost(loss) => job.context.count_lost_fill(loss),
        FillOutcome::Uncacheable => counters.count(Counter::Uncacheable),
        FillOutcome::NotStored { .. } => counters.count(Counter::FillsNotStored),
    }
}

#[cfg(test)]
mod tests;

//! What becomes of an origin's answer: it is stored if the lease under which it was fetched still holds.

use std::{sync::Arc, time::Duration};

use super::super::{
    is_degraded, namespaces::OriginBinding, policy, singleflight::fetch_job::FetchJob,
    singleflight::lease_guard::LeaseGuard,
};
use crate::{
    model::{Entry, FetchMetadata, Kind, NewEntry, Validators, Version},
    origin::{CacheDirectives, FetchBody, FetchResponse},
    stats::counters::Counter,
    store::{Backend, FillStatus, RevalidateOutcome, Revalidation},
};

/// What was fetched, and what became of it.
#[derive(Debug, Clone)]
pub(in crate::cache) struct FetchedEntry {
    /// The value, or the knowledge that there is none.
    pub(in crate::cache) entry: Entry,
    /// Whether it is in the cache.
    pub(in crate::cache) fill: FillOutcome,
    /// Whether the origin allows that.
    pub(in crate::cache) is_cacheable: bool,
    /// How it was got.
    pub(in crate::cache) course: FetchKind,
}

/// What became of a fetched value in the cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FillOutcome {
    /// It is stored.
    Stored,
    /// The lease had expired or was given to somebody else.
    LeaseLost,
    /// The entry or its namespace was invalidated since the fetch began, or its delete holds fills off.
    Invalidated,
    /// The entry was written since the fetch began.
    Superseded,
    /// The origin says that it must not be stored, or gave it no time in which it could be used.
    Uncacheable,
    /// The store could not be reached or has no room, or the value was thought to be uncacheable and fetched without a lease.
    NotStored {
        /// Whether the store could not be asked.
        degraded: bool,
    },
}

/// How a value came from the origin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::cache) enum FetchKind {
    /// It was sent.
    Fetched,
    /// The origin said that what was stored is still good.
    RevalidateOutcome,
}

/// The task to fetch.
pub(in crate::cache) struct FillPermit {
    /// The lease, or what becomes of the value without one.
    pub(in crate::cache) lease: Result<LeaseGuard, FillOutcome>,
    /// What is stored now.
    pub(in crate::cache) previous: Option<Entry>,
}

/// An answer on its way into the store.
enum FillWrite {
    NewEntry(NewEntry),
    Revalidation(Entry, Revalidation),
}

impl FillPermit {
    /// Fetches although there is no lease.
    pub(in crate::cache) fn without_lease(fill: FillOutcome) -> Self {
        Self { lease: Err(fill), previous: None }
    }

    /// By which the origin knows what is stored now.
    pub(in crate::cache) fn validators(&self) -> Validators {
        let previous = self.previous.as_ref().and_then(|entry| entry.fetch_metadata.as_ref());
        previous.map(|fetch_metadata| fetch_metadata.validators.clone()).unwrap_or_default()
    }

    /// Holds the lease for as long as this is polled. Does not return when it is lost: the value is wanted even if it is not
    /// stored.
    pub(in crate::cache) async fn keep_alive(&self, ttl: Duration, longest: Duration) {
        if let Ok(lease) = &self.lease {
            lease.keep_alive(ttl, longest).await;
        }
        std::future::pending().await
    }
}

impl FillOutcome {
    /// Whether the store could not be asked.
    pub fn is_degraded(self) -> bool {
        self == Self::NotStored { degraded: true }
    }
}

impl From<FillStatus> for FillOutcome {
    fn from(filled: FillStatus) -> Self {
        match filled {
            FillStatus::Stored => Self::Stored,
            FillStatus::LeaseLost => Self::LeaseLost,
            FillStatus::Invalidated => Self::Invalidated,
            FillStatus::Superseded => Self::Superseded,
        }
    }
}

/// Stores an answer under the mandate's lease, and ends that. None if the origin said that the stored value is still good,
/// and it is not there any more: the lease still holds, and the value must be fetched.
pub(in crate::cache) async fn land(
    store: &dyn Backend,
    errand: &FetchJob,
    source: &OriginBinding,
    mandate: &mut FillPermit,
    answer: FetchResponse,
    took: Duration,
) -> Option<FetchedEntry> {
    let course = if answer.body == FetchBody::NotModified {
        FetchKind::RevalidateOutcome
    } else {
        FetchKind::Fetched
    };
    let (parcel, is_cacheable) = pack(errand, source, mandate.previous.as_ref(), answer, took)?;
    let now = store.now();
    let entry = match &parcel {
        FillWrite::NewEntry(draft) => Entry::written(draft, now),
        FillWrite::Revalidation(previous, confirmation) => {
            let mut entry = previous.clone();
            entry.created_at = now;
            entry.reschedule(&confirmation.lifetime, now);
            entry.tags = confirmation.tags.clone();
            entry
        }
    };
    let fill = match &mandate.lease {
        // It may be stored after all, but not without a lease.
        Err(FillOutcome::Uncacheable) if is_cacheable => FillOutcome::NotStored { degraded: false },
        Err(fill) => *fill,
        Ok(_) if !is_cacheable => FillOutcome::Uncacheable,
        Ok(lease) => {
            let filled = match &parcel {
                FillWrite::NewEntry(draft) => {
                    store.fill(&errand.key, lease.token(), draft).await.map(Some)
                }
                FillWrite::Revalidation(_, confirmation) => store
                    .confirm(&errand.key, lease.token(), confirmation)
                    .await
                    .map(|confirmed| match confirmed {
                        RevalidateOutcome::Settled(filled) => Some(filled),
                        RevalidateOutcome::Gone => None,
                    }),
            };
            match filled {
                Ok(Some(filled)) => filled.into(),
                Ok(None) => {
                    mandate.previous = None;
                    return None;
                }
                Err(error) => FillOutcome::NotStored { degraded: is_degraded(&error) },
            }
        }
    };
    count(errand, fill);
    match (fill, std::mem::replace(&mut mandate.lease, Err(fill))) {
        // The store has ended it.
        (
            FillOutcome::Stored
            | FillOutcome::LeaseLost
            | FillOutcome::Invalidated
            | FillOutcome::Superseded,
            Ok(lease),
        ) => drop(lease.hand_over()),
        (FillOutcome::Uncacheable, Ok(lease)) => {
            // What was there before is not what the origin says now. If this fails, the lease is given back.
            match store.discard(&errand.key, lease.token()).await {
                Ok(_) => drop(lease.hand_over()),
                Err(_) => lease.give_back(Duration::ZERO, "").await,
            }
        }
        (FillOutcome::NotStored { .. }, Ok(lease)) => lease.give_back(Duration::ZERO, "").await,
        (_, Err(_)) => {}
    }
    Some(FetchedEntry { entry, fill, is_cacheable, course })
}

fn pack(
    errand: &FetchJob,
    source: &OriginBinding,
    previous: Option<&Entry>,
    answer: FetchResponse,
    took: Duration,
) -> Option<(FillWrite, bool)> {
    let rules = &errand.scope.rules;
    let FetchResponse { body, directives: terms } = answer;
    let (kind, data) = match body {
        FetchBody::Value { kind, data } => (kind, data),
        FetchBody::NotFound => (Kind::Negative, bytes::Bytes::new()),
        FetchBody::NotModified => {
            let previous = previous?.clone();
            // What the origin does not say anew holds as before (RFC 9111, 4.3.4), and need not be jittered again.
            let dice = if terms.ttl.is_some() { rand::random() } else { 0.0 };
            let terms = CacheDirectives {
                ttl: terms.ttl.or_else(|| Some(previous.fresh_until.since(previous.created_at))),
                stale_while_revalidate: terms
                    .stale_while_revalidate
                    .or(Some(previous.stale_while_revalidate)),
                stale_if_error: terms.stale_if_error.or(Some(previous.stale_if_error)),
                ..terms
            };
            let lifetime =
                policy::fetched_lifetime(rules, &source.config, &terms, previous.kind, dice);
            let tags = terms.tags.clone().unwrap_or_else(|| previous.tags.clone());
            let fetch_metadata = fetch_metadata(&terms, took);
            let confirmation = Revalidation {
                version: previous.version,
                lifetime: lifetime.unwrap_or_default(),
                tags,
                fetch_metadata,
            };
            return Some((FillWrite::Revalidation(previous, confirmation), lifetime.is_some()));
        }
    };
    let lifetime = policy::fetched_lifetime(rules, &source.config, &terms, kind, rand::random());
    let draft = NewEntry {
        kind,
        data,
        version: Version::random(),
        lifetime: lifetime.unwrap_or_default(),
        tags: terms.tags.clone().unwrap_or_default(),
        fetch_metadata: Some(fetch_metadata(&terms, took)),
    };
    Some((FillWrite::NewEntry(draft), lifetime.is_some()))
}

fn fetch_metadata(terms: &CacheDirectives, took: Duration) -> Arc<FetchMetadata> {
    Arc::new(FetchMetadata { validators: terms.validators.clone(), fetch_time: took })
}

fn count(errand: &FetchJob, fill: FillOutcome) {
    let counter = match fill {
        FillOutcome::Stored => Counter::Sets,
        FillOutcome::LeaseLost => Counter::FillsLost,
        FillOutcome::Invalidated => Counter::FillsInvalidated,
        FillOutcome::Superseded => Counter::FillsSuperseded,
        FillOutcome::Uncacheable => Counter::Uncacheable,
        FillOutcome::NotStored { .. } => Counter::FillsNotStored,
    };
    errand.scope.counts.count(counter);
}

//! What becomes of an origin's answer: it is stored if the lease under which it was fetched still holds.

use std::{sync::Arc, time::Duration};

use super::{errand::Errand, grant::LeaseGrant, is_degraded, namespaces::Source, policy};
use crate::{
    entry::{Draft, Entry, Kind, Provenance, Validators, Version},
    origin::{Answer, Content, Terms},
    stats::counts::Counter,
    store::{Backend, Confirmation, Confirmed, Filled},
};

/// What was fetched, and what became of it.
#[derive(Debug, Clone)]
pub(super) struct Landing {
    /// The value, or the knowledge that there is none.
    pub(super) entry: Entry,
    /// Whether it is in the cache.
    pub(super) fill: Fill,
    /// Whether the origin allows that.
    pub(super) is_cacheable: bool,
    /// How it was got.
    pub(super) course: Course,
}

/// What became of a fetched value in the cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fill {
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
pub(super) enum Course {
    /// It was sent.
    Fetched,
    /// The origin said that what was stored is still good.
    Confirmed,
}

/// The task to fetch.
pub(super) struct Mandate {
    /// The lease, or what becomes of the value without one.
    pub(super) lease: Result<LeaseGrant, Fill>,
    /// What is stored now.
    pub(super) previous: Option<Entry>,
}

/// An answer on its way into the store.
enum Parcel {
    Draft(Draft),
    Confirmation(Entry, Confirmation),
}

impl Mandate {
    /// Fetches although there is no lease.
    pub(super) fn without_lease(fill: Fill) -> Self {
        Self { lease: Err(fill), previous: None }
    }

    /// By which the origin knows what is stored now.
    pub(super) fn validators(&self) -> Validators {
        let previous = self.previous.as_ref().and_then(|entry| entry.provenance.as_ref());
        previous.map(|provenance| provenance.validators.clone()).unwrap_or_default()
    }

    /// Holds the lease for as long as this is polled. Does not return when it is lost: the value is wanted even if it is not
    /// stored.
    pub(super) async fn keep_alive(&self, ttl: Duration, longest: Duration) {
        if let Ok(lease) = &self.lease {
            lease.keep_alive(ttl, longest).await;
        }
        std::future::pending().await
    }
}

impl Fill {
    /// Whether the store could not be asked.
    pub fn is_degraded(self) -> bool {
        self == Self::NotStored { degraded: true }
    }
}

impl From<Filled> for Fill {
    fn from(filled: Filled) -> Self {
        match filled {
            Filled::Stored => Self::Stored,
            Filled::LeaseLost => Self::LeaseLost,
            Filled::Invalidated => Self::Invalidated,
            Filled::Superseded => Self::Superseded,
        }
    }
}

/// Stores an answer under the mandate's lease, and ends that. None if the origin said that the stored value is still good,
/// and it is not there any more: the lease still holds, and the value must be fetched.
pub(super) async fn land(
    store: &dyn Backend,
    errand: &Errand,
    source: &Source,
    mandate: &mut Mandate,
    answer: Answer,
    took: Duration,
) -> Option<Landing> {
    let course =
        if answer.content == Content::NotModified { Course::Confirmed } else { Course::Fetched };
    let (parcel, is_cacheable) = pack(errand, source, mandate.previous.as_ref(), answer, took)?;
    let now = store.now();
    let entry = match &parcel {
        Parcel::Draft(draft) => Entry::written(draft, now),
        Parcel::Confirmation(previous, confirmation) => {
            let mut entry = previous.clone();
            entry.created_at = now;
            entry.reschedule(&confirmation.lifetime, now);
            entry.tags = confirmation.tags.clone();
            entry
        }
    };
    let fill = match &mandate.lease {
        // It may be stored after all, but not without a lease.
        Err(Fill::Uncacheable) if is_cacheable => Fill::NotStored { degraded: false },
        Err(fill) => *fill,
        Ok(_) if !is_cacheable => Fill::Uncacheable,
        Ok(lease) => {
            let filled = match &parcel {
                Parcel::Draft(draft) => {
                    store.fill(&errand.key, lease.token(), draft).await.map(Some)
                }
                Parcel::Confirmation(_, confirmation) => store
                    .confirm(&errand.key, lease.token(), confirmation)
                    .await
                    .map(|confirmed| match confirmed {
                        Confirmed::Settled(filled) => Some(filled),
                        Confirmed::Gone => None,
                    }),
            };
            match filled {
                Ok(Some(filled)) => filled.into(),
                Ok(None) => {
                    mandate.previous = None;
                    return None;
                }
                Err(error) => Fill::NotStored { degraded: is_degraded(&error) },
            }
        }
    };
    count(errand, fill);
    match (fill, std::mem::replace(&mut mandate.lease, Err(fill))) {
        // The store has ended it.
        (Fill::Stored | Fill::LeaseLost | Fill::Invalidated | Fill::Superseded, Ok(lease)) => {
            drop(lease.hand_over())
        }
        (Fill::Uncacheable, Ok(lease)) => {
            // What was there before is not what the origin says now. If this fails, the lease is given back.
            match store.discard(&errand.key, lease.token()).await {
                Ok(_) => drop(lease.hand_over()),
                Err(_) => lease.give_back(Duration::ZERO, "").await,
            }
        }
        (Fill::NotStored { .. }, Ok(lease)) => lease.give_back(Duration::ZERO, "").await,
        (_, Err(_)) => {}
    }
    Some(Landing { entry, fill, is_cacheable, course })
}

fn pack(
    errand: &Errand,
    source: &Source,
    previous: Option<&Entry>,
    answer: Answer,
    took: Duration,
) -> Option<(Parcel, bool)> {
    let rules = &errand.scope.rules;
    let Answer { content, terms } = answer;
    let (kind, data) = match content {
        Content::Value { kind, data } => (kind, data),
        Content::NotFound => (Kind::Negative, bytes::Bytes::new()),
        Content::NotModified => {
            let previous = previous?.clone();
            // What the origin does not say anew holds as before (RFC 9111, 4.3.4), and need not be jittered again.
            let dice = if terms.ttl.is_some() { rand::random() } else { 0.0 };
            let terms = Terms {
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
            let provenance = provenance(&terms, took);
            let confirmation = Confirmation {
                version: previous.version,
                lifetime: lifetime.unwrap_or_default(),
                tags,
                provenance,
            };
            return Some((Parcel::Confirmation(previous, confirmation), lifetime.is_some()));
        }
    };
    let lifetime = policy::fetched_lifetime(rules, &source.config, &terms, kind, rand::random());
    let draft = Draft {
        kind,
        data,
        version: Version::random(),
        lifetime: lifetime.unwrap_or_default(),
        tags: terms.tags.clone().unwrap_or_default(),
        provenance: Some(provenance(&terms, took)),
    };
    Some((Parcel::Draft(draft), lifetime.is_some()))
}

fn provenance(terms: &Terms, took: Duration) -> Arc<Provenance> {
    Arc::new(Provenance { validators: terms.validators.clone(), fetch_time: took })
}

fn count(errand: &Errand, fill: Fill) {
    let counter = match fill {
        Fill::Stored => Counter::Sets,
        Fill::LeaseLost => Counter::FillsLost,
        Fill::Invalidated => Counter::FillsInvalidated,
        Fill::Superseded => Counter::FillsSuperseded,
        Fill::Uncacheable => Counter::Uncacheable,
        Fill::NotStored { .. } => Counter::FillsNotStored,
    };
    errand.scope.counts.count(counter);
}

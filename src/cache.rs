//! What a cache means: which entry is fresh, who may compute a missing one, and what a caller is told when the store is down.
//!
//! Knows nothing of gRPC or Redis. It is the only reader of the clock and of the namespaces' rules.

mod batch_get;
mod batch_get_or_fetch;
mod delete;
pub mod fleet_stats;
mod get;
mod get_or_fetch;
mod increment;
pub mod metrics;
mod namespaces;
mod near_read;
mod policy;
mod renew;
mod set;
mod singleflight;
mod touch;
mod warm;

use std::{sync::Arc, time::Duration};

use tokio_util::sync::CancellationToken;

use crate::{
    model::{Entry, Namespace, Timestamp, Violation},
    origin,
    stats::{counters::Counter, registry::StatsRegistry, striped_counters::StripedCounters},
    store::{self, Backend},
};
/// Types of the layers below that are part of the cache's interface.
pub use crate::{
    origin::{Error as OriginError, ErrorKind as OriginErrorKind},
    store::{
        Condition, ErrorKind as StoreErrorKind, LeaseStatus, LeaseToken, NamespaceUsage, StoreInfo,
        TTL_CLASSES,
    },
};
pub use batch_get::BatchGet;
pub use batch_get_or_fetch::BatchGetOrFetch;
pub use get_or_fetch::{
    FetchMode, FetchStatus, GetOrFetchOutcome, GetOrFetchRequest, GetOrFetchResult, LeaseOffer,
};
pub use increment::IncrementResult;
use namespaces::NamespaceRules;
pub use namespaces::{Namespaces, OriginClients};
pub use near_read::Consistency;
pub use renew::RenewResult;
pub use set::{SetCommand, SetMode, SetOutcome, SetResult};
pub use singleflight::fill::FillOutcome;
pub use singleflight::lease_guard::LeaseGuard;
use singleflight::waiters::FlightGroup;
pub use touch::TouchResult;
pub use warm::{WarmPlan, WarmProgress, read_plan};

/// The cache of one replica.
pub struct Cache {
    store: Arc<dyn Backend>,
    namespaces: Namespaces,
    live: Arc<StatsRegistry>,
    waiting: Arc<FlightGroup>,
    closing: CancellationToken,
}

/// Why a call failed. A miss is not a failure, and neither is a store that is down, unless the call would have to claim
/// what it did not do.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The input breaks a rule.
    #[error(transparent)]
    Invalid(#[from] Violation),
    /// The value is larger than its namespace allows.
    #[error(transparent)]
    ValueTooLarge(Violation),
    /// Only configured namespaces are served, and this is none.
    #[error("namespace {0} is not configured, and strict_namespaces is on")]
    UnknownNamespace(Namespace),
    /// The store did not take what must not get lost.
    #[error("not done: {0}")]
    StoreUnavailable(#[source] store::Error),
    /// The namespace has no origin, and what was asked for needs one.
    #[error("namespace {0} has no origin")]
    NoOrigin(Namespace),
    /// The origin did not answer, and there is nothing to answer instead.
    #[error("the origin of namespace {namespace}: {error}")]
    Origin {
        /// Whose origin it is.
        namespace: Namespace,
        /// What it said.
        #[source]
        error: origin::Error,
    },
    /// The entry is not a counter.
    #[error("the entry is not a decimal integer of 64 bits")]
    NotAnInteger,
    /// The counter cannot go that far.
    #[error("the sum does not fit in 64 bits")]
    Overflow,
    /// The replica takes on nothing more.
    #[error("the server is shutting down")]
    ShuttingDown,
}

/// What a read found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// A fresh value.
    Hit,
    /// A value past its TTL, but in a window in which it may be served.
    Stale,
    /// The knowledge that there is no value.
    Negative,
}

/// Where an entry was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tier {
    /// In the replica's near cache.
    Near,
    /// In the store.
    Store,
    /// At the origin, during the call.
    Origin {
        /// Whether it is in the store now.
        is_stored: bool,
    },
}

/// An entry that was found.
#[derive(Debug, Clone)]
pub struct Found {
    /// The entry.
    pub entry: Entry,
    /// What it is.
    pub outcome: Outcome,
    /// Since when it exists.
    pub age: Duration,
    /// Until when it is fresh; zero if it is not.
    pub ttl_remaining: Duration,
    /// Where it was read.
    pub tier: Tier,
}

/// The answer to a read.
#[derive(Debug, Clone, Default)]
pub struct GetResult {
    /// What was found, if anything.
    pub found: Option<Found>,
    /// Whether the store could not be asked.
    pub degraded: bool,
}

/// A namespace as one call sees it.
#[derive(Clone)]
struct NamespaceContext {
    rules: Arc<NamespaceRules>,
    counts: Arc<StripedCounters>,
}

impl Cache {
    /// A cache on `store`. At most `max_waiting` calls wait for somebody else's value at a time, refreshes
    /// that nobody waits for included.
    pub fn new(
        store: Arc<dyn Backend>,
        namespaces: Namespaces,
        live: Arc<StatsRegistry>,
        max_waiting: usize,
    ) -> Self {
        let waiting = FlightGroup::new(store.clone(), max_waiting);
        Self { store, namespaces, live, waiting, closing: CancellationToken::new() }
    }

    /// The namespaces' rules, which can be replaced at any time.
    pub fn namespaces(&self) -> &Namespaces {
        &self.namespaces
    }

    /// Ends all waiting for other callers: whoever waits for somebody else's value is answered at once, and nothing more is warmed.
    /// What this replica fetches goes on.
    pub fn close(&self) {
        self.closing.cancel();
    }

    /// Returns when the replica is about to shut down: what has not begun should not begin any more.
    pub async fn closing(&self) {
        self.closing.cancelled().await;
    }

    /// Gives up what is being fetched and what else holds a lease, so that other replicas can go on with it, and waits until
    /// that is done. Can be repeated.
    pub async fn give_up(&self) {
        self.waiting.close().await;
    }

    /// Returns when the replica has no more time: whoever holds a lease should give it back.
    pub async fn giving_up(&self) {
        self.waiting.abort.cancelled().await;
    }

    /// Runs what may come to hold a lease. [`Cache::give_up`] waits until it has ended and its lease is given back; it must end
    /// at [`Cache::giving_up`].
    pub fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        self.waiting.spawn(work);
    }

    /// Calls that wait for somebody else's value, and refreshes that nobody waits for.
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }

    fn scope(&self, namespace: &Namespace) -> Result<NamespaceContext, Error> {
        let rules = self.namespaces.rules(namespace)?;
        Ok(NamespaceContext { rules, counts: self.live.of(namespace) })
    }

    fn found(&self, entry: Entry, outcome: Outcome) -> Found {
        Self::found_at(self.store.now(), entry, outcome)
    }

    fn found_at(now: Timestamp, entry: Entry, outcome: Outcome) -> Found {
        // The store's clock is an estimate here: an entry must not seem to be older or younger than it can be.
        let now = now.max(entry.created_at);
        let (age, ttl_remaining) = (now.since(entry.created_at), entry.fresh_until.since(now));
        Found { age, ttl_remaining, entry, outcome, tier: Tier::Store }
    }
}

impl NamespaceContext {
    fn count_outcome(&self, outcome: Option<Outcome>) {
        self.counts.count(match outcome {
            Some(Outcome::Hit) => Counter::Hits,
            Some(Outcome::Stale) => Counter::Stale,
            Some(Outcome::Negative) => Counter::Negative,
            None => Counter::Misses,
        });
    }

    fn count_degraded(&self, degraded: bool) {
        if degraded {
            self.counts.count(Counter::Degraded);
        }
    }
}

impl Error {
    /// The same error in a part of the request, such as `items[3].`.
    #[must_use]
    pub fn within(self, part: &str) -> Self {
        match self {
            Self::Invalid(violation) => Self::Invalid(violation.within(part)),
            Self::ValueTooLarge(violation) => Self::ValueTooLarge(violation.within(part)),
            other @ (Self::UnknownNamespace(_)
            | Self::StoreUnavailable(_)
            | Self::NoOrigin(_)
            | Self::Origin { .. }
            | Self::NotAnInteger
            | Self::Overflow
            | Self::ShuttingDown) => other,
        }
    }
}

/// What a failure means for a call that may not fail: whether its answer is `degraded`.
///
/// A store without room was asked and has answered; any other failure means that it is not known what it holds.
fn is_degraded(error: &store::Error) -> bool {
    error.kind != store::ErrorKind::Full
}

impl From<store::Error> for Error {
    fn from(error: store::Error) -> Self {
        Self::StoreUnavailable(error)
    }
}

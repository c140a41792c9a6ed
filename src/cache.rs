//! The semantics of the cache: which entry is fresh, which caller may compute a missing one, and
//! what a caller gets while the store is down.
//!
//! Does not depend on gRPC or Redis, and is the only reader of the clock and of the namespaces'
//! rules. [`Cache::get_or_fetch`] is the place to start reading.

mod abandon_log;
mod analysis;
mod batch_get;
mod batch_get_or_fetch;
mod chunk_sizer;
mod delete;
mod directory;
mod distributions;
mod durability;
mod error;
mod events;
pub mod fleet_stats;
mod flush_near;
mod follow;
mod get;
mod get_or_fetch;
mod hot_keys;
mod increment;
mod invalidate;
mod invalidate_namespace;
pub mod metrics;
mod namespace_context;
mod namespaces;
mod near_read;
mod outcome;
mod patch;
mod policy;
mod projection;
mod renew;
mod request;
mod reuse;
mod set;
mod singleflight;
#[cfg(test)]
mod testing;
mod touch;
mod warm;
mod watches;

use std::sync::{Arc, OnceLock};

use opentelemetry::metrics::Histogram;
use parking_lot::Mutex;
use repeated_events::LogInterval;
use tokio_util::sync::CancellationToken;

use crate::{
    model::{EntryKey, Namespace},
    stats::registry::StatsRegistry,
    store::Backend,
};
use abandon_log::AbandonLog;
use invalidate::InvalidationWindows;
use namespace_context::NamespaceContext;
use singleflight::FlightGroup;

/// Types of the layers below that are part of the cache's interface.
pub use crate::{
    changes::{
        ChangeBatch, ChangeHub, MAX_TOKEN_BYTES, PublishedChange, ResetReason, WatchOptions,
        WatchSignal,
    },
    origin::{Error as OriginError, OriginErrorKind},
    store::{
        BanListing, BanPattern, Condition, EntryInspection, ErrorKind as StoreErrorKind,
        KeyListPosition, LeaseInspection, LeaseInspectionState, LeaseLoss, LeaseToken, ListedBan,
        MatchingBan, NamespaceFilter, NamespacePage, NamespaceUsage, StoreInfo, TTL_CLASSES,
        Topology,
    },
};
pub use analysis::{
    Analysis, AnalyzedNamespace, Figure, Finding, FindingKind, ReuseEstimate, Severity, Share,
    TtlEstimate, failed_share_severity, low_hit_rate,
};
pub use batch_get::BatchGet;
pub use batch_get_or_fetch::BatchGetOrFetch;
pub use delete::{DeleteResult, Deletion};
pub use directory::{BanReport, Directory, EntryReport, KeyQuery, ListedNamespace, NamespaceList};
pub use distributions::{Distribution, Distributions};
pub use durability::Durability;
pub use error::Error;
pub use events::{EventCounts, EventOutcome, EventPlan, EventResult, EventRoute, EventRules};
pub use flush_near::FlushedCopies;
pub use get::GetResult;
pub use get_or_fetch::{FetchStatus, GetOrFetchOutcome, GetOrFetchResult, LeaseOffer};
pub use hot_keys::{HotKey, HotKeyReport};
pub use increment::IncrementResult;
pub use invalidate::{InvalidateTarget, TargetOutcome};
pub use namespaces::{Namespaces, OriginClients};
pub use outcome::{Found, Outcome, Tier};
pub use patch::{Change, PatchCommand, PatchExpiry, PatchOutcome};
pub use projection::{Content, Projected, Projection};
pub use renew::RenewResult;
pub use request::{Consistency, FetchMode, GetOrFetchRequest, VersionCondition};
pub use set::{SetCommand, SetMode, SetOutcome, SetResult};
pub use singleflight::{FillOutcome, LeaseGuard};
pub use touch::TouchResult;
pub use warm::{WarmPlan, WarmProgress};
pub use watches::{WatchSession, Watches};

/// The cache of one replica.
pub struct Cache {
    store: Arc<dyn Backend>,
    namespaces: Namespaces,
    stats: Arc<StatsRegistry>,
    flights: Arc<FlightGroup>,
    closing: CancellationToken,
    invalidate_log: Mutex<LogInterval>,
    invalidation_windows: InvalidationWindows,
    events: EventRules,
    event_counts: EventCounts,
    event_log: Mutex<LogInterval>,
    abandon_log: AbandonLog,
    /// Time in which callers compute under leases, where metrics are exported.
    compute_duration: OnceLock<Histogram<f64>>,
}

impl Cache {
    /// A cache on `store`. At most `max_waiting` calls and background refreshes wait for a value
    /// at a time.
    pub fn new(
        store: Arc<dyn Backend>,
        namespaces: Namespaces,
        stats: Arc<StatsRegistry>,
        max_waiting: usize,
    ) -> Self {
        let flights = FlightGroup::new(store.clone(), max_waiting);
        let closing = CancellationToken::new();
        let invalidation_windows =
            InvalidationWindows::new(store.clone(), flights.clone(), closing.clone());
        Self {
            store,
            namespaces,
            stats,
            flights,
            closing,
            invalidation_windows,
            abandon_log: AbandonLog::default(),
            compute_duration: OnceLock::new(),
            invalidate_log: Mutex::new(LogInterval::new(invalidate::LOG_INTERVAL)),
            events: EventRules::none(),
            event_counts: EventCounts::default(),
            event_log: Mutex::new(LogInterval::new(invalidate::LOG_INTERVAL)),
        }
    }

    /// The namespaces' rules, which can be replaced at any time.
    pub fn namespaces(&self) -> &Namespaces {
        &self.namespaces
    }

    /// Begins the shutdown: calls that wait for another caller's value are answered at once, and
    /// warming ends. Fetches from origins continue.
    pub fn close(&self) {
        self.closing.cancel();
    }

    /// Returns when [`Cache::close`] was called. Work that has not begun by then does not begin.
    pub async fn closing(&self) {
        self.closing.cancelled().await;
    }

    /// Aborts fetches and gives back every lease, so that other replicas can continue, and waits
    /// until that is done. Idempotent.
    pub async fn give_up(&self) {
        self.flights.close().await;
    }

    /// Returns when [`Cache::give_up`] was called. Every holder of a lease must then give it back.
    pub async fn giving_up(&self) {
        self.flights.aborted().await;
    }

    /// Runs a task that may hold a lease. It must end at [`Cache::giving_up`]; [`Cache::give_up`]
    /// waits for its end.
    pub fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.flights.spawn(task);
    }

    /// Calls that wait for a value, and background refreshes.
    pub fn waiting(&self) -> usize {
        self.flights.waiting()
    }

    /// Samples a read of `key` if `is_due`.
    #[inline]
    fn sample(&self, is_due: bool, key: &EntryKey) {
        if is_due {
            self.stats.read_samples().add(key);
        }
    }

    fn context(&self, namespace: &Namespace) -> Result<NamespaceContext, Error> {
        let rules = self.namespaces.rules(namespace)?;
        Ok(NamespaceContext { rules, counters: self.stats.of(namespace) })
    }
}

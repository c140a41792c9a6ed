//! Flights on the embedded store, with and without an origin, on a paused clock.
#![allow(clippy::unwrap_used, clippy::wildcard_enum_match_arm)]

mod with_origin;
mod without_origin;

use std::{sync::Arc, time::Duration};

use tokio::time::{Instant, sleep, timeout};

use super::{FetchJob, FillOutcome, FlightGroup, FlightHandle, FlightResult, Requirement};
use crate::{
    cache::{
        NamespaceContext,
        namespaces::NamespaceRules,
        testing::{self, FailingStore, FakeOrigin, key, new_entry, request},
    },
    config::NamespaceConfig,
    model::{EntryKey, NewEntry, Timestamp},
    origin::OriginErrorKind,
    stats::{counters::Counter, striped_counters::StripedCounters},
    store::{
        self, AcquireOutcome, AcquireRequest, Backend, Condition, LeaseLoss, LeaseToken,
        memory::MemoryStore,
    },
};

const SECOND: Duration = Duration::from_secs(1);
const MILLISECOND: Duration = Duration::from_millis(1);

/// A replica: a group of flights on a store, in a namespace with or without an origin.
struct Replica {
    store: Arc<dyn Backend>,
    group: Arc<FlightGroup>,
    context: NamespaceContext,
}

impl Replica {
    fn with_rules(store: Arc<dyn Backend>, rules: NamespaceRules) -> Self {
        let context = NamespaceContext {
            rules: Arc::new(rules),
            counters: Arc::new(StripedCounters::default()),
        };
        Self { group: FlightGroup::new(store.clone(), 4), store, context }
    }

    /// Callers compute values.
    fn of_callers(store: Arc<dyn Backend>) -> Self {
        Self::with_rules(store, NamespaceRules::new(NamespaceConfig::default(), None))
    }

    /// The origin computes values.
    fn of_origin(store: Arc<dyn Backend>, origin: &FakeOrigin) -> Self {
        Self::with_rules(store, testing::rules(origin))
    }

    fn job(&self, name: &str) -> FetchJob {
        FetchJob::new(&self.context, &request(name))
    }

    fn join(&self, name: &str) -> FlightHandle {
        self.group.join(self.job(name), Requirement::default()).unwrap()
    }

    fn join_forced(&self, name: &str) -> FlightHandle {
        let forced = Requirement { force_refresh: true, ..Requirement::default() };
        self.group.join(self.job(name), forced).unwrap()
    }

    fn refresh(&self, name: &str) -> bool {
        self.group.refresh(self.job(name), Requirement::default())
    }

    async fn put(&self, value: &'static str) {
        let entry = new_entry(value, 60 * SECOND);
        self.store.put(&key("k"), &entry, Condition::Always).await.unwrap();
    }

    /// Takes the lease, as another replica would.
    async fn acquire(&self) -> LeaseToken {
        let token = LeaseToken::random();
        let fresher_than = Timestamp(u64::MAX);
        let request = AcquireRequest { token, ttl: 10 * SECOND, fresher_than };
        let outcome = self.store.acquire(&key("k"), &request).await.unwrap();
        assert!(matches!(outcome, AcquireOutcome::Granted { .. }), "{outcome:?}");
        token
    }

    async fn is_held(&self) -> bool {
        let request = AcquireRequest {
            token: LeaseToken::random(),
            ttl: MILLISECOND,
            fresher_than: Timestamp(u64::MAX),
        };
        let outcome = self.store.acquire(&key("k"), &request).await.unwrap();
        matches!(outcome, AcquireOutcome::Held { .. })
    }

    fn counted(&self, counter: Counter) -> u64 {
        self.context.counters.snapshot().get(counter)
    }
}

fn memory() -> Arc<dyn Backend> {
    Arc::new(MemoryStore::new(1 << 20))
}

fn stored_value(result: &FlightResult) -> &[u8] {
    match result {
        FlightResult::Stored(entry) | FlightResult::Stale { entry, .. } => &entry.data,
        FlightResult::Fetched { fetched, .. } => &fetched.entry.data,
        other => panic!("no value: {other:?}"),
    }
}

fn fill_of(result: &FlightResult) -> (FillOutcome, bool) {
    match result {
        FlightResult::Fetched { fetched, is_first } => (fetched.fill, *is_first),
        other => panic!("not fetched: {other:?}"),
    }
}

fn is_granted(result: &FlightResult) -> bool {
    matches!(result, FlightResult::LeaseGranted { .. })
}

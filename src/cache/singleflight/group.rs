//! The flights of a replica, by key, and the callers that join them.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use parking_lot::Mutex;
use repeated_events::LogInterval;
use tokio::sync::{Notify, oneshot};

use super::{
    cacheability::CacheabilityPredictor,
    fetch_job::FetchJob,
    flight_result::FlightResult,
    lease_guard::LeaseGuard,
    lease_keeper::LeaseKeeper,
    span::FlightSpan,
    waiters::{Requirement, Waiter, WaiterKind, WaiterQueue},
};
use crate::{
    model::{EntryKey, Timestamp, millis_ceil},
    store::{self, AcquireOutcome, AcquireRequest, Backend, LeaseToken},
};

/// The flights of one replica.
pub(in crate::cache) struct FlightGroup {
    pub(super) keeper: Arc<LeaseKeeper>,
    pub(super) predictor: CacheabilityPredictor,
    arrivals: Mutex<HashMap<EntryKey, Arrivals>>,
    slots: Arc<WaiterSlots>,
}

/// The waiters of a flight, as the group counts them.
pub(super) type Waiters = WaiterQueue<WaiterPermit>;

/// Waiters that have joined a flight and are not admitted yet. Exists as long as the flight.
#[derive(Default)]
struct Arrivals {
    waiters: Waiters,
    /// The job of the last arrival.
    job: Option<FetchJob>,
    state: Arc<FlightState>,
}

/// State shared by a flight and its waiters.
#[derive(Default)]
pub(super) struct FlightState {
    /// Time until the value is expected, in milliseconds.
    available_in: AtomicU64,
    /// Notified when a waiter joins.
    pub(super) joined: Notify,
}

/// The shortest time between two warnings.
const LOG_INTERVAL: Duration = Duration::from_secs(60);

/// Counts waiters, and limits most of them.
struct WaiterSlots {
    waiting: AtomicUsize,
    /// The waiters that the limit applies to.
    limited: AtomicUsize,
    limit: usize,
    refused: Mutex<LogInterval>,
}

/// A waiter's slot, until it is dropped.
pub(super) struct WaiterPermit {
    slots: Arc<WaiterSlots>,
    is_limited: bool,
}

/// A caller's place in a flight. Dropping it leaves the flight.
pub(in crate::cache) struct FlightHandle {
    result: oneshot::Receiver<FlightResult>,
    state: Arc<FlightState>,
    _permit: WaiterPermit,
}

/// Outcome of a request for a background refresh.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RefreshOutcome {
    /// The refresh opened the key: its flight must be started.
    Opened,
    /// The key's flight will refresh again.
    Joined,
    /// The key's flight refreshes already, or there are too many waiters.
    Refused,
}

impl FlightGroup {
    pub(in crate::cache) fn new(store: Arc<dyn Backend>, max_waiting: usize) -> Arc<Self> {
        Arc::new(Self {
            keeper: LeaseKeeper::new(store),
            predictor: CacheabilityPredictor::new(),
            arrivals: Mutex::default(),
            slots: Arc::new(WaiterSlots {
                waiting: AtomicUsize::new(0),
                limited: AtomicUsize::new(0),
                limit: max_waiting,
                refused: Mutex::new(LogInterval::new(LOG_INTERVAL)),
            }),
        })
    }

    /// Waiting callers and background refreshes.
    pub(in crate::cache) fn waiting(&self) -> usize {
        self.slots.waiting.load(Ordering::Relaxed)
    }

    /// Whether the key has a flight.
    pub(in crate::cache) fn is_in_flight(&self, key: &EntryKey) -> bool {
        self.arrivals.lock().contains_key(key)
    }

    /// Runs a task that may hold a lease.
    pub(in crate::cache) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.keeper.spawn(task);
    }

    /// Aborts fetches, and waits until every lease is given back.
    pub(in crate::cache) async fn close(&self) {
        self.keeper.close().await;
    }

    /// Returns when [`FlightGroup::close`] was called.
    pub(in crate::cache) async fn aborted(&self) {
        self.keeper.abort.cancelled().await;
    }

    /// Asks for a key's lease outside of a flight.
    pub(in crate::cache) async fn acquire_lease(
        &self,
        key: &EntryKey,
        ttl: Duration,
        fresher_than: Timestamp,
    ) -> (LeaseGuard, store::Result<AcquireOutcome>) {
        let request = AcquireRequest {
            token: LeaseToken::asked_at(self.keeper.store.now()),
            ttl,
            fresher_than,
        };
        LeaseGuard::acquire(&self.keeper, key, request).await
    }

    /// Adds a caller to the key's flight; `None` if too many wait. The flag is set if the caller is
    /// the first, and the flight must be started.
    pub(super) fn add_caller(
        &self,
        job: &FetchJob,
        requirement: Requirement,
    ) -> Option<(FlightHandle, bool)> {
        let (sender, result) = oneshot::channel();
        let span = FlightSpan::current();
        let waiter = Waiter { requirement, span, kind: WaiterKind::Caller(sender) };
        let mut arrivals = self.arrivals.lock();
        let is_first = !arrivals.contains_key(&job.key);
        // The origin's bulkhead limits the callers that start a fetch; waiters must not keep them
        // from it.
        let is_limited = !(is_first && job.origin().is_some());
        let permit = self.slots.acquire(is_limited)?;
        let arrival = arrivals.entry(job.key.clone()).or_default();
        arrival.waiters.push(waiter);
        arrival.job = Some(job.clone());
        arrival.state.joined.notify_one();
        let handle = FlightHandle { result, state: arrival.state.clone(), _permit: permit };
        Some((handle, is_first))
    }

    /// Adds a background refresh, unless the key's flight refreshes already.
    pub(super) fn add_refresh(&self, job: &FetchJob, requirement: Requirement) -> RefreshOutcome {
        let Some(permit) = self.slots.acquire(true) else { return RefreshOutcome::Refused };
        let kind = WaiterKind::Background { _permit: permit };
        let waiter = Waiter { requirement, span: FlightSpan::current(), kind };
        let mut arrivals = self.arrivals.lock();
        if let Some(arrival) = arrivals.get_mut(&job.key) {
            // A forced refresh must not join a fetch that began earlier.
            if !requirement.force_refresh {
                return RefreshOutcome::Refused;
            }
            arrival.waiters.push(waiter);
            arrival.state.joined.notify_one();
            return RefreshOutcome::Joined;
        }
        arrivals.entry(job.key.clone()).or_default().waiters.push(waiter);
        RefreshOutcome::Opened
    }

    /// Moves the arrivals of a key to `admitted`, and removes callers that have left. Returns the
    /// flight's state and the job of the last arrival. `None` if no waiter is left: then the key
    /// is closed, and the flight must end.
    pub(super) fn admit(
        &self,
        key: &EntryKey,
        admitted: &mut Waiters,
    ) -> Option<(Arc<FlightState>, Option<FetchJob>)> {
        let mut arrivals = self.arrivals.lock();
        let arrival = arrivals.get_mut(key)?;
        admitted.append(&mut arrival.waiters);
        admitted.remove_left();
        if admitted.is_empty() {
            arrivals.remove(key);
            return None;
        }
        Some((arrival.state.clone(), arrival.job.take()))
    }

    /// Moves the arrivals of a key to `admitted`.
    pub(super) fn admit_late(&self, key: &EntryKey, admitted: &mut Waiters) {
        if let Some(arrival) = self.arrivals.lock().get_mut(key) {
            admitted.append(&mut arrival.waiters);
        }
    }

    /// Closes a key whose flight has ended: its arrivals would never be
    /// notified.
    pub(super) fn close_key(&self, key: &EntryKey) {
        let closed = self.arrivals.lock().remove(key);
        // Dropped outside of the lock: waiters are notified.
        drop(closed);
    }
}

// === impl FlightState ===

impl FlightState {
    pub(super) fn set_available_in(&self, time: Duration) {
        self.available_in.store(millis_ceil(time), Ordering::Relaxed);
    }
}

// === impl FlightHandle ===

impl FlightHandle {
    /// Waits for the flight's result. Cancel-safe.
    pub(in crate::cache) async fn result(&mut self) -> FlightResult {
        // The sender is dropped only if the flight panicked or the replica shuts down.
        let dropped = |_| FlightResult::StoreFailed(store::ErrorKind::Refused.into());
        (&mut self.result).await.unwrap_or_else(dropped)
    }

    /// Time until the value is expected; zero if unknown.
    pub(in crate::cache) fn available_in(&self) -> Duration {
        Duration::from_millis(self.state.available_in.load(Ordering::Relaxed))
    }
}

// === impl WaiterSlots ===

impl WaiterSlots {
    fn acquire(self: &Arc<Self>, is_limited: bool) -> Option<WaiterPermit> {
        // Made first, so that a refused waiter is subtracted again.
        let permit = WaiterPermit { slots: self.clone(), is_limited };
        self.waiting.fetch_add(1, Ordering::Relaxed);
        let is_free = !is_limited || self.limited.fetch_add(1, Ordering::Relaxed) < self.limit;
        if !is_free {
            self.on_refused();
        }
        is_free.then_some(permit)
    }

    #[cold]
    fn on_refused(&self) {
        if let Some(count) = self.refused.lock().occurred() {
            tracing::warn!(
                count,
                max_waiting = self.limit,
                remedy = "raise limits.max_waiting, or ask for fewer missing keys at once",
                "limits.max_waiting is reached: calls are answered contended, without a wait"
            );
        }
    }
}

impl Drop for WaiterPermit {
    fn drop(&mut self) {
        self.slots.waiting.fetch_sub(1, Ordering::Relaxed);
        if self.is_limited {
            self.slots.limited.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

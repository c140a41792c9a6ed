//! Where calls wait for a value that somebody else computes.
//!
//! All calls of this replica that wait for one key wait together, and one usher per key (see [`super::usher`]) acts on their
//! behalf. What the usher learns is only told to those who were there before it asked: a later call may follow an
//! invalidation that the answer does not know of.

use std::{
    collections::{HashMap, VecDeque},
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use parking_lot::Mutex;
use tokio::{
    sync::{Notify, oneshot},
    task::JoinHandle,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::super::{
    singleflight::cacheability::CacheabilityPredictor, singleflight::fetch_job::FetchJob,
    singleflight::fill::FetchedEntry, singleflight::flight::Flight,
    singleflight::lease_guard::LeaseGuard, singleflight::span::FlightSpan,
};
use crate::{
    model::{Entry, EntryKey, Timestamp},
    origin,
    store::{self, Backend},
};

/// See the module.
pub(in crate::cache) struct FlightGroup {
    pub(in crate::cache) store: Arc<dyn Backend>,
    pub(in crate::cache) uncacheable: CacheabilityPredictor,
    /// Cancelled when the replica has no more time for what it fetches.
    pub(in crate::cache) abort: CancellationToken,
    tasks: TaskTracker,
    queues: Mutex<HashMap<EntryKey, Queue>>,
    waiting: AtomicUsize,
    /// Of these, those to whom the limit applies.
    bounded: AtomicUsize,
    max_waiting: usize,
}

/// Calls that the usher of a key does not know of yet. It exists for as long as the usher.
#[derive(Default)]
struct Queue {
    arrivals: VecDeque<Waiter>,
    /// Of the last arrival.
    errand: Option<FetchJob>,
    desk: Arc<FlightState>,
}

/// Where those who wait and their usher leave word for one another.
#[derive(Default)]
pub(in crate::cache) struct FlightState {
    /// When the key is expected to be available, in milliseconds.
    pub(in crate::cache) available_in: AtomicU64,
    /// Rung by everybody who comes.
    pub(in crate::cache) bell: Notify,
}

/// Why a place is taken.
#[derive(Debug, Clone, Copy, Default)]
pub(in crate::cache) struct Requirement {
    /// How stale a value is accepted.
    pub(in crate::cache) max_stale: Option<Duration>,
    /// What began before this was wished for will not do.
    pub(in crate::cache) anew: bool,
    /// An entry that is fresh no longer than until this will not do.
    pub(in crate::cache) fresher_than: Timestamp,
    /// The caller knows that the store cannot be asked.
    pub(in crate::cache) without_store: bool,
}

/// Somebody who waits, or the wish of somebody who does not wait for its fulfilment.
pub(in crate::cache) struct Waiter {
    pub(in crate::cache) wish: Requirement,
    pub(in crate::cache) trace: FlightSpan,
    audience: WaiterKind,
}

enum WaiterKind {
    Caller(oneshot::Sender<FlightResult>),
    Nobody { _counted: WaiterPermit },
}

/// What a waiting call is told.
#[derive(Debug)]
pub(in crate::cache) enum FlightResult {
    /// The value landed in the store.
    Found(Entry),
    /// The origin's answer.
    Landed {
        /// What it was, and what became of it.
        landing: FetchedEntry,
        /// Whether it was fetched for this call in the first place.
        is_first: bool,
    },
    /// It is this call's turn to compute it. Without a grant, what it computes will not be stored.
    Lease { grant: LeaseGuard, expires_in: Duration, previous: Option<Entry> },
    /// Computing it failed, and this is what there was before.
    StaleOnError(Entry),
    /// Fetching it failed.
    OriginFailed(origin::Error),
    /// The store cannot be asked any more.
    Failed(store::Error),
}

/// A call's place in the waiting room, until it is dropped.
pub(in crate::cache) struct FlightHandle {
    turn: oneshot::Receiver<FlightResult>,
    desk: Arc<FlightState>,
    _counted: WaiterPermit,
}

/// A place that is taken.
struct WaiterPermit {
    room: Arc<FlightGroup>,
    is_bounded: bool,
}

impl FlightGroup {
    pub(in crate::cache) fn new(store: Arc<dyn Backend>, max_waiting: usize) -> Arc<Self> {
        Arc::new(Self {
            store,
            uncacheable: CacheabilityPredictor::new(),
            abort: CancellationToken::new(),
            tasks: TaskTracker::new(),
            queues: Mutex::default(),
            waiting: AtomicUsize::new(0),
            bounded: AtomicUsize::new(0),
            max_waiting,
        })
    }

    /// Calls that wait, and refreshes that nobody waits for.
    pub(in crate::cache) fn len(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }

    /// Whether calls wait for this key.
    pub(in crate::cache) fn is_open(&self, key: &EntryKey) -> bool {
        self.queues.lock().contains_key(key)
    }

    /// Takes a place; none if the room is full.
    pub(in crate::cache) fn enter(
        self: &Arc<Self>,
        errand: FetchJob,
        wish: Requirement,
    ) -> Option<FlightHandle> {
        let (place, usher) = self.take_place(errand, wish)?;
        if let Some(usher) = usher {
            self.spawn(usher.run());
        }
        Some(place)
    }

    /// Takes a place; none if the room is full. If nobody was there before, the usher must be run.
    pub(in crate::cache) fn take_place(
        self: &Arc<Self>,
        errand: FetchJob,
        wish: Requirement,
    ) -> Option<(FlightHandle, Option<Flight>)> {
        let (sender, turn) = oneshot::channel();
        let waiter =
            Waiter { wish, trace: FlightSpan::current(), audience: WaiterKind::Caller(sender) };
        let mut queues = self.queues.lock();
        let is_first = !queues.contains_key(&errand.key);
        // The origin's gate bounds those who have something fetched; a full room must not keep them from it.
        let counted = self.count(!(is_first && errand.source().is_some()))?;
        let queue = queues.entry(errand.key.clone()).or_default();
        queue.arrivals.push_back(waiter);
        queue.errand = Some(errand.clone());
        queue.desk.bell.notify_one();
        let place = FlightHandle { turn, desk: queue.desk.clone(), _counted: counted };
        drop(queues);
        Some((place, is_first.then(|| Flight::new(self.clone(), errand))))
    }

    /// Has the key computed without waiting for it, unless somebody is at it already; answers whether that was begun.
    pub(in crate::cache) fn refresh(self: &Arc<Self>, errand: FetchJob, wish: Requirement) -> bool {
        let Some(counted) = self.count(true) else { return false };
        let waiter = Waiter {
            wish,
            trace: FlightSpan::current(),
            audience: WaiterKind::Nobody { _counted: counted },
        };
        let mut queues = self.queues.lock();
        if let Some(queue) = queues.get_mut(&errand.key) {
            // What is under way is not what somebody wants who wants it anew.
            if wish.anew {
                queue.arrivals.push_back(waiter);
                queue.desk.bell.notify_one();
            }
            return wish.anew;
        }
        queues.entry(errand.key.clone()).or_default().arrivals.push_back(waiter);
        drop(queues);
        self.spawn(Flight::new(self.clone(), errand).run());
        true
    }

    /// Runs what goes on when the caller that began it has gone. It is no part of the caller's span.
    pub(in crate::cache) fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        self.tasks.spawn(work);
    }

    /// The same, for who waits for its outcome as long as he is there.
    pub(in crate::cache) fn track<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> JoinHandle<T> {
        use tracing::Instrument as _;
        self.tasks.spawn(work.in_current_span())
    }

    /// Gives up what is being fetched, and waits until that is done and every lease is given back.
    pub(in crate::cache) async fn close(&self) {
        self.abort.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }

    /// Seats those who arrived, and lets go of those who left. If nobody is there any more, the queue is closed.
    pub(in crate::cache) fn seat(
        &self,
        key: &EntryKey,
        seated: &mut VecDeque<Waiter>,
    ) -> Option<(Arc<FlightState>, Option<FetchJob>)> {
        let mut queues = self.queues.lock();
        let queue = queues.get_mut(key)?;
        seated.append(&mut queue.arrivals);
        seated.retain(|waiter| !waiter.has_left());
        if seated.is_empty() {
            queues.remove(key);
            return None;
        }
        Some((queue.desk.clone(), queue.errand.take()))
    }

    /// Seats those who arrived since.
    pub(in crate::cache) fn seat_late(&self, key: &EntryKey, seated: &mut VecDeque<Waiter>) {
        if let Some(queue) = self.queues.lock().get_mut(key) {
            seated.append(&mut queue.arrivals);
        }
    }

    /// Closes a queue whose usher is gone: it would take arrivals for ever and call none.
    pub(in crate::cache) fn close_queue(&self, key: &EntryKey) {
        let closed = self.queues.lock().remove(key);
        drop(closed);
    }

    fn count(self: &Arc<Self>, is_bounded: bool) -> Option<WaiterPermit> {
        // Made first, so that it gives back what was taken.
        let counted = WaiterPermit { room: self.clone(), is_bounded };
        self.waiting.fetch_add(1, Ordering::Relaxed);
        let has_room =
            !is_bounded || self.bounded.fetch_add(1, Ordering::Relaxed) < self.max_waiting;
        has_room.then_some(counted)
    }
}

// === impl Waiter ===

impl Waiter {
    /// Whether somebody waits, or did.
    pub(in crate::cache) fn listens(&self) -> bool {
        matches!(self.audience, WaiterKind::Caller(_))
    }

    fn has_left(&self) -> bool {
        matches!(&self.audience, WaiterKind::Caller(turn) if turn.is_closed())
    }

    /// Tells the waiter. If he has left, what he would have been told comes back.
    pub(in crate::cache) fn call(self, turn: FlightResult) -> Option<FlightResult> {
        match self.audience {
            WaiterKind::Caller(sender) => sender.send(turn).err(),
            WaiterKind::Nobody { .. } => None,
        }
    }
}

// === impl Place ===

impl FlightHandle {
    /// Waits for the turn.
    pub(in crate::cache) async fn turn(&mut self) -> FlightResult {
        // The sender is dropped without a word only if the usher panicked, or the replica shuts down.
        (&mut self.turn)
            .await
            .unwrap_or_else(|_| FlightResult::Failed(store::ErrorKind::Refused.into()))
    }

    /// When the key is expected to be available, as far as is known.
    pub(in crate::cache) fn available_in(&self) -> Duration {
        Duration::from_millis(self.desk.available_in.load(Ordering::Relaxed))
    }
}

impl Drop for WaiterPermit {
    fn drop(&mut self) {
        self.room.waiting.fetch_sub(1, Ordering::Relaxed);
        if self.is_bounded {
            self.room.bounded.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

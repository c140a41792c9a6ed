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

use super::{
    errand::Errand, fill::Landing, grant::LeaseGrant, trace::Trace, uncacheable::Uncacheable,
    usher::Usher,
};
use crate::{
    entry::{Entry, Millis},
    key::EntryKey,
    origin,
    store::{self, Backend},
};

/// See the module.
pub(super) struct WaitingRoom {
    pub(super) store: Arc<dyn Backend>,
    pub(super) uncacheable: Uncacheable,
    /// Cancelled when the replica has no more time for what it fetches.
    pub(super) abort: CancellationToken,
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
    errand: Option<Errand>,
    desk: Arc<Desk>,
}

/// Where those who wait and their usher leave word for one another.
#[derive(Default)]
pub(super) struct Desk {
    /// When the key is expected to be available, in milliseconds.
    pub(super) available_in: AtomicU64,
    /// Rung by everybody who comes.
    pub(super) bell: Notify,
}

/// Why a place is taken.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Wish {
    /// How stale a value is accepted.
    pub(super) max_stale: Option<Duration>,
    /// What began before this was wished for will not do.
    pub(super) anew: bool,
    /// An entry that is fresh no longer than until this will not do.
    pub(super) fresher_than: Millis,
    /// The caller knows that the store cannot be asked.
    pub(super) without_store: bool,
}

/// Somebody who waits, or the wish of somebody who does not wait for its fulfilment.
pub(super) struct Waiter {
    pub(super) wish: Wish,
    pub(super) trace: Trace,
    audience: Audience,
}

enum Audience {
    Caller(oneshot::Sender<Turn>),
    Nobody { _counted: Counted },
}

/// What a waiting call is told.
#[derive(Debug)]
pub(super) enum Turn {
    /// The value landed in the store.
    Found(Entry),
    /// The origin's answer.
    Landed {
        /// What it was, and what became of it.
        landing: Landing,
        /// Whether it was fetched for this call in the first place.
        is_first: bool,
    },
    /// It is this call's turn to compute it. Without a grant, what it computes will not be stored.
    Lease { grant: LeaseGrant, expires_in: Duration, previous: Option<Entry> },
    /// Computing it failed, and this is what there was before.
    StaleOnError(Entry),
    /// Fetching it failed.
    OriginFailed(origin::Error),
    /// The store cannot be asked any more.
    Failed(store::Error),
}

/// A call's place in the waiting room, until it is dropped.
pub(super) struct Place {
    turn: oneshot::Receiver<Turn>,
    desk: Arc<Desk>,
    _counted: Counted,
}

/// A place that is taken.
struct Counted {
    room: Arc<WaitingRoom>,
    is_bounded: bool,
}

impl WaitingRoom {
    pub(super) fn new(store: Arc<dyn Backend>, max_waiting: usize) -> Arc<Self> {
        Arc::new(Self {
            store,
            uncacheable: Uncacheable::new(),
            abort: CancellationToken::new(),
            tasks: TaskTracker::new(),
            queues: Mutex::default(),
            waiting: AtomicUsize::new(0),
            bounded: AtomicUsize::new(0),
            max_waiting,
        })
    }

    /// Calls that wait, and refreshes that nobody waits for.
    pub(super) fn len(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }

    /// Whether calls wait for this key.
    pub(super) fn is_open(&self, key: &EntryKey) -> bool {
        self.queues.lock().contains_key(key)
    }

    /// Takes a place; none if the room is full.
    pub(super) fn enter(self: &Arc<Self>, errand: Errand, wish: Wish) -> Option<Place> {
        let (place, usher) = self.take_place(errand, wish)?;
        if let Some(usher) = usher {
            self.spawn(usher.run());
        }
        Some(place)
    }

    /// Takes a place; none if the room is full. If nobody was there before, the usher must be run.
    pub(super) fn take_place(
        self: &Arc<Self>,
        errand: Errand,
        wish: Wish,
    ) -> Option<(Place, Option<Usher>)> {
        let (sender, turn) = oneshot::channel();
        let waiter = Waiter { wish, trace: Trace::current(), audience: Audience::Caller(sender) };
        let mut queues = self.queues.lock();
        let is_first = !queues.contains_key(&errand.key);
        // The origin's gate bounds those who have something fetched; a full room must not keep them from it.
        let counted = self.count(!(is_first && errand.source().is_some()))?;
        let queue = queues.entry(errand.key.clone()).or_default();
        queue.arrivals.push_back(waiter);
        queue.errand = Some(errand.clone());
        queue.desk.bell.notify_one();
        let place = Place { turn, desk: queue.desk.clone(), _counted: counted };
        drop(queues);
        Some((place, is_first.then(|| Usher::new(self.clone(), errand))))
    }

    /// Has the key computed without waiting for it, unless somebody is at it already; answers whether that was begun.
    pub(super) fn refresh(self: &Arc<Self>, errand: Errand, wish: Wish) -> bool {
        let Some(counted) = self.count(true) else { return false };
        let waiter = Waiter {
            wish,
            trace: Trace::current(),
            audience: Audience::Nobody { _counted: counted },
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
        self.spawn(Usher::new(self.clone(), errand).run());
        true
    }

    /// Runs what goes on when the caller that began it has gone. It is no part of the caller's span.
    pub(super) fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        self.tasks.spawn(work);
    }

    /// The same, for who waits for its outcome as long as he is there.
    pub(super) fn track<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> JoinHandle<T> {
        use tracing::Instrument as _;
        self.tasks.spawn(work.in_current_span())
    }

    /// Gives up what is being fetched, and waits until that is done and every lease is given back.
    pub(super) async fn close(&self) {
        self.abort.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }

    /// Seats those who arrived, and lets go of those who left. If nobody is there any more, the queue is closed.
    pub(super) fn seat(
        &self,
        key: &EntryKey,
        seated: &mut VecDeque<Waiter>,
    ) -> Option<(Arc<Desk>, Option<Errand>)> {
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
    pub(super) fn seat_late(&self, key: &EntryKey, seated: &mut VecDeque<Waiter>) {
        if let Some(queue) = self.queues.lock().get_mut(key) {
            seated.append(&mut queue.arrivals);
        }
    }

    /// Closes a queue whose usher is gone: it would take arrivals for ever and call none.
    pub(super) fn close_queue(&self, key: &EntryKey) {
        let closed = self.queues.lock().remove(key);
        drop(closed);
    }

    fn count(self: &Arc<Self>, is_bounded: bool) -> Option<Counted> {
        // Made first, so that it gives back what was taken.
        let counted = Counted { room: self.clone(), is_bounded };
        self.waiting.fetch_add(1, Ordering::Relaxed);
        let has_room =
            !is_bounded || self.bounded.fetch_add(1, Ordering::Relaxed) < self.max_waiting;
        has_room.then_some(counted)
    }
}

// === impl Waiter ===

impl Waiter {
    /// Whether somebody waits, or did.
    pub(super) fn listens(&self) -> bool {
        matches!(self.audience, Audience::Caller(_))
    }

    fn has_left(&self) -> bool {
        matches!(&self.audience, Audience::Caller(turn) if turn.is_closed())
    }

    /// Tells the waiter. If he has left, what he would have been told comes back.
    pub(super) fn call(self, turn: Turn) -> Option<Turn> {
        match self.audience {
            Audience::Caller(sender) => sender.send(turn).err(),
            Audience::Nobody { .. } => None,
        }
    }
}

// === impl Place ===

impl Place {
    /// Waits for the turn.
    pub(super) async fn turn(&mut self) -> Turn {
        // The sender is dropped without a word only if the usher panicked, or the replica shuts down.
        (&mut self.turn).await.unwrap_or_else(|_| Turn::Failed(store::ErrorKind::Refused.into()))
    }

    /// When the key is expected to be available, as far as is known.
    pub(super) fn available_in(&self) -> Duration {
        Duration::from_millis(self.desk.available_in.load(Ordering::Relaxed))
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.room.waiting.fetch_sub(1, Ordering::Relaxed);
        if self.is_bounded {
            self.room.bounded.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

//! Where calls wait for a value that somebody else computes.
//!
//! All calls of this replica that wait for one key wait together: one usher per key asks the store on their behalf, when the store
//! says that the lease has ended, when it must have expired, and now and then in case the store said nothing. What the
//! usher learns is only told to those who were there before it asked: a later call may follow an invalidation that this
//! answer does not know of.

use std::{
    collections::{HashMap, VecDeque},
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use parking_lot::Mutex;
use tokio::sync::oneshot;

use super::{grant::LeaseGrant, policy, policy::Verdict};
use crate::{
    entry::{Entry, whole_millis},
    key::EntryKey,
    store::{self, Acquired, Backend},
};

/// Between two looks when there is no news: doubled from the first to the second.
const FIRST_LOOK: Duration = Duration::from_millis(50);
const LATER_LOOKS: Duration = Duration::from_millis(400);

/// Looks in a row that may fail before the store counts as gone for those who wait.
const MAX_FAILED_LOOKS: u32 = 3;

/// See the module.
pub(super) struct WaitingRoom {
    store: Arc<dyn Backend>,
    queues: Mutex<HashMap<EntryKey, Queue>>,
    waiting: AtomicUsize,
    max_waiting: usize,
}

/// Calls that the usher of a key does not know of yet. It exists for as long as the usher.
#[derive(Default)]
struct Queue {
    arrivals: VecDeque<Waiter>,
    available_in: Arc<AtomicU64>,
}

struct Waiter {
    max_stale: Option<Duration>,
    turn: oneshot::Sender<Turn>,
}

/// What a waiting call is told.
#[derive(Debug)]
pub(super) enum Turn {
    /// The value landed.
    Found(Entry),
    /// It is this call's turn to compute it.
    Lease { grant: LeaseGrant, expires_in: Duration, stale: Option<Entry> },
    /// Computing it failed, and this is what there was before.
    StaleOnError(Entry),
    /// The store cannot be asked any more.
    Failed(store::Error),
}

/// A call's place in the waiting room, until it is dropped.
pub(super) struct Place {
    room: Arc<WaitingRoom>,
    turn: oneshot::Receiver<Turn>,
    available_in: Arc<AtomicU64>,
}

impl WaitingRoom {
    pub(super) fn new(store: Arc<dyn Backend>, max_waiting: usize) -> Arc<Self> {
        Arc::new(Self { store, queues: Mutex::default(), waiting: AtomicUsize::new(0), max_waiting })
    }

    pub(super) fn len(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }

    /// Whether calls wait for this key.
    pub(super) fn is_open(&self, key: &EntryKey) -> bool {
        self.queues.lock().contains_key(key)
    }

    /// Takes a place; none if the room is full.
    pub(super) fn enter(
        self: &Arc<Self>,
        key: &EntryKey,
        max_stale: Option<Duration>,
        lease_ttl: Duration,
    ) -> Option<Place> {
        if self.waiting.fetch_add(1, Ordering::Relaxed) >= self.max_waiting {
            self.waiting.fetch_sub(1, Ordering::Relaxed);
            return None;
        }
        let (sender, turn) = oneshot::channel();
        let mut queues = self.queues.lock();
        let needs_usher = !queues.contains_key(key);
        let queue = queues.entry(key.clone()).or_default();
        queue.arrivals.push_back(Waiter { max_stale, turn: sender });
        let place = Place { room: self.clone(), turn, available_in: queue.available_in.clone() };
        drop(queues);
        if needs_usher {
            tokio::spawn(self.clone().usher(key.clone(), lease_ttl));
        }
        Some(place)
    }

    async fn usher(self: Arc<Self>, key: EntryKey, lease_ttl: Duration) {
        let _closing = CloseOnPanic { room: &self, key: &key };
        // Before the store is asked, so that no news falls in between.
        let news = self.store.wait_for(&key);
        let mut seated = VecDeque::new();
        let mut look = FIRST_LOOK;
        let mut failed_looks = 0;
        while let Some(available_in) = self.seat(&key, &mut seated) {
            let mut grant = LeaseGrant::new(&self.store, &key);
            let acquired = self.store.acquire(&key, grant.token(), lease_ttl).await;
            if acquired.is_ok() {
                failed_looks = 0;
            }
            let left = match acquired.inspect(|acquired| grant.settle(acquired)) {
                Ok(Acquired::Found(entry)) => {
                    call_all(&mut seated, |_| Some(Turn::Found(entry.clone())));
                    Duration::ZERO
                }
                Ok(Acquired::Granted { stale }) => {
                    call_first(&mut seated, Turn::Lease { grant, expires_in: lease_ttl, stale });
                    lease_ttl
                }
                Ok(Acquired::Held { expires_in, .. }) => expires_in,
                Ok(Acquired::BackedOff { remaining, stale }) => {
                    call_all(&mut seated, |max_stale| self.stale_on_error(stale.as_ref(), max_stale));
                    remaining
                }
                // One answer that was lost says little: somebody may well be at work.
                Err(error) if is_passing(error.kind) && failed_looks < MAX_FAILED_LOOKS => {
                    failed_looks += 1;
                    look
                }
                Err(error) => {
                    call_all(&mut seated, |_| Some(Turn::Failed(error.kind.into())));
                    Duration::ZERO
                }
            };
            if seated.is_empty() {
                continue;
            }
            available_in.store(whole_millis(left), Ordering::Relaxed);
            let pause = left.min(look.mul_f64(rand::random_range(0.8..1.2))) + Duration::from_millis(1);
            if tokio::time::timeout(pause, news.woken()).await.is_err() {
                look = (look * 2).min(LATER_LOOKS);
            }
        }
    }

    /// Seats those who arrived, and lets go of those who left. If nobody is there any more, the queue is closed.
    fn seat(&self, key: &EntryKey, seated: &mut VecDeque<Waiter>) -> Option<Arc<AtomicU64>> {
        let mut queues = self.queues.lock();
        let queue = queues.get_mut(key)?;
        seated.append(&mut queue.arrivals);
        seated.retain(|waiter| !waiter.turn.is_closed());
        if seated.is_empty() {
            queues.remove(key);
            return None;
        }
        Some(queue.available_in.clone())
    }

    fn stale_on_error(&self, stale: Option<&Entry>, max_stale: Option<Duration>) -> Option<Turn> {
        let stale = stale?;
        match policy::judge(stale, self.store.now(), max_stale) {
            Verdict::Stale | Verdict::StaleIfError => Some(Turn::StaleOnError(stale.clone())),
            Verdict::Fresh | Verdict::Negative | Verdict::Gone => None,
        }
    }
}

/// A queue whose usher is gone would take arrivals for ever and call none.
struct CloseOnPanic<'a> {
    room: &'a WaitingRoom,
    key: &'a EntryKey,
}

impl Drop for CloseOnPanic<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.room.queues.lock().remove(self.key);
        }
    }
}

/// Whether it makes sense to ask the store once more.
fn is_passing(kind: store::ErrorKind) -> bool {
    use store::ErrorKind::{BreakerOpen, Full, Late, Refused, Timeout, Unreachable};
    match kind {
        Timeout | Unreachable | Late => true,
        BreakerOpen | Full | Refused => false,
    }
}

/// Tells the first who is still there.
fn call_first(seated: &mut VecDeque<Waiter>, mut turn: Turn) {
    while let Some(waiter) = seated.pop_front() {
        match waiter.turn.send(turn) {
            Ok(()) => return,
            Err(refused) => turn = refused,
        }
    }
}

/// Tells everybody for whom there is a turn.
fn call_all(seated: &mut VecDeque<Waiter>, turn: impl Fn(Option<Duration>) -> Option<Turn>) {
    for waiter in std::mem::take(seated) {
        match turn(waiter.max_stale) {
            // Whoever left does not need to know.
            Some(turn) => drop(waiter.turn.send(turn)),
            None => seated.push_back(waiter),
        }
    }
}

impl Place {
    /// Waits for the turn.
    pub(super) async fn turn(&mut self) -> Turn {
        // The sender is dropped without a word only if the usher panicked.
        (&mut self.turn).await.unwrap_or_else(|_| Turn::Failed(store::ErrorKind::Refused.into()))
    }

    /// When the key is expected to be available, as far as is known.
    pub(super) fn available_in(&self) -> Duration {
        Duration::from_millis(self.available_in.load(Ordering::Relaxed))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.room.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

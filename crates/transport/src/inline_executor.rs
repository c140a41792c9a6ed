//! Runs the streams of a connection in the connection's own task.
//!
//! Most responses are ready at once, and responses that become ready together are sent together.
//! With a task per stream, the first stream with a response would wake the connection; Tokio would
//! run the connection next, and one response would be sent in a system call of its own.
//!
//! # Algorithm
//!
//! - [`InlineExecutor`] polls a new stream where it arrives. A stream that has to wait is put into
//!   a slot. Streams that may spawn get a task instead, so that other cores can take part.
//! - Each slot has a waker, which adds the index of the slot to the [`ReadyQueue`] and wakes the
//!   connection's task. Slots and wakers are reused, so that a stream that waits allocates nothing.
//! - [`StreamSet::poll_batch`] polls the streams in the queue, a few at a time. In between the
//!   connection writes the responses to its buffer.
//!
//! # Why not `FuturesUnordered`
//!
//! It has the same ready queue and one waker per future, but it polls each new future itself. So a
//! stream that has to wait is polled twice where it arrives. It also wakes its own task when all of
//! its futures are pending, which polls the connection once more. A variant of this module on it,
//! compared with `scripts/instructions.sh` and in 12 interleaved rounds of h2load:
//!
//! | `FuturesUnordered` over slots | value in memory | value in Redis |
//! |---|---|---|
//! | instructions per Get, one at a time | 0.99 | 1.06 |
//! | allocations per Get, one at a time | 1.00 | 1.02 |
//! | CPU per Get, 8 connections of 32 streams | 0.98 | 1.01 |

use std::{
    collections::VecDeque,
    future::Future,
    mem,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    task::{Context, Poll},
};

use futures_util::task::{ArcWake, AtomicWaker, waker_ref};
use parking_lot::Mutex;
use tokio::task::coop::unconstrained;

use crate::stall_guard::{GuardedStream, StallGuard};

/// Streams polled per batch, before their responses are written. More would not fit the CPU cache.
const BATCH_SIZE: usize = 8;
/// Maximum number of slots kept while no stream waits.
const SPARE_SLOTS: usize = 128;

/// The streams of a connection that wait. Dropping the set drops them.
pub(crate) struct StreamSet {
    shared: Arc<Shared>,
    /// Indices of woken streams that are polled next. Kept for its memory.
    batch: VecDeque<usize>,
}

/// hyper's executor for the streams of a connection. Clones share the streams.
#[derive(Clone)]
pub(crate) struct InlineExecutor(Arc<Shared>);

#[derive(Default)]
struct Shared {
    next: Mutex<NextStream>,
    /// Rarely contended: besides the connection's task, only a spawned stream uses the slots, when
    /// it discards the rest of a rejected request.
    slots: Mutex<Slots>,
    ready: Arc<ReadyQueue>,
    /// Streams with a task of their own.
    spawned: Arc<AtomicUsize>,
}

/// Counts a stream with a task of its own until it is dropped.
struct SpawnedStream(Arc<AtomicUsize>);

/// How to run the next stream.
#[derive(Default)]
struct NextStream {
    may_spawn: bool,
    guard: Option<StallGuard>,
}

#[derive(Default)]
struct Slots {
    /// None while the stream of the slot is polled.
    all: Vec<Option<Slot>>,
    /// Indices of slots without a stream.
    vacant: Vec<usize>,
}

struct Slot {
    waker: Arc<StreamWaker>,
    stream: Option<GuardedStream>,
}

/// The waker of a slot. It may wake the slot for an earlier stream, which costs one poll.
struct StreamWaker {
    index: usize,
    is_woken: AtomicBool,
    ready: Arc<ReadyQueue>,
}

/// Indices of woken streams.
#[derive(Default)]
struct ReadyQueue {
    indices: Mutex<VecDeque<usize>>,
    connection: AtomicWaker,
}

// === impl StreamSet ===

impl StreamSet {
    pub(crate) fn new() -> Self {
        Self { shared: Arc::default(), batch: VecDeque::new() }
    }

    pub(crate) fn executor(&self) -> InlineExecutor {
        InlineExecutor(self.shared.clone())
    }

    /// Polls up to [`BATCH_SIZE`] woken streams, and returns whether more are left. Must be called
    /// before the connection is polled, as it registers the waker for streams that begin to wait.
    pub(crate) fn poll_batch(&mut self, cx: &mut Context<'_>) -> bool {
        if self.batch.is_empty() {
            self.shared.ready.connection.register(cx.waker());
            mem::swap(&mut *self.shared.ready.indices.lock(), &mut self.batch);
        }
        if self.batch.is_empty() {
            return false;
        }
        for index in self.batch.drain(..self.batch.len().min(BATCH_SIZE)) {
            let Some(mut slot) = self.shared.slots.lock().take(index) else { continue };
            // A swap and not a store: the poll must see the writes before wake-ups that found the
            // flag set.
            slot.waker.is_woken.swap(false, Ordering::SeqCst);
            let ended = slot.stream.take_if(|stream| poll_stream(stream, &slot.waker).is_ready());
            self.shared.slots.lock().put_back(slot, ended.is_some());
        }
        self.shared.slots.lock().shrink();
        !self.batch.is_empty()
    }
}

impl Drop for StreamSet {
    fn drop(&mut self) {
        // The streams hold the executor, which holds the slots: without this they would leak.
        let slots = mem::take(&mut *self.shared.slots.lock());
        drop(slots);
    }
}

// === impl InlineExecutor ===

impl InlineExecutor {
    /// Whether streams are open. For any thread; if the streams are being polled, some are.
    pub(crate) fn has_streams(&self) -> bool {
        let has_slots = self.0.slots.try_lock().is_none_or(|slots| slots.has_streams());
        has_slots || self.0.spawned.load(Ordering::SeqCst) > 0
    }

    /// Sets whether the next stream gets a task of its own if it has to wait, and its guard.
    pub(crate) fn prepare(&self, may_spawn: bool, guard: Option<StallGuard>) {
        *self.0.next.lock() = NextStream { may_spawn, guard };
    }
}

impl<F: Future<Output = ()> + Send + 'static> hyper::rt::Executor<F> for InlineExecutor {
    fn execute(&self, future: F) {
        let NextStream { may_spawn, guard } = mem::take(&mut *self.0.next.lock());
        let mut stream = GuardedStream::new(Box::pin(future), guard);
        let mut slot = self.0.slots.lock().take_vacant(&self.0.ready);
        let mut is_vacated = poll_stream(&mut stream, &slot.waker).is_ready();
        if !is_vacated && may_spawn {
            is_vacated = true;
            let counted = SpawnedStream::new(&self.0.spawned);
            tokio::spawn(async move {
                stream.await;
                drop(counted);
            });
        } else if !is_vacated {
            slot.stream = Some(stream);
        }
        self.0.slots.lock().put_back(slot, is_vacated);
    }
}

/// Polls a stream. A panic ends the stream and leaves the others of the connection alone; the panic
/// hook has logged it.
fn poll_stream(stream: &mut GuardedStream, waker: &Arc<StreamWaker>) -> Poll<()> {
    let waker = waker_ref(waker);
    let mut cx = Context::from_waker(&waker);
    // The budget of the connection's task bounds what the streams can read. Without a budget of
    // their own they are not stopped in the middle of a response.
    let poll = || pin!(unconstrained(&mut *stream)).poll(&mut cx);
    catch_unwind(AssertUnwindSafe(poll)).unwrap_or(Poll::Ready(()))
}

// === impl SpawnedStream ===

impl SpawnedStream {
    fn new(count: &Arc<AtomicUsize>) -> Self {
        count.fetch_add(1, Ordering::SeqCst);
        Self(count.clone())
    }
}

impl Drop for SpawnedStream {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

// === impl Slots ===

impl Slots {
    fn has_streams(&self) -> bool {
        self.all.len() > self.vacant.len()
    }

    /// Takes a slot without a stream, or makes one.
    fn take_vacant(&mut self, ready: &Arc<ReadyQueue>) -> Slot {
        if let Some(slot) = self.vacant.pop().and_then(|index| self.take(index)) {
            return slot;
        }
        let waker = StreamWaker {
            index: self.all.len(),
            is_woken: AtomicBool::new(false),
            ready: ready.clone(),
        };
        self.all.push(None);
        Slot { waker: Arc::new(waker), stream: None }
    }

    fn take(&mut self, index: usize) -> Option<Slot> {
        self.all.get_mut(index)?.take()
    }

    fn put_back(&mut self, slot: Slot, is_vacated: bool) {
        let index = slot.waker.index;
        if let Some(place) = self.all.get_mut(index) {
            *place = Some(slot);
            if is_vacated {
                self.vacant.push(index);
            }
        }
    }

    /// Frees the slots of a burst once no stream waits. Wakers that outlive their slots do nothing.
    fn shrink(&mut self) {
        if self.all.len() > SPARE_SLOTS && self.vacant.len() == self.all.len() {
            *self = Self::default();
        }
    }
}

// === impl StreamWaker ===

impl ArcWake for StreamWaker {
    fn wake_by_ref(waker: &Arc<Self>) {
        if waker.is_woken.swap(true, Ordering::SeqCst) {
            return;
        }
        let is_first = {
            let mut indices = waker.ready.indices.lock();
            indices.push_back(waker.index);
            indices.len() == 1
        };
        if is_first {
            waker.ready.connection.wake();
        }
    }
}

#[cfg(test)]
mod tests;

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

use std::{
    collections::VecDeque,
    future::Future,
    mem,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::{Pin, pin},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
};

use futures_util::task::{ArcWake, AtomicWaker, waker_ref};
use parking_lot::Mutex;
use tokio::task::coop::unconstrained;

/// Streams polled per batch, before their responses are written. More would not fit the CPU cache.
const BATCH_SIZE: usize = 8;
/// Maximum number of slots kept while no stream waits.
const SPARE_SLOTS: usize = 128;

type Stream = Pin<Box<dyn Future<Output = ()> + Send>>;

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
    next_may_spawn: AtomicBool,
    /// Only the connection's task uses the slots, so the lock is never contended.
    slots: Mutex<Slots>,
    ready: Arc<ReadyQueue>,
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
    stream: Option<Stream>,
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
    /// Sets whether the next stream gets a task of its own if it has to wait.
    pub(crate) fn next_may_spawn(&self, may_spawn: bool) {
        self.0.next_may_spawn.store(may_spawn, Ordering::Relaxed);
    }
}

impl<F: Future<Output = ()> + Send + 'static> hyper::rt::Executor<F> for InlineExecutor {
    fn execute(&self, future: F) {
        let mut stream: Stream = Box::pin(future);
        let mut slot = self.0.slots.lock().take_vacant(&self.0.ready);
        let mut is_vacated = poll_stream(&mut stream, &slot.waker).is_ready();
        if !is_vacated && self.0.next_may_spawn.load(Ordering::Relaxed) {
            is_vacated = true;
            tokio::spawn(stream);
        } else if !is_vacated {
            slot.stream = Some(stream);
        }
        self.0.slots.lock().put_back(slot, is_vacated);
    }
}

/// Polls a stream. A panic ends the stream and leaves the others of the connection alone; the panic
/// hook has logged it.
fn poll_stream(stream: &mut Stream, waker: &Arc<StreamWaker>) -> Poll<()> {
    let waker = waker_ref(waker);
    let mut cx = Context::from_waker(&waker);
    // The budget of the connection's task bounds what the streams can read. Without a budget of
    // their own they are not stopped in the middle of a response.
    let poll = || pin!(unconstrained(stream.as_mut())).poll(&mut cx);
    catch_unwind(AssertUnwindSafe(poll)).unwrap_or(Poll::Ready(()))
}

// === impl Slots ===

impl Slots {
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

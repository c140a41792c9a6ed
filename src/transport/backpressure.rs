//! Backpressure: while there is enough to do already, no more is read.
//!
//! A call that is not read takes the bytes of its frames in the buffers of the kernel, which is some seventy. One that stands in line takes
//! twenty times as much, and a thousand of those push what is worked on out of the processor's cache. And callers who come back as soon
//! as they were turned away leave no time for those who are served.
//!
//! It is on from when somebody stands in line until nobody does and half of the limit is free, so that what is read next can be begun;
//! or until one of the server's threads runs out of tasks, so that no place is kept free for nothing. Then those that were held back are
//! called, in the order of their coming and a few at a time, as the first of them may bring enough again. Nothing that was begun may
//! wait for that: see [`awaited`](super::awaited). And nobody is held back for more than [`PATIENCE`], so that callers are turned away
//! soon if there is no end to it.

use std::{
    collections::BTreeMap,
    future::Future,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering::SeqCst},
    },
    task::{Context, Poll, Waker, ready},
    time::Duration,
};

use parking_lot::Mutex;
use tokio::{
    io::{self, AsyncRead, ReadBuf},
    net::tcp::OwnedReadHalf,
    time::{Instant, Sleep, sleep},
};

use super::awaited::Awaited;

/// How long a connection is not read at most.
const PATIENCE: Duration = Duration::from_millis(20);
/// How many are called at the end, and again by each that comes. With one, no two threads would ever read at a time, and one that does not
/// come would leave all others to their patience.
const CALLED: usize = 2;

const OFF: u8 = 0;
const EASING: u8 = 1;
const ON: u8 = 2;

/// Whether there is enough to do already, and which connections are not read because of that.
#[derive(Debug, Default)]
pub struct Backpressure {
    /// One of the above.
    state: AtomicU8,
    held: Mutex<Held>,
}

/// Those who wait to be called, by their numbers.
#[derive(Debug, Default)]
struct Held {
    wakers: BTreeMap<u64, Waker>,
    last: u64,
}

/// A connection's part in it. Clones belong to the same connection; only its own task touches them, so nobody ever waits for the lock.
#[derive(Clone)]
pub(super) struct Intake(Arc<Mutex<Turn>>);

struct Turn {
    backpressure: Arc<Backpressure>,
    awaited: Awaited,
    /// From when it is held back until it reads again.
    number: Option<u64>,
    /// Made when it is needed: most connections never are held back.
    patience: Option<Pin<Box<Sleep>>>,
    has_brought_too_much: bool,
    /// Whether it reads until that brings too much. What is left of an upload that was turned away can be much, too, and is not.
    is_its_turn: bool,
    is_refused: bool,
    is_let_through: bool,
}

/// Reads when it is the connection's turn.
pub(super) struct PacedReader {
    reader: OwnedReadHalf,
    intake: Intake,
}

impl Backpressure {
    /// Somebody stands in line.
    pub fn begin(&self) {
        self.state.store(ON, SeqCst);
    }

    /// Nobody stands in line any more.
    pub fn ease(&self) {
        self.state.store(EASING, SeqCst);
    }

    /// There is room for more: ends it, unless somebody stands in line. Says whether it has ended, and connections go on.
    pub fn end(&self) -> bool {
        let has_ended = self.state.load(SeqCst) == EASING
            && self.state.compare_exchange(EASING, OFF, SeqCst, SeqCst).is_ok();
        if has_ended {
            self.call();
        }
        has_ended
    }

    /// Connections that are held back.
    pub fn held(&self) -> usize {
        self.held.lock().wakers.len()
    }

    pub(crate) fn is_off(&self) -> bool {
        self.state.load(SeqCst) == OFF
    }

    /// Wakes those whose turn it is. Who finds it on again takes the old place.
    fn call(&self) {
        for _ in 0..CALLED {
            let Some((_, waker)) = self.held.lock().wakers.pop_first() else { return };
            waker.wake();
        }
    }

    fn number(&self) -> u64 {
        let mut held = self.held.lock();
        held.last += 1;
        held.last
    }

    fn hold(&self, number: u64, waker: &Waker) {
        self.held.lock().wakers.insert(number, waker.clone());
    }

    fn leave(&self, number: u64) {
        self.held.lock().wakers.remove(&number);
        if self.is_off() {
            self.call();
        }
    }
}

// === impl Intake ===

impl Intake {
    pub(super) fn new(backpressure: Arc<Backpressure>, awaited: Awaited) -> Self {
        Self(Arc::new(Mutex::new(Turn {
            backpressure,
            awaited,
            number: None,
            patience: None,
            has_brought_too_much: false,
            is_its_turn: false,
            is_refused: false,
            is_let_through: false,
        })))
    }

    /// The connection has brought a call that could not be begun. Others, such as those of health probes, are not held back.
    pub(super) fn brings_too_much(&self) {
        let mut turn = self.0.lock();
        turn.has_brought_too_much = true;
        turn.is_its_turn = false;
    }

    /// The connection is polled. Before that ends it asks whether it reads on.
    pub(super) fn goes_on(&self) {
        self.0.lock().awaited.wakes_nobody();
    }

    /// What was read is begun, all streams have gone on, and all that can be written is. Says whether to read on, for which there is
    /// then leave, once.
    pub(super) fn reads_on(&self, cx: &Context<'_>) -> bool {
        let mut turn = self.0.lock();
        let wants_to = std::mem::take(&mut turn.is_refused);
        turn.is_let_through =
            wants_to && (turn.is_its_turn || turn.awaited.is_any_or_wakes(cx.waker()));
        turn.is_its_turn &= turn.is_let_through;
        turn.is_let_through
    }
}

// === impl Turn ===

impl Turn {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let is_let_through = std::mem::take(&mut self.is_let_through);
        if is_let_through || !self.has_brought_too_much || self.awaited.is_request() {
            self.leave();
            return Poll::Ready(());
        }
        if self.number.is_none() && self.backpressure.is_off() {
            return Poll::Ready(());
        }
        self.hold(cx);
        // Asked after that, as who ends it calls those who are there by then.
        if !self.is_its_turn && (self.backpressure.is_off() || self.is_out_of_patience(cx)) {
            self.is_its_turn = true;
            self.leave();
            return Poll::Ready(());
        }
        self.is_refused = true;
        Poll::Pending
    }

    fn hold(&mut self, cx: &Context<'_>) {
        let number = *self.number.get_or_insert_with(|| {
            match &mut self.patience {
                Some(patience) => patience.as_mut().reset(Instant::now() + PATIENCE),
                None => self.patience = Some(Box::pin(sleep(PATIENCE))),
            }
            self.backpressure.number()
        });
        self.backpressure.hold(number, cx.waker());
    }

    fn is_out_of_patience(&mut self, cx: &mut Context<'_>) -> bool {
        let is_out =
            self.patience.as_mut().is_some_and(|patience| patience.as_mut().poll(cx).is_ready());
        if is_out {
            // If it has been easing for so long, what is in work takes its time.
            self.backpressure.end();
        }
        is_out
    }

    fn leave(&mut self) {
        if let Some(number) = self.number.take() {
            self.backpressure.leave(number);
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.leave();
    }
}

// === impl PacedReader ===

impl PacedReader {
    pub(super) fn new(reader: OwnedReadHalf, intake: Intake) -> Self {
        Self { reader, intake }
    }
}

impl AsyncRead for PacedReader {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let Self { reader, intake } = &mut *self;
        let mut turn = intake.0.lock();
        if turn.is_refused {
            return Poll::Pending;
        }
        // Whoever has nothing to read should not wait for a turn.
        ready!(reader.as_ref().poll_read_ready(cx))?;
        ready!(turn.poll(cx));
        Pin::new(reader).poll_read(cx, buf)
    }
}

#[cfg(test)]
mod tests;

//! Backpressure: while there is enough to do already, no more is read.
//!
//! A call that is not read takes the bytes of its frames in the buffers of the kernel, which is some seventy. One that stands in line takes
//! twenty times as much, and a thousand of those push what is worked on out of the processor's cache. And callers who come back as soon
//! as they were turned away leave no time for those who are served.
//!
//! It is on from when somebody stands in line until nobody does and half of the limit is free, so that what is read next can be begun;
//! or until a core has nothing else to do, so that no place is kept free for nothing. Connections are then read in turns, in the order
//! in which they came to have something to read. Nothing that was begun may wait for that: see [`awaited`](super::awaited). And nobody
//! is held back for more than [`PATIENCE`], so that callers are turned away quickly if there is no end to it.

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

/// How long a connection is not read at most.
const PATIENCE: Duration = Duration::from_millis(20);

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

/// Connections by the number of their turn.
#[derive(Debug, Default)]
struct Held {
    wakers: BTreeMap<u64, Waker>,
    next: u64,
}

/// A connection's part in it. Clones belong to the same connection; only its own task touches them, so nobody ever waits for the lock.
#[derive(Clone)]
pub(super) struct Intake(Arc<Mutex<Turn>>);

struct Turn {
    backpressure: Arc<Backpressure>,
    /// While it is held back.
    number: Option<u64>,
    /// Made when it is needed: most connections never are held back.
    patience: Option<Pin<Box<Sleep>>>,
    has_brought_too_much: bool,
    was_refused: bool,
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

    /// There is room for more: ends it, unless somebody stands in line.
    pub fn end(&self) {
        if self.state.load(SeqCst) == EASING && self.state.compare_exchange(EASING, OFF, SeqCst, SeqCst).is_ok() {
            self.call_first();
        }
    }

    /// Connections that are held back.
    pub fn held(&self) -> usize {
        self.held.lock().wakers.len()
    }

    pub(crate) fn is_off(&self) -> bool {
        self.state.load(SeqCst) == OFF
    }

    /// Wakes whose turn it is. Who is not read nevertheless, as it is on again, keeps the turn.
    fn call_first(&self) {
        let first = self.held.lock().wakers.first_key_value().map(|(_, waker)| waker.clone());
        if let Some(waker) = first {
            waker.wake();
        }
    }

    fn join(&self, waker: &Waker) -> u64 {
        let mut held = self.held.lock();
        let number = held.next;
        held.next += 1;
        held.wakers.insert(number, waker.clone());
        number
    }

    fn leave(&self, number: u64) {
        self.held.lock().wakers.remove(&number);
        if self.is_off() {
            self.call_first();
        }
    }

    /// Whether it is this one's turn. If not, `waker` is woken when it is.
    fn is_turn_of(&self, number: u64, waker: &Waker) -> bool {
        let mut held = self.held.lock();
        if let Some(known) = held.wakers.get_mut(&number) {
            known.clone_from(waker);
        }
        // Asked under the lock: who ends it calls the first after that.
        self.is_off() && held.wakers.first_key_value().is_none_or(|(first, _)| *first == number)
    }
}

impl Intake {
    pub(super) fn new(backpressure: Arc<Backpressure>) -> Self {
        Self(Arc::new(Mutex::new(Turn {
            backpressure,
            number: None,
            patience: None,
            has_brought_too_much: false,
            was_refused: false,
            is_let_through: false,
        })))
    }

    /// The connection has brought a call that could not be begun. Others, such as those of health probes, are not held back.
    pub(super) fn brings_too_much(&self) {
        self.0.lock().has_brought_too_much = true;
    }

    /// Whether reading was refused since this was last asked. Until then it is refused again.
    pub(super) fn was_refused(&self) -> bool {
        std::mem::take(&mut self.0.lock().was_refused)
    }

    /// Allows for one more read.
    pub(super) fn let_through(&self) {
        self.0.lock().is_let_through = true;
    }

    fn poll_turn(&self, cx: &mut Context<'_>) -> Poll<()> {
        self.0.lock().poll(cx)
    }
}

impl Turn {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if std::mem::take(&mut self.is_let_through) {
            self.leave();
            return Poll::Ready(());
        }
        if self.was_refused {
            return Poll::Pending;
        }
        if !self.has_brought_too_much {
            return Poll::Ready(());
        }
        let number = match self.number {
            Some(number) => number,
            None if self.backpressure.is_off() && self.backpressure.held() == 0 => return Poll::Ready(()),
            None => self.join(cx),
        };
        if self.backpressure.is_turn_of(number, cx.waker()) || self.is_out_of_patience(cx) {
            self.leave();
            return Poll::Ready(());
        }
        self.was_refused = true;
        Poll::Pending
    }

    fn join(&mut self, cx: &Context<'_>) -> u64 {
        let number = self.backpressure.join(cx.waker());
        self.number = Some(number);
        match &mut self.patience {
            Some(patience) => patience.as_mut().reset(Instant::now() + PATIENCE),
            None => self.patience = Some(Box::pin(sleep(PATIENCE))),
        }
        number
    }

    fn is_out_of_patience(&mut self, cx: &mut Context<'_>) -> bool {
        self.patience.as_mut().is_some_and(|patience| patience.as_mut().poll(cx).is_ready())
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

impl PacedReader {
    pub(super) fn new(reader: OwnedReadHalf, intake: Intake) -> Self {
        Self { reader, intake }
    }
}

impl AsyncRead for PacedReader {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        // Whoever has nothing to read should not wait for a turn.
        ready!(self.reader.as_ref().poll_read_ready(cx))?;
        ready!(self.intake.poll_turn(cx));
        Pin::new(&mut self.reader).poll_read(cx, buf)
    }
}

#[cfg(test)]
mod tests {
    use std::{future::poll_fn, sync::atomic::AtomicUsize};

    use futures_util::task::{ArcWake, waker};

    use super::*;

    /// A connection, and how often it was woken.
    struct Connection {
        intake: Intake,
        wakes: Arc<Wakes>,
    }

    #[derive(Default)]
    struct Wakes(AtomicUsize);

    impl ArcWake for Wakes {
        fn wake_by_ref(wakes: &Arc<Self>) {
            wakes.0.fetch_add(1, SeqCst);
        }
    }

    impl Connection {
        fn that_brings_too_much(backpressure: &Arc<Backpressure>) -> Self {
            let intake = Intake::new(backpressure.clone());
            intake.brings_too_much();
            Self { intake, wakes: Arc::default() }
        }

        /// Whether it may read when it is polled next.
        fn reads(&self) -> bool {
            self.intake.was_refused();
            self.intake.poll_turn(&mut Context::from_waker(&waker(self.wakes.clone()))).is_ready()
        }

        fn wakes(&self) -> usize {
            self.wakes.0.load(SeqCst)
        }
    }

    fn crowd<const SIZE: usize>(backpressure: &Arc<Backpressure>) -> [Connection; SIZE] {
        std::array::from_fn(|_| Connection::that_brings_too_much(backpressure))
    }

    #[tokio::test]
    async fn who_has_brought_nothing_is_read_whatever_there_is_to_do() {
        let backpressure = Arc::<Backpressure>::default();
        let probe = Connection { intake: Intake::new(backpressure.clone()), wakes: Arc::default() };
        backpressure.begin();
        assert!(probe.reads());
        probe.intake.brings_too_much();
        assert!(!probe.reads());
    }

    #[tokio::test(start_paused = true)]
    async fn it_is_on_until_there_is_room() {
        let backpressure = Arc::<Backpressure>::default();
        let [one] = crowd(&backpressure);
        assert!(one.reads());
        backpressure.begin();
        assert!(!one.reads());
        backpressure.end();
        assert!(!one.reads(), "somebody stands in line");
        backpressure.ease();
        assert!(!one.reads(), "what is read could not be begun");
        assert_eq!(one.wakes(), 0);
        backpressure.end();
        assert_eq!(one.wakes(), 1);
        assert!(one.reads() && one.reads());
        assert_eq!(backpressure.held(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn connections_are_read_in_turns() {
        let backpressure = Arc::<Backpressure>::default();
        let [a, b, c, late] = crowd(&backpressure);
        backpressure.begin();
        assert!(!a.reads() && !b.reads() && !c.reads());
        backpressure.ease();
        backpressure.end();
        assert_eq!([a.wakes(), b.wakes(), c.wakes()], [1, 0, 0]);
        assert!(!b.reads() && !late.reads(), "a comes first");
        assert!(a.reads());
        assert_eq!([b.wakes(), c.wakes()], [1, 0]);
        // What a brought is too much again, before b has read.
        backpressure.begin();
        assert!(!a.reads() && !b.reads());
        backpressure.ease();
        backpressure.end();
        assert!(!c.reads() && !a.reads(), "b keeps its turn");
        assert!(b.reads() && c.reads() && late.reads() && a.reads());
        assert_eq!(backpressure.held(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn who_leaves_passes_the_turn_on() {
        let backpressure = Arc::<Backpressure>::default();
        let [a, b, c] = crowd(&backpressure);
        backpressure.begin();
        assert!(!a.reads() && !b.reads() && !c.reads());
        drop(b);
        backpressure.ease();
        backpressure.end();
        assert_eq!([a.wakes(), c.wakes()], [1, 0]);
        drop(a);
        assert_eq!(c.wakes(), 1);
        assert!(c.reads());
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_is_held_back_for_long() {
        let backpressure = Arc::<Backpressure>::default();
        let [one] = crowd(&backpressure);
        backpressure.begin();
        for _ in 0..3 {
            let held = Instant::now();
            poll_fn(|cx| {
                one.intake.was_refused();
                one.intake.poll_turn(cx)
            })
            .await;
            let held = held.elapsed();
            assert!((PATIENCE..PATIENCE + Duration::from_millis(2)).contains(&held), "{held:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_begun_goes_on() {
        let backpressure = Arc::<Backpressure>::default();
        let [one, next] = crowd(&backpressure);
        backpressure.begin();
        assert!(!one.reads() && !next.reads());
        one.intake.let_through();
        assert!(one.reads());
        assert!(!one.reads(), "it is for one read");
        backpressure.ease();
        backpressure.end();
        assert!(!one.reads(), "it has used its turn");
        assert!(next.reads() && one.reads());
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_was_refused_is_refused_until_asked_about_it() {
        let backpressure = Arc::<Backpressure>::default();
        let [one] = crowd(&backpressure);
        backpressure.begin();
        let mut cx = Context::from_waker(Waker::noop());
        assert!(one.intake.poll_turn(&mut cx).is_pending());
        backpressure.ease();
        backpressure.end();
        assert!(one.intake.poll_turn(&mut cx).is_pending());
        assert!(one.intake.was_refused() && !one.intake.was_refused());
        assert!(one.intake.poll_turn(&mut cx).is_ready());
    }
}

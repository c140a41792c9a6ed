//! Runs the streams of a connection in the connection's own task: most answers are ready at once, and those that become ready
//! together are sent together.
//!
//! With a task for each, the first stream to have its answer would wake the connection; Tokio would run that next, and send this one
//! answer in a system call of its own. Streams that mean much work and have to wait get a task nevertheless, so that other cores can
//! take part.

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

/// Streams that are gone on with before their answers are written. What many answers pass through on their way, one after the other, does
/// not fit in the processor's own cache.
const AT_A_TIME: usize = 8;
/// Slots that a connection keeps while none of its streams waits.
const SPARE_SLOTS: usize = 128;

type Stream = Pin<Box<dyn Future<Output = ()> + Send>>;

/// The streams of a connection that wait for something. They end with it.
pub(super) struct Streams {
    shared: Arc<Shared>,
    /// Those that are gone on with; here so that its memory is used again.
    turn: VecDeque<usize>,
}

/// Polls streams where they arrive. Clones belong to the same connection.
#[derive(Clone)]
pub(super) struct InlineFirst(Arc<Shared>);

#[derive(Default)]
struct Shared {
    next_is_heavy: AtomicBool,
    /// Only the connection's own task touches them, so nobody ever waits for the lock.
    slots: Mutex<Slots>,
    rung: Arc<Rung>,
}

/// Slots are used again, so that a stream that has to wait needs no memory of its own for that.
#[derive(Default)]
struct Slots {
    /// None is one whose stream is being polled.
    all: Vec<Option<Slot>>,
    /// Indices of those without a stream.
    vacant: Vec<usize>,
}

struct Slot {
    bell: Arc<Bell>,
    stream: Option<Stream>,
}

/// By which the stream of a slot is woken. It may ring for one that was there before, which does no harm.
struct Bell {
    index: usize,
    has_rung: AtomicBool,
    rung: Arc<Rung>,
}

/// Whose bells have rung.
#[derive(Default)]
struct Rung {
    indices: Mutex<VecDeque<usize>>,
    connection: AtomicWaker,
}

impl Streams {
    pub(super) fn new() -> Self {
        Self { shared: Arc::default(), turn: VecDeque::new() }
    }

    /// What begins them.
    pub(super) fn executor(&self) -> InlineFirst {
        InlineFirst(self.shared.clone())
    }

    /// Goes on with some of those that have been woken, and says whether it has to be called again for the others. Comes before any are
    /// begun, as it says who is to be woken for them.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> bool {
        if self.turn.is_empty() {
            self.shared.rung.connection.register(cx.waker());
            mem::swap(&mut *self.shared.rung.indices.lock(), &mut self.turn);
        }
        if self.turn.is_empty() {
            return false;
        }
        for index in self.turn.drain(..self.turn.len().min(AT_A_TIME)) {
            let Some(mut slot) = self.shared.slots.lock().take(index) else { continue };
            // A swap, so that what happened before a ring that came to nothing is seen by the poll that follows.
            slot.bell.has_rung.swap(false, Ordering::SeqCst);
            let ended = slot.stream.take_if(|stream| poll_stream(stream, &slot.bell).is_ready());
            self.shared.slots.lock().put_back(slot, ended.is_some());
        }
        self.shared.slots.lock().shrink();
        !self.turn.is_empty()
    }
}

impl Drop for Streams {
    fn drop(&mut self) {
        // They know who began them, and would never be dropped.
        let slots = mem::take(&mut *self.shared.slots.lock());
        drop(slots);
    }
}

impl InlineFirst {
    /// Says whether the stream that is begun next means much work.
    pub(super) fn next_is_heavy(&self, is_heavy: bool) {
        self.0.next_is_heavy.store(is_heavy, Ordering::Relaxed);
    }
}

impl<F: Future<Output = ()> + Send + 'static> hyper::rt::Executor<F> for InlineFirst {
    fn execute(&self, future: F) {
        let mut stream: Stream = Box::pin(future);
        let mut slot = self.0.slots.lock().take_vacant(&self.0.rung);
        let mut has_ended = poll_stream(&mut stream, &slot.bell).is_ready();
        if !has_ended && self.0.next_is_heavy.load(Ordering::Relaxed) {
            has_ended = true;
            tokio::spawn(stream);
        } else if !has_ended {
            slot.stream = Some(stream);
        }
        self.0.slots.lock().put_back(slot, has_ended);
    }
}

/// Ready, too, if it panics: that must not take the other streams of the connection with it. The panic hook has logged it.
fn poll_stream(stream: &mut Stream, bell: &Arc<Bell>) -> Poll<()> {
    let waker = waker_ref(bell);
    let mut cx = Context::from_waker(&waker);
    // What they read comes through this connection's task, which does have a budget; without one of their own they are not
    // stopped in the middle of an answer.
    let poll = || pin!(unconstrained(stream.as_mut())).poll(&mut cx);
    catch_unwind(AssertUnwindSafe(poll)).unwrap_or(Poll::Ready(()))
}

// === impl Slots ===

impl Slots {
    /// Takes a slot without a stream.
    fn take_vacant(&mut self, rung: &Arc<Rung>) -> Slot {
        if let Some(slot) = self.vacant.pop().and_then(|index| self.take(index)) {
            return slot;
        }
        let bell =
            Bell { index: self.all.len(), has_rung: AtomicBool::new(false), rung: rung.clone() };
        self.all.push(None);
        Slot { bell: Arc::new(bell), stream: None }
    }

    fn take(&mut self, index: usize) -> Option<Slot> {
        self.all.get_mut(index)?.take()
    }

    /// Gives back what a crowd has needed, when it has gone. Bells that ring later ring for nobody.
    fn shrink(&mut self) {
        if self.all.len() > SPARE_SLOTS && self.vacant.len() == self.all.len() {
            *self = Self::default();
        }
    }

    fn put_back(&mut self, slot: Slot, is_vacated: bool) {
        let index = slot.bell.index;
        if let Some(place) = self.all.get_mut(index) {
            *place = Some(slot);
            if is_vacated {
                self.vacant.push(index);
            }
        }
    }
}

// === impl Bell ===

impl ArcWake for Bell {
    fn wake_by_ref(bell: &Arc<Self>) {
        if bell.has_rung.swap(true, Ordering::SeqCst) {
            return;
        }
        let is_first = {
            let mut indices = bell.rung.indices.lock();
            indices.push_back(bell.index);
            indices.len() == 1
        };
        if is_first {
            bell.rung.connection.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        future::poll_fn,
        sync::atomic::{AtomicBool, Ordering::SeqCst},
        time::Duration,
    };

    use hyper::rt::Executor as _;
    use tokio::sync::Notify;

    use super::*;

    impl Streams {
        fn waiting(&self) -> usize {
            self.shared
                .slots
                .lock()
                .all
                .iter()
                .flatten()
                .filter(|slot| slot.stream.is_some())
                .count()
        }
    }

    /// Polls `streams` as their connection does, until `done`.
    async fn run(streams: &mut Streams, done: impl Future<Output = ()>) {
        let mut done = pin!(done);
        let polled = poll_fn(|cx| {
            while streams.poll(cx) {}
            done.as_mut().poll(cx)
        });
        let in_time = tokio::time::timeout(Duration::from_secs(10), polled).await;
        assert!(in_time.is_ok(), "the stream does not go on");
    }

    #[tokio::test]
    async fn what_is_ready_is_done_at_once() {
        let done = Arc::new(AtomicBool::new(false));
        let does = done.clone();
        let streams = Streams::new();
        streams.executor().execute(async move { does.store(true, SeqCst) });
        assert!(done.load(SeqCst));
        assert_eq!(streams.waiting(), 0);
    }

    #[tokio::test]
    async fn what_has_to_wait_goes_on_with_its_connection() {
        let (go_on, end) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let (told, says) = (go_on.clone(), end.clone());
        let mut streams = Streams::new();
        streams.executor().execute(async move {
            told.notified().await;
            says.notify_one();
        });
        go_on.notify_one();
        let early = tokio::time::timeout(Duration::from_millis(20), end.notified());
        assert!(early.await.is_err(), "it runs without its connection");
        run(&mut streams, end.notified()).await;
        assert_eq!(streams.waiting(), 0);
    }

    #[tokio::test]
    async fn much_work_goes_on_by_itself() {
        let (go_on, end) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let (told, says) = (go_on.clone(), end.clone());
        let executor = Streams::new().executor();
        executor.next_is_heavy(true);
        executor.execute(async move {
            told.notified().await;
            says.notify_one();
        });
        go_on.notify_one();
        assert!(tokio::time::timeout(Duration::from_secs(10), end.notified()).await.is_ok());
    }

    #[tokio::test]
    async fn a_panic_stays_where_it_is() {
        let (go_on, end) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let (told, says) = (go_on.clone(), end.clone());
        let mut streams = Streams::new();
        streams.executor().execute(async { panic!("at once") });
        let late = go_on.clone();
        streams.executor().execute(async move {
            late.notified().await;
            panic!("later")
        });
        streams.executor().execute(async move {
            told.notified().await;
            says.notify_one();
        });
        go_on.notify_waiters();
        run(&mut streams, end.notified()).await;
        assert_eq!(streams.waiting(), 0);
    }

    #[tokio::test]
    async fn what_a_crowd_has_needed_is_given_back() {
        let (go_on, end) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let mut streams = Streams::new();
        let bells = Arc::new(Mutex::new(Vec::new()));
        for _ in 0..=SPARE_SLOTS {
            let (told, says, bells) = (go_on.clone(), end.clone(), bells.clone());
            streams.executor().execute(async move {
                poll_fn(|cx| {
                    bells.lock().push(cx.waker().clone());
                    Poll::Ready(())
                })
                .await;
                told.notified().await;
                says.notify_one();
            });
        }
        assert_eq!(streams.waiting(), SPARE_SLOTS + 1);
        go_on.notify_waiters();
        run(&mut streams, end.notified()).await;
        assert_eq!(streams.shared.slots.lock().all.len(), 0);
        // Their bells may still ring, and the next streams are begun and woken nevertheless.
        bells.lock().drain(..).for_each(std::task::Waker::wake);
        let (told, says) = (go_on.clone(), end.clone());
        streams.executor().execute(async move {
            told.notified().await;
            says.notify_one();
        });
        go_on.notify_waiters();
        run(&mut streams, end.notified()).await;
        assert_eq!((streams.waiting(), streams.shared.slots.lock().all.len()), (0, 1));
    }

    #[tokio::test]
    async fn a_crowd_goes_on_a_few_at_a_time_in_the_order_of_their_bells() {
        const CROWD: usize = AT_A_TIME * 2 + 1;
        let bells = Arc::new(Mutex::new(Vec::new()));
        let gone_on = Arc::new(Mutex::new(Vec::new()));
        let mut streams = Streams::new();
        for name in 0..CROWD {
            let (bells, gone_on) = (bells.clone(), gone_on.clone());
            let mut is_begun = false;
            streams.executor().execute(poll_fn(move |cx| {
                if mem::replace(&mut is_begun, true) {
                    gone_on.lock().push(name);
                    return Poll::Ready(());
                }
                bells.lock().push(cx.waker().clone());
                Poll::Pending
            }));
        }
        let rung: Vec<_> = (0..CROWD).rev().collect();
        let mut cx = Context::from_waker(std::task::Waker::noop());
        assert!(!streams.poll(&mut cx), "nobody was woken");
        rung.iter().for_each(|&name| bells.lock()[name].wake_by_ref());
        for (expected, are_left) in
            [(AT_A_TIME, true), (AT_A_TIME * 2, true), (CROWD, false), (CROWD, false)]
        {
            assert_eq!(streams.poll(&mut cx), are_left);
            assert_eq!(*gone_on.lock(), rung[..expected]);
        }
        assert_eq!(streams.waiting(), 0);
    }

    #[tokio::test]
    async fn they_end_with_their_connection() {
        struct Says(Arc<AtomicBool>);
        impl Drop for Says {
            fn drop(&mut self) {
                self.0.store(true, SeqCst);
            }
        }
        let has_ended = Arc::new(AtomicBool::new(false));
        let (streams, says) = (Streams::new(), Says(has_ended.clone()));
        let executor = streams.executor();
        // It knows who began it, as those of hyper do.
        let same = executor.clone();
        executor.execute(async move {
            let _both = (same, says);
            std::future::pending::<()>().await;
        });
        assert!(!has_ended.load(SeqCst));
        drop(streams);
        assert!(has_ended.load(SeqCst));
    }

    #[tokio::test]
    async fn a_slot_is_used_again_and_late_bells_do_no_harm() {
        let (go_on, end) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let mut streams = Streams::new();
        let old = Arc::new(Mutex::new(None));
        for round in 0..100 {
            let (told, says, left) = (go_on.clone(), end.clone(), old.clone());
            streams.executor().execute(async move {
                poll_fn(|cx| {
                    // The bell of this stream is rung again after its end, during the next.
                    left.lock().replace(cx.waker().clone()).map_or(Poll::Ready(()), |late| {
                        late.wake();
                        Poll::Ready(())
                    })
                })
                .await;
                told.notified().await;
                says.notify_one();
            });
            assert_eq!(streams.waiting(), 1, "round {round}");
            go_on.notify_one();
            run(&mut streams, end.notified()).await;
            assert_eq!(streams.waiting(), 0, "round {round}");
        }
        let slots = streams.shared.slots.lock();
        assert_eq!((slots.all.len(), slots.vacant.as_slice()), (1, [0].as_slice()));
    }
}

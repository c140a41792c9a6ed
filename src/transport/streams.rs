//! Runs the streams of a connection in the connection's own task: most answers are ready at once, and those that become ready
//! together are sent together.
//!
//! With a task for each, the first stream to have its answer would wake the connection; Tokio would run that next, and send this one
//! answer in a system call of its own. Streams that mean much work and have to wait get a task nevertheless, so that other cores can
//! take part.

use std::{
    future::Future,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::{Pin, pin},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Waker},
};

use futures_util::{FutureExt as _, StreamExt as _, future::CatchUnwind, stream::FuturesUnordered};
use parking_lot::Mutex;
use tokio::task::coop::unconstrained;

type Stream = Pin<Box<dyn Future<Output = ()> + Send>>;

/// The streams of a connection that wait for something.
pub(super) struct Streams {
    begun: Arc<Begun>,
    waiting: FuturesUnordered<CatchUnwind<AssertUnwindSafe<Stream>>>,
}

/// Polls streams once, where they arrive. Clones belong to the same connection.
#[derive(Clone)]
pub(super) struct InlineFirst(Arc<Begun>);

/// Only the connection's own task touches it, so nobody ever waits for the lock.
#[derive(Default)]
struct Begun {
    next_is_heavy: AtomicBool,
    streams: Mutex<Vec<Stream>>,
}

impl Streams {
    pub(super) fn new() -> Self {
        Self { begun: Arc::default(), waiting: FuturesUnordered::new() }
    }

    /// What begins them.
    pub(super) fn executor(&self) -> InlineFirst {
        InlineFirst(self.begun.clone())
    }

    /// Goes on with those that have been woken.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) {
        // What they read comes through this connection's task, which does have a budget; without one of their own they are not
        // stopped in the middle of an answer.
        while let Poll::Ready(Some(_)) = pin!(unconstrained(self.waiting.next())).poll(cx) {}
    }

    /// Goes on with those that were begun since.
    pub(super) fn poll_begun(&mut self, cx: &mut Context<'_>) {
        let mut begun = self.begun.streams.lock();
        if !begun.is_empty() {
            self.waiting.extend(begun.drain(..).map(|stream| AssertUnwindSafe(stream).catch_unwind()));
            drop(begun);
            self.poll(cx);
        }
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
        let mut stream = Box::pin(future);
        // Nobody is woken by this poll: what is not ready is polled again, and leaves its own word.
        let first = || pin!(unconstrained(stream.as_mut())).poll(&mut Context::from_waker(Waker::noop()));
        // A panic must not take the other streams of the connection with it. The panic hook has logged it.
        match catch_unwind(AssertUnwindSafe(first)) {
            Ok(Poll::Ready(())) | Err(_) => {}
            Ok(Poll::Pending) if self.0.next_is_heavy.load(Ordering::Relaxed) => drop(tokio::spawn(stream)),
            Ok(Poll::Pending) => self.0.streams.lock().push(stream),
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

    /// Polls `streams` as their connection does, until `done`.
    async fn run(streams: &mut Streams, done: impl Future<Output = ()>) {
        let mut done = pin!(done);
        let polled = poll_fn(|cx| {
            streams.poll(cx);
            streams.poll_begun(cx);
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
        assert!(streams.begun.streams.lock().is_empty());
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
        assert!(streams.waiting.is_empty());
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
        streams.executor().execute(async {
            tokio::task::yield_now().await;
            panic!("later")
        });
        streams.executor().execute(async move {
            told.notified().await;
            says.notify_one();
        });
        go_on.notify_one();
        run(&mut streams, end.notified()).await;
    }
}

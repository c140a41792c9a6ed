use std::{
    future::{pending, poll_fn},
    sync::atomic::{AtomicBool, Ordering::SeqCst},
    task::Waker,
    time::Duration,
};

use hyper::rt::Executor as _;
use tokio::{sync::Notify, time::timeout};

use super::*;

impl StreamSet {
    fn waiting(&self) -> usize {
        let slots = self.shared.slots.lock();
        slots.all.iter().flatten().filter(|slot| slot.stream.is_some()).count()
    }
}

/// Polls `streams` as their connection does, until `done`.
async fn run(streams: &mut StreamSet, done: impl Future<Output = ()>) {
    let mut done = pin!(done);
    let polled = poll_fn(|cx| {
        while streams.poll_batch(cx) {}
        done.as_mut().poll(cx)
    });
    assert!(timeout(Duration::from_secs(10), polled).await.is_ok(), "the stream is not polled");
}

/// A stream that waits for `start` and then notifies `end`.
fn relay(start: &Arc<Notify>, end: &Arc<Notify>) -> impl Future<Output = ()> + Send + 'static {
    let (start, end) = (start.clone(), end.clone());
    async move {
        start.notified().await;
        end.notify_one();
    }
}

#[tokio::test]
async fn a_ready_stream_ends_where_it_arrives() {
    let done = Arc::new(AtomicBool::new(false));
    let flag = done.clone();
    let streams = StreamSet::new();
    streams.executor().execute(async move { flag.store(true, SeqCst) });
    assert!(done.load(SeqCst));
    assert_eq!(streams.waiting(), 0);
}

#[tokio::test]
async fn a_waiting_stream_is_polled_by_its_connection() {
    let (start, end) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let mut streams = StreamSet::new();
    streams.executor().execute(relay(&start, &end));
    start.notify_one();
    let early = timeout(Duration::from_millis(20), end.notified());
    assert!(early.await.is_err(), "the connection was not polled");
    run(&mut streams, end.notified()).await;
    assert_eq!(streams.waiting(), 0);
}

#[tokio::test]
async fn a_waiting_stream_that_may_spawn_runs_in_its_own_task() {
    let (start, end) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let executor = StreamSet::new().executor();
    executor.prepare(true, None);
    executor.execute(relay(&start, &end));
    start.notify_one();
    assert!(timeout(Duration::from_secs(10), end.notified()).await.is_ok());
}

#[tokio::test]
async fn a_panic_ends_only_its_own_stream() {
    let (start, end) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let mut streams = StreamSet::new();
    streams.executor().execute(async { panic!("at once") });
    let late = start.clone();
    streams.executor().execute(async move {
        late.notified().await;
        panic!("later")
    });
    streams.executor().execute(relay(&start, &end));
    start.notify_waiters();
    run(&mut streams, end.notified()).await;
    assert_eq!(streams.waiting(), 0);
}

#[tokio::test]
async fn the_slots_of_a_burst_are_freed() {
    let (start, end) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let mut streams = StreamSet::new();
    let wakers = Arc::new(Mutex::new(Vec::new()));
    for _ in 0..=SPARE_SLOTS {
        let (relay, wakers) = (relay(&start, &end), wakers.clone());
        streams.executor().execute(async move {
            poll_fn(|cx| {
                wakers.lock().push(cx.waker().clone());
                Poll::Ready(())
            })
            .await;
            relay.await;
        });
    }
    assert_eq!(streams.waiting(), SPARE_SLOTS + 1);
    start.notify_waiters();
    run(&mut streams, end.notified()).await;
    assert_eq!(streams.shared.slots.lock().all.len(), 0);
    // Old wakers may still be used, and new streams are polled and woken nevertheless.
    wakers.lock().drain(..).for_each(Waker::wake);
    streams.executor().execute(relay(&start, &end));
    start.notify_waiters();
    run(&mut streams, end.notified()).await;
    assert_eq!((streams.waiting(), streams.shared.slots.lock().all.len()), (0, 1));
}

#[tokio::test]
async fn woken_streams_are_polled_in_batches_in_wake_order() {
    const STREAMS: usize = BATCH_SIZE * 2 + 1;
    let wakers = Arc::new(Mutex::new(Vec::new()));
    let polled = Arc::new(Mutex::new(Vec::new()));
    let mut streams = StreamSet::new();
    for name in 0..STREAMS {
        let (wakers, polled) = (wakers.clone(), polled.clone());
        let mut has_begun = false;
        streams.executor().execute(poll_fn(move |cx| {
            if mem::replace(&mut has_begun, true) {
                polled.lock().push(name);
                return Poll::Ready(());
            }
            wakers.lock().push(cx.waker().clone());
            Poll::Pending
        }));
    }
    let woken: Vec<_> = (0..STREAMS).rev().collect();
    let mut cx = Context::from_waker(Waker::noop());
    assert!(!streams.poll_batch(&mut cx), "no stream was woken");
    woken.iter().for_each(|&name| wakers.lock()[name].wake_by_ref());
    for (expected, are_left) in
        [(BATCH_SIZE, true), (BATCH_SIZE * 2, true), (STREAMS, false), (STREAMS, false)]
    {
        assert_eq!(streams.poll_batch(&mut cx), are_left);
        assert_eq!(*polled.lock(), woken[..expected]);
    }
    assert_eq!(streams.waiting(), 0);
}

#[tokio::test]
async fn streams_are_dropped_with_their_connection() {
    struct OnDrop(Arc<AtomicBool>);
    impl Drop for OnDrop {
        fn drop(&mut self) {
            self.0.store(true, SeqCst);
        }
    }
    let is_dropped = Arc::new(AtomicBool::new(false));
    let (streams, on_drop) = (StreamSet::new(), OnDrop(is_dropped.clone()));
    let executor = streams.executor();
    // The streams of hyper hold the executor as well.
    let same = executor.clone();
    executor.execute(async move {
        let _both = (same, on_drop);
        pending::<()>().await;
    });
    assert!(!is_dropped.load(SeqCst));
    drop(streams);
    assert!(is_dropped.load(SeqCst));
}

#[tokio::test]
async fn a_slot_is_reused_and_tolerates_late_wakes() {
    let (start, end) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let mut streams = StreamSet::new();
    let old = Arc::new(Mutex::new(None));
    for round in 0..100 {
        let (relay, left) = (relay(&start, &end), old.clone());
        streams.executor().execute(async move {
            poll_fn(|cx| {
                // Wakes the stream of the round before, which has ended.
                let late = left.lock().replace(cx.waker().clone());
                late.into_iter().for_each(Waker::wake);
                Poll::Ready(())
            })
            .await;
            relay.await;
        });
        assert_eq!(streams.waiting(), 1, "round {round}");
        start.notify_one();
        run(&mut streams, end.notified()).await;
        assert_eq!(streams.waiting(), 0, "round {round}");
    }
    let slots = streams.shared.slots.lock();
    assert_eq!((slots.all.len(), slots.vacant.as_slice()), (1, [0].as_slice()));
}

#[tokio::test]
async fn open_streams_are_seen_from_outside() {
    let (start, end) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let mut streams = StreamSet::new();
    let executor = streams.executor();
    executor.execute(async {});
    assert!(!executor.has_streams());
    executor.execute(relay(&start, &end));
    assert!(executor.has_streams());
    start.notify_one();
    run(&mut streams, end.notified()).await;
    assert!(!executor.has_streams());
    executor.prepare(true, None);
    executor.execute(relay(&start, &end));
    assert!(executor.has_streams());
    start.notify_one();
    end.notified().await;
    let ended = async {
        while executor.has_streams() {
            tokio::task::yield_now().await;
        }
    };
    assert!(timeout(Duration::from_secs(10), ended).await.is_ok());
}

use super::*;

impl Admission {
    async fn acquire(self: &Arc<Self>, deadline: Option<Instant>) -> Option<Permit> {
        let connection = Arc::<ConnectionShare>::default();
        match self.try_acquire(&connection) {
            Some(permit) => Some(permit),
            None => self.acquire_queued(connection, Instant::now(), deadline).await.ok(),
        }
    }

    /// No request is in flight, and nothing is left in the queue.
    fn assert_empty(&self) {
        assert_eq!((self.in_flight(), self.waiting.load(SeqCst)), (0, 0));
        assert!(self.turns.lock().is_empty());
    }
}

#[tokio::test(start_paused = true)]
async fn requests_over_the_limit_are_rejected_after_the_queue_wait() {
    let admission = Admission::new(2);
    let (one, two) = (admission.acquire(None).await, admission.acquire(None).await);
    assert!(one.is_some() && two.is_some());
    let queued = Instant::now();
    assert!(admission.acquire(None).await.is_none());
    assert!(
        (MAX_QUEUE_WAIT..MAX_QUEUE_WAIT + Duration::from_millis(2)).contains(&queued.elapsed()),
        "{:?}",
        queued.elapsed()
    );
    let queued = Instant::now();
    assert!(admission.acquire(Some(queued)).await.is_none());
    assert_eq!(queued.elapsed(), Duration::ZERO, "the deadline has passed");
    assert_eq!(admission.in_flight(), 2);
    drop(one);
    assert!(admission.acquire(None).await.is_some());
    drop(two);
    admission.assert_empty();
}

#[tokio::test(start_paused = true)]
async fn an_earlier_deadline_ends_the_queue_wait() {
    let admission = Admission::new(1);
    let one = admission.acquire(None).await;
    let queued = Instant::now();
    let caller = async |deadline| (admission.acquire(deadline).await.is_some(), queued.elapsed());
    let (with_deadline, without) =
        tokio::join!(caller(Some(queued + MAX_QUEUE_WAIT / 4)), caller(None));
    let about = |time| time..time + Duration::from_millis(2);
    assert!(
        !with_deadline.0 && about(MAX_QUEUE_WAIT / 4).contains(&with_deadline.1),
        "{with_deadline:?}"
    );
    assert!(!without.0 && about(MAX_QUEUE_WAIT).contains(&without.1), "{without:?}");
    drop(one);
    admission.assert_empty();
}

#[tokio::test(start_paused = true)]
async fn queued_requests_are_admitted_in_order_of_arrival() {
    let admission = Admission::new(1);
    let one = admission.acquire(None).await;
    let order = Mutex::new(Vec::new());
    let caller = async |name| {
        let permit = admission.acquire(None).await;
        order.lock().push((name, permit.is_some()));
    };
    let late = async {
        tokio::time::sleep(MAX_QUEUE_WAIT / 2).await;
        drop(one);
        // The permit went to the queue, so a new request cannot take it.
        assert_eq!(admission.in_flight(), 1);
        caller("d").await;
    };
    tokio::join!(caller("a"), caller("b"), caller("c"), late);
    assert_eq!(*order.lock(), [("a", true), ("b", true), ("c", true), ("d", true)]);
    admission.assert_empty();
}

#[tokio::test(start_paused = true)]
async fn backpressure_is_on_until_the_queue_is_empty_and_half_of_the_limit_is_free() {
    let admission = Admission::new(4);
    let backpressure = admission.backpressure().clone();
    let mut permits: Vec<_> =
        std::iter::repeat_with(|| admission.try_acquire(&Arc::default())).take(4).collect();
    assert!(permits.iter().all(Option::is_some) && backpressure.is_off());
    let queued = tokio::spawn({
        let admission = admission.clone();
        async move { admission.acquire_queued(Arc::default(), Instant::now(), None).await }
    });
    for _ in 0..10 {
        tokio::task::yield_now().await;
    }
    assert!(!backpressure.is_off());
    permits.truncate(3);
    assert!(matches!(queued.await, Ok(Ok(_))));
    assert!(!backpressure.is_off(), "the queued request took the free permit");
    permits.truncate(1);
    assert!(backpressure.is_off());
    // A rejected request leaves the queue as well.
    permits.extend(std::iter::repeat_with(|| admission.try_acquire(&Arc::default())).take(3));
    assert!(admission.acquire(None).await.is_none());
    assert!(!backpressure.is_off());
    permits.truncate(2);
    assert!(backpressure.is_off());
    drop(permits);
    admission.assert_empty();
}

#[tokio::test(start_paused = true)]
async fn requests_over_the_queue_limit_are_rejected_at_once() {
    let admission = Admission::new(1);
    let one = admission.acquire(None).await;
    let began = Instant::now();
    let queued: Vec<_> = (0..QUEUE_FACTOR).map(|_| admission.acquire(None)).collect();
    let rejected = async {
        tokio::task::yield_now().await;
        assert!(admission.acquire(None).await.is_none());
        assert_eq!(began.elapsed(), Duration::ZERO);
    };
    let (outcomes, ()) = tokio::join!(futures_util::future::join_all(queued), rejected);
    assert!(outcomes.iter().all(Option::is_none));
    drop(one);
    admission.assert_empty();
}

#[tokio::test(start_paused = true)]
async fn a_request_dropped_after_admission_passes_its_permit_on() {
    let admission = Admission::new(1);
    let one = admission.acquire(None).await;
    let mut dropped = Box::pin(admission.acquire(None));
    let mut stays = Box::pin(admission.acquire(None));
    assert!(futures_util::poll!(&mut dropped).is_pending());
    assert!(futures_util::poll!(&mut stays).is_pending());
    drop(one);
    assert!(futures_util::poll!(&mut stays).is_pending(), "the oldest request is admitted first");
    // It was admitted, but is dropped before it takes the permit.
    drop(dropped);
    let permit = stays.await;
    assert!(permit.is_some());
    drop(permit);
    admission.assert_empty();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn concurrent_requests_never_exceed_the_limit() {
    const LIMIT: usize = 3;
    let admission = Admission::new(LIMIT);
    let tasks = (0..64_u32).map(|task| {
        let admission = admission.clone();
        tokio::spawn(async move {
            let mut admitted = 0;
            for round in 0..500 {
                // Some leave at once, some soon, and some wait for the full time.
                let soon = Instant::now() + Duration::from_micros(u64::from(task * round % 300));
                let deadline = (!(task + round).is_multiple_of(3)).then_some(soon);
                let permit = admission.acquire(deadline).await;
                assert!(admission.in_flight() <= LIMIT);
                admitted += u32::from(permit.is_some());
                tokio::task::yield_now().await;
            }
            admitted
        })
    });
    let admitted = futures_util::future::join_all(tasks).await.into_iter().map(Result::unwrap);
    assert!(admitted.sum::<u32>() > 0);
    admission.assert_empty();
}

#[tokio::test(start_paused = true)]
async fn a_permit_freed_before_a_request_queues_is_not_lost() {
    let admission = Admission::new(1);
    let one = admission.try_acquire(&Arc::default());
    assert!(admission.try_acquire(&Arc::default()).is_none());
    // The queue is still empty.
    drop(one);
    let queued = Instant::now();
    assert!(admission.acquire_queued(Arc::default(), queued, None).await.is_ok());
    assert_eq!(queued.elapsed(), Duration::ZERO);
    admission.assert_empty();
}

#[tokio::test(start_paused = true)]
async fn a_connection_cannot_take_all_permits() {
    let limit = 10 * CONNECTION_FLOOR;
    let admission = Admission::new(limit);
    let (greedy, other) = (Arc::default(), Arc::default());
    let held: Vec<_> = std::iter::from_fn(|| admission.try_acquire(&greedy)).collect();
    assert_eq!(held.len(), limit / 2);
    let queued = Instant::now();
    let mut more = Box::pin(admission.acquire_queued(greedy.clone(), queued, None));
    assert!(futures_util::poll!(&mut more).is_pending());
    let other_permit = admission.acquire_queued(other, queued, None).await;
    assert!(other_permit.is_ok() && queued.elapsed().is_zero(), "a permit is left");
    drop(held);
    assert!(more.await.is_ok());
    drop(other_permit);
    admission.assert_empty();
    assert_eq!(greedy.of(Resource::Requests), 0);
}

#[tokio::test(start_paused = true)]
async fn a_connection_cannot_take_the_whole_queue() {
    let admission = Admission::new(10);
    let all: Vec<_> = std::iter::from_fn(|| admission.try_acquire(&Arc::default())).collect();
    assert_eq!(all.len(), 10);
    let greedy = Arc::<ConnectionShare>::default();
    let queued = Instant::now();
    let mut requests: Vec<_> =
        (0..40).map(|_| Box::pin(admission.acquire_queued(greedy.clone(), queued, None))).collect();
    let mut waiting = 0;
    for request in &mut requests {
        match futures_util::poll!(request) {
            std::task::Poll::Pending => waiting += 1,
            std::task::Poll::Ready(outcome) => assert!(outcome.is_err()),
        }
    }
    assert_eq!(waiting, 36, "8 of 9 parts of what is free");
    let mut other = Box::pin(admission.acquire_queued(Arc::default(), queued, None));
    assert!(futures_util::poll!(&mut other).is_pending());
    drop((all, requests));
    assert!(other.await.is_ok());
    admission.assert_empty();
}

#[tokio::test(start_paused = true)]
async fn connections_with_queued_requests_are_served_in_turns() {
    let admission = Admission::new(1);
    let one = admission.try_acquire(&Arc::default());
    let (greedy, modest) = (Arc::<ConnectionShare>::default(), Arc::default());
    let order = Mutex::new(Vec::new());
    let caller = async |name, connection: &Arc<ConnectionShare>| {
        let permit = admission.acquire_queued(connection.clone(), Instant::now(), None).await;
        assert!(permit.is_ok());
        order.lock().push(name);
        drop(permit);
    };
    let release = async { drop(one) };
    tokio::join!(
        caller("greedy 1", &greedy),
        caller("greedy 2", &greedy),
        caller("modest", &modest),
        release,
    );
    assert_eq!(*order.lock(), ["greedy 1", "modest", "greedy 2"]);
    admission.assert_empty();
}

use std::future::poll_fn;

use super::{
    super::{streams::Streams, wakes::Wakes},
    *,
};

/// A connection, and how often it was woken.
struct Connection {
    intake: Intake,
    wakes: Arc<Wakes>,
}

impl Connection {
    fn new(backpressure: &Arc<Backpressure>) -> Self {
        Self {
            intake: Intake::new(backpressure.clone(), Awaited::new(Streams::new().executor())),
            wakes: Arc::default(),
        }
    }

    /// Whether it may read when it is polled next, for which nothing on it asks.
    fn reads(&self) -> bool {
        let waker = Waker::from(self.wakes.clone());
        let mut cx = Context::from_waker(&waker);
        self.intake.goes_on();
        let reads = self.intake.0.lock().poll(&mut cx).is_ready();
        assert!(!self.intake.reads_on(&cx));
        reads
    }

    fn wakes(&self) -> usize {
        self.wakes.count()
    }
}

fn crowd<const SIZE: usize>(backpressure: &Arc<Backpressure>) -> [Connection; SIZE] {
    std::array::from_fn(|_| {
        let connection = Connection::new(backpressure);
        connection.intake.brings_too_much();
        connection
    })
}

#[tokio::test]
async fn who_has_brought_nothing_is_read_whatever_there_is_to_do() {
    let backpressure = Arc::default();
    let probe = Connection::new(&backpressure);
    backpressure.begin();
    assert!(probe.reads());
    probe.intake.brings_too_much();
    assert!(!probe.reads());
}

#[tokio::test(start_paused = true)]
async fn it_is_on_until_there_is_room() {
    let backpressure = Arc::default();
    let [one] = crowd(&backpressure);
    assert!(one.reads());
    backpressure.begin();
    assert!(!one.reads());
    backpressure.end();
    assert!(!one.reads(), "somebody stands in line");
    backpressure.ease();
    assert!(!one.reads(), "what is read could not be begun");
    assert_eq!((one.wakes(), backpressure.held()), (0, 1));
    backpressure.end();
    assert_eq!(one.wakes(), 1);
    assert!(one.reads() && one.reads());
    assert_eq!(backpressure.held(), 0);
}

#[tokio::test(start_paused = true)]
async fn connections_are_called_a_few_at_a_time() {
    let backpressure = Arc::default();
    let [a, b, c, d, e] = crowd(&backpressure);
    backpressure.begin();
    assert!([&a, &b, &c, &d].iter().all(|one| !one.reads()));
    backpressure.ease();
    backpressure.end();
    let wakes = || [&a, &b, &c, &d, &e].map(Connection::wakes);
    assert_eq!(wakes(), [1, 1, 0, 0, 0]);
    assert!(a.reads());
    assert_eq!(wakes(), [1, 1, 1, 1, 0]);
    // What a brought is too much again, before the others have read.
    backpressure.begin();
    assert!([&e, &d, &a, &c, &b].iter().all(|one| !one.reads()));
    backpressure.ease();
    backpressure.end();
    assert_eq!(wakes(), [1, 2, 2, 1, 0], "b and c have kept their turns");
    assert!(b.reads());
    assert_eq!(wakes(), [1, 2, 2, 2, 1], "a comes last");
    // Nobody is held back any more, called or not.
    assert!([&a, &c, &d, &e].iter().all(|one| one.reads()));
    assert_eq!(backpressure.held(), 0);
}

#[tokio::test(start_paused = true)]
async fn who_does_not_come_or_leaves_is_not_waited_for() {
    let backpressure = Arc::default();
    let [deaf, leaves, c, d, e] = crowd(&backpressure);
    backpressure.begin();
    assert!([&deaf, &leaves, &c, &d, &e].iter().all(|one| !one.reads()));
    backpressure.ease();
    backpressure.end();
    drop(leaves);
    assert_eq!([deaf.wakes(), c.wakes(), d.wakes(), e.wakes()], [1, 1, 1, 0]);
    drop(c);
    assert_eq!(e.wakes(), 1);
}

#[tokio::test(start_paused = true)]
async fn nobody_is_held_back_for_long() {
    let backpressure = Arc::<Backpressure>::default();
    let [one] = crowd(&backpressure);
    let read = async || {
        let held = Instant::now();
        poll_fn(|cx| {
            one.intake.reads_on(cx);
            one.intake.0.lock().poll(cx)
        })
        .await;
        one.intake.reads_on(&Context::from_waker(Waker::noop()));
        held.elapsed()
    };
    backpressure.begin();
    for _ in 0..3 {
        let held = read().await;
        assert!((PATIENCE..PATIENCE + Duration::from_millis(2)).contains(&held), "{held:?}");
        assert!(!backpressure.is_off(), "somebody stands in line");
    }
    // What is in work takes its time, and half of the limit does not become free.
    backpressure.ease();
    read().await;
    assert!(backpressure.is_off());
    assert_eq!(read().await, Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn a_turn_ends_when_it_has_brought_too_much() {
    let backpressure = Arc::default();
    let [one] = crowd(&backpressure);
    let mut cx = Context::from_waker(Waker::noop());
    let mut may_read = || one.intake.0.lock().poll(&mut cx).is_ready();
    let reads_on = || one.intake.reads_on(&Context::from_waker(Waker::noop()));
    backpressure.begin();
    assert!(!may_read() && !reads_on());
    backpressure.ease();
    backpressure.end();
    assert!(may_read());
    backpressure.begin();
    for _ in 0..3 {
        assert!(!may_read(), "what it has brought is looked at after each read");
        assert!(reads_on() && may_read());
    }
    one.intake.brings_too_much();
    assert!(!may_read() && !reads_on() && !may_read());
    assert_eq!(backpressure.held(), 1);
}

use std::{os::fd::AsRawFd as _, sync::Barrier, thread};

use mio::Waker;

use super::*;

const SHORT: Duration = Duration::from_millis(5);
const LONG: Duration = Duration::from_secs(30);

/// An epoll instance, a waker that adds an event to it, and a poller that watches it for `threads`.
fn watching(limit: Duration, threads: usize) -> (Poll, Waker, BusyPoller) {
    let queue = Poll::new().unwrap();
    let waker = Waker::new(queue.registry(), Token(1)).unwrap();
    let poller = BusyPoller::new(limit);
    poller.watch(threads, queue.as_raw_fd()).unwrap();
    (queue, waker, poller)
}

impl BusyPoller {
    fn outcomes(&self) -> (u64, u64) {
        (self.stats.found(), self.stats.timed_out())
    }

    /// Parks and unparks as a thread without tasks does.
    fn park_and_unpark(&self) {
        self.park(false);
        self.unpark();
    }

    fn wait_until_it_polls(&self) {
        while !self.watched.get().unwrap().outer.is_locked() {
            thread::yield_now();
        }
    }
}

fn events(queue: &mut Poll) -> usize {
    let mut events = Events::with_capacity(4);
    queue.poll(&mut events, Some(Duration::ZERO)).unwrap();
    events.iter().count()
}

#[test]
fn an_event_is_found_and_stays_in_the_queue() {
    let (mut queue, waker, poller) = watching(LONG, 1);
    for round in 1..=3 {
        waker.wake().unwrap();
        poller.park_and_unpark();
        assert_eq!(poller.outcomes(), (round, 0));
        assert_eq!(events(&mut queue), 1);
    }
}

#[test]
fn an_event_that_was_not_taken_is_found_again() {
    let (_queue, waker, poller) = watching(LONG, 1);
    waker.wake().unwrap();
    poller.park_and_unpark();
    poller.park_and_unpark();
    assert_eq!(poller.outcomes(), (2, 0));
}

#[test]
fn an_event_that_arrives_during_the_poll_is_found() {
    let (_queue, waker, poller) = watching(LONG, 1);
    thread::scope(|scope| {
        scope.spawn(|| {
            poller.wait_until_it_polls();
            waker.wake().unwrap();
        });
        poller.park(false);
    });
    assert_eq!(poller.outcomes(), (1, 0));
    assert!(poller.stats.spent() > Duration::ZERO);
}

#[test]
fn an_event_that_was_taken_is_not_found() {
    let (mut queue, waker, poller) = watching(SHORT, 1);
    waker.wake().unwrap();
    assert_eq!(events(&mut queue), 1);
    poller.park(false);
    assert_eq!(poller.outcomes(), (0, 1));
    assert!(poller.stats.spent() >= SHORT);
}

#[test]
fn a_thread_with_tasks_or_an_idle_one_does_not_poll() {
    let (_queue, waker, poller) = watching(LONG, 1);
    waker.wake().unwrap();
    poller.park(true);
    poller.unpark();
    poller.skip_next();
    poller.park_and_unpark();
    assert_eq!(poller.outcomes(), (0, 0));
    poller.park_and_unpark();
    assert_eq!(poller.outcomes(), (1, 0), "one poll was skipped");
}

#[test]
fn the_last_thread_polls_unless_another_sleeps_in_the_epoll_instance() {
    let (_queue, waker, poller) = watching(LONG, 2);
    waker.wake().unwrap();
    let (sleeps, has_slept) = (Barrier::new(2), Barrier::new(2));
    thread::scope(|scope| {
        let first = scope.spawn(|| {
            poller.park(false);
            sleeps.wait();
            has_slept.wait();
            poller.unpark();
        });
        sleeps.wait();
        assert_eq!(poller.outcomes(), (0, 0), "another thread is awake");
        poller.park(false);
        assert_eq!(poller.outcomes(), (0, 0), "the other thread takes the events");
        has_slept.wait();
        first.join().unwrap();
        scope.spawn(|| poller.park(false)).join().unwrap();
        assert_eq!(poller.outcomes(), (1, 0));
    });
}

#[test]
fn a_poll_ends_when_another_thread_wakes() {
    let (_queue, _waker, poller) = watching(LONG, 2);
    let sleeps = Barrier::new(2);
    poller.park(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            poller.park(false);
            sleeps.wait();
            poller.wait_until_it_polls();
            poller.unpark();
        });
        sleeps.wait();
        poller.unpark();
        poller.park(false);
    });
    assert_eq!(poller.outcomes(), (0, 0));
    assert!(poller.stats.spent() > Duration::ZERO);
}

#[test]
fn a_poller_that_watches_no_runtime_does_not_poll() {
    let unset = BusyPoller::default();
    unset.park(false);
    assert_eq!(unset.outcomes(), (0, 0));
    assert!(matches!(BusyPoller::new(SHORT).watch(1, -1), Err(Unsupported::Watch(_))));
}

#[cfg(target_os = "linux")]
#[test]
fn open_epoll_instances_are_listed() {
    let queue = Poll::new().unwrap();
    assert!(epoll_instances().unwrap().contains(&queue.as_raw_fd()));
}

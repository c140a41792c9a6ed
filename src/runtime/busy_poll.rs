//! Busy polling: a thread that has run out of tasks looks for new ones for a while before it sleeps.
//!
//! To be woken takes a thread some microseconds where the machine is its own, and some tens of them where its processor is a virtual one,
//! which the host has given to somebody else meanwhile, together with its caches. Whoever asks for one key after the other waits for that with
//! each call, and once more if the answer must come from Redis.
//!
//! Tokio's threads do not do so, and cannot be made to by a task that yields again and again: they would wake each other all the time
//! to share it. But there is a hook for a thread that is about to park. In there it looks at the runtime's own epoll instance, which is put
//! into another one for that: the outer one tells that there are events in it, and leaves them there (epoll(7): "Is the epoll file descriptor
//! itself poll/epoll/selectable?").
//!
//! Only the last thread that is awake does it. While another one works, a thread is wanted when that one has too much to do, of which the
//! events say nothing. And while another one sleeps where events come in, it is that one which is woken.
//!
//! What is not an event waits until the look has ended: timers, and tasks that are woken by threads that are not the runtime's.

use std::{
    cell::Cell,
    collections::BTreeSet,
    fs, hint, io,
    os::fd::RawFd,
    sync::{
        OnceLock,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use mio::{Events, Interest, Poll, Token, unix::SourceFd};
use parking_lot::Mutex;
use tokio::time::Instant;

/// Where the process' file descriptors are listed, as links to what they are.
const OPEN_FILES: &str = "/proc/self/fd";
const EVENT_QUEUE: &str = "anon_inode:[eventpoll]";

/// Why there is no busy polling.
#[derive(Debug, thiserror::Error)]
pub enum Unsupported {
    /// The system does not tell what files are open: it is not Linux, or has no /proc.
    #[error("the open files cannot be listed in {OPEN_FILES}")]
    Files(#[source] io::Error),
    /// The runtime uses something else.
    #[error("the runtime has not opened an epoll instance")]
    NoQueue,
    /// Its epoll instance cannot be watched.
    #[error("the runtime's epoll instance cannot be watched")]
    Watch(#[source] io::Error),
}

thread_local! {
    /// Whether this thread sleeps where events come in.
    static TAKES_EVENTS: Cell<bool> = const { Cell::new(false) };
}

/// Looks for work on behalf of threads that have none. By default it does not.
#[derive(Debug, Default)]
pub struct BusyPoll {
    limit: Duration,
    watched: OnceLock<Watched>,
    /// Threads that are asleep, or about to be.
    parked: AtomicUsize,
    /// Whether one of them, the first, sleeps where events come in.
    is_taken: AtomicBool,
    /// Whether the next look is not worth it.
    is_idle: AtomicBool,
    found: AtomicU64,
    in_vain: AtomicU64,
    nanos: AtomicU64,
}

#[derive(Debug)]
struct Watched {
    threads: usize,
    /// There is nobody to wait for: only the last thread looks.
    outer: Mutex<Outer>,
}

/// The epoll instance that the runtime's is in.
#[derive(Debug)]
struct Outer {
    poll: Poll,
    events: Events,
    /// The runtime's, which is open as long as its threads are there.
    inner: RawFd,
}

enum Look {
    Found,
    InVain,
    /// Another thread has woken.
    Interrupted,
}

impl BusyPoll {
    /// Looks for work for `limit` at a time, once there is something to [`watch`](Self::watch).
    pub(super) fn new(limit: Duration) -> Self {
        Self { limit, ..Self::default() }
    }

    /// Looks for the events of the epoll instance `queue` when all but one of `threads` are asleep.
    pub(super) fn watch(&self, threads: usize, queue: RawFd) -> Result<(), Unsupported> {
        let outer = Outer::new(queue).map_err(Unsupported::Watch)?;
        _ = self.watched.set(Watched { threads, outer: Mutex::new(outer) });
        Ok(())
    }

    /// A thread is about to sleep: looks for work first, unless it has some.
    pub(super) fn park(&self, has_tasks: bool) {
        let is_idle = self.is_idle.swap(false, Relaxed);
        if !has_tasks
            && !is_idle
            && let Some(watched) = self.watched.get()
        {
            self.look_for_work(watched);
        }
        self.parked.fetch_add(1, Relaxed);
        TAKES_EVENTS.set(!self.is_taken.swap(true, Relaxed));
    }

    /// A thread has slept.
    pub(super) fn unpark(&self) {
        if TAKES_EVENTS.replace(false) {
            self.is_taken.store(false, Relaxed);
        }
        self.parked.fetch_sub(1, Relaxed);
    }

    /// A thread that has nothing to do after this had nothing to do before.
    pub(super) fn stays_idle(&self) {
        self.is_idle.store(true, Relaxed);
    }

    fn look_for_work(&self, watched: &Watched) {
        let is_last =
            || self.parked.load(Relaxed) + 1 == watched.threads && !self.is_taken.load(Relaxed);
        if !is_last() {
            return;
        }
        let Some(mut outer) = watched.outer.try_lock() else { return };
        let began = Instant::now();
        // Who cannot look goes to sleep, and is woken.
        if outer.rearm().is_err() {
            return;
        }
        let (look, took) = loop {
            let Ok(is_found) = outer.has_events() else { return };
            let took = began.elapsed();
            if is_found {
                break (Look::Found, took);
            }
            if took >= self.limit {
                break (Look::InVain, took);
            }
            if !is_last() {
                break (Look::Interrupted, took);
            }
            hint::spin_loop();
        };
        match look {
            Look::Found => _ = self.found.fetch_add(1, Relaxed),
            Look::InVain => _ = self.in_vain.fetch_add(1, Relaxed),
            Look::Interrupted => {}
        }
        self.nanos.fetch_add(u64::try_from(took.as_nanos()).unwrap_or(u64::MAX), Relaxed);
    }

    /// How often there was an event, and how often there was none for as long as was looked for one.
    pub fn outcomes(&self) -> (u64, u64) {
        (self.found.load(Relaxed), self.in_vain.load(Relaxed))
    }

    /// Time spent with it.
    pub fn spent(&self) -> Duration {
        Duration::from_nanos(self.nanos.load(Relaxed))
    }
}

impl Outer {
    fn new(inner: RawFd) -> io::Result<Self> {
        let poll = Poll::new()?;
        poll.registry().register(&mut SourceFd(&inner), Token(0), Interest::READABLE)?;
        Ok(Self { poll, events: Events::with_capacity(1), inner })
    }

    /// Forgets what was said before: an event that was found may still be there.
    fn rearm(&self) -> io::Result<()> {
        self.poll.registry().reregister(&mut SourceFd(&self.inner), Token(0), Interest::READABLE)
    }

    fn has_events(&mut self) -> io::Result<bool> {
        self.poll.poll(&mut self.events, Some(Duration::ZERO))?;
        Ok(!self.events.is_empty())
    }
}

/// The epoll instances that the process has open.
pub(super) fn event_queues() -> Result<BTreeSet<RawFd>, Unsupported> {
    let mut queues = BTreeSet::new();
    for file in fs::read_dir(OPEN_FILES).map_err(Unsupported::Files)? {
        let path = file.map_err(Unsupported::Files)?.path();
        let number =
            path.file_name().and_then(|name| name.to_str()).and_then(|name| name.parse().ok());
        // It may have been closed since, as that of the directory itself will be.
        let is_queue = fs::read_link(&path).is_ok_and(|link| link.as_os_str() == EVENT_QUEUE);
        if let (Some(number), true) = (number, is_queue) {
            queues.insert(number);
        }
    }
    Ok(queues)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::{os::fd::AsRawFd as _, sync::Barrier, thread};

    use mio::Waker;

    use super::*;

    const MOMENT: Duration = Duration::from_millis(5);
    const LONG: Duration = Duration::from_secs(30);

    /// An epoll instance, what adds an event to it, and what looks there for `limit` on behalf of `threads`.
    fn watching(limit: Duration, threads: usize) -> (Poll, Waker, BusyPoll) {
        let queue = Poll::new().unwrap();
        let waker = Waker::new(queue.registry(), Token(1)).unwrap();
        let polling = BusyPoll::new(limit);
        polling.watch(threads, queue.as_raw_fd()).unwrap();
        (queue, waker, polling)
    }

    fn events(queue: &mut Poll) -> usize {
        let mut events = Events::with_capacity(4);
        queue.poll(&mut events, Some(Duration::ZERO)).unwrap();
        events.iter().count()
    }

    /// What a thread does that has nothing to do for a moment.
    fn park_and_unpark(polling: &BusyPoll) {
        polling.park(false);
        polling.unpark();
    }

    fn until_it_looks(polling: &BusyPoll) {
        while !polling.watched.get().unwrap().outer.is_locked() {
            thread::yield_now();
        }
    }

    #[test]
    fn what_has_come_is_found_and_left_there() {
        let (mut queue, waker, polling) = watching(LONG, 1);
        for round in 1..=3 {
            waker.wake().unwrap();
            park_and_unpark(&polling);
            assert_eq!(polling.outcomes(), (round, 0));
            assert_eq!(events(&mut queue), 1);
        }
    }

    #[test]
    fn what_nobody_has_taken_is_found_again() {
        let (_queue, waker, polling) = watching(LONG, 1);
        waker.wake().unwrap();
        park_and_unpark(&polling);
        park_and_unpark(&polling);
        assert_eq!(polling.outcomes(), (2, 0));
    }

    #[test]
    fn what_comes_meanwhile_is_found() {
        let (_queue, waker, polling) = watching(LONG, 1);
        thread::scope(|scope| {
            scope.spawn(|| {
                until_it_looks(&polling);
                waker.wake().unwrap();
            });
            polling.park(false);
        });
        assert_eq!(polling.outcomes(), (1, 0));
        assert!(polling.spent() > Duration::ZERO);
    }

    #[test]
    fn what_is_gone_is_not_found() {
        let (mut queue, waker, polling) = watching(MOMENT, 1);
        waker.wake().unwrap();
        assert_eq!(events(&mut queue), 1);
        polling.park(false);
        assert_eq!(polling.outcomes(), (0, 1));
        assert!(polling.spent() >= MOMENT);
    }

    #[test]
    fn who_has_tasks_or_nothing_to_wait_for_does_not_look() {
        let (_queue, waker, polling) = watching(LONG, 1);
        waker.wake().unwrap();
        polling.park(true);
        polling.unpark();
        polling.stays_idle();
        park_and_unpark(&polling);
        assert_eq!(polling.outcomes(), (0, 0));
        park_and_unpark(&polling);
        assert_eq!(polling.outcomes(), (1, 0), "that was only once");
    }

    #[test]
    fn the_last_looks_unless_another_sleeps_where_events_come_in() {
        let (_queue, waker, polling) = watching(LONG, 2);
        waker.wake().unwrap();
        let (sleeps, has_slept) = (Barrier::new(2), Barrier::new(2));
        thread::scope(|scope| {
            let first = scope.spawn(|| {
                polling.park(false);
                sleeps.wait();
                has_slept.wait();
                polling.unpark();
            });
            sleeps.wait();
            assert_eq!(polling.outcomes(), (0, 0), "another is awake");
            polling.park(false);
            assert_eq!(polling.outcomes(), (0, 0), "the other is where events come in");
            has_slept.wait();
            first.join().unwrap();
            scope.spawn(|| polling.park(false)).join().unwrap();
            assert_eq!(polling.outcomes(), (1, 0));
        });
    }

    #[test]
    fn nobody_looks_while_another_is_awake() {
        let (_queue, _waker, polling) = watching(LONG, 2);
        let sleeps = Barrier::new(2);
        polling.park(false);
        thread::scope(|scope| {
            scope.spawn(|| {
                polling.park(false);
                sleeps.wait();
                until_it_looks(&polling);
                polling.unpark();
            });
            sleeps.wait();
            polling.unpark();
            polling.park(false);
        });
        assert_eq!(polling.outcomes(), (0, 0));
        assert!(polling.spent() > Duration::ZERO);
    }

    #[test]
    fn without_a_queue_there_is_nothing_to_look_for() {
        let unset = BusyPoll::default();
        unset.park(false);
        assert_eq!(unset.outcomes(), (0, 0));
        assert!(matches!(BusyPoll::new(MOMENT).watch(1, -1), Err(Unsupported::Watch(_))));
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn open_queues_are_listed() {
        let queue = Poll::new().unwrap();
        assert!(event_queues().unwrap().contains(&queue.as_raw_fd()));
    }
}

//! Busy polling: a thread without tasks polls for events for a while before it sleeps.
//!
//! Waking a thread takes microseconds on a machine of its own. On a virtual machine it can take
//! tens of microseconds, if the host has given the processor and its caches to another guest. A
//! caller that sends one request at a time waits for that with each request, and once more if the
//! answer comes from Redis.
//!
//! # Algorithm
//!
//! Tokio does not busy-poll. A task that yields again and again is no substitute, as the threads
//! would wake each other all the time to share it. But Tokio has a hook for a thread that is about
//! to park. The hook polls an outer epoll instance that contains the runtime's own: it reports that
//! the inner one has events, and leaves them there (epoll(7): "Is the epoll file descriptor itself
//! poll/epoll/selectable?").
//!
//! Only the last thread that is awake polls. While another thread works, a thread is needed when
//! that one has too many tasks, which the events do not show. And while another thread sleeps in
//! the runtime's epoll instance, the events wake that one.
//!
//! Work that is not an event waits until the poll ends: timers, and tasks woken by threads outside
//! the runtime.

use std::{
    cell::Cell,
    collections::BTreeSet,
    fs, hint, io,
    os::fd::RawFd,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use mio::{Events, Interest, Poll, Token, unix::SourceFd};
use parking_lot::Mutex;
use tokio::{
    runtime::Builder,
    time::{Instant, MissedTickBehavior, interval_at},
};

use crate::{
    backpressure::Backpressure,
    threads::{BusyPollStats, Threads, Unsupported},
};

/// Links from the process's file descriptors to what they are.
const OPEN_FILES: &str = "/proc/self/fd";
const EPOLL_INSTANCE: &str = "anon_inode:[eventpoll]";
/// Less than most timeouts of store operations and most request deadlines.
const TICK: Duration = Duration::from_millis(20);

thread_local! {
    /// Whether this thread sleeps in the runtime's epoll instance.
    static TAKES_EVENTS: Cell<bool> = const { Cell::new(false) };
}

/// Polls for events on behalf of threads without tasks.
#[derive(Debug, Default)]
pub(crate) struct BusyPoller {
    limit: Duration,
    stats: Arc<BusyPollStats>,
    watched: OnceLock<Watched>,
    /// Threads that sleep or are about to.
    parked: AtomicUsize,
    /// Whether one of them, the first, sleeps in the runtime's epoll instance.
    is_taken: AtomicBool,
    /// Whether to skip the next poll.
    is_idle: AtomicBool,
}

/// The runtime that is watched.
#[derive(Debug)]
struct Watched {
    threads: usize,
    /// Never contended: only the last thread polls.
    outer: Mutex<OuterEpoll>,
}

/// An epoll instance that contains the runtime's.
#[derive(Debug)]
struct OuterEpoll {
    poll: Poll,
    events: Events,
    /// The runtime's, which is open as long as its threads run.
    inner: RawFd,
}

enum PollOutcome {
    Found,
    TimedOut,
    /// Another thread has woken.
    Interrupted,
}

/// Builds a runtime whose threads poll for `limit` before they sleep.
pub(crate) fn build(limit: Duration, backpressure: Arc<Backpressure>) -> io::Result<Threads> {
    let poller = Arc::new(BusyPoller::new(limit));
    let (parking, unparking) = (poller.clone(), poller.clone());
    let mut builder = Builder::new_multi_thread();
    builder
        .enable_all()
        .on_thread_park(move || {
            // Woken connections are tasks to run.
            let has_tasks = backpressure.release();
            parking.park(has_tasks);
        })
        .on_thread_unpark(move || unparking.unpark());
    let before = epoll_instances();
    let runtime = builder.build()?;
    let busy_poll = before.and_then(|before| {
        // The runtime holds several descriptors of the same instance.
        let queue =
            epoll_instances()?.difference(&before).next().copied().ok_or(Unsupported::NoQueue)?;
        poller.watch(runtime.metrics().num_workers(), queue)?;
        let now = Instant::now();
        runtime.spawn(keep_timer_due(poller.clone(), now));
        runtime.spawn(keep_timer_due(poller.clone(), now + TICK));
        Ok(poller.stats.clone())
    });
    Ok(Threads { runtime, busy_poll })
}

/// One of two tasks that keep a timer due within a [`TICK`].
///
/// A timer that is due before all others wakes the thread that waits for events, by an event of its
/// own, even if that thread is the one that sets it. Without an earlier timer, the timeout of each
/// Redis operation would end the poll for its reply. There are two tasks, as the timer of one is
/// not set between its being due and being set again.
async fn keep_timer_due(poller: Arc<BusyPoller>, first: Instant) {
    let mut interval = interval_at(first, 2 * TICK);
    interval.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let mut found_before = 0;
    loop {
        interval.tick().await;
        let found = poller.stats.found();
        if found == found_before {
            poller.skip_next();
        }
        found_before = found;
    }
}

// === impl BusyPoller ===

impl BusyPoller {
    /// Polls for up to `limit` at a time, once it [watches](Self::watch) a runtime.
    fn new(limit: Duration) -> Self {
        Self { limit, ..Self::default() }
    }

    /// Sets the runtime's number of threads and its epoll instance.
    fn watch(&self, threads: usize, queue: RawFd) -> Result<(), Unsupported> {
        let outer = OuterEpoll::new(queue).map_err(Unsupported::Watch)?;
        _ = self.watched.set(Watched { threads, outer: Mutex::new(outer) });
        Ok(())
    }

    /// Called by a thread before it sleeps. Polls for events unless the thread `has_tasks`.
    fn park(&self, has_tasks: bool) {
        let is_idle = self.is_idle.swap(false, Relaxed);
        if !has_tasks
            && !is_idle
            && let Some(watched) = self.watched.get()
        {
            self.poll(watched);
        }
        self.parked.fetch_add(1, Relaxed);
        TAKES_EVENTS.set(!self.is_taken.swap(true, Relaxed));
    }

    /// Called by a thread after it has slept.
    fn unpark(&self) {
        if TAKES_EVENTS.replace(false) {
            self.is_taken.store(false, Relaxed);
        }
        self.parked.fetch_sub(1, Relaxed);
    }

    /// Skips the next poll. No poll has found an event since the last tick, and the tick itself has
    /// woken the thread.
    fn skip_next(&self) {
        self.is_idle.store(true, Relaxed);
    }

    fn poll(&self, watched: &Watched) {
        let is_last_awake =
            || self.parked.load(Relaxed) + 1 == watched.threads && !self.is_taken.load(Relaxed);
        if !is_last_awake() {
            return;
        }
        let Some(mut outer) = watched.outer.try_lock() else { return };
        let began = Instant::now();
        // After an error the thread sleeps, and is woken by the event.
        if outer.rearm().is_err() {
            return;
        }
        let (outcome, took) = loop {
            let Ok(has_events) = outer.has_events() else { return };
            let took = began.elapsed();
            if has_events {
                break (PollOutcome::Found, took);
            }
            if took >= self.limit {
                break (PollOutcome::TimedOut, took);
            }
            if !is_last_awake() {
                break (PollOutcome::Interrupted, took);
            }
            hint::spin_loop();
        };
        self.stats.record(&outcome, took);
    }
}

impl BusyPollStats {
    fn record(&self, outcome: &PollOutcome, took: Duration) {
        match outcome {
            PollOutcome::Found => _ = self.found.fetch_add(1, Relaxed),
            PollOutcome::TimedOut => _ = self.timed_out.fetch_add(1, Relaxed),
            PollOutcome::Interrupted => {}
        }
        self.nanos.fetch_add(u64::try_from(took.as_nanos()).unwrap_or(u64::MAX), Relaxed);
    }
}

// === impl OuterEpoll ===

impl OuterEpoll {
    fn new(inner: RawFd) -> io::Result<Self> {
        let poll = Poll::new()?;
        poll.registry().register(&mut SourceFd(&inner), Token(0), Interest::READABLE)?;
        Ok(Self { poll, events: Events::with_capacity(1), inner })
    }

    /// Makes events that were already reported count again, as they may still be there.
    fn rearm(&self) -> io::Result<()> {
        self.poll.registry().reregister(&mut SourceFd(&self.inner), Token(0), Interest::READABLE)
    }

    fn has_events(&mut self) -> io::Result<bool> {
        self.poll.poll(&mut self.events, Some(Duration::ZERO))?;
        Ok(!self.events.is_empty())
    }
}

/// The epoll instances that the process has open.
fn epoll_instances() -> Result<BTreeSet<RawFd>, Unsupported> {
    let mut instances = BTreeSet::new();
    for file in fs::read_dir(OPEN_FILES).map_err(Unsupported::Files)? {
        let path = file.map_err(Unsupported::Files)?.path();
        let number =
            path.file_name().and_then(|name| name.to_str()).and_then(|name| name.parse().ok());
        // It may be closed by now, as the directory's own descriptor will be.
        let is_epoll = fs::read_link(&path).is_ok_and(|link| link.as_os_str() == EPOLL_INSTANCE);
        if let (Some(number), true) = (number, is_epoll) {
            instances.insert(number);
        }
    }
    Ok(instances)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;

//! The threads that all tasks run on, and what they do when there is nothing to do.

mod busy_poll;

use std::{io, sync::Arc, time::Duration};

use tokio::{
    runtime::{Builder, Runtime},
    time::{Instant, MissedTickBehavior, interval_at},
};

pub use busy_poll::{BusyPoll, Unsupported};

use crate::transport::Backpressure;

/// Below most timeouts of operations on a store, and most deadlines of calls.
const TICK: Duration = Duration::from_millis(20);

/// The runtime, and what its threads do before they sleep.
pub struct Threads {
    /// Runs all tasks.
    pub runtime: Runtime,
    /// Looks for work before a thread sleeps, unless that is not possible here.
    pub busy_poll: Result<Arc<BusyPoll>, Unsupported>,
}

/// Builds the runtime. Its threads end `backpressure` whenever they have nothing to do, and look for work for the time `busy_poll` before
/// they sleep. Nobody else may open an epoll instance at the same time.
///
/// # Errors
/// The system has no threads or no file descriptors left.
pub fn build(busy_poll: Duration, backpressure: Arc<Backpressure>) -> io::Result<Threads> {
    let mut builder = Builder::new_multi_thread();
    builder.enable_all();
    if busy_poll.is_zero() {
        let runtime = builder.on_thread_park(move || _ = backpressure.end()).build()?;
        return Ok(Threads { runtime, busy_poll: Ok(Arc::default()) });
    }
    let polling = Arc::new(BusyPoll::new(busy_poll));
    let (parking, unparking) = (polling.clone(), polling.clone());
    builder.on_thread_park(move || {
        // Connections that go on are tasks to run.
        let has_tasks = backpressure.end();
        parking.park(has_tasks);
    });
    builder.on_thread_unpark(move || unparking.unpark());
    let others = busy_poll::event_queues();
    let runtime = builder.build()?;
    let busy_poll = others.and_then(|others| {
        // The same one is open more than once.
        let queue = busy_poll::event_queues()?
            .difference(&others)
            .next()
            .copied()
            .ok_or(Unsupported::NoQueue)?;
        polling.watch(runtime.metrics().num_workers(), queue)?;
        let now = Instant::now();
        runtime.spawn(tick(polling.clone(), now));
        runtime.spawn(tick(polling.clone(), now + TICK));
        Ok(polling)
    });
    Ok(Threads { runtime, busy_poll })
}

/// Half of a timer that is always due within a [`TICK`].
///
/// A timer that is due before all others has the thread woken that waits for events, by an event of its own, even if that is the thread
/// which sets it and is not waiting yet. So each timeout of an operation on Redis would end the look for its answer. There are two of this
/// one, as it is none between being due and being set again.
async fn tick(polling: Arc<BusyPoll>, first: Instant) {
    let mut interval = interval_at(first, 2 * TICK);
    interval.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let mut found = 0;
    loop {
        interval.tick().await;
        let (found_by_now, _) = polling.outcomes();
        if found_by_now == found {
            polling.stays_idle();
        }
        found = found_by_now;
    }
}

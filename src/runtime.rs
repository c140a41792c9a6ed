//! The threads that all tasks run on, and what they do when there is nothing to do.

mod busy_poll;

use std::{io, sync::Arc, time::Duration};

use tokio::{
    runtime::{Builder, Runtime},
    time::{MissedTickBehavior, interval},
};

pub use busy_poll::{BusyPoll, Unsupported};

use crate::transport::Backpressure;

/// Below the timeouts of operations on a store, in general.
const TICK: Duration = Duration::from_millis(50);

/// The runtime.
pub struct Threads {
    /// It.
    pub runtime: Runtime,
    /// What its threads do before they sleep, or why they do not.
    pub busy_poll: Result<Arc<BusyPoll>, Unsupported>,
}

/// Builds the runtime. Its threads end `backpressure` whenever they have nothing to do, and look for work for the time `busy_poll` before
/// they sleep.
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
        // Those it has called are tasks to run.
        let has_tasks = backpressure.end();
        parking.park(has_tasks);
    });
    builder.on_thread_unpark(move || unparking.unpark());
    let others = busy_poll::event_queues();
    let runtime = builder.build()?;
    let watched = others.and_then(|others| {
        let queue = &busy_poll::event_queues()? - &others;
        polling.watch(runtime.metrics().num_workers(), queue)
    });
    runtime.spawn(tick());
    Ok(Threads { runtime, busy_poll: watched.map(|()| polling) })
}

/// A timer that is due before all others has a thread that waits for events woken, even if that is the one which sets it and is about to
/// wait. With one that is always due soon that is seldom. It would end the looking for work after each command that is sent to Redis.
async fn tick() {
    let mut interval = interval(TICK);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        interval.tick().await;
    }
}

//! The Tokio runtime, and what its threads do before they sleep: they release backpressure and, if
//! configured, poll for events.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use tokio::runtime::{Builder, Runtime};

#[cfg(feature = "busy-poll")]
use crate::busy_poll;
use crate::{Admission, backpressure::Backpressure};

/// The runtime and its counters.
pub struct Threads {
    /// Runs all tasks.
    pub runtime: Runtime,
    /// Counters of busy polling, or why it has no effect. All are zero while it is off.
    pub busy_poll: Result<Arc<BusyPollStats>, Unsupported>,
}

/// Counters of busy polling.
#[derive(Debug, Default)]
pub struct BusyPollStats {
    pub(crate) found: AtomicU64,
    pub(crate) timed_out: AtomicU64,
    pub(crate) nanos: AtomicU64,
}

/// Why busy polling has no effect.
#[derive(Debug, thiserror::Error)]
pub enum Unsupported {
    /// The system does not list open files: it is not Linux, or /proc is not mounted.
    #[error("the open files cannot be listed in /proc/self/fd")]
    Files(#[source] io::Error),
    /// The runtime uses another event queue.
    #[error("the runtime has not opened an epoll instance")]
    NoQueue,
    /// The runtime's epoll instance cannot be watched.
    #[error("the runtime's epoll instance cannot be watched")]
    Watch(#[source] io::Error),
    /// The feature `busy-poll` is off.
    #[error("the program was built without busy polling")]
    NotBuilt,
}

/// Builds the runtime. A thread without tasks releases the backpressure of `admission`, and then
/// polls for events for the time `busy_poll` before it sleeps. Zero means it sleeps at once. No
/// other thread may open an epoll instance at the same time.
///
/// # Errors
/// The system has no threads or file descriptors left.
pub fn build(busy_poll: Duration, admission: &Admission) -> io::Result<Threads> {
    let backpressure = admission.backpressure().clone();
    if busy_poll.is_zero() {
        return without_busy_poll(backpressure, Ok(Arc::default()));
    }
    #[cfg(feature = "busy-poll")]
    return busy_poll::build(busy_poll, backpressure);
    #[cfg(not(feature = "busy-poll"))]
    without_busy_poll(backpressure, Err(Unsupported::NotBuilt))
}

fn without_busy_poll(
    backpressure: Arc<Backpressure>,
    busy_poll: Result<Arc<BusyPollStats>, Unsupported>,
) -> io::Result<Threads> {
    let runtime = Builder::new_multi_thread()
        .enable_all()
        .on_thread_park(move || _ = backpressure.release())
        .build()?;
    Ok(Threads { runtime, busy_poll })
}

impl BusyPollStats {
    /// Polls that found an event.
    pub fn found(&self) -> u64 {
        self.found.load(Relaxed)
    }

    /// Polls that found no event in the configured time.
    pub fn timed_out(&self) -> u64 {
        self.timed_out.load(Relaxed)
    }

    /// Time spent polling.
    pub fn spent(&self) -> Duration {
        Duration::from_nanos(self.nanos.load(Relaxed))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn busy_polling_is_off_at_zero() {
        let threads = build(Duration::ZERO, &Admission::new(1)).unwrap();
        assert_eq!(threads.busy_poll.unwrap().spent(), Duration::ZERO);
    }

    #[cfg(not(feature = "busy-poll"))]
    #[test]
    fn busy_polling_is_unsupported_without_its_feature() {
        let threads = build(Duration::from_micros(100), &Admission::new(1)).unwrap();
        assert!(matches!(threads.busy_poll, Err(Unsupported::NotBuilt)));
    }
}

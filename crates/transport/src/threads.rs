//! The threads of the runtime, and their counters.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use tokio::runtime::Runtime;

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

//! What one connection holds of the shared limits.

use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use parking_lot::Mutex;

use crate::wait_queue::WaitQueue;

/// A resource that is limited per server and shared between its connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resource {
    /// Requests that are processed or queued.
    Requests,
    /// Streams that stay open.
    Streams,
    /// Streams that stay open to watch the server itself.
    Watches,
    /// Streams that stay open to tell changes.
    WatchStreams,
    /// Requests that wait for another request.
    Waiting,
    /// Bytes of incomplete requests and of unsent responses.
    Bytes,
}

/// How much one connection holds of each [`Resource`], and its requests in the queue.
#[derive(Debug, Default)]
pub struct ConnectionShare {
    held: [AtomicUsize; 6],
    pub(crate) queue: Mutex<WaitQueue>,
}

impl ConnectionShare {
    /// How much the connection holds.
    pub fn of(&self, resource: Resource) -> usize {
        self.counter(resource).load(SeqCst)
    }

    #[inline]
    pub(crate) fn counter(&self, resource: Resource) -> &AtomicUsize {
        &self.held[resource as usize]
    }
}

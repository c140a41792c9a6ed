//! The part of the shared limits that one connection holds.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering::SeqCst},
};

use parking_lot::Mutex;

use crate::{connection_stats::ConnectionStats, peer::Peer, wait_queue::WaitQueue};

/// A resource that is limited per server and shared between its connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resource {
    /// Requests that are processed or queued.
    Requests,
    /// Streams that stay open.
    Streams,
    /// Streams that stay open to watch the server itself.
    Watches,
    /// Streams that stay open to deliver changes.
    WatchStreams,
    /// Requests that wait for another request.
    Waiting,
    /// Refused requests whose answers are held back.
    Refusals,
    /// Bytes of incomplete requests and of unsent responses.
    Bytes,
}

/// How much one connection holds of each [`Resource`], its requests in the queue, and its peer.
#[derive(Debug)]
pub struct ConnectionShare {
    peer: Peer,
    stats: Arc<ConnectionStats>,
    held: [AtomicUsize; 7],
    pub(crate) queue: Mutex<WaitQueue>,
}

impl Default for ConnectionShare {
    /// A connection that is alone.
    fn default() -> Self {
        Self::new(Arc::new(ConnectionStats::new(1)), Peer::default())
    }
}

impl ConnectionShare {
    pub(crate) fn new(stats: Arc<ConnectionStats>, peer: Peer) -> Self {
        Self { peer, stats, held: Default::default(), queue: Mutex::default() }
    }

    /// The peer of the connection.
    #[inline]
    pub fn peer(&self) -> &Peer {
        &self.peer
    }

    /// All connections of the server.
    pub(crate) fn open_connections(&self) -> usize {
        self.stats.open().max(1)
    }

    /// How much the connection holds.
    pub fn of(&self, resource: Resource) -> usize {
        self.counter(resource).load(SeqCst)
    }

    /// Streams that are occupied for as long as another call likes.
    pub(crate) fn occupied_streams(&self) -> usize {
        let occupying =
            [Resource::Streams, Resource::Watches, Resource::WatchStreams, Resource::Waiting];
        occupying.into_iter().map(|resource| self.of(resource)).sum()
    }

    #[inline]
    pub(crate) fn counter(&self, resource: Resource) -> &AtomicUsize {
        &self.held[resource as usize]
    }
}

//! Counts of the connections of one port.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};

/// Why a connection ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CloseReason {
    /// The peer closed it, or everything was answered.
    Ended,
    /// The connection or its protocol failed.
    Failed,
    /// The peer did not answer a PING.
    Keepalive,
    /// The peer sent nothing in time.
    Silent,
    /// The peer speaks another protocol.
    Foreign,
    /// Its TLS handshake failed.
    Handshake,
    /// It was idle for too long.
    Idle,
    /// It was idle while a new connection needed its place.
    Displaced,
    /// It was too old.
    Age,
    /// Its streams were cut off after the grace of its age.
    Grace,
    /// The peer did not read responses in time.
    Stalled,
    /// It took too long.
    Timeout,
    /// The server shut down.
    Shutdown,
    /// It was refused, as the limit was reached and no connection was idle.
    Refused,
}

impl CloseReason {
    const ALL: [Self; 14] = [
        Self::Ended,
        Self::Failed,
        Self::Keepalive,
        Self::Silent,
        Self::Foreign,
        Self::Handshake,
        Self::Idle,
        Self::Displaced,
        Self::Age,
        Self::Grace,
        Self::Stalled,
        Self::Timeout,
        Self::Shutdown,
        Self::Refused,
    ];

    /// Name in metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ended => "ended",
            Self::Failed => "failed",
            Self::Keepalive => "keepalive",
            Self::Silent => "silent",
            Self::Foreign => "not_http2",
            Self::Handshake => "tls_handshake",
            Self::Idle => "idle",
            Self::Displaced => "displaced",
            Self::Age => "age",
            Self::Grace => "grace",
            Self::Stalled => "stalled",
            Self::Timeout => "timeout",
            Self::Shutdown => "shutdown",
            Self::Refused => "refused",
        }
    }
}

/// The connections of one port.
#[derive(Debug)]
pub struct ConnectionStats {
    limit: usize,
    open: AtomicUsize,
    closed: [AtomicU64; CloseReason::ALL.len()],
    accept_errors: AtomicU64,
}

impl ConnectionStats {
    /// For a port with this limit on open connections.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        Self {
            limit,
            open: AtomicUsize::new(0),
            closed: Default::default(),
            accept_errors: AtomicU64::new(0),
        }
    }

    /// The limit on open connections.
    pub fn limit(&self) -> usize {
        self.limit
    }

    /// Open connections, with those that are being closed to make room.
    pub fn open(&self) -> usize {
        self.open.load(Relaxed)
    }

    /// Closed connections by reason, so far.
    pub fn closed(&self) -> impl Iterator<Item = (CloseReason, u64)> {
        let count = |reason| self.closed[reason as usize].load(Relaxed);
        CloseReason::ALL.into_iter().map(move |reason| (reason, count(reason)))
    }

    /// Failures to accept a connection, so far.
    pub fn accept_errors(&self) -> u64 {
        self.accept_errors.load(Relaxed)
    }

    /// Counts a connection that opens.
    pub fn add_open(&self) {
        self.open.fetch_add(1, Relaxed);
    }

    /// Counts the end of an open connection.
    pub fn add_closed(&self, reason: CloseReason) {
        self.open.fetch_sub(1, Relaxed);
        self.closed[reason as usize].fetch_add(1, Relaxed);
    }

    /// Counts a connection that is refused and never was open.
    pub fn add_refused(&self) {
        self.closed[CloseReason::Refused as usize].fetch_add(1, Relaxed);
    }

    /// Counts a failure to accept a connection.
    pub fn add_accept_error(&self) {
        self.accept_errors.fetch_add(1, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_is_counted_under_its_own_name() {
        let stats = ConnectionStats::new(2);
        for reason in CloseReason::ALL {
            stats.add_open();
            assert_eq!(stats.open(), 1);
            stats.add_closed(reason);
        }
        stats.add_refused();
        assert_eq!(stats.open(), 0);
        let mut names: Vec<&str> = stats.closed().map(|(reason, _)| reason.name()).collect();
        for (reason, count) in stats.closed() {
            assert_eq!(count, if reason == CloseReason::Refused { 2 } else { 1 }, "{reason:?}");
        }
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), CloseReason::ALL.len());
    }
}

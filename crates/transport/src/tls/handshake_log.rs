//! Log lines of handshakes that fail: one per kind and interval, as any peer can cause them.

use std::{io, net::SocketAddr, time::Duration};

use parking_lot::Mutex;
use repeated_events::LogInterval;

use super::{HandshakeFailure, PortNames};
use crate::first_bytes::ForeignProtocol;

/// Time between two log lines about one kind of failure.
const LOG_INTERVAL: Duration = Duration::from_secs(60);

#[derive(Debug)]
pub(super) struct HandshakeLog {
    names: PortNames,
    intervals: Mutex<[LogInterval; HandshakeFailure::ALL.len()]>,
}

impl HandshakeLog {
    pub(super) fn new(names: PortNames) -> Self {
        let intervals = HandshakeFailure::ALL.map(|_| LogInterval::new(LOG_INTERVAL));
        Self { names, intervals: Mutex::new(intervals) }
    }

    /// `begin` are the first bytes of the peer.
    #[cold]
    pub(super) fn write(
        &self,
        failure: HandshakeFailure,
        error: Option<&io::Error>,
        begin: &[u8],
        peer: SocketAddr,
    ) {
        let error = error.map(tracing::field::display);
        let PortNames { port, section } = self.names;
        // Probes open a connection and close it.
        if failure == HandshakeFailure::PeerGone {
            tracing::debug!(port, error, %peer, "a peer left during its TLS handshake");
            return;
        }
        let Some(connections) = self.count(failure) else { return };
        let (reason, advice) = (failure.name(), failure.advice(section));
        if failure == HandshakeFailure::PlainText {
            let protocol = ForeignProtocol::of(begin).map_or("HTTP/2", ForeignProtocol::name);
            tracing::warn!(
                port, reason, protocol, advice, %peer, connections, "a peer does not speak TLS"
            );
            return;
        }
        tracing::warn!(port, reason, error, advice, %peer, connections, "a TLS handshake failed");
    }

    /// Counts a failure. Returns how many there were since the last line, if one is due.
    fn count(&self, failure: HandshakeFailure) -> Option<u64> {
        self.intervals.lock()[failure as usize].occurred()
    }
}

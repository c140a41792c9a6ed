//! Recognizes the protocol of a peer that does not speak HTTP/2, and logs it.

use std::{net::SocketAddr, time::Duration};

use parking_lot::Mutex;
use repeated_events::LogInterval;

/// Time between two log lines about one protocol.
const LOG_INTERVAL: Duration = Duration::from_secs(60);

const HTTP_METHODS: [&[u8]; 8] =
    [b"GET ", b"POST ", b"PUT ", b"HEAD ", b"DELETE ", b"OPTIONS ", b"CONNECT ", b"PATCH "];
/// Commands with which clients of Redis begin, where they do not send an array.
const RESP_COMMANDS: [&[u8]; 4] = [b"PING", b"AUTH ", b"INFO", b"HELLO"];
const HTTP2_PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// A protocol that is not HTTP/2 with prior knowledge.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ForeignProtocol {
    Http1,
    Tls,
    Resp,
    Unknown,
}

/// Log lines about foreign protocols: one per protocol and interval, as any peer can cause them.
#[derive(Debug)]
pub(crate) struct ForeignLog(Mutex<[LogInterval; 4]>);

impl ForeignProtocol {
    /// The protocol of a peer that begins with `bytes`; `None` if it may be HTTP/2.
    pub(crate) fn of(bytes: &[u8]) -> Option<Self> {
        if HTTP2_PREFACE.starts_with(bytes) || bytes.starts_with(HTTP2_PREFACE) {
            return None;
        }
        let begins = |begin: &&[u8]| bytes.starts_with(begin);
        Some(match bytes {
            // The header of a TLS record with a handshake.
            [0x16, 0x03, ..] => Self::Tls,
            [b'*', b'0'..=b'9', ..] => Self::Resp,
            _ if HTTP_METHODS.iter().any(begins) => Self::Http1,
            _ if RESP_COMMANDS.iter().any(begins) => Self::Resp,
            _ => Self::Unknown,
        })
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Http1 => "HTTP/1",
            Self::Tls => "TLS",
            Self::Resp => "RESP, the protocol of Redis",
            Self::Unknown => "unknown",
        }
    }

    fn advice(self) -> &'static str {
        match self {
            Self::Http1 => "metrics and probes are on the admin port; gRPC needs HTTP/2",
            Self::Tls => {
                "this port speaks plain HTTP/2: set tls.cert and tls.key ([tls]), or connect \
                 without TLS"
            }
            Self::Resp => "this is no Redis; use a gRPC client",
            Self::Unknown => "use a gRPC client without TLS",
        }
    }
}

impl Default for ForeignLog {
    fn default() -> Self {
        Self(Mutex::new([(); 4].map(|()| LogInterval::new(LOG_INTERVAL))))
    }
}

impl ForeignLog {
    #[cold]
    pub(crate) fn write(&self, protocol: ForeignProtocol, peer: SocketAddr) {
        if let Some(connections) = self.count(protocol) {
            tracing::warn!(
                protocol = protocol.name(),
                advice = protocol.advice(),
                %peer,
                connections,
                "a peer of the gRPC port does not speak HTTP/2"
            );
        }
    }

    /// Counts a connection. Returns how many there were since the last line, if one is due.
    fn count(&self, protocol: ForeignProtocol) -> Option<u64> {
        self.0.lock()[protocol as usize].occurred()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn protocols_are_recognized() {
        let cases: [(&[u8], _); 9] = [
            (b"GET / HTTP/1.1\r\n", Some(ForeignProtocol::Http1)),
            (b"POST /larder.v1.CacheService/Get HTTP/1.1\r\n", Some(ForeignProtocol::Http1)),
            (b"\x16\x03\x01\x02\x00\x01", Some(ForeignProtocol::Tls)),
            (b"*1\r\n$4\r\nPING\r\n", Some(ForeignProtocol::Resp)),
            (b"PING\r\n", Some(ForeignProtocol::Resp)),
            (b"SSH-2.0-OpenSSH", Some(ForeignProtocol::Unknown)),
            (b"PRI * HT", None),
            (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00", None),
            (b"", None),
        ];
        for (bytes, protocol) in cases {
            assert_eq!(ForeignProtocol::of(bytes), protocol, "{bytes:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn one_line_per_protocol_and_interval_is_due() {
        let log = ForeignLog::default();
        assert_eq!(log.count(ForeignProtocol::Tls), Some(1));
        assert_eq!(log.count(ForeignProtocol::Tls), None);
        assert_eq!(log.count(ForeignProtocol::Resp), Some(1));
        tokio::time::advance(LOG_INTERVAL).await;
        assert_eq!(log.count(ForeignProtocol::Tls), Some(2));
    }
}

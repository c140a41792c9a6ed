//! Why handshakes fail.

use std::io;

use rustls::{CertificateError, Error};

use crate::connection_stats::CloseReason;

/// Why a handshake failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HandshakeFailure {
    /// The peer did not finish it in time.
    Timeout,
    /// The peer does not speak TLS.
    PlainText,
    /// The client presented no certificate, and must.
    NoCertificate,
    /// No trusted authority has signed the certificate of the client.
    UnknownAuthority,
    /// The certificate of the client is not valid at this time.
    Expired,
    /// The certificate of the client is revoked.
    Revoked,
    /// The certificate of the client is wrong in another way.
    BadCertificate,
    /// The client offers other protocols than HTTP/2 by ALPN.
    Alpn,
    /// There is no version or cipher that both sides have.
    Incompatible,
    /// The client refuses the certificate of the server, or the handshake.
    Rejected,
    /// The peer closed the connection.
    PeerGone,
    /// Something else.
    Other,
}

impl HandshakeFailure {
    pub(super) const ALL: [Self; 12] = [
        Self::Timeout,
        Self::PlainText,
        Self::NoCertificate,
        Self::UnknownAuthority,
        Self::Expired,
        Self::Revoked,
        Self::BadCertificate,
        Self::Alpn,
        Self::Incompatible,
        Self::Rejected,
        Self::PeerGone,
        Self::Other,
    ];

    /// `begin` are the first bytes of the peer.
    // The library may get further errors.
    #[allow(clippy::wildcard_enum_match_arm)]
    pub(super) fn of(error: &io::Error, begin: &[u8]) -> Self {
        let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<Error>());
        let Some(error) = inner else {
            return match error.kind() {
                io::ErrorKind::UnexpectedEof
                | io::ErrorKind::ConnectionReset
                | io::ErrorKind::ConnectionAborted
                | io::ErrorKind::NotConnected
                | io::ErrorKind::BrokenPipe => Self::PeerGone,
                _ => Self::Other,
            };
        };
        match error {
            Error::InvalidMessage(_) if !is_tls(begin) => Self::PlainText,
            Error::NoCertificatesPresented => Self::NoCertificate,
            Error::InvalidCertificate(error) => Self::of_certificate(error),
            Error::NoApplicationProtocol => Self::Alpn,
            Error::PeerIncompatible(_) => Self::Incompatible,
            Error::AlertReceived(_) => Self::Rejected,
            _ => Self::Other,
        }
    }

    #[allow(clippy::wildcard_enum_match_arm)]
    fn of_certificate(error: &CertificateError) -> Self {
        match error {
            CertificateError::Expired
            | CertificateError::ExpiredContext { .. }
            | CertificateError::NotValidYet
            | CertificateError::NotValidYetContext { .. } => Self::Expired,
            CertificateError::Revoked => Self::Revoked,
            // A bad signature is one of another authority of the same name.
            CertificateError::UnknownIssuer | CertificateError::BadSignature => {
                Self::UnknownAuthority
            }
            _ => Self::BadCertificate,
        }
    }

    /// Name in metrics and log lines.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Timeout => "timeout",
            Self::PlainText => "plain_text",
            Self::NoCertificate => "no_certificate",
            Self::UnknownAuthority => "unknown_authority",
            Self::Expired => "expired_certificate",
            Self::Revoked => "revoked_certificate",
            Self::BadCertificate => "bad_certificate",
            Self::Alpn => "alpn",
            Self::Incompatible => "incompatible",
            Self::Rejected => "rejected",
            Self::PeerGone => "peer_gone",
            Self::Other => "other",
        }
    }

    /// Why the connection is closed.
    #[must_use]
    pub fn close_reason(self) -> CloseReason {
        match self {
            Self::Timeout => CloseReason::Silent,
            Self::PeerGone => CloseReason::Ended,
            Self::PlainText
            | Self::NoCertificate
            | Self::UnknownAuthority
            | Self::Expired
            | Self::Revoked
            | Self::BadCertificate
            | Self::Alpn
            | Self::Incompatible
            | Self::Rejected
            | Self::Other => CloseReason::Handshake,
        }
    }

    /// The remedy. `section` is the table of the configuration.
    pub(super) fn advice(self, section: &str) -> String {
        match self {
            Self::Timeout => {
                format!("if the peer is far away, raise {section}.handshake_timeout")
            }
            Self::PlainText => format!(
                "this port speaks TLS, as {section}.cert is set: connect with TLS, or remove it"
            ),
            Self::NoCertificate => format!(
                "give the client a certificate, or set {section}.client_cert to \"optional\""
            ),
            Self::UnknownAuthority => format!(
                "give the client a certificate of an authority in {section}.client_ca, or add \
                 its authority there"
            ),
            Self::Expired => {
                "renew the certificate of the client, and check the clocks of both".to_owned()
            }
            Self::Revoked => format!("{section}.crl revokes it: give the client another one"),
            Self::BadCertificate => "give the client a valid certificate for clients".to_owned(),
            Self::Alpn => "use a client that offers HTTP/2 (ALPN h2), as gRPC does".to_owned(),
            Self::Incompatible => format!(
                "use a client with TLS 1.2 or 1.3 and modern ciphers; see {section}.min_version"
            ),
            Self::Rejected => format!(
                "the client must trust the authority that signed {section}.cert, which must have \
                 the name that the client connects to"
            ),
            Self::PeerGone | Self::Other => "check what connects to this port".to_owned(),
        }
    }
}

/// Whether a peer that begins with `begin` speaks TLS: by the type of its first record.
fn is_tls(begin: &[u8]) -> bool {
    begin.first().is_none_or(|first| (0x14..=0x18).contains(first))
}

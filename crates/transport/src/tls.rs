//! TLS of a port. Each connection performs its handshake in its own task, with the settings that
//! the port has at that time; open connections keep theirs.
//!
//! Everything else of a connection is above TLS: responses are collected before they are encrypted,
//! so that they share records, and the read gate decides before anything is decrypted.

mod counted_socket;
mod handshake_failure;
mod handshake_log;

use std::{fmt, io, net::SocketAddr, sync::Arc, time::Duration};

use bytes::Bytes;
use parking_lot::RwLock;
use rustls::{
    HandshakeKind, ServerConfig, ServerConnection,
    pki_types::{CertificateDer, UnixTime},
    server::danger::ClientCertVerifier,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::{Instant, timeout},
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};

use handshake_log::HandshakeLog;

pub use counted_socket::CountedSocket;
pub use handshake_failure::HandshakeFailure;

/// Time in which a peer can read why its handshake failed, before the connection is closed.
const LINGER: Duration = Duration::from_millis(250);
/// Bytes of such a peer that are read and discarded: unread ones would reset the connection, and
/// the alert with it.
const MAX_DISCARDED: usize = 64 * 1024;

/// Settings of TLS.
#[derive(Clone)]
pub struct TlsSettings {
    /// Certificate, key, versions, and what is asked of clients.
    pub config: Arc<ServerConfig>,
    /// Verifies the certificates of clients, as `config` does. A session that is resumed has a
    /// certificate that was verified when it began: it is verified again.
    pub client_verifier: Option<Arc<dyn ClientCertVerifier>>,
    /// Time limit of a handshake.
    pub handshake_timeout: Duration,
}

/// TLS of one port.
pub struct TlsPort {
    settings: RwLock<TlsSettings>,
    observer: Box<dyn Fn(HandshakeOutcome, Duration) + Send + Sync>,
    log: HandshakeLog,
}

/// The names of a port.
#[derive(Debug, Clone, Copy)]
pub struct PortNames {
    /// In log lines.
    pub port: &'static str,
    /// The table of the configuration with its TLS, for advice in log lines.
    pub section: &'static str,
}

/// How a handshake ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HandshakeOutcome {
    /// A session began.
    Full,
    /// A session goes on.
    Resumed,
    /// The connection is closed.
    Failed(HandshakeFailure),
}

/// A connection after its handshake.
pub struct TlsConnection {
    /// The stream.
    pub stream: TlsStream<CountedSocket>,
    /// The verified leaf certificate of the client in DER, if it presented one.
    pub certificate: Option<Bytes>,
}

// === impl TlsPort ===

impl TlsPort {
    /// `observer` is called after each handshake, with the time that it took.
    #[must_use]
    pub fn new(
        names: PortNames,
        settings: TlsSettings,
        observer: impl Fn(HandshakeOutcome, Duration) + Send + Sync + 'static,
    ) -> Self {
        let observer = Box::new(observer);
        Self { settings: RwLock::new(settings), observer, log: HandshakeLog::new(names) }
    }

    /// Replaces the settings. Handshakes that have begun and open connections keep theirs.
    pub fn replace(&self, settings: TlsSettings) {
        *self.settings.write() = settings;
    }

    /// Performs the handshake of a connection. One that fails is logged, few times per kind.
    ///
    /// # Errors
    /// The handshake failed, and the connection is closed.
    pub async fn accept(
        &self,
        stream: TcpStream,
        peer: SocketAddr,
    ) -> Result<TlsConnection, HandshakeFailure> {
        let TlsSettings { config, client_verifier, handshake_timeout } =
            self.settings.read().clone();
        let began_at = Instant::now();
        let socket = CountedSocket::new(stream);
        let accepting = TlsAcceptor::from(config).accept(socket).into_fallible();
        let accepted = match timeout(handshake_timeout, accepting).await {
            Ok(Ok(stream)) => {
                match verify_resumed(stream.get_ref().1, client_verifier.as_deref()) {
                    Ok(()) => Ok(stream),
                    Err(error) => {
                        let error = io::Error::new(io::ErrorKind::InvalidData, error);
                        Err((error, stream.into_inner().0))
                    }
                }
            }
            Ok(Err(failed)) => Err(failed),
            Err(_elapsed) => {
                let failure = HandshakeFailure::Timeout;
                (self.observer)(HandshakeOutcome::Failed(failure), began_at.elapsed());
                self.log.write(failure, None, &[], peer);
                return Err(failure);
            }
        };
        let time = began_at.elapsed();
        match accepted {
            Ok(stream) => {
                let session = stream.get_ref().1;
                (self.observer)(HandshakeOutcome::of(session), time);
                let certificate = session.peer_certificates().and_then(<[_]>::first);
                let certificate = certificate.map(|leaf| Bytes::copy_from_slice(leaf));
                Ok(TlsConnection { stream, certificate })
            }
            Err((error, socket)) => {
                let failure = HandshakeFailure::of(&error, socket.begin());
                (self.observer)(HandshakeOutcome::Failed(failure), time);
                self.log.write(failure, Some(&error), socket.begin(), peer);
                if failure != HandshakeFailure::PeerGone {
                    let _ = timeout(LINGER, linger(socket)).await;
                }
                Err(failure)
            }
        }
    }
}

/// Verifies the certificate of a session that is resumed, which may have expired or been revoked
/// since the session began.
fn verify_resumed(
    session: &ServerConnection,
    verifier: Option<&dyn ClientCertVerifier>,
) -> Result<(), rustls::Error> {
    let is_resumed = session.handshake_kind() == Some(HandshakeKind::Resumed);
    match (verifier, session.peer_certificates().and_then(<[CertificateDer<'_>]>::split_first)) {
        (Some(verifier), Some((leaf, others))) if is_resumed => {
            verifier.verify_client_cert(leaf, others, UnixTime::now()).map(drop)
        }
        (Some(verifier), None) if is_resumed && verifier.client_auth_mandatory() => {
            Err(rustls::Error::NoCertificatesPresented)
        }
        _ => Ok(()),
    }
}

/// Ends a connection so that its peer receives the alert that was sent last.
async fn linger(mut socket: CountedSocket) -> io::Result<()> {
    socket.shutdown().await?;
    let (mut buffer, mut left) = ([0; 4096], MAX_DISCARDED);
    loop {
        match socket.read(&mut buffer).await? {
            0 => return Ok(()),
            bytes => match left.checked_sub(bytes) {
                Some(rest) => left = rest,
                None => return Ok(()),
            },
        }
    }
}

impl fmt::Debug for TlsPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsPort").finish_non_exhaustive()
    }
}

// === impl HandshakeOutcome ===

impl HandshakeOutcome {
    fn of(session: &ServerConnection) -> Self {
        match session.handshake_kind() {
            Some(HandshakeKind::Resumed) => Self::Resumed,
            Some(HandshakeKind::Full | HandshakeKind::FullWithHelloRetryRequest) | None => {
                Self::Full
            }
        }
    }

    /// Name in metrics.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Resumed => "resumed",
            Self::Failed(failure) => failure.name(),
        }
    }
}

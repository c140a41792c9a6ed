//! The server with TLS, as a client sees it.

use std::sync::atomic::AtomicBool;

use parking_lot::Mutex;
use rustls::{
    ClientConfig, DistinguishedName, RootCertStore, ServerConfig, SignatureScheme,
    client::danger::HandshakeSignatureValid,
    crypto::{CryptoProvider, ring},
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime},
    server::{
        WebPkiClientVerifier,
        danger::{ClientCertVerified, ClientCertVerifier},
    },
    version::{TLS12, TLS13},
};
use tokio::io::AsyncWriteExt as _;
use tokio_rustls::{TlsConnector, client::TlsStream};

use super::*;

/// An authority, and what it has signed.
struct Authority {
    certificate: CertificateDer<'static>,
    issuer: rcgen::Issuer<'static, rcgen::KeyPair>,
}

type Pair = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

impl Authority {
    fn new() -> Self {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::default();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let certificate = params.self_signed(&key).unwrap().der().clone();
        Self { certificate, issuer: rcgen::Issuer::new(params, key) }
    }

    fn sign(&self, name: &str) -> Pair {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.distinguished_name.push(rcgen::DnType::CommonName, name);
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        (vec![certificate.der().clone()], PrivateKeyDer::try_from(key.serialize_der()).unwrap())
    }

    fn roots(&self) -> Arc<RootCertStore> {
        let mut roots = RootCertStore::empty();
        roots.add(self.certificate.clone()).unwrap();
        Arc::new(roots)
    }
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

/// Accepts what another verifier accepts, until it is switched.
#[derive(Debug)]
struct Switched(Arc<dyn ClientCertVerifier>, Arc<AtomicBool>);

impl ClientCertVerifier for Switched {
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.0.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        leaf: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        if self.1.load(SeqCst) {
            return Err(rustls::CertificateError::Revoked.into());
        }
        self.0.verify_client_cert(leaf, others, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signature: &rustls::DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.0.verify_tls12_signature(message, leaf, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signature: &rustls::DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.0.verify_tls13_signature(message, leaf, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_verify_schemes()
    }
}

/// A port with TLS, its authority, and the outcomes of its handshakes.
struct Port {
    authority: Authority,
    tls: Arc<TlsPort>,
    outcomes: Arc<Mutex<Vec<HandshakeOutcome>>>,
    revokes: Arc<AtomicBool>,
}

/// That of peers which do not finish.
const SHORT_TIMEOUT: Duration = Duration::from_secs(1);

impl Port {
    fn new() -> Self {
        Self::with_timeout(2 * SOON)
    }

    fn with_timeout(handshake_timeout: Duration) -> Self {
        let authority = Authority::new();
        let (outcomes, revokes) = (Arc::<Mutex<Vec<_>>>::default(), Arc::default());
        let names = PortNames { port: "grpc", section: "tls" };
        let observed = outcomes.clone();
        let settings = TlsSettings { handshake_timeout, ..settings(&authority, &revokes) };
        let observer = move |outcome, _| observed.lock().push(outcome);
        let tls = Arc::new(TlsPort::new(names, settings, observer));
        Self { authority, tls, outcomes, revokes }
    }

    /// A server that answers with the certificate of its client.
    async fn serve(&self) -> Server {
        let handler = |request: Request<RequestBody>| {
            let certificate = request.body().connection().peer().certificate.clone();
            let is_large = request.uri().path() == "/large";
            let body = if is_large { Some(vec![7; LARGE].into()) } else { certificate };
            let reply = async move { reply(Full::from(body.unwrap_or_default())) };
            Dispatched { may_spawn: false, is_queued: true, reply }
        };
        Server::start_on(handler, |options| options, Some(self.tls.clone())).await
    }

    fn client(&self, versions: &[&'static rustls::SupportedProtocolVersion]) -> ClientConfig {
        let builder = ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(versions)
            .unwrap()
            .with_root_certificates(self.authority.roots());
        let (chain, key) = self.authority.sign("client");
        let mut config = builder.with_client_auth_cert(chain, key).unwrap();
        config.alpn_protocols = vec![b"h2".to_vec()];
        config
    }

    fn last(&self) -> Option<HandshakeOutcome> {
        self.outcomes.lock().last().copied()
    }

    async fn eventually(&self, outcome: HandshakeOutcome) {
        let poll = async {
            while self.last() != Some(outcome) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let last = || self.last();
        assert!(timeout(SOON, poll).await.is_ok(), "{outcome:?} expected, got {:?}", last());
    }
}

fn settings(authority: &Authority, revokes: &Arc<AtomicBool>) -> TlsSettings {
    let verifier = WebPkiClientVerifier::builder_with_provider(authority.roots(), provider())
        .allow_unauthenticated()
        .build()
        .unwrap();
    let verifier: Arc<dyn ClientCertVerifier> = Arc::new(Switched(verifier, revokes.clone()));
    let (chain, key) = authority.sign("localhost");
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_client_cert_verifier(verifier.clone())
        .with_single_cert(chain, key)
        .unwrap();
    config.alpn_protocols = vec![b"h2".to_vec()];
    config.ticketer = ring::Ticketer::new().unwrap();
    TlsSettings {
        config: Arc::new(config),
        client_verifier: Some(verifier),
        handshake_timeout: 2 * SOON,
    }
}

async fn handshake(
    server: &Server,
    config: &Arc<ClientConfig>,
) -> std::io::Result<TlsStream<TcpStream>> {
    let stream = TcpStream::connect(server.address).await.unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    TlsConnector::from(config.clone()).connect(name, stream).await
}

async fn connect(server: &Server, config: &Arc<ClientConfig>) -> Client {
    let stream = handshake(server, config).await.unwrap();
    let (requests, connection) = h2::client::handshake(stream).await.unwrap();
    tokio::spawn(connection);
    Client { address: server.address, requests }
}

async fn body_of(client: &mut Client, path: &str) -> Vec<u8> {
    let mut body = client.get(path).await.unwrap().into_body();
    let mut bytes = Vec::new();
    while let Some(data) = timeout(SOON, body.data()).await.unwrap() {
        let data = data.unwrap();
        body.flow_control().release_capacity(data.len()).unwrap();
        bytes.extend_from_slice(&data);
    }
    bytes
}

#[tokio::test]
async fn the_handler_sees_the_certificate_and_large_responses_arrive_with_each_version() {
    let port = Port::new();
    for version in [&TLS12, &TLS13] {
        let server = port.serve().await;
        let config = port.client(&[version]);
        let mut client = connect(&server, &Arc::new(config.clone())).await;
        let certificate = body_of(&mut client, "/").await;
        assert!(!certificate.is_empty(), "{version:?}");
        assert!(body_of(&mut client, "/large").await == vec![7; LARGE], "{version:?}");
        // Reads are delayed while requests are queued.
        server.admission.backpressure().turn_on();
        assert_eq!(body_of(&mut client, "/large").await.len(), LARGE, "{version:?}");
        assert_eq!(body_of(&mut client, "/").await, certificate, "{version:?}");
        drop(client);
        server.drain().await;
        assert_eq!(port.last(), Some(HandshakeOutcome::Full));
    }
}

#[tokio::test]
async fn a_connection_with_tls_is_paused_when_it_brought_a_queued_request() {
    let port = Port::new();
    let server = port.serve().await;
    let mut client = connect(&server, &Arc::new(port.client(&[&TLS13]))).await;
    assert!(client.get("/first").await.is_ok());
    server.admission.backpressure().turn_on();
    let is_paused = async {
        loop {
            let mut response = client.begin("/another", true).0;
            while poll!(&mut response).is_pending() {
                if server.admission.paused_connections() > 0 {
                    return;
                }
                tokio::task::yield_now().await;
            }
        }
    };
    timeout(SOON, is_paused).await.unwrap();
    drop(client);
    server.drain().await;
}

#[tokio::test]
async fn a_response_over_tls_is_guarded_while_the_socket_is_not_read() {
    let port = Port::new();
    let server = port.serve().await;
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(64 * 1024).unwrap();
    let stream = socket.connect(server.address).await.unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    let connector = TlsConnector::from(Arc::new(port.client(&[&TLS13])));
    let stream = connector.connect(name, stream).await.unwrap();
    let mut builder = h2::client::Builder::new();
    builder.initial_window_size((1 << 31) - 1).initial_connection_window_size((1 << 31) - 1);
    let (requests, mut connection) = builder.handshake(stream).await.unwrap();
    let mut client = Client { address: server.address, requests };
    let unread: Vec<_> = (0..3).map(|_| client.begin("/large", true).0).collect();
    // Sends the requests, and reads nothing afterwards.
    let _ = poll!(&mut connection);
    let closed = async {
        let stalled = || server.stats.closed().find(|(reason, _)| *reason == CloseReason::Stalled);
        while stalled().is_none_or(|(_, count)| count == 0) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(SOON, closed).await.unwrap();
    drop((unread, client, connection));
    server.drain().await;
}

#[tokio::test]
async fn sessions_are_resumed_until_the_settings_change_and_verified_again() {
    let port = Port::new();
    let server = port.serve().await;
    let config = Arc::new(port.client(&[&TLS13]));
    for expected in [HandshakeOutcome::Full, HandshakeOutcome::Resumed] {
        let mut client = connect(&server, &config).await;
        assert!(!body_of(&mut client, "/").await.is_empty());
        assert_eq!(port.last(), Some(expected));
    }
    port.revokes.store(true, SeqCst);
    let revoked = HandshakeOutcome::Failed(HandshakeFailure::Revoked);
    // TLS 1.3 lets the client finish first.
    let _ = handshake(&server, &config).await;
    port.eventually(revoked).await;
    port.revokes.store(false, SeqCst);
    port.tls.replace(settings(&port.authority, &port.revokes));
    let mut client = connect(&server, &config).await;
    assert!(!body_of(&mut client, "/").await.is_empty());
    assert_eq!(port.last(), Some(HandshakeOutcome::Full));
    drop(client);
    server.drain().await;
}

#[tokio::test]
async fn peers_without_tls_and_silent_ones_fail_in_time() {
    let port = Port::with_timeout(SHORT_TIMEOUT);
    let server = port.serve().await;
    let mut plain = TcpStream::connect(server.address).await.unwrap();
    plain.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.unwrap();
    port.eventually(HandshakeOutcome::Failed(HandshakeFailure::PlainText)).await;
    let begun = Instant::now();
    let mut silent = TcpStream::connect(server.address).await.unwrap();
    assert_eq!(timeout(SOON, silent.read(&mut [0; 1])).await.unwrap().unwrap(), 0);
    assert!(begun.elapsed() >= SHORT_TIMEOUT / 2);
    assert_eq!(port.last(), Some(HandshakeOutcome::Failed(HandshakeFailure::Timeout)));
    // A peer that is slow within its handshake.
    let mut slow = TcpStream::connect(server.address).await.unwrap();
    slow.write_all(&[0x16, 3, 1, 1, 0, 1, 0]).await.unwrap();
    assert_eq!(timeout(SOON, slow.read(&mut [0; 1])).await.unwrap().unwrap_or(0), 0);
    server.drain().await;
}

#[tokio::test]
async fn a_handshake_ends_at_a_shutdown() {
    let port = Port::new();
    let server = port.serve().await;
    let _silent = TcpStream::connect(server.address).await.unwrap();
    let open = async {
        while server.stats.open() == 0 {
            tokio::task::yield_now().await;
        }
    };
    timeout(SOON, open).await.unwrap();
    server.drain().await;
}

#[tokio::test]
async fn a_connection_in_its_handshake_makes_room_for_another() {
    let port = Port::new();
    let server = port.serve().await;
    let mut silent = TcpStream::connect(server.address).await.unwrap();
    let open = async {
        while server.stats.open() == 0 {
            tokio::task::yield_now().await;
        }
    };
    timeout(SOON, open).await.unwrap();
    // There is room for one.
    let mut client = connect(&server, &Arc::new(port.client(&[&TLS13]))).await;
    assert!(client.get("/").await.is_ok());
    assert_eq!(timeout(SOON, silent.read(&mut [0; 1])).await.unwrap().unwrap_or(0), 0);
    let displaced = server.stats.closed().find(|(reason, _)| *reason == CloseReason::Displaced);
    assert_eq!(displaced.map(|(_, count)| count), Some(1));
    drop(client);
    server.drain().await;
}

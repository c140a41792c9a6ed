//! An authority, and the files that a server and its clients use.

use std::{
    fs,
    ops::Range,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DnType, IsCa, Issuer,
    KeyIdMethod, KeyPair, KeyUsagePurpose, RevokedCertParams, SerialNumber,
};
use rustls::{
    ClientConfig, RootCertStore, SupportedProtocolVersion,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject as _},
    version::{TLS12, TLS13},
};
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio_rustls::{TlsConnector, client::TlsStream};
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};
use x509_parser::time::ASN1Time;

use crate::support::{
    client::Cache,
    server::{Builder, Larder},
};

pub(super) const BOTH: &[&SupportedProtocolVersion] = &[&TLS13, &TLS12];

/// A certificate and its key in PEM.
#[derive(Clone)]
pub(super) struct Pair {
    pub(super) certificate: String,
    pub(super) key: String,
    pub(super) serial: SerialNumber,
}

/// An authority, with a directory for files.
pub(super) struct Pki {
    pub(super) authority: String,
    issuer: Issuer<'static, KeyPair>,
    directory: TempDir,
}

impl Pki {
    pub(super) fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "authority");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let authority = params.self_signed(&key).unwrap().pem();
        let pki = Self {
            authority,
            issuer: Issuer::new(params, key),
            directory: tempfile::tempdir().unwrap(),
        };
        pki.write("ca.crt", &pki.authority);
        pki
    }

    /// A certificate that is valid in a range of days from now.
    pub(super) fn sign(&self, name: &str, days: Range<i32>) -> Pair {
        let key = KeyPair::generate().unwrap();
        let names = vec![name.to_owned(), "127.0.0.1".to_owned()];
        let mut params = CertificateParams::new(names).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        let serial = SerialNumber::from(rand::random::<u64>() >> 1);
        params.serial_number = Some(serial.clone());
        params.not_before = day!(days.start);
        params.not_after = day!(days.end);
        let certificate = params.signed_by(&key, &self.issuer).unwrap().pem();
        Pair { certificate, key: key.serialize_pem(), serial }
    }

    pub(super) fn revocation_list(&self, revoked: &[&Pair]) -> String {
        let entry = |pair: &&Pair| RevokedCertParams {
            serial_number: pair.serial.clone(),
            revocation_time: day!(-1),
            reason_code: None,
            invalidity_date: None,
        };
        let list = CertificateRevocationListParams {
            this_update: day!(-1),
            next_update: day!(1),
            crl_number: SerialNumber::from(1),
            issuing_distribution_point: None,
            revoked_certs: revoked.iter().map(entry).collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        list.signed_by(&self.issuer).unwrap().pem().unwrap()
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Writes a file in one step.
    pub(super) fn write(&self, name: &str, text: &str) {
        let temporary = self.path("temporary");
        fs::write(&temporary, text).unwrap();
        fs::rename(temporary, self.path(name)).unwrap();
    }

    /// Writes `name.crt` and `name.key`.
    pub(super) fn write_pair(&self, name: &str, pair: &Pair) {
        self.write(&format!("{name}.crt"), &pair.certificate);
        self.write(&format!("{name}.key"), &pair.key);
    }

    /// Variables of a server with the pair `server`, by the names of keys in `section`.
    pub(super) fn server(&self, builder: Builder, section: &str) -> Builder {
        let file = |name: &str| self.path(name).display().to_string();
        let key = |name: &str| format!("LARDER_{section}__{name}");
        builder.env(&key("CERT"), file("server.crt")).env(&key("KEY"), file("server.key"))
    }

    /// A server on the embedded store, with a new certificate and further variables.
    pub(super) async fn start(&self, variables: &[(&str, &str)]) -> Larder {
        self.write_pair("server", &self.sign("localhost", -1..60));
        self.server(Larder::memory(), "TLS").envs(variables).start().await
    }

    /// Settings of a client without gRPC.
    pub(super) fn client(
        &self,
        pair: Option<&Pair>,
        versions: &[&'static SupportedProtocolVersion],
        protocols: &[&str],
    ) -> Arc<ClientConfig> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(self.authority.as_bytes()).unwrap()).unwrap();
        let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_protocol_versions(versions)
            .unwrap()
            .with_root_certificates(roots);
        let mut config = match pair {
            None => builder.with_no_client_auth(),
            Some(Pair { certificate, key, .. }) => {
                let chain = vec![CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap()];
                let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
                builder.with_client_auth_cert(chain, key).unwrap()
            }
        };
        config.alpn_protocols =
            protocols.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
        Arc::new(config)
    }

    /// A gRPC client.
    pub(super) async fn connect(
        &self,
        larder: &Larder,
        pair: Option<&Pair>,
    ) -> Result<Cache, tonic::transport::Error> {
        Ok(Cache::on(self.channel(larder, pair).await?))
    }

    async fn channel(
        &self,
        larder: &Larder,
        pair: Option<&Pair>,
    ) -> Result<Channel, tonic::transport::Error> {
        let mut tls = ClientTlsConfig::new()
            .ca_certificate(Certificate::from_pem(&self.authority))
            .domain_name("localhost");
        if let Some(Pair { certificate, key, .. }) = pair {
            tls = tls.identity(Identity::from_pem(certificate, key));
        }
        let uri = format!("https://{}", larder.address());
        let endpoint = Endpoint::from_shared(uri).unwrap().timeout(Duration::from_secs(60));
        endpoint.tls_config(tls).unwrap().connect().await
    }
}

/// Performs a handshake as the client.
pub(super) async fn handshake(
    larder: &Larder,
    config: &Arc<ClientConfig>,
) -> std::io::Result<TlsStream<TcpStream>> {
    let stream = TcpStream::connect(larder.address()).await?;
    let name = ServerName::try_from("localhost").unwrap();
    TlsConnector::from(config.clone()).connect(name, stream).await
}

/// The certificate of the server.
pub(super) async fn served(larder: &Larder, config: &Arc<ClientConfig>) -> Vec<u8> {
    let stream = handshake(larder, config).await.unwrap();
    stream.get_ref().1.peer_certificates().unwrap()[0].to_vec()
}

/// The certificate of a pair, to compare with [`served`].
pub(super) fn der(pair: &Pair) -> Vec<u8> {
    CertificateDer::from_pem_slice(pair.certificate.as_bytes()).unwrap().to_vec()
}

pub(super) fn display(path: &Path) -> String {
    path.display().to_string()
}

/// A time of so many days from now, in the type that rcgen wants.
macro_rules! day {
    ($days:expr) => {{
        let days: i32 = $days;
        let time = Duration::from_secs(86_400 * u64::from(days.unsigned_abs()));
        let now = ASN1Time::now().to_datetime();
        if days < 0 { now - time } else { now + time }
    }};
}
use day;

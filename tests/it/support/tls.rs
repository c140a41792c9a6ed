//! A Redis server with TLS, and the certificates for it.

use std::{fs, net::TcpListener, panic::AssertUnwindSafe, path::Path};

use futures::FutureExt as _;
use tempfile::TempDir;

use super::redis::RedisServer;

/// A server with TLS on a port, and without TLS on a unix socket.
pub(crate) struct TlsRedisServer {
    pub(crate) redis: RedisServer,
    port: u16,
    certificates: TempDir,
}

// === impl TlsRedisServer ===

impl TlsRedisServer {
    /// Starts a server with a certificate for localhost, and further arguments.
    pub(crate) async fn start(arguments: &[&str]) -> Self {
        let certificates = tempfile::tempdir().unwrap();
        write_certificates(certificates.path());
        // Another process may take the port between choosing and binding it.
        for _ in 0..5 {
            let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
            let tls = tls_arguments(certificates.path(), port);
            let mut all: Vec<&str> =
                tls.iter().flat_map(|(name, value)| [*name, value.as_str()]).collect();
            all.extend(arguments);
            let starting = AssertUnwindSafe(RedisServer::start_with(&all));
            if let Ok(redis) = starting.catch_unwind().await {
                return Self { redis, port, certificates };
            }
        }
        panic!("redis-server with TLS does not start");
    }

    /// The port with TLS.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Lines of the configuration of another process with the same certificates.
    pub(crate) fn tls_lines(&self, port: u16) -> Vec<String> {
        let arguments = tls_arguments(self.certificates.path(), port);
        let names = arguments.iter().map(|(name, value)| (name.trim_start_matches('-'), value));
        names.map(|(name, value)| format!("{name} {value}")).collect()
    }

    /// URL for clients that trust [`Self::authority`].
    pub(crate) fn url(&self) -> String {
        format!("rediss://localhost:{}", self.port)
    }

    /// Paths of a certificate for clients and its key, by the same authority.
    pub(crate) fn client_certificate(&self) -> (String, String) {
        let path = |name: &str| self.certificates.path().join(name).display().to_string();
        (path("client.pem"), path("client.key"))
    }

    /// Path of the certificate authority.
    pub(crate) fn authority(&self) -> String {
        self.certificates.path().join("authority.pem").display().to_string()
    }
}

fn tls_arguments(certificates: &Path, port: u16) -> [(&'static str, String); 5] {
    let file = |name: &str| certificates.join(name).display().to_string();
    [
        ("--tls-port", port.to_string()),
        ("--tls-cert-file", file("server.pem")),
        ("--tls-key-file", file("server.key")),
        ("--tls-ca-cert-file", file("authority.pem")),
        ("--tls-auth-clients", "no".to_owned()),
    ]
}

/// Writes a CA, and a certificate for the loopback interface that is signed by it.
pub(crate) fn write_certificates(directory: &Path) {
    let key = rcgen::KeyPair::generate().unwrap();
    let mut params = rcgen::CertificateParams::default();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let authority = params.self_signed(&key).unwrap();
    fs::write(directory.join("authority.pem"), authority.pem()).unwrap();
    let issuer = rcgen::Issuer::new(params, key);
    let server_key = rcgen::KeyPair::generate().unwrap();
    let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
    let mut server = rcgen::CertificateParams::new(names).unwrap();
    // OpenSSL takes a certificate with the name of its issuer for one that signs itself.
    server.distinguished_name.push(rcgen::DnType::CommonName, "localhost");
    let server = server.signed_by(&server_key, &issuer).unwrap();
    fs::write(directory.join("server.pem"), server.pem()).unwrap();
    fs::write(directory.join("server.key"), server_key.serialize_pem()).unwrap();
    let client_key = rcgen::KeyPair::generate().unwrap();
    let mut client = rcgen::CertificateParams::default();
    client.distinguished_name.push(rcgen::DnType::CommonName, "larder");
    let client = client.signed_by(&client_key, &issuer).unwrap();
    fs::write(directory.join("client.pem"), client.pem()).unwrap();
    fs::write(directory.join("client.key"), client_key.serialize_pem()).unwrap();
}

//! TLS with certificates that are read again when their files change.

use std::{
    path::PathBuf,
    sync::Arc,
    time::{Duration, SystemTime},
};

use parking_lot::Mutex;
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject as _},
};
use tokio::time::Instant;

use crate::Error;

const FILES_CHECKED: Duration = Duration::from_secs(10);

/// Files in PEM.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Files {
    pub(crate) ca: Option<PathBuf>,
    pub(crate) cert: Option<PathBuf>,
    pub(crate) key: Option<PathBuf>,
}

type Stamp = Vec<Option<(SystemTime, u64)>>;

struct Current {
    config: Arc<ClientConfig>,
    stamp: Stamp,
    checked_at: Instant,
}

/// The settings of connections with TLS.
pub(crate) struct Tls {
    files: Files,
    server_name: Option<ServerName<'static>>,
    current: Mutex<Current>,
}

fn wrong(name: &str, file: &std::path::Path, why: impl std::fmt::Display) -> Error {
    Error::argument(name, format!("{}: {why}", file.display()))
}

fn certificates(name: &str, file: &std::path::Path) -> Result<Vec<CertificateDer<'static>>, Error> {
    let read = CertificateDer::pem_file_iter(file).map_err(|why| wrong(name, file, why))?;
    let all: Vec<_> = read.collect::<Result<_, _>>().map_err(|why| wrong(name, file, why))?;
    if all.is_empty() { Err(wrong(name, file, "no certificate in it")) } else { Ok(all) }
}

impl Files {
    fn paths(&self) -> impl Iterator<Item = &PathBuf> {
        [&self.ca, &self.cert, &self.key].into_iter().flatten()
    }

    fn stamp(&self) -> Stamp {
        let facts = |path: &PathBuf| {
            let facts = std::fs::metadata(path).ok()?;
            Some((facts.modified().ok()?, facts.len()))
        };
        self.paths().map(facts).collect()
    }

    fn read(&self) -> Result<ClientConfig, Error> {
        let mut roots = RootCertStore::empty();
        if let Some(file) = &self.ca {
            for certificate in certificates("ca_file", file)? {
                roots.add(certificate).map_err(|why| wrong("ca_file", file, why))?;
            }
        } else {
            // Certificates of the machine that cannot be read are left out, as by other programs.
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|why| Error::argument("tls", why))?
            .with_root_certificates(roots);
        let mut config = match (&self.cert, &self.key) {
            (Some(cert), Some(key)) => {
                let chain = certificates("cert_file", cert)?;
                let private =
                    PrivateKeyDer::from_pem_file(key).map_err(|why| wrong("key_file", key, why))?;
                builder
                    .with_client_auth_cert(chain, private)
                    .map_err(|why| wrong("key_file", key, why))?
            }
            _ => builder.with_no_client_auth(),
        };
        config.alpn_protocols = vec![b"h2".to_vec()];
        Ok(config)
    }
}

impl Tls {
    /// Reads the files.
    ///
    /// # Errors
    ///
    /// Names the file that cannot be read.
    pub(crate) fn new(files: Files, server_name: Option<&str>) -> Result<Self, Error> {
        if files.cert.is_some() != files.key.is_some() {
            return Err(Error::argument("cert_file, key_file", "both or none"));
        }
        let server_name = server_name
            .map(|name| ServerName::try_from(name.to_owned()))
            .transpose()
            .map_err(|why| Error::argument("server_name", why))?;
        let current = Current {
            stamp: files.stamp(),
            config: Arc::new(files.read()?),
            checked_at: Instant::now(),
        };
        Ok(Self { files, server_name, current: Mutex::new(current) })
    }

    /// Whether the files have changed, and new connections use what is in them now. Looks at most
    /// every 10 s. Files that do not fit together, yet, leave the old ones in use.
    pub(crate) fn renewed(&self) -> bool {
        let mut current = self.current.lock();
        if current.checked_at.elapsed() < FILES_CHECKED || self.files.paths().next().is_none() {
            return false;
        }
        current.checked_at = Instant::now();
        let stamp = self.files.stamp();
        if stamp == current.stamp || stamp.contains(&None) {
            return false;
        }
        let Ok(config) = self.files.read() else { return false };
        current.config = Arc::new(config);
        current.stamp = stamp;
        true
    }

    pub(crate) fn config(&self) -> Arc<ClientConfig> {
        Arc::clone(&self.current.lock().config)
    }

    /// The name that the certificate of a server must have.
    pub(crate) fn name(&self, host: &str) -> Result<ServerName<'static>, Error> {
        if let Some(name) = &self.server_name {
            return Ok(name.clone());
        }
        ServerName::try_from(host.to_owned()).map_err(|why| Error::argument("target", why))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// It ends in 2126.
    const AUTHORITY: &str = "\
-----BEGIN CERTIFICATE-----\n\
MIIBdDCCARugAwIBAgIUU64nVBkK6I+nLwZi80BHKZNs4dYwCgYIKoZIzj0EAwIw\n\
DzENMAsGA1UEAwwEdGVzdDAgFw0yNjExMzAwMDAwMzJaGA8yMTI2MTEwNjAwMDAz\n\
MlowDzENMAsGA1UEAwwEdGVzdDBZMBMGByqGSM49AgEGCCqGSM49AwEHA0IABJlP\n\
wq+QSoBY3H8TUr0ikg6fGwORB1nG4JUQTf/YjmjuV6Y3phCAwG2dXuDcJ0td4ZMn\n\
/bW8rDpq/EfXl7osqg2jUzBRMB0GA1UdDgQWBBTl8QJfFsV9OmK/n5nD5afbZf4g\n\
rTAfBgNVHSMEGDAWgBTl8QJfFsV9OmK/n5nD5afbZf4grTAPBgNVHRMBAf8EBTAD\n\
AQH/MAoGCCqGSM49BAMCA0cAMEQCICE0aGW8iMEBLjRIs9/ImYyf/74htPUaQ4Vh\n\
vUpESUBSAiA+uUroOZArAN/wwf0srJIVUY3BHR9pJWioh5H9z8OUfQ==\n\
-----END CERTIFICATE-----\n\
";

    #[tokio::test(start_paused = true)]
    async fn files_are_read_again_when_they_change() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), AUTHORITY).unwrap();
        let files = Files { ca: Some(file.path().to_owned()), ..Files::default() };
        let tls = Tls::new(files, None).unwrap();
        let first = tls.config();
        std::fs::write(file.path(), format!("{AUTHORITY}\n")).unwrap();
        assert!(!tls.renewed(), "the files are looked at too often");
        tokio::time::advance(FILES_CHECKED).await;
        assert!(tls.renewed());
        assert!(!Arc::ptr_eq(&first, &tls.config()));
        tokio::time::advance(FILES_CHECKED).await;
        assert!(!tls.renewed(), "nothing has changed");
        // A file that is being written leaves the old certificates in use.
        let second = tls.config();
        std::fs::write(file.path(), "-----BEGIN").unwrap();
        tokio::time::advance(FILES_CHECKED).await;
        assert!(!tls.renewed());
        assert!(Arc::ptr_eq(&second, &tls.config()));
    }

    #[test]
    fn a_certificate_needs_its_key() {
        let files = Files { cert: Some("a".into()), ..Files::default() };
        assert!(Tls::new(files, None).is_err());
    }
}

//! Settings of TLS for connections to another server.

use std::sync::Arc;

use parking_lot::RwLock;
use rustls::{ClientConfig, RootCertStore, client::ResolvesClientCert, sign::SingleCertAndKey};

use super::{
    PemSource, TlsError, Validity,
    pem::{CERTIFICATE, NamedPem},
    provider,
    server::certified_key,
};

/// TLS to another server, as it is configured.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ClientTlsOptions {
    /// Names of the three keys of the configuration, in the order of the fields.
    pub names: [&'static str; 3],
    /// The authorities of the server; those of the system if there are none.
    pub ca: Option<PemSource>,
    /// The certificate of this client.
    pub cert: Option<PemSource>,
    /// Its key.
    pub key: Option<PemSource>,
}

/// Settings of TLS that can be replaced: new connections use the latest. Clones share them.
#[derive(Clone, Debug)]
pub struct ClientTls(Arc<RwLock<Arc<ClientConfig>>>);

impl ClientTls {
    /// Settings that are used from now on.
    #[must_use]
    pub fn new(config: Arc<ClientConfig>) -> Self {
        Self(Arc::new(RwLock::new(config)))
    }

    /// The latest settings.
    #[must_use]
    pub fn current(&self) -> Arc<ClientConfig> {
        self.0.read().clone()
    }

    /// Replaces the settings.
    pub fn replace(&self, config: Arc<ClientConfig>) {
        *self.0.write() = config;
    }
}

/// The contents of all files.
#[derive(Clone, PartialEq, Eq)]
pub struct ClientPem {
    /// See [`ClientTlsOptions::ca`].
    pub ca: Option<Vec<u8>>,
    /// See [`ClientTlsOptions::cert`].
    pub cert: Option<Vec<u8>>,
    /// See [`ClientTlsOptions::key`].
    pub key: Option<Vec<u8>>,
}

impl ClientTlsOptions {
    /// Reads all files.
    ///
    /// # Errors
    /// A file cannot be read.
    pub fn read(&self) -> Result<ClientPem, TlsError> {
        let read = |name, source: &Option<PemSource>| {
            source.as_ref().map(|source| source.read(name)).transpose()
        };
        let [ca, cert, key] = self.names;
        let (ca, cert) = (read(ca, &self.ca)?, read(cert, &self.cert)?);
        Ok(ClientPem { ca, cert, key: read(key, &self.key)? })
    }

    /// Builds the settings from the contents of the files. Without authorities, those of the
    /// system are read. The validity is that of the certificate of this client.
    ///
    /// # Errors
    /// They cannot be used, or not at this time.
    pub fn build(&self, pem: &ClientPem) -> Result<(ClientConfig, Option<Validity>), TlsError> {
        let [ca_name, cert_name, key_name] = self.names;
        let mut roots = RootCertStore::empty();
        if let (Some(source), Some(bytes)) = (&self.ca, &pem.ca) {
            let authorities = NamedPem { key: ca_name, source, bytes };
            for certificate in authorities.certificates()? {
                let added = roots.add(certificate);
                added.map_err(|error| authorities.unusable(CERTIFICATE, &error))?;
            }
        } else {
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        }
        let builder = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .map_err(|error| TlsError::Unusable {
                key: ca_name.to_owned(),
                place: "the process".to_owned(),
                what: "TLS library",
                problem: error.to_string(),
            })?
            .with_root_certificates(roots);
        let (Some(cert), Some(cert_pem), Some(key), Some(key_pem)) =
            (&self.cert, &pem.cert, &self.key, &pem.key)
        else {
            return Ok((builder.with_no_client_auth(), None));
        };
        let cert = NamedPem { key: cert_name, source: cert, bytes: cert_pem };
        let key = NamedPem { key: key_name, source: key, bytes: key_pem };
        let (pair, validity) = certified_key(cert, key)?;
        let resolver: Arc<dyn ResolvesClientCert> = Arc::new(SingleCertAndKey::from(pair));
        Ok((builder.with_client_cert_resolver(resolver), Some(validity)))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::tls::testing::Authority;

    #[test]
    fn a_certificate_is_presented_if_there_is_one_with_its_key() {
        let authority = Authority::new();
        let (cert, key) = authority.sign("larder", -1..10);
        let mut options = ClientTlsOptions {
            names: ["store.tls_ca", "store.tls_cert", "store.tls_key"],
            ca: Some(PemSource::new(&authority.pem)),
            ..ClientTlsOptions::default()
        };
        let build = |options: &ClientTlsOptions| options.build(&options.read()?);
        let (config, validity) = build(&options).unwrap();
        assert!(!config.client_auth_cert_resolver.has_certs() && validity.is_none());
        options.cert = Some(PemSource::new(&cert));
        options.key = Some(PemSource::new(&key));
        let (config, validity) = build(&options).unwrap();
        assert!(config.client_auth_cert_resolver.has_certs() && validity.is_some());
        options.key = Some(PemSource::new(&authority.sign("larder", -1..10).1));
        let error = build(&options).unwrap_err().to_string();
        assert!(error.starts_with("store.tls_key: the key in the text does not belong"), "{error}");
        options.ca = Some(PemSource::new("/nonexistent"));
        let error = build(&options).unwrap_err().to_string();
        assert_eq!(error, "store.tls_ca: the file /nonexistent cannot be read");
    }
}

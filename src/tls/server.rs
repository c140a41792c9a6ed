//! Settings of TLS for a port.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use rustls::{
    ALL_VERSIONS, RootCertStore, ServerConfig, SupportedProtocolVersion,
    crypto::ring::Ticketer,
    server::{NoServerSessionStorage, WebPkiClientVerifier, danger::ClientCertVerifier},
    sign::{CertifiedKey, SingleCertAndKey},
    version::TLS13,
};

use super::{
    PemSource, TlsError, Validity,
    pem::{CERTIFICATE, NamedPem, PRIVATE_KEY},
    provider,
};

const TLS13_ONLY: &[&SupportedProtocolVersion] = &[&TLS13];

/// TLS of a port, as it is configured.
#[derive(Clone, Debug, PartialEq)]
pub struct ServerTlsOptions {
    /// The table of the configuration.
    pub section: &'static str,
    /// The certificate, and those between it and its authority.
    pub cert: PemSource,
    /// Its key.
    pub key: PemSource,
    /// The authorities of clients.
    pub client_ca: Option<PemSource>,
    /// Whether clients present certificates.
    pub client_certificates: ClientCertificates,
    /// Revoked certificates of clients.
    pub crl: Option<PemSource>,
    /// The oldest version.
    pub min_version: MinVersion,
    /// Application protocols by ALPN, of which the client must offer one if it offers any.
    pub protocols: &'static [&'static [u8]],
    /// Time limit of a handshake.
    pub handshake_timeout: Duration,
}

/// Whether clients present certificates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientCertificates {
    /// They are not asked for.
    None,
    /// A client may present one, which must be valid.
    Optional,
    /// Each client must.
    Required,
}

/// The oldest version of TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MinVersion {
    /// TLS 1.2.
    Tls12,
    /// TLS 1.3.
    Tls13,
}

/// The contents of all files of a port.
#[derive(Clone, PartialEq, Eq)]
pub struct ServerPem {
    cert: Vec<u8>,
    key: Vec<u8>,
    client_ca: Option<Vec<u8>>,
    crl: Option<Vec<u8>>,
}

/// TLS of a port, ready for use.
#[derive(Clone)]
pub struct ServerTls {
    /// Settings of the library. Sessions of other settings are not resumed.
    pub config: Arc<ServerConfig>,
    /// Verifies the certificates of clients.
    pub client_verifier: Option<Arc<dyn ClientCertVerifier>>,
    /// When the certificate is valid.
    pub validity: Validity,
}

impl ServerTlsOptions {
    /// Reads all files.
    ///
    /// # Errors
    /// A file cannot be read.
    pub fn read(&self) -> Result<ServerPem, TlsError> {
        let optional = |name, source: &Option<PemSource>| {
            source.as_ref().map(|source| source.read(&self.name(name))).transpose()
        };
        Ok(ServerPem {
            cert: self.cert.read(&self.name("cert"))?,
            key: self.key.read(&self.name("key"))?,
            client_ca: optional("client_ca", &self.client_ca)?,
            crl: optional("crl", &self.crl)?,
        })
    }

    /// Builds the settings from the contents of the files.
    ///
    /// # Errors
    /// They cannot be used, or not at this time.
    pub fn build(&self, pem: &ServerPem) -> Result<ServerTls, TlsError> {
        let (cert_name, key_name) = (self.name("cert"), self.name("key"));
        let cert = NamedPem { key: &cert_name, source: &self.cert, bytes: &pem.cert };
        let key = NamedPem { key: &key_name, source: &self.key, bytes: &pem.key };
        let (pair, validity) = certified_key(cert, key)?;
        let client_verifier = self.client_verifier(pem)?;
        let builder = ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(match self.min_version {
                MinVersion::Tls12 => ALL_VERSIONS,
                MinVersion::Tls13 => TLS13_ONLY,
            })
            .map_err(|error| cert.unusable(CERTIFICATE, &error))?;
        let builder = match client_verifier.clone() {
            Some(verifier) => builder.with_client_cert_verifier(verifier),
            None => builder.with_no_client_auth(),
        };
        let mut config = builder.with_cert_resolver(Arc::new(SingleCertAndKey::from(pair)));
        config.alpn_protocols = self.protocols.iter().map(|name| name.to_vec()).collect();
        // Sessions are kept by the clients, encrypted, so that they take no memory here.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.ticketer = Ticketer::new().map_err(|error| cert.unusable(CERTIFICATE, &error))?;
        config.send_tls13_tickets = 1;
        Ok(ServerTls { config: Arc::new(config), client_verifier, validity })
    }

    /// Reads all files, and builds the settings from them.
    ///
    /// # Errors
    /// A file cannot be read or used.
    pub fn load(&self) -> Result<ServerTls, TlsError> {
        self.build(&self.read()?)
    }

    fn client_verifier(
        &self,
        pem: &ServerPem,
    ) -> Result<Option<Arc<dyn ClientCertVerifier>>, TlsError> {
        let (Some(source), Some(bytes)) = (&self.client_ca, &pem.client_ca) else {
            return Ok(None);
        };
        if self.client_certificates == ClientCertificates::None {
            return Ok(None);
        }
        let name = self.name("client_ca");
        let authorities = NamedPem { key: &name, source, bytes };
        let mut roots = RootCertStore::empty();
        for certificate in authorities.certificates()? {
            roots.add(certificate).map_err(|error| authorities.unusable(CERTIFICATE, &error))?;
        }
        let mut verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider());
        let (mut named, name) = (authorities, self.name("crl"));
        if let (Some(source), Some(bytes)) = (&self.crl, &pem.crl) {
            named = NamedPem { key: &name, source, bytes };
            // Authorities without a list revoke nothing.
            verifier =
                verifier.with_crls(named.revocation_lists()?).allow_unknown_revocation_status();
        }
        if self.client_certificates == ClientCertificates::Optional {
            verifier = verifier.allow_unauthenticated();
        }
        let verifier = verifier.build();
        verifier.map(Some).map_err(|error| named.unusable("revocation list", &error))
    }

    fn name(&self, key: &str) -> String {
        format!("{}.{key}", self.section)
    }
}

/// A certificate with its key, which must belong together.
pub(super) fn certified_key(
    cert: NamedPem<'_>,
    key: NamedPem<'_>,
) -> Result<(CertifiedKey, Validity), TlsError> {
    let chain = cert.certificates()?;
    let private = key.private_key()?;
    let validity = Validity::of(&chain, cert, SystemTime::now())?;
    let pair = CertifiedKey::from_der(chain, private, &provider());
    let pair = pair.map_err(|error| {
        if let rustls::Error::InconsistentKeys(_) = error {
            let (place, certificate) = (key.place(), cert.place());
            return TlsError::OtherKey { key: key.key.to_owned(), place, certificate };
        }
        if let rustls::Error::InvalidCertificate(error) = error {
            return cert.unusable(CERTIFICATE, &error);
        }
        key.unusable(PRIVATE_KEY, &error)
    })?;
    Ok((pair, validity))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::tls::testing::Authority;

    fn options(cert: String, key: String) -> ServerTlsOptions {
        ServerTlsOptions {
            section: "tls",
            cert: PemSource::new(&cert),
            key: PemSource::new(&key),
            client_ca: None,
            client_certificates: ClientCertificates::None,
            crl: None,
            min_version: MinVersion::Tls12,
            protocols: &[b"h2"],
            handshake_timeout: Duration::from_secs(10),
        }
    }

    fn error(options: &ServerTlsOptions) -> String {
        options.load().err().unwrap().to_string()
    }

    #[test]
    fn a_pair_is_used_until_its_certificate_expires() {
        let authority = Authority::new();
        let (cert, key) = authority.sign("localhost", -1..10);
        let tls = options(cert, key).load().unwrap();
        let left = tls.validity.not_after.duration_since(SystemTime::now()).unwrap();
        assert!(left > Duration::from_secs(9 * 86400) && left < Duration::from_secs(11 * 86400));
        assert!(tls.client_verifier.is_none());
        assert_eq!(tls.config.alpn_protocols, [b"h2"]);
    }

    #[test]
    fn each_mistake_has_its_own_message() {
        let authority = Authority::new();
        let (cert, key) = authority.sign("localhost", -1..10);
        let (_, other_key) = authority.sign("localhost", -1..10);
        let cases = [
            (cert.clone(), other_key, "the key in the text does not belong to the certificate"),
            (cert.clone(), cert.clone(), "tls.key: the text has no private key in PEM"),
            (key.clone(), key.clone(), "tls.cert: the text has no certificate in PEM"),
            (
                authority.sign("a", -9..-1).0,
                key.clone(),
                "tls.cert: the certificate in the text ex",
            ),
            (
                authority.sign("a", 1..9).0,
                key.clone(),
                "the certificate in the text is not valid be",
            ),
            ("/nonexistent".to_owned(), key, "tls.cert: the file /nonexistent cannot be read"),
        ];
        for (cert, key, expected) in cases {
            let found = error(&options(cert, key));
            assert!(found.contains(expected), "{found}");
            assert!(!found.contains("BEGIN"), "{found}");
        }
    }

    #[test]
    fn clients_are_verified_with_an_authority() {
        let authority = Authority::new();
        let (cert, key) = authority.sign("localhost", -1..10);
        let mut options = options(cert, key);
        options.client_ca = Some(PemSource::new(&authority.pem));
        assert!(options.load().unwrap().client_verifier.is_none());
        for (mode, is_mandatory) in
            [(ClientCertificates::Optional, false), (ClientCertificates::Required, true)]
        {
            options.client_certificates = mode;
            let verifier = options.load().unwrap().client_verifier.unwrap();
            assert_eq!(verifier.client_auth_mandatory(), is_mandatory);
        }
        options.crl = Some(PemSource::new(&authority.revocation_list(&[])));
        assert!(options.load().is_ok());
        options.crl = options.client_ca.clone();
        assert_eq!(error(&options), "tls.crl: the text has no revocation list in PEM");
        options.client_ca = Some(options.key.clone());
        assert_eq!(error(&options), "tls.client_ca: the text has no certificate in PEM");
    }
}

//! Settings of TLS: `[tls]` for the gRPC port, and `[admin.tls]` for the admin port.

use std::time::Duration;

use super::Config;
use super::diagnostics::Diagnostics;
use super::toml::{join, quoted};
use super::value::{
    MILLISECOND, SECOND, ValueType, as_text, choice, duration, mismatch, value_type,
};
use super::visitor::{ConfigVisitor, Section};
use crate::tls::{ClientCertificates, MinVersion, PemSource, ServerTlsOptions};

/// Section of the gRPC port, and of the admin port.
const GRPC: &str = "tls";
const ADMIN: &str = "admin.tls";

/// TLS of a port. Without a certificate the port has none.
#[derive(Clone, Debug, PartialEq)]
pub struct TlsConfig {
    /// The certificate of the server, and those between it and its authority. With it, the port
    /// speaks TLS only. It needs `key`.
    pub cert: Option<PemSource>,
    /// The key of the certificate.
    pub key: Option<PemSource>,
    /// The authorities that sign the certificates of clients.
    pub client_ca: Option<PemSource>,
    /// Whether clients present a certificate. `"optional"`: one that is presented must be valid.
    /// Both others than `"none"` need `client_ca`.
    pub client_cert: ClientCertificates,
    /// Lists of revoked certificates. It needs `client_ca`. An authority without a list revokes
    /// nothing.
    pub crl: Option<PemSource>,
    /// The oldest version of TLS.
    pub min_version: MinVersion,
    /// Time limit of a handshake.
    pub handshake_timeout: Duration,
}

impl Default for TlsConfig {
    fn default() -> Self {
        Self {
            cert: None,
            key: None,
            client_ca: None,
            client_cert: ClientCertificates::None,
            crl: None,
            min_version: MinVersion::Tls12,
            handshake_timeout: Duration::from_secs(10),
        }
    }
}

impl Section for TlsConfig {
    fn visit(&mut self, visitor: &mut impl ConfigVisitor) {
        visitor.key("cert", &mut self.cert, pem());
        visitor.key("key", &mut self.key, pem());
        visitor.key("client_ca", &mut self.client_ca, pem());
        let modes = choice(&[
            ("none", ClientCertificates::None),
            ("optional", ClientCertificates::Optional),
            ("required", ClientCertificates::Required),
        ]);
        visitor.key("client_cert", &mut self.client_cert, modes);
        visitor.key("crl", &mut self.crl, pem());
        let versions = choice(&[("1.2", MinVersion::Tls12), ("1.3", MinVersion::Tls13)]);
        visitor.key("min_version", &mut self.min_version, versions);
        let timeout = duration(100 * MILLISECOND, 60 * SECOND);
        visitor.key("handshake_timeout", &mut self.handshake_timeout, timeout);
    }
}

impl Config {
    /// TLS of the gRPC port; none for plain text.
    pub fn grpc_tls(&self) -> Option<ServerTlsOptions> {
        self.tls.options(GRPC, &[b"h2"])
    }

    /// TLS of the admin port; none for plain text.
    pub fn admin_tls(&self) -> Option<ServerTlsOptions> {
        self.admin.tls.options(ADMIN, &[b"http/1.1"])
    }

    pub(super) fn check_tls(&self, diagnostics: &mut Diagnostics) {
        self.tls.check(GRPC, diagnostics);
        self.admin.tls.check(ADMIN, diagnostics);
    }

    /// Whether `key` is one of TLS of a port that has TLS before and after a reload, which applies
    /// it.
    pub(super) fn is_reloaded_tls(&self, new: &Self, key: &str) -> bool {
        let is_on = |tls: &TlsConfig| tls.cert.is_some();
        let both = |one: &TlsConfig, other: &TlsConfig| is_on(one) && is_on(other);
        match key.strip_prefix("admin.tls.") {
            Some(_) => both(&self.admin.tls, &new.admin.tls),
            None => key.starts_with("tls.") && both(&self.tls, &new.tls),
        }
    }
}

impl TlsConfig {
    fn options(
        &self,
        section: &'static str,
        protocols: &'static [&'static [u8]],
    ) -> Option<ServerTlsOptions> {
        Some(ServerTlsOptions {
            section,
            cert: self.cert.clone()?,
            key: self.key.clone()?,
            client_ca: self.client_ca.clone(),
            client_certificates: self.client_cert,
            crl: self.crl.clone(),
            min_version: self.min_version,
            protocols,
            handshake_timeout: self.handshake_timeout,
        })
    }

    /// Checks which keys are set. The files are read when the server starts.
    fn check(&self, section: &str, diagnostics: &mut Diagnostics) {
        let has_clients = self.client_cert != ClientCertificates::None;
        let needs = [
            ("cert", self.cert.is_some(), "key", self.key.is_some()),
            ("key", self.key.is_some(), "cert", self.cert.is_some()),
            ("client_ca", self.client_ca.is_some(), "cert", self.cert.is_some()),
            ("client_cert", has_clients, "client_ca", self.client_ca.is_some()),
            ("crl", self.crl.is_some(), "client_ca", self.client_ca.is_some()),
        ];
        for (key, is_set, needed, is_there) in needs {
            if is_set && !is_there {
                let needed = join(section, needed);
                diagnostics
                    .reject(&join(section, key), format!("needs {needed}, which is not set"));
            }
        }
        // Without this, the authorities would look as if certificates were verified.
        if self.client_ca.is_some() && !has_clients {
            let message = "has no effect unless client_cert is \"optional\" or \"required\"";
            diagnostics.reject(&join(section, "client_ca"), message.to_owned());
        }
    }
}

/// The path of a PEM file, or its text; an empty text stands for `None`. The text is not rendered.
pub(super) fn pem() -> impl ValueType<Value = Option<PemSource>> {
    value_type(
        |raw| {
            let expected = "the path of a PEM file, or text that begins with -----BEGIN";
            let text = as_text(raw).ok_or_else(|| mismatch(expected, raw))?;
            Ok(Some(text).filter(|text| !text.is_empty()).map(PemSource::new))
        },
        |source: &Option<PemSource>| {
            quoted(&match source {
                Some(PemSource::File(path)) => path.display().to_string(),
                Some(PemSource::Text(_)) => "***".to_owned(),
                None => String::new(),
            })
        },
    )
}

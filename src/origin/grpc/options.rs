//! Options of a gRPC origin, and the connection settings that follow from them.

use std::time::Duration;

use http::{HeaderMap, HeaderName};
use rustls::pki_types::{CertificateDer, pem::PemObject as _};
use tonic::transport::{Certificate, ClientTlsConfig, Endpoint};
use url::Url;

/// HTTP/2 flow-control windows. With the default of 64 KiB a large value takes many round trips.
const STREAM_WINDOW: u32 = 1024 * 1024;
const CONNECTION_WINDOW: u32 = 4 * 1024 * 1024;
/// Time without data before a ping, while calls are in flight. Servers close connections after more
/// than two pings in five minutes without data, so this is longer than most deadlines.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(30);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(5);

/// Options of a gRPC origin.
#[derive(Clone)]
pub struct GrpcOptions {
    /// Scheme `http` or `https`, host and optional port; nothing else.
    pub url: Url,
    /// Metadata of every call, such as `authorization`.
    pub metadata: HeaderMap,
    /// Limit for the connection, and again for the TLS handshake.
    pub connect_timeout: Duration,
    /// Largest value, in bytes.
    pub max_value_bytes: usize,
    /// Largest batch; 1 or less: no batches.
    pub max_batch: usize,
    /// Time between two lookups of the host. A failed connection triggers one as well.
    pub resolve_interval: Duration,
    /// Certificates in PEM that are trusted in addition to the system's.
    pub ca_pem: Option<Vec<u8>>,
}

/// Options from which no client can be built.
#[derive(Debug, thiserror::Error)]
pub enum GrpcBuildError {
    /// The URL has the wrong form.
    #[error("the URL of a gRPC origin {0}")]
    Url(&'static str),
    /// The protocol itself sets the name.
    #[error("the metadata of a gRPC origin cannot have {0}, which the protocol sets")]
    Metadata(HeaderName),
    /// The PEM file holds no certificate, or a malformed one.
    #[error("the authorities of a gRPC origin are not certificates in PEM")]
    Authorities,
    /// The TLS library rejects the options.
    #[error("no TLS for a gRPC origin")]
    Tls(#[source] tonic::transport::Error),
}

/// Settings that the connections to all addresses share.
pub(super) fn endpoint(options: &GrpcOptions) -> std::result::Result<Endpoint, GrpcBuildError> {
    let url = &options.url;
    let is_tls = match url.scheme() {
        "http" => false,
        "https" => true,
        _ => return Err(GrpcBuildError::Url("must begin with http:// or https://")),
    };
    let bare = url.path() == "/" && url.query().is_none() && url.fragment().is_none();
    if !bare || !url.username().is_empty() || url.password().is_some() {
        return Err(GrpcBuildError::Url("must have nothing but a host and a port"));
    }
    let endpoint = Endpoint::from_shared(url.to_string())
        .and_then(|endpoint| endpoint.user_agent(concat!("larder/", env!("CARGO_PKG_VERSION"))))
        .map_err(|_| GrpcBuildError::Url("is not a URI"))?
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .http2_keep_alive_interval(KEEPALIVE_INTERVAL)
        .keep_alive_timeout(KEEPALIVE_TIMEOUT);
    if !is_tls {
        return Ok(endpoint);
    }
    let tls = ClientTlsConfig::new().timeout(options.connect_timeout);
    let tls = match &options.ca_pem {
        Some(pem) if has_certificates(pem) => {
            let tls = tls.ca_certificate(Certificate::from_pem(pem));
            // The library fails if the system has no roots, which are optional here.
            if rustls_native_certs::load_native_certs().certs.is_empty() {
                tls
            } else {
                tls.with_native_roots()
            }
        }
        Some(_) => return Err(GrpcBuildError::Authorities),
        None => tls.with_native_roots(),
    };
    endpoint.tls_config(tls).map_err(GrpcBuildError::Tls)
}

/// Checks the certificates. The library skips malformed ones.
fn has_certificates(pem: &[u8]) -> bool {
    let mut certificates = CertificateDer::pem_slice_iter(pem).peekable();
    certificates.peek().is_some() && certificates.all(|certificate| certificate.is_ok())
}

/// Whether the protocol sets a name itself.
pub(super) fn is_reserved(name: &HeaderName) -> bool {
    name.as_str().starts_with("grpc-")
        || [http::header::TE, http::header::CONTENT_TYPE, http::header::USER_AGENT].contains(name)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const CERTIFICATE: &[u8] = b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    const MALFORMED: &[u8] = b"-----BEGIN CERTIFICATE-----\n?\n-----END CERTIFICATE-----\n";

    #[test]
    fn every_certificate_must_be_well_formed() {
        assert!(has_certificates(CERTIFICATE));
        assert!(has_certificates(&CERTIFICATE.repeat(2)));
        for pem in
            [b"".to_vec(), b"text".to_vec(), MALFORMED.to_vec(), [CERTIFICATE, MALFORMED].concat()]
        {
            assert!(!has_certificates(&pem), "{}", String::from_utf8_lossy(&pem));
        }
    }

    #[test]
    fn names_of_the_protocol_are_reserved() {
        for (name, expected) in [
            ("grpc-timeout", true),
            ("grpc-anything", true),
            ("te", true),
            ("content-type", true),
            ("user-agent", true),
            ("authorization", false),
            ("x-grpc-timeout", false),
        ] {
            assert_eq!(is_reserved(&HeaderName::from_static(name)), expected, "{name}");
        }
    }

    #[test]
    fn url_has_only_scheme_host_and_port() {
        for (url, is_valid) in [
            ("http://h", true),
            ("https://h:1/", true),
            ("http://[::1]:1", true),
            ("ftp://h", false),
            ("unix:/tmp/x", false),
            ("http://h/path", false),
            ("http://h?query", false),
            ("http://h#fragment", false),
            ("http://user@h", false),
            ("http://:password@h", false),
        ] {
            let options = GrpcOptions {
                url: url.parse().unwrap(),
                metadata: HeaderMap::new(),
                connect_timeout: Duration::from_secs(1),
                max_value_bytes: 1,
                max_batch: 1,
                resolve_interval: Duration::from_secs(1),
                ca_pem: None,
            };
            let result = endpoint(&options);
            assert_eq!(result.is_ok(), is_valid, "{url}");
            assert!(matches!(result, Ok(_) | Err(GrpcBuildError::Url(_))), "{url}");
        }
    }
}

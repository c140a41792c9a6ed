//! What the operator says of a gRPC origin, and the connections that follow from it.

use std::time::Duration;

use http::{HeaderMap, HeaderName};
use rustls::pki_types::{CertificateDer, pem::PemObject as _};
use tonic::transport::{Certificate, ClientTlsConfig, Endpoint};
use url::Url;

/// HTTP/2 windows. The protocol's default of 64 KiB would make one large value take many round trips.
const STREAM_WINDOW: u32 = 1024 * 1024;
const CONNECTION_WINDOW: u32 = 4 * 1024 * 1024;
/// Time without a sign of life before a peer that owes an answer is asked for one. Servers take offence at more than two
/// such questions in five minutes without an answer in between, so this is longer than most deadlines.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(30);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(5);

/// Where a gRPC origin is, and how it is spoken to.
#[derive(Clone)]
pub struct GrpcOptions {
    /// `http://` or `https://`, a host and perhaps a port; nothing else.
    pub url: Url,
    /// Sent with every call, such as `authorization`.
    pub metadata: HeaderMap,
    /// Time for a connection, and again for its TLS handshake.
    pub connect_timeout: Duration,
    /// Longest value.
    pub max_value_bytes: usize,
    /// Most orders in one call; at most 1: there are no batches.
    pub max_batch: usize,
    /// How often the host is resolved. It also is after a connection has failed.
    pub resolve_interval: Duration,
    /// Certificates in PEM that are trusted in addition to the system's.
    pub ca_pem: Option<Vec<u8>>,
}

/// Options that make no origin.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// The URL is not of the form that it must be.
    #[error("the URL of a gRPC origin {0}")]
    Url(&'static str),
    /// A name that belongs to the protocol.
    #[error("the metadata of a gRPC origin cannot have {0}, which the protocol sets")]
    Metadata(HeaderName),
    /// There is no certificate in what should have some, or something broken.
    #[error("the authorities of a gRPC origin are not certificates in PEM")]
    Authorities,
    /// TLS cannot be set up.
    #[error("no TLS for a gRPC origin")]
    Tls(#[source] tonic::transport::Error),
}

/// What the connections to all addresses have in common.
pub(super) fn endpoint(options: &GrpcOptions) -> std::result::Result<Endpoint, BuildError> {
    let url = &options.url;
    let is_tls = match url.scheme() {
        "http" => false,
        "https" => true,
        _ => return Err(BuildError::Url("must begin with http:// or https://")),
    };
    let bare = url.path() == "/" && url.query().is_none() && url.fragment().is_none();
    if !bare || !url.username().is_empty() || url.password().is_some() {
        return Err(BuildError::Url("must have nothing but a host and a port"));
    }
    let endpoint = Endpoint::from_shared(url.to_string())
        .and_then(|endpoint| endpoint.user_agent(concat!("larder/", env!("CARGO_PKG_VERSION"))))
        .map_err(|_| BuildError::Url("is not a URI"))?
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
            // The library fails if the system has none, which does not matter here.
            if rustls_native_certs::load_native_certs().certs.is_empty() {
                tls
            } else {
                tls.with_native_roots()
            }
        }
        Some(_) => return Err(BuildError::Authorities),
        None => tls.with_native_roots(),
    };
    endpoint.tls_config(tls).map_err(BuildError::Tls)
}

/// The library passes over what it cannot read.
fn has_certificates(pem: &[u8]) -> bool {
    let mut certificates = CertificateDer::pem_slice_iter(pem).peekable();
    certificates.peek().is_some() && certificates.all(|certificate| certificate.is_ok())
}

pub(super) fn is_of_protocol(name: &HeaderName) -> bool {
    name.as_str().starts_with("grpc-")
        || [http::header::TE, http::header::CONTENT_TYPE, http::header::USER_AGENT].contains(name)
}

//! The HTTP client of one origin, without the implicit behaviour of the library: no proxies from
//! the environment, no cookies, no `Referer`.

use std::{sync::Arc, time::Duration};

use super::{HttpBuildError, HttpOptions, HttpVersion};
use reqwest::{Client, ClientBuilder, redirect::Policy};
use rustls::{
    ClientConfig, RootCertStore,
    crypto::ring,
    pki_types::{CertificateDer, pem::PemObject as _},
};

/// Longest silence of a connection with requests in flight before it is checked.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(5);
/// Most header lines of a response by HTTP/1.1.
pub(super) const MAX_HEADER_LINES: usize = 1000;
/// Largest header section of a response by HTTP/2, in bytes (RFC 9113, section 6.5.2). About the
/// limit that the library has for HTTP/1.1.
const MAX_HEADER_BYTES: u32 = 400 * 1024;

pub(super) fn build(options: &HttpOptions) -> Result<Client, HttpBuildError> {
    let builder = Client::builder()
        .no_proxy()
        .referer(false)
        // The origin follows them itself: their headers count too.
        .redirect(Policy::none())
        .connect_timeout(options.connect_timeout)
        // All fetches may share one connection, so a dead one must be detected soon.
        .tcp_user_timeout(KEEPALIVE_INTERVAL * 2)
        .http2_keep_alive_interval(KEEPALIVE_INTERVAL)
        .http2_keep_alive_timeout(KEEPALIVE_INTERVAL)
        .http2_keep_alive_while_idle(false)
        .http1_max_headers(MAX_HEADER_LINES)
        .http2_max_header_list_size(MAX_HEADER_BYTES)
        .tls_backend_preconfigured(tls_config(options)?);
    with_version(builder, options.version)
        .build()
        .map_err(|error| HttpBuildError::Client(error.to_string()))
}

fn with_version(builder: ClientBuilder, version: HttpVersion) -> ClientBuilder {
    match version {
        HttpVersion::Auto => builder,
        HttpVersion::Http1 => builder.http1_only(),
        HttpVersion::Http2 => builder.http2_prior_knowledge(),
    }
}

fn tls_config(options: &HttpOptions) -> Result<ClientConfig, HttpBuildError> {
    // Reading the system's roots is slow, and only HTTPS needs them.
    let roots = if options.url.is_https() {
        trusted_roots(options.ca_pem.as_deref())?
    } else {
        RootCertStore::empty()
    };
    let mut config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| HttpBuildError::Client(error.to_string()))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let protocols: &[&[u8]] = match options.version {
        HttpVersion::Auto => &[b"h2", b"http/1.1"],
        HttpVersion::Http1 => &[b"http/1.1"],
        HttpVersion::Http2 => &[b"h2"],
    };
    config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
    Ok(config)
}

/// The roots of the system and those of the configuration.
fn trusted_roots(ca_pem: Option<&[u8]>) -> Result<RootCertStore, HttpBuildError> {
    let mut roots = RootCertStore::empty();
    let system = rustls_native_certs::load_native_certs();
    roots.add_parsable_certificates(system.certs);
    if let Some(pem) = ca_pem {
        let before = roots.len();
        for certificate in CertificateDer::pem_slice_iter(pem) {
            let certificate = certificate.map_err(|error| HttpBuildError::Ca(error.to_string()))?;
            roots.add(certificate).map_err(|error| HttpBuildError::Ca(error.to_string()))?;
        }
        if roots.len() == before {
            return Err(HttpBuildError::Ca("there is no certificate in it".to_owned()));
        }
    }
    if roots.is_empty() {
        return Err(HttpBuildError::NoRoots);
    }
    Ok(roots)
}

//! The HTTP client of one origin, and nothing that it does unasked: no proxies from the environment, no cookies, no Referer.

use std::sync::Arc;

use std::time::Duration;

use reqwest::{
    Client, ClientBuilder,
    redirect::{Attempt, Policy},
};
use rustls::{
    ClientConfig, RootCertStore,
    crypto::ring,
    pki_types::{CertificateDer, pem::PemObject as _},
};
use url::Url;

use super::{BuildError, HttpOptions, HttpVersion};

/// How long a connection may be silent while a fetch waits for it.
const SIGN_OF_LIFE: Duration = Duration::from_secs(5);

pub(super) fn build(options: &HttpOptions) -> Result<Client, BuildError> {
    let builder = Client::builder()
        .no_proxy()
        .referer(false)
        .redirect(redirects(options.max_redirects))
        .connect_timeout(options.connect_timeout)
        // All fetches may share one connection: that it is dead must show soon.
        .tcp_user_timeout(SIGN_OF_LIFE * 2)
        .http2_keep_alive_interval(SIGN_OF_LIFE)
        .http2_keep_alive_timeout(SIGN_OF_LIFE)
        .http2_keep_alive_while_idle(false)
        .tls_backend_preconfigured(tls(options)?);
    of_version(builder, options.version)
        .build()
        .map_err(|error| BuildError::Client(error.to_string()))
}

fn of_version(builder: ClientBuilder, version: HttpVersion) -> ClientBuilder {
    match version {
        HttpVersion::Auto => builder,
        HttpVersion::Http1 => builder.http1_only(),
        HttpVersion::Http2 => builder.http2_prior_knowledge(),
    }
}

/// Follows up to `limit` redirects that stay where they are; with any other, the redirect is the answer.
fn redirects(limit: usize) -> Policy {
    if limit == 0 {
        return Policy::none();
    }
    Policy::custom(move |attempt: Attempt<'_>| {
        let stays = attempt.previous().last().is_some_and(|from| same_server(from, attempt.url()));
        if stays && attempt.previous().len() <= limit { attempt.follow() } else { attempt.stop() }
    })
}

/// Whether a redirect leads to where the request, with its credentials, was to go anyway.
fn same_server(from: &Url, to: &Url) -> bool {
    from.scheme() == to.scheme()
        && from.host() == to.host()
        && from.port_or_known_default() == to.port_or_known_default()
        && to.username().is_empty()
        && to.password().is_none()
}

fn tls(options: &HttpOptions) -> Result<ClientConfig, BuildError> {
    // Reading the system's roots takes its time; only those who need them do.
    let roots = if options.url.is_https() {
        trusted_roots(options.ca_pem.as_deref())?
    } else {
        RootCertStore::empty()
    };
    let mut config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| BuildError::Client(error.to_string()))?
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

/// The system's roots and the operator's.
fn trusted_roots(ca_pem: Option<&[u8]>) -> Result<RootCertStore, BuildError> {
    let mut roots = RootCertStore::empty();
    let system = rustls_native_certs::load_native_certs();
    roots.add_parsable_certificates(system.certs);
    if let Some(pem) = ca_pem {
        let before = roots.len();
        for certificate in CertificateDer::pem_slice_iter(pem) {
            let certificate = certificate.map_err(|error| BuildError::Ca(error.to_string()))?;
            roots.add(certificate).map_err(|error| BuildError::Ca(error.to_string()))?;
        }
        if roots.len() == before {
            return Err(BuildError::Ca("there is no certificate in it".to_owned()));
        }
    }
    if roots.is_empty() {
        return Err(BuildError::NoRoots);
    }
    Ok(roots)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_redirect_stays_only_with_the_same_server() {
        let from = Url::parse("http://h/a").unwrap();
        for (to, stays) in [
            ("http://h/b", true),
            ("http://h:80/b?x", true),
            ("https://h/b", false),
            ("http://h:81/b", false),
            ("http://h.evil/b", false),
            ("http://u@h/b", false),
            ("http://u:p@h/b", false),
        ] {
            assert_eq!(same_server(&from, &Url::parse(to).unwrap()), stays, "{to}");
        }
    }
}

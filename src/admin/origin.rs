//! Whether a page of this server has made a request.

use axum::http::{HeaderMap, header};
use url::Url;

const SEC_FETCH_SITE: &str = "sec-fetch-site";

/// Whether a page of this server has made the request, by its headers. Browsers send at least one
/// of them with a form and with a call of a script.
pub(super) fn is_same_origin(headers: &HeaderMap, is_tls: bool) -> bool {
    let site = headers.get(SEC_FETCH_SITE).map(|site| site == "same-origin");
    let origin = headers.get(header::ORIGIN).map(|origin| {
        let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
        origin.to_str().is_ok_and(|origin| host.is_some_and(|host| is_of(origin, host, is_tls)))
    });
    let said: Vec<bool> = site.into_iter().chain(origin).collect();
    !said.is_empty() && said.into_iter().all(|is_same| is_same)
}

/// Whether `origin` is that of the server to which `host` was sent. Without TLS, the scheme can be
/// that of a proxy.
fn is_of(origin: &str, host: &str, is_tls: bool) -> bool {
    let Ok(origin) = Url::parse(origin) else { return false };
    let schemes: &[&str] = if is_tls { &["https"] } else { &["http", "https"] };
    let Ok(own) = Url::parse(&format!("{}://{host}/", origin.scheme())) else { return false };
    schemes.contains(&origin.scheme()) && own.origin() == origin.origin()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn is_same(pairs: &[(&'static str, &str)], is_tls: bool) -> bool {
        let pairs = pairs.iter().map(|(name, value)| {
            (axum::http::HeaderName::from_static(name), value.parse().unwrap())
        });
        is_same_origin(&pairs.collect(), is_tls)
    }

    #[test]
    fn each_header_that_is_there_must_be_of_this_server() {
        let host = ("host", "larder:9464");
        for (pairs, expected) in [
            (&[host][..], false),
            (&[host, ("origin", "http://larder:9464")], true),
            (&[host, (SEC_FETCH_SITE, "same-origin")], true),
            (&[host, (SEC_FETCH_SITE, "same-site")], false),
            (&[host, (SEC_FETCH_SITE, "cross-site")], false),
            (&[host, (SEC_FETCH_SITE, "none")], false),
            (&[host, ("origin", "null")], false),
            (&[host, ("origin", "null"), (SEC_FETCH_SITE, "same-origin")], false),
            (&[host, ("origin", "http://larder:9464"), (SEC_FETCH_SITE, "cross-site")], false),
            (&[host, ("origin", "http://larder:9465")], false),
            (&[host, ("origin", "http://other:9464")], false),
            (&[host, ("origin", "http://larder")], false),
            (&[("origin", "http://larder:9464")], false),
            (&[("host", "a b"), ("origin", "http://larder:9464")], false),
        ] {
            assert_eq!(is_same(pairs, false), expected, "{pairs:?}");
        }
    }

    #[test]
    fn the_scheme_is_that_of_the_server_or_of_a_proxy() {
        let pairs = |scheme: &str| format!("{scheme}://larder");
        for (scheme, is_tls, expected) in [
            ("http", false, true),
            ("https", false, true),
            ("http", true, false),
            ("https", true, true),
            ("ftp", false, false),
        ] {
            let origin = pairs(scheme);
            let headers = [("host", "larder"), ("origin", origin.as_str())];
            assert_eq!(is_same(&headers, is_tls), expected, "{scheme} {is_tls}");
        }
    }
}

//! Redirects that stay on the origin's server.

use http::{HeaderMap, StatusCode, header};
use tokio::time::Instant;
use url::Url;

/// A redirect that was followed. It is part of the answer, as are its caching headers.
pub(super) struct Redirect {
    pub(super) headers: HeaderMap,
    pub(super) requested_at: Instant,
}

/// The URL to which a response redirects, with the credentials of the old one. None: the response
/// is no redirect, has no usable `Location`, or leads to another server.
pub(super) fn target(from: &Url, status: StatusCode, headers: &HeaderMap) -> Option<Url> {
    if !matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308) {
        return None;
    }
    let location = std::str::from_utf8(headers.get(header::LOCATION)?.as_bytes()).ok()?;
    let base = with_credentials(from.clone(), "", None)?;
    let to = base.join(location).ok().filter(|to| is_same_server(&base, to))?;
    with_credentials(to, from.username(), from.password())
}

fn with_credentials(mut url: Url, username: &str, password: Option<&str>) -> Option<Url> {
    url.set_username(username).ok()?;
    url.set_password(password).ok()?;
    Some(url)
}

/// Whether a redirect stays on the server for which the credentials are meant.
fn is_same_server(from: &Url, to: &Url) -> bool {
    from.scheme() == to.scheme()
        && from.host() == to.host()
        && from.port_or_known_default() == to.port_or_known_default()
        && to.username().is_empty()
        && to.password().is_none()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn target_of(from: &str, status: u16, location: &str) -> Option<String> {
        let headers = [(header::LOCATION, HeaderValue::from_bytes(location.as_bytes()).unwrap())];
        let status = StatusCode::from_u16(status).unwrap();
        let from = Url::parse(from).unwrap();
        target(&from, status, &headers.into_iter().collect()).map(String::from)
    }

    #[test]
    fn redirects_stay_on_the_same_server() {
        for (to, expected) in [
            ("http://h/b", Some("http://h/b")),
            ("http://h:80/b?x", Some("http://h/b?x")),
            ("/b", Some("http://h/b")),
            ("c?d", Some("http://h/a/c?d")),
            ("/\u{e4}", Some("http://h/%C3%A4")),
            ("https://h/b", None),
            ("http://h:81/b", None),
            ("http://h.evil/b", None),
            ("//evil/b", None),
            ("http://u@h/b", None),
            ("http://u:p@h/b", None),
            ("ftp://h/b", None),
            ("http://[", None),
        ] {
            assert_eq!(target_of("http://h/a/b", 302, to).as_deref(), expected, "{to}");
        }
    }

    #[test]
    fn redirects_keep_the_credentials() {
        let redirected = |location| target_of("http://u%40:p%3A@h/a", 301, location);
        assert_eq!(redirected("/b").as_deref(), Some("http://u%40:p%3A@h/b"));
        assert_eq!(redirected("http://h/b").as_deref(), Some("http://u%40:p%3A@h/b"));
        assert_eq!(redirected("http://u%40:p%3A@h/b"), None);
    }

    #[test]
    fn only_redirects_with_a_location_are_followed() {
        for (status, is_followed) in [
            (200, false),
            (300, false),
            (301, true),
            (302, true),
            (303, true),
            (304, false),
            (305, false),
            (307, true),
            (308, true),
            (404, false),
        ] {
            assert_eq!(target_of("http://h/a", status, "/b").is_some(), is_followed, "{status}");
        }
        let from = Url::parse("http://h/a").unwrap();
        assert_eq!(target(&from, StatusCode::FOUND, &HeaderMap::new()), None);
    }
}

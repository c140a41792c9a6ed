//! Cookies of the admin port.

use axum::http::{HeaderMap, HeaderValue, header};
use cookie::{Cookie, SameSite, time::Duration};

/// A cookie of the admin port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum CookieName {
    /// The ID of a session.
    Session,
    /// A secret of the form of the login, which has it too.
    Login,
}

impl CookieName {
    /// With TLS, the prefix makes browsers accept it from this host and by TLS only.
    fn text(self, is_tls: bool) -> &'static str {
        match (self, is_tls) {
            (Self::Session, true) => "__Host-larder_session",
            (Self::Session, false) => "larder_session",
            (Self::Login, true) => "__Host-larder_login",
            (Self::Login, false) => "larder_login",
        }
    }

    /// The values of a request. There can be several: those of other paths and domains come along.
    pub(super) fn values(self, headers: &HeaderMap, is_tls: bool) -> Vec<String> {
        let name = self.text(is_tls);
        let headers = headers.get_all(header::COOKIE).into_iter();
        let texts = headers.filter_map(|header| header.to_str().ok());
        let cookies = texts.flat_map(Cookie::split_parse).filter_map(Result::ok);
        let named = cookies.filter(|cookie| cookie.name() == name);
        named.map(|cookie| cookie.value().to_owned()).collect()
    }

    /// Sets it until the browser ends.
    pub(super) fn set(self, value: &str, is_tls: bool) -> Option<HeaderValue> {
        header_value(self.with_value(value, is_tls))
    }

    /// Removes it.
    pub(super) fn remove(self, is_tls: bool) -> Option<HeaderValue> {
        let mut cookie = self.with_value("", is_tls);
        cookie.set_max_age(Duration::ZERO);
        header_value(cookie)
    }

    fn with_value(self, value: &str, is_tls: bool) -> Cookie<'_> {
        Cookie::build((self.text(is_tls), value))
            .path("/")
            .http_only(true)
            .same_site(SameSite::Strict)
            .secure(is_tls)
            .build()
    }
}

fn header_value(cookie: Cookie<'_>) -> Option<HeaderValue> {
    HeaderValue::try_from(cookie.to_string()).ok()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn cookies_are_for_this_server_alone() {
        let plain = CookieName::Session.set("x", false).unwrap();
        assert_eq!(plain, "larder_session=x; HttpOnly; SameSite=Strict; Path=/");
        let secure = CookieName::Session.set("x", true).unwrap();
        assert_eq!(secure, "__Host-larder_session=x; HttpOnly; SameSite=Strict; Secure; Path=/");
        let removed = CookieName::Login.remove(false).unwrap();
        assert!(removed.to_str().unwrap().ends_with("Max-Age=0"), "{removed:?}");
    }

    #[test]
    fn the_cookies_of_a_request_are_found() {
        let mut headers = HeaderMap::new();
        headers.append("cookie", "a=b; larder_session=one; larder_session=two".parse().unwrap());
        headers.append("cookie", "larder_session=three; __Host-larder_session=t".parse().unwrap());
        assert_eq!(CookieName::Session.values(&headers, false), ["one", "two", "three"]);
        assert_eq!(CookieName::Session.values(&headers, true), ["t"]);
        assert_eq!(CookieName::Login.values(&headers, false), [""; 0]);
    }
}

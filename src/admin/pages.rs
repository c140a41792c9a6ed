//! The page of the login, and the headers that protect all pages.

use std::sync::LazyLock;

use axum::{
    http::{HeaderMap, HeaderName, HeaderValue, header, header::Entry},
    response::{Html, IntoResponse as _, Response},
};
use data_encoding::BASE64;
use sha2::{Digest as _, Sha256};

use super::refusals::Refused;

const STYLE: &str = include_str!("pages/style.css");
const LOGIN: &str = include_str!("pages/login.html");

/// The only style, by its hash, and nothing else that a page could load or send.
static CONTENT_SECURITY_POLICY: LazyLock<String> = LazyLock::new(|| {
    let hash = BASE64.encode(&Sha256::digest(STYLE));
    format!(
        "default-src 'none'; style-src 'sha256-{hash}'; form-action 'self'; frame-ancestors \
         'none'; base-uri 'none'"
    )
});

/// The form of the login for the `accepted` tokens, and why the last attempt was refused.
pub(super) fn login(accepted: &str, csrf_token: &str, refused: Option<Refused>) -> Response {
    let message = refused.map(|refused| {
        let text = match refused {
            Refused::UnknownToken => "The token is not valid.",
            Refused::Expired => "The token has expired.",
            Refused::KeysUnavailable => {
                "The keys of the token's issuer could not be read yet. Try again in a moment."
            }
            Refused::NoPermission => {
                "The token is valid, but its principal does not have the verb admin for all \
                 namespaces."
            }
            Refused::Limited(_) => "Too many tokens were wrong. Wait, and try again.",
            Refused::NoCredentials | Refused::NoCsrfToken | Refused::CrossOrigin => {
                "The form is out of date. Try again."
            }
            Refused::Malformed | Refused::BadForm | Refused::ForeignHost => {
                "The form cannot be read. Try again."
            }
        };
        format!("<p class=\"error\" role=\"alert\">{text}</p>")
    });
    let message = message.unwrap_or_default();
    page(LOGIN, &[("accepted", accepted), ("csrf", csrf_token), ("message", &message)])
}

/// Adds the headers that protect an answer in a browser. A policy of the page itself stays.
pub(super) fn protect(headers: &mut HeaderMap) {
    let fixed: [(HeaderName, &'static str); 4] = [
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::X_FRAME_OPTIONS, "DENY"),
        // With `no-referrer`, a form would be sent with the origin `null`.
        (header::REFERRER_POLICY, "same-origin"),
        (header::CACHE_CONTROL, "no-store"),
    ];
    for (name, value) in fixed {
        headers.insert(name, HeaderValue::from_static(value));
    }
    if let (Entry::Vacant(policy), Ok(own)) = (
        headers.entry(header::CONTENT_SECURITY_POLICY),
        HeaderValue::from_str(&CONTENT_SECURITY_POLICY),
    ) {
        policy.insert(own);
    }
}

fn page(template: &str, values: &[(&str, &str)]) -> Response {
    Html(filled(template, values).replace("{{style}}", STYLE)).into_response()
}

/// The values need no escapes: each is of this program.
fn filled(template: &str, values: &[(&str, &str)]) -> String {
    values.iter().fold(template.to_owned(), |page, (name, value)| {
        page.replace(&format!("{{{{{name}}}}}"), value)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_place_of_the_page_is_filled() {
        let values = [("accepted", "a"), ("csrf", "c"), ("message", "")];
        let page = filled(LOGIN, &values).replace("{{style}}", STYLE);
        assert!(!page.contains("{{"), "{page}");
    }
}

//! The entries of answers.

use std::{borrow::Cow, collections::BTreeMap};

use data_encoding::HEXLOWER;
use http::{HeaderMap, HeaderName, Method, header, request::Parts};
use percent_encoding::percent_decode_str;
use sha2::{Digest as _, Sha256};

use super::entries::joined;
use crate::Key;

const MAX_TAG_BYTES: usize = 128;
/// Headers with credentials, of which keys have a digest.
const SECRET: [HeaderName; 3] =
    [header::AUTHORIZATION, header::COOKIE, header::PROXY_AUTHORIZATION];

/// The tag that all answers of a path have.
pub(super) fn path_tag(path: &str) -> String {
    let tag = format!("path:{path}");
    if tag.len() <= MAX_TAG_BYTES {
        return tag;
    }
    format!("path:#{}", HEXLOWER.encode(&Sha256::digest(path.as_bytes())))
}

/// The path of a URL or of a part of one, as requests have it.
pub(super) fn path_of(url: &str) -> &str {
    let path = url.split_once('?').map_or(url, |(path, _)| path);
    if path.is_empty() { "/" } else { path }
}

/// The params that make different answers of a path, besides headers.
pub(super) fn params_of(
    parts: &Parts,
    query: Option<&[String]>,
    vary_origin: bool,
    user: Option<&str>,
) -> BTreeMap<String, String> {
    let mut params = BTreeMap::new();
    let mut set = |name: &str, value: String| params.insert(name.to_owned(), value);
    if let Some(query) = query_of(parts.uri.query().unwrap_or_default(), query) {
        set("query", query);
    }
    if vary_origin && let Some(origin) = origin_of(parts) {
        set("origin", origin);
    }
    if let Some(user) = user {
        set("user", user.to_owned());
    } else if parts.headers.contains_key(header::AUTHORIZATION) {
        // Answers to requests with credentials are apart: what they are must not affect others.
        set("authorized", "1".to_owned());
    }
    debug_assert!(matches!(parts.method, Method::GET | Method::HEAD), "others are not cached");
    params
}

/// The host of the request, and its scheme if it is in the URL.
fn origin_of(parts: &Parts) -> Option<String> {
    let host = match parts.uri.authority() {
        Some(authority) => authority.as_str(),
        None => parts.headers.get(header::HOST)?.to_str().ok()?,
    };
    let scheme = parts.uri.scheme_str().map_or_else(String::new, |scheme| format!("{scheme}://"));
    Some(format!("{scheme}{host}").to_lowercase())
}

/// The query with its parameters sorted by name, so that their order makes no difference.
fn query_of(query: &str, names: Option<&[String]>) -> Option<String> {
    let mut pairs: Vec<(Cow<'_, [u8]>, &str)> = query
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| (name_of(pair), pair))
        .filter(|(name, _)| {
            names.is_none_or(|names| names.iter().any(|own| own.as_bytes() == &**name))
        })
        .collect();
    if pairs.is_empty() {
        return None;
    }
    // A stable sort: the order of equal names has a meaning.
    pairs.sort_by(|(one, _), (other, _)| one.cmp(other));
    Some(pairs.iter().map(|(_, pair)| *pair).collect::<Vec<_>>().join("&"))
}

/// The name of a parameter as the program reads it: an encoded one is the same parameter.
fn name_of(pair: &str) -> Cow<'_, [u8]> {
    let name = pair.split_once('=').map_or(pair, |(name, _)| name);
    if name.contains('+') {
        let plain = name.replace('+', " ");
        return percent_decode_str(&plain).collect::<Vec<_>>().into();
    }
    percent_decode_str(name).into()
}

/// The entry of a variant of an answer.
pub(super) fn variant(
    path: &str,
    headers: &HeaderMap,
    params: &BTreeMap<String, String>,
    names: &[HeaderName],
) -> Key<'static> {
    let key = Key::new(path.to_owned());
    let key = params.iter().fold(key, |key, (name, value)| key.param(name, value));
    names.iter().fold(key, |key, name| {
        // A header that is missing makes another answer than an empty one, and another entry
        // than that which names the headers.
        if !headers.contains_key(name) {
            return key.param(format!("no-header:{name}"), "");
        }
        let value = match joined(headers, name).filter(|_| !SECRET.contains(name)) {
            Some(text) => text.split_ascii_whitespace().collect::<Vec<_>>().join(" "),
            None => {
                let values = headers.get_all(name).iter();
                let digest = values.fold(Sha256::new(), |hash, value| {
                    hash.chain_update(value.len().to_be_bytes()).chain_update(value)
                });
                format!("#{}", HEXLOWER.encode(&digest.finalize()))
            }
        };
        key.param(format!("header:{name}"), value)
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn params(url: &str, names: Option<&[String]>) -> BTreeMap<String, String> {
        let (parts, ()) = http::Request::get(url).body(()).unwrap().into_parts();
        params_of(&parts, names, true, None)
    }

    #[test]
    fn the_order_of_parameters_makes_no_difference() {
        assert_eq!(params("/a?b=2&a=1", None), params("/a?a=1&b=2", None));
        assert_ne!(params("/a?a=1&a=2", None), params("/a?a=2&a=1", None));
        assert_ne!(params("/a?a=%FF", None), params("/a?a=%FE", None));
    }

    #[test]
    fn only_the_named_parameters_count_however_they_are_encoded() {
        let names = ["id".to_owned(), "a b".to_owned()];
        assert_eq!(params("/a?utm=1", Some(&names)), params("/a", Some(&names)));
        assert_ne!(params("/a?%69d=1", Some(&names)), params("/a", Some(&names)));
        assert_ne!(params("/a?a+b=1", Some(&names)), params("/a", Some(&names)));
    }

    #[test]
    fn hosts_and_schemes_are_apart() {
        assert_ne!(params("http://a/x", None), params("http://b/x", None));
        assert_ne!(params("http://a/x", None), params("https://a/x", None));
    }

    #[test]
    fn credentials_are_not_in_keys() {
        let key = |name: HeaderName, value: &str| {
            let request = http::Request::get("/").header(&name, value).body(()).unwrap();
            variant("/", request.headers(), &BTreeMap::new(), &[name])
        };
        for name in SECRET {
            let one = key(name.clone(), "secret-1");
            assert!(!format!("{one:?}").contains("secret"), "{one:?}");
            assert_eq!(one, key(name.clone(), "secret-1"));
            assert_ne!(one, key(name, "secret-2"));
        }
    }

    #[test]
    fn a_header_that_is_missing_is_not_an_empty_one() {
        let with = |value: Option<&str>| {
            let request = http::Request::get("/");
            let request = match value {
                Some(value) => request.header("x", value),
                None => request,
            };
            let (parts, ()) = request.body(()).unwrap().into_parts();
            variant("/", &parts.headers, &BTreeMap::new(), &["x".parse().unwrap()])
        };
        assert_ne!(with(None), with(Some("")));
        assert_eq!(with(Some("a  b")), with(Some("a b")));
    }
}

//! The value in an answer: all of it, not too much of it, and what kind it is.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, header};
use reqwest::Response;
use serde::de::IgnoredAny;

use super::error::broken_off;
use crate::{
    model::{Kind, SaturatingFrom as _},
    origin::{Error, ErrorKind, Result},
};

/// Most bytes that are set aside because an answer says that they will come.
const MAX_TRUSTED_BYTES: usize = 1024 * 1024;

/// Reads a body up to `limit` bytes.
pub(super) async fn read(mut response: Response, limit: usize) -> Result<Bytes> {
    let announced = response.content_length().map(usize::saturating_from);
    if announced.is_some_and(|length| length > limit) {
        return Err(too_large(limit));
    }
    let mut body = Vec::with_capacity(announced.unwrap_or_default().min(MAX_TRUSTED_BYTES));
    while let Some(chunk) = response.chunk().await.map_err(|error| broken_off(&error))? {
        if chunk.len() > limit - body.len() {
            return Err(too_large(limit));
        }
        body.extend_from_slice(&chunk);
    }
    // Chunks are windows into larger buffers, which a cached value would keep alive; this is just as large as the value.
    Ok(body.into_boxed_slice().into())
}

fn too_large(limit: usize) -> Error {
    Error::new(ErrorKind::TooLarge, format_args!("more than {limit} bytes"))
}

/// The kind of value that an answer holds.
///
/// # Errors
/// It is encoded in a way that was not asked for, or is not the JSON that it claims to be.
pub(super) fn kind(headers: &HeaderMap, body: &[u8]) -> Result<Kind> {
    let is_plain =
        |coding: &HeaderValue| coding.as_bytes().trim_ascii().eq_ignore_ascii_case(b"identity");
    if !headers.get_all(header::CONTENT_ENCODING).iter().all(is_plain) {
        return Err(Error::new(ErrorKind::Invalid, "it is compressed, which was not asked for"));
    }
    let content_type =
        headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let (media_type, parameters) = content_type.split_once(';').unwrap_or((content_type, ""));
    let media_type = media_type.trim().to_ascii_lowercase();
    if media_type == "application/json" || media_type.ends_with("+json") {
        return check_json(body).map(|()| Kind::Json);
    }
    let is_text =
        media_type.starts_with("text/") && is_utf8(parameters) && std::str::from_utf8(body).is_ok();
    Ok(if is_text { Kind::Text } else { Kind::Bytes })
}

fn check_json(body: &[u8]) -> Result<()> {
    // The parser alone would let anything pass in strings that nobody looks at.
    let text = std::str::from_utf8(body)
        .map_err(|_| Error::new(ErrorKind::Invalid, "its JSON is not UTF-8"))?;
    let document = serde_json::from_str::<IgnoredAny>(text);
    document.map(drop).map_err(|error| {
        let cause =
            format_args!("it is not JSON from line {}, column {} on", error.line(), error.column());
        Error::new(ErrorKind::Invalid, cause)
    })
}

/// Whether the parameters of a content type name UTF-8, or a part of it, or nothing.
fn is_utf8(parameters: &str) -> bool {
    let charsets = parameters.split(';').filter_map(|parameter| {
        let (name, value) = parameter.split_once('=')?;
        name.trim().eq_ignore_ascii_case("charset").then(|| value.trim().trim_matches('"'))
    });
    let mut unnamed_or_known = charsets.map(|charset| {
        ["utf-8", "utf8", "us-ascii"].iter().any(|known| charset.eq_ignore_ascii_case(known))
    });
    unnamed_or_known.all(|known| known)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn kind_of(content_type: &'static str, body: &[u8]) -> Result<Kind> {
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
        kind(&headers, body)
    }

    #[test]
    fn the_content_type_names_the_kind() {
        for (content_type, body, expected) in [
            ("application/json", b"{\"a\":[1]}".as_slice(), Kind::Json),
            ("Application/JSON; charset=utf-8", b" 1 ", Kind::Json),
            ("application/problem+json", b"null", Kind::Json),
            ("text/plain", "\u{fc}".as_bytes(), Kind::Text),
            ("text/html; charset=\"UTF-8\"", b"", Kind::Text),
            ("text/csv;charset=us-ascii; header=present", b"a", Kind::Text),
            ("text/plain; charset=iso-8859-1", b"a", Kind::Bytes),
            ("text/plain", b"\xff", Kind::Bytes),
            ("application/octet-stream", b"a", Kind::Bytes),
            ("application/jsonp", b"f()", Kind::Bytes),
            ("", b"a", Kind::Bytes),
        ] {
            assert_eq!(kind_of(content_type, body), Ok(expected), "{content_type}");
        }
        assert_eq!(kind(&HeaderMap::new(), b"a"), Ok(Kind::Bytes));
    }

    #[test]
    fn json_is_json() {
        for broken in
            [b"".as_slice(), b"{", b"{}{}", b"[1,]", b"\"\xff\"", b"NaN", b"\xef\xbb\xbf{}"]
        {
            assert_eq!(
                kind_of("application/json", broken).unwrap_err().kind,
                ErrorKind::Invalid,
                "{broken:?}"
            );
        }
        let deep = [vec![b'['; 100_000], vec![b']'; 100_000]].concat();
        assert_eq!(kind_of("application/json", &deep), Ok(Kind::Json));
    }

    #[test]
    fn what_is_compressed_cannot_be_used() {
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("Identity"));
        assert!(kind(&headers, b"a").is_ok());
        headers.append(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        assert_eq!(kind(&headers, b"a").unwrap_err().kind, ErrorKind::Invalid);
    }
}

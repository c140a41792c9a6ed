//! Reads the value from a response: its bytes, up to the limit, and its kind.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, header};
use reqwest::Response;
use serde::de::IgnoredAny;

use super::error::incomplete_response;
use crate::{
    model::{Kind, SaturatingFrom as _},
    origin::{Error, OriginErrorKind, Result},
};

/// Largest buffer that is allocated on the word of `Content-Length` alone.
const MAX_TRUSTED_BYTES: usize = 1024 * 1024;
/// UTF-8 and its subset.
const UTF8_CHARSETS: [&str; 3] = ["utf-8", "utf8", "us-ascii"];

/// Reads a body of at most `limit` bytes.
pub(super) async fn read(mut response: Response, limit: usize) -> Result<Bytes> {
    let announced = response.content_length().map(usize::saturating_from);
    if announced.is_some_and(|length| length > limit) {
        return Err(too_large(limit));
    }
    let mut body = Vec::with_capacity(announced.unwrap_or_default().min(MAX_TRUSTED_BYTES));
    while let Some(chunk) = response.chunk().await.map_err(|error| incomplete_response(&error))? {
        if chunk.len() > limit - body.len() {
            return Err(too_large(limit));
        }
        body.extend_from_slice(&chunk);
    }
    // A copy of exactly the value's size: chunks are slices of larger buffers, which a cached value
    // would keep alive.
    Ok(body.into_boxed_slice().into())
}

fn too_large(limit: usize) -> Error {
    Error::new(OriginErrorKind::TooLarge, format_args!("more than {limit} bytes"))
}

/// Kind of the value, by the `Content-Type`.
///
/// # Errors
/// The body is compressed, or it is not the JSON that the header promises.
pub(super) fn kind(headers: &HeaderMap, body: &[u8]) -> Result<Kind> {
    let is_identity =
        |coding: &HeaderValue| coding.as_bytes().trim_ascii().eq_ignore_ascii_case(b"identity");
    if !headers.get_all(header::CONTENT_ENCODING).iter().all(is_identity) {
        return Err(Error::new(
            OriginErrorKind::Invalid,
            "the response is compressed, which was not accepted",
        ));
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
    // The parser does not validate UTF-8 in strings that it skips.
    let text = std::str::from_utf8(body)
        .map_err(|_| Error::new(OriginErrorKind::Invalid, "the JSON is not UTF-8"))?;
    let document = serde_json::from_str::<IgnoredAny>(text);
    document.map(drop).map_err(|error| {
        let cause = format_args!(
            "the value is not JSON at line {}, column {}",
            error.line(),
            error.column()
        );
        Error::new(OriginErrorKind::Invalid, cause)
    })
}

/// Whether the charset in the parameters of a content type is UTF-8, a subset of it, or missing.
fn is_utf8(parameters: &str) -> bool {
    let mut charsets = parameters.split(';').filter_map(|parameter| {
        let (name, value) = parameter.split_once('=')?;
        name.trim().eq_ignore_ascii_case("charset").then(|| value.trim().trim_matches('"'))
    });
    let is_subset =
        |charset: &str| UTF8_CHARSETS.iter().any(|known| charset.eq_ignore_ascii_case(known));
    charsets.all(is_subset)
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
    fn kind_follows_the_content_type() {
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
    fn malformed_json_is_invalid() {
        for broken in
            [b"".as_slice(), b"{", b"{}{}", b"[1,]", b"\"\xff\"", b"NaN", b"\xef\xbb\xbf{}"]
        {
            assert_eq!(
                kind_of("application/json", broken).unwrap_err().kind,
                OriginErrorKind::Invalid,
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
        assert_eq!(kind(&headers, b"a").unwrap_err().kind, OriginErrorKind::Invalid);
    }
}

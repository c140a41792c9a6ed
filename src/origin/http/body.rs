//! Reads the value from a response: its bytes, up to the limit, and its kind.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, header};
use reqwest::Response;

use super::error::incomplete_response;
use crate::{
    model::{InvalidJson, Kind, SaturatingFrom as _, check_json},
    origin::{Error, OriginErrorKind, Result},
};

/// Largest buffer that is allocated on the word of `Content-Length` alone.
const MAX_TRUSTED_BYTES: usize = 1024 * 1024;
/// U+FEFF in UTF-8.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";
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
    Error::new(OriginErrorKind::TooLarge, format_args!("more than {limit} bytes (max_value_bytes)"))
}

/// The value and its kind, by the `Content-Type`. A byte order mark before JSON is removed, which
/// parsers may ignore (RFC 8259, section 8.1).
///
/// # Errors
/// The body is compressed, or it is not the JSON that the header promises.
pub(super) fn value(headers: &HeaderMap, body: Bytes) -> Result<(Kind, Bytes)> {
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
        let json = match body.strip_prefix(BYTE_ORDER_MARK) {
            Some(_) => body.slice(BYTE_ORDER_MARK.len()..),
            None => body,
        };
        return json_error(&json).map_or(Ok((Kind::Json, json)), Err);
    }
    let is_text = media_type.starts_with("text/")
        && is_utf8(parameters)
        && std::str::from_utf8(&body).is_ok();
    Ok((if is_text { Kind::Text } else { Kind::Bytes }, body))
}

/// Why a body is not the JSON that it should be.
fn json_error(body: &[u8]) -> Option<Error> {
    // The parser does not validate UTF-8 in strings that it skips.
    if std::str::from_utf8(body).is_err() {
        return Some(Error::new(OriginErrorKind::Invalid, "the JSON is not UTF-8"));
    }
    // The parser's own text could show a part of the body.
    let cause = match check_json(body).err()? {
        InvalidJson::Syntax(error) => {
            format!("the value is not JSON at line {}, column {}", error.line(), error.column())
        }
        error @ InvalidJson::TooDeep(_) => format!("the value {error}"),
    };
    Some(Error::new(OriginErrorKind::Invalid, cause))
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

    fn value_of(content_type: &'static str, body: &[u8]) -> Result<(Kind, Bytes)> {
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
        value(&headers, Bytes::copy_from_slice(body))
    }

    fn kind_of(content_type: &'static str, body: &[u8]) -> Result<Kind> {
        value_of(content_type, body).map(|(kind, _)| kind)
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
        let untyped = value(&HeaderMap::new(), Bytes::from_static(b"a"));
        assert_eq!(untyped, Ok((Kind::Bytes, Bytes::from_static(b"a"))));
    }

    #[test]
    fn malformed_json_is_invalid() {
        for broken in [b"".as_slice(), b"{", b"{}{}", b"[1,]", b"\"\xff\"", b"NaN", b"\xef\xbb\xbf"]
        {
            assert_eq!(
                kind_of("application/json", broken).unwrap_err().kind,
                OriginErrorKind::Invalid,
                "{broken:?}"
            );
        }
        let deep = [vec![b'['; 129], vec![b']'; 129]].concat();
        let error = kind_of("application/json", &deep).unwrap_err();
        assert_eq!(error.cause, "the value is nested 129 levels deep, the limit is 128");
        assert_eq!(kind_of("application/json", &deep[1..257]), Ok(Kind::Json));
    }

    #[test]
    fn byte_order_mark_is_removed_from_json_only() {
        let json = value_of("application/json", b"\xef\xbb\xbf{}");
        assert_eq!(json, Ok((Kind::Json, Bytes::from_static(b"{}"))));
        let text = value_of("text/plain", b"\xef\xbb\xbfa");
        assert_eq!(text, Ok((Kind::Text, Bytes::from_static(b"\xef\xbb\xbfa"))));
    }

    #[test]
    fn what_is_compressed_cannot_be_used() {
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("Identity"));
        assert!(value(&headers, Bytes::from_static(b"a")).is_ok());
        headers.append(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        let error = value(&headers, Bytes::from_static(b"a")).unwrap_err();
        assert_eq!(error.kind, OriginErrorKind::Invalid);
    }
}

//! Validators of responses, and the conditions of requests (RFC 9110, 13).

use http::{HeaderMap, HeaderName, HeaderValue, header};

use crate::origin::{Error, OriginErrorKind, Result, Validators};

/// Longest validator that is stored.
const MAX_BYTES: usize = 1024;

/// Validators of a response. Those that are too long to store are left out.
pub(super) fn from_headers(headers: &HeaderMap) -> Validators {
    let text = |name: HeaderName| {
        let text = headers.get(name)?.to_str().ok()?.trim();
        (!text.is_empty() && text.len() <= MAX_BYTES).then(|| text.into())
    };
    Validators { etag: text(header::ETAG), last_modified: text(header::LAST_MODIFIED) }
}

/// Makes a request conditional.
pub(super) fn set_conditions(validators: &Validators, headers: &mut HeaderMap) {
    for (name, text) in [
        (header::IF_NONE_MATCH, &validators.etag),
        (header::IF_MODIFIED_SINCE, &validators.last_modified),
    ] {
        // They come from headers, so the conversion succeeds.
        if let Some(value) = text.as_deref().and_then(|text| HeaderValue::from_str(text).ok()) {
            headers.insert(name, value);
        }
    }
}

/// Validators of the stored value after a 304: those of the response, and the stored ones where it
/// has none.
///
/// # Errors
/// The request had no condition, or the response is about another version. A server that compares
/// only dates does not notice a change within the same second, but its `ETag` differs (RFC 9111,
/// 4.3.4).
pub(super) fn after_revalidation(stored: &Validators, headers: &HeaderMap) -> Result<Validators> {
    if stored.is_empty() {
        return Err(Error::new(
            OriginErrorKind::Invalid,
            "status 304 to a request without conditions",
        ));
    }
    let response = from_headers(headers);
    if let (Some(old), Some(new)) = (&stored.etag, &response.etag)
        && opaque_tag(old) != opaque_tag(new)
    {
        return Err(Error::new(
            OriginErrorKind::Invalid,
            "status 304 about another version of the value",
        ));
    }
    Ok(Validators {
        etag: response.etag.or_else(|| stored.etag.clone()),
        last_modified: response.last_modified.or_else(|| stored.last_modified.clone()),
    })
}

fn opaque_tag(etag: &str) -> &str {
    etag.strip_prefix("W/").unwrap_or(etag)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn headers(etag: &str, last_modified: &str) -> HeaderMap {
        let value = |text| HeaderValue::from_str(text).unwrap();
        [(header::ETAG, value(etag)), (header::LAST_MODIFIED, value(last_modified))]
            .into_iter()
            .collect()
    }

    #[test]
    fn long_and_empty_validators_are_left_out() {
        let long = "x".repeat(1025);
        assert_eq!(from_headers(&headers(&long, &long)), Validators::default());
        assert_eq!(from_headers(&headers("", " ")), Validators::default());
        let both = from_headers(&headers(&long[1..], "yesterday"));
        assert_eq!(both.etag.unwrap().len(), 1024);
        assert_eq!(both.last_modified.as_deref(), Some("yesterday"));
    }

    #[test]
    fn validators_missing_from_a_304_are_kept() {
        let stored =
            Validators { etag: Some("\"a\"".into()), last_modified: Some("monday".into()) };
        assert_eq!(after_revalidation(&stored, &HeaderMap::new()).unwrap(), stored);
        let newer = after_revalidation(&stored, &headers("W/\"a\"", "tuesday")).unwrap();
        assert_eq!(
            newer,
            Validators { etag: Some("W/\"a\"".into()), last_modified: Some("tuesday".into()) }
        );
    }

    #[test]
    fn a_304_must_match_the_condition() {
        let stored = Validators { etag: Some("\"a\"".into()), last_modified: None };
        assert_eq!(
            after_revalidation(&stored, &headers("\"b\"", "x")).unwrap_err().kind,
            OriginErrorKind::Invalid
        );
        assert_eq!(
            after_revalidation(&Validators::default(), &headers("\"b\"", "x")).unwrap_err().kind,
            OriginErrorKind::Invalid
        );
    }
}

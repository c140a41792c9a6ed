//! What a request says of the value that is already there (RFC 9110, 13), and what an answer says of its own.

use http::{HeaderMap, HeaderName, HeaderValue, header};

use crate::origin::{Error, ErrorKind, Result, Validators};

/// Longest validator that is kept.
const MAX_BYTES: usize = 1024;

/// Those of an answer.
pub(super) fn of(headers: &HeaderMap) -> Validators {
    let text = |name: HeaderName| {
        let text = headers.get(name)?.to_str().ok()?.trim();
        (!text.is_empty() && text.len() <= MAX_BYTES).then(|| text.into())
    };
    Validators { etag: text(header::ETAG), last_modified: text(header::LAST_MODIFIED) }
}

/// Makes a request conditional.
pub(super) fn put(validators: &Validators, headers: &mut HeaderMap) {
    for (name, text) in [
        (header::IF_NONE_MATCH, &validators.etag),
        (header::IF_MODIFIED_SINCE, &validators.last_modified),
    ] {
        // They came in a header, and so they fit into one.
        if let Some(value) = text.as_deref().and_then(|text| HeaderValue::from_str(text).ok()) {
            headers.insert(name, value);
        }
    }
}

/// Those of the stored value after the answer that it has not changed: the answer's, and for what it leaves out, the old ones.
///
/// # Errors
/// Nobody asked whether it has, or the answer is about another value. A server that only looks at dates takes a value that
/// was replaced within the same second for the old one; the tag gives it away (RFC 9111, 4.3.4).
pub(super) fn confirmed(asked: &Validators, headers: &HeaderMap) -> Result<Validators> {
    if asked.is_empty() {
        return Err(Error::new(ErrorKind::Invalid, "status 304 to a request without conditions"));
    }
    let answered = of(headers);
    if let (Some(old), Some(new)) = (&asked.etag, &answered.etag)
        && opaque(old) != opaque(new)
    {
        return Err(Error::new(
            ErrorKind::Invalid,
            "status 304 about another version of the value",
        ));
    }
    Ok(Validators {
        etag: answered.etag.or_else(|| asked.etag.clone()),
        last_modified: answered.last_modified.or_else(|| asked.last_modified.clone()),
    })
}

fn opaque(etag: &str) -> &str {
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
    fn those_that_are_too_long_are_left_out() {
        let long = "x".repeat(1025);
        assert_eq!(of(&headers(&long, &long)), Validators::default());
        assert_eq!(of(&headers("", " ")), Validators::default());
        let both = of(&headers(&long[1..], "yesterday"));
        assert_eq!(both.etag.unwrap().len(), 1024);
        assert_eq!(both.last_modified.as_deref(), Some("yesterday"));
    }

    #[test]
    fn what_a_304_leaves_out_stays_as_it_was() {
        let asked = Validators { etag: Some("\"a\"".into()), last_modified: Some("monday".into()) };
        assert_eq!(confirmed(&asked, &HeaderMap::new()).unwrap(), asked);
        let newer = confirmed(&asked, &headers("W/\"a\"", "tuesday")).unwrap();
        assert_eq!(
            newer,
            Validators { etag: Some("W/\"a\"".into()), last_modified: Some("tuesday".into()) }
        );
    }

    #[test]
    fn a_304_is_about_what_was_asked() {
        let asked = Validators { etag: Some("\"a\"".into()), last_modified: None };
        assert_eq!(confirmed(&asked, &headers("\"b\"", "x")).unwrap_err().kind, ErrorKind::Invalid);
        assert_eq!(
            confirmed(&Validators::default(), &headers("\"b\"", "x")).unwrap_err().kind,
            ErrorKind::Invalid
        );
    }
}

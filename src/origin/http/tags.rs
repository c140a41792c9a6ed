//! Tags of an entry, from the headers `Cache-Tag` and `Surrogate-Key`.

use http::{HeaderMap, HeaderName};

use crate::model::{MAX_TAG_BYTES, MAX_TAGS, Tags};

const CACHE_TAG: HeaderName = HeaderName::from_static("cache-tag");
const SURROGATE_KEY: HeaderName = HeaderName::from_static("surrogate-key");

/// Tags that an entry cannot have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum UnusableTags {
    #[error("there are more than {MAX_TAGS}")]
    TooMany,
    #[error("one is longer than {MAX_TAG_BYTES} bytes")]
    TooLong,
    #[error("one is not UTF-8")]
    NotText,
}

/// Parses `Cache-Tag`, separated by commas, and `Surrogate-Key`, separated by spaces. None: the
/// response has neither.
pub(super) fn from_headers(headers: &HeaderMap) -> Result<Option<Tags>, UnusableTags> {
    if !headers.contains_key(CACHE_TAG) && !headers.contains_key(SURROGATE_KEY) {
        return Ok(None);
    }
    let mut tags = Vec::new();
    for (name, separators) in [(CACHE_TAG, [',', ',']), (SURROGATE_KEY, [' ', '\t'])] {
        for line in headers.get_all(name) {
            let line = std::str::from_utf8(line.as_bytes()).map_err(|_| UnusableTags::NotText)?;
            tags.extend(line.split(separators).map(str::trim).filter(|tag| !tag.is_empty()));
        }
    }
    tags.sort_unstable();
    tags.dedup();
    if tags.len() > MAX_TAGS {
        return Err(UnusableTags::TooMany);
    }
    if tags.iter().any(|tag| tag.len() > MAX_TAG_BYTES) {
        return Err(UnusableTags::TooLong);
    }
    Ok(Some(tags.into_iter().map(str::to_owned).collect()))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn parse(lines: &[(HeaderName, &[u8])]) -> Result<Option<Vec<String>>, UnusableTags> {
        let mut headers = HeaderMap::new();
        for (name, line) in lines {
            headers.append(name, HeaderValue::from_bytes(line).unwrap());
        }
        from_headers(&headers).map(|tags| tags.map(|tags| tags.to_vec()))
    }

    #[test]
    fn tags_of_both_headers_are_joined_and_sorted() {
        let tags = |tags: &[&str]| Ok(Some(tags.iter().map(|tag| (*tag).to_owned()).collect()));
        assert_eq!(parse(&[]), Ok(None));
        assert_eq!(parse(&[(CACHE_TAG, b"")]), tags(&[]));
        assert_eq!(
            parse(&[(CACHE_TAG, b"b, a b ,,b"), (CACHE_TAG, b"c")]),
            tags(&["a b", "b", "c"])
        );
        assert_eq!(parse(&[(SURROGATE_KEY, b"b a,b  c\tb")]), tags(&["a,b", "b", "c"]));
        assert_eq!(
            parse(&[(SURROGATE_KEY, b"b a"), (CACHE_TAG, "b,\u{fc}".as_bytes())]),
            tags(&["a", "b", "\u{fc}"])
        );
    }

    #[test]
    fn unusable_tags_are_rejected() {
        let many = (0..33).map(|n| n.to_string()).collect::<Vec<_>>().join(",");
        assert_eq!(parse(&[(CACHE_TAG, many.as_bytes())]), Err(UnusableTags::TooMany));
        let most = (0..32).map(|n| n.to_string()).collect::<Vec<_>>().join(",");
        assert_eq!(parse(&[(CACHE_TAG, most.as_bytes())]).unwrap().unwrap().len(), 32);
        let repeated = "a,".repeat(33);
        assert!(parse(&[(CACHE_TAG, repeated.as_bytes())]).is_ok());
        assert!(parse(&[(CACHE_TAG, &[b'a'; 128])]).is_ok());
        assert_eq!(parse(&[(CACHE_TAG, &[b'a'; 129])]), Err(UnusableTags::TooLong));
        assert_eq!(parse(&[(CACHE_TAG, b"a,\xff")]), Err(UnusableTags::NotText));
    }
}

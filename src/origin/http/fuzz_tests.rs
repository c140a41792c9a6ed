//! Fuzz target of the headers of origins.

#![allow(clippy::unwrap_used)]

use super::{
    cache_control::{CacheControl, MAX_TIME},
    freshness::{Defaults, Freshness, Timing},
    *,
};
use crate::{
    fuzzing::{Input, check},
    model::{MAX_TAG_BYTES, MAX_TAGS},
};

/// A byte for the status, and headers by lines. Whatever they are, a response is cached for a year
/// at most, not at all with `no-store`, and not for longer because of a redirect. Tags and
/// validators have their limits. A redirect stays on the server.
#[test]
fn origin_headers() {
    let url = Url::parse("http://user:secret@origin:8080/a/b").unwrap();
    check("origin_headers", move |bytes| {
        let mut input = Input::new(bytes);
        let status = StatusCode::from_u16(200 + u16::from(input.byte())).unwrap();
        let mut headers = HeaderMap::new();
        while !input.is_empty() {
            let line = input.line();
            let Some(colon) = line.iter().position(|byte| *byte == b':') else { continue };
            let name = HeaderName::from_bytes(&line[..colon]);
            let value = HeaderValue::from_bytes(line[colon + 1..].trim_ascii());
            if let (Ok(name), Ok(value)) = (name, value) {
                headers.append(name, value);
            }
        }
        freshness(status, &headers);
        if let Ok(Some(tags)) = tags::from_headers(&headers) {
            let is_tag = |tag: &String| (1..=MAX_TAG_BYTES).contains(&tag.len());
            assert!(tags.len() <= MAX_TAGS && tags.iter().all(is_tag));
        }
        let found = validators::from_headers(&headers);
        let mut conditions = HeaderMap::new();
        validators::set_conditions(&found, &mut conditions);
        let count = [&found.etag, &found.last_modified].iter().filter(|one| one.is_some()).count();
        assert_eq!(conditions.len(), count, "{found:?}");
        let _ = validators::after_revalidation(&found, &headers);
        if let Some(to) = redirect::target(&url, status, &headers) {
            let server = |url: &Url| {
                (url.scheme().to_owned(), url.host_str().map(str::to_owned), url.port())
            };
            assert_eq!(server(&to), server(&url), "{to}");
            assert_eq!((to.username(), to.password()), ("user", Some("secret")), "{to}");
        }
    });
}

fn freshness(status: StatusCode, headers: &HeaderMap) {
    let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000);
    let timing = Timing { since_request: Duration::from_millis(1500), now };
    let ttl = Duration::from_secs(60);
    let of = |headers: &HeaderMap| Freshness::from_response(status, headers, ttl, timing);
    let found = of(headers);
    let is_bounded = |time: Option<Duration>| time.is_none_or(|time| time <= MAX_TIME);
    assert!(is_bounded(found.ttl), "{found:?}");
    assert!(is_bounded(found.stale_while_revalidate) && is_bounded(found.stale_if_error));
    let mut stored = headers.clone();
    stored.append(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    // A quoted string that is not closed ends with its line.
    assert!(of(&stored).no_store, "{headers:?}");
    let mut changing = headers.clone();
    changing.append(header::VARY, HeaderValue::from_static("*"));
    assert!(of(&changing).no_store, "{headers:?}");
    let normalized = CacheControl::from_headers(headers).normalized();
    assert!(normalized.is_empty() || !normalized.contains('\n'));
    let defaults = Defaults { ttl, stale_while_revalidate: ttl, stale_if_error: ttl };
    let mut short = HeaderMap::new();
    short.append(header::CACHE_CONTROL, HeaderValue::from_static("max-age=1"));
    let limited = found.clone().limited_by(&of(&short), &defaults);
    assert_eq!(limited.no_store, found.no_store || of(&short).no_store);
    if let (Some(own), Some(limited)) = (found.ttl, limited.ttl) {
        assert!(limited <= own);
    }
}

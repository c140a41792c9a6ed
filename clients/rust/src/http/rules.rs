//! The rules of HTTP for shared caches: RFC 9111 by `http-cache-semantics`, and conditions.

use std::time::{Duration, SystemTime};

use http::{
    HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode,
    header::{
        AGE, AUTHORIZATION, CACHE_CONTROL, CONNECTION, CONTENT_TYPE, DATE, ETAG, EXPIRES,
        IF_MODIFIED_SINCE, IF_NONE_MATCH, LAST_MODIFIED, PRAGMA, SET_COOKIE, TE, TRAILER,
        TRANSFER_ENCODING, UPGRADE, VARY,
    },
};
use http_cache_semantics::{CacheOptions, CachePolicy};

use super::entries::joined;

/// Headers of a connection, which are not those of the answer.
const OF_A_HOP: [HeaderName; 6] =
    [CONNECTION, HeaderName::from_static("keep-alive"), TE, TRAILER, TRANSFER_ENCODING, UPGRADE];

/// A name of `Cache-Control` in lower case, with its value.
type Directive = (String, Option<String>);

/// The directives of `Cache-Control`.
fn directives(headers: &HeaderMap) -> Vec<Directive> {
    let text = joined(headers, &CACHE_CONTROL).unwrap_or_else(|| "no-store".to_owned());
    let parts = text.split(',').map(|part| part.trim().to_lowercase());
    let parts = parts.filter(|part| !part.is_empty());
    parts
        .map(|part| match part.split_once('=') {
            Some((name, value)) => (name.trim().to_owned(), Some(value.trim().to_owned())),
            None => (part, None),
        })
        .collect()
}

fn has(directives: &[Directive], name: &str) -> bool {
    directives.iter().any(|(own, _)| own == name)
}

fn seconds(directives: &[Directive], name: &str) -> Option<Duration> {
    let (_, value) = directives.iter().find(|(own, _)| own == name)?;
    let value = value.as_deref()?.trim_matches('"');
    value.parse().ok().map(Duration::from_secs)
}

/// How long an answer is fresh; `None` if it must not be cached. `ttl` is for one without a
/// lifetime of its own.
pub(super) fn fresh_for(
    request: &HeaderMap,
    status: StatusCode,
    headers: &HeaderMap,
    shared: bool,
    ttl: Option<Duration>,
) -> Option<Duration> {
    vary_names(headers)?;
    if headers.contains_key(SET_COOKIE) || is_event_stream(headers) {
        return None;
    }
    let own = directives(headers);
    let now = SystemTime::now();
    let policy = policy(request, (status, headers, &own), shared, now);
    if !policy.is_storable() {
        return None;
    }
    let is_explicit = ["max-age", "s-maxage", "no-cache"].iter().any(|name| has(&own, name))
        || headers.contains_key(EXPIRES)
        || (own.is_empty() && headers.contains_key(PRAGMA));
    let fresh = if is_explicit { Some(policy.time_to_live(now)) } else { ttl };
    fresh.filter(|fresh| !fresh.is_zero())
}

fn policy(
    request: &HeaderMap,
    (status, headers, own): (StatusCode, &HeaderMap, &[Directive]),
    shared: bool,
    now: SystemTime,
) -> CachePolicy {
    // Other headers of the request play no part in what may be stored.
    let mut asked = Request::new(());
    if let Some(authorization) = request.get(AUTHORIZATION) {
        asked.headers_mut().insert(AUTHORIZATION, authorization.clone());
    }
    let mut answer = Response::new(());
    *answer.status_mut() = status;
    *answer.headers_mut() = headers.clone();
    // The library takes the names in lower case only.
    let parts = own.iter().map(|(name, value)| match value {
        Some(value) => format!("{name}={value}"),
        None => name.clone(),
    });
    let control = HeaderValue::try_from(parts.collect::<Vec<_>>().join(", "));
    answer.headers_mut().remove(CACHE_CONTROL);
    if let Ok(control) = control
        && !own.is_empty()
    {
        answer.headers_mut().insert(CACHE_CONTROL, control);
    }
    let options = CacheOptions {
        shared,
        cache_heuristic: 0.0,
        immutable_min_time_to_live: Duration::ZERO,
        ..CacheOptions::default()
    };
    CachePolicy::new_options(&asked, &answer, now, options)
}

/// A stream of events has no end, and is for one client.
fn is_event_stream(headers: &HeaderMap) -> bool {
    let kind = headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    kind.trim_start().to_lowercase().starts_with("text/event-stream")
}

/// The names in `Vary`, sorted; `None` if an answer depends on more than headers.
pub(super) fn vary_names(headers: &HeaderMap) -> Option<Vec<HeaderName>> {
    let text = joined(headers, &VARY)?;
    let names = text.split(',').map(str::trim).filter(|name| !name.is_empty());
    // `*` is no name of a header here.
    let names = names.map(|name| if name == "*" { None } else { name.parse().ok() });
    let mut names = names.collect::<Option<Vec<HeaderName>>>()?;
    names.sort_by(|one, other| one.as_str().cmp(other.as_str()));
    names.dedup();
    Some(names)
}

/// Leaves out the headers that are not to be stored.
pub(super) fn storable_headers(headers: &HeaderMap) -> HeaderMap {
    let mut kept = headers.clone();
    let listed = joined(headers, &CONNECTION).unwrap_or_default();
    for name in listed.split(',') {
        kept.remove(name.trim());
    }
    for name in OF_A_HOP {
        kept.remove(name);
    }
    kept
}

/// The `Age` of an answer that was stored for this long.
pub(super) fn age_of(headers: &HeaderMap, stored: Duration) -> u64 {
    whole_age(headers, stored).as_secs()
}

/// The age of an answer that was stored for this long, with that which it had before.
pub(super) fn whole_age(headers: &HeaderMap, stored: Duration) -> Duration {
    let before = headers.get(AGE).and_then(|age| age.to_str().ok()?.trim().parse().ok());
    stored.saturating_add(Duration::from_secs(before.unwrap_or(0)))
}

/// Whether a request wants its answer past the cache: not stored, or not read from it.
pub(super) fn forbids_storing(request: &HeaderMap) -> bool {
    has(&directives(request), "no-store")
}

/// Whether an answer of this age is recent enough for the `Cache-Control` of a request.
pub(super) fn satisfies(request: &HeaderMap, age: Duration, remaining: Duration) -> bool {
    let wanted = directives(request);
    let is_refused = has(&wanted, "no-cache")
        || (wanted.is_empty() && request.contains_key(PRAGMA))
        || seconds(&wanted, "max-age").is_some_and(|longest| age > longest)
        || seconds(&wanted, "min-fresh").is_some_and(|least| remaining < least);
    !is_refused
}

fn is_text_equal(one: &str, other: &str) -> bool {
    let opaque = |tag: &str| tag.trim().trim_start_matches("W/").to_owned();
    opaque(one) == opaque(other)
}

/// Whether a request has the answer already: a 304 is enough.
pub(super) fn is_not_modified(
    request: &HeaderMap,
    status: StatusCode,
    headers: &HeaderMap,
) -> bool {
    if status != StatusCode::OK {
        return false;
    }
    let text = |headers: &HeaderMap, name| {
        headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok()).map(str::to_owned)
    };
    if request.contains_key(IF_NONE_MATCH) {
        let tags = joined(request, &IF_NONE_MATCH).unwrap_or_default();
        let own = text(headers, ETAG);
        return tags.trim() == "*"
            || own.is_some_and(|own| split_tags(&tags).any(|tag| is_text_equal(tag, &own)));
    }
    let date = |text: Option<String>| httpdate::parse_http_date(&text?).ok();
    match (date(text(request, IF_MODIFIED_SINCE)), date(text(headers, LAST_MODIFIED))) {
        (Some(since), Some(modified)) => modified <= since,
        _ => false,
    }
}

/// The tags of a list: a comma can be a part of one.
fn split_tags(list: &str) -> impl Iterator<Item = &str> {
    let mut rest = list;
    std::iter::from_fn(move || {
        rest = rest.trim_start_matches([',', ' ', '\t']);
        let open = rest.find('"')?;
        let close = open + 1 + rest[open + 1..].find('"')?;
        let (tag, after) = rest.split_at(close + 1);
        rest = after;
        Some(tag)
    })
}

/// Adds the date that the server adds later: `Expires` counts from it.
pub(super) fn dated(headers: &mut HeaderMap) {
    if !headers.contains_key(DATE) {
        let now = httpdate::fmt_http_date(SystemTime::now());
        headers.extend(HeaderValue::try_from(now).ok().map(|now| (DATE, now)));
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn map(headers: &[(&str, &str)]) -> HeaderMap {
        let pair = |(name, value): &(&str, &str)| {
            (name.parse::<HeaderName>().unwrap(), value.parse::<HeaderValue>().unwrap())
        };
        headers.iter().map(pair).collect()
    }

    fn fresh(request: &[(&str, &str)], answer: &[(&str, &str)], shared: bool) -> Option<u64> {
        let minute = Some(Duration::from_secs(60));
        let fresh = fresh_for(&map(request), StatusCode::OK, &map(answer), shared, minute);
        fresh.map(|fresh| fresh.as_secs())
    }

    #[test]
    fn lifetimes_are_those_of_http() {
        for (answer, seconds) in [
            (&[][..], Some(60)),
            (&[("cache-control", "max-age=5")], Some(5)),
            (&[("cache-control", "Max-Age=5, S-MaxAge=7")], Some(7)),
            (&[("cache-control", "max-age=9"), ("age", "4")], Some(5)),
            (&[("cache-control", "max-age=4"), ("age", "4")], None),
            (&[("cache-control", "public")], Some(60)),
            (&[("cache-control", "no-store")], None),
            (&[("cache-control", "No-Cache")], None),
            (&[("cache-control", "Private, max-age=5")], None),
            (&[("cache-control", "private=\"x\", max-age=5")], None),
            (&[("pragma", "no-cache")], None),
            (&[("expires", "0")], None),
            (&[("expires", "Thu, 01 Jan 1970 00:00:00 GMT")], None),
            (&[("set-cookie", "a=b"), ("cache-control", "public, max-age=5")], None),
            (&[("vary", "*")], None),
            (&[("vary", "accept, *")], None),
            (&[("content-type", "Text/Event-Stream; charset=utf-8")], None),
        ] {
            assert_eq!(fresh(&[], answer, true), seconds, "{answer:?}");
        }
    }

    #[test]
    fn answers_to_credentials_are_shared_only_with_permission() {
        let asked = &[("authorization", "Bearer x")];
        assert_eq!(fresh(asked, &[("cache-control", "max-age=5")], true), None);
        assert_eq!(fresh(asked, &[], true), None);
        assert_eq!(fresh(asked, &[("cache-control", "public, max-age=5")], true), Some(5));
        assert_eq!(fresh(asked, &[("cache-control", "s-maxage=5")], true), Some(5));
        assert_eq!(fresh(asked, &[("cache-control", "private, max-age=5")], false), Some(5));
    }

    #[test]
    fn conditions_are_those_of_http() {
        let answer =
            map(&[("etag", "W/\"a,b\""), ("last-modified", "Sun, 29 Nov 2026 10:00:00 GMT")]);
        for (request, expected) in [
            (("if-none-match", "\"a,b\""), true),
            (("if-none-match", "\"c\", W/\"a,b\""), true),
            (("if-none-match", "*"), true),
            (("if-none-match", "\"a\", \"b\""), false),
            (("if-modified-since", "Sun, 29 Nov 2026 10:00:00 GMT"), true),
            (("if-modified-since", "Sun, 29 Nov 2026 09:59:59 GMT"), false),
            (("if-modified-since", "yesterday"), false),
        ] {
            let request = map(&[request]);
            assert_eq!(is_not_modified(&request, StatusCode::OK, &answer), expected, "{request:?}");
            assert!(!is_not_modified(&request, StatusCode::NOT_FOUND, &answer));
        }
        let both = map(&[
            ("if-none-match", "\"c\""),
            ("if-modified-since", "Sun, 29 Nov 2026 10:00:00 GMT"),
        ]);
        assert!(!is_not_modified(&both, StatusCode::OK, &answer), "the tag comes first");
    }

    #[test]
    fn headers_of_a_connection_are_left_out() {
        let kept = storable_headers(&map(&[("connection", "x-own"), ("x-own", "1"), ("a", "2")]));
        assert_eq!(kept, map(&[("a", "2")]));
    }
}

//! How an answer may be kept, by HTTP's own rules (RFC 9111) and those for stale answers (RFC 5861).
//!
//! Larder is a shared cache. Whether an answer may be stored and how long it is fresh is decided by `http-cache-semantics`;
//! here it gets headers that it cannot misread, and what it does not know is added.

#[cfg(test)]
mod tests;

use std::time::{Duration, SystemTime};

use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode, header};
use http_cache_semantics::{CacheOptions, CachePolicy};

use super::directives::{CacheControl, LONGEST, seconds};

/// What an answer says of how it may be kept; what it leaves open is none.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Freshness {
    pub(super) no_store: bool,
    pub(super) ttl: Option<Duration>,
    pub(super) stale_while_revalidate: Option<Duration>,
    pub(super) stale_if_error: Option<Duration>,
}

impl Freshness {
    /// Judges an answer of the status under which it will be kept. `default_ttl` is for those that name no time.
    pub(super) fn of(
        status: StatusCode,
        headers: &HeaderMap,
        default_ttl: Duration,
        now: SystemTime,
    ) -> Self {
        let mut directives = CacheControl::of(headers);
        let (stale_while_revalidate, stale_if_error) = stale_windows(&directives);
        let timed = ["max-age", "s-maxage"].iter().any(|name| directives.has(name))
            || headers.contains_key(header::EXPIRES);
        if !timed {
            directives.set("max-age", whole_seconds(default_ttl));
        }
        // To the library it means that nothing may be served at all; it forbids what is stale, which is seen to above.
        directives.remove("proxy-revalidate");
        // And it takes this for a lifetime, which it is not (RFC 8246).
        directives.remove("immutable");

        let public = directives.has("public");
        let policy = policy(status, &plain(headers, &directives, now), now);
        if !policy.is_storable()
            || varies_by_everything(headers)
            || (sets_cookie(headers) && !public)
        {
            return Self { no_store: true, ..Self::default() };
        }
        let left = policy.time_to_live(now).min(LONGEST);
        let ttl = match age(headers) {
            _ if left.is_zero() => Some(Duration::ZERO),
            _ if timed => Some(left),
            None => None,
            Some(age) => Some(default_ttl.saturating_sub(age)),
        };
        Self { no_store: false, ttl, stale_while_revalidate, stale_if_error }
    }
}

/// How long an answer may be served stale: while it is refreshed, and because of an error.
fn stale_windows(directives: &CacheControl) -> (Option<Duration>, Option<Duration>) {
    if ["must-revalidate", "proxy-revalidate", "no-cache"].iter().any(|name| directives.has(name)) {
        return (Some(Duration::ZERO), Some(Duration::ZERO));
    }
    // It implies proxy-revalidate (RFC 9111, 5.2.2.10), unless the origin says in the same breath what may be stale.
    let unsaid = directives.has("s-maxage").then_some(Duration::ZERO);
    let window = |name| directives.time(name).or(unsaid);
    (window("stale-while-revalidate"), window("stale-if-error"))
}

/// The library's judgement. The request it sees is without the configured headers: they say who Larder is, not for whom it
/// asks, so that an `Authorization` among them does not make the answer anybody's own.
fn policy(status: StatusCode, headers: &HeaderMap, now: SystemTime) -> CachePolicy {
    let request = Request::new(());
    let mut response = Response::new(());
    *response.status_mut() = status;
    *response.headers_mut() = headers.clone();
    let options = CacheOptions { shared: true, cache_heuristic: 0.0, ..CacheOptions::default() };
    CachePolicy::new_options(&request, &response, now, options)
}

/// The headers that matter, each once and in the one form that the library reads.
fn plain(headers: &HeaderMap, directives: &CacheControl, now: SystemTime) -> HeaderMap {
    let mut plain = HeaderMap::new();
    let mut put = |name: HeaderName, value: String| {
        if let Ok(value) = HeaderValue::try_from(value) {
            plain.insert(name, value);
        }
    };
    put(header::CACHE_CONTROL, directives.plain());
    if let Some(age) = age(headers) {
        put(header::AGE, age.as_secs().to_string());
    }
    if let Some(date) = headers.get(header::DATE).and_then(date) {
        put(header::DATE, httpdate::fmt_http_date(date));
    }
    if let Some(expires) = headers.get(header::EXPIRES) {
        // What is no date is in the past (RFC 9111, 5.3).
        let expires = date(expires).unwrap_or(SystemTime::UNIX_EPOCH).min(now + 2 * LONGEST);
        put(header::EXPIRES, httpdate::fmt_http_date(expires));
    }
    plain
}

fn date(value: &HeaderValue) -> Option<SystemTime> {
    httpdate::parse_http_date(value.to_str().ok()?.trim()).ok()
}

/// How long the answer has been in caches on its way; none if it does not say.
fn age(headers: &HeaderMap) -> Option<Duration> {
    let age = headers.get(header::AGE)?.to_str().ok()?;
    seconds(age.split(',').next()?)
}

fn varies_by_everything(headers: &HeaderMap) -> bool {
    let names = |value: &HeaderValue| {
        value.as_bytes().split(|byte| *byte == b',').any(|name| name.trim_ascii() == b"*")
    };
    headers.get_all(header::VARY).iter().any(names)
}

/// A cookie is for one visitor, and so, most likely, is the answer.
fn sets_cookie(headers: &HeaderMap) -> bool {
    headers.contains_key(header::SET_COOKIE)
}

fn whole_seconds(duration: Duration) -> Duration {
    Duration::from_secs(duration.as_secs().saturating_add(u64::from(duration.subsec_nanos() > 0)))
}

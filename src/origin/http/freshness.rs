//! Freshness of responses by the rules of HTTP (RFC 9111) and its stale windows (RFC 5861).
//!
//! Larder is a shared cache. `http-cache-semantics` decides whether a response may be stored and
//! how long it is fresh. This module normalizes the headers for it, and adds the rules that it
//! lacks.

#[cfg(test)]
mod tests;

use std::time::{Duration, SystemTime};

use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode, header};
use http_cache_semantics::{CacheOptions, CachePolicy};

use super::cache_control::{CacheControl, MAX_TIME, parse_seconds};

/// Headers in which two requests for the same key differ: conditions, and the trace that they
/// belong to. All other headers are the same for all requests.
const CHANGING_HEADERS: [&str; 5] =
    ["baggage", "if-modified-since", "if-none-match", "traceparent", "tracestate"];
/// Difference between `Date` and the clock that is ignored: `Date` has whole seconds, and the next
/// one may begin on the way.
const DATE_RESOLUTION: Duration = Duration::from_secs(2);

/// How long an exchange has taken, up to now.
#[derive(Debug, Clone, Copy)]
pub(super) struct Timing {
    /// Time since the request was sent.
    pub(super) since_request: Duration,
    /// The current time.
    pub(super) now: SystemTime,
}

/// Rules of the namespace where the response has none.
#[derive(Debug, Clone, Copy)]
pub(super) struct Defaults {
    pub(super) ttl: Duration,
    pub(super) stale_while_revalidate: Duration,
    pub(super) stale_if_error: Duration,
}

/// How long a response may be cached. None: the response has no such directive.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Freshness {
    pub(super) no_store: bool,
    pub(super) ttl: Option<Duration>,
    pub(super) stale_while_revalidate: Option<Duration>,
    pub(super) stale_if_error: Option<Duration>,
}

impl Freshness {
    /// Evaluates a response by its age now. `status` is the one under which it is stored.
    /// `default_ttl` applies if the response has no lifetime.
    pub(super) fn from_response(
        status: StatusCode,
        headers: &HeaderMap,
        default_ttl: Duration,
        timing: Timing,
    ) -> Self {
        let now = timing.now;
        let mut directives = CacheControl::from_headers(headers);
        let (stale_while_revalidate, stale_if_error) = stale_windows(&directives);
        let has_lifetime = ["max-age", "s-maxage"].iter().any(|name| directives.has(name))
            || headers.contains_key(header::EXPIRES);
        if !has_lifetime {
            directives.set("max-age", rounded_up(default_ttl));
        }
        // The library takes it as a ban on every reuse. It forbids only stale responses, see above.
        directives.remove("proxy-revalidate");
        // The library takes it as a lifetime, which it is not (RFC 8246).
        directives.remove("immutable");

        let is_public = directives.has("public");
        let policy = policy(status, &normalized(headers, &directives, now), now);
        if !policy.is_storable()
            || varies_between_requests(headers)
            || (sets_cookie(headers) && !is_public)
        {
            return Self { no_store: true, ..Self::default() };
        }
        // The headers lack `Age`, so this is the whole lifetime.
        let lifetime = policy.time_to_live(now).min(MAX_TIME);
        let ttl = if lifetime.is_zero() {
            Some(Duration::ZERO)
        } else if has_lifetime {
            Some(lifetime.saturating_sub(current_age(headers, timing)))
        } else {
            // The TTL of the namespace begins when the response comes, unless it was cached before.
            age(headers).map(|_| default_ttl.saturating_sub(current_age(headers, timing)))
        };
        Self { no_store: false, ttl, stale_while_revalidate, stale_if_error }
    }

    /// Limits the response by a redirect that led to it: the redirect is part of the answer, and is
    /// used again with it. The shorter time counts.
    pub(super) fn limited_by(self, redirect: &Self, defaults: &Defaults) -> Self {
        if self.no_store || redirect.no_store {
            return Self { no_store: true, ..Self::default() };
        }
        let shorter = |own: Option<Duration>, limit: Option<Duration>, default| match limit {
            Some(limit) => Some(own.unwrap_or(default).min(limit)),
            None => own,
        };
        Self {
            no_store: false,
            ttl: shorter(self.ttl, redirect.ttl, defaults.ttl),
            stale_while_revalidate: shorter(
                self.stale_while_revalidate,
                redirect.stale_while_revalidate,
                defaults.stale_while_revalidate,
            ),
            stale_if_error: shorter(
                self.stale_if_error,
                redirect.stale_if_error,
                defaults.stale_if_error,
            ),
        }
    }
}

/// Windows in which a stale response may be served: while it is refreshed, and if the origin fails.
fn stale_windows(directives: &CacheControl) -> (Option<Duration>, Option<Duration>) {
    if ["must-revalidate", "proxy-revalidate", "no-cache"].iter().any(|name| directives.has(name)) {
        return (Some(Duration::ZERO), Some(Duration::ZERO));
    }
    // It implies proxy-revalidate (RFC 9111, 5.2.2.10), unless the response has a stale window.
    let default = directives.has("s-maxage").then_some(Duration::ZERO);
    let window = |name| directives.time(name).or(default);
    (window("stale-while-revalidate"), window("stale-if-error"))
}

/// The policy of the library. The request that it sees lacks the configured headers: they
/// authenticate Larder and not a user, so an `Authorization` does not make the response private.
fn policy(status: StatusCode, headers: &HeaderMap, now: SystemTime) -> CachePolicy {
    let request = Request::new(());
    let mut response = Response::new(());
    *response.status_mut() = status;
    *response.headers_mut() = headers.clone();
    let options = CacheOptions { shared: true, cache_heuristic: 0.0, ..CacheOptions::default() };
    CachePolicy::new_options(&request, &response, now, options)
}

/// The relevant headers, each once and in the form that the library reads.
fn normalized(headers: &HeaderMap, directives: &CacheControl, now: SystemTime) -> HeaderMap {
    let mut normalized = HeaderMap::new();
    let mut put = |name: HeaderName, value: String| {
        if let Ok(value) = HeaderValue::try_from(value) {
            normalized.insert(name, value);
        }
    };
    put(header::CACHE_CONTROL, directives.normalized());
    if let Some(date) = headers.get(header::DATE).and_then(parse_date) {
        put(header::DATE, httpdate::fmt_http_date(date));
    }
    if let Some(expires) = headers.get(header::EXPIRES) {
        // A malformed date is in the past (RFC 9111, 5.3).
        let expires = parse_date(expires).unwrap_or(SystemTime::UNIX_EPOCH).min(now + 2 * MAX_TIME);
        put(header::EXPIRES, httpdate::fmt_http_date(expires));
    }
    normalized
}

fn parse_date(value: &HeaderValue) -> Option<SystemTime> {
    httpdate::parse_http_date(value.to_str().ok()?.trim()).ok()
}

/// Time that the response has spent in caches on its way, if it has an `Age`.
fn age(headers: &HeaderMap) -> Option<Duration> {
    let age = headers.get(header::AGE)?.to_str().ok()?;
    parse_seconds(age.split(',').next()?)
}

/// Age of a response now (RFC 9111, 4.2.3), in whole seconds where the RFC counts in them.
fn current_age(headers: &HeaderMap, timing: Timing) -> Duration {
    let on_the_way = Duration::from_secs(timing.since_request.as_secs());
    let corrected = age(headers).unwrap_or_default() + on_the_way;
    let date = headers.get(header::DATE).and_then(parse_date);
    // A date in the future shows a wrong clock, and no age.
    let apparent = date
        .and_then(|date| timing.now.duration_since(date).ok())
        .filter(|age| *age >= DATE_RESOLUTION);
    corrected.max(apparent.unwrap_or_default())
}

/// Whether the next request for the key would differ in a header by which the response was
/// selected, so that the response does not answer it (RFC 9111, 4.1).
fn varies_between_requests(headers: &HeaderMap) -> bool {
    let is_changing = |name: &[u8]| {
        name == b"*"
            || CHANGING_HEADERS.iter().any(|known| name.eq_ignore_ascii_case(known.as_bytes()))
    };
    let names = |value: &HeaderValue| {
        value.as_bytes().split(|byte| *byte == b',').any(|name| is_changing(name.trim_ascii()))
    };
    headers.get_all(header::VARY).iter().any(names)
}

/// A cookie is for one user, and so, most likely, is the response.
fn sets_cookie(headers: &HeaderMap) -> bool {
    headers.contains_key(header::SET_COOKIE)
}

fn rounded_up(duration: Duration) -> Duration {
    Duration::from_secs(duration.as_secs().saturating_add(u64::from(duration.subsec_nanos() > 0)))
}

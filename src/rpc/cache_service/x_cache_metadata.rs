//! The metadata of a response with the outcome, the age and the remaining TTL.

use http::{HeaderMap, HeaderName, HeaderValue};
use tonic::Response;

use super::CacheRpc;
use crate::{
    model::EntryKey,
    rpc::convert::{FetchReplyStatus, XCache},
};

const X_CACHE: HeaderName = HeaderName::from_static("x-cache");
const CACHE_STATUS: HeaderName = HeaderName::from_static("cache-status");
const X_CACHE_FETCH: HeaderName = HeaderName::from_static("x-cache-fetch");
/// In seconds.
const X_CACHE_AGE: HeaderName = HeaderName::from_static("x-cache-age");
/// In seconds.
const X_CACHE_TTL_REMAINING: HeaderName = HeaderName::from_static("x-cache-ttl-remaining");

impl CacheRpc {
    /// Adds the `x-cache*` and `cache-status` metadata, and the fields for the access log.
    #[inline]
    pub(super) fn add_x_cache<T>(
        &self,
        response: &mut Response<T>,
        key: &EntryKey,
        x_cache: Option<XCache>,
    ) {
        let (outcome, status) = x_cache.map_or((XCache::MISS, XCache::NOT_CACHED), |x_cache| {
            (x_cache.outcome, x_cache.status)
        });
        self.key_logging.attach(response, key, outcome);
        // tonic's own MetadataMap would parse each name again.
        let headers: &mut HeaderMap = response.metadata_mut().as_mut();
        headers.insert(X_CACHE, HeaderValue::from_static(outcome));
        headers.insert(CACHE_STATUS, HeaderValue::from_static(status));
        if let Some(XCache { age_seconds, ttl_remaining_seconds, .. }) = x_cache {
            headers.insert(X_CACHE_AGE, number(age_seconds));
            headers.insert(X_CACHE_TTL_REMAINING, number(ttl_remaining_seconds));
        }
    }

    /// As [`Self::add_x_cache`], with the `x-cache-fetch` metadata, and the `cache-status` of the
    /// fetch.
    #[inline]
    pub(super) fn add_fetch_status<T>(
        &self,
        response: &mut Response<T>,
        key: &EntryKey,
        status: &FetchReplyStatus,
    ) {
        self.add_x_cache(response, key, status.x_cache);
        let headers: &mut HeaderMap = response.metadata_mut().as_mut();
        headers.insert(CACHE_STATUS, HeaderValue::from_static(status.cache_status));
        if let Some(fetch_status) = status.x_cache_fetch {
            headers.insert(X_CACHE_FETCH, HeaderValue::from_static(fetch_status));
        }
    }
}

/// A number as a header value. The conversion of the `http` crate allocates twice.
fn number(number: u64) -> HeaderValue {
    // Digits are always valid.
    HeaderValue::from_str(itoa::Buffer::new().format(number))
        .unwrap_or(HeaderValue::from_static("0"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_decimal_header_values() {
        for value in [0, 7, u64::MAX] {
            assert_eq!(number(value).to_str().unwrap_or_default(), value.to_string());
        }
    }
}

//! Origins that speak HTTP: one URL per key.

mod body;
mod cache_control;
mod client;
mod error;
mod freshness;
#[cfg(test)]
mod fuzz_tests;
mod redirect;
mod tags;
#[cfg(test)]
mod tests;
mod validators;

use std::{
    fmt,
    time::{Duration, SystemTime},
};

use async_trait::async_trait;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use opentelemetry::global;
use opentelemetry_http::HeaderInjector;
use reqwest::{Client, Response};
use tokio::time::{Instant, timeout_at};
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt as _;
use url::Url;

use self::{
    freshness::{Defaults, Freshness, Timing},
    redirect::Redirect,
};
use super::{
    CacheDirectives, Error, FetchBody, FetchRequest, FetchResponse, Origin, OriginErrorKind,
    Result, Validators, unusable_tags,
};
use crate::model::{Kind, Namespace};

pub use crate::url_template::UrlTemplate;

const USER_AGENT: &str = concat!("larder/", env!("CARGO_PKG_VERSION"));

/// Options of an HTTP origin. `Debug` shows no secrets.
#[derive(Clone)]
pub struct HttpOptions {
    /// Template of the URL of a key.
    pub url: UrlTemplate,
    /// Headers of each request, such as `Authorization`. All values are treated as secrets.
    pub headers: HeaderMap,
    /// Limit for name resolution, connection and TLS handshake together.
    pub connect_timeout: Duration,
    /// Largest value, in bytes.
    pub max_value_bytes: usize,
    /// Redirects that are followed, and only to the same scheme, host and port. With zero, a
    /// redirect is a refusal.
    pub max_redirects: usize,
    /// Error statuses for which a stale value may stand in.
    pub stale_if_error_statuses: Vec<u16>,
    /// HTTP version.
    pub version: HttpVersion,
    /// Certificates in PEM that are trusted in addition to the system's.
    pub ca_pem: Option<Vec<u8>>,
    /// Whether `Cache-Control` and related headers apply, or only the namespace's rules.
    pub respect_cache_headers: bool,
    /// TTL of the namespace, from which `Age` is subtracted if the response has no lifetime.
    pub ttl: Duration,
    /// The same for values that do not exist.
    pub negative_ttl: Duration,
    /// Window of the namespace, which the windows of redirects can only shorten.
    pub stale_while_revalidate: Duration,
    /// The same for failures of the origin.
    pub stale_if_error: Duration,
}

/// HTTP version of the requests.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum HttpVersion {
    /// HTTP/2 if the server offers it over TLS, otherwise HTTP/1.1.
    #[default]
    Auto,
    /// HTTP/1.1.
    Http1,
    /// HTTP/2, even without TLS.
    Http2,
}

/// Options from which no client can be built.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HttpBuildError {
    /// The configured certificates are malformed.
    #[error("the trusted certificates cannot be used: {0}")]
    Ca(String),
    /// Without a root certificate no server can be trusted.
    #[error("the system trusts no certificates, and there are none of the origin's own")]
    NoRoots,
    /// The header belongs to the request and is set by Larder.
    #[error("the header {0} cannot be set: it belongs to the request itself")]
    ReservedHeader(HeaderName),
    /// One of the two would be ignored.
    #[error("there are credentials in the URL and in the header authorization")]
    TwoCredentials,
    /// The HTTP library rejects the options.
    #[error("the HTTP client cannot be made: {0}")]
    Client(String),
}

/// An origin with one URL per key.
pub struct HttpOrigin {
    client: Client,
    headers: HeaderMap,
    options: HttpOptions,
}

/// A response without its body, as far as its freshness depends on it.
struct Exchange {
    requested_at: Instant,
    /// Redirects that led to the response.
    redirects: Vec<Redirect>,
}

/// Status and headers of a response, as they count for its directives.
struct Head<'a> {
    status: StatusCode,
    headers: &'a HeaderMap,
}

// === impl HttpOptions ===

impl fmt::Debug for HttpOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let headers: Vec<_> = self.headers.keys().collect();
        f.debug_struct("HttpOptions")
            .field("url", &self.url)
            .field("headers", &headers)
            .finish_non_exhaustive()
    }
}

// === impl HttpOrigin ===

impl HttpOrigin {
    /// Builds the client. It connects at the first fetch.
    ///
    /// # Errors
    /// The options contradict each other, or the certificates cannot be used.
    pub fn new(options: HttpOptions) -> std::result::Result<Self, HttpBuildError> {
        let headers = request_headers(&options)?;
        Ok(Self { client: client::build(&options)?, headers, options })
    }

    /// Sends the request, and follows redirects.
    async fn send(&self, request: &FetchRequest) -> Result<(Response, Exchange)> {
        let url = self.options.url.expand(&request.key, &request.params);
        let mut url = url.map_err(|violation| {
            let cause = violation.to_string();
            Error::new(OriginErrorKind::BadKey(violation), cause)
        })?;
        let mut headers = self.headers.clone();
        validators::set_conditions(&request.validators, &mut headers);
        let context = Span::current().context();
        global::get_text_map_propagator(|propagator| {
            propagator.inject_context(&context, &mut HeaderInjector(&mut headers));
        });
        let mut redirects = Vec::new();
        loop {
            let requested_at = Instant::now();
            let response = self.get(&url, &headers, request.deadline).await?;
            let target = (redirects.len() < self.options.max_redirects)
                .then(|| redirect::target(&url, response.status(), response.headers()))
                .flatten();
            let Some(target) = target else {
                return Ok((response, Exchange { requested_at, redirects }));
            };
            redirects.push(Redirect { headers: response.headers().clone(), requested_at });
            url = target;
        }
    }

    async fn get(&self, url: &Url, headers: &HeaderMap, deadline: Instant) -> Result<Response> {
        let sending = self.client.get(url.clone()).headers(headers.clone()).send();
        let sent = timeout_at(deadline, sending).await;
        let sent = sent
            .map_err(|_| Error::new(OriginErrorKind::Timeout, "no response before the deadline"))?;
        sent.map_err(|error| error::no_response(&error))
    }

    async fn read(
        &self,
        request: &FetchRequest,
        response: Response,
        exchange: &Exchange,
    ) -> Result<FetchResponse> {
        let (status, headers) = (response.status(), response.headers().clone());
        let now = SystemTime::now();
        let body = match status.as_u16() {
            200 | 203 => {
                let limit = self.options.max_value_bytes;
                let data = timeout_at(request.deadline, body::read(response, limit)).await;
                let data = data.map_err(|_| {
                    Error::new(OriginErrorKind::Timeout, "no complete response before the deadline")
                })??;
                let (kind, data) = body::value(&headers, data)?;
                FetchBody::Value { kind, data }
            }
            204 => FetchBody::Value { kind: Kind::Bytes, data: Bytes::new() },
            404 | 410 => FetchBody::NotFound,
            304 => {
                let validators = validators::after_revalidation(&request.validators, &headers)?;
                // The lifetime is that of the stored response, extended by these headers (RFC 9111,
                // 4.3.4).
                let head = Head { status: StatusCode::OK, headers: &headers };
                let (namespace, body) = (request.key.namespace(), &FetchBody::NotModified);
                let directives = self.directives(namespace, body, head, exchange);
                return Ok(FetchResponse {
                    body: FetchBody::NotModified,
                    directives: CacheDirectives { validators, ..directives },
                });
            }
            code => {
                let allows_stale = self.options.stale_if_error_statuses.contains(&code);
                let error = error::unexpected_status(status, &headers, now);
                return Err(Error { allows_stale, ..error });
            }
        };
        let head = Head { status, headers: &headers };
        let directives = self.directives(request.key.namespace(), &body, head, exchange);
        Ok(FetchResponse { body, directives })
    }

    fn directives(
        &self,
        namespace: &Namespace,
        body: &FetchBody,
        Head { status, headers }: Head<'_>,
        exchange: &Exchange,
    ) -> CacheDirectives {
        let default_ttl = match body {
            FetchBody::Value { .. } | FetchBody::NotModified => self.options.ttl,
            FetchBody::NotFound => self.options.negative_ttl,
        };
        let freshness = if self.options.respect_cache_headers {
            self.freshness(status, headers, default_ttl, exchange)
        } else {
            Freshness::default()
        };
        let (tags, has_usable_tags) = match tags::from_headers(headers) {
            Ok(tags) => (tags, true),
            Err(problem) => {
                unusable_tags::warn(namespace, &problem);
                (None, false)
            }
        };
        // The absence of a value has no version that could be compared with that of a value.
        let validators = if *body == FetchBody::NotFound {
            Validators::default()
        } else {
            validators::from_headers(headers)
        };
        CacheDirectives {
            no_store: freshness.no_store || !has_usable_tags,
            ttl: freshness.ttl,
            stale_while_revalidate: freshness.stale_while_revalidate,
            stale_if_error: freshness.stale_if_error,
            tags,
            validators,
        }
    }

    /// Freshness of a response, limited by the redirects that led to it.
    fn freshness(
        &self,
        status: StatusCode,
        headers: &HeaderMap,
        default_ttl: Duration,
        exchange: &Exchange,
    ) -> Freshness {
        let now = SystemTime::now();
        let evaluate = |status, headers: &HeaderMap, requested_at: Instant| {
            let timing = Timing { since_request: requested_at.elapsed(), now };
            Freshness::from_response(status, headers, default_ttl, timing)
        };
        let HttpOptions { stale_while_revalidate, stale_if_error, .. } = self.options;
        let defaults = Defaults { ttl: default_ttl, stale_while_revalidate, stale_if_error };
        let response = evaluate(status, headers, exchange.requested_at);
        exchange.redirects.iter().fold(response, |freshness, redirect| {
            // Of a redirect only the headers count; its status is not stored.
            let limit = evaluate(StatusCode::OK, &redirect.headers, redirect.requested_at);
            freshness.limited_by(&limit, &defaults)
        })
    }
}

#[async_trait]
impl Origin for HttpOrigin {
    async fn fetch(&self, request: &FetchRequest) -> Result<FetchResponse> {
        let (response, exchange) = self.send(request).await?;
        self.read(request, response, &exchange).await
    }
}

/// Headers that all requests have in common.
fn request_headers(options: &HttpOptions) -> std::result::Result<HeaderMap, HttpBuildError> {
    let mut headers = HeaderMap::new();
    headers.insert(header::USER_AGENT, HeaderValue::from_static(USER_AGENT));
    if let Some(reserved) = options.headers.keys().find(|name| is_reserved(name)) {
        return Err(HttpBuildError::ReservedHeader(reserved.clone()));
    }
    if options.url.has_credentials() && options.headers.contains_key(header::AUTHORIZATION) {
        return Err(HttpBuildError::TwoCredentials);
    }
    for name in options.headers.keys() {
        headers.remove(name);
        for value in options.headers.get_all(name) {
            let mut value = value.clone();
            value.set_sensitive(true);
            headers.append(name, value);
        }
    }
    headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    Ok(headers)
}

/// Whether a header depends on the single request, and so cannot be configured.
fn is_reserved(name: &HeaderName) -> bool {
    let reserved = [
        header::ACCEPT_ENCODING,
        header::CONNECTION,
        header::CONTENT_LENGTH,
        header::EXPECT,
        header::IF_MATCH,
        header::IF_MODIFIED_SINCE,
        header::IF_NONE_MATCH,
        header::IF_RANGE,
        header::IF_UNMODIFIED_SINCE,
        header::RANGE,
        header::TE,
        header::TRAILER,
        header::TRANSFER_ENCODING,
        header::UPGRADE,
    ];
    reserved.contains(name) || name.as_str() == "keep-alive"
}

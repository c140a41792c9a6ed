//! An origin that speaks HTTP.

mod body;
mod client;
mod directives;
mod error;
mod freshness;
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
use tokio::time::timeout_at;
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

use self::freshness::Freshness;
use super::{
    CacheDirectives, Error, ErrorKind, FetchBody, FetchRequest, FetchResponse, Origin, Result,
    Validators,
};
use crate::model::{EntryKey, Kind};

pub use crate::url_template::UrlTemplate;

const USER_AGENT: &str = concat!("larder/", env!("CARGO_PKG_VERSION"));

/// How an origin is asked over HTTP, and what is taken from it. `Debug` shows no secrets.
#[derive(Clone)]
pub struct HttpOptions {
    /// Where the value of a key is.
    pub url: UrlTemplate,
    /// Sent with each request, such as `Authorization`. Whatever they are, they count as secret.
    pub headers: HeaderMap,
    /// Limit for name resolution, connecting and TLS together.
    pub connect_timeout: Duration,
    /// Largest value that is taken.
    pub max_value_bytes: usize,
    /// Most redirects that are followed, and only to the same scheme, host and port. With 0, a redirect is a refusal.
    pub max_redirects: usize,
    /// Versions of HTTP that are spoken.
    pub version: HttpVersion,
    /// Certificates in PEM that are trusted in addition to the system's.
    pub ca_pem: Option<Vec<u8>>,
    /// Whether the origin decides by `Cache-Control` and its relatives how its answers are kept. If not, the namespace does.
    pub respect_cache_headers: bool,
    /// The namespace's own, from which `Age` is subtracted where the origin names no time.
    pub ttl: Duration,
    /// The same for answers that there is no value.
    pub negative_ttl: Duration,
}

/// Versions of HTTP.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum HttpVersion {
    /// HTTP/2 if the server offers it over TLS, else HTTP/1.1.
    #[default]
    Auto,
    /// HTTP/1.1.
    Http1,
    /// HTTP/2, also without TLS.
    Http2,
}

/// Why there can be no such origin.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BuildError {
    /// The operator's certificates cannot be read.
    #[error("the trusted certificates cannot be used: {0}")]
    Ca(String),
    /// Nobody would be trusted.
    #[error("the system trusts no certificates, and there are none of the origin's own")]
    NoRoots,
    /// A header that a request gets from Larder.
    #[error("the header {0} cannot be set: it belongs to the request itself")]
    ReservedHeader(HeaderName),
    /// One of them would be ignored.
    #[error("there are credentials in the URL and in the header authorization")]
    TwoCredentials,
    /// The client cannot be made.
    #[error("the HTTP client cannot be made: {0}")]
    Client(String),
}

impl fmt::Debug for HttpOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let headers: Vec<_> = self.headers.keys().collect();
        f.debug_struct("HttpOptions")
            .field("url", &self.url)
            .field("headers", &headers)
            .finish_non_exhaustive()
    }
}

/// An origin that has a URL for each key.
pub struct HttpOrigin {
    client: Client,
    headers: HeaderMap,
    options: HttpOptions,
}

impl HttpOrigin {
    /// Makes the client; it connects when it is first asked.
    ///
    /// # Errors
    /// The options contradict each other, or the certificates cannot be used.
    pub fn new(options: HttpOptions) -> std::result::Result<Self, BuildError> {
        let headers = request_headers(&options)?;
        Ok(Self { client: client::build(&options)?, headers, options })
    }

    async fn send(&self, order: &FetchRequest) -> Result<Response> {
        let url = self.options.url.expand(&order.key, &order.params);
        let url = url.map_err(|violation| {
            Error::new(ErrorKind::BadKey(violation), "no URL can be made of it")
        })?;
        let mut headers = self.headers.clone();
        validators::put(&order.validators, &mut headers);
        let context = Span::current().context();
        global::get_text_map_propagator(|propagator| {
            propagator.inject_context(&context, &mut HeaderInjector(&mut headers));
        });
        let sent = timeout_at(order.deadline, self.client.get(url).headers(headers).send()).await;
        let sent = sent.map_err(|_| Error::new(ErrorKind::Timeout, "nothing came back"))?;
        sent.map_err(|error| error::no_answer(&error))
    }

    async fn read(&self, order: &FetchRequest, response: Response) -> Result<FetchResponse> {
        let (status, headers) = (response.status(), response.headers().clone());
        let now = SystemTime::now();
        match status.as_u16() {
            200 | 203 => {
                let body =
                    timeout_at(order.deadline, body::read(response, self.options.max_value_bytes))
                        .await;
                let data = body
                    .map_err(|_| Error::new(ErrorKind::Timeout, "its answer was not complete"))??;
                let content = FetchBody::Value { kind: body::kind(&headers, &data)?, data };
                Ok(self.answer(&order.key, content, status, &headers, now))
            }
            204 => {
                let content = FetchBody::Value { kind: Kind::Bytes, data: Bytes::new() };
                Ok(self.answer(&order.key, content, status, &headers, now))
            }
            404 | 410 => Ok(self.answer(&order.key, FetchBody::NotFound, status, &headers, now)),
            304 => {
                let confirmed = validators::confirmed(&order.validators, &headers)?;
                // It is the stored answer that is kept on, by the headers of this one (RFC 9111, 4.3.4).
                let answer =
                    self.answer(&order.key, FetchBody::NotModified, StatusCode::OK, &headers, now);
                Ok(FetchResponse {
                    terms: CacheDirectives { validators: confirmed, ..answer.terms },
                    ..answer
                })
            }
            _ => Err(error::bad_status(status, &headers, now)),
        }
    }

    fn answer(
        &self,
        key: &EntryKey,
        content: FetchBody,
        status: StatusCode,
        headers: &HeaderMap,
        now: SystemTime,
    ) -> FetchResponse {
        let default_ttl = match content {
            FetchBody::Value { .. } | FetchBody::NotModified => self.options.ttl,
            FetchBody::NotFound => self.options.negative_ttl,
        };
        let freshness = if self.options.respect_cache_headers {
            Freshness::of(status, headers, default_ttl, now)
        } else {
            Freshness::default()
        };
        let (tags, is_taggable) = match tags::tags_of(headers) {
            Ok(tags) => (tags, true),
            Err(problem) => {
                // An entry that cannot be found by its tags would outlive the invalidation of what it shows.
                tracing::warn!(namespace = %key.namespace(), %problem, "an answer is not stored because of its tags");
                (None, false)
            }
        };
        // That there is no value has no version that could be compared with that of a value.
        let validators = if content == FetchBody::NotFound {
            Validators::default()
        } else {
            validators::of(headers)
        };
        let terms = CacheDirectives {
            no_store: freshness.no_store || !is_taggable,
            ttl: freshness.ttl,
            stale_while_revalidate: freshness.stale_while_revalidate,
            stale_if_error: freshness.stale_if_error,
            tags,
            validators,
        };
        FetchResponse { content, terms }
    }
}

#[async_trait]
impl Origin for HttpOrigin {
    async fn fetch(&self, order: &FetchRequest) -> Result<FetchResponse> {
        let response = self.send(order).await?;
        self.read(order, response).await
    }
}

/// The headers that all requests have in common.
fn request_headers(options: &HttpOptions) -> std::result::Result<HeaderMap, BuildError> {
    let mut headers = HeaderMap::new();
    headers.insert(header::USER_AGENT, HeaderValue::from_static(USER_AGENT));
    if let Some(reserved) = options.headers.keys().find(|name| is_reserved(name)) {
        return Err(BuildError::ReservedHeader(reserved.clone()));
    }
    if options.url.has_credentials() && options.headers.contains_key(header::AUTHORIZATION) {
        return Err(BuildError::TwoCredentials);
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

/// Whether a header says what only the one who makes the request can know.
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

//! Builds the clients of all origins from the configuration.

use std::{
    collections::{BTreeMap, HashMap},
    io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use http::{HeaderMap, HeaderName, HeaderValue};
use secrecy::ExposeSecret as _;

use super::{
    FailureKind, Origin,
    client::{FetchObserver, OriginClient, OriginLimits},
    grpc::{GrpcBuildError, GrpcOptions, GrpcOrigin},
    http::{self as http_origin, HttpBuildError, HttpOptions, HttpOrigin},
};
use crate::{
    config::{HttpVersion, NamespaceConfig, OriginConfig, Target},
    model::{Namespace, SaturatingFrom as _},
    url_template::UrlTemplate,
};

/// An origin whose client cannot be built.
#[derive(Debug, thiserror::Error)]
#[error("namespaces.{namespace}.origin cannot be used")]
pub struct Error {
    /// Namespace of the origin.
    pub namespace: Namespace,
    /// What is wrong with its configuration.
    #[source]
    pub cause: OriginBuildError,
}

/// Configuration from which no client can be built.
#[derive(Debug, thiserror::Error)]
pub enum OriginBuildError {
    /// The name or value of a header is malformed.
    #[error("header {0} cannot be sent")]
    Header(String),
    /// The file with certificates cannot be read.
    #[error("cannot read ca_file {}", path.display())]
    CaFile {
        /// Path of the file.
        path: PathBuf,
        /// Error of the operating system.
        source: io::Error,
    },
    /// The HTTP client cannot be built.
    #[error(transparent)]
    Http(#[from] HttpBuildError),
    /// The gRPC client cannot be built.
    #[error(transparent)]
    Grpc(#[from] GrpcBuildError),
}

/// Checks that [`OriginRegistry::replace`] would accept a configuration. Must be called in a Tokio
/// runtime.
///
/// # Errors
/// A client cannot be built.
pub fn check(namespaces: &BTreeMap<String, NamespaceConfig>) -> Result<(), Error> {
    OriginRegistry::new(Arc::new(Unobserved)).replace(namespaces).map(drop)
}

/// Observer of origins from which nothing is fetched.
struct Unobserved;

impl FetchObserver for Unobserved {
    fn on_fetch(&self, _: &Namespace, _: Duration, _: Result<(), &FailureKind>) {}
}

/// Clients of all origins, each with the configuration that it was built from.
pub struct OriginRegistry {
    observer: Arc<dyn FetchObserver>,
    clients: HashMap<Namespace, (NamespaceConfig, Arc<OriginClient>)>,
}

impl OriginRegistry {
    /// An empty registry, whose clients will report to `observer`.
    pub fn new(observer: Arc<dyn FetchObserver>) -> Self {
        Self { observer, clients: HashMap::new() }
    }

    /// Replaces the origins by those of a configuration, and returns the new clients. A client with
    /// an unchanged configuration is kept, with its connections, its breaker and its latency
    /// estimate. Must be called in a Tokio runtime.
    ///
    /// # Errors
    /// A client cannot be built. The registry does not change.
    pub fn replace(
        &mut self,
        namespaces: &BTreeMap<String, NamespaceConfig>,
    ) -> Result<Vec<Arc<OriginClient>>, Error> {
        let mut clients = HashMap::new();
        let mut new = Vec::new();
        for (name, config) in namespaces {
            let (Some(origin), Ok(namespace)) = (&config.origin, Namespace::new(name)) else {
                continue;
            };
            let client = match self.clients.get(&namespace) {
                Some((current, client)) if current == config => client.clone(),
                _ => {
                    let client = self
                        .build_client(&namespace, config, origin)
                        .map_err(|cause| Error { namespace: namespace.clone(), cause })?;
                    new.push(client.clone());
                    client
                }
            };
            clients.insert(namespace, (config.clone(), client));
        }
        self.clients = clients;
        Ok(new)
    }

    /// All clients by namespace.
    pub fn clients(&self) -> HashMap<Namespace, Arc<OriginClient>> {
        let entries = self.clients.iter();
        entries.map(|(namespace, (_, client))| (namespace.clone(), client.clone())).collect()
    }

    /// The only match on the protocols of origins.
    fn build_client(
        &self,
        namespace: &Namespace,
        config: &NamespaceConfig,
        origin: &OriginConfig,
    ) -> Result<Arc<OriginClient>, OriginBuildError> {
        let implementation: Box<dyn Origin> = match &origin.target {
            Target::Http(template) => {
                Box::new(HttpOrigin::new(http_options(template, config, origin)?)?)
            }
            Target::Grpc(url) => Box::new(GrpcOrigin::new(grpc_options(url, config, origin)?)?),
        };
        let (limits, observer) = (limits(origin), self.observer.clone());
        Ok(Arc::new(OriginClient::new(namespace.clone(), implementation, limits, observer)))
    }
}

fn http_options(
    template: &UrlTemplate,
    config: &NamespaceConfig,
    origin: &OriginConfig,
) -> Result<HttpOptions, OriginBuildError> {
    Ok(HttpOptions {
        url: template.clone(),
        headers: headers(origin)?,
        connect_timeout: origin.connect_timeout,
        max_value_bytes: config.max_value_bytes,
        max_redirects: usize::saturating_from(origin.max_redirects),
        version: match origin.http_version {
            HttpVersion::Auto => http_origin::HttpVersion::Auto,
            HttpVersion::Http1 => http_origin::HttpVersion::Http1,
            HttpVersion::Http2 => http_origin::HttpVersion::Http2,
        },
        ca_pem: ca_pem(origin)?,
        respect_cache_headers: origin.cache_headers,
        ttl: config.ttl,
        negative_ttl: origin.negative_ttl,
    })
}

fn grpc_options(
    url: &url::Url,
    config: &NamespaceConfig,
    origin: &OriginConfig,
) -> Result<GrpcOptions, OriginBuildError> {
    Ok(GrpcOptions {
        url: url.clone(),
        metadata: headers(origin)?,
        connect_timeout: origin.connect_timeout,
        max_value_bytes: config.max_value_bytes,
        max_batch: usize::saturating_from(origin.max_batch),
        resolve_interval: origin.resolve_interval,
        ca_pem: ca_pem(origin)?,
    })
}

fn limits(origin: &OriginConfig) -> OriginLimits {
    OriginLimits {
        timeout: origin.timeout,
        max_concurrency: usize::saturating_from(origin.max_concurrency),
        max_queue: usize::saturating_from(origin.max_queue),
        retries: usize::saturating_from(origin.retries),
        retry_backoff: origin.retry_backoff,
        breaker_threshold: origin.breaker_threshold,
        breaker_cooldown: origin.breaker_cooldown,
    }
}

/// The configured headers. The configuration has already validated names and values.
fn headers(origin: &OriginConfig) -> Result<HeaderMap, OriginBuildError> {
    let mut headers = HeaderMap::new();
    for (name, template) in &origin.headers {
        let malformed = || OriginBuildError::Header(name.clone());
        let header = HeaderName::from_bytes(name.as_bytes()).map_err(|_| malformed())?;
        let mut value =
            HeaderValue::from_str(template.value().expose_secret()).map_err(|_| malformed())?;
        value.set_sensitive(true);
        headers.insert(header, value);
    }
    Ok(headers)
}

fn ca_pem(origin: &OriginConfig) -> Result<Option<Vec<u8>>, OriginBuildError> {
    let read = |path: &PathBuf| std::fs::read(path).map_err(|source| unreadable(path, source));
    origin.ca_file.as_ref().map(read).transpose()
}

fn unreadable(path: &Path, source: io::Error) -> OriginBuildError {
    OriginBuildError::CaFile { path: path.to_owned(), source }
}

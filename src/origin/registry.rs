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
use sha2::{Digest as _, Sha256};

use super::{
    Origin, OriginErrorKind,
    client::{FetchObserver, OriginClient, OriginLimits, OriginStatus},
    grpc::{GrpcBuildError, GrpcOptions, GrpcOrigin},
    http::{HttpBuildError, HttpOptions, HttpOrigin, HttpVersion},
};
use crate::{
    config::{HttpVersionSetting, NamespaceConfig, OriginConfig, Target},
    model::{FetchSource, Namespace, SaturatingFrom as _},
    url_template::UrlTemplate,
};

/// An origin whose client cannot be built.
#[derive(Debug, thiserror::Error)]
#[error("namespaces.{namespace}.origin cannot be used")]
pub struct Error {
    /// Namespace of the origin.
    pub namespace: Namespace,
    /// The fault of its configuration.
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
    fn on_fetch(&self, _: &Namespace, _: Duration, _: Result<(), &OriginErrorKind>) {}
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

    /// The namespace, the address without secrets and the state of each origin, in no order.
    pub fn statuses(&self) -> impl Iterator<Item = (&Namespace, String, OriginStatus)> {
        self.clients.iter().map(|(namespace, (config, client))| {
            let url = config.origin.as_ref().map(|origin| origin.target.shown());
            (namespace, url.unwrap_or_default(), client.status())
        })
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
        let source = source(origin)?;
        let (limits, observer) = (limits(origin), self.observer.clone());
        let client = OriginClient::new(namespace.clone(), implementation, source, limits, observer);
        Ok(Arc::new(client))
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
        stale_if_error_statuses: origin.stale_if_error_statuses.clone(),
        version: match origin.http_version {
            HttpVersionSetting::Auto => HttpVersion::Auto,
            HttpVersionSetting::Http1 => HttpVersion::Http1,
            HttpVersionSetting::Http2 => HttpVersion::Http2,
        },
        ca_pem: ca_pem(origin)?,
        respect_cache_headers: origin.cache_headers,
        ttl: config.ttl,
        negative_ttl: origin.negative_ttl,
        stale_while_revalidate: config.stale_while_revalidate,
        stale_if_error: config.stale_if_error,
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

/// Identifies what the answers of an origin depend on. The hashes are stored with the values:
/// they are short, and do not show the headers, which may be secrets.
fn source(origin: &OriginConfig) -> Result<FetchSource, OriginBuildError> {
    let target = match &origin.target {
        Target::Http(template) => format!("http {template}"),
        Target::Grpc(url) => format!("grpc {url}"),
    };
    let headers = headers(origin)?;
    let sorted: BTreeMap<&str, &HeaderValue> =
        headers.iter().map(|(name, value)| (name.as_str(), value)).collect();
    let mut hash = Sha256::new();
    for (name, value) in sorted {
        for part in [name.as_bytes(), value.as_bytes()] {
            hash.update(u64::saturating_from(part.len()).to_be_bytes());
            hash.update(part);
        }
    }
    Ok(FetchSource { target: short(Sha256::digest(target)), headers: short(hash.finalize()) })
}

fn short(hash: impl AsRef<[u8]>) -> u64 {
    hash.as_ref().first_chunk().copied().map_or(0, u64::from_be_bytes)
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

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;

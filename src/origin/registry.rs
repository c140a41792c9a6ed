//! From the configuration to the gates before the origins: the one match on the kinds of origins.

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
    ErrorKind, Origin,
    client::{Observer, OriginClient, OriginLimits},
    grpc::{self, GrpcOptions, GrpcOrigin},
    http::{self as http_origin, HttpOptions, HttpOrigin},
};
use crate::{
    config::{HttpVersionSetting, NamespaceConfig, OriginConfig, Target},
    model::{Namespace, SaturatingFrom as _},
    url_template::UrlTemplate,
};

/// Why an origin cannot be asked.
#[derive(Debug, thiserror::Error)]
#[error("namespaces.{namespace}.origin cannot be used")]
pub struct Error {
    /// Whose origin it is.
    pub namespace: Namespace,
    /// Why.
    #[source]
    pub cause: Cause,
}

/// What is wrong with an origin's configuration.
#[derive(Debug, thiserror::Error)]
pub enum Cause {
    /// A header.
    #[error("header {0} cannot be sent")]
    Header(String),
    /// The file with certificates.
    #[error("cannot read ca_file {}", path.display())]
    CaFile {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The HTTP client.
    #[error(transparent)]
    Http(#[from] http_origin::BuildError),
    /// The gRPC client.
    #[error(transparent)]
    Grpc(#[from] grpc::BuildError),
}

/// Whether [`OriginRegistry::replace`] would open all origins of a configuration. Must be called in a Tokio runtime.
///
/// # Errors
/// One of them cannot be asked.
pub fn check(namespaces: &BTreeMap<String, NamespaceConfig>) -> Result<(), Error> {
    OriginRegistry::new(Arc::new(Unobserved)).replace(namespaces).map(drop)
}

/// For origins that are never asked.
struct Unobserved;

impl Observer for Unobserved {
    fn fetched(&self, _: &Namespace, _: Duration, _: Result<(), &ErrorKind>) {}
}

/// The origins of all namespaces, and what they were made of.
pub struct OriginRegistry {
    observer: Arc<dyn Observer>,
    open: HashMap<Namespace, (NamespaceConfig, Arc<OriginClient>)>,
}

impl OriginRegistry {
    /// None yet.
    pub fn new(observer: Arc<dyn Observer>) -> Self {
        Self { observer, open: HashMap::new() }
    }

    /// Opens the origins of a configuration. Those whose configuration has not changed stay as they are, with what is known of
    /// them. Answers the gates that are new. Must be called in a Tokio runtime.
    ///
    /// # Errors
    /// One of them cannot be asked. All stay as they were.
    pub fn replace(
        &mut self,
        namespaces: &BTreeMap<String, NamespaceConfig>,
    ) -> Result<Vec<Arc<OriginClient>>, Error> {
        let mut open = HashMap::new();
        let mut new = Vec::new();
        for (name, config) in namespaces {
            let (Some(origin), Ok(namespace)) = (&config.origin, Namespace::new(name)) else {
                continue;
            };
            let gate = match self.open.get(&namespace) {
                Some((same, gate)) if same == config => gate.clone(),
                _ => {
                    let gate = self
                        .gate(&namespace, config, origin)
                        .map_err(|cause| Error { namespace: namespace.clone(), cause })?;
                    new.push(gate.clone());
                    gate
                }
            };
            open.insert(namespace, (config.clone(), gate));
        }
        self.open = open;
        Ok(new)
    }

    /// The gates by namespace.
    pub fn gates(&self) -> HashMap<Namespace, Arc<OriginClient>> {
        self.open.iter().map(|(namespace, (_, gate))| (namespace.clone(), gate.clone())).collect()
    }

    fn gate(
        &self,
        namespace: &Namespace,
        config: &NamespaceConfig,
        origin: &OriginConfig,
    ) -> Result<Arc<OriginClient>, Cause> {
        let opened: Box<dyn Origin> = match &origin.target {
            Target::Http(template) => {
                Box::new(HttpOrigin::new(http_options(template, config, origin)?)?)
            }
            Target::Grpc(url) => Box::new(GrpcOrigin::new(grpc_options(url, config, origin)?)?),
        };
        Ok(Arc::new(OriginClient::new(
            namespace.clone(),
            opened,
            gate_rules(origin),
            self.observer.clone(),
        )))
    }
}

fn http_options(
    template: &UrlTemplate,
    config: &NamespaceConfig,
    origin: &OriginConfig,
) -> Result<HttpOptions, Cause> {
    Ok(HttpOptions {
        url: template.clone(),
        headers: headers(origin)?,
        connect_timeout: origin.connect_timeout,
        max_value_bytes: config.max_value_bytes,
        max_redirects: number(origin.max_redirects),
        version: match origin.http_version {
            HttpVersionSetting::Auto => http_origin::HttpVersion::Auto,
            HttpVersionSetting::Http1 => http_origin::HttpVersion::Http1,
            HttpVersionSetting::Http2 => http_origin::HttpVersion::Http2,
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
) -> Result<GrpcOptions, Cause> {
    Ok(GrpcOptions {
        url: url.clone(),
        metadata: headers(origin)?,
        connect_timeout: origin.connect_timeout,
        max_value_bytes: config.max_value_bytes,
        max_batch: number(origin.max_batch),
        resolve_interval: origin.resolve_interval,
        ca_pem: ca_pem(origin)?,
    })
}

fn gate_rules(origin: &OriginConfig) -> OriginLimits {
    OriginLimits {
        timeout: origin.timeout,
        max_concurrency: number(origin.max_concurrency),
        max_queue: number(origin.max_queue),
        retries: number(origin.retries),
        retry_backoff: origin.retry_backoff,
        breaker_threshold: origin.breaker_threshold,
        breaker_cooldown: origin.breaker_cooldown,
    }
}

fn number(number: u32) -> usize {
    usize::saturating_from(number)
}

/// The configuration has checked names and values.
fn headers(origin: &OriginConfig) -> Result<HeaderMap, Cause> {
    let mut headers = HeaderMap::new();
    for (name, template) in &origin.headers {
        let unusable = || Cause::Header(name.clone());
        let header = HeaderName::from_bytes(name.as_bytes()).map_err(|_| unusable())?;
        let mut value =
            HeaderValue::from_str(template.value().expose_secret()).map_err(|_| unusable())?;
        value.set_sensitive(true);
        headers.insert(header, value);
    }
    Ok(headers)
}

fn ca_pem(origin: &OriginConfig) -> Result<Option<Vec<u8>>, Cause> {
    let read = |path: &PathBuf| std::fs::read(path).map_err(|source| unreadable(path, source));
    origin.ca_file.as_ref().map(read).transpose()
}

fn unreadable(path: &Path, source: io::Error) -> Cause {
    Cause::CaFile { path: path.to_owned(), source }
}

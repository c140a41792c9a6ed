mod header;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use url::Url;

use super::keys::{Keys, Section, join};
use super::kind::{
    DAY, GrpcForm, HOUR, MILLISECOND, SECOND, UrlForm, boolean, choice, count, duration, header,
    list, number, optional_path,
};
use super::reader::Report;
use crate::model::MAX_KEY_BYTES;
use crate::url_template::UrlTemplate;

pub use header::{HeaderTemplate, InvalidHeader};

/// `[namespaces.<name>.origin]`: where Larder itself fetches what the namespace does not have.
#[derive(Clone, Debug, PartialEq)]
pub struct OriginConfig {
    /// What is asked. `url` or `grpc`, exactly one of them.
    pub target: Target,
    /// Headers of each request, or the metadata of each call.
    pub headers: BTreeMap<String, HeaderTemplate>,
    /// How long one fetch may take in all: waiting for its turn, retries and the body included.
    pub timeout: Duration,
    /// How long opening a connection may take.
    pub connect_timeout: Duration,
    /// How long callers wait before they get a stale value instead, if there is one; none = to the end.
    pub soft_timeout: Option<Duration>,
    /// How long it is remembered that there is no value; zero = not at all.
    pub negative_ttl: Duration,
    /// How long after all stale windows an entry that the origin can recognise is kept, only to be renewed by a "not
    /// modified".
    pub keep: Duration,
    /// Fetches at once.
    pub max_concurrency: u32,
    /// Fetches that wait for their turn; more fail at once.
    pub max_queue: u32,
    /// How often a fetch that failed is tried again.
    pub retries: u32,
    /// Time before the first retry, give or take; it doubles for each further one.
    pub retry_backoff: Duration,
    /// How long nobody in the fleet fetches a key again whose fetch failed.
    pub error_backoff: Duration,
    /// Failures in a row after which the origin is left alone; zero = it never is.
    pub breaker_threshold: u32,
    /// How long it is left alone before a fetch probes it.
    pub breaker_cooldown: Duration,
    /// How eagerly entries are refreshed before they expire, the beta of XFetch; zero = not at all.
    pub early_refresh: f64,
    /// The shortest lease of a fetch. A lease follows the time that fetches take, between this and `lease_ttl`.
    pub min_lease: Duration,
    /// The version of HTTP. Only for [`Target::Http`].
    pub http_version: HttpVersion,
    /// Redirects that are followed in a row. Only for [`Target::Http`].
    pub max_redirects: u32,
    /// Whether `Cache-Control` and its like are honoured. Only for [`Target::Http`].
    pub cache_headers: bool,
    /// Certificates, in PEM, that are trusted beside the usual ones.
    pub ca_file: Option<PathBuf>,
    /// Keys of one batch. Only for [`Target::Grpc`].
    pub max_batch: u32,
    /// Time between two look-ups of the host's addresses. Only for [`Target::Grpc`].
    pub resolve_interval: Duration,
    /// What is fetched before anybody asks for it.
    pub warm: WarmConfig,
}

/// What an origin is and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// `url`: the template of the URLs that are asked for, without user and password.
    Http(UrlTemplate),
    /// `grpc`: scheme, host and port of a service that speaks Larder's protocol for origins.
    Grpc(Url),
}

/// The version of HTTP that an origin is asked in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HttpVersion {
    /// What the two agree on over TLS, else 1.1.
    Auto,
    /// HTTP/1.1.
    Http1,
    /// HTTP/2; without TLS from the first byte on.
    Http2,
}

/// `[namespaces.<name>.origin.warm]`: what is fetched before anybody asks for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WarmConfig {
    /// Keys.
    pub keys: Vec<String>,
    /// A file with more keys.
    pub file: Option<PathBuf>,
    /// Time between two rounds; none = only at the start.
    pub interval: Option<Duration>,
    /// Fetches per second.
    pub rate: u32,
}

/// Whether a URL says who asks. Such a URL is refused: it would be logged and shown.
pub(super) fn has_user_info(url: &str) -> bool {
    let authority = url.split_once("://").and_then(|(_, rest)| rest.split(AUTHORITY_ENDS).next());
    authority.is_some_and(|authority| authority.contains('@'))
}

const AUTHORITY_ENDS: [char; 4] = ['/', '?', '#', '\\'];

/// Several times `store.timeout`, so that a lease outlives an answer of the store that is late.
pub(super) const DEFAULT_MIN_LEASE: Duration = Duration::from_secs(1);

impl OriginConfig {
    /// An origin with every other key at its default.
    pub fn new(target: Target) -> Self {
        Self {
            target,
            headers: BTreeMap::new(),
            timeout: Duration::from_secs(2),
            connect_timeout: Duration::from_millis(500),
            soft_timeout: None,
            negative_ttl: Duration::from_secs(10),
            keep: Duration::from_secs(10 * 60),
            max_concurrency: 64,
            max_queue: 1024,
            retries: 1,
            retry_backoff: Duration::from_millis(50),
            error_backoff: Duration::from_secs(1),
            breaker_threshold: 5,
            breaker_cooldown: Duration::from_secs(5),
            early_refresh: 1.0,
            min_lease: DEFAULT_MIN_LEASE,
            http_version: HttpVersion::Auto,
            max_redirects: 0,
            cache_headers: true,
            ca_file: None,
            max_batch: 100,
            resolve_interval: Duration::from_secs(10),
            warm: WarmConfig::default(),
        }
    }

    /// Checks the headers and fills in their secrets. `path` is that of this table.
    pub(super) fn resolve_headers(
        &mut self,
        path: &str,
        env: &BTreeMap<String, String>,
        report: &mut Report,
    ) {
        let path = join(path, "headers");
        let grpc = matches!(self.target, Target::Grpc(_));
        for (name, template) in &mut self.headers {
            let key = join(&path, name);
            if let Err(problem) = header::check_name(name, grpc) {
                report.relation(&key, &key, problem.to_owned());
            }
            match template.resolved(env) {
                Ok(resolved) => *template = resolved,
                Err(error) => report.relation(&key, &key, error.to_string()),
            }
        }
    }
}

impl Default for WarmConfig {
    fn default() -> Self {
        Self { keys: Vec::new(), file: None, interval: None, rate: 50 }
    }
}

impl Section for OriginConfig {
    fn visit(&mut self, keys: &mut impl Keys) {
        let zero = Duration::ZERO;
        let minute = 60 * SECOND;
        let year = 365 * DAY;
        let longest = 10 * minute;
        let form = keys.one_of(&mut self.target, &[&UrlForm, &GrpcForm]);
        keys.key("timeout", &mut self.timeout, duration(MILLISECOND, longest));
        keys.key("connect_timeout", &mut self.connect_timeout, duration(MILLISECOND, longest));
        keys.key("soft_timeout", &mut self.soft_timeout, duration(MILLISECOND, longest).or_off());
        keys.key("negative_ttl", &mut self.negative_ttl, duration(zero, year));
        keys.key("keep", &mut self.keep, duration(zero, year));
        keys.key("max_concurrency", &mut self.max_concurrency, count(1..=10_000));
        keys.key("max_queue", &mut self.max_queue, count(0..=1_000_000));
        keys.key("retries", &mut self.retries, count(0..=10));
        keys.key("retry_backoff", &mut self.retry_backoff, duration(zero, minute));
        keys.key("error_backoff", &mut self.error_backoff, duration(zero, HOUR));
        keys.key("breaker_threshold", &mut self.breaker_threshold, count(0..=10_000));
        keys.key("breaker_cooldown", &mut self.breaker_cooldown, duration(10 * MILLISECOND, HOUR));
        keys.key("early_refresh", &mut self.early_refresh, number(0.0..=100.0));
        keys.key("min_lease", &mut self.min_lease, duration(10 * MILLISECOND, HOUR));
        keys.key("ca_file", &mut self.ca_file, optional_path());
        // Where it is unclear what the origin is, keys of both are let pass.
        keys.only_if(form != Some("grpc"), "an origin with `url`", |keys| {
            let versions = &[
                ("auto", HttpVersion::Auto),
                ("1.1", HttpVersion::Http1),
                ("2", HttpVersion::Http2),
            ];
            keys.key("http_version", &mut self.http_version, choice(versions));
            keys.key("max_redirects", &mut self.max_redirects, count(0..=10));
            keys.key("cache_headers", &mut self.cache_headers, boolean());
        });
        keys.only_if(form != Some("url"), "an origin with `grpc`", |keys| {
            keys.key("max_batch", &mut self.max_batch, count(1..=1000));
            keys.key(
                "resolve_interval",
                &mut self.resolve_interval,
                duration(100 * MILLISECOND, HOUR),
            );
        });
        keys.entries("headers", &mut self.headers, header());
        keys.section("warm", &mut self.warm);
    }
}

impl Section for WarmConfig {
    fn visit(&mut self, keys: &mut impl Keys) {
        let is_key = |key: &str| (1..=MAX_KEY_BYTES).contains(&key.len());
        keys.key("keys", &mut self.keys, list("keys of 1 to 1024 bytes", is_key));
        keys.key("file", &mut self.file, optional_path());
        keys.key("interval", &mut self.interval, duration(SECOND, 365 * DAY).or_off());
        keys.key("rate", &mut self.rate, count(1..=100_000));
    }
}

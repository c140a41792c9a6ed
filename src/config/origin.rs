//! The origin of a namespace: `[namespaces.<name>.origin]`.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use super::diagnostics::Diagnostics;
use super::header::{check_name, header};
use super::secret_template::SecretTemplate;
use super::target::Target;
use super::toml::join;
use super::value::{
    DAY, HOUR, MILLISECOND, SECOND, boolean, choice, count, counts, duration, number, optional_path,
};
use super::visitor::{ConfigVisitor, Section};
use super::warm::WarmConfig;

/// `[namespaces.<name>.origin]`: the service from which Larder fetches missing values.
#[derive(Clone, Debug, PartialEq)]
pub struct OriginConfig {
    /// The key `url` or `grpc`, exactly one of them.
    pub target: Target,
    /// Headers of each request, or metadata of each call, in printable ASCII. See
    /// docs/configuration.md#secrets-of-origins.
    pub headers: BTreeMap<String, SecretTemplate>,
    /// Time limit of one fetch, including the queue, retries and the body.
    pub timeout: Duration,
    /// Time limit for opening a connection. At most `timeout`.
    pub connect_timeout: Duration,
    /// How long callers wait before a stale value is served instead, if there is one: less than
    /// `timeout`. `0s`: until the fetch ends.
    pub soft_timeout: Option<Duration>,
    /// How long the absence of a value is cached. Zero: not at all.
    pub negative_ttl: Duration,
    /// How long after all stale windows an entry with an `ETag` or `Last-Modified` is kept, only so
    /// that the origin can answer 304.
    pub keep: Duration,
    /// Concurrent fetches.
    pub max_concurrency: u32,
    /// Queued fetches; further ones fail at once.
    pub max_queue: u32,
    /// Retries of a failed fetch.
    pub retries: u32,
    /// Delay before the first retry, with jitter; it doubles for each further retry.
    pub retry_backoff: Duration,
    /// How long the fleet does not fetch a key again after its fetch failed.
    pub error_backoff: Duration,
    /// Consecutive failures that open the circuit breaker. Zero: it never opens.
    pub breaker_threshold: u32,
    /// How long the circuit breaker stays open before a fetch probes the origin.
    pub breaker_cooldown: Duration,
    /// How eagerly entries are refreshed before they expire: the beta of XFetch. Zero: not at all.
    pub early_refresh: f64,
    /// Shortest lease of a fetch, at most `lease_ttl`. It should be several times `store.timeout`,
    /// or a late answer of Redis costs leases. A lease follows the measured fetch time, up to
    /// `timeout` and `lease_ttl`.
    pub min_lease: Duration,
    /// The HTTP version. Only with `url`.
    pub http_version: HttpVersionSetting,
    /// Redirects that one fetch follows. Only with `url`.
    pub max_redirects: u32,
    /// Error statuses for which `stale_if_error` applies. Only with `url`.
    pub stale_if_error_statuses: Vec<u16>,
    /// Whether `Cache-Control` and related headers are honoured. Only with `url`.
    pub cache_headers: bool,
    /// A PEM file with certificates that are trusted in addition to the system's.
    pub ca_file: Option<PathBuf>,
    /// Keys per batch. Only with `grpc`.
    pub max_batch: u32,
    /// Time between two DNS lookups of the host. Only with `grpc`.
    pub resolve_interval: Duration,
    /// Keys that are fetched before callers request them.
    pub warm: WarmConfig,
}

/// The HTTP version of the requests to an origin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HttpVersionSetting {
    /// HTTP/2 if TLS negotiates it, else HTTP/1.1.
    Auto,
    /// HTTP/1.1.
    Http1,
    /// HTTP/2; without TLS by prior knowledge.
    Http2,
}

/// Several times `store.timeout`, so that a lease survives a late answer of the store.
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
            http_version: HttpVersionSetting::Auto,
            max_redirects: 0,
            stale_if_error_statuses: vec![500, 502, 503, 504],
            cache_headers: true,
            ca_file: None,
            max_batch: 100,
            resolve_interval: Duration::from_secs(10),
            warm: WarmConfig::default(),
        }
    }

    /// Checks the headers and fills in their secrets. `path` is the path of this table.
    pub(super) fn resolve_headers(
        &mut self,
        path: &str,
        env: &BTreeMap<String, String>,
        diagnostics: &mut Diagnostics,
    ) {
        let path = join(path, "headers");
        let grpc = matches!(self.target, Target::Grpc(_));
        for (name, template) in &mut self.headers {
            let key = join(&path, name);
            if let Err(problem) = check_name(name, grpc) {
                diagnostics.reject(&key, problem.to_owned());
            }
            match template.resolved(env) {
                Ok(resolved) => *template = resolved,
                Err(error) => diagnostics.reject(&key, error.to_string()),
            }
        }
    }

    fn visit_common(&mut self, visitor: &mut impl ConfigVisitor) {
        let zero = Duration::ZERO;
        let minute = 60 * SECOND;
        let year = 365 * DAY;
        let timeout = || duration(MILLISECOND, 10 * minute);
        visitor.key("timeout", &mut self.timeout, timeout());
        visitor.key("connect_timeout", &mut self.connect_timeout, timeout());
        visitor.key("soft_timeout", &mut self.soft_timeout, timeout().or_off());
        visitor.key("negative_ttl", &mut self.negative_ttl, duration(zero, year));
        visitor.key("keep", &mut self.keep, duration(zero, year));
        visitor.key("max_concurrency", &mut self.max_concurrency, count(1..=10_000));
        visitor.key("max_queue", &mut self.max_queue, count(0..=1_000_000));
        visitor.key("retries", &mut self.retries, count(0..=10));
        visitor.key("retry_backoff", &mut self.retry_backoff, duration(zero, minute));
        visitor.key("error_backoff", &mut self.error_backoff, duration(zero, HOUR));
        visitor.key("breaker_threshold", &mut self.breaker_threshold, count(0..=10_000));
        let cooldown = duration(10 * MILLISECOND, HOUR);
        visitor.key("breaker_cooldown", &mut self.breaker_cooldown, cooldown);
        visitor.key("early_refresh", &mut self.early_refresh, number(0.0..=100.0));
        visitor.key("min_lease", &mut self.min_lease, duration(10 * MILLISECOND, HOUR));
        visitor.key("ca_file", &mut self.ca_file, optional_path());
    }

    fn visit_http(&mut self, visitor: &mut impl ConfigVisitor) {
        let versions = &[
            ("auto", HttpVersionSetting::Auto),
            ("1.1", HttpVersionSetting::Http1),
            ("2", HttpVersionSetting::Http2),
        ];
        visitor.key("http_version", &mut self.http_version, choice(versions));
        visitor.key("max_redirects", &mut self.max_redirects, count(0..=10));
        let statuses = counts("error statuses from 400 to 599", 400..=599);
        visitor.key("stale_if_error_statuses", &mut self.stale_if_error_statuses, statuses);
        visitor.key("cache_headers", &mut self.cache_headers, boolean());
    }

    fn visit_grpc(&mut self, visitor: &mut impl ConfigVisitor) {
        let interval = duration(100 * MILLISECOND, HOUR);
        visitor.key("max_batch", &mut self.max_batch, count(1..=1000));
        visitor.key("resolve_interval", &mut self.resolve_interval, interval);
    }
}

impl Section for OriginConfig {
    fn visit(&mut self, visitor: &mut impl ConfigVisitor) {
        // Without exactly one target it is unknown which keys apply, so those of both are accepted.
        let target = visitor.target(&mut self.target);
        self.visit_common(visitor);
        if target == Some(Target::GRPC) {
            for name in
                ["http_version", "max_redirects", "stale_if_error_statuses", "cache_headers"]
            {
                visitor.inapplicable(name, "only for an origin with `url`");
            }
        } else {
            self.visit_http(visitor);
        }
        if target == Some(Target::URL) {
            for name in ["max_batch", "resolve_interval"] {
                visitor.inapplicable(name, "only for an origin with `grpc`");
            }
        } else {
            self.visit_grpc(visitor);
        }
        visitor.entries("headers", &mut self.headers, header());
        visitor.section("warm", &mut self.warm);
    }
}

//! The rules of namespaces: `[defaults]` and `[namespaces.<name>]`.

use std::time::Duration;

use super::near_cache::NearCacheConfig;
use super::origin::OriginConfig;
use super::quota::NamespaceQuotaConfig;
use super::target::Target;
use super::value::{
    DAY, HOUR, MIB, MILLISECOND, SECOND, count, duration, number_below, size, text,
};
use super::visitor::{ConfigVisitor, Section};
use crate::{model::SchemaVersion, url_template::UrlTemplate};

/// `[defaults]` or `[namespaces.<name>]`: the rules of one namespace.
#[derive(Clone, Debug, PartialEq)]
pub struct NamespaceConfig {
    /// How long an entry is fresh if the caller sets no TTL. At most `max_ttl`.
    pub ttl: Duration,
    /// Upper limit for the TTLs of callers; longer ones are shortened to it. Sliding expiration
    /// (`touch` of Get) ends this long after the value was written.
    pub max_ttl: Duration,
    /// The largest fraction by which a TTL is shortened at random, so that entries written
    /// together do not expire together.
    pub ttl_jitter: f64,
    /// Largest value, in bytes. At most `limits.max_request_bytes` less 64KiB.
    pub max_value_bytes: usize,
    /// How long an expired entry is still served while one caller refreshes it.
    pub stale_while_revalidate: Duration,
    /// How long after that window an entry is still served if its refresh fails.
    pub stale_if_error: Duration,
    /// Time in which the holder of a lease must fill the entry.
    pub lease_ttl: Duration,
    /// How long other callers wait for the fill if they set no wait.
    pub lease_wait: Duration,
    /// How long no lease is granted after one was abandoned.
    pub abandon_backoff: Duration,
    /// Upper limit for a lease that is held by an open FetchStream.
    pub lease_max: Duration,
    /// How long an invalidation waits for others of the namespace, to be applied together. `0s`:
    /// not at all.
    pub invalidation_window: Option<Duration>,
    /// Maximum number of banned tags. With more the whole namespace is invalidated instead.
    pub max_banned_tags: usize,
    /// Maximum number of banned patterns. With more the whole namespace is invalidated instead.
    pub max_banned_patterns: usize,
    /// Schema version of what is cached, part of the names of all entries. Empty: none, as always
    /// in `[defaults]`. See docs/configuration.md#namespacesnameversion.
    pub version: String,
    /// The origin from which Larder fetches missing values; `None`: callers compute them. Always
    /// `None` in `[defaults]`.
    pub origin: Option<OriginConfig>,
    /// The cache in each replica; `None`: no such cache. Always `None` in `[defaults]`, and ignored
    /// by the embedded store.
    pub near_cache: Option<NearCacheConfig>,
    /// How much may be used for the namespace, and how much it may hold; `None`: no such limits.
    /// Always `None` in `[defaults]`.
    pub quota: Option<NamespaceQuotaConfig>,
}

/// `[defaults]`: the rules without the tables that belong to one namespace.
pub(super) struct DefaultsSection<'a>(pub(super) &'a mut NamespaceConfig);

impl Default for NamespaceConfig {
    fn default() -> Self {
        Self {
            ttl: Duration::from_secs(30 * 60),
            max_ttl: 7 * DAY,
            ttl_jitter: 0.1,
            max_value_bytes: 1024 * 1024,
            stale_while_revalidate: Duration::ZERO,
            stale_if_error: Duration::ZERO,
            lease_ttl: Duration::from_secs(10),
            lease_wait: Duration::from_secs(5),
            abandon_backoff: Duration::from_secs(1),
            lease_max: Duration::from_secs(5 * 60),
            invalidation_window: None,
            max_banned_tags: 100_000,
            max_banned_patterns: 1_000,
            version: String::new(),
            origin: None,
            near_cache: None,
            quota: None,
        }
    }
}

impl Section for DefaultsSection<'_> {
    fn visit(&mut self, visitor: &mut impl ConfigVisitor) {
        self.0.visit_rules(visitor);
    }
}

impl Section for NamespaceConfig {
    fn visit(&mut self, visitor: &mut impl ConfigVisitor) {
        self.visit_rules(visitor);
        let version = text("a text of at most 64 of A-Z, a-z, 0-9, '.', '_' and '-'", |version| {
            version.is_empty() || SchemaVersion::new("version", version).is_ok()
        });
        visitor.key("version", &mut self.version, version);
        // Reading either replaces this target or reports a problem.
        let template = OriginConfig::new(Target::Http(UrlTemplate::default()));
        visitor.optional("origin", &mut self.origin, &template);
        visitor.optional("near_cache", &mut self.near_cache, &NearCacheConfig::default());
        visitor.optional("quota", &mut self.quota, &NamespaceQuotaConfig::default());
    }
}

impl NamespaceConfig {
    fn visit_rules(&mut self, visitor: &mut impl ConfigVisitor) {
        let zero = Duration::ZERO;
        let year = 365 * DAY;
        visitor.key("ttl", &mut self.ttl, duration(MILLISECOND, year));
        visitor.key("max_ttl", &mut self.max_ttl, duration(MILLISECOND, year));
        visitor.key("ttl_jitter", &mut self.ttl_jitter, number_below(0.0..1.0));
        visitor.key("max_value_bytes", &mut self.max_value_bytes, size(1..=512 * MIB));
        let stale_while_revalidate = &mut self.stale_while_revalidate;
        visitor.key("stale_while_revalidate", stale_while_revalidate, duration(zero, year));
        visitor.key("stale_if_error", &mut self.stale_if_error, duration(zero, year));
        visitor.key("lease_ttl", &mut self.lease_ttl, duration(10 * MILLISECOND, HOUR));
        visitor.key("lease_wait", &mut self.lease_wait, duration(zero, 60 * SECOND));
        visitor.key("abandon_backoff", &mut self.abandon_backoff, duration(zero, HOUR));
        visitor.key("lease_max", &mut self.lease_max, duration(SECOND, HOUR));
        let window = duration(MILLISECOND, SECOND).or_off();
        visitor.key("invalidation_window", &mut self.invalidation_window, window);
        visitor.key("max_banned_tags", &mut self.max_banned_tags, count(1..=10_000_000));
        visitor.key("max_banned_patterns", &mut self.max_banned_patterns, count(1..=100_000));
    }
}

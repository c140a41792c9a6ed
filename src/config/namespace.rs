use std::time::Duration;

use super::near_cache::NearCacheConfig;
use super::origin::{OriginConfig, Target};
use super::value::{DAY, HOUR, MIB, MILLISECOND, SECOND, duration, ratio, size};
use super::visitor::{ConfigVisitor, Section};
use crate::url_template::UrlTemplate;

/// `[defaults]` or `[namespaces.<name>]`: the rules of one namespace.
#[derive(Clone, Debug, PartialEq)]
pub struct NamespaceConfig {
    /// How long an entry is fresh when the caller does not say.
    pub ttl: Duration,
    /// The longest a caller may ask for; more is shortened to it.
    pub max_ttl: Duration,
    /// Up to which part a TTL is shortened at random, so that entries written together do not
    /// expire together.
    pub ttl_jitter: f64,
    /// The largest value, in bytes.
    pub max_value_bytes: usize,
    /// How long after it expired an entry is still served while one caller refreshes it.
    pub stale_while_revalidate: Duration,
    /// How long after that an entry still stands in for a source that fails.
    pub stale_if_error: Duration,
    /// How long the holder of a lease may take to fill an entry.
    pub lease_ttl: Duration,
    /// How long other callers wait for it when they do not say.
    pub lease_wait: Duration,
    /// How long nobody gets a lease after one was abandoned.
    pub abandon_backoff: Duration,
    /// How long a caller may hold its lease by streaming what it fetches.
    pub lease_max: Duration,
    /// Where Larder itself fetches what is missing; none = callers do. None in `[defaults]`.
    pub origin: Option<OriginConfig>,
    /// What each replica remembers; none = nothing. None in `[defaults]`, and without effect on the embedded store.
    pub near_cache: Option<NearCacheConfig>,
}

/// `[defaults]`: the rules that hold for every namespace, without what belongs to one.
pub(super) struct Defaults<'a>(pub(super) &'a mut NamespaceConfig);

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
            origin: None,
            near_cache: None,
        }
    }
}

impl Section for Defaults<'_> {
    fn visit(&mut self, visitor: &mut impl ConfigVisitor) {
        self.0.visit_rules(visitor);
    }
}

impl Section for NamespaceConfig {
    fn visit(&mut self, visitor: &mut impl ConfigVisitor) {
        self.visit_rules(visitor);
        // Reading puts the target in its place, or fails.
        let template = OriginConfig::new(Target::Http(UrlTemplate::default()));
        visitor.optional("origin", &mut self.origin, &template);
        visitor.optional("near_cache", &mut self.near_cache, &NearCacheConfig::default());
    }
}

impl NamespaceConfig {
    fn visit_rules(&mut self, visitor: &mut impl ConfigVisitor) {
        let zero = Duration::ZERO;
        let year = 365 * DAY;
        visitor.key("ttl", &mut self.ttl, duration(MILLISECOND, year));
        visitor.key("max_ttl", &mut self.max_ttl, duration(MILLISECOND, year));
        visitor.key("ttl_jitter", &mut self.ttl_jitter, ratio(false));
        visitor.key("max_value_bytes", &mut self.max_value_bytes, size(1..=512 * MIB));
        let stale_while_revalidate = &mut self.stale_while_revalidate;
        visitor.key("stale_while_revalidate", stale_while_revalidate, duration(zero, year));
        visitor.key("stale_if_error", &mut self.stale_if_error, duration(zero, year));
        visitor.key("lease_ttl", &mut self.lease_ttl, duration(10 * MILLISECOND, HOUR));
        visitor.key("lease_wait", &mut self.lease_wait, duration(zero, 60 * SECOND));
        visitor.key("abandon_backoff", &mut self.abandon_backoff, duration(zero, HOUR));
        visitor.key("lease_max", &mut self.lease_max, duration(SECOND, HOUR));
    }
}

/// Whether a namespace may be called that.
pub(super) fn is_name(name: &str) -> bool {
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let mut bytes = name.bytes();
    name.len() <= 64
        && bytes.next().is_some_and(plain)
        && bytes.all(|b| plain(b) || b"._-".contains(&b))
}

//! The state of a store: health, memory, and usage per namespace.

use std::{fmt, sync::Arc, time::Duration};

use async_trait::async_trait;

use super::{
    BanLimits, BanListing, EntryInspection, EntrySample, KeyListPart, KeyListPosition, KeyListStep,
    NamespaceListPart, Result,
};
use crate::model::{EntryKey, Namespace, SaturatingFrom as _};

/// Upper bounds of the classes of remaining TTL; a last class without a bound follows.
pub const TTL_CLASSES: [Duration; 4] = [
    Duration::from_secs(60),
    Duration::from_secs(600),
    Duration::from_secs(3600),
    Duration::from_secs(86_400),
];

/// Reports the state of a store.
#[async_trait]
pub trait Inspect: Send + Sync {
    /// `memory` or `redis`. Does not depend on whether the store answers.
    fn kind(&self) -> &'static str;

    /// Whether the store answers, by its cheapest command.
    async fn ping(&self) -> Result<()>;

    /// Why the store does not work; none if it works, or if nothing is known.
    fn trouble(&self) -> Option<Trouble> {
        None
    }

    /// How its server is found. Does not depend on whether it answers.
    fn topology(&self) -> Topology {
        Topology::default()
    }

    /// Memory, evictions, clients and persistence.
    async fn info(&self) -> Result<StoreInfo>;

    /// Entries and bytes per namespace, sorted by name. A store may report more namespaces than
    /// those of the page.
    async fn usage(&self, page: &NamespacePage) -> Result<Vec<(Namespace, NamespaceUsage)>>;

    /// Does one step of a listing, in bounded time. An entry that is there from the first step of a
    /// listing to the last is found at least once, and rarely twice.
    async fn list_keys(&self, step: &KeyListStep) -> Result<KeyListPart>;

    /// As [`Inspect::list_keys`], with facts about the entries in place of their keys.
    async fn sample_entries(&self, step: &KeyListStep) -> Result<EntrySample>;

    /// Does one step of a listing of the namespaces with entries, in bounded time. A namespace with
    /// an entry from the first step to the last is found, perhaps several times, perhaps others
    /// too.
    async fn list_namespaces(&self, position: KeyListPosition) -> Result<NamespaceListPart>;

    /// The bans that a namespace with these limits keeps, the newest of them in detail, in bounded
    /// time.
    async fn list_bans(&self, namespace: &Namespace, limits: &BanLimits) -> Result<BanListing>;

    /// The state of a key in the store. It does not count as a use of the entry.
    async fn inspect_entry(&self, key: &EntryKey) -> Result<EntryInspection>;
}

/// Why a store does not work, and what to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trouble {
    /// The cause, in the store's own words.
    pub cause: String,
    /// The setting or service to check or to change.
    pub remedy: &'static str,
}

/// How the server of a store is found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Topology {
    /// `standalone` or `sentinel`; empty for the embedded store.
    pub name: &'static str,
    /// Name of the service that the sentinels watch over; empty without them.
    pub service: String,
    /// Address of the primary that they name; empty if none was named yet.
    pub primary: String,
    /// Configured sentinels.
    pub sentinels: usize,
    /// Those that answered when they were last asked.
    pub reachable_sentinels: usize,
}

/// Decides which namespaces a caller may see.
pub type NamespaceFilter = Arc<dyn Fn(&str) -> bool + Send + Sync>;

/// A page of namespaces, in the order of their names.
#[derive(Clone)]
pub struct NamespacePage {
    selected: Vec<String>,
    /// None: all of them may be seen.
    visible: Option<NamespaceFilter>,
    after: String,
    limit: usize,
}

/// State of a store. Sizes are in bytes.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct StoreInfo {
    /// Version of the server.
    pub server_version: String,
    /// Whether the server is a node of a cluster, which has only a part of the keys. Not if all
    /// primaries of the cluster are used.
    pub is_cluster: bool,
    /// Memory in use.
    pub used_bytes: u64,
    /// Highest memory in use so far.
    pub peak_bytes: u64,
    /// Memory limit; zero means no limit.
    pub max_bytes: u64,
    /// Resident memory over memory in use.
    pub fragmentation_ratio: Option<f64>,
    /// Which entries are evicted when the store is full, in the store's own word.
    pub eviction_policy: String,
    /// Entries evicted because the store was full.
    pub evicted_keys: u64,
    /// Entries that expired.
    pub expired_keys: u64,
    /// Keys in the store.
    pub keys: u64,
    /// Connected clients.
    pub clients: Option<u64>,
    /// Commands per second at present.
    pub ops_per_second: Option<u64>,
    /// How the store persists, in its own word.
    pub persistence: String,
    /// Time since the store started.
    pub uptime: Duration,
}

/// A setting of the store that does not suit a cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unsuitable {
    /// The effect of the setting.
    pub problem: &'static str,
    /// The advised change.
    pub remedy: &'static str,
}

impl StoreInfo {
    const CLUSTER: Unsuitable = Unsuitable {
        problem: "store.url names one node of a Redis Cluster: keys of other slots are not stored \
                  or invalidated",
        remedy: "write redis-cluster:// instead of redis:// in store.url, or rediss-cluster:// \
                 instead of rediss://",
    };

    /// Whether and why Redis should be configured in another way.
    pub fn unsuitable(&self) -> Option<Unsuitable> {
        const POLICY: &str = "set maxmemory-policy volatile-lru or volatile-lfu";
        let found = |problem, remedy| Some(Unsuitable { problem, remedy });
        if self.is_cluster {
            return Some(Self::CLUSTER);
        }
        if self.eviction_policy.starts_with("allkeys") {
            return found("statistics and keys of other applications can be evicted", POLICY);
        }
        // A proxy or a service that does not report its policy.
        if self.eviction_policy.is_empty() && self.max_bytes == 0 {
            return None;
        }
        match self.eviction_policy.as_str() {
            "volatile-lru" | "volatile-lfu" if self.max_bytes > 0 => None,
            _ if self.max_bytes == 0 => found(
                "the memory of Redis has no limit",
                "set maxmemory, and volatile-lru as its policy",
            ),
            "noeviction" => found("values are not stored when Redis is full", POLICY),
            // Not a policy of Redis: a proxy or a later release.
            "" => None,
            _ => found("values may be evicted before older ones", POLICY),
        }
    }

    /// Adds the report of another primary of the cluster. Facts that cannot be summed are those of
    /// the primary that suits a cache least: the shortest time since its start, the most fragmented
    /// memory, and the settings of one without a limit of its memory or with another policy.
    pub fn add(&mut self, other: Self) {
        if self.unsuitable().is_none() && other.unsuitable().is_some() {
            self.eviction_policy = other.eviction_policy;
        }
        let has_limits = self.max_bytes > 0 && other.max_bytes > 0;
        self.max_bytes = if has_limits { self.max_bytes + other.max_bytes } else { 0 };
        self.used_bytes += other.used_bytes;
        self.peak_bytes += other.peak_bytes;
        self.evicted_keys += other.evicted_keys;
        self.expired_keys += other.expired_keys;
        self.keys += other.keys;
        let sum = |one: Option<u64>, two: Option<u64>| Some(one? + two?);
        self.clients = sum(self.clients, other.clients);
        self.ops_per_second = sum(self.ops_per_second, other.ops_per_second);
        let ratios = [self.fragmentation_ratio, other.fragmentation_ratio];
        self.fragmentation_ratio = ratios.into_iter().flatten().reduce(f64::max);
        self.uptime = self.uptime.min(other.uptime);
    }

    /// Why the store works in part only, if it is a node of a Redis Cluster.
    pub fn cluster_trouble(&self) -> Option<String> {
        self.is_cluster.then(|| Self::CLUSTER.problem.to_owned())
    }
}

/// Usage of one namespace.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NamespaceUsage {
    /// Number of entries.
    pub keys: u64,
    /// Memory of the entries in the store, in bytes.
    pub bytes: u64,
    /// Whether the numbers are estimated from a sample.
    pub sampled: bool,
    /// Entries per class of remaining TTL, see [`TTL_CLASSES`].
    pub ttl: [u64; TTL_CLASSES.len() + 1],
}

impl NamespacePage {
    /// Most namespaces of a page.
    pub const MAX: usize = 1000;

    /// The first `limit` of the `selected` names that follow `after`; of all names if none are
    /// selected.
    pub fn new(mut selected: Vec<String>, after: String, limit: usize) -> Self {
        selected.sort_unstable();
        selected.dedup();
        Self { selected, visible: None, after, limit: limit.clamp(1, Self::MAX) }
    }

    /// The names among these for which `visible` holds; `None`: all of them.
    #[must_use]
    pub fn visible_to(mut self, visible: Option<NamespaceFilter>) -> Self {
        self.visible = visible;
        self
    }

    /// Whether a name is selected, on this page or another.
    pub fn selects(&self, name: &str) -> bool {
        let is_selected = self.selected.is_empty()
            || self.selected.binary_search_by(|other| other.as_str().cmp(name)).is_ok();
        is_selected && self.visible.as_ref().is_none_or(|visible| visible(name))
    }

    /// Whether a name is on this page or a later one.
    pub fn follows(&self, name: &str) -> bool {
        name > self.after.as_str() && self.selects(name)
    }

    /// Most namespaces of this page.
    pub fn limit(&self) -> usize {
        self.limit
    }
}

impl fmt::Debug for NamespacePage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { selected, visible, after, limit } = self;
        f.debug_struct("NamespacePage")
            .field("selected", selected)
            .field("is_filtered", &visible.is_some())
            .field("after", after)
            .field("limit", limit)
            .finish()
    }
}

impl Default for NamespacePage {
    fn default() -> Self {
        Self::new(Vec::new(), String::new(), Self::MAX)
    }
}

/// The class of a remaining TTL.
pub fn ttl_class(remaining: Duration) -> usize {
    TTL_CLASSES.iter().position(|bound| remaining <= *bound).unwrap_or(TTL_CLASSES.len())
}

impl NamespaceUsage {
    /// Extrapolates from a sample of `sampled` keys to a store of `keys`.
    #[must_use]
    pub fn scaled(&self, keys: u64, sampled: u64) -> Self {
        let scale = |number| proportion(number, keys, sampled.max(1));
        Self {
            keys: scale(self.keys),
            bytes: scale(self.bytes),
            sampled: true,
            ttl: self.ttl.map(scale),
        }
    }

    /// Adds the usage of another part of the store.
    pub fn add(&mut self, other: &Self) {
        self.keys += other.keys;
        self.bytes += other.bytes;
        self.sampled |= other.sampled;
        for (sum, class) in self.ttl.iter_mut().zip(other.ttl) {
            *sum += class;
        }
    }

    /// Extrapolates the TTL classes, which cover only a sample, to the number of keys.
    pub fn scale_ttl(&mut self) {
        let sampled: u64 = self.ttl.iter().sum();
        if sampled > 0 && sampled < self.keys {
            let keys = self.keys;
            self.ttl = self.ttl.map(|class| proportion(class, keys, sampled));
            self.sampled = true;
        }
    }
}

/// `number * keys / sampled`; the largest number where that does not fit.
fn proportion(number: u64, keys: u64, sampled: u64) -> u64 {
    let scaled = u128::from(number) * u128::from(keys) / u128::from(sampled);
    u64::saturating_from(scaled)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn page_follows_a_name_and_is_limited_to_the_selected_names() {
        let page = NamespacePage::new(vec!["c".to_owned(), "a".to_owned()], "a".to_owned(), 0);
        let followed = ["a", "b", "c", "d"].map(|name| page.follows(name));
        assert_eq!(followed, [false, false, true, false]);
        assert!(page.selects("a") && !page.selects("b"));
        assert_eq!(page.limit(), 1);
        let all = NamespacePage::default();
        assert!(all.follows("a") && all.selects("a"));
        assert_eq!(NamespacePage::new(Vec::new(), String::new(), usize::MAX).limit(), 1000);
    }

    #[test]
    fn primaries_of_a_cluster_are_summed() {
        let info = |policy: &str, max_bytes, keys| StoreInfo {
            eviction_policy: policy.to_owned(),
            max_bytes,
            keys,
            clients: Some(2),
            uptime: Duration::from_secs(keys),
            ..StoreInfo::default()
        };
        let mut sum = info("volatile-lru", 10, 5);
        sum.add(info("volatile-lru", 20, 7));
        assert_eq!((sum.max_bytes, sum.keys, sum.clients), (30, 12, Some(4)));
        assert_eq!((sum.uptime, sum.unsuitable()), (Duration::from_secs(5), None));
        sum.add(info("noeviction", 20, 1));
        assert!(sum.unsuitable().is_some_and(|it| it.problem.contains("not stored")));
        sum.add(info("volatile-lru", 0, 1));
        assert_eq!(sum.max_bytes, 0, "one of them has no limit");
    }

    #[test]
    fn ttl_classes_include_their_bound() {
        assert_eq!(ttl_class(Duration::ZERO), 0);
        assert_eq!(ttl_class(TTL_CLASSES[0]), 0);
        assert_eq!(ttl_class(TTL_CLASSES[0] + Duration::from_millis(1)), 1);
        assert_eq!(ttl_class(TTL_CLASSES[3]), 3);
        assert_eq!(ttl_class(Duration::MAX), 4);
    }

    #[test]
    fn a_sample_is_scaled_to_the_store() {
        let sample = NamespaceUsage { keys: 5, bytes: 500, sampled: false, ttl: [1, 2, 0, 0, 2] };
        let scaled = sample.scaled(1000, 10);
        let expected =
            NamespaceUsage { keys: 500, bytes: 50_000, sampled: true, ttl: [100, 200, 0, 0, 200] };
        assert_eq!(scaled, expected);
        assert_eq!(sample.scaled(3, 0).keys, 15, "an empty sample does not divide by zero");
        assert_eq!(sample.scaled(u64::MAX, 1).keys, u64::MAX, "saturates");
    }

    #[test]
    fn ttl_classes_are_scaled_only_from_a_sample() {
        let mut usage = NamespaceUsage { keys: 100, ttl: [1, 0, 3, 0, 1], ..Default::default() };
        usage.scale_ttl();
        assert_eq!((usage.ttl, usage.sampled), ([20, 0, 60, 0, 20], true));
        let mut whole = NamespaceUsage { keys: 5, ttl: [1, 0, 3, 0, 1], ..Default::default() };
        let mut none = NamespaceUsage { keys: 5, ..Default::default() };
        whole.scale_ttl();
        none.scale_ttl();
        assert_eq!((whole.ttl, whole.sampled), ([1, 0, 3, 0, 1], false));
        assert_eq!((none.ttl, none.sampled), ([0; 5], false));
    }
}

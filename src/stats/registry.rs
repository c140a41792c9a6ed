//! The counters of this replica by namespace.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use arc_swap::ArcSwap;
use tokio::task::yield_now;

use super::{
    counters::Counter, delta::ByNamespace, read_samples::ReadSamples, reuse::event::ReuseBatch,
    striped_counters::StripedCounters,
};
use crate::model::Namespace;

/// Name under which namespaces over the limit are counted. No namespace can have this name.
pub const OTHER: &str = "_other";

/// Namespaces of a snapshot that are read without a yield.
const NAMESPACES_PER_YIELD: usize = 64;

/// Counters of a bounded number of namespaces. Further namespaces share one set of counters.
pub struct StatsRegistry {
    by_namespace: ArcSwap<HashMap<Namespace, Arc<StripedCounters>>>,
    other: Arc<StripedCounters>,
    max_namespaces: usize,
    read_samples: ReadSamples,
}

impl StatsRegistry {
    /// Creates a registry that counts at most `max_namespaces` separately.
    pub fn new(max_namespaces: usize) -> Self {
        Self {
            by_namespace: ArcSwap::default(),
            other: Arc::default(),
            max_namespaces,
            read_samples: ReadSamples::default(),
        }
    }

    /// Samples of the keys that are read.
    pub fn read_samples(&self) -> &ReadSamples {
        &self.read_samples
    }

    /// Creates the counters of these namespaces now, so that they never share counters because
    /// other namespaces came first.
    pub fn reserve<'a>(&self, names: impl IntoIterator<Item = &'a Namespace>) {
        names.into_iter().for_each(|name| drop(self.of(name)));
    }

    /// Returns the counters of a namespace, and creates them if the limit allows it.
    pub fn of(&self, namespace: &Namespace) -> Arc<StripedCounters> {
        let known = self.by_namespace.load();
        match known.get(namespace) {
            Some(counts) => counts.clone(),
            None if known.len() >= self.max_namespaces => self.other.clone(),
            None => self.insert(namespace),
        }
    }

    fn insert(&self, namespace: &Namespace) -> Arc<StripedCounters> {
        let new = Arc::<StripedCounters>::default();
        self.by_namespace.rcu(|known| {
            let mut known = HashMap::clone(known);
            if known.len() < self.max_namespaces {
                known.entry(namespace.clone()).or_insert_with(|| new.clone());
            }
            known
        });
        self.by_namespace.load().get(namespace).unwrap_or(&self.other).clone()
    }

    /// Returns a snapshot of all counters, without namespaces that counted nothing. Yields after
    /// every few namespaces, because each configured one has counters of its own.
    pub async fn snapshot(&self) -> ByNamespace {
        let known = self.by_namespace.load_full();
        let mut snapshot = ByNamespace::new();
        let mut insert = |name: &str, counts: &StripedCounters| {
            let counts = counts.snapshot();
            if !counts.is_zero() {
                snapshot.insert(name.to_owned(), counts);
            }
        };
        insert(OTHER, &self.other);
        for (index, (namespace, counts)) in known.iter().enumerate() {
            insert(namespace.as_str(), counts);
            if (index + 1) % NAMESPACES_PER_YIELD == 0 {
                yield_now().await;
            }
        }
        snapshot
    }

    /// Takes the events of the followed keys. Those of the namespaces that share counters are
    /// dropped: it is not known of which they are.
    pub fn take_reuse_events(&self) -> ReuseBatch {
        drop(self.other.reuse().take());
        let known = self.by_namespace.load();
        let taken = known.iter().filter_map(|(namespace, counts)| {
            Some((namespace.to_string(), counts.reuse().take()?))
        });
        taken.collect()
    }

    /// Follows the shares of the fleet: of the keys in a namespace one of 2 to the power of its
    /// number. `others` is that of namespaces without one; none: it stays.
    pub fn follow_shares(&self, shares: &BTreeMap<String, u32>, others: Option<u32>) {
        for (namespace, counts) in self.by_namespace.load().iter() {
            if let Some(halvings) = shares.get(namespace.as_str()).copied().or(others) {
                counts.reuse().follow_share(halvings);
            }
        }
    }

    /// Follows half of the keys in a namespace: there is no room for their events.
    pub fn reduce_followed(&self, namespace: &str) {
        let known = self.by_namespace.load();
        let counts = known.iter().find(|(name, _)| name.as_str() == namespace);
        if let Some((_, counts)) = counts {
            counts.reuse().reduce();
        }
    }

    /// Events of followed keys that were dropped so far.
    pub fn dropped_reuse_events(&self) -> u64 {
        let known = self.by_namespace.load();
        known.values().map(|counts| counts.reuse().dropped()).sum::<u64>()
            + self.other.reuse().dropped()
    }

    /// Counts events of followed keys that were dropped after they were taken.
    pub fn count_dropped_reuse_events(&self, events: u64) {
        self.other.reuse().count_dropped(events);
    }

    /// The label of a namespace in metrics: its name if it is counted separately.
    pub fn label(&self, namespace: &Namespace) -> String {
        let known = self.by_namespace.load();
        if known.contains_key(namespace) { namespace.to_string() } else { OTHER.to_owned() }
    }

    /// Calls `visit` with one counter of each namespace that has counted it, or of each one that
    /// has counted any read, if the counter is one of those from which hit rates are computed: a
    /// series that is missing would make the whole rate missing. Reads only what is asked for,
    /// because a scrape calls it once per metric.
    pub fn visit(&self, counter: Counter, mut visit: impl FnMut(&str, u64)) {
        let known = self.by_namespace.load();
        let named = known.iter().map(|(namespace, counts)| (namespace.as_str(), counts));
        for (name, counts) in named.chain([(OTHER, &self.other)]) {
            let count = counts.get(counter);
            let reads = Counter::READS;
            let is_read = reads.contains(&counter);
            if count > 0 || is_read && reads.into_iter().any(|read| counts.get(read) > 0) {
                visit(name, count);
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn namespaces_over_the_limit_share_one_set_of_counters() {
        let registry = StatsRegistry::new(2);
        for name in ["a", "b", "c", "d", "a"] {
            registry.of(&Namespace::new(name).unwrap()).count(Counter::Hits);
        }
        let snapshot = registry.snapshot().await;
        let hits = snapshot.into_iter().map(|(name, counts)| (name, counts.get(Counter::Hits)));
        assert_eq!(
            hits.collect::<Vec<_>>(),
            [("_other".to_owned(), 2), ("a".to_owned(), 2), ("b".to_owned(), 1)]
        );
    }

    #[tokio::test]
    async fn snapshot_of_many_namespaces_yields() {
        let registry = StatsRegistry::new(1000);
        for number in 0..200 {
            registry.of(&Namespace::new(&format!("n{number}")).unwrap()).count(Counter::Hits);
        }
        let mut snapshot = std::pin::pin!(registry.snapshot());
        assert!(futures_util::poll!(&mut snapshot).is_pending());
        assert_eq!(snapshot.await.len(), 200);
    }

    fn late() -> Namespace {
        Namespace::new("late").unwrap()
    }

    #[test]
    fn one_counter_is_visited_in_every_namespace_that_has_counted() {
        let registry = StatsRegistry::new(8);
        let [a, b, idle] = ["a", "b", "idle"].map(|name| Namespace::new(name).unwrap());
        registry.reserve([&a, &b, &idle]);
        registry.of(&a).count(Counter::Hits);
        registry.of(&b).count(Counter::Misses);
        let mut visited = Vec::new();
        registry.visit(Counter::Hits, |name, count| visited.push((name.to_owned(), count)));
        visited.sort_unstable();
        assert_eq!(visited, [("a".to_owned(), 1), ("b".to_owned(), 0)]);
        registry.visit(Counter::Sets, |name, _| panic!("{name} has stored nothing"));
        assert_eq!((registry.label(&a), registry.label(&late())), ("a".into(), OTHER.into()));
    }

    #[tokio::test]
    async fn reserved_namespaces_never_share_counters() {
        let registry = StatsRegistry::new(1);
        let [reserved, late] = ["reserved", "late"].map(|name| Namespace::new(name).unwrap());
        registry.reserve([&reserved]);
        registry.of(&late).count(Counter::Hits);
        registry.of(&reserved).count(Counter::Misses);
        let names: Vec<String> = registry.snapshot().await.into_keys().collect();
        assert_eq!(names, ["_other", "reserved"]);
    }
}

//! The counters of this replica by namespace.

use std::{collections::HashMap, sync::Arc};

use arc_swap::ArcSwap;

use super::{delta::ByNamespace, striped_counters::StripedCounters};
use crate::model::Namespace;

/// Name under which namespaces over the limit are counted. No namespace can have this name.
pub const OTHER: &str = "_other";

/// Counters of a bounded number of namespaces. Further namespaces share one set of counters.
pub struct StatsRegistry {
    by_namespace: ArcSwap<HashMap<Namespace, Arc<StripedCounters>>>,
    other: Arc<StripedCounters>,
    max_namespaces: usize,
}

impl StatsRegistry {
    /// Creates a registry that counts at most `max_namespaces` separately.
    pub fn new(max_namespaces: usize) -> Self {
        Self { by_namespace: ArcSwap::default(), other: Arc::default(), max_namespaces }
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

    /// Returns a snapshot of all counters, without namespaces that counted nothing.
    pub fn snapshot(&self) -> ByNamespace {
        let known = self.by_namespace.load();
        let named =
            known.iter().map(|(namespace, counts)| (namespace.to_string(), counts.snapshot()));
        named
            .chain([(OTHER.to_owned(), self.other.snapshot())])
            .filter(|(_, counts)| !counts.is_zero())
            .collect()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::stats::counters::Counter;

    #[test]
    fn namespaces_over_the_limit_share_one_set_of_counters() {
        let registry = StatsRegistry::new(2);
        for name in ["a", "b", "c", "d", "a"] {
            registry.of(&Namespace::new(name).unwrap()).count(Counter::Hits);
        }
        let hits =
            registry.snapshot().into_iter().map(|(name, counts)| (name, counts.get(Counter::Hits)));
        assert_eq!(
            hits.collect::<Vec<_>>(),
            [("_other".to_owned(), 2), ("a".to_owned(), 2), ("b".to_owned(), 1)]
        );
    }

    #[test]
    fn reserved_namespaces_never_share_counters() {
        let registry = StatsRegistry::new(1);
        let [reserved, late] = ["reserved", "late"].map(|name| Namespace::new(name).unwrap());
        registry.reserve([&reserved]);
        registry.of(&late).count(Counter::Hits);
        registry.of(&reserved).count(Counter::Misses);
        let names: Vec<String> = registry.snapshot().into_keys().collect();
        assert_eq!(names, ["_other", "reserved"]);
    }
}

//! The counters of this replica, by namespace.

use std::{collections::HashMap, sync::Arc};

use arc_swap::ArcSwap;

use super::{delta::ByNamespace, striped_counters::StripedCounters};
use crate::model::Namespace;

/// Under which the namespaces beyond the limit are counted. No namespace can have this name.
pub const OTHER: &str = "_other";

/// Counters of a bounded number of namespaces.
pub struct StatsRegistry {
    by_namespace: ArcSwap<HashMap<Namespace, Arc<StripedCounters>>>,
    other: Arc<StripedCounters>,
    max_namespaces: usize,
}

impl StatsRegistry {
    /// Tells at most `max_namespaces` apart.
    pub fn new(max_namespaces: usize) -> Self {
        Self { by_namespace: ArcSwap::default(), other: Arc::default(), max_namespaces }
    }

    /// Gives these namespaces counters of their own, whatever others come first.
    pub fn reserve<'a>(&self, names: impl IntoIterator<Item = &'a Namespace>) {
        names.into_iter().for_each(|name| drop(self.of(name)));
    }

    /// The counters of a namespace.
    pub fn of(&self, namespace: &Namespace) -> Arc<StripedCounters> {
        let known = self.by_namespace.load();
        match known.get(namespace) {
            Some(counts) => counts.clone(),
            None if known.len() >= self.max_namespaces => self.other.clone(),
            None => self.begin(namespace),
        }
    }

    fn begin(&self, namespace: &Namespace) -> Arc<StripedCounters> {
        let fresh = Arc::<StripedCounters>::default();
        self.by_namespace.rcu(|known| {
            let mut known = HashMap::clone(known);
            if known.len() < self.max_namespaces {
                known.entry(namespace.clone()).or_insert_with(|| fresh.clone());
            }
            known
        });
        self.by_namespace.load().get(namespace).unwrap_or(&self.other).clone()
    }

    /// All counters now, without those that are zero throughout.
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
    fn namespaces_beyond_the_limit_are_counted_together() {
        let live = StatsRegistry::new(2);
        for name in ["a", "b", "c", "d", "a"] {
            live.of(&Namespace::new(name).unwrap()).count(Counter::Hits);
        }
        let hits =
            live.snapshot().into_iter().map(|(name, counts)| (name, counts.get(Counter::Hits)));
        assert_eq!(
            hits.collect::<Vec<_>>(),
            [("_other".to_owned(), 2), ("a".to_owned(), 2), ("b".to_owned(), 1)]
        );
    }
}

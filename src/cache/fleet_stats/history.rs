//! The counters of the fleet over time.

use tokio::task::yield_now;

use super::FleetStats;
use crate::{
    stats::history::{History, HistorySpan, VisibleNames},
    store::NamespaceFilter,
};

/// Steps that are summed without a yield.
const STEPS_PER_YIELD: usize = 4;

impl FleetStats {
    /// Reports the counters over a span: of this replica up to now, of the others up to their last
    /// flush. The totals are those of the `visible` namespaces, or of all; each of `namespaces` is
    /// reported on its own. If the store is unavailable, the counters are those of this replica
    /// alone. Yields to other tasks; dropping the future ends the work.
    pub async fn history(
        &self,
        span: HistorySpan,
        namespaces: &[String],
        visible: Option<&NamespaceFilter>,
    ) -> History {
        let _one_at_a_time = self.overviews.lock().await;
        let buckets = match self.flush().await {
            Ok(()) => self.store.history(span).await,
            Err(error) => Err(error),
        };
        let (buckets, degraded) = match buckets {
            Ok(buckets) => (buckets, false),
            Err(_) => {
                let state = self.state.lock().await;
                (state.local.history(span.window(), self.store.now()), true)
            }
        };
        let mut history = History::new(span, namespaces, degraded);
        let mut visible = VisibleNames::new(visible.map(|visible| &**visible));
        for (index, bucket) in buckets.iter().enumerate() {
            history.push(bucket, &mut visible);
            if index % STEPS_PER_YIELD == 0 {
                yield_now().await;
            }
        }
        history
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::{sync::Arc, time::Duration};

    use tokio::time::advance;

    use super::*;
    use crate::{
        cache::testing::FailingStore,
        model::Namespace,
        stats::{counters::Counter, registry::StatsRegistry},
        store::{ErrorKind, memory::MemoryStore},
    };

    const HOUR: Duration = Duration::from_secs(3600);

    fn replica(store: &Arc<FailingStore>) -> (Arc<StatsRegistry>, FleetStats) {
        let registry = Arc::new(StatsRegistry::new(8));
        (registry.clone(), FleetStats::new(registry, store.clone()))
    }

    fn count(registry: &StatsRegistry, namespace: &str, hits: u64) {
        registry.of(&Namespace::new(namespace).unwrap()).count_many(Counter::Hits, hits);
    }

    /// Hits of all steps.
    fn hits(history: &History) -> u64 {
        history.totals.iter().map(|step| step.counters.get(Counter::Hits)).sum()
    }

    #[tokio::test(start_paused = true)]
    async fn history_has_the_counts_of_all_replicas_in_the_steps_of_their_time() {
        let store = Arc::new(FailingStore::new(Arc::new(MemoryStore::new(1 << 20))));
        let ((one, here), (two, there)) = (replica(&store), replica(&store));
        count(&two, "a", 4);
        there.flush().await.unwrap();
        advance(26 * HOUR).await;
        count(&one, "a", 1);
        count(&one, "b", 2);
        let names = ["b".to_owned()];
        let of = async |span| {
            let history = here.history(span, &names, None).await;
            assert!(!history.degraded && history.namespaces[0].steps.len() == history.totals.len());
            hits(&history)
        };
        assert_eq!(of(HistorySpan::Hour).await, 3);
        assert_eq!(of(HistorySpan::Day).await, 3);
        assert_eq!(of(HistorySpan::Week).await, 7);
        let visible: NamespaceFilter = Arc::new(|name: &str| name == "b");
        let history = here.history(HistorySpan::Week, &names, Some(&visible)).await;
        assert_eq!(hits(&history), 2);
        advance(7 * 24 * HOUR).await;
        assert_eq!(of(HistorySpan::Week).await, 0);
    }

    #[tokio::test(start_paused = true)]
    async fn degraded_history_is_that_of_this_replica() {
        let store = Arc::new(FailingStore::new(Arc::new(MemoryStore::new(1 << 20))));
        let ((one, here), (two, there)) = (replica(&store), replica(&store));
        count(&two, "a", 4);
        there.flush().await.unwrap();
        count(&one, "a", 1);
        store.fail(ErrorKind::Timeout);
        for span in [HistorySpan::Hour, HistorySpan::Day, HistorySpan::Week] {
            let history = here.history(span, &[], None).await;
            assert_eq!((hits(&history), history.degraded), (1, true), "{span:?}");
        }
        store.recover();
        let history = here.history(HistorySpan::Hour, &[], None).await;
        assert_eq!((hits(&history), history.degraded), (5, false));
    }

    #[tokio::test]
    async fn history_yields() {
        let store = Arc::new(FailingStore::new(Arc::new(MemoryStore::new(1 << 20))));
        let (_, here) = replica(&store);
        let mut history = std::pin::pin!(here.history(HistorySpan::Week, &[], None));
        assert!(futures_util::poll!(&mut history).is_pending());
        assert_eq!(history.await.totals.len(), 168);
    }
}

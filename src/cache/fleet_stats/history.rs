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

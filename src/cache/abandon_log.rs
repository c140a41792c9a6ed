//! The log of abandoned leases: the only sign that callers fail to compute.

use std::{collections::HashMap, time::Duration};

use parking_lot::Mutex;
use repeated_events::LogInterval;

use crate::model::Namespace;

/// Time between two lines about one namespace.
const INTERVAL: Duration = Duration::from_secs(60);
/// Namespaces with an interval of their own. Further ones are not logged until some are quiet.
const MAX_NAMESPACES: usize = 256;

/// When abandoned leases were logged last, by namespace.
#[derive(Debug, Default)]
pub(super) struct AbandonLog(Mutex<HashMap<Namespace, LogInterval>>);

impl AbandonLog {
    /// Logs the first lease of a namespace that is abandoned, and then their number with the last
    /// reason, once a minute.
    #[cold]
    pub(super) fn abandoned(&self, namespace: &Namespace, reason: &str) {
        let Some(count) = self.occurred(namespace) else { return };
        let reason = if reason.is_empty() { "none given" } else { reason };
        tracing::warn!(%namespace, count, reason, "callers abandon leases: they cannot compute");
    }

    fn occurred(&self, namespace: &Namespace) -> Option<u64> {
        let mut intervals = self.0.lock();
        if intervals.len() >= MAX_NAMESPACES && !intervals.contains_key(namespace) {
            intervals.retain(|_, interval| !interval.is_over());
            if intervals.len() >= MAX_NAMESPACES {
                return None;
            }
        }
        let new = || LogInterval::new(INTERVAL);
        intervals.entry(namespace.clone()).or_insert_with(new).occurred()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn namespace(number: usize) -> Namespace {
        Namespace::new(&format!("n{number}")).unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn each_namespace_has_one_line_a_minute() {
        let log = AbandonLog::default();
        let [first, second] = [namespace(1), namespace(2)];
        assert_eq!((log.occurred(&first), log.occurred(&first)), (Some(1), None));
        assert_eq!(log.occurred(&second), Some(1));
        tokio::time::advance(INTERVAL).await;
        assert_eq!(log.occurred(&first), Some(2));
    }

    #[tokio::test(start_paused = true)]
    async fn the_number_of_namespaces_is_bounded() {
        let log = AbandonLog::default();
        let logged = (0..2 * MAX_NAMESPACES).filter(|n| log.occurred(&namespace(*n)).is_some());
        assert_eq!(logged.count(), MAX_NAMESPACES);
        tokio::time::advance(INTERVAL).await;
        assert_eq!(log.occurred(&namespace(2 * MAX_NAMESPACES)), Some(1));
        assert_eq!(log.0.lock().len(), 1, "the quiet ones are dropped");
    }
}

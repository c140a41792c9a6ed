//! How much the entries of a namespace may hold.
//!
//! The embedded store counts its entries, and refuses a write that would exceed a limit. Redis does
//! not count by namespace: a replica estimates the usage from a sample from time to time, and
//! refuses writes while the last estimate exceeds a limit.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use arc_swap::ArcSwap;
use opentelemetry::{KeyValue, metrics::Meter};
use tokio_util::sync::CancellationToken;

use super::{ErrorKind, Inspect, NamespacePage, NamespaceUsage, Result};
use crate::{metric_list, model::Namespace};

/// The limits of the namespaces that have some. Clones share them.
#[derive(Clone, Default)]
pub struct HeldQuotas(Arc<ArcSwap<HashMap<Namespace, Arc<HeldQuota>>>>);

/// The limits of a namespace. `None`: no limit but the store's.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct HeldQuotaLimits {
    /// Entries.
    pub keys: Option<u64>,
    /// Bytes of keys and values, with the store's overhead.
    pub bytes: Option<u64>,
}

/// The limits of one namespace, and the writes that they refused.
#[derive(Debug, Default)]
pub(super) struct HeldQuota {
    limits: HeldQuotaLimits,
    refused_keys: AtomicU64,
    refused_bytes: AtomicU64,
    /// Estimated usage; not used by the embedded store.
    sampled_keys: AtomicU64,
    sampled_bytes: AtomicU64,
}

impl HeldQuotas {
    /// Replaces all limits. A namespace whose limits do not change keeps its counts.
    pub fn configure(&self, limits: BTreeMap<Namespace, HeldQuotaLimits>) {
        let before = self.0.load();
        let limits = limits.into_iter().filter(|(_, limits)| *limits != HeldQuotaLimits::default());
        let quotas = limits.map(|(namespace, limits)| {
            let kept = before.get(&namespace).filter(|quota| quota.limits == limits);
            let new = || Arc::new(HeldQuota { limits, ..HeldQuota::default() });
            let quota = kept.cloned().unwrap_or_else(new);
            (namespace, quota)
        });
        self.0.store(Arc::new(quotas.collect()));
    }

    /// Registers the metrics.
    pub fn register(&self, meter: &Meter) {
        let quotas = self.clone();
        metric_list::QUOTA_HELD_REFUSALS
            .observed_counter(meter)
            .with_callback(move |observer| {
                for (namespace, quota) in &**quotas.0.load() {
                    let counts =
                        [("max_keys", &quota.refused_keys), ("max_bytes", &quota.refused_bytes)];
                    for (figure, count) in counts {
                        let labels = [
                            KeyValue::new("namespace", namespace.to_string()),
                            KeyValue::new("figure", figure),
                        ];
                        observer.observe(count.load(Relaxed), &labels);
                    }
                }
            })
            .build();
    }

    /// The limits of a namespace that has some.
    #[inline]
    pub(super) fn of(&self, namespace: &Namespace) -> Option<Arc<HeldQuota>> {
        let quotas = self.0.load();
        if quotas.is_empty() { None } else { quotas.get(namespace).cloned() }
    }

    /// Refuses writes of a namespace whose last estimate exceeds a limit.
    #[inline]
    pub(super) fn check_sampled(&self, namespace: &Namespace) -> Result<()> {
        self.of(namespace).map_or(Ok(()), |quota| quota.check_sampled())
    }

    /// Samples the usage of Redis, with pauses of `interval`, until `stop` is cancelled.
    pub(super) async fn sample(
        self,
        store: impl Inspect,
        interval: Duration,
        stop: CancellationToken,
    ) {
        let sampling = async {
            loop {
                let quotas = self.0.load_full();
                let all = NamespacePage::new(Vec::new(), String::new(), NamespacePage::MAX);
                // A store that does not answer refuses writes itself.
                if !quotas.is_empty()
                    && let Ok(usage) = store.usage(&all).await
                {
                    let usage: HashMap<_, _> = usage.into_iter().collect();
                    for (namespace, quota) in &*quotas {
                        quota.estimate(&usage.get(namespace).cloned().unwrap_or_default());
                    }
                }
                tokio::time::sleep(interval).await;
            }
        };
        stop.run_until_cancelled(sampling).await;
    }
}

impl HeldQuota {
    /// Checks a write of `memory` bytes in place of an entry of `replaced` bytes, in a namespace
    /// that uses `usage`. One that frees memory is always allowed.
    pub(super) fn check(
        &self,
        usage: &NamespaceUsage,
        memory: u64,
        replaced: Option<u64>,
    ) -> Result<()> {
        let HeldQuotaLimits { keys, bytes } = self.limits;
        if replaced.is_none() && keys.is_some_and(|limit| usage.keys >= limit) {
            self.refused_keys.fetch_add(1, Relaxed);
            return Err(ErrorKind::KeyQuota.into());
        }
        let freed = replaced.unwrap_or(0);
        let after = (usage.bytes + memory).saturating_sub(freed);
        if memory > freed && bytes.is_some_and(|limit| after > limit) {
            self.refused_bytes.fetch_add(1, Relaxed);
            return Err(ErrorKind::ByteQuota.into());
        }
        Ok(())
    }

    fn check_sampled(&self) -> Result<()> {
        let usage = NamespaceUsage {
            keys: self.sampled_keys.load(Relaxed),
            bytes: self.sampled_bytes.load(Relaxed),
            ..NamespaceUsage::default()
        };
        // The size of the write is small beside the error of the estimate.
        self.check(&usage, 1, None)
    }

    fn estimate(&self, usage: &NamespaceUsage) {
        self.sampled_keys.store(usage.keys, Relaxed);
        self.sampled_bytes.store(usage.bytes, Relaxed);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn quota(keys: Option<u64>, bytes: Option<u64>) -> HeldQuota {
        HeldQuota { limits: HeldQuotaLimits { keys, bytes }, ..HeldQuota::default() }
    }

    fn usage(keys: u64, bytes: u64) -> NamespaceUsage {
        NamespaceUsage { keys, bytes, ..NamespaceUsage::default() }
    }

    fn refusal(result: Result<()>) -> Option<ErrorKind> {
        result.err().map(|error| error.kind)
    }

    #[test]
    fn a_write_may_not_exceed_a_limit() {
        let quota = quota(Some(2), Some(100));
        assert_eq!(refusal(quota.check(&usage(1, 40), 60, None)), None);
        assert_eq!(refusal(quota.check(&usage(1, 40), 61, None)), Some(ErrorKind::ByteQuota));
        assert_eq!(refusal(quota.check(&usage(2, 40), 10, None)), Some(ErrorKind::KeyQuota));
        assert_eq!(quota.refused_keys.load(Relaxed) + quota.refused_bytes.load(Relaxed), 2);
    }

    #[test]
    fn an_entry_is_replaced_by_one_that_fits_or_is_smaller() {
        let quota = quota(Some(2), Some(100));
        assert_eq!(refusal(quota.check(&usage(2, 90), 60, Some(50))), None);
        let larger = quota.check(&usage(2, 90), 61, Some(50));
        assert_eq!(refusal(larger), Some(ErrorKind::ByteQuota));
        // The limits were lowered.
        assert_eq!(refusal(quota.check(&usage(9, 900), 40, Some(50))), None);
    }

    #[test]
    fn an_estimate_over_a_limit_refuses_writes() {
        let quotas = HeldQuotas::default();
        let namespace = Namespace::new("shop").unwrap();
        let limits = HeldQuotaLimits { keys: Some(10), bytes: None };
        quotas.configure(BTreeMap::from([(namespace.clone(), limits)]));
        quotas.check_sampled(&namespace).unwrap();
        quotas.of(&namespace).unwrap().estimate(&usage(10, 0));
        assert_eq!(refusal(quotas.check_sampled(&namespace)), Some(ErrorKind::KeyQuota));
        // Kept over a reload that does not change it.
        quotas.configure(BTreeMap::from([(namespace.clone(), limits)]));
        assert_eq!(refusal(quotas.check_sampled(&namespace)), Some(ErrorKind::KeyQuota));
        quotas.configure(BTreeMap::new());
        quotas.check_sampled(&namespace).unwrap();
    }
}

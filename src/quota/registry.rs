//! The quotas of the configuration.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use arc_swap::ArcSwap;
use opentelemetry::{KeyValue, metrics::Meter};
use parking_lot::Mutex;

use super::{CallQuota, Quota, QuotaExceeded, QuotaFigure, Refused, usage::Usage};
use crate::{
    config::{NamespaceConfig, PrincipalQuotaConfig},
    metric_list,
    model::Namespace,
};

/// The quotas of namespaces.
pub(super) type NamespaceQuotas = HashMap<Namespace, Arc<Quota>>;

/// Figures of which the use is reported.
const GAUGES: [QuotaFigure; 4] =
    [QuotaFigure::InFlight, QuotaFigure::Waiting, QuotaFigure::Streams, QuotaFigure::Leases];

/// Time after which the use of a principal is forgotten, and an older debt is forgiven.
const IDLE: Duration = Duration::from_secs(300);
/// Number of principals from which on idle ones are looked for.
const MIN_PURGE: usize = 256;

/// The quotas of a replica.
pub struct Quotas {
    namespaces: ArcSwap<NamespaceQuotas>,
    /// By name. All credentials of a principal share its use, also over a reload.
    principals: Mutex<Principals>,
    /// Refused calls by label, of quotas that are gone too.
    refused: Mutex<BTreeMap<Label, Arc<Refused>>>,
}

#[derive(Default)]
struct Principals {
    known: HashMap<Arc<str>, KnownPrincipal>,
    /// Number of them at which idle ones are forgotten. It doubles, so that a new principal costs
    /// the same however many there are.
    purge_at: usize,
}

struct KnownPrincipal {
    label: Label,
    usage: Arc<Usage>,
}

/// The labels of a quota in metrics, of which there is a bounded number.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Label {
    Namespace(Arc<str>),
    Principal(Arc<str>),
}

impl Quotas {
    /// No quotas. Registers the metrics.
    pub fn new(meter: &Meter) -> Arc<Self> {
        let quotas = Arc::new(Self {
            namespaces: ArcSwap::default(),
            principals: Mutex::default(),
            refused: Mutex::default(),
        });
        let observed = quotas.clone();
        metric_list::QUOTA_REFUSALS
            .observed_counter(meter)
            .with_callback(move |observer| {
                for (label, refused) in &*observed.refused.lock() {
                    for (figure, count) in QuotaFigure::ALL.iter().zip(&**refused) {
                        let count = count.load(Relaxed);
                        if count > 0 {
                            observer.observe(count, &label.with(*figure));
                        }
                    }
                }
            })
            .build();
        let observed = quotas.clone();
        metric_list::QUOTA_USED
            .observed_gauge(meter)
            .with_callback(move |observer| {
                for ((label, figure), used) in observed.used() {
                    observer.observe(used, &label.with(GAUGES[figure]));
                }
            })
            .build();
        quotas
    }

    /// Replaces the quotas of namespaces. A namespace that has one keeps its use.
    pub fn configure(&self, namespaces: &BTreeMap<String, NamespaceConfig>) {
        let before = self.namespaces.load();
        let quotas = namespaces.iter().filter_map(|(name, config)| {
            let limits = &config.quota.as_ref()?.limits;
            // The configuration checks names by the same rule.
            let namespace = Namespace::new(name).ok()?;
            let usage = before.get(&namespace).map(|quota| quota.usage.clone()).unwrap_or_default();
            let refused = self.refused(&Label::Namespace(name.as_str().into()));
            Some((namespace, Arc::new(Quota::of_namespace(name, limits, usage, refused))))
        });
        self.namespaces.store(Arc::new(quotas.collect()));
    }

    /// The quota of a principal with these limits; none without limits. All its credentials share
    /// its use. `label` is its name in metrics.
    pub fn of_principal(
        &self,
        name: &Arc<str>,
        label: &Arc<str>,
        limits: PrincipalQuotaConfig,
    ) -> Option<Arc<Quota>> {
        if limits == PrincipalQuotaConfig::default() {
            return None;
        }
        let label = Label::Principal(label.clone());
        let refused = self.refused(&label);
        let mut principals = self.principals.lock();
        let known = principals.known.get(name).map(|known| known.usage.clone());
        let usage = known.unwrap_or_else(|| {
            principals.purge();
            let usage = Arc::<Usage>::default();
            principals.known.insert(name.clone(), KnownPrincipal { label, usage: usage.clone() });
            usage
        });
        let subject = format!("principal {name}").into();
        Some(Arc::new(Quota { subject, limits, usage, refused }))
    }

    /// Begins a call; none if no quota applies to it. `caller` is the quota of its principal.
    ///
    /// # Errors
    /// The quota of the caller is used up.
    #[inline]
    pub fn begin(
        &self,
        caller: Option<&Arc<Quota>>,
        stays_open: bool,
    ) -> Result<Option<Arc<CallQuota>>, QuotaExceeded> {
        let namespaces = self.namespaces.load();
        if caller.is_none() && namespaces.is_empty() {
            return Ok(None);
        }
        let call = CallQuota::begin(caller.cloned(), namespaces.clone(), stays_open)?;
        Ok(Some(Arc::new(call)))
    }

    #[cfg(test)]
    pub(super) fn principal_count(&self) -> usize {
        self.principals.lock().known.len()
    }

    fn refused(&self, label: &Label) -> Arc<Refused> {
        self.refused.lock().entry(label.clone()).or_default().clone()
    }

    /// Present use, by label and position in [`GAUGES`].
    fn used(&self) -> BTreeMap<(Label, usize), u64> {
        let mut sums = BTreeMap::new();
        let mut add = |label: &Label, usage: &Usage| {
            for (index, figure) in GAUGES.into_iter().enumerate() {
                *sums.entry((label.clone(), index)).or_default() += usage.used(figure);
            }
        };
        for (namespace, quota) in &**self.namespaces.load() {
            add(&Label::Namespace(namespace.as_str().into()), &quota.usage);
        }
        for known in self.principals.lock().known.values() {
            add(&known.label, &known.usage);
        }
        sums
    }
}

impl Principals {
    /// Forgets idle principals, if there are many more than after the last time. The number of
    /// those in use is bounded by that of checked credentials.
    fn purge(&mut self) {
        if self.known.len() < self.purge_at.max(MIN_PURGE) {
            return;
        }
        let is_used = |usage: &Arc<Usage>| Arc::strong_count(usage) > 1;
        self.known.retain(|_, known| is_used(&known.usage) || !known.usage.is_idle_since(IDLE));
        self.purge_at = 2 * self.known.len();
    }
}

impl Label {
    fn with(&self, figure: QuotaFigure) -> [KeyValue; 2] {
        let holder = match self {
            Self::Namespace(name) => KeyValue::new("namespace", name.clone()),
            Self::Principal(name) => KeyValue::new("principal", name.clone()),
        };
        [holder, KeyValue::new("figure", figure.name())]
    }
}

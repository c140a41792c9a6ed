//! The figures of the fleet that several pages show.

use std::{collections::HashSet, time::Duration};

use tokio::time::timeout;

use super::{
    Dashboard,
    course::{Course, Period},
    error::Error,
    replicas::breaker_changes,
    span::Span,
};
use crate::{
    cache::{self, HotKey, HotKeyReport, NamespacePage, NamespaceUsage, fleet_stats::Overview},
    config::NamespaceConfig,
    model::Namespace,
    stats::{
        counters::{Counter, Counters, LatencyKind},
        delta::ByNamespace,
        registry::OTHER,
        replica_report::ReplicaReport,
    },
};

/// Most namespaces of a page, the busiest ones.
pub(super) const MAX_NAMESPACES: usize = 100;
/// Namespaces among whose keys the hottest are found.
const HOT_NAMESPACES: usize = 5;
/// Hot keys of the overview.
const HOT_KEYS: usize = 6;
/// Time for which reads of hot keys are counted.
pub(super) const HOT_WINDOW: Duration = Duration::from_secs(300);

/// Longest time for which a page waits for its figures. The store can be slow, and one overview is
/// made at a time.
const PAGE_TIME: Duration = Duration::from_secs(10);

/// The namespaces of a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Selection {
    All,
    /// All but the busiest ones, which are so many.
    From(usize),
    /// Those whose rules have an origin.
    WithOrigin,
}

/// The fleet in a time.
pub(super) struct Figures {
    pub(super) span: Span,
    /// The part of the time in which the fleet has counted.
    pub(super) covered: Duration,
    pub(super) overview: Overview,
    /// All namespaces in the time.
    pub(super) sum: Counters,
    /// All namespaces in the time that it is compared with; none if that is the same time.
    pub(super) before: Option<Counters>,
    pub(super) course: Course,
    /// Steps of the course at which something begins.
    pub(super) events: Vec<(usize, String)>,
    /// The busiest namespaces, the busiest first.
    pub(super) namespaces: Vec<NamespaceFigures>,
    /// All namespaces of the selection.
    pub(super) namespace_count: usize,
    /// The replicas that have reported lately.
    pub(super) replicas: Vec<ReplicaReport>,
    pub(super) is_ready: bool,
    /// Whether the counts are those of this replica alone.
    pub(super) is_degraded: bool,
}

/// One namespace in a time.
pub(super) struct OwnFigures {
    pub(super) namespace: NamespaceFigures,
    /// Whether anything was ever counted for it.
    pub(super) was_used: bool,
    pub(super) course: Course,
    pub(super) is_degraded: bool,
}

/// A namespace.
pub(super) struct NamespaceFigures {
    pub(super) name: Namespace,
    /// Its rules; none if requests to it are refused.
    pub(super) config: Option<NamespaceConfig>,
    pub(super) is_configured: bool,
    /// Its counts in the time.
    pub(super) counters: Counters,
    /// The part of the time in which the fleet has counted.
    pub(super) covered: Duration,
    pub(super) usage: Option<NamespaceUsage>,
    /// Its reads in each step.
    pub(super) course: Vec<f64>,
}

/// A key that is read often.
pub(super) struct HotKeyFigures {
    pub(super) key: HotKey,
    /// Its reads per second.
    pub(super) rate: f64,
}

impl Dashboard {
    /// The figures of a time.
    ///
    /// # Errors
    /// [`Error::Late`].
    pub(super) async fn figures(&self, span: Span, of: Selection) -> Result<Figures, Error> {
        in_time(self.all_figures(span, of)).await
    }

    async fn all_figures(&self, span: Span, of: Selection) -> Figures {
        let overview = self.parts.fleet.overview(&NamespacePage::default()).await;
        let configured = self.parts.cache.namespaces().configured();
        let ranking = counted(&overview, span);
        let stored = overview.sizes.iter().map(|(name, _)| name.as_str());
        let counted_names = overview.report.total.keys().map(String::as_str);
        let names = configured.iter().map(Namespace::as_str).chain(stored).chain(counted_names);
        let mut names: Vec<&str> = names.filter(|name| *name != OTHER).collect();
        names.sort_unstable();
        names.dedup();
        if of == Selection::WithOrigin {
            names.retain(|name| self.has_origin(name));
        }
        let namespace_count = names.len();
        let rank = |name: &str| ranking.get(name).map_or(0, |counters| of.rank(counters));
        // Equally busy ones stay in the order of their names.
        names.sort_by_key(|name| std::cmp::Reverse(rank(name)));
        let names = names.into_iter().skip(of.skipped()).take(MAX_NAMESPACES).map(str::to_owned);
        let names: Vec<String> = names.collect();
        let history = self.parts.fleet.history(span.history(), &names, None).await;
        let sum = sum_of(history.totals.iter().map(|step| &step.counters));
        let period = self.period(&overview);
        let covered = period.covered(span.length());
        let course = Course::new(history.step, history.totals, period);
        let replicas = self.parts.fleet.replicas().await.replicas;
        let events = course.events(&history.namespaces, breaker_changes(&replicas));
        let namespaces = history.namespaces.into_iter().filter_map(|history| {
            let name = Namespace::new(&history.namespace).ok()?;
            Some(NamespaceFigures {
                config: self.parts.cache.namespaces().config(&name),
                is_configured: configured.contains(&name),
                usage: overview.size(name.as_str()).cloned(),
                course: course.rates_of(&history.steps),
                counters: sum_of(&history.steps),
                covered,
                name,
            })
        });
        let mut namespaces: Vec<NamespaceFigures> = namespaces.collect();
        namespaces.sort_by_key(|one| std::cmp::Reverse(reads(&one.counters)));
        let earlier = match span {
            Span::Hour => &overview.report.last_day,
            Span::Day | Span::Week => &overview.report.total,
        };
        // A fleet that is younger than the time has counted nothing before it.
        let before = (covered == span.length()).then(|| sum_of(earlier.values()));
        Figures {
            span,
            covered,
            sum,
            before,
            course,
            events,
            namespaces,
            namespace_count,
            replicas,
            is_ready: self.parts.health.is_ready(),
            is_degraded: overview.degraded || history.degraded,
            overview,
        }
    }

    fn has_origin(&self, name: &str) -> bool {
        let name = Namespace::new(name).ok();
        let config = name.and_then(|name| self.parts.cache.namespaces().config(&name));
        config.is_some_and(|config| config.origin.is_some())
    }

    /// The figures of one namespace, and its course.
    ///
    /// # Errors
    /// [`cache::Error::UnknownNamespace`], [`Error::Late`].
    pub(super) async fn figures_of(
        &self,
        name: Namespace,
        span: Span,
    ) -> Result<OwnFigures, Error> {
        in_time(self.own_figures(name, span)).await?.map_err(Error::from)
    }

    async fn own_figures(&self, name: Namespace, span: Span) -> Result<OwnFigures, cache::Error> {
        let namespaces = self.parts.cache.namespaces();
        let Some(config) = namespaces.config(&name) else {
            return Err(cache::Error::UnknownNamespace(name));
        };
        let names = [name.to_string()];
        let page = NamespacePage::new(names.to_vec(), String::new(), 1);
        let overview = self.parts.fleet.overview(&page).await;
        let mut history = self.parts.fleet.history(span.history(), &names, None).await;
        let own = history.namespaces.pop().map(|own| own.steps).unwrap_or_default();
        history.totals.iter_mut().zip(own).for_each(|(step, own)| step.counters = own);
        let counters = sum_of(history.totals.iter().map(|step| &step.counters));
        let period = self.period(&overview);
        let namespace = NamespaceFigures {
            counters,
            covered: period.covered(span.length()),
            usage: overview.size(name.as_str()).cloned(),
            is_configured: namespaces.configured().contains(&name),
            config: Some(config),
            course: Vec::new(),
            name,
        };
        let is_degraded = overview.degraded || history.degraded;
        let course = Course::new(history.step, history.totals, period);
        let was_used = overview.report.total.contains_key(&names[0]);
        Ok(OwnFigures { namespace, was_used, course, is_degraded })
    }

    /// The time in which the fleet has counted.
    fn period(&self, overview: &Overview) -> Period {
        Period { since: overview.report.since, now: self.parts.fleet.now() }
    }

    /// The keys that are read most in the busiest namespaces.
    pub(super) async fn hottest(&self, figures: &Figures) -> Vec<HotKeyFigures> {
        let mut hottest = Vec::new();
        for namespace in figures.namespaces.iter().take(HOT_NAMESPACES) {
            let found = self.parts.directory.hot_keys(&namespace.name, HOT_WINDOW, HOT_KEYS).await;
            // The page shows on its own that the store does not answer.
            let Ok(report) = found else { continue };
            hottest.extend(certain(report));
        }
        hottest.sort_by(|one, other| other.rate.total_cmp(&one.rate));
        hottest.truncate(HOT_KEYS);
        hottest
    }
}

impl NamespaceFigures {
    /// Reads per second.
    pub(super) fn rate(&self) -> f64 {
        self.per_second(reads(&self.counters))
    }

    /// A count of the time, per second.
    pub(super) fn per_second(&self, count: u64) -> f64 {
        count as f64 / self.covered.as_secs_f64()
    }
}

impl Selection {
    /// Number of the busiest namespaces that are left out.
    fn skipped(self) -> usize {
        if let Self::From(skipped) = self { skipped } else { 0 }
    }

    /// How busy a namespace is.
    fn rank(self, counters: &Counters) -> u64 {
        match self {
            Self::All | Self::From(_) => reads(counters),
            Self::WithOrigin => {
                counters.get(Counter::Fetches) + counters.get(Counter::FetchesFailed)
            }
        }
    }
}

impl Figures {
    /// Counts of namespaces that are not among [`Self::namespaces`]: of the hour, or of the last
    /// day if the time is longer.
    pub(super) fn others(&self) -> impl Iterator<Item = (&str, &Counters)> {
        let report = &self.overview.report;
        let counts = if self.span == Span::Hour { &report.last_hour } else { &report.last_day };
        let shown: HashSet<&str> = self.namespaces.iter().map(|one| one.name.as_str()).collect();
        let others = counts.iter().map(|(name, counters)| (name.as_str(), counters));
        others.filter(move |(name, _)| *name != OTHER && !shown.contains(name))
    }

    /// Whether there are namespaces without counts of their own.
    pub(super) fn has_uncounted(&self) -> bool {
        self.overview.report.last_day.get(OTHER).is_some_and(|counters| reads(counters) > 0)
    }
}

/// The keys whose estimate is larger than its error.
fn certain(report: HotKeyReport) -> impl Iterator<Item = HotKeyFigures> {
    let seconds = report.covered.as_secs_f64().max(1.0);
    let keys = report.keys.into_iter().filter(|key| key.error < key.reads);
    keys.map(move |key| HotKeyFigures { rate: key.reads as f64 / seconds, key })
}

/// The result of some work, if it is there in time.
pub(super) async fn in_time<T>(work: impl Future<Output = T>) -> Result<T, Error> {
    timeout(PAGE_TIME, work).await.map_err(|_| Error::Late(PAGE_TIME))
}

/// The counts of a time by namespace. Those of the week are not among them: all time stands in.
fn counted(overview: &Overview, span: Span) -> &ByNamespace {
    match span {
        Span::Hour => &overview.report.last_hour,
        Span::Day => &overview.report.last_day,
        Span::Week => &overview.report.total,
    }
}

fn sum_of<'a>(counts: impl IntoIterator<Item = &'a Counters>) -> Counters {
    let mut sum = Counters::default();
    counts.into_iter().for_each(|counters| sum.add(counters));
    sum
}

/// All reads.
pub(super) fn reads(counters: &Counters) -> u64 {
    Counter::READS.iter().map(|counter| counters.get(*counter)).sum()
}

/// Reads that no origin and no caller had to compute.
pub(super) fn saved(counters: &Counters) -> u64 {
    reads(counters) - counters.get(Counter::Misses)
}

/// The share of reads that were answered with a stale value; none without reads.
pub(super) fn stale_share(counters: &Counters) -> Option<f64> {
    let all = reads(counters);
    (all > 0).then(|| counters.get(Counter::Stale) as f64 / all as f64)
}

/// The time in which the median value is computed, by an origin or by a caller; none if none was.
pub(super) fn compute_time(counters: &Counters) -> Option<Duration> {
    let kinds = [LatencyKind::Fetch, LatencyKind::Compute];
    let most = kinds.into_iter().max_by_key(|kind| counters.total(*kind))?;
    counters.latency(most, 0.5)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::model::EntryKey;

    #[test]
    fn keys_of_a_single_sample_are_left_out() {
        let key = |key: &str, reads, error| {
            let key = EntryKey::new(Namespace::new("ns").unwrap(), key, std::iter::empty());
            HotKey { key: key.unwrap(), reads, error }
        };
        let report = HotKeyReport {
            keys: vec![key("often", 1200, 300), key("once", 128, 380)],
            reads: 1328,
            samples: 10,
            covered: Duration::from_secs(10),
            replicas: 1,
        };
        let shown = certain(report).map(|hot| (hot.key.key.key().to_owned(), hot.rate));
        assert_eq!(shown.collect::<Vec<_>>(), [("often".to_owned(), 120.0)]);
    }
}

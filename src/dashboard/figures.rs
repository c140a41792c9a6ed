//! The figures of the fleet that several pages show.

use std::time::Duration;

use super::{Dashboard, numbers, span::Span};
use crate::{
    cache::{self, HotKey, NamespacePage, NamespaceUsage, fleet_stats::Overview},
    config::NamespaceConfig,
    model::Namespace,
    stats::{
        counters::{Counter, Counters, LatencyKind},
        delta::ByNamespace,
        history::HistoryStep,
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
/// Most events in a chart, and the fewest steps between two of them: their texts need the place.
const MAX_EVENTS: usize = 4;
const MIN_EVENT_DISTANCE: usize = 12;
/// Time for which reads of hot keys are counted.
pub(super) const HOT_WINDOW: Duration = Duration::from_secs(300);

/// The fleet in a time.
pub(super) struct Figures {
    pub(super) span: Span,
    pub(super) overview: Overview,
    /// All namespaces in the time.
    pub(super) sum: Counters,
    /// All namespaces in the time that it is compared with.
    pub(super) before: Counters,
    pub(super) course: Course,
    /// The busiest namespaces, the busiest first.
    pub(super) namespaces: Vec<NamespaceFigures>,
    /// All namespaces.
    pub(super) namespace_count: usize,
    /// The replicas that have reported lately.
    pub(super) replicas: Vec<ReplicaReport>,
    pub(super) is_ready: bool,
}

/// The fleet over time.
#[derive(Debug, Default)]
pub(super) struct Course {
    /// Begins of the steps, in milliseconds since the Unix epoch.
    pub(super) starts: Vec<u64>,
    /// Counts of all namespaces in each step.
    pub(super) steps: Vec<Counters>,
    /// Length of a step.
    pub(super) step: Duration,
}

/// A namespace.
pub(super) struct NamespaceFigures {
    pub(super) name: Namespace,
    /// Its rules; none if requests to it are refused.
    pub(super) config: Option<NamespaceConfig>,
    pub(super) is_configured: bool,
    /// Its counts in the time.
    pub(super) counters: Counters,
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
    pub(super) async fn figures(&self, span: Span) -> Figures {
        let overview = self.parts.fleet.overview(&NamespacePage::default()).await;
        let configured = self.parts.cache.namespaces().configured();
        let ranking = counted(&overview, span);
        let stored = overview.sizes.iter().map(|(name, _)| name.as_str());
        let counted_names = overview.report.total.keys().map(String::as_str);
        let names = configured.iter().map(Namespace::as_str).chain(stored).chain(counted_names);
        let mut names: Vec<&str> = names.filter(|name| *name != OTHER).collect();
        names.sort_unstable();
        names.dedup();
        let namespace_count = names.len();
        names.sort_by_key(|name| std::cmp::Reverse(ranking.get(*name).map_or(0, reads)));
        let names = names.into_iter().take(MAX_NAMESPACES).map(str::to_owned);
        let names: Vec<String> = names.collect();
        let history = self.parts.fleet.history(span.history(), &names, None).await;
        let namespaces = history.namespaces.into_iter().filter_map(|history| {
            let name = Namespace::new(&history.namespace).ok()?;
            Some(NamespaceFigures {
                config: self.parts.cache.namespaces().config(&name),
                is_configured: configured.contains(&name),
                usage: overview.size(name.as_str()).cloned(),
                course: history.steps.iter().map(|step| reads(step) as f64).collect(),
                counters: sum_of(&history.steps),
                name,
            })
        });
        let mut namespaces: Vec<NamespaceFigures> = namespaces.collect();
        namespaces.sort_by_key(|one| std::cmp::Reverse(reads(&one.counters)));
        let course = Course::new(history.step, history.totals);
        let before = match span {
            Span::Hour => sum_of(overview.report.last_day.values()),
            Span::Day | Span::Week => sum_of(overview.report.total.values()),
        };
        Figures {
            span,
            sum: sum_of(&course.steps),
            before,
            course,
            namespaces,
            namespace_count,
            replicas: self.parts.fleet.replicas().await.replicas,
            is_ready: self.parts.health.is_ready(),
            overview,
        }
    }

    /// The figures of one namespace, and its course.
    ///
    /// # Errors
    /// [`cache::Error::UnknownNamespace`].
    pub(super) async fn figures_of(
        &self,
        name: Namespace,
        span: Span,
    ) -> Result<(NamespaceFigures, Course), cache::Error> {
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
        let course = Course::new(history.step, history.totals);
        let figures = NamespaceFigures {
            counters: sum_of(&course.steps),
            usage: overview.size(name.as_str()).cloned(),
            is_configured: namespaces.configured().contains(&name),
            config: Some(config),
            course: Vec::new(),
            name,
        };
        Ok((figures, course))
    }

    /// The keys that are read most in the busiest namespaces.
    pub(super) async fn hottest(&self, figures: &Figures) -> Vec<HotKeyFigures> {
        let mut hottest = Vec::new();
        for namespace in figures.namespaces.iter().take(HOT_NAMESPACES) {
            let found = self.parts.directory.hot_keys(&namespace.name, HOT_WINDOW, HOT_KEYS).await;
            // The page shows on its own that the store does not answer.
            let Ok(report) = found else { continue };
            let seconds = report.covered.as_secs_f64().max(1.0);
            hottest.extend(report.keys.into_iter().map(|key| {
                let rate = key.reads as f64 / seconds;
                HotKeyFigures { key, rate }
            }));
        }
        hottest.sort_by(|one, other| other.rate.total_cmp(&one.rate));
        hottest.truncate(HOT_KEYS);
        hottest
    }
}

impl NamespaceFigures {
    /// Reads per second in a time.
    pub(super) fn rate(&self, span: Span) -> f64 {
        reads(&self.counters) as f64 / span.length().as_secs_f64()
    }
}

impl Course {
    fn new(step: Duration, steps: Vec<HistoryStep>) -> Self {
        let starts = steps.iter().map(|step| step.start.0).collect();
        Self { starts, steps: steps.into_iter().map(|step| step.counters).collect(), step }
    }

    /// Names of the steps.
    pub(super) fn times(&self) -> Vec<String> {
        let is_long = self.starts.len() as u64 * self.step.as_secs() > 48 * 3600;
        let name = if is_long { numbers::day_and_clock } else { numbers::clock };
        self.starts.iter().map(|start| name(*start)).collect()
    }

    /// Steps at which something begins: the store is away, an origin fails, or a namespace is
    /// invalidated.
    pub(super) fn events(&self) -> Vec<(usize, String)> {
        type Condition = fn(&Counters) -> bool;
        let conditions: [(&str, Condition); 3] = [
            ("store away", |step| step.get(Counter::Degraded) > 0),
            ("fetches fail", |step| {
                let failed = step.get(Counter::FetchesFailed);
                failed >= 10 && failed > step.get(Counter::Fetches)
            }),
            ("namespace invalidated", |step| step.get(Counter::Invalidations) > 0),
        ];
        let mut events: Vec<(usize, String)> = Vec::new();
        for (index, pair) in self.steps.windows(2).enumerate() {
            let begun = conditions.iter().find(|(_, is)| is(&pair[1]) && !is(&pair[0]));
            let is_near = events.last().is_some_and(|(last, _)| index < last + MIN_EVENT_DISTANCE);
            if let Some((name, _)) = begun.filter(|_| !is_near) {
                events.push((index + 1, (*name).to_owned()));
            }
        }
        let surplus = events.len().saturating_sub(MAX_EVENTS);
        events.drain(..surplus);
        events
    }

    /// Counts per second of each step, of some counters together.
    pub(super) fn rates(&self, counters: &[Counter]) -> Vec<Option<f64>> {
        let seconds = self.step.as_secs_f64().max(1.0);
        let counted = |step: &Counters| counters.iter().map(|counter| step.get(*counter)).sum();
        self.steps
            .iter()
            .map(|step| Some(counted(step)).map(|sum: u64| sum as f64 / seconds))
            .collect()
    }

    /// A quantile of a latency in each step, in milliseconds.
    pub(super) fn latencies(&self, kind: LatencyKind, quantile: f64) -> Vec<Option<f64>> {
        let latency = |step: &Counters| step.latency(kind, quantile);
        self.steps.iter().map(|step| latency(step).map(|time| time.as_secs_f64() * 1e3)).collect()
    }
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

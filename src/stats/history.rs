//! The counters of the fleet over time: the buckets of a window, summed step by step.

use std::{collections::HashMap, time::Duration};

use super::{
    counters::Counters,
    windows::{DAY, HOUR, HistoryBucket, WEEK, Window},
};
use crate::model::Timestamp;

/// Time to look back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HistorySpan {
    /// The last hour, in steps of a minute.
    Hour,
    /// The last 24 hours, in steps of ten minutes.
    Day,
    /// The last seven days, in steps of an hour.
    Week,
}

/// The counters over a span. All lists have the same number of steps, the oldest first; the last
/// step has not ended.
#[derive(Debug, Clone, PartialEq)]
pub struct History {
    /// Length of a step.
    pub step: Duration,
    /// Sums over all namespaces, or over those that the caller may see.
    pub totals: Vec<HistoryStep>,
    /// The requested namespaces, in the order of the request.
    pub namespaces: Vec<NamespaceHistory>,
    /// Whether the store was unavailable: the counters are those of this replica alone.
    pub degraded: bool,
}

/// The sums of one step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HistoryStep {
    /// Begin of the step, by the store's clock.
    pub start: Timestamp,
    /// The counts.
    pub counters: Counters,
}

/// The counters of one namespace over a span.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamespaceHistory {
    /// Name of the namespace.
    pub namespace: String,
    /// One element for each step of [`History::totals`].
    pub steps: Vec<Counters>,
}

/// Decides by name which namespaces are in a history.
#[derive(Default)]
pub struct VisibleNames<'a> {
    /// None: all of them.
    is_visible: Option<&'a (dyn Fn(&str) -> bool + Send + Sync)>,
    /// The decisions so far: each name is in many buckets.
    known: HashMap<String, bool>,
}

// === impl HistorySpan ===

impl HistorySpan {
    /// The window whose buckets are the steps.
    pub fn window(self) -> Window {
        match self {
            Self::Hour => HOUR,
            Self::Day => DAY,
            Self::Week => WEEK,
        }
    }

    /// The length of a step.
    pub fn step(self) -> Duration {
        Duration::from_millis(self.window().bucket_ms)
    }
}

// === impl History ===

impl History {
    /// A history without steps.
    pub fn new(span: HistorySpan, namespaces: &[String], degraded: bool) -> Self {
        let namespaces = namespaces
            .iter()
            .map(|name| NamespaceHistory { namespace: name.clone(), steps: Vec::new() });
        let namespaces = namespaces.collect();
        Self { step: span.step(), totals: Vec::new(), namespaces, degraded }
    }

    /// Adds the next step, with the counts of the `visible` namespaces.
    pub fn push(&mut self, bucket: &HistoryBucket, visible: &mut VisibleNames<'_>) {
        let mut counters = Counters::default();
        let seen = bucket.counts.iter().filter(|(name, _)| visible.has(name));
        seen.for_each(|(_, counts)| counts.add_to(&mut counters));
        self.totals.push(HistoryStep { start: bucket.start, counters });
        for NamespaceHistory { namespace, steps } in &mut self.namespaces {
            let mut counters = Counters::default();
            let counts = bucket.counts.get(namespace).filter(|_| visible.has(namespace));
            if let Some(counts) = counts {
                counts.add_to(&mut counters);
            }
            steps.push(counters);
        }
    }
}

// === impl VisibleNames ===

impl<'a> VisibleNames<'a> {
    /// The names for which `is_visible` holds; `None`: all of them.
    pub fn new(is_visible: Option<&'a (dyn Fn(&str) -> bool + Send + Sync)>) -> Self {
        Self { is_visible, known: HashMap::new() }
    }

    fn has(&mut self, name: &str) -> bool {
        let Some(is_visible) = self.is_visible else { return true };
        match self.known.get(name) {
            Some(known) => *known,
            None => {
                let is_visible = is_visible(name);
                self.known.insert(name.to_owned(), is_visible);
                is_visible
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    };

    use super::*;
    use crate::stats::{
        counters::{Counter, SparseCounters},
        delta::ByNamespace,
        windows::Windows,
    };

    const NOW: Timestamp = Timestamp(1_000_000 * 3_600_000);

    fn bucket(start: u64, hits: &[(&str, u64)]) -> HistoryBucket {
        let sparse = |hits: u64| {
            let mut counts = Counters::default();
            counts.0[Counter::Hits as usize] = hits;
            SparseCounters::from(&counts)
        };
        let counts = hits.iter().map(|(name, hits)| ((*name).to_owned(), sparse(*hits)));
        HistoryBucket { start: Timestamp(start), counts: Arc::new(counts.collect()) }
    }

    fn hits(counters: &Counters) -> u64 {
        counters.get(Counter::Hits)
    }

    #[test]
    fn spans_have_the_promised_steps() {
        for (span, steps, seconds) in [
            (HistorySpan::Hour, 60, 60),
            (HistorySpan::Day, 144, 600),
            (HistorySpan::Week, 168, 3600),
        ] {
            let buckets = Windows::default().history(span.window(), NOW);
            assert_eq!((buckets.len(), span.step().as_secs()), (steps, seconds), "{span:?}");
            assert!(buckets.iter().all(|bucket| bucket.counts.is_empty()));
            assert_eq!(buckets.last().map(|bucket| bucket.start), Some(NOW));
            let mut pairs = buckets.windows(2);
            assert!(pairs.all(|pair| pair[1].start.since(pair[0].start) == span.step()));
        }
    }

    #[test]
    fn steps_sum_all_namespaces_and_repeat_the_requested_ones() {
        let names = ["b", "none", "b"].map(str::to_owned);
        let mut history = History::new(HistorySpan::Hour, &names, false);
        let mut all = VisibleNames::default();
        history.push(&bucket(0, &[("a", 1), ("b", 2)]), &mut all);
        history.push(&bucket(60_000, &[]), &mut all);
        let totals = history.totals.iter().map(|step| (step.start.0, hits(&step.counters)));
        assert_eq!(totals.collect::<Vec<_>>(), [(0, 3), (60_000, 0)]);
        let steps = history.namespaces.iter().map(|one| {
            let steps = one.steps.iter().map(hits).collect::<Vec<_>>();
            (one.namespace.as_str(), steps)
        });
        let expected = [("b", vec![2, 0]), ("none", vec![0, 0]), ("b", vec![2, 0])];
        assert_eq!(steps.collect::<Vec<_>>(), expected);
    }

    #[test]
    fn sums_have_only_visible_namespaces_and_ask_once_for_each() {
        let asked = AtomicUsize::new(0);
        let is_visible = |name: &str| {
            asked.fetch_add(1, Ordering::Relaxed);
            name != "hidden"
        };
        let mut visible = VisibleNames::new(Some(&is_visible));
        let names = ["hidden".to_owned()];
        let mut history = History::new(HistorySpan::Hour, &names, false);
        for start in 0..3 {
            history.push(&bucket(start, &[("a", 1), ("hidden", 8)]), &mut visible);
        }
        assert!(history.totals.iter().all(|step| hits(&step.counters) == 1));
        assert!(history.namespaces[0].steps.iter().all(Counters::is_zero));
        assert_eq!(asked.into_inner(), 2);
    }

    #[test]
    fn counts_are_in_the_step_of_their_time_in_each_span() {
        let mut windows = Windows::default();
        let counts = |hits| {
            let mut counts = Counters::default();
            counts.0[Counter::Hits as usize] = hits;
            ByNamespace::from([("a".to_owned(), counts)])
        };
        let earlier = Timestamp(NOW.0 - 30 * 3_600_000);
        windows.add(&counts(5), earlier);
        windows.add(&counts(7), NOW);
        for (span, expected) in [
            (HistorySpan::Hour, vec![(59, 7)]),
            (HistorySpan::Day, vec![(143, 7)]),
            (HistorySpan::Week, vec![(137, 5), (167, 7)]),
        ] {
            let mut history = History::new(span, &[], false);
            let buckets = windows.history(span.window(), NOW);
            let mut all = VisibleNames::default();
            buckets.iter().for_each(|bucket| history.push(bucket, &mut all));
            let steps = history.totals.iter().map(|step| hits(&step.counters)).enumerate();
            let steps: Vec<_> = steps.filter(|(_, hits)| *hits > 0).collect();
            assert_eq!(steps, expected, "{span:?}");
        }
    }
}

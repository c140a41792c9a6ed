//! Events of followed keys that wait, in bounded number.

use crate::stats::reuse::event::{NamespaceEvents, ReuseBatch};

/// Events that wait.
#[derive(Default)]
pub(super) struct Waiting {
    pub(super) events: usize,
    pub(super) namespaces: ReuseBatch,
}

impl Waiting {
    /// Adds events while there are fewer than `max`, those of the namespaces with the fewest first.
    /// Returns the namespaces whose events are dropped, with their number.
    pub(super) fn add(&mut self, batch: ReuseBatch, max: usize) -> Vec<(String, u64)> {
        let mut dropped = Vec::new();
        let mut batch: Vec<_> =
            batch.into_iter().map(|(name, events)| (count(&events), name, events)).collect();
        batch.sort_by_key(|(count, ..)| *count);
        for (count, namespace, events) in batch {
            if self.events + count > max {
                dropped.push((namespace, count as u64));
                continue;
            }
            self.events += count;
            let waiting = self.namespaces.entry(namespace).or_default();
            waiting.keys.extend(events.keys);
            waiting.invalidations.extend(events.invalidations);
            waiting.skipped = waiting.skipped.saturating_add(events.skipped);
            waiting.all_skipped = waiting.all_skipped.saturating_add(events.all_skipped);
            waiting.raised = waiting.raised.max(events.raised);
        }
        dropped
    }

    /// Takes the events at the times for which `is_ready` holds.
    pub(super) fn take(&mut self, is_ready: impl Fn(u64) -> bool) -> ReuseBatch {
        let (mut taken, mut rest) = (ReuseBatch::new(), ReuseBatch::new());
        for (namespace, events) in std::mem::take(&mut self.namespaces) {
            let NamespaceEvents { keys, invalidations, skipped, all_skipped, raised } = events;
            let mut now =
                NamespaceEvents { skipped, all_skipped, raised, ..NamespaceEvents::default() };
            let mut later = NamespaceEvents { raised, ..NamespaceEvents::default() };
            for (hash, events) in keys {
                let (early, late): (Vec<_>, Vec<_>) =
                    events.into_iter().partition(|event| is_ready(event.at()));
                now.keys.extend((!early.is_empty()).then_some((hash, early)));
                later.keys.extend((!late.is_empty()).then_some((hash, late)));
            }
            (now.invalidations, later.invalidations) =
                invalidations.into_iter().partition(|invalidation| is_ready(invalidation.at));
            self.events -= count(&now);
            for (events, into) in [(now, &mut taken), (later, &mut rest)] {
                if count(&events) > 0 || events.skipped + events.all_skipped > 0 {
                    into.insert(namespace.clone(), events);
                }
            }
        }
        self.namespaces = rest;
        taken
    }

    /// The namespaces, that with the most events first.
    pub(super) fn busiest(&self) -> Vec<&String> {
        let mut names: Vec<(usize, &String)> =
            self.namespaces.iter().map(|(name, events)| (count(events), name)).collect();
        names.sort_unstable_by(|one, two| two.0.cmp(&one.0).then(one.1.cmp(two.1)));
        names.into_iter().map(|(_, name)| name).collect()
    }
}

/// Number of events.
pub(super) fn count(events: &NamespaceEvents) -> usize {
    events.keys.iter().map(|(_, events)| events.len()).sum::<usize>() + events.invalidations.len()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::reuse::event::ReuseEvent;

    fn batch(namespace: &str, at: u64, count: usize) -> ReuseBatch {
        let keys = vec![(7, vec![ReuseEvent::Miss { at }; count])];
        ReuseBatch::from([(namespace.to_owned(), NamespaceEvents { keys, ..Default::default() })])
    }

    #[test]
    fn waiting_events_are_bounded() {
        let mut waiting = Waiting::default();
        let mut add = |at| waiting.add(batch("ns", at, 3), 7);
        assert_eq!((add(1), add(2)), (vec![], vec![]));
        assert_eq!(add(3), [("ns".to_owned(), 3)]);
        let taken = waiting.take(|at| at <= 1);
        assert_eq!((taken.values().map(count).sum::<usize>(), waiting.events), (3, 3));
        assert_eq!(waiting.add(batch("ns", 9, 3), 7), []);
        assert_eq!(waiting.take(|_| true).values().map(count).sum::<usize>(), 6);
        assert_eq!((waiting.events, waiting.namespaces.len()), (0, 0));

        let skipped = NamespaceEvents { skipped: 2, ..NamespaceEvents::default() };
        let skipped = ReuseBatch::from([("ns".to_owned(), skipped)]);
        assert_eq!([7, 7].map(|max| waiting.add(skipped.clone(), max)), [[], []]);
        waiting.add(batch("ns", 9, 1), 7);
        assert_eq!(waiting.take(|at| at < 9)["ns"].skipped, 4);
        assert_eq!(waiting.take(|_| true)["ns"].skipped, 0, "each counts once");
    }

    #[test]
    fn namespaces_with_most_events_come_first() {
        let mut waiting = Waiting::default();
        for (name, count) in [("a", 1), ("b", 3), ("c", 3), ("d", 2)] {
            waiting.add(batch(name, 1, count), 100);
        }
        assert_eq!(waiting.busiest(), ["b", "c", "d", "a"]);
    }
}

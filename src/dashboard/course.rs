//! The counts of the fleet, or of a namespace, over time.

use std::time::Duration;

use super::numbers;
use crate::{
    model::Timestamp,
    stats::{
        counters::{Counter, Counters, LatencyKind},
        history::{HistoryStep, NamespaceHistory},
    },
};

/// Most events in a chart, and the fewest steps between two of them: their texts need the place.
const MAX_EVENTS: usize = 4;
const MIN_EVENT_DISTANCE: usize = 12;
/// The part of a step from which its rate is shown before its end. Other replicas report later.
const MIN_ELAPSED: Duration = Duration::from_secs(60);

/// The shortest time over which a rate is measured.
const MIN_COVERED: Duration = Duration::from_secs(5);

/// Whether something is the case in a step.
type StepCheck = fn(&Counters) -> bool;

/// The time in which the fleet has counted, by the clock of the store.
#[derive(Debug, Clone, Copy)]
pub(super) struct Period {
    /// Its begin; none if that is not known.
    pub(super) since: Option<Timestamp>,
    pub(super) now: Timestamp,
}

impl Period {
    /// The part of a time before now in which the fleet has counted, and at least a second.
    pub(super) fn covered(self, length: Duration) -> Duration {
        let counted = self.since.map_or(length, |since| self.now.since(since));
        counted.clamp(Duration::from_secs(1), length)
    }
}

/// Counts over time.
#[derive(Debug, Default)]
pub(super) struct Course {
    /// Begins of the steps, in milliseconds since the Unix epoch.
    pub(super) starts: Vec<u64>,
    /// Counts in each step.
    pub(super) steps: Vec<Counters>,
    /// Length of a step.
    pub(super) step: Duration,
    /// The time in each step in which the fleet has counted, up to now.
    pub(super) covered: Vec<Duration>,
}

impl Course {
    /// The last step has not ended: it is left out until its rate can be shown.
    pub(super) fn new(step: Duration, mut steps: Vec<HistoryStep>, period: Period) -> Self {
        let Period { since, now } = period;
        let last = steps.last().map(|last| now.since(last.start));
        if last.is_some_and(|elapsed| elapsed < MIN_ELAPSED.min(step)) {
            steps.pop();
        }
        let covered = |start: Timestamp| {
            let end = start.after(step).min(now);
            end.since(since.map_or(start, |since| since.max(start)))
        };
        Self {
            starts: steps.iter().map(|step| step.start.0).collect(),
            covered: steps.iter().map(|step| covered(step.start)).collect(),
            steps: steps.into_iter().map(|step| step.counters).collect(),
            step,
        }
    }

    /// The count per second of a step, of some counters together. None if the fleet had not yet
    /// counted, or for a moment only.
    fn rate(&self, index: usize, step: &Counters, counters: &[Counter]) -> Option<f64> {
        let time = *self.covered.get(index)?;
        let count: u64 = counters.iter().map(|counter| step.get(*counter)).sum();
        (time >= MIN_COVERED.min(self.step)).then(|| count as f64 / time.as_secs_f64())
    }

    /// Reads per second of a namespace in each step.
    pub(super) fn rates_of(&self, steps: &[Counters]) -> Vec<f64> {
        let steps = steps.iter().take(self.steps.len()).enumerate();
        let rate = |(index, step)| self.rate(index, step, &Counter::READS).unwrap_or_default();
        steps.map(rate).collect()
    }

    /// Names of the steps.
    pub(super) fn times(&self) -> Vec<String> {
        let is_long = self.starts.len() as u64 * self.step.as_secs() > 48 * 3600;
        let name = if is_long { numbers::day_and_clock } else { numbers::clock };
        self.starts.iter().map(|start| name(*start)).collect()
    }

    /// Steps at which something begins: the store is away, an origin fails, a namespace is
    /// invalidated, or what `times` name. `namespaces` are those that are named for it.
    pub(super) fn events(
        &self,
        namespaces: &[NamespaceHistory],
        times: Vec<(u64, String)>,
    ) -> Vec<(usize, String)> {
        let conditions: [(&str, StepCheck); 3] = [
            ("store away", |step| step.get(Counter::Degraded) > 0),
            ("fetches fail", |step| {
                let failed = step.get(Counter::FetchesFailed);
                failed >= 10 && failed > step.get(Counter::Fetches)
            }),
            ("invalidated", |step| step.get(Counter::Invalidations) > 0),
        ];
        let pairs = self.steps.windows(2).enumerate();
        let begun = pairs.filter_map(|(index, pair)| {
            let begun = conditions.iter().find(|(_, is)| is(&pair[1]) && !is(&pair[0]));
            begun.map(|(what, is)| (index + 1, event(what, &concerned(namespaces, index + 1, *is))))
        });
        let mut events: Vec<(usize, String)> = self.at_steps(times).chain(begun).collect();
        events.sort_by_key(|(index, _)| *index);
        spaced(events.into_iter())
    }

    /// Those of the named times that have a step, in milliseconds since the Unix epoch.
    pub(super) fn marks(&self, mut times: Vec<(u64, String)>) -> Vec<(usize, String)> {
        times.sort_unstable();
        spaced(self.at_steps(times))
    }

    fn at_steps(&self, times: Vec<(u64, String)>) -> impl Iterator<Item = (usize, String)> {
        times.into_iter().filter_map(|(time, name)| {
            let later = self.starts.partition_point(|start| *start <= time);
            later.checked_sub(1).map(|index| (index, name))
        })
    }

    /// Counts per second of each step, of some counters together.
    pub(super) fn rates(&self, counters: &[Counter]) -> Vec<Option<f64>> {
        let steps = self.steps.iter().enumerate();
        let rates = steps.map(|(index, step)| self.rate(index, step, counters));
        rates.collect()
    }

    /// A quantile of a latency in each step, in milliseconds.
    pub(super) fn latencies(&self, kind: LatencyKind, quantile: f64) -> Vec<Option<f64>> {
        let latency = |step: &Counters| step.latency(kind, quantile);
        self.steps.iter().map(|step| latency(step).map(|time| time.as_secs_f64() * 1e3)).collect()
    }
}

/// The namespaces for which a condition is met in a step, in their order.
fn concerned(namespaces: &[NamespaceHistory], step: usize, is: StepCheck) -> Vec<&str> {
    let met = namespaces.iter().filter(|one| one.steps.get(step).is_some_and(is));
    met.map(|one| one.namespace.as_str()).collect()
}

/// The text of an event, with the first namespace and the number of the others.
fn event(what: &str, namespaces: &[&str]) -> String {
    match namespaces {
        [] => what.to_owned(),
        [one] => format!("{one}: {what}"),
        [first, others @ ..] => format!("{first} and {} more: {what}", others.len()),
    }
}

/// The last events that have enough place for their texts.
fn spaced(events: impl Iterator<Item = (usize, String)>) -> Vec<(usize, String)> {
    let mut shown: Vec<(usize, String)> = Vec::new();
    for (index, name) in events {
        if shown.last().is_none_or(|(last, _)| index >= last + MIN_EVENT_DISTANCE) {
            shown.push((index, name));
        }
    }
    let surplus = shown.len().saturating_sub(MAX_EVENTS);
    shown.drain(..surplus);
    shown
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// A course of two steps with 600 hits each, the last of which began `ago`.
    fn course(step: u64, ago: u64) -> Course {
        young_course(step, ago, None)
    }

    /// As [`course`], where counting began `since` seconds ago.
    fn young_course(step: u64, ago: u64, since: Option<u64>) -> Course {
        let mut counters = Counters::default();
        counters.0[Counter::Hits as usize] = 600;
        let now = Timestamp(1_700_000_000_000);
        let start = |ago: u64| Timestamp(now.0 - ago * 1000);
        let steps = [ago + step, ago]
            .map(|ago| HistoryStep { start: start(ago), counters: counters.clone() });
        Course::new(
            Duration::from_secs(step),
            steps.into(),
            Period { since: since.map(start), now },
        )
    }

    #[test]
    fn a_step_in_which_counting_began_has_the_rate_of_the_time_since_then() {
        let hits = |since| young_course(600, 300, Some(since)).rates(&[Counter::Hits]);
        assert_eq!(hits(10_000), [Some(1.0), Some(2.0)]);
        assert_eq!(hits(500), [Some(3.0), Some(2.0)]);
        assert_eq!(hits(100), [None, Some(6.0)]);
        assert_eq!(hits(303), [None, Some(2.0)], "a moment only");
        let young = young_course(600, 300, Some(100));
        assert_eq!(young.rates_of(&young.steps), [0.0, 6.0]);
    }

    #[test]
    fn a_young_fleet_covers_the_time_since_it_counts() {
        let covered = |since: Option<u64>| {
            let now = Timestamp(1_700_000_000_000);
            let since = since.map(|ago| Timestamp(now.0 - ago * 1000));
            Period { since, now }.covered(Duration::from_secs(3600)).as_secs()
        };
        let times = [None, Some(0), Some(30), Some(3600), Some(9000)].map(covered);
        assert_eq!(times, [3600, 1, 30, 3600, 3600]);
    }

    #[test]
    fn a_step_that_has_not_ended_has_the_rate_of_its_time_so_far() {
        let rates = course(600, 300).rates(&[Counter::Hits]);
        assert_eq!(rates[0], Some(1.0));
        assert!((rates[1].unwrap() - 2.0).abs() < 0.05, "{rates:?}");
        let own = course(600, 300);
        let steps = own.steps.clone();
        assert!((own.rates_of(&steps)[1] - 2.0).abs() < 0.05);
    }

    #[test]
    fn events_name_their_namespaces() {
        let counters = |counts: &[(Counter, u64)]| {
            let mut counters = Counters::default();
            counts.iter().for_each(|(counter, count)| counters.0[*counter as usize] = *count);
            counters
        };
        let nothing = Counters::default();
        let failing = counters(&[(Counter::FetchesFailed, 10)]);
        let gone = counters(&[(Counter::Invalidations, 1)]);
        let namespace = |name: &str, step: usize, counters: &Counters| {
            let mut steps = vec![nothing.clone(); 60];
            steps[step] = counters.clone();
            NamespaceHistory { namespace: name.to_owned(), steps }
        };
        let namespaces =
            [namespace("a", 5, &failing), namespace("b", 20, &gone), namespace("c", 20, &gone)];
        let mut steps = vec![nothing.clone(); 60];
        for own in &namespaces {
            steps.iter_mut().zip(&own.steps).for_each(|(sum, own)| sum.add(own));
        }
        let starts = (100..160).collect();
        let course = Course { starts, steps, ..Course::default() };
        let events = course.events(&namespaces, vec![(140, "d opens".to_owned())]);
        let events: Vec<(usize, &str)> = events.iter().map(|(at, text)| (*at, &**text)).collect();
        let expected = [(5, "a: fetches fail"), (20, "b and 1 more: invalidated"), (40, "d opens")];
        assert_eq!(events, expected);
        assert_eq!(course.events(&[], Vec::new())[0], (5, "fetches fail".to_owned()));
    }

    #[test]
    fn named_times_are_marked_at_their_steps() {
        let starts: Vec<u64> = (100..160).collect();
        let course = Course { starts, ..Course::default() };
        let times = [(99, "before"), (130, "b"), (110, "a"), (131, "near"), (999, "last")];
        let times = times.map(|(time, name)| (time, name.to_owned())).into();
        let marks: Vec<(usize, String)> = course.marks(times);
        let marks: Vec<(usize, &str)> = marks.iter().map(|(at, name)| (*at, &**name)).collect();
        assert_eq!(marks, [(10, "a"), (30, "b"), (59, "last")]);
    }

    #[test]
    fn a_step_that_has_just_begun_is_left_out() {
        for (step, ago) in [(60, 1), (60, 58), (600, 30)] {
            let course = course(step, ago);
            assert_eq!((course.steps.len(), course.starts.len()), (1, 1), "{step} {ago}");
            assert_eq!(course.rates(&[Counter::Hits]), [Some(600.0 / step as f64)]);
            assert_eq!(course.rates_of(&[Counters::default(), Counters::default()]).len(), 1);
        }
    }
}

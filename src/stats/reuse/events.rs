//! The events of followed keys of a namespace that this replica has not sent yet.

use std::{
    collections::HashMap,
    sync::atomic::{AtomicU64, Ordering},
};

use parking_lot::Mutex;

use super::{
    MAX_HALVINGS,
    event::{NamespaceEvents, ReuseEvent, ReuseInvalidation},
    is_below,
    runs::{PLACES, Run, Runs},
};

/// Most events that wait to be taken.
const MAX_EVENTS: usize = 4096;
/// Events that wait to be taken from which fewer keys are followed.
const CROWDED: usize = 2048;
/// Number of followed keys that is not reduced further because of their events.
const FEW_KEYS: usize = 64;
/// How often events are taken before the share of the fleet replaces one that this replica has
/// reduced: until then the others do not have it.
const HELD_TAKES: u32 = 30;

/// Collects events until they are taken. A hit never waits for another thread.
#[derive(Debug)]
pub struct ReuseEvents {
    waiting: Mutex<Waiting>,
    runs: Runs,
    /// The highest hash of a followed key.
    highest: AtomicU64,
    /// Reads that are no events, for all keys.
    skipped: AtomicU64,
    dropped: AtomicU64,
}

#[derive(Debug, Default)]
struct Waiting {
    keys: HashMap<u64, Vec<ReuseEvent>>,
    /// The hash of the key that a run belongs to, by its place.
    run_keys: Vec<u64>,
    invalidations: Vec<ReuseInvalidation>,
    events: usize,
    /// One of 2 to the power of this keys is followed.
    halvings: u32,
    /// How often events are taken until the share of the fleet counts again.
    held_takes: u32,
}

impl Default for ReuseEvents {
    fn default() -> Self {
        let (waiting, runs, skipped, dropped) = Default::default();
        Self { waiting, runs, highest: AtomicU64::new(u64::MAX), skipped, dropped }
    }
}

impl ReuseEvents {
    /// Whether the key with this hash is followed.
    #[inline]
    pub fn follows(&self, hash: u64) -> bool {
        hash <= self.highest.load(Ordering::Relaxed)
    }

    /// Adds an event of the key with this hash. If many wait, fewer keys are followed; drops it if
    /// too many wait. A hit is dropped too if another thread adds an event at this moment: one hit
    /// less of a key that is read so often changes nothing.
    #[inline]
    pub fn add(&self, hash: u64, event: ReuseEvent) {
        let run = if let ReuseEvent::Hit { at, is_stale, .. } = event {
            Some(Run::of(hash, at, is_stale))
        } else {
            None
        };
        if !run.is_some_and(|run| self.runs.count(hash, run)) {
            self.add_event(hash, event, run);
        }
    }

    #[cold]
    fn add_event(&self, hash: u64, event: ReuseEvent, run: Option<Run>) {
        let waiting =
            if run.is_some() { self.waiting.try_lock() } else { Some(self.waiting.lock()) };
        let is_added = waiting.is_some_and(|mut waiting| {
            while waiting.is_crowded() {
                self.halve(&mut waiting);
            }
            // It may be none of the followed keys by now.
            !is_below(hash, waiting.halvings) || {
                waiting.end_run(hash, run, &self.runs);
                waiting.add(hash, event)
            }
        });
        if !is_added {
            self.count_dropped(1);
        }
    }

    /// Adds an invalidation of many entries.
    pub fn invalidated(&self, at: u64, is_whole: bool) {
        let mut waiting = self.waiting.lock();
        let waiting = &mut *waiting;
        match waiting.invalidations.last_mut() {
            // Only the last one counts.
            Some(last) if !last.is_whole && !is_whole => last.at = at,
            _ if waiting.events < MAX_EVENTS => {
                waiting.events += 1;
                waiting.invalidations.push(ReuseInvalidation { at, is_whole });
            }
            _ => self.count_dropped(1),
        }
    }

    /// Counts a read that is no event: the cache was not asked, or the store did not answer.
    pub fn skip(&self) {
        let halvings = self.highest.load(Ordering::Relaxed).leading_zeros();
        self.skipped.fetch_add(1 << halvings, Ordering::Relaxed);
    }

    /// Takes all events; none if there are none.
    pub fn take(&self) -> Option<NamespaceEvents> {
        let mut waiting = self.waiting.lock();
        for place in 0..waiting.run_keys.len() {
            let hits = self.runs.replace(place, None);
            let hash = waiting.run_keys[place];
            waiting.count_hits(hash, hits);
        }
        waiting.held_takes = waiting.held_takes.saturating_sub(1);
        let raised = if waiting.held_takes > 0 { waiting.halvings } else { 0 };
        let events = std::mem::take(&mut waiting.events);
        let keys: Vec<_> = std::mem::take(&mut waiting.keys).into_iter().collect();
        let invalidations = std::mem::take(&mut waiting.invalidations);
        drop(waiting);
        let all_skipped = self.skipped.swap(0, Ordering::Relaxed);
        (events > 0 || all_skipped > 0).then_some(NamespaceEvents {
            keys,
            invalidations,
            skipped: 0,
            all_skipped,
            raised,
        })
    }

    /// Follows one of 2 to the power of `halvings` keys, as the fleet does. Fewer, if this replica
    /// has reduced its share a short time ago.
    pub fn follow_share(&self, halvings: u32) {
        let mut waiting = self.waiting.lock();
        while waiting.halvings < halvings.min(MAX_HALVINGS) {
            waiting.halve();
        }
        if waiting.held_takes == 0 {
            waiting.halvings = halvings.min(MAX_HALVINGS);
        }
        self.highest.store(u64::MAX >> waiting.halvings, Ordering::Relaxed);
    }

    /// Follows half of the keys: there is no room for their events. A few are always followed.
    pub fn reduce(&self) {
        let mut waiting = self.waiting.lock();
        if waiting.halvings < MAX_HALVINGS {
            self.halve(&mut waiting);
        }
    }

    fn halve(&self, waiting: &mut Waiting) {
        waiting.halve();
        waiting.held_takes = HELD_TAKES;
        self.highest.store(u64::MAX >> waiting.halvings, Ordering::Relaxed);
    }

    /// Events that were dropped so far.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    /// Counts events that were dropped.
    pub fn count_dropped(&self, events: u64) {
        self.dropped.fetch_add(events, Ordering::Relaxed);
    }
}

impl Waiting {
    fn is_crowded(&self) -> bool {
        self.events >= CROWDED && self.keys.len() > FEW_KEYS && self.halvings < MAX_HALVINGS
    }

    fn halve(&mut self) {
        self.halvings += 1;
        let halvings = self.halvings;
        self.keys.retain(|hash, _| is_below(*hash, halvings));
        self.events = self.keys.values().map(Vec::len).sum::<usize>() + self.invalidations.len();
    }

    /// Ends the run of the key with this hash, and that of another one in its place if a run of
    /// this one begins.
    fn end_run(&mut self, hash: u64, run: Option<Run>, runs: &Runs) {
        self.run_keys.resize(PLACES, 0);
        let place = Runs::place(hash);
        if run.is_some() || self.run_keys[place] == hash {
            let hits = runs.replace(place, run);
            let former = std::mem::replace(&mut self.run_keys[place], hash);
            self.count_hits(former, hits);
        }
    }

    /// Adds hits to the last run of a key.
    fn count_hits(&mut self, hash: u64, hits: u64) {
        let events = self.keys.get_mut(&hash).filter(|_| hits > 0);
        let last = events.and_then(|events| events.iter_mut().rev().find_map(ReuseEvent::hits));
        if let Some(count) = last {
            *count = count.saturating_add(hits);
        }
    }

    /// Returns false if there is no room.
    fn add(&mut self, hash: u64, event: ReuseEvent) -> bool {
        if let Some(events) = self.keys.get_mut(&hash)
            && events.last_mut().is_some_and(|last| last.absorb(&event))
        {
            return true;
        }
        if self.events >= MAX_EVENTS {
            return false;
        }
        self.events += 1;
        self.keys.entry(hash).or_default().push(event);
        true
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::stats::reuse::event::FollowedEntry;

    fn hit(at: u64) -> ReuseEvent {
        let entry = FollowedEntry { written_at: 1, ttl: 2, window: 3, bytes: 4, kept: 0 };
        ReuseEvent::Hit { at, count: 1, entry, is_stale: false }
    }

    #[test]
    fn events_are_bounded_and_taken_once() {
        let events = ReuseEvents::default();
        assert_eq!(events.take(), None);
        (0..5000).for_each(|number| events.add(number, ReuseEvent::Miss { at: number }));
        assert_eq!((events.take().unwrap().keys.len(), events.dropped()), (4096, 5000 - 4096));
        assert_eq!(events.take(), None);
        (0..5000).for_each(|number| events.add(7, hit(number / 100)));
        let taken = events.take().unwrap();
        assert_eq!((taken.keys.len(), taken.keys[0].1.len()), (1, 1), "one run");
        assert_eq!(events.dropped(), 5000 - 4096);
    }

    fn hash(number: u64) -> u64 {
        xxhash_rust::xxh3::xxh3_64(&number.to_be_bytes())
    }

    /// Hits of a run are counted, each for the entry that it has found.
    #[test]
    fn hits_of_a_run_are_one_event_with_their_number() {
        let events = ReuseEvents::default();
        let neighbour = 7 + PLACES as u64;
        (1000..1010).for_each(|at| events.add(7, hit(at)));
        events.add(7, ReuseEvent::Removal { at: 1010 });
        (1011..1014).for_each(|at| events.add(7, hit(at)));
        // It has the same place.
        events.add(neighbour, hit(1014));
        (1015..1020).for_each(|at| events.add(7, hit(at)));
        let mut taken = events.take().unwrap();
        taken.keys.sort_by_key(|(hash, _)| *hash);
        let counts: Vec<Vec<u64>> = taken
            .keys
            .iter_mut()
            .map(|(_, events)| {
                events.iter_mut().filter_map(ReuseEvent::hits).map(|it| *it).collect()
            })
            .collect();
        assert_eq!(counts, [vec![10, 8], vec![1]]);
        events.add(7, hit(1021));
        let again = events.take().unwrap();
        assert!(matches!(again.keys[0].1[..], [ReuseEvent::Hit { count: 1, .. }]), "{again:?}");
    }

    #[test]
    fn fewer_keys_are_followed_if_there_are_many_events() {
        let events = ReuseEvents::default();
        (0..10_000).for_each(|number| events.add(hash(number), ReuseEvent::Miss { at: number }));
        let taken = events.take().unwrap();
        assert_eq!((taken.raised, events.dropped()), (3, 0));
        // All keys of the share are there, whenever they came.
        let of_share = (0..10_000).filter(|number| is_below(hash(*number), 3)).count();
        assert_eq!(taken.keys.len(), of_share);
        assert!(events.follows(u64::MAX >> 3) && !events.follows(u64::MAX >> 2));
        events.skip();
        assert_eq!(events.take().unwrap().all_skipped, 8);
        // A few keys with many events are not worth a smaller share.
        (0..3000).for_each(|at| events.add(hash(at % 8) >> 3, ReuseEvent::Miss { at }));
        assert_eq!(events.take().unwrap().raised, 3);
    }

    #[test]
    fn share_of_the_fleet_is_followed_once_it_can_be_that_of_this_replica() {
        let events = ReuseEvents::default();
        let share = || (0..9).find(|share| events.follows(u64::MAX >> share));
        events.follow_share(2);
        assert_eq!(share(), Some(2));
        events.follow_share(0);
        assert_eq!(share(), Some(0));
        events.reduce();
        for _ in 0..HELD_TAKES {
            events.follow_share(0);
            assert_eq!(share(), Some(1), "the others do not have it yet");
            let _ = events.take();
        }
        events.follow_share(0);
        assert_eq!(share(), Some(0));
        events.follow_share(u32::MAX);
        assert!(!events.follows(u64::MAX >> 39) && events.follows(u64::MAX >> 40));
    }

    #[test]
    fn hit_does_not_wait() {
        let events = ReuseEvents::default();
        let held = events.waiting.lock();
        events.add(7, hit(1));
        drop(held);
        assert_eq!((events.take(), events.dropped()), (None, 1));
    }

    #[test]
    fn last_invalidation_counts() {
        let events = ReuseEvents::default();
        for (at, is_whole) in [(1, false), (2, false), (3, true), (4, false)] {
            events.invalidated(at, is_whole);
        }
        let taken = events.take().unwrap().invalidations;
        let taken: Vec<_> = taken.iter().map(|one| (one.at, one.is_whole)).collect();
        assert_eq!(taken, [(2, false), (3, true), (4, false)]);
    }
}

//! The events of followed keys of a namespace that this replica has not sent yet.

use std::{
    collections::HashMap,
    sync::atomic::{AtomicU64, Ordering},
};

use parking_lot::Mutex;

use super::event::{NamespaceEvents, ReuseEvent, ReuseInvalidation};

/// Most events that wait to be taken: of a thousand keys, some in each quarter of a second.
const MAX_EVENTS: usize = 4096;

/// Collects events until they are taken. A hit never waits for another thread.
#[derive(Debug, Default)]
pub struct ReuseEvents {
    waiting: Mutex<Waiting>,
    dropped: AtomicU64,
}

#[derive(Debug, Default)]
struct Waiting {
    keys: HashMap<u64, Vec<ReuseEvent>>,
    invalidations: Vec<ReuseInvalidation>,
    events: usize,
    skipped: u64,
}

impl ReuseEvents {
    /// Adds an event of the key with this hash. Drops it if too many wait. A hit is dropped too if
    /// another thread adds an event at this moment: one hit less of a key that is read so often
    /// changes nothing.
    #[cold]
    pub fn add(&self, hash: u64, event: ReuseEvent) {
        let is_hit = matches!(event, ReuseEvent::Hit { .. });
        let waiting = if is_hit { self.waiting.try_lock() } else { Some(self.waiting.lock()) };
        if !waiting.is_some_and(|mut waiting| waiting.add(hash, event)) {
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
    #[cold]
    pub fn skip(&self) {
        self.waiting.lock().skipped += 1;
    }

    /// Takes all events; none if there are none.
    pub fn take(&self) -> Option<NamespaceEvents> {
        let mut waiting = std::mem::take(&mut *self.waiting.lock());
        let keys: Vec<_> = waiting.keys.drain().collect();
        let Waiting { invalidations, events, skipped, .. } = waiting;
        (events > 0 || skipped > 0).then_some(NamespaceEvents { keys, invalidations, skipped })
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

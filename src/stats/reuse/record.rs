//! A followed key: its entry, and the entries that it would have with other TTLs.
//!
//! A simulated entry is written when the key is first written, and again by each read that does not
//! find it. A value that was stored because the real entry was missing or stale is no write for a
//! simulated entry that is still there: with that TTL, nothing would have been missing.

use serde::{Deserialize, Serialize};

use super::{
    LARGE_BYTES, TTLS_MS,
    counts::ReuseCounts,
    event::{FollowedEntry, ReuseEvent},
};

/// Writes within this time after a miss are its consequence, in milliseconds: several callers may
/// have missed at once.
const CONSEQUENCE_MS: u64 = 5_000;
/// Difference between two times of one write, in milliseconds: that of the store and that of the
/// replica. A read this soon after a write that follows a miss may have come before it.
const SAME_WRITE_MS: u64 = 500;
/// An entry that is gone this part of its TTL before its end was removed. Less can be the
/// difference of two clocks.
const EARLY_PART: u64 = 10;

/// State of a followed key. Replicas exchange it as JSON.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyRecord {
    /// The last entry; none if the key was never written or found.
    entry: Option<FollowedEntry>,
    /// When the entry is no longer fresh.
    fresh_until: u64,
    /// Reads that the entry answered.
    hits: u64,
    /// Whether the entry was deleted or found missing before its end.
    is_removed: bool,
    /// Whether the end of the entry is counted.
    is_ended: bool,
    /// When the key was missed or found stale last.
    missed_at: u64,
    /// Time of the last event.
    seen_at: u64,
    /// When the simulated entries were written; 0: there is none.
    written: [u64; TTLS_MS.len()],
}

/// Where a record is counted.
pub(super) struct Counting<'a> {
    pub(super) counts: &'a mut ReuseCounts,
    /// Number of keys for one that is followed.
    pub(super) weight: u64,
    /// When entries of the namespace were last invalidated.
    pub(super) invalidated_at: u64,
}

impl KeyRecord {
    /// Time of the last event.
    pub(super) fn seen_at(&self) -> u64 {
        self.seen_at
    }

    /// Counts an event, and simulates it.
    pub(super) fn apply(&mut self, event: &ReuseEvent, to: &mut Counting<'_>) {
        match *event {
            ReuseEvent::Hit { at, count, entry, is_stale } => {
                self.hit(at, count, entry, to);
                if is_stale {
                    self.missed_at = at;
                }
            }
            ReuseEvent::Miss { at } => self.miss(at, to),
            ReuseEvent::Write { entry, is_default_ttl } => {
                add(&mut to.counts.writes, to.weight);
                if is_default_ttl {
                    add(&mut to.counts.default_writes, to.weight);
                }
                add(&mut to.counts.ttl_millis, to.weight.saturating_mul(entry.ttl));
                self.write(entry, to);
            }
            ReuseEvent::Touch { at, ttl } => self.touch(at, ttl, to),
            ReuseEvent::Removal { at } => self.remove(at, to),
        }
        self.seen_at = self.seen_at.max(event.at());
    }

    /// Counts the end of the entry and of the simulated ones, if that has passed.
    pub(super) fn end_if_over(&mut self, now: u64, to: &mut Counting<'_>) {
        let kept_until = self.kept_until();
        if kept_until <= now {
            self.end(kept_until, to);
        }
        let kept = self.entry.map_or(0, |entry| entry.kept());
        for (ttl, millis) in TTLS_MS.into_iter().enumerate() {
            let end = self.written[ttl].saturating_add(millis).saturating_add(kept);
            if self.written[ttl] > 0 && end <= now {
                self.rewrite(ttl, end, 0, to);
            }
        }
    }

    /// Counts a removal of the entry.
    pub(super) fn remove(&mut self, at: u64, to: &mut Counting<'_>) {
        self.end(at, to);
        (0..TTLS_MS.len()).for_each(|ttl| self.rewrite(ttl, at, 0, to));
        self.is_removed = true;
        self.missed_at = 0;
    }

    fn hit(&mut self, at: u64, count: u64, found: FollowedEntry, to: &mut Counting<'_>) {
        match &self.entry {
            // Nothing is known of its reads before.
            None => {
                self.begin(found);
                for (written, ttl) in self.written.iter_mut().zip(TTLS_MS) {
                    let is_fresh = at < found.written_at.saturating_add(ttl);
                    *written = if is_fresh { found.written_at } else { at };
                }
                self.hits = count;
                return;
            }
            // The event of its write is lost.
            Some(entry) if found.written_at > entry.written_at.saturating_add(SAME_WRITE_MS) => {
                self.write(found, to);
            }
            Some(_) => {}
        }
        self.hits = self.hits.saturating_add(count);
        add(&mut to.counts.hits, to.weight.saturating_mul(count));
        add(&mut to.counts.seen_hits, count);
        if found.bytes >= LARGE_BYTES {
            add(&mut to.counts.large_hits, to.weight.saturating_mul(count));
        }
        for ttl in 0..TTLS_MS.len() {
            if self.is_served(ttl, at) {
                // A stale value is refreshed.
                if !self.is_fresh(ttl, at) {
                    self.rewrite(ttl, at, at, to);
                }
            } else {
                add(&mut to.counts.missed[ttl], to.weight);
                self.rewrite(ttl, at, at, to);
            }
        }
    }

    fn miss(&mut self, at: u64, to: &mut Counting<'_>) {
        add(&mut to.counts.misses, to.weight);
        add(&mut to.counts.seen_misses, 1);
        let stored_at = self.entry.map_or(0, |entry| entry.written_at);
        let is_before_write = !self.is_removed
            && self.missed_at > 0
            && at < self.fresh_until
            && at <= stored_at.saturating_add(SAME_WRITE_MS);
        match self.entry {
            _ if is_before_write => {}
            Some(_) if self.is_removed => add(&mut to.counts.invalidated, to.weight),
            Some(entry) if at.saturating_add(entry.ttl / EARLY_PART) < self.fresh_until => {
                let cause = match to.invalidated_at >= entry.written_at {
                    true => &mut to.counts.invalidated,
                    false => &mut to.counts.evicted,
                };
                add(cause, to.weight);
                // Another TTL would not have kept it.
                self.remove(at, to);
            }
            Some(_) => self.end(at.min(self.kept_until()), to),
            None => {}
        }
        for ttl in 0..TTLS_MS.len() {
            if is_before_write && self.written[ttl] == stored_at {
                add(&mut to.counts.missed[ttl], to.weight);
            } else if !self.is_served(ttl, at) {
                add(&mut to.counts.missed[ttl], to.weight);
                self.rewrite(ttl, at, 0, to);
            }
        }
        self.missed_at = if is_before_write { stored_at } else { at };
    }

    fn write(&mut self, entry: FollowedEntry, to: &mut Counting<'_>) {
        let at = entry.written_at;
        if self.entry.is_some_and(|former| at < former.written_at) {
            return;
        }
        self.end(at.min(self.kept_until()), to);
        let is_soon = self.missed_at > 0 && at <= self.missed_at.saturating_add(CONSEQUENCE_MS);
        let is_consequence =
            is_soon || self.entry.is_none_or(|former| self.missed_at > former.written_at);
        // An entry that was fresh at the read would not have been computed.
        let read_at = if is_soon { at.min(self.missed_at) } else { at };
        for ttl in 0..TTLS_MS.len() {
            if !is_consequence || !self.is_fresh(ttl, read_at) {
                self.rewrite(ttl, at, at, to);
            }
        }
        self.begin(entry);
    }

    fn touch(&mut self, at: u64, ttl: u64, to: &mut Counting<'_>) {
        if self.entry.is_none() || self.is_ended {
            return;
        }
        self.fresh_until = at.saturating_add(ttl);
        for ttl in 0..TTLS_MS.len() {
            if self.is_fresh(ttl, at) {
                self.rewrite(ttl, at, at, to);
            }
        }
    }

    fn begin(&mut self, entry: FollowedEntry) {
        self.fresh_until = entry.written_at.saturating_add(entry.ttl);
        self.entry = Some(entry);
        (self.hits, self.is_removed, self.is_ended) = (0, false, false);
    }

    /// Counts the end of the entry, once. Simulated ones that were written later last longer.
    fn end(&mut self, at: u64, to: &mut Counting<'_>) {
        let Some(entry) = self.entry.filter(|_| !self.is_ended) else { return };
        self.is_ended = true;
        let held = held(entry.bytes, at.saturating_sub(entry.written_at), to.weight);
        add(&mut to.counts.ended, to.weight);
        add(&mut to.counts.seen_ended, 1);
        add(&mut to.counts.held, held);
        if self.hits == 0 {
            add(&mut to.counts.unread, to.weight);
            add(&mut to.counts.unread_held, held);
        }
        if entry.bytes >= LARGE_BYTES {
            add(&mut to.counts.large_ended, to.weight);
            add(&mut to.counts.large_held, held);
        }
        for (ttl, millis) in TTLS_MS.into_iter().enumerate() {
            if millis >= entry.ttl {
                add(&mut to.counts.would_hold[ttl], held);
            }
        }
    }

    /// Replaces a simulated entry by one that is written at `written`; 0: by none.
    fn rewrite(&mut self, ttl: usize, at: u64, written: u64, to: &mut Counting<'_>) {
        let former = std::mem::replace(&mut self.written[ttl], written);
        let millis = TTLS_MS[ttl];
        if let Some(entry) = self.entry.filter(|entry| former > 0 && millis < entry.ttl) {
            let time = at.saturating_sub(former).min(millis.saturating_add(entry.kept()));
            add(&mut to.counts.would_hold[ttl], held(entry.bytes, time, to.weight));
        }
    }

    /// When the store drops the entry.
    fn kept_until(&self) -> u64 {
        self.fresh_until.saturating_add(self.entry.map_or(0, |entry| entry.kept()))
    }

    fn is_fresh(&self, ttl: usize, at: u64) -> bool {
        let written = self.written[ttl];
        written > 0 && at < written.saturating_add(TTLS_MS[ttl])
    }

    fn is_served(&self, ttl: usize, at: u64) -> bool {
        let window = self.entry.map_or(0, |entry| entry.window);
        self.is_fresh(ttl, at.saturating_sub(window))
    }
}

fn add(sum: &mut u64, count: u64) {
    *sum = sum.saturating_add(count);
}

/// Byte-seconds of all keys that a followed one stands for.
fn held(bytes: u64, millis: u64, weight: u64) -> u64 {
    bytes.saturating_mul(millis).saturating_mul(weight) / 1000
}

#[cfg(test)]
mod tests;

use super::*;

const MINUTE: u64 = 60_000;
const START: u64 = 1_000_000_000_000;

/// The place of a simulated TTL, in minutes.
fn ttl_of(minutes: u64) -> usize {
    TTLS_MS.iter().position(|ttl| *ttl == minutes * MINUTE).unwrap_or_default()
}

#[derive(Default)]
struct Key {
    record: KeyRecord,
    counts: ReuseCounts,
    invalidated_at: u64,
}

impl Key {
    fn apply(&mut self, event: ReuseEvent) {
        let invalidated_at = self.invalidated_at;
        let mut to = Counting { counts: &mut self.counts, weight: 1, invalidated_at };
        self.record.apply(&event, &mut to);
    }

    fn write(&mut self, minute: u64, ttl: u64) {
        let entry = entry(minute, ttl);
        self.apply(ReuseEvent::Write { entry, is_default_ttl: true });
    }

    fn hit(&mut self, minute: u64, written: u64, ttl: u64) {
        let (at, entry) = (START + minute * MINUTE, entry(written, ttl));
        self.apply(ReuseEvent::Hit { at, count: 1, entry, is_stale: false });
    }

    fn miss(&mut self, minute: u64) {
        self.apply(ReuseEvent::Miss { at: START + minute * MINUTE });
    }

    fn end_if_over(&mut self, minute: u64) {
        let mut to = Counting { counts: &mut self.counts, weight: 1, invalidated_at: 0 };
        self.record.end_if_over(START + minute * MINUTE, &mut to);
    }

    fn missed(&self, minutes: u64) -> u64 {
        self.counts.missed[ttl_of(minutes)]
    }
}

fn entry(minute: u64, ttl: u64) -> FollowedEntry {
    let written_at = START + minute * MINUTE;
    FollowedEntry { written_at, ttl: ttl * MINUTE, window: 0, bytes: 100, kept: 0 }
}

#[test]
fn a_longer_ttl_saves_each_miss_in_it_and_not_the_first() {
    let mut key = Key::default();
    // A read every 2 minutes, with a TTL of 1 minute: each is a miss.
    for minute in (0..20).step_by(2) {
        key.miss(minute);
        key.write(minute, 1);
    }
    assert_eq!((key.counts.misses, key.counts.hits), (10, 0));
    // With 5 minutes: misses at 0, 6, 12 and 18.
    assert_eq!((key.missed(1), key.missed(5), key.missed(60)), (10, 4, 1));
    assert_eq!(key.counts.evicted + key.counts.invalidated, 0);
}

#[test]
fn a_shorter_ttl_misses_more_and_holds_less() {
    let mut key = Key::default();
    key.miss(0);
    key.write(0, 60);
    for minute in [1, 3, 59] {
        key.hit(minute, 0, 60);
    }
    // Of 2 minutes: the reads at 3 and 59 are misses, of 5 minutes the one at 59.
    assert_eq!((key.missed(2), key.missed(5), key.missed(60)), (3, 2, 1));
    key.miss(61);
    key.end_if_over(65);
    let seconds = |bytes_seconds: u64| bytes_seconds / 100;
    assert_eq!((key.counts.ended, key.counts.unread), (1, 0));
    assert_eq!(seconds(key.counts.held), 3600);
    // From 0 to 2, from 3 to 5, and from 59 to 61; from 0 to 5, and from 59 to 64.
    assert_eq!(seconds(key.counts.would_hold[ttl_of(2)]), (2 + 2 + 2) * 60);
    assert_eq!(seconds(key.counts.would_hold[ttl_of(5)]), (5 + 5) * 60);
    assert_eq!(key.counts.would_hold[ttl_of(60)], key.counts.held, "not shorter");
}

#[test]
fn a_shorter_ttl_that_began_again_outlasts_the_entry() {
    let mut key = Key::default();
    key.miss(0);
    key.write(0, 15);
    for minute in [11, 14] {
        key.hit(minute, 0, 15);
    }
    key.end_if_over(16);
    key.miss(17);
    key.write(17, 15);
    key.hit(20, 17, 15);
    // With 10 minutes, the entries are those from 0, from 11 and none else until 21.
    assert_eq!((key.missed(10), key.missed(30)), (2, 1));
    key.hit(22, 17, 15);
    assert_eq!(key.missed(10), 3);
    let held = key.counts.would_hold[ttl_of(10)] / 100;
    assert_eq!(held, (10 + 10) * 60, "each is counted once");
}

#[test]
fn memory_is_held_after_the_ttl_until_the_entry_is_replaced() {
    let mut key = Key::default();
    let kept = |minute| FollowedEntry { kept: 60 * MINUTE, ..entry(minute, 30) };
    let write = |entry| ReuseEvent::Write { entry, is_default_ttl: true };
    key.apply(write(kept(0)));
    key.miss(40);
    key.apply(write(kept(40)));
    let held = |key: &Key| (key.counts.held / 6000, key.counts.would_hold[ttl_of(10)] / 6000);
    // With 10 minutes it is the same value that is replaced at 40.
    assert_eq!((held(&key), key.counts.ended), ((40, 40), 1));
    key.end_if_over(129);
    assert_eq!((held(&key), key.counts.ended), ((40, 40 + 70), 1));
    key.end_if_over(130);
    assert_eq!((held(&key), key.counts.ended), ((40 + 90, 40 + 70), 2));
}

#[test]
fn a_read_that_raced_with_the_write_after_a_miss_is_a_miss_of_the_former_entry() {
    let mut key = Key::default();
    key.write(0, 1);
    key.miss(2);
    key.write(2, 1);
    for millis in [3, 4] {
        key.apply(ReuseEvent::Miss { at: START + 2 * MINUTE + millis });
    }
    assert_eq!((key.counts.misses, key.counts.evicted), (3, 0));
    assert_eq!((key.missed(1), key.missed(5)), (3, 0), "with 5 minutes there was an entry");
    key.hit(2, 2, 1);
    assert_eq!(key.missed(1), 3);
    // A later write without a miss is an update.
    key.write(3, 5);
    key.hit(7, 3, 5);
    assert_eq!(key.missed(5), 0);
}

#[test]
fn an_update_is_a_write_for_every_ttl() {
    let mut key = Key::default();
    key.write(0, 60);
    key.write(4, 60);
    key.hit(8, 4, 60);
    assert_eq!((key.missed(2), key.missed(5)), (1, 0));
    assert_eq!((key.counts.writes, key.counts.ended, key.counts.unread), (2, 1, 1));
}

#[test]
fn a_ttl_below_a_second_counts() {
    let mut key = Key::default();
    let entry = FollowedEntry { ttl: 950, ..entry(0, 1) };
    key.apply(ReuseEvent::Write { entry, is_default_ttl: true });
    assert_eq!((key.counts.writes, key.counts.ttl_millis), (1, 950));
}

#[test]
fn two_writes_after_one_miss_are_one() {
    let mut key = Key::default();
    key.miss(0);
    key.write(0, 1);
    key.miss(4);
    key.write(4, 1);
    key.write(4, 1);
    // With 5 minutes the entry is that from the start.
    key.miss(6);
    assert_eq!((key.missed(5), key.missed(10)), (2, 1));
}

#[test]
fn an_entry_that_is_gone_early_was_evicted_or_invalidated() {
    let mut key = Key::default();
    key.write(0, 60);
    key.miss(50);
    assert_eq!((key.counts.evicted, key.counts.invalidated), (1, 0));
    // Another TTL would have missed it as well.
    assert_eq!((key.missed(30), key.missed(120)), (1, 1));
    key.write(50, 60);
    key.miss(109);
    assert_eq!(key.counts.evicted, 1, "it was about to end");
    key.write(109, 60);
    key.invalidated_at = START + 110 * MINUTE;
    key.miss(120);
    assert_eq!((key.counts.evicted, key.counts.invalidated), (1, 1));
    key.write(121, 60);
    key.apply(ReuseEvent::Removal { at: START + 122 * MINUTE });
    key.miss(123);
    assert_eq!((key.counts.evicted, key.counts.invalidated), (1, 2));
}

#[test]
fn a_touch_begins_the_ttl_again() {
    let mut key = Key::default();
    key.write(0, 5);
    for minute in [4, 8, 12] {
        key.hit(minute, 0, 5);
        key.apply(ReuseEvent::Touch { at: START + minute * MINUTE, ttl: 5 * MINUTE });
    }
    assert_eq!((key.missed(2), key.missed(5)), (3, 0));
    key.miss(18);
    assert_eq!((key.counts.evicted, key.missed(5)), (0, 1));
}

#[test]
fn an_entry_that_is_found_is_followed_from_then_on() {
    let mut key = Key::default();
    key.hit(10, 0, 60);
    assert_eq!((key.counts.hits, key.missed(5)), (0, 0), "its reads before are unknown");
    key.hit(12, 0, 60);
    assert_eq!((key.counts.hits, key.missed(5), key.missed(30)), (1, 0, 0));
    // The event of another write was lost.
    key.hit(72, 70, 60);
    assert_eq!((key.counts.ended, key.missed(60), key.missed(5)), (1, 0, 0));
}

#[test]
fn a_stale_value_is_served_and_refreshed() {
    let mut key = Key::default();
    let entry = FollowedEntry { window: 10 * MINUTE, ..entry(0, 5) };
    key.apply(ReuseEvent::Write { entry, is_default_ttl: false });
    let at = START + 8 * MINUTE;
    key.apply(ReuseEvent::Hit { at, count: 1, entry, is_stale: true });
    let refreshed = FollowedEntry { written_at: at, ..entry };
    key.apply(ReuseEvent::Write { entry: refreshed, is_default_ttl: false });
    assert_eq!((key.counts.hits, key.counts.misses), (1, 0));
    // With 30 minutes, no refresh was needed: the entry is that from the start.
    let at = START + 35 * MINUTE;
    key.apply(ReuseEvent::Miss { at });
    assert_eq!((key.missed(5), key.missed(30)), (1, 0));
    assert_eq!((key.counts.default_writes, key.counts.writes), (0, 2));
}

#[test]
fn the_end_of_an_entry_is_counted_once() {
    let mut key = Key::default();
    key.write(0, 5);
    for minute in [4, 5, 6] {
        key.end_if_over(minute);
    }
    key.miss(7);
    assert_eq!((key.counts.ended, key.counts.unread, key.counts.seen_ended), (1, 1, 1));
    assert_eq!(key.counts.unread_held, key.counts.held);
}

#[test]
fn large_values_are_counted_apart() {
    let mut key = Key::default();
    let entry = FollowedEntry { bytes: LARGE_BYTES, ..entry(0, 5) };
    key.apply(ReuseEvent::Write { entry, is_default_ttl: true });
    key.apply(ReuseEvent::Hit { at: START + MINUTE, count: 3, entry, is_stale: false });
    key.miss(6);
    let counts = &key.counts;
    assert_eq!((counts.large_ended, counts.large_hits, counts.hits), (1, 3, 3));
    assert_eq!(counts.large_held, counts.held);
}

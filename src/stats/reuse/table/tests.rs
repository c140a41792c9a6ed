use super::*;
use crate::stats::reuse::event::FollowedEntry;

const NOW: u64 = 1_000_000_000_000;
const MINUTE: u64 = 60_000;

/// The hash of a key.
fn hash(number: u64) -> u64 {
    xxhash_rust::xxh3::xxh3_64(&number.to_be_bytes())
}

fn write(written_at: u64) -> ReuseEvent {
    let entry = FollowedEntry { written_at, ttl: MINUTE, window: 0, bytes: 10, kept: 0 };
    ReuseEvent::Write { entry, is_default_ttl: true }
}

fn of_keys(keys: Vec<(u64, Vec<ReuseEvent>)>) -> NamespaceEvents {
    NamespaceEvents { keys, ..NamespaceEvents::default() }
}

#[test]
fn full_table_keeps_half_of_its_keys_and_weighs_them_twice() {
    let (mut table, mut figures) = (ReuseTable::default(), ReuseFigures::default());
    for number in 0..5000 {
        table.apply(vec![of_keys(vec![(hash(number), vec![write(NOW)])])], &mut figures);
        assert!(table.keys() <= MAX_KEYS && table.is_valid());
    }
    // 625 of 5,000 keys are below an eighth of the threshold.
    assert_eq!(table.weight(), 8);
    assert!((550..700).contains(&table.keys()), "{}", table.keys());
    // Each write counts for the keys that it stood for when it was seen.
    let (writes, expected) = (figures.sum().writes as f64, 5000.0_f64);
    assert!((writes / expected - 1.0).abs() < 0.1, "{writes} of {expected}");
}

/// Keys that come into a table that has room again count once their history is complete.
#[test]
fn table_with_room_follows_more_keys_and_counts_them_a_day_later() {
    const HOUR: u64 = 60 * MINUTE;
    let (mut table, mut figures) = (ReuseTable::default(), ReuseFigures::default());
    for number in 0..5000 {
        table.apply(vec![of_keys(vec![(hash(number), vec![write(NOW)])])], &mut figures);
    }
    assert_eq!(table.weight(), 8);
    // Of the keys 1,000 are still read, each every hour, and stored for a minute.
    let read_all = |table: &mut ReuseTable, at| {
        let mut figures = ReuseFigures::default();
        let events = |at| vec![ReuseEvent::Miss { at }, write(at + 1)];
        let keys = (0..1000).map(|number| (hash(number), events(at)));
        table.apply(vec![of_keys(keys.collect())], &mut figures);
        table.sweep(at + 2 * MINUTE, &mut figures);
        figures.sum()
    };
    let mut now = NOW + HOUR;
    while table.learning == 0 {
        read_all(&mut table, now);
        now += HOUR;
        assert!(now < NOW + 30 * HOUR);
    }
    let begin = now;
    assert_eq!((table.weight(), table.learning), (8, 2));
    let place = TTLS_MS.iter().position(|ttl| *ttl == 8 * HOUR).unwrap_or(0);
    while table.learning > 0 {
        let sum = read_all(&mut table, now);
        let counted = table.records.keys().filter(|hash| is_below(**hash, 3)).count() as u64;
        let expected = if table.learning > 0 { counted } else { sum.seen_misses };
        assert_eq!(sum.seen_misses, expected, "those of the other keys do not count yet");
        now += HOUR;
    }
    assert!(now >= begin + LEARNING_MS && table.keys() > 400, "{}", table.keys());
    assert_eq!(table.weight(), 2);
    // With 8 hours, a miss in nine is left: there is none because of what was not seen.
    let sums: Vec<ReuseCounts> =
        (0..9).map(|hour| read_all(&mut table, now + hour * HOUR)).collect();
    let (missed, misses) = sums
        .iter()
        .fold((0, 0), |(missed, misses), sum| (missed + sum.missed[place], misses + sum.misses));
    assert!((missed as f64 / misses as f64 - 1.0 / 9.0).abs() < 0.02, "{missed} of {misses}");
    assert!((misses as f64 / 9000.0 - 1.0).abs() < 0.1, "{misses}");
}

/// A replica that has halved its share has no events of the other keys.
#[test]
fn keys_that_one_replica_does_not_follow_are_dropped() {
    let (mut table, mut figures) = (ReuseTable::default(), ReuseFigures::default());
    let keys = (0..100).map(|number| (hash(number), vec![write(NOW)]));
    table.apply(vec![of_keys(keys.collect())], &mut figures);
    assert_eq!((table.keys(), table.share()), (100, 0));
    let raised = NamespaceEvents { raised: 2, ..NamespaceEvents::default() };
    table.apply(vec![raised], &mut figures);
    let of_share = (0..100).filter(|number| is_below(hash(*number), 2)).count();
    assert_eq!((table.keys(), table.share(), table.weight()), (of_share, 2, 4));
    // Another one still follows all.
    let keys = (0..100).map(|number| (hash(number), vec![write(NOW + 1)]));
    table.apply(vec![of_keys(keys.collect())], &mut figures);
    assert_eq!(table.keys(), of_share);
    assert_eq!(figures.sum().writes, 100 + 4 * of_share as u64);
}

#[test]
fn fewer_keys_are_followed_if_many_events_are_joined() {
    let (mut table, mut figures) = (ReuseTable::default(), ReuseFigures::default());
    let events: Vec<ReuseEvent> = (0..100).map(|at| ReuseEvent::Miss { at: NOW + at }).collect();
    let of_all = |count| of_keys((0..count).map(|number| (hash(number), events.clone())).collect());
    table.apply(vec![of_all(100)], &mut figures);
    assert_eq!(table.share(), 1);
    let mut few = ReuseTable::default();
    few.apply(vec![of_all(60), of_all(60)], &mut figures);
    assert_eq!(few.share(), 0, "of few keys all are followed");
}

#[test]
fn events_of_several_replicas_are_joined_in_the_order_of_their_times() {
    let (mut table, mut figures) = (ReuseTable::default(), ReuseFigures::default());
    let missed = of_keys(vec![(7, vec![ReuseEvent::Miss { at: NOW + 2 * MINUTE }])]);
    let written = of_keys(vec![(7, vec![write(NOW), write(NOW + 2 * MINUTE + 5)])]);
    table.apply(vec![missed, written], &mut figures);
    let again = of_keys(vec![(7, vec![ReuseEvent::Miss { at: NOW + 4 * MINUTE }])]);
    table.apply(vec![again], &mut figures);
    let sum = figures.sum();
    let five_minutes = super::super::TTLS_MS.iter().position(|ttl| *ttl == 5 * MINUTE);
    assert_eq!((sum.misses, sum.missed[five_minutes.unwrap_or(0)]), (2, 0));
}

#[test]
fn ended_entries_are_counted_and_idle_keys_dropped() {
    let (mut table, mut figures) = (ReuseTable::default(), ReuseFigures::default());
    table.apply(vec![of_keys(vec![(7, vec![write(NOW)])])], &mut figures);
    table.sweep(NOW + MINUTE, &mut figures);
    assert_eq!(figures.sum().ended, 0, "events may still arrive");
    table.sweep(NOW + 2 * MINUTE, &mut figures);
    assert_eq!((figures.sum().unread, table.keys()), (1, 1));
    table.sweep(NOW + IDLE_MS, &mut figures);
    assert_eq!((figures.sum().unread, table.keys()), (1, 0));
}

#[test]
fn invalidation_of_the_namespace_removes_every_entry() {
    let (mut table, mut figures) = (ReuseTable::default(), ReuseFigures::default());
    let invalidations = vec![ReuseInvalidation { at: NOW + 1, is_whole: true }];
    let missed_at = NOW + MINUTE / 2;
    let keys = vec![(7, vec![write(NOW), ReuseEvent::Miss { at: missed_at }])];
    table.apply(vec![NamespaceEvents { keys, invalidations, ..Default::default() }], &mut figures);
    let sum = figures.sum();
    assert_eq!((sum.ended, sum.invalidated, sum.evicted), (1, 1, 0));
}

#[test]
fn table_survives_its_text() {
    let (mut table, mut figures) = (ReuseTable::default(), ReuseFigures::default());
    let keys = (0..1000).map(|number| (hash(number), vec![write(NOW)]));
    table.apply(vec![of_keys(keys.collect())], &mut figures);
    let Ok(text) = serde_json::to_string(&table) else { panic!("no text") };
    assert_eq!(serde_json::from_str::<ReuseTable>(&text).ok(), Some(table));
    assert!(text.len() < 1000 * 500, "{} bytes", text.len());
}

/// Events come from other processes: whatever their numbers, they are counted.
#[test]
fn extreme_numbers_are_no_failure() {
    let (mut table, mut figures) = (ReuseTable::default(), ReuseFigures::default());
    let numbers = [0, 1, NOW, u64::MAX];
    for at in numbers {
        for ttl in numbers {
            let entry =
                FollowedEntry { written_at: at, ttl, window: ttl, bytes: u64::MAX, kept: 0 };
            let events = vec![
                ReuseEvent::Write { entry, is_default_ttl: true },
                ReuseEvent::Hit { at, count: u64::MAX, entry, is_stale: true },
                ReuseEvent::Touch { at, ttl },
                ReuseEvent::Miss { at },
                ReuseEvent::Removal { at },
            ];
            table.apply(vec![of_keys(vec![(ttl >> 7, events)])], &mut figures);
            table.sweep(at, &mut figures);
        }
    }
    assert_eq!(figures.sum().hits, u64::MAX);
}

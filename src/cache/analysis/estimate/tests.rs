use super::*;
use crate::stats::reuse::{
    event::{FollowedEntry, NamespaceEvents, ReuseEvent},
    table::ReuseTable,
};

const START: u64 = 1_000_000_000_000;
const MINUTE: u64 = 60_000;
/// Chosen by hand: other seeds give other traces.
const SEED: u64 = 7;

/// SplitMix64.
struct Dice(u64);

impl Dice {
    fn roll(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
    }
}

/// Reads of keys whose popularity is that of Zipf's law.
struct Zipf {
    sums: Vec<f64>,
    dice: Dice,
}

impl Zipf {
    fn new(keys: usize, exponent: f64) -> Self {
        let mut sum = 0.0;
        let sums = (1..=keys).map(|rank| {
            sum += (rank as f64).powf(-exponent);
            sum
        });
        Self { sums: sums.collect(), dice: Dice(SEED) }
    }

    fn next(&mut self) -> usize {
        let place = self.dice.roll() * self.sums.last().copied().unwrap_or_default();
        self.sums.partition_point(|sum| *sum < place)
    }
}

/// A cache of all keys that stores each value that is missing, with one TTL.
struct Simulated {
    ttl: u64,
    written: Vec<u64>,
    misses: u64,
}

impl Simulated {
    fn new(ttl: u64, keys: usize) -> Self {
        Self { ttl, written: vec![0; keys], misses: 0 }
    }

    /// When the entry that the read finds was written; none if it finds none.
    fn read(&mut self, key: usize, now: u64) -> Option<u64> {
        let written = self.written[key];
        if now < written + self.ttl {
            return Some(written);
        }
        self.misses += 1;
        self.written[key] = now;
        None
    }
}

/// The true misses and the estimates, by the TTL in minutes.
struct Trace {
    ttl: u64,
    reads: u64,
    misses: u64,
    truth: Vec<Simulated>,
    figures: ReuseFigures,
    weight: u64,
}

/// Reads for ten hours with a TTL of so many minutes.
fn trace(keys: usize, exponent: f64, ttl: u64) -> Trace {
    const READS: u64 = 1_000_000;
    let mut zipf = Zipf::new(keys, exponent);
    let (mut real, others) = (Simulated::new(ttl * MINUTE, keys), [1, 5, 10, 30, 60, 240]);
    let mut truth: Vec<_> = others.map(|ttl| Simulated::new(ttl * MINUTE, keys)).into();
    let (mut table, mut figures) = (ReuseTable::default(), ReuseFigures::default());
    let mut events = NamespaceEvents::default();
    for number in 0..READS {
        let (key, now) = (zipf.next(), START + number * 36);
        for other in &mut truth {
            other.read(key, now);
        }
        let found = real.read(key, now);
        let hash = xxhash_rust::xxh3::xxh3_64(&key.to_be_bytes());
        if number % 1000 == 0 {
            table.apply(vec![std::mem::take(&mut events)], &mut figures);
            table.sweep(now, &mut figures);
        }
        // As in a replica.
        if hash > u64::MAX >> table.share() {
            continue;
        }
        let written_at = found.unwrap_or(now);
        let entry = FollowedEntry { written_at, ttl: real.ttl, window: 0, bytes: 100, kept: 0 };
        let events_of_read = match found {
            Some(_) => vec![ReuseEvent::Hit { at: now, count: 1, entry, is_stale: false }],
            None => vec![
                ReuseEvent::Miss { at: now },
                ReuseEvent::Write { entry, is_default_ttl: true },
            ],
        };
        events.keys.push((hash, events_of_read));
    }
    table.apply(vec![events], &mut figures);
    let (ttl, misses, weight) = (real.ttl, real.misses, table.weight());
    Trace { ttl, reads: READS, misses, truth, figures, weight }
}

/// The estimates of the hit rate are within their error. It is small, unless the TTL is much
/// shorter than the real one: then a few keys with many reads have most of the further misses.
#[track_caller]
fn check(trace: &Trace) {
    let rate = |misses: u64| misses as f64 / trace.reads as f64;
    let estimate = ReuseEstimate::of(trace.figures.clone(), Some(rate(trace.misses)));
    let Some(estimate) = estimate else { panic!("no samples") };
    for truth in &trace.truth {
        let ttl = Duration::from_millis(truth.ttl);
        let found = estimate.ttls.iter().find(|other| other.ttl == ttl).map(|other| other.hit_rate);
        let Some(found) = found else { panic!("no estimate for {ttl:?}") };
        let (expected, off) =
            (1.0 - rate(truth.misses), (found.value - 1.0 + rate(truth.misses)).abs());
        let most = if 2 * truth.ttl >= trace.ttl { 0.03 } else { 0.1 };
        assert!(found.error <= most, "{ttl:?}: {found:?}");
        assert!(off <= found.error.max(0.005), "{ttl:?}: {expected:.4}, and not {found:?}");
    }
}

#[test]
fn estimates_are_within_their_error_of_the_truth() {
    let trace = trace(100_000, 0.9, 10);
    assert!((64..=256).contains(&trace.weight), "{}", trace.weight);
    check(&trace);
}

/// Each key is read ten times in a TTL, and the entries with another TTL end at other times than
/// the real ones.
#[test]
fn estimates_hold_for_ttls_that_are_no_part_of_the_real_one() {
    let trace = trace(2_500, 0.0, 15);
    check(&trace);
    let estimate = ReuseEstimate::of(trace.figures.clone(), None);
    let Some(estimate) = estimate else { panic!("no samples") };
    for truth in trace.truth.iter().filter(|truth| truth.ttl < trace.ttl) {
        let ttl = Duration::from_millis(truth.ttl);
        let found = estimate.ttls.iter().find(|other| other.ttl == ttl);
        let freed = found.and_then(|found| found.freed).map_or(f64::NAN, |freed| freed.value);
        let held = |ttl: u64, misses: u64| (ttl * misses) as f64;
        let expected = 1.0 - held(truth.ttl, truth.misses) / held(trace.ttl, trace.misses);
        assert!((freed - expected).abs() < 0.03, "{ttl:?}: {expected:.4}, and not {freed:.4}");
    }
}

/// All keys of a small namespace are followed.
#[test]
fn estimates_of_small_namespaces_are_within_their_error() {
    for (keys, weights) in [(100, 1..=1), (2_000, 2..=4)] {
        let trace = trace(keys, 0.5, 1);
        assert!(weights.contains(&trace.weight), "{keys}: {}", trace.weight);
        check(&trace);
    }
}

#[test]
fn estimates_hold_with_a_table_that_is_full() {
    let trace = trace(400_000, 0.7, 30);
    assert!(trace.weight > 256, "{}", trace.weight);
    check(&trace);
}

#[test]
fn reads_that_did_not_ask_the_cache_are_no_misses_of_it() {
    let mut figures = ReuseFigures::default();
    for counts in &mut figures.groups {
        (counts.misses, counts.seen_misses, counts.missed) = (1280, 100, [2560; TTLS_MS.len()]);
    }
    let hit_rate = |figures: &ReuseFigures, miss_rate| {
        let estimate = ReuseEstimate::of(figures.clone(), Some(miss_rate));
        estimate.map_or(f64::NAN, |estimate| estimate.ttls[0].hit_rate.value)
    };
    // Twice the misses would be more than all reads.
    assert!((hit_rate(&figures, 0.6) - 0.0).abs() < 1e-9);
    assert!((hit_rate(&figures, 0.4) - 0.2).abs() < 1e-9);
    // Half of the counted misses did not ask: 40 hits, and 30 misses that would be 60.
    figures.skip(20_480);
    assert!((hit_rate(&figures, 0.6) - 1.0 / 7.0).abs() < 1e-9);
}

#[test]
fn share_without_cases_is_unknown_and_its_error_falls_with_their_number() {
    let mut figures = ReuseFigures::default();
    assert_eq!(ReuseEstimate::of(figures.clone(), None), None);
    for counts in &mut figures.groups {
        (counts.hits, counts.seen_hits) = (1280, 10);
    }
    let Some(estimate) = ReuseEstimate::of(figures, None) else { panic!("no estimate") };
    assert!(estimate.ttls.iter().all(|other| other.saved.is_none() && other.freed.is_none()));
    let lost = estimate.ttls[0].lost;
    assert_eq!(lost, Some(Share { value: 0.0, error: 3.0 / 160.0 }));
}

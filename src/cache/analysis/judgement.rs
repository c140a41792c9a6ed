//! From where on counters are judged. All views share these limits, so that none is graver than
//! another about the same counts.

use super::Severity;
use crate::stats::counters::{Counter, Counters};

/// Fewest reads from which a hit rate is judged: of 1,000 reads it is known to 3 points.
const MIN_READS: u64 = 1000;
/// Hit rate below which more calls pay for the cache than gain from it.
const LOW_HIT_RATE: f64 = 0.5;
/// Hit rate below which the cache saves next to nothing.
const VERY_LOW_HIT_RATE: f64 = 0.2;
/// Share of failed fetches that callers notice.
const FAILED_FETCHES: f64 = 0.05;
/// Share of failed fetches with which an origin is down.
const DOWN_FETCHES: f64 = 0.5;

/// The hit rate if there are enough reads and it is low, and how grave that is.
pub fn low_hit_rate(counters: &Counters) -> Option<(f64, Severity)> {
    let reads: u64 = Counter::READS.into_iter().map(|outcome| counters.get(outcome)).sum();
    let rate = counters.hit_rate()?;
    if reads < MIN_READS || rate >= LOW_HIT_RATE {
        return None;
    }
    Some((rate, if rate < VERY_LOW_HIT_RATE { Severity::Warning } else { Severity::Notice }))
}

/// How grave it is that this share of the fetches fails; none if callers hardly notice.
pub fn failed_share_severity(share: f64) -> Option<Severity> {
    match share {
        share if share >= DOWN_FETCHES => Some(Severity::Critical),
        share if share >= FAILED_FETCHES => Some(Severity::Warning),
        _ => None,
    }
}

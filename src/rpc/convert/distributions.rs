//! Converts Distributions.

use crate::{
    cache::{Distribution, Distributions},
    model::SaturatingFrom as _,
    pb::v1::{self as pb, distribution::Unit},
};

/// Entries of a request that sets no number.
const DEFAULT_ENTRIES: usize = 1000;
/// Most entries that a request can ask for.
const MAX_ENTRIES: usize = 10_000;
/// Times are counted in milliseconds.
const MILLIS_PER_SECOND: f64 = 1000.0;

/// Number of entries after which the examination ends.
pub(in crate::rpc) fn sample_size(size: u32) -> usize {
    match size {
        0 => DEFAULT_ENTRIES,
        size => usize::saturating_from(size).min(MAX_ENTRIES),
    }
}

pub(in crate::rpc) fn distributions_response(found: &Distributions) -> pb::DistributionsResponse {
    let histogram = |distribution, unit| Some(histogram(distribution, unit, found.examined));
    pb::DistributionsResponse {
        examined: found.examined,
        complete: found.is_complete,
        value_bytes: histogram(&found.value_bytes, Unit::Bytes),
        key_bytes: histogram(&found.key_bytes, Unit::Bytes),
        ttl_remaining: histogram(&found.ttl_remaining, Unit::Seconds),
        age: histogram(&found.age, Unit::Seconds),
    }
}

fn histogram(distribution: &Distribution, unit: Unit, examined: u64) -> pb::Distribution {
    let scale = if unit == Unit::Seconds { MILLIS_PER_SECOND } else { 1.0 };
    let number = |number: u64| number as f64 / scale;
    let bounds = distribution.bounds.iter().map(|bound| Some(number(*bound))).chain([None]);
    let buckets = bounds
        .zip(&distribution.counts)
        .map(|(up_to, entries)| pb::DistributionBucket { up_to, entries: *entries });
    pb::Distribution {
        unit: unit.into(),
        buckets: buckets.collect(),
        min: number(distribution.min),
        max: number(distribution.max),
        mean: number(distribution.sum) / examined.max(1) as f64,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sample_has_a_default_and_a_bound() {
        assert_eq!([0, 1, 20_000].map(sample_size), [1000, 1, 10_000]);
    }

    #[test]
    fn times_are_seconds_and_the_last_bucket_is_open() {
        let millis = Distribution {
            bounds: &[500, 2000],
            counts: vec![1, 0, 1],
            min: 250,
            max: 3250,
            sum: 3500,
        };
        let histogram = histogram(&millis, Unit::Seconds, 2);
        let bounds: Vec<_> = histogram.buckets.iter().map(|bucket| bucket.up_to).collect();
        assert_eq!(bounds, [Some(0.5), Some(2.0), None]);
        assert_eq!((histogram.min, histogram.max, histogram.mean), (0.25, 3.25, 1.75));
    }
}

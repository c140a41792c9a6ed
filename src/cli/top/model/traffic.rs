//! Traffic of the fleet or of a namespace.

use super::{Flow, SlidingRates, seconds};
use crate::{
    cli::top::figures::{NamespaceFigures, Percentiles, Traffic},
    pb::v1::{Latency, WindowStats},
};

/// Traffic by the sliding rates, or by the counters of the last hour before there are any. The
/// counters are those of `counted_for` seconds.
pub(super) fn traffic(
    rates: Option<&SlidingRates>,
    windows: Option<&WindowStats>,
    counted_for: f64,
) -> Traffic {
    let last_hour = windows.and_then(|windows| windows.last_hour).unwrap_or_default();
    let hour = Flow::of(&last_hour);
    let measured = rates.and_then(SlidingRates::rates);
    let (rate_window, flow) = measured.unwrap_or((counted_for, hour.per(counted_for)));
    Traffic {
        rate_window,
        reads_per_second: flow.reads,
        hit_rate: flow.hit_rate(),
        stale_rate: flow.stale_rate(),
        hit_rate_last_hour: hour.hit_rate(),
        stale_rate_last_hour: hour.stale_rate(),
        hit_latency: percentiles(last_hour.hit_latency.as_ref()),
        sets_per_second: flow.sets,
        deletes_per_second: flow.deletes,
        fetches_per_second: flow.fetches,
        fetches_failed_per_second: flow.failed,
        fetches_saved: (hour.fetches > 0.0)
            .then(|| saved_share(flow.fetches, flow.reads))
            .flatten(),
        trail: rates.map(SlidingRates::trail).unwrap_or_default(),
    }
}

/// Share of the reads that needed no fetch, in the namespaces with fetches; none without reads.
pub(super) fn saved(namespaces: &[NamespaceFigures]) -> Option<f64> {
    let fetched = namespaces.iter().map(|one| &one.traffic);
    let fetched = fetched.filter(|traffic| traffic.fetches_saved.is_some());
    let (fetches, reads) = fetched.fold((0.0, 0.0), |(fetches, reads), traffic| {
        (fetches + traffic.fetches_per_second, reads + traffic.reads_per_second)
    });
    saved_share(fetches, reads)
}

fn saved_share(fetches: f64, reads: f64) -> Option<f64> {
    // Early refreshes can make more fetches than there are reads.
    (reads > 0.0).then(|| (1.0 - fetches / reads).clamp(0.0, 1.0))
}

pub(in crate::cli::top) fn percentiles(latency: Option<&Latency>) -> Percentiles {
    let Some(latency) = latency else { return Percentiles::default() };
    let Latency { p50, p95, p99 } = *latency;
    Percentiles { p50: seconds(p50), p95: seconds(p95), p99: seconds(p99) }
}

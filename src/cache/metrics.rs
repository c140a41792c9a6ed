//! Metrics of the cache. They are read from the counters that Stats has anyway, when somebody asks for them, so that counting
//! twice costs a request nothing.

use std::sync::{Arc, Weak};

use opentelemetry::{KeyValue, metrics::Meter};

use crate::{
    cache::Cache,
    stats::{counters::Counter, registry::StatsRegistry},
};

/// Registers the instruments.
pub fn register(meter: &Meter, live: &Arc<StatsRegistry>, cache: &Arc<Cache>) {
    for counter in Counter::ALL {
        let live = live.clone();
        let (name, description) = describe(counter);
        meter
            .u64_observable_counter(name)
            .with_description(description)
            .with_callback(move |observer| {
                for (namespace, counts) in live.snapshot() {
                    observer.observe(counts.get(counter), &[KeyValue::new("namespace", namespace)]);
                }
            })
            .build();
    }
    let cache: Weak<Cache> = Arc::downgrade(cache);
    meter
        .u64_observable_gauge("larder.waiting")
        .with_description("Calls that wait for a value, and refreshes that nobody waits for")
        .with_callback(move |observer| {
            observer.observe(cache.upgrade().map_or(0, |cache| cache.waiting() as u64), &[]);
        })
        .build();
}

fn describe(counter: Counter) -> (&'static str, &'static str) {
    match counter {
        Counter::Hits => ("larder.hits", "Reads answered with a fresh value"),
        Counter::Stale => ("larder.stale", "Reads answered with a stale value"),
        Counter::Negative => {
            ("larder.negative", "Reads answered with the knowledge that there is no value")
        }
        Counter::Misses => ("larder.misses", "Reads answered without a value"),
        Counter::Sets => ("larder.sets", "Values stored, fills included"),
        Counter::SetsRefused => {
            ("larder.sets.refused", "Sets that were not stored, whatever the reason")
        }
        Counter::Deletes => ("larder.deletes", "Entries deleted"),
        Counter::Invalidations => ("larder.invalidations", "Namespaces invalidated"),
        Counter::LeasesGranted => ("larder.leases.granted", "Leases granted"),
        Counter::LeasesRefused => {
            ("larder.leases.refused", "GetOrFetch calls that found somebody else at work")
        }
        Counter::LeasesAbandoned => {
            ("larder.leases.abandoned", "Leases given back without a value")
        }
        Counter::Degraded => {
            ("larder.degraded", "Answers given while the store could not be asked")
        }
        Counter::Fetches => ("larder.fetches", "Answers of origins"),
        Counter::FetchesFailed => {
            ("larder.fetches.failed", "Fetches that failed, also because the origin was not asked")
        }
        Counter::FetchesCoalesced => (
            "larder.fetches.coalesced",
            "GetOrFetch calls answered with what was fetched for another",
        ),
        Counter::EarlyRefreshes => {
            ("larder.refreshes.early", "Refreshes begun before the value was stale")
        }
        Counter::StaleWhileRevalidate => {
            ("larder.stale.while_revalidate", "Stale values served while they are refreshed")
        }
        Counter::StaleIfError => {
            ("larder.stale.if_error", "Stale values served because the origin failed")
        }
        Counter::StaleSoftTimeout => {
            ("larder.stale.soft_timeout", "Stale values served because the origin took too long")
        }
        Counter::FillsLost => ("larder.fills.lost", "Fills refused because the lease had run out"),
        Counter::FillsInvalidated => (
            "larder.fills.invalidated",
            "Fills refused because the entry was invalidated meanwhile",
        ),
        Counter::FillsSuperseded => {
            ("larder.fills.superseded", "Fills refused because the entry was written meanwhile")
        }
        Counter::FillsNotStored => (
            "larder.fills.not_stored",
            "Fetched values that the store did not take, or that had no lease",
        ),
        Counter::Uncacheable => {
            ("larder.fills.uncacheable", "Fetched values that must not be stored")
        }
        Counter::NearHits => (
            "larder.near.hits",
            "Reads answered from the near cache; they are counted as hits or negative, too",
        ),
    }
}

//! Metrics of the cache. They are read from the counters of the statistics at the time of a scrape,
//! so that requests do not count twice.

use std::sync::{Arc, Weak};

use opentelemetry::{KeyValue, metrics::Meter};

use crate::{
    cache::Cache,
    histogram::LATENCY_BOUNDS,
    stats::{counters::Counter, registry::StatsRegistry},
};

/// Registers the instruments.
pub fn register(meter: &Meter, registry: &Arc<StatsRegistry>, cache: &Arc<Cache>) {
    for counter in Counter::ALL {
        let registry = registry.clone();
        let (name, description) = describe(counter);
        meter
            .u64_observable_counter(name)
            .with_description(description)
            .with_callback(move |observer| {
                registry.visit(counter, |namespace, count| {
                    observer.observe(count, &[KeyValue::new("namespace", namespace.to_owned())]);
                });
            })
            .build();
    }
    let (registry, followed) = (registry.clone(), registry.clone());
    meter
        .u64_observable_counter("larder.reuse.dropped")
        .with_description("Events of followed keys that the analysis did not take")
        .with_callback(move |observer| observer.observe(followed.dropped_reuse_events(), &[]))
        .build();
    meter
        .u64_observable_counter("larder.hot_keys.dropped")
        .with_description("Sampled reads that the search for hot keys did not take")
        .with_callback(move |observer| observer.observe(registry.read_samples().dropped(), &[]))
        .build();
    let computations = meter
        .f64_histogram("larder.compute.duration")
        .with_unit("s")
        .with_description("Time in which callers computed values under leases, until the fill")
        .with_boundaries(LATENCY_BOUNDS.to_vec())
        .build();
    // It fails only if the metrics of the cache are registered already.
    let _ = cache.compute_duration.set(computations);
    let cache: Weak<Cache> = Arc::downgrade(cache);
    register_events(meter, cache.clone());
    meter
        .u64_observable_gauge("larder.waiting")
        .with_description("Calls that wait for a value, and background refreshes")
        .with_callback(move |observer| {
            observer.observe(cache.upgrade().map_or(0, |cache| cache.waiting() as u64), &[]);
        })
        .build();
}

fn register_events(meter: &Meter, cache: Weak<Cache>) {
    meter
        .u64_observable_counter("larder.events")
        .with_description("Events by name, by the way they came and by what became of them")
        .with_callback(move |observer| {
            let Some(cache) = cache.upgrade() else { return };
            cache.event_counts().visit(|name, route, outcome, count| {
                let attributes = [
                    KeyValue::new("event", name.to_owned()),
                    KeyValue::new("route", route.name()),
                    KeyValue::new("outcome", outcome.name()),
                ];
                observer.observe(count, &attributes);
            });
        })
        .build();
}

fn describe(counter: Counter) -> (&'static str, &'static str) {
    match counter {
        Counter::Hits => ("larder.hits", "Reads answered with a fresh value from a cache"),
        Counter::Stale => ("larder.stale", "Reads answered with a stale value"),
        Counter::Negative => ("larder.negative", "Reads answered with a negative entry"),
        Counter::Misses => (
            "larder.misses",
            "Reads that no cache answered: without a value, or fetched or waited for",
        ),
        Counter::Sets => ("larder.sets", "Values stored by Set, fills, Increment and Patch"),
        Counter::SetsRefused => {
            ("larder.sets.refused", "Values of valid calls that were not stored, for any reason")
        }
        Counter::Deletes => ("larder.deletes", "Entries deleted"),
        Counter::Invalidations => ("larder.invalidations", "Namespaces invalidated"),
        Counter::Bans => ("larder.bans", "Tags and patterns invalidated"),
        Counter::InvalidationsCoalesced => (
            "larder.invalidations.coalesced",
            "Invalidations that were applied together with an earlier one",
        ),
        Counter::Contended => {
            ("larder.contended", "GetOrFetch calls that were answered with a time to ask again")
        }
        Counter::LeasesGranted => ("larder.leases.granted", "Leases granted"),
        Counter::LeasesRefused => {
            ("larder.leases.refused", "GetOrFetch calls that asked for a lease and got none")
        }
        Counter::LeasesAbandoned => ("larder.leases.abandoned", "Leases released without a value"),
        Counter::Degraded => ("larder.degraded", "Answers given while the store was unavailable"),
        Counter::Fetches => ("larder.fetches", "Fetches that an origin answered"),
        Counter::FetchesFailed => (
            "larder.fetches.failed",
            "Fetches that failed, including those rejected without a call to the origin",
        ),
        Counter::FetchesCoalesced => (
            "larder.fetches.coalesced",
            "GetOrFetch calls answered with the value that another call computed or fetched",
        ),
        Counter::EarlyRefreshes => {
            ("larder.refreshes.early", "Refreshes that started before the value was stale")
        }
        Counter::StaleWhileRevalidate => {
            ("larder.stale.while_revalidate", "Stale values served during a refresh")
        }
        Counter::StaleIfError => {
            ("larder.stale.if_error", "Stale values served because the origin failed")
        }
        Counter::StaleSoftTimeout => {
            ("larder.stale.soft_timeout", "Stale values served because the origin took too long")
        }
        Counter::FillsLost => ("larder.fills.lost", "Fills refused because the lease had expired"),
        Counter::FillsInvalidated => (
            "larder.fills.invalidated",
            "Fills refused because the entry was invalidated after the lease was granted",
        ),
        Counter::FillsSuperseded => (
            "larder.fills.superseded",
            "Fills refused because the entry was written after the lease was granted",
        ),
        Counter::FillsNotStored => (
            "larder.fills.not_stored",
            "Fetched values that the store did not accept, or that had no lease",
        ),
        Counter::Uncacheable => {
            ("larder.fills.uncacheable", "Fetched values that the origin forbids to store")
        }
        Counter::NearHits => (
            "larder.near.hits",
            "Reads answered from the near cache, which also count as hits or negative",
        ),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use opentelemetry::metrics::MeterProvider as _;
    use opentelemetry_sdk::metrics::SdkMeterProvider;
    use prometheus::{Encoder as _, Registry, TextEncoder};

    use super::*;
    use crate::{
        cache::events::EventRoute,
        cache::testing::{SECOND, TestCache, config, namespace, request},
        model::Event,
        stats::counters::Counter,
    };

    #[test]
    fn every_counter_has_its_own_name_and_description() {
        let described = Counter::ALL.map(describe);
        let names: BTreeSet<_> = described.iter().map(|(name, _)| name).collect();
        let descriptions: BTreeSet<_> = described.iter().map(|(_, text)| text).collect();
        assert_eq!((names.len(), descriptions.len()), (described.len(), described.len()));
        assert!(names.iter().all(|name| name.starts_with("larder.")), "{names:?}");
        assert!(descriptions.iter().all(|text| !text.is_empty()));
    }

    #[tokio::test(start_paused = true)]
    async fn events_are_counted_by_name_route_and_outcome() {
        let test = TestCache::of_callers(config());
        let exported = Registry::new();
        let exporter = opentelemetry_prometheus::exporter().with_registry(exported.clone());
        let provider = SdkMeterProvider::builder().with_reader(exporter.build().unwrap()).build();
        register(&provider.meter("test"), &Arc::new(StatsRegistry::new(8)), &test.cache);
        let event = Event::new("points".to_owned(), BTreeMap::new()).unwrap();
        test.cache.publish(&event, EventRoute::Publish).await.unwrap();
        let mut text = Vec::new();
        TextEncoder::new().encode(&exported.gather(), &mut text).unwrap();
        let text = String::from_utf8(text).unwrap();
        let line = text.lines().find(|line| line.starts_with("larder_events_total{")).unwrap();
        for label in ["event=\"_other\"", "outcome=\"without_rules\"", "route=\"publish\""] {
            assert!(line.contains(label), "{line}");
        }
        assert!(line.ends_with(" 1"), "{line}");
    }

    #[tokio::test(start_paused = true)]
    async fn counters_and_waiters_are_read_at_the_time_of_a_scrape() {
        let test = TestCache::of_callers(config());
        let exported = Registry::new();
        let exporter = opentelemetry_prometheus::exporter().with_registry(exported.clone());
        let provider = SdkMeterProvider::builder().with_reader(exporter.build().unwrap()).build();
        let stats = Arc::new(StatsRegistry::new(8));
        register(&provider.meter("test"), &stats, &test.cache);
        let series = |name: &str| {
            let mut text = Vec::new();
            TextEncoder::new().encode(&exported.gather(), &mut text).unwrap();
            let text = String::from_utf8(text).unwrap();
            let line = text.lines().find(|line| line.starts_with(name))?;
            let is_of_namespace = line.contains("namespace=\"ns\"");
            let value: f64 = line.rsplit(' ').next()?.parse().ok()?;
            Some((value, is_of_namespace))
        };
        assert_eq!(series("larder_hits_total"), None);
        stats.of(&namespace()).count_many(Counter::Hits, 3);
        assert_eq!(series("larder_hits_total"), Some((3.0, true)));
        assert_eq!(series("larder_waiting"), Some((0.0, false)));
        test.acquire("k").await;
        let request = request("k");
        let observing = async {
            tokio::time::sleep(SECOND).await;
            assert_eq!(series("larder_waiting"), Some((1.0, false)));
        };
        tokio::join!(test.get_or_fetch(&request), observing);
        assert_eq!(series("larder_waiting"), Some((0.0, false)));
    }
}

//! Metrics of the cache. They are read from the counters of the statistics at the time of a scrape,
//! so that requests do not count twice.

use std::sync::{Arc, Weak};

use opentelemetry::{KeyValue, metrics::Meter};

use crate::{
    cache::Cache,
    metric_list::{self, Metric},
    stats::{counters::Counter, registry::StatsRegistry},
};

/// Registers the instruments.
pub fn register(meter: &Meter, registry: &Arc<StatsRegistry>, cache: &Arc<Cache>) {
    for counter in Counter::ALL {
        let registry = registry.clone();
        metric(counter)
            .observed_counter(meter)
            .with_callback(move |observer| {
                registry.visit(counter, |namespace, count| {
                    observer.observe(count, &[KeyValue::new("namespace", namespace.to_owned())]);
                });
            })
            .build();
    }
    let (registry, followed) = (registry.clone(), registry.clone());
    metric_list::REUSE_DROPPED
        .observed_counter(meter)
        .with_callback(move |observer| observer.observe(followed.dropped_reuse_events(), &[]))
        .build();
    metric_list::HOT_KEYS_DROPPED
        .observed_counter(meter)
        .with_callback(move |observer| observer.observe(registry.read_samples().dropped(), &[]))
        .build();
    let computations = metric_list::COMPUTE_DURATION.histogram(meter);
    // It fails only if the metrics of the cache are registered already.
    let _ = cache.compute_duration.set(computations);
    let cache: Weak<Cache> = Arc::downgrade(cache);
    register_events(meter, cache.clone());
    metric_list::WAITING
        .observed_gauge(meter)
        .with_callback(move |observer| {
            observer.observe(cache.upgrade().map_or(0, |cache| cache.waiting() as u64), &[]);
        })
        .build();
}

fn register_events(meter: &Meter, cache: Weak<Cache>) {
    metric_list::EVENTS
        .observed_counter(meter)
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

fn metric(counter: Counter) -> Metric {
    match counter {
        Counter::Hits => metric_list::HITS,
        Counter::Stale => metric_list::STALE,
        Counter::Negative => metric_list::NEGATIVE,
        Counter::Misses => metric_list::MISSES,
        Counter::Sets => metric_list::SETS,
        Counter::SetsRefused => metric_list::SETS_REFUSED,
        Counter::Deletes => metric_list::DELETES,
        Counter::Invalidations => metric_list::INVALIDATIONS,
        Counter::Bans => metric_list::BANS,
        Counter::InvalidationsCoalesced => metric_list::INVALIDATIONS_COALESCED,
        Counter::Contended => metric_list::CONTENDED,
        Counter::LeasesGranted => metric_list::LEASES_GRANTED,
        Counter::LeasesRefused => metric_list::LEASES_REFUSED,
        Counter::LeasesAbandoned => metric_list::LEASES_ABANDONED,
        Counter::Degraded => metric_list::DEGRADED,
        Counter::Fetches => metric_list::FETCHES,
        Counter::FetchesFailed => metric_list::FETCHES_FAILED,
        Counter::FetchesCoalesced => metric_list::FETCHES_COALESCED,
        Counter::EarlyRefreshes => metric_list::REFRESHES_EARLY,
        Counter::StaleWhileRevalidate => metric_list::STALE_WHILE_REVALIDATE,
        Counter::StaleIfError => metric_list::STALE_IF_ERROR,
        Counter::StaleSoftTimeout => metric_list::STALE_SOFT_TIMEOUT,
        Counter::FillsLost => metric_list::FILLS_LOST,
        Counter::FillsInvalidated => metric_list::FILLS_INVALIDATED,
        Counter::FillsSuperseded => metric_list::FILLS_SUPERSEDED,
        Counter::FillsNotStored => metric_list::FILLS_NOT_STORED,
        Counter::Uncacheable => metric_list::FILLS_UNCACHEABLE,
        Counter::NearHits => metric_list::NEAR_HITS,
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
    fn every_counter_has_its_own_metric() {
        let names: BTreeSet<_> = Counter::ALL.map(|counter| metric(counter).name).into();
        assert_eq!(names.len(), Counter::ALL.len());
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

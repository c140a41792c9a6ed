//! Metrics of the origins.

use std::{
    collections::HashMap,
    sync::{Arc, Weak},
    time::Duration,
};

use opentelemetry::{
    KeyValue,
    metrics::{Histogram, Meter},
};
use parking_lot::RwLock;

use crate::{
    exemplars,
    metric_list::{self, Metric},
    model::Namespace,
    origin::{
        OriginErrorKind,
        client::{FetchObserver, OriginClient},
    },
};

/// Clients by namespace. Weak: the metrics of a removed origin end with it.
type Clients = Arc<RwLock<HashMap<Namespace, Weak<OriginClient>>>>;

/// A histogram of all fetches, and gauges that read from each client.
pub struct OriginMetrics {
    fetches: Histogram<f64>,
    clients: Clients,
}

impl OriginMetrics {
    /// Registers the instruments.
    pub fn new(meter: &Meter) -> Arc<Self> {
        let fetches = metric_list::ORIGIN_FETCH_DURATION.histogram(meter);
        let clients = Clients::default();
        type Read = fn(&OriginClient) -> u64;
        let gauges: [(Metric, Read); 3] = [
            (metric_list::ORIGIN_IN_FLIGHT, |client| client.in_flight() as u64),
            (metric_list::ORIGIN_QUEUED, |client| client.queued() as u64),
            (metric_list::ORIGIN_BREAKER_OPEN, |client| {
                u64::from(!*client.availability().borrow())
            }),
        ];
        for (metric, read) in gauges {
            let clients = clients.clone();
            metric
                .observed_gauge(meter)
                .with_callback(move |observer| {
                    for (namespace, client) in &*clients.read() {
                        if let Some(client) = client.upgrade() {
                            let attributes = [KeyValue::new("namespace", namespace.to_string())];
                            observer.observe(read(&client), &attributes);
                        }
                    }
                })
                .build();
        }
        Arc::new(Self { fetches, clients })
    }

    /// Replaces the clients that the gauges read from.
    pub fn set_clients(&self, clients: &HashMap<Namespace, Arc<OriginClient>>) {
        let weak =
            |(namespace, client): (&Namespace, &_)| (namespace.clone(), Arc::downgrade(client));
        *self.clients.write() = clients.iter().map(weak).collect();
    }
}

impl FetchObserver for OriginMetrics {
    fn on_fetch(
        &self,
        namespace: &Namespace,
        elapsed: Duration,
        outcome: Result<(), &OriginErrorKind>,
    ) {
        let mut attributes = vec![KeyValue::new("namespace", namespace.to_string())];
        attributes.extend(outcome.err().map(|kind| KeyValue::new("error.type", kind.name())));
        let seconds = elapsed.as_secs_f64();
        self.fetches.record(seconds, &attributes);
        exemplars::record_current(&metric_list::ORIGIN_FETCH_DURATION, &attributes, seconds);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use async_trait::async_trait;
    use opentelemetry::metrics::MeterProvider as _;
    use opentelemetry_sdk::metrics::SdkMeterProvider;
    use prometheus::{Encoder as _, Registry, TextEncoder};

    use super::*;
    use crate::model::FetchSource;
    use crate::{
        model::EntryKey,
        origin::{Error, FetchRequest, FetchResponse, Origin, client::OriginLimits},
    };

    /// Fails after the first poll.
    struct FailingOrigin;

    #[async_trait]
    impl Origin for FailingOrigin {
        async fn fetch(&self, _: &FetchRequest) -> crate::origin::Result<FetchResponse> {
            tokio::task::yield_now().await;
            Err(Error::new(OriginErrorKind::Failed, "down"))
        }
    }

    struct Exported {
        registry: Registry,
        metrics: Arc<OriginMetrics>,
        _provider: SdkMeterProvider,
    }

    impl Exported {
        fn new() -> Self {
            let registry = Registry::new();
            let exporter = opentelemetry_prometheus::exporter()
                .with_registry(registry.clone())
                .build()
                .unwrap();
            let provider = SdkMeterProvider::builder().with_reader(exporter).build();
            let metrics = OriginMetrics::new(&provider.meter("test"));
            Self { registry, metrics, _provider: provider }
        }

        /// The value of a series of the namespace `ns` with a name and labels.
        fn value(&self, name: &str, label: &str) -> Option<f64> {
            let mut text = Vec::new();
            TextEncoder::new().encode(&self.registry.gather(), &mut text).unwrap();
            let text = String::from_utf8(text).unwrap();
            let is_series = |line: &&str| {
                line.starts_with(&format!("{name}{{"))
                    && line.contains("namespace=\"ns\"")
                    && line.contains(label)
            };
            text.lines().find(is_series)?.rsplit(' ').next()?.parse().ok()
        }
    }

    fn client(metrics: Arc<OriginMetrics>) -> Arc<OriginClient> {
        let limits = OriginLimits {
            timeout: Duration::from_secs(1),
            max_concurrency: 1,
            max_queue: 10,
            retries: 0,
            retry_backoff: Duration::ZERO,
            breaker_threshold: 1,
            breaker_cooldown: Duration::from_secs(10),
        };
        let namespace = Namespace::new("ns").unwrap();
        Arc::new(OriginClient::new(
            namespace,
            Box::new(FailingOrigin),
            FetchSource::default(),
            limits,
            metrics,
        ))
    }

    #[tokio::test(start_paused = true)]
    async fn gauges_read_from_the_clients() {
        let exported = Exported::new();
        let client = client(exported.metrics.clone());
        let clients = HashMap::from([(client.namespace().clone(), client.clone())]);
        exported.metrics.set_clients(&clients);
        let gauges = || {
            ["in_flight", "queued", "breaker_open"]
                .map(|name| exported.value(&format!("larder_origin_{name}"), ""))
        };
        assert_eq!(gauges(), [Some(0.0), Some(0.0), Some(0.0)]);
        let request = FetchRequest {
            key: EntryKey::new(client.namespace().clone(), "k", [].into_iter()).unwrap(),
            params: Arc::default(),
            validators: Default::default(),
            deadline: client.deadline(),
        };
        let mut fetches =
            Box::pin(futures_util::future::join_all((0..3).map(|_| client.fetch(&request))));
        assert!(futures_util::poll!(&mut fetches).is_pending());
        assert_eq!(gauges(), [Some(1.0), Some(2.0), Some(0.0)]);
        fetches.await;
        assert_eq!(gauges(), [Some(0.0), Some(0.0), Some(1.0)]);
        drop((client, clients));
        assert_eq!(gauges(), [None; 3], "the client is gone");
    }

    #[test]
    fn fetches_are_recorded_by_namespace_and_failure() {
        let exported = Exported::new();
        let namespace = Namespace::new("ns").unwrap();
        let record =
            |outcome| exported.metrics.on_fetch(&namespace, Duration::from_secs(2), outcome);
        record(Ok(()));
        record(Err(&OriginErrorKind::TooLarge));
        record(Err(&OriginErrorKind::TooLarge));
        let name = "larder_origin_fetch_duration_seconds_sum";
        assert_eq!(exported.value(name, "error_type=\"too_large\""), Some(4.0));
        let all = exported.value("larder_origin_fetch_duration_seconds_count", "");
        assert!(all.is_some());
    }
}

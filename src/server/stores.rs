//! Opens the configured store, with the layers in front of it.

use std::{collections::HashMap, sync::Arc};

use opentelemetry::metrics::Meter;
use secrecy::SecretString;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::{
    circuit_breaker::ProbeIntervals,
    config::{Config, StoreConfig, StoreUrl},
    model::{Namespace, SaturatingFrom as _},
    store::{
        Backend, Result,
        circuit_breaker_store::{self, CircuitBreakerStore},
        memory::MemoryStore,
        metrics::{StoreMetrics, register_memory, register_redis},
        near_cache::{NearCache, NearCacheOptions, metrics as near_metrics, store::NearCacheStore},
        redis::{CLOCK_SYNC_INTERVAL, PoolOptions, RedisOptions, RedisStore},
    },
};

/// The store of a server.
pub(super) struct OpenStore {
    pub(super) backend: Arc<dyn Backend>,
    /// Whether the store answers.
    pub(super) answers: watch::Receiver<bool>,
}

impl OpenStore {
    /// Opens the configured store. Redis need not answer yet; its probes run until `background` is
    /// cancelled.
    pub(super) fn open(
        config: &Config,
        meter: &Meter,
        near_cache: &Arc<NearCache>,
        background: &CancellationToken,
    ) -> Result<Self> {
        match &config.store.url {
            StoreUrl::Memory => {
                let store = MemoryStore::new(config.memory.max_bytes);
                register_memory(meter, &store);
                let answers = watch::Sender::new(true).subscribe();
                Ok(Self { backend: Arc::new(store), answers })
            }
            StoreUrl::Redis(url) => {
                let options = redis_options(&config.store, url.clone());
                Self::open_redis(&config.store, &options, meter, near_cache, background)
            }
        }
    }

    /// Stacks near cache and circuit breaker in front of Redis.
    fn open_redis(
        config: &StoreConfig,
        options: &RedisOptions,
        meter: &Meter,
        near_cache: &Arc<NearCache>,
        background: &CancellationToken,
    ) -> Result<Self> {
        let redis = RedisStore::new(options, near_cache.clone(), background.clone())?;
        let breaker = circuit_breaker_store::breaker(config.breaker_threshold);
        let answers = breaker.subscribe();
        register_redis(meter, &redis, breaker.subscribe());
        near_metrics::register(meter, near_cache);
        let (pinged, probed) = (redis.clone(), breaker.clone());
        let intervals = ProbeIntervals { closed: CLOCK_SYNC_INTERVAL, open: config.probe_interval };
        let pings = async move {
            circuit_breaker_store::ping_periodically(&pinged, &probed, intervals).await;
        };
        tokio::spawn(background.clone().run_until_cancelled_owned(pings));
        let store = CircuitBreakerStore::new(Arc::new(redis), breaker, StoreMetrics::new(meter));
        let store = NearCacheStore::new(Arc::new(store), near_cache.clone());
        Ok(Self { backend: Arc::new(store), answers })
    }
}

/// Returns the options of each namespace with a near cache. The embedded store has no use for one,
/// because its entries are in memory already.
pub(super) fn near_cache_options(config: &Config) -> HashMap<Namespace, NearCacheOptions> {
    if config.store.url == StoreUrl::Memory {
        return HashMap::new();
    }
    let options = config.namespaces.iter().filter_map(|(name, namespace)| {
        let near_cache = namespace.near_cache.as_ref()?;
        let options = NearCacheOptions {
            max_bytes: near_cache.max_bytes as u64,
            max_staleness: near_cache.max_staleness,
        };
        Some((Namespace::new(name).ok()?, options))
    });
    options.collect()
}

fn redis_options(config: &StoreConfig, url: SecretString) -> RedisOptions {
    RedisOptions {
        pool: PoolOptions {
            url,
            connections: u32::saturating_from(config.connections),
            connect_timeout: config.connect_timeout,
            timeout: config.timeout,
        },
        prefix: config.prefix.clone(),
        shards: u16::saturating_from(config.shards),
    }
}

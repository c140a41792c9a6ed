//! Opens the configured store, with the layers in front of it.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, atomic::AtomicU64},
};

use opentelemetry::metrics::Meter;
use secrecy::SecretString;
use tokio::sync::watch;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    changes::{ChangeHub, WatchOptions},
    circuit_breaker::ProbeIntervals,
    config::{
        Config, HeldLimits, JournalConfig, NamespaceConfig, StoreConfig, StoreUrl, WaitReplicas,
        WatchConfig,
    },
    model::{Namespace, SaturatingFrom as _},
    store::{
        self, Backend, HeldQuotaLimits, HeldQuotas, Inspect as _, StatsBackend, Store as _,
        circuit_breaker_store::{self, CircuitBreakerStore},
        failover_window::{self, FailoverWindow, reapply, store::FailoverWindowStore},
        journal::{
            Journal, JournalError, JournalOptions,
            metrics::{JournalLog, register as register_journal},
            quarantine::Quarantine,
            replay::Replay,
            store::JournaledStore,
        },
        memory::MemoryStore,
        metrics::{StoreMetrics, register_memory, register_redis, register_replication},
        near_cache::{NearCache, NearCacheOptions, metrics as near_metrics, store::NearCacheStore},
        redis::{
            CLOCK_SYNC_INTERVAL, PoolOptions, RedisOptions, RedisStore, ReplicationOptions,
            RequiredReplicas, SweepOptions,
        },
    },
    tls::ClientTls,
};

/// The store of a server.
pub(super) struct OpenStore {
    pub(super) backend: Arc<dyn Backend>,
    /// The same store without the near cache, which has no part in statistics.
    pub(super) stats: Arc<dyn StatsBackend>,
    /// Whether the store answers.
    pub(super) answers: watch::Receiver<bool>,
    /// Whether the store answers, and no fault of it lasts.
    pub(super) healthy: watch::Receiver<bool>,
    /// The number of shards of the fleet, if it is another one than the configured one.
    pub(super) other_shards: watch::Receiver<Option<u16>>,
    /// Tasks with something left to do when the background tasks stop.
    pub(super) ending: TaskTracker,
}

/// Failure to open the store.
#[derive(Debug, thiserror::Error)]
pub(super) enum OpenError {
    #[error(transparent)]
    Store(#[from] store::Error),
    #[error(transparent)]
    Journal(#[from] JournalError),
}

/// The journal of a store, and the quarantine of its replica.
struct JournalParts {
    journal: Arc<Journal>,
    quarantine: Arc<Quarantine>,
}

/// Parts that several layers of the store share.
pub(super) struct SharedParts<'a> {
    pub(super) near_cache: &'a Arc<NearCache>,
    pub(super) changes: &'a Arc<ChangeHub>,
    pub(super) quotas: &'a HeldQuotas,
    pub(super) meter: &'a Meter,
    pub(super) background: &'a CancellationToken,
}

impl OpenStore {
    /// Opens the configured store, with the settings `tls` to Redis. Redis need not answer yet; its
    /// probes run until the background tasks stop.
    pub(super) fn open(
        config: &Config,
        tls: Option<ClientTls>,
        shared: &SharedParts<'_>,
    ) -> Result<Self, OpenError> {
        match &config.store.url {
            StoreUrl::Memory => {
                let (changes, quotas) = (shared.changes.clone(), shared.quotas.clone());
                let store = MemoryStore::publishing(config.memory.max_bytes, changes, quotas);
                register_memory(shared.meter, &store);
                let answers = watch::Sender::new(true).subscribe();
                let store = Arc::new(store);
                let healthy = answers.clone();
                let other_shards = watch::Sender::new(None).subscribe();
                let ending = TaskTracker::new();
                let backend = store.clone();
                Ok(Self { backend, stats: store, answers, healthy, other_shards, ending })
            }
            StoreUrl::Redis(url) => {
                let options = redis_options(&config.store, url.clone(), tls);
                let journal = JournalParts::open(&config.journal, &config.store.prefix)?;
                Self::open_redis(&config.store, &options, journal, shared)
            }
        }
    }

    /// Stacks near cache, journal and circuit breaker in front of Redis.
    fn open_redis(
        config: &StoreConfig,
        options: &RedisOptions,
        journal: Option<JournalParts>,
        shared: &SharedParts<'_>,
    ) -> Result<Self, OpenError> {
        let &SharedParts { near_cache, changes, quotas, meter, background } = shared;
        let (near, changes, stop) = (near_cache.clone(), changes.clone(), background.clone());
        let redis = RedisStore::new(options, near, changes, quotas.clone(), stop)?;
        let troubled = redis.clone();
        let cause = move || troubled.trouble();
        let (quarantine, clock) =
            (journal.as_ref().map(|parts| parts.quarantine.clone()), redis.clone());
        let on_open = move || {
            if let Some(quarantine) = &quarantine {
                quarantine.begin(clock.now());
            }
        };
        let breaker = circuit_breaker_store::breaker(config.breaker_threshold, cause, on_open);
        let answers = breaker.subscribe();
        let healthy = both(answers.clone(), redis.subscribe_healthy(), background);
        let other_shards = redis.subscribe_other_shards();
        if let Some(replication) = &options.pool.replication {
            register_replication(meter, replication);
        }
        register_redis(meter, &redis, breaker.subscribe(), healthy.clone());
        near_metrics::register(meter, near_cache);
        let (pinged, probed) = (redis.clone(), breaker.clone());
        let intervals = ProbeIntervals { closed: CLOCK_SYNC_INTERVAL, open: config.probe_interval };
        let pings = async move {
            circuit_breaker_store::ping_periodically(&pinged, &probed, intervals).await;
        };
        tokio::spawn(background.clone().run_until_cancelled_owned(pings));
        let (registry, primary_epoch) = (Arc::new(redis.clone()), redis.primary_epoch());
        let store = CircuitBreakerStore::new(redis, breaker, StoreMetrics::new(meter));
        let stats = Arc::new(store);
        let ending = TaskTracker::new();
        let mut inner: Arc<dyn Backend> = stats.clone();
        let window = open_window(config, primary_epoch);
        if let Some(window) = &window {
            failover_window::metrics::register(meter, window);
            inner = Arc::new(FailoverWindowStore::new(inner, window.clone()));
        }
        if let Some(JournalParts { journal, quarantine }) = journal {
            let log = Arc::new(JournalLog::new(meter));
            let clock = stats.clone();
            register_journal(meter, &journal, &quarantine, move || clock.now());
            let replay = Replay {
                journal: journal.clone(),
                store: inner.clone(),
                registry,
                quarantine: quarantine.clone(),
                log: log.clone(),
                answers: answers.clone(),
            };
            ending.spawn(replay.run(background.clone()));
            inner = Arc::new(JournaledStore::new(inner, journal, quarantine, log));
        }
        if let Some(window) = window {
            let reapply = reapply::follow(window, inner.clone(), answers.clone());
            tokio::spawn(background.clone().run_until_cancelled_owned(reapply));
        }
        let backend = Arc::new(NearCacheStore::new(inner, near_cache.clone()));
        Ok(Self { backend, stats, answers, healthy, other_shards, ending })
    }
}

/// Replaces how much the namespaces may hold.
pub(super) fn limit_held(quotas: &HeldQuotas, namespaces: &BTreeMap<String, NamespaceConfig>) {
    let limits = namespaces.iter().filter_map(|(name, config)| {
        let HeldLimits { max_keys: keys, max_bytes: bytes } = config.quota.as_ref()?.held;
        // The configuration checks names by the same rule.
        Some((Namespace::new(name).ok()?, HeldQuotaLimits { keys, bytes }))
    });
    quotas.configure(limits.collect());
}

fn open_window(config: &StoreConfig, epoch: Arc<AtomicU64>) -> Option<Arc<FailoverWindow>> {
    let length = config.failover_window;
    (!length.is_zero()).then(|| Arc::new(FailoverWindow::new(length, epoch)))
}

impl JournalParts {
    /// Opens the journal, if one is configured.
    fn open(config: &JournalConfig, prefix: &str) -> Result<Option<Self>, JournalError> {
        let Some(path) = &config.path else { return Ok(None) };
        let (path, fleet, max_bytes) = (path.clone(), prefix.to_owned(), config.max_bytes);
        let journal = Arc::new(Journal::open(&JournalOptions { path, fleet, max_bytes })?);
        let entries = journal.pending().size().entries;
        if entries > 0 {
            tracing::warn!(entries, "the journal has invalidations that Redis has not applied yet");
        }
        let quarantine = Arc::new(Quarantine::new(config.quarantine));
        Ok(Some(Self { journal, quarantine }))
    }
}

/// Follows whether both are true, until `stop` is cancelled.
fn both(
    mut one: watch::Receiver<bool>,
    mut two: watch::Receiver<bool>,
    stop: &CancellationToken,
) -> watch::Receiver<bool> {
    let (sender, receiver) = watch::channel(false);
    let follow = async move {
        loop {
            let now = *one.borrow_and_update() && *two.borrow_and_update();
            sender.send_if_modified(|before| std::mem::replace(before, now) != now);
            let changed = tokio::select! {
                changed = one.changed() => changed,
                changed = two.changed() => changed,
            };
            if changed.is_err() {
                return;
            }
        }
    };
    tokio::spawn(stop.clone().run_until_cancelled_owned(follow));
    receiver
}

/// Returns the rules of watches.
pub(super) fn watch_options(config: &Config) -> WatchOptions {
    let &WatchConfig { max_delay, heartbeat, buffer_bytes, max_namespaces } = &config.watch;
    let is_remote = config.store.url != StoreUrl::Memory;
    WatchOptions { max_delay, heartbeat, buffer_bytes, max_namespaces, is_remote }
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

fn redis_options(config: &StoreConfig, url: SecretString, tls: Option<ClientTls>) -> RedisOptions {
    RedisOptions {
        pool: PoolOptions {
            url,
            tls,
            connections: u32::saturating_from(config.connections),
            connect_timeout: config.connect_timeout,
            timeout: config.timeout,
            replication: replication(config),
        },
        prefix: config.prefix.clone(),
        shards: u16::saturating_from(config.shards),
        max_ban_bytes: config.max_ban_bytes,
        breaker_threshold: config.breaker_threshold,
        probe_interval: config.probe_interval,
        quota_interval: config.quota_interval,
        sweep: SweepOptions { interval: config.sweep_interval, keys_per_second: config.sweep_rate },
    }
}

fn replication(config: &StoreConfig) -> Option<ReplicationOptions> {
    let required = match config.wait_replicas {
        WaitReplicas::AtLeast(0) => return None,
        WaitReplicas::AtLeast(count) => RequiredReplicas::AtLeast(count),
        WaitReplicas::All => RequiredReplicas::All,
    };
    Some(ReplicationOptions::new(required, config.wait_timeout))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::config::{NamespaceConfig, NearCacheConfig};

    fn config(url: StoreUrl) -> Config {
        let with_near_cache = NamespaceConfig {
            near_cache: Some(NearCacheConfig { max_bytes: 4096, ..NearCacheConfig::default() }),
            ..NamespaceConfig::default()
        };
        let mut config = Config::default();
        config.store.url = url;
        config.namespaces.insert("near".to_owned(), with_near_cache);
        config.namespaces.insert("far".to_owned(), NamespaceConfig::default());
        config
    }

    #[test]
    fn only_configured_namespaces_have_a_near_cache() {
        let redis = StoreUrl::Redis("redis://localhost".to_owned().into());
        let options = near_cache_options(&config(redis));
        let sizes: Vec<(&str, u64)> =
            options.iter().map(|(name, options)| (name.as_str(), options.max_bytes)).collect();
        assert_eq!(sizes, [("near", 4096)]);
    }

    #[test]
    fn embedded_store_has_no_near_cache() {
        assert!(near_cache_options(&config(StoreUrl::Memory)).is_empty());
    }
}

//! Puts everything together. This is the only place that names the concrete parts of all layers.

mod origins;
mod warmer;

use std::{collections::HashMap, io, net::SocketAddr, sync::Arc, time::Duration};

use tokio::{
    net::{TcpListener, TcpSocket},
    sync::watch,
    time::Instant,
};
use tokio_util::sync::CancellationToken;
use transport::{Admission, Shutdown};

use origins::{OriginManager, OriginSet};
use warmer::Warmer;

use crate::{
    admin,
    cache::{self, Cache, Namespaces, fleet_stats::FleetStats},
    circuit_breaker::ProbeIntervals,
    config::{Config, StoreConfig, StoreUrl},
    health::Health,
    model::Namespace,
    origin::{self, metrics::OriginMetrics},
    rpc::{AdminRpc, CacheRpc, KeyLogging, Pipeline, RpcMetrics},
    stats::registry::StatsRegistry,
    store::{
        self, Backend, StatsBackend,
        circuit_breaker_store::{self, CircuitBreakerStore},
        memory::MemoryStore,
        metrics as store_metrics,
        near_cache::{NearCache, NearCacheOptions, metrics as near_metrics, store::NearCacheStore},
        redis::{CLOCK_SYNC_INTERVAL, PoolOptions, RedisOptions, RedisStore},
    },
    telemetry::Telemetry,
};

/// Connections that wait to be accepted, if the system allows so many. All clients come at once when a replica was restarted, and who finds
/// no place tries again after a second at the earliest.
const BACKLOG: u32 = 4096;

/// Time for what must be written down after the last request.
const FLUSH_LIMIT: Duration = Duration::from_secs(2);
/// Time for callers to hear that they are not waited for any longer.
const FAREWELL_LIMIT: Duration = Duration::from_millis(200);
/// Time that a store has to show itself before the server says that it is ready without it.
const FIRST_PROBE_LIMIT: Duration = Duration::from_millis(100);

/// Why the server could not start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// An address cannot be listened on.
    #[error("cannot listen on {address} ({key})")]
    Bind {
        /// The address.
        address: SocketAddr,
        /// The configuration key that chose it.
        key: &'static str,
        /// Why.
        source: io::Error,
    },
    /// The store's URL cannot be used.
    #[error("store.url cannot be used")]
    Store(#[from] store::Error),
    /// An origin cannot be used.
    #[error(transparent)]
    Origin(#[from] origin::registry::Error),
    /// The protos' descriptors cannot be used.
    #[error("reflection cannot be set up")]
    Reflection(#[from] tonic_reflection::server::Error),
}

/// A server that is ready to run.
pub struct Server {
    config: Config,
    listener: TcpListener,
    admin_listener: TcpListener,
    cache: Arc<Cache>,
    live: Arc<StatsRegistry>,
    fleet: Arc<FleetStats>,
    health: Health,
    pipeline: Pipeline,
    store_answers: watch::Receiver<bool>,
    log_keys: KeyLogging,
    background: CancellationToken,
    origins: Arc<OriginManager>,
    opened: OriginSet,
    warming: Arc<Warmer>,
    near: Arc<NearCache>,
    admission: Arc<Admission>,
}

/// What can be changed while the server runs.
#[derive(Clone)]
pub struct Reload {
    cache: Arc<Cache>,
    live: Arc<StatsRegistry>,
    log_keys: KeyLogging,
    origins: Arc<OriginManager>,
    near: Arc<NearCache>,
    warming: Arc<Warmer>,
}

impl Server {
    /// Binds the ports and puts the parts together. Serves nothing yet. The runtime releases the
    /// backpressure of `admission` whenever it has nothing to do.
    ///
    /// # Errors
    /// A port or the store's URL cannot be used. A store that does not answer is no error.
    pub async fn bind(
        config: Config,
        telemetry: &Telemetry,
        admission: Arc<Admission>,
    ) -> Result<Self, Error> {
        let listener = bind(config.listen, "listen")?;
        let admin_listener = bind(config.admin_listen, "admin_listen")?;
        let background = CancellationToken::new();
        let near = NearCache::new(u16::try_from(config.store.shards).unwrap_or(u16::MAX));
        near.configure(&near_tiers(&config));
        let Stores { cache: store, stats, answers: store_answers } =
            open_store(&config, telemetry, &near, &background)?;
        let live = Arc::new(StatsRegistry::new(config.telemetry.max_namespaces));
        let health = Health::new().await;
        let origins =
            Arc::new(OriginManager::new(OriginMetrics::new(&telemetry.meter()), health.clone()));
        let gates = origins.replace(&config.namespaces)?;
        let namespaces = Namespaces::new(
            &config.defaults,
            &config.namespaces,
            &gates.all,
            config.strict_namespaces,
        );
        live.reserve(&namespaces.configured());
        let cache =
            Arc::new(Cache::new(store, namespaces, live.clone(), config.limits.max_waiting));
        let fleet = Arc::new(FleetStats::new(live.clone(), stats));
        cache::metrics::register(&telemetry.meter(), &live, &cache, &admission);
        let log_keys = KeyLogging::default();
        log_keys.set(config.log.keys);
        let pipeline = Pipeline::new(
            CacheRpc::new(cache.clone(), fleet.clone(), log_keys.clone(), &config.limits),
            AdminRpc::new(cache.clone()),
            &health,
            config.reflection,
            config.limits.max_request_bytes,
            admission.clone(),
            RpcMetrics::new(&telemetry.meter()),
        )?;
        let warming =
            Arc::new(Warmer::new(cache.clone(), store_answers.clone(), background.clone()));
        Ok(Self {
            config,
            listener,
            admin_listener,
            cache,
            live,
            fleet,
            health,
            pipeline,
            store_answers,
            log_keys,
            background,
            origins,
            opened: gates,
            warming,
            near,
            admission,
        })
    }

    /// What can be changed while the server runs.
    pub fn reload(&self) -> Reload {
        Reload {
            cache: self.cache.clone(),
            live: self.live.clone(),
            log_keys: self.log_keys.clone(),
            origins: self.origins.clone(),
            near: self.near.clone(),
            warming: self.warming.clone(),
        }
    }

    /// Serves until `stop` is cancelled; then finishes what was begun, within the configured limit.
    ///
    /// # Errors
    /// The addresses of the bound ports cannot be read.
    pub async fn run(
        self,
        registry: prometheus::Registry,
        stop: CancellationToken,
    ) -> io::Result<()> {
        let Self {
            config,
            listener,
            admin_listener,
            cache,
            fleet,
            mut health,
            pipeline,
            store_answers,
            background,
            opened,
            warming,
            admission,
            ..
        } = self;
        let (listen, admin_listen) = (listener.local_addr()?, admin_listener.local_addr()?);
        let mut first_answer = store_answers.clone();
        let shutdown = Shutdown::default();
        let answer = move |request| pipeline.clone().answer(request);
        let options = transport_options(&config);
        let mut serving =
            tokio::spawn(transport::serve(listener, options, admission, shutdown.clone(), answer));
        let admin = tokio::spawn(admin::serve(
            admin_listener,
            registry,
            health.clone(),
            background.clone(),
        ));
        let follow = background
            .clone()
            .run_until_cancelled_owned(health.clone().follow_store(store_answers.clone()));
        tokio::spawn(follow);
        let flushing = {
            let (fleet, stop, interval) =
                (fleet.clone(), background.clone(), config.stats.flush_interval);
            tokio::spawn(async move { fleet.flush_every(interval, stop).await })
        };
        // The first requests need not be degraded only because they were faster than the first probe.
        let _ = tokio::time::timeout(FIRST_PROBE_LIMIT, first_answer.wait_for(|well| *well)).await;
        health.set_ready(true).await;
        warming.follow(&opened);
        drop(opened);
        tracing::info!(%listen, %admin_listen, store = %config.store.url, version = env!("CARGO_PKG_VERSION"), "serving");

        stop.cancelled().await;
        let started = Instant::now();
        tracing::info!("shutting down");
        health.set_ready(false).await;
        cache.close();
        health.end_watches().await;
        shutdown.drain.cancel();
        let finished = tokio::time::timeout(config.shutdown_timeout, &mut serving).await.is_ok();
        let _ = tokio::time::timeout(FLUSH_LIMIT, cache.give_up()).await;
        if !finished {
            tracing::warn!("not all requests were finished in time");
            // Those who fetch or hold a lease are being told.
            let told = tokio::time::timeout(FAREWELL_LIMIT, &mut serving).await.is_ok();
            shutdown.abort.cancel();
            if !told {
                let _ = tokio::time::timeout(FLUSH_LIMIT, serving).await;
            }
        }
        background.cancel();
        let _ = tokio::time::timeout(FLUSH_LIMIT, flushing).await;
        // What was cut off may have dropped leases since.
        let _ = tokio::time::timeout(FLUSH_LIMIT, cache.give_up()).await;
        let _ = admin.await;
        tracing::info!(
            took_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX),
            "shut down"
        );
        Ok(())
    }
}

impl Reload {
    /// Applies what can be changed without a restart.
    ///
    /// # Errors
    /// An origin cannot be used. Nothing is changed then.
    pub fn apply(&self, config: &Config) -> Result<(), Error> {
        let gates = self.origins.replace(&config.namespaces)?;
        let strict = config.strict_namespaces;
        self.cache.namespaces().replace(&config.defaults, &config.namespaces, &gates.all, strict);
        self.near.configure(&near_tiers(config));
        self.live.reserve(&self.cache.namespaces().configured());
        self.log_keys.set(config.log.keys);
        self.warming.follow(&gates);
        Ok(())
    }
}

fn bind(address: SocketAddr, key: &'static str) -> Result<TcpListener, Error> {
    let listen = || {
        let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
        socket.set_reuseaddr(true)?;
        socket.bind(address)?;
        socket.listen(BACKLOG)
    };
    listen().map_err(|source| Error::Bind { address, key, source })
}

/// The opened store, as its users need it.
struct Stores {
    cache: Arc<dyn Backend>,
    /// Not behind the near cache, which has no part in statistics.
    stats: Arc<dyn StatsBackend>,
    /// Whether the store answers.
    answers: watch::Receiver<bool>,
}

/// The one match on the kinds of stores, and the place where what stands before them is stacked.
fn open_store(
    config: &Config,
    telemetry: &Telemetry,
    near: &Arc<NearCache>,
    background: &CancellationToken,
) -> Result<Stores, Error> {
    let meter = telemetry.meter();
    match &config.store.url {
        StoreUrl::Memory => {
            let store = MemoryStore::new(config.memory.max_bytes);
            store_metrics::register_memory(&meter, &store);
            let store = Arc::new(store);
            let answers = watch::Sender::new(true).subscribe();
            Ok(Stores { cache: store.clone(), stats: store, answers })
        }
        StoreUrl::Redis(url) => {
            let store = RedisStore::new(
                &redis_options(&config.store, url.clone()),
                near.clone(),
                background.clone(),
            )?;
            let breaker = circuit_breaker_store::breaker(config.store.breaker_threshold);
            store_metrics::register_redis(&meter, &store, breaker.subscribe());
            let answers = breaker.subscribe();
            let (probed, pinged) = (breaker.clone(), store.clone());
            let intervals =
                ProbeIntervals { closed: CLOCK_SYNC_INTERVAL, open: config.store.probe_interval };
            let pings = async move {
                circuit_breaker_store::ping_periodically(&pinged, &probed, intervals).await;
            };
            tokio::spawn(background.clone().run_until_cancelled_owned(pings));
            near_metrics::register(&meter, near);
            let metrics = store_metrics::StoreMetrics::new(&meter);
            let stats = Arc::new(CircuitBreakerStore::new(store, breaker, metrics));
            let cache = Arc::new(NearCacheStore::new(stats.clone(), near.clone()));
            Ok(Stores { cache, stats, answers })
        }
    }
}

/// What is remembered of which namespace. The embedded store is as near as it gets.
fn near_tiers(config: &Config) -> HashMap<Namespace, NearCacheOptions> {
    let namespaces = config.namespaces.iter().filter(|_| config.store.url != StoreUrl::Memory);
    let tiers = namespaces.filter_map(|(name, rules)| {
        let near = rules.near_cache.as_ref()?;
        let options = NearCacheOptions {
            max_bytes: near.max_bytes as u64,
            max_staleness: near.max_staleness,
        };
        Some((Namespace::new(name).ok()?, options))
    });
    tiers.collect()
}

fn redis_options(config: &StoreConfig, url: secrecy::SecretString) -> RedisOptions {
    RedisOptions {
        pool: PoolOptions {
            url,
            connections: u32::try_from(config.connections).unwrap_or(u32::MAX),
            connect_timeout: config.connect_timeout,
            timeout: config.timeout,
        },
        prefix: config.prefix.clone(),
        shards: u16::try_from(config.shards).unwrap_or(u16::MAX),
    }
}

fn transport_options(config: &Config) -> transport::Options {
    let limits = &config.limits;
    transport::Options {
        max_connections: limits.max_connections,
        max_streams: limits.max_streams_per_connection,
        max_header_bytes: limits.max_header_bytes,
        max_age: limits.max_connection_age,
        keepalive_interval: limits.keepalive_interval,
        keepalive_timeout: limits.keepalive_timeout,
    }
}

//! The services behind the listeners, built from the configuration.

use std::sync::Arc;

use tokio::sync::watch;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use transport::{Admission, ConnectionStats};

use super::{
    Error,
    origins::{OriginManager, OriginSet},
    process_metrics,
    reload::Reload,
    replica_probe::{ProbedParts, replica_probe},
    runtime_metrics::{PortStats, register_connections},
    store_report::StoreReport,
    stores::{OpenStore, SharedParts, limit_held, near_cache_options, watch_options},
    tls::Certificates,
    warmer::Warmer,
};
use crate::{
    admin::{self, AdminAccess},
    audit::AuditLog,
    auth::{Authenticator, Refusals},
    cache::{self, Cache, Directory, Namespaces, Watches, fleet_stats::FleetStats},
    changes::{self, ChangeHub},
    config::Config,
    dashboard::{Dashboard, DashboardParts},
    health::Health,
    model::SaturatingFrom as _,
    origin::metrics::OriginMetrics,
    quota::Quotas,
    rpc::{
        self, AccessControl, AdminRpc, AdminRpcParts, CacheRpc, CacheRpcParts, KeyListing,
        KeyLogging, LoadLimits, Pipeline, RpcMetrics, RpcServices, RunningConfig,
    },
    stats::registry::StatsRegistry,
    store::{HeldQuotas, near_cache::NearCache},
    telemetry::Telemetry,
};

/// The parts that serve requests and run in the background.
pub(super) struct Services {
    pub(super) pipeline: Pipeline,
    pub(super) admission: Arc<Admission>,
    pub(super) limits: Arc<LoadLimits>,
    pub(super) ports: PortStats,
    pub(super) fleet: Arc<FleetStats>,
    pub(super) health: Health,
    /// Whether the store answers.
    pub(super) store_answers: watch::Receiver<bool>,
    /// Whether the store answers, and no fault of it lasts.
    pub(super) store_healthy: watch::Receiver<bool>,
    /// The number of shards of the fleet, if it is another one than the configured one.
    pub(super) other_shards: watch::Receiver<Option<u16>>,
    pub(super) store_report: StoreReport,
    pub(super) reload: Reload,
    /// Stops the background tasks.
    pub(super) background: CancellationToken,
    /// Tasks with something left to do then.
    pub(super) ending: TaskTracker,
}

impl Services {
    /// Opens the store and the origins, and builds the services on them. Starts the probes of the
    /// store and what passes changes on to watches, and no other task.
    pub(super) async fn open(
        config: &Config,
        telemetry: &Telemetry,
        admission: Arc<Admission>,
    ) -> Result<(Self, OriginSet), Error> {
        let (meter, background) = (telemetry.meter(), CancellationToken::new());
        let audit = AuditLog::open(&config.audit, &meter).map_err(Error::Audit)?;
        let near_cache = NearCache::new(u16::saturating_from(config.store.shards));
        near_cache.configure(&near_cache_options(config));
        let changes = ChangeHub::new(watch_options(config));
        let certificates = Certificates::open(config, &meter, &audit).await?;
        let tls = certificates.store();
        let held_quotas = HeldQuotas::default();
        held_quotas.register(&meter);
        limit_held(&held_quotas, &config.namespaces);
        let shared = SharedParts {
            near_cache: &near_cache,
            changes: &changes,
            quotas: &held_quotas,
            meter: &meter,
            background: &background,
        };
        let store = OpenStore::open(config, tls, &shared)?;
        let registry = Arc::new(StatsRegistry::new(config.telemetry.max_namespaces));
        let health = Health::new().await;
        let origins = Arc::new(OriginManager::new(OriginMetrics::new(&meter), health.clone()));
        let origin_set = origins.replace(&config.namespaces)?;
        let namespaces = Namespaces::new(
            &config.defaults,
            &config.namespaces,
            &origin_set.all,
            config.strict_namespaces,
        );
        registry.reserve(&namespaces.configured());
        let cache = Arc::new(Cache::new(
            store.backend,
            namespaces,
            registry.clone(),
            config.limits.max_waiting,
        ));
        cache.replace_events(&config.events, config.strict_events);
        let ports = PortStats {
            grpc: Arc::new(ConnectionStats::new(config.limits.max_connections)),
            admin: Arc::new(ConnectionStats::new(admin::MAX_CONNECTIONS)),
        };
        register_connections(&meter, &ports);
        let probe = replica_probe(ProbedParts {
            admission: admission.clone(),
            connections: ports.grpc.clone(),
            near_cache: near_cache.clone(),
            origins: origins.clone(),
            store: store.stats.clone(),
            store_healthy: store.healthy.clone(),
        });
        let fleet = FleetStats::new(registry.clone(), store.stats.clone()).observing(probe);
        let fleet = Arc::new(fleet);
        let store_report = StoreReport::new(store.stats.clone(), &meter);
        let directory = Directory::new(cache.clone(), fleet.clone(), store.stats);
        let directory = Arc::new(directory);
        let limits = Arc::new(LoadLimits::new(&config.limits, admission.clone()));
        let keys = Arc::new(KeyListing::new(directory.clone(), limits.clone()));
        cache::metrics::register(&meter, &registry, &cache);
        changes::metrics::register(&meter, &changes);
        tokio::spawn(background.clone().run_until_cancelled_owned(changes.clone().run()));
        let watches = Arc::new(Watches::new(cache.clone(), changes));
        rpc::register_load(&meter, &admission, &limits);
        let running_config = RunningConfig::new(config);
        let quotas = Quotas::new(&meter);
        quotas.configure(&config.namespaces);
        let authenticator = Authenticator::new(config.auth.as_ref(), quotas.clone(), &meter);
        let authenticator = Arc::new(authenticator);
        let refusals = Arc::new(Refusals::new(&meter, audit.clone()));
        let access = AccessControl::new(authenticator.clone(), refusals, quotas.clone());
        let admin_access = AdminAccess::new(config, authenticator.clone(), &meter, audit.clone());
        let parts = DashboardParts {
            cache: cache.clone(),
            directory: directory.clone(),
            fleet: fleet.clone(),
            audit: audit.clone(),
            health: health.clone(),
            access: admin_access.clone(),
            stop: background.clone(),
            ending: store.ending.clone(),
        };
        let dashboard = Dashboard::new(parts, config, &meter);
        process_metrics::register(&meter);
        let key_logging = KeyLogging::default();
        key_logging.set(config.log.keys);
        let parts = CacheRpcParts {
            cache: cache.clone(),
            fleet: fleet.clone(),
            keys: keys.clone(),
            watches,
        };
        let admin = AdminRpcParts {
            cache: cache.clone(),
            fleet: fleet.clone(),
            directory,
            keys,
            access: access.clone(),
            audit: audit.clone(),
        };
        let admin = AdminRpc::new(admin, limits.clone(), running_config.clone());
        let pipeline = Pipeline::new(
            RpcServices {
                cache: CacheRpc::new(parts, key_logging.clone(), limits.clone(), &config.limits),
                admin,
                health: &health,
                reflection: config.reflection,
                access,
                audit: audit.clone(),
            },
            admission.clone(),
            limits.clone(),
            RpcMetrics::new(&meter),
        )?;
        let warmer = Warmer::new(cache.clone(), store.answers.clone(), background.clone());
        let warmer = Arc::new(warmer);
        let reload = Reload {
            cache,
            registry,
            key_logging,
            running_config,
            origins,
            near_cache,
            warmer,
            authenticator,
            quotas,
            held_quotas,
            certificates,
            admin_access,
            dashboard,
            audit,
        };
        let services = Self {
            pipeline,
            admission,
            limits,
            ports,
            fleet,
            health,
            store_answers: store.answers,
            store_healthy: store.healthy,
            other_shards: store.other_shards,
            ending: store.ending,
            store_report,
            reload,
            background,
        };
        Ok((services, origin_set))
    }
}

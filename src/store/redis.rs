//! The store in Redis or Valkey, shared by all replicas.
//!
//! A read is an MGET of the generation marker and the entry, batched with concurrent reads. A write
//! is one script; a large value is sent next to the script. `redis/key_schema.rs` lists the keys,
//! and `redis/codec.rs` defines the format of entries.

// The client library's enums may get new variants.
#![allow(clippy::wildcard_enum_match_arm)]

mod announced_changes;
mod announcement;
mod attempts;
mod ban;
mod ban_checks;
mod ban_listing;
mod ban_log;
mod ban_logs;
mod change_checks;
mod change_feed;
mod client_tracking;
mod closed_buckets;
mod cluster;
mod codec;
mod connection;
mod corrupt_entries;
mod endpoint;
mod entries;
mod entry_inspection;
mod epochs;
mod fault;
mod fault_log;
mod hot_keys;
mod inspect;
mod journal_registry;
mod key_listing;
mod key_schema;
mod lease_invalidations;
mod leases;
mod marker;
mod missing_commands;
mod near_invalidations;
mod near_markers;
mod outage_log;
mod pool;
mod probe;
mod read_batcher;
mod replica_reports;
mod replicated;
mod replication;
mod request;
mod reuse;
mod router;
mod script;
mod script_calls;
mod script_reply;
mod sentinels;
mod server_identity;
mod stats;
mod stats_hash;
mod stream;
mod sweep;
mod tls_check;
mod tracked_servers;
mod watched_namespace;

use std::{
    sync::{Arc, atomic::AtomicU64},
    time::Duration,
};

use tokio_util::sync::CancellationToken;

use super::{HeldQuotas, Result, key_watch::KeyWatchers, near_cache::NearCache};
use crate::changes::ChangeHub;
use crate::circuit_breaker::ProbeIntervals;
use crate::model::EntryKey;
use ban_logs::BanLogs;
pub use ban_logs::BanStats;
use change_checks::ChangeChecks;
use change_feed::ChangeFeed;
use closed_buckets::ClosedBuckets;
pub use cluster::ClusterStats;
use corrupt_entries::CorruptEntries;
pub use endpoint::Endpoint;
use key_schema::KeySchema;
use lease_invalidations::LeaseFeed;
use near_markers::MarkerReader;
use outage_log::{Outage, OutageLog};
pub use pool::{PoolOptions, PoolState};
use read_batcher::{Read, ReadBatcher};
pub use replication::{ReplicationOptions, RequiredReplicas};
use router::{Member, Router};
use sweep::SweepCounters;
pub use sweep::{SweepOptions, SweepStats};

/// How often the server's clock must be read to stay current while there is no traffic. Each ping
/// reads it, so this is also the interval of the pings while the store works.
pub const CLOCK_SYNC_INTERVAL: Duration = Duration::from_secs(1);

/// Options of the store in Redis.
#[derive(Debug, Clone)]
pub struct RedisOptions {
    /// Options of the connections.
    pub pool: PoolOptions,
    /// Prefix of all keys.
    pub prefix: String,
    /// Generation markers per namespace. Replicas that share a Redis must agree on it.
    pub shards: u16,
    /// Memory of the bans that are known of all namespaces, in bytes.
    pub max_ban_bytes: u64,
    /// The sweep of banned entries.
    pub sweep: SweepOptions,
    /// Pause between two estimates of what namespaces with a quota hold.
    pub quota_interval: Duration,
    /// Consecutive failures after which a primary of a cluster counts as down; zero for never.
    pub breaker_threshold: u32,
    /// Time between two probes of a primary that is down.
    pub probe_interval: Duration,
}

/// The store in Redis. Clones share the same connections.
#[derive(Clone)]
pub struct RedisStore {
    router: Router,
    schema: Arc<KeySchema>,
    bans: BanLogs,
    reads: ReadBatcher,
    corrupt: CorruptEntries,
    lease_watchers: KeyWatchers,
    closed_buckets: Arc<ClosedBuckets>,
    sweep: Arc<SweepCounters>,
    quotas: HeldQuotas,
}

// === impl RedisStore ===

impl RedisStore {
    /// Creates a store that connects when it is first used, and reconnects as needed. Must be
    /// called in a Tokio runtime, on which it tracks the leases, the entries for `near` and for
    /// `changes`, and the usage for `quotas`, until `stop` is cancelled.
    ///
    /// # Errors
    /// The URL cannot be used.
    pub fn new(
        options: &RedisOptions,
        near: Arc<NearCache>,
        changes: Arc<ChangeHub>,
        quotas: HeldQuotas,
        stop: CancellationToken,
    ) -> Result<Self> {
        let schema = Arc::new(KeySchema::new(&options.prefix, options.shards));
        let clock = schema.clock();
        let router = Router::new(&options.pool, options.breaker_threshold, near.clone(), &clock)?;
        let corrupt = CorruptEntries::new(router.clone(), schema.clone());
        let lease_watchers = KeyWatchers::default();
        let bans = BanLogs::new(
            router.clone(),
            schema.clone(),
            lease_watchers.clone(),
            options.max_ban_bytes,
        );
        let store = Self {
            reads: ReadBatcher::new(router.clone(), corrupt.clone(), bans.clone()),
            bans,
            router,
            corrupt,
            schema,
            lease_watchers,
            closed_buckets: Arc::default(),
            sweep: Arc::default(),
            quotas: quotas.clone(),
        };
        store.follow_servers(options, &stop);
        tokio::spawn(quotas.sample(store.clone(), options.quota_interval, stop.clone()));
        if options.pool.replication.is_some() {
            // Too few replicas should be noticed before they are needed.
            let store = store.clone();
            let check = async move { store.check_replicas().await };
            tokio::spawn(stop.clone().run_until_cancelled_owned(check));
        }
        sweep::spawn(store.clone(), options.sweep, stop.clone());
        let connect_timeout = options.pool.connect_timeout;
        let markers = MarkerReader {
            router: store.router.clone(),
            schema: store.schema.clone(),
            bans: store.bans.clone(),
        };
        near_invalidations::spawn(connect_timeout, markers, near.clone(), stop.clone());
        let (schema, bans) = (store.schema.clone(), store.bans.clone());
        let router = store.router.clone();
        let checks = ChangeChecks::new(router.clone(), schema.clone(), bans, changes.clone());
        changes.set_source(Arc::new(checks.clone()));
        let outage = OutageLog::new(Outage::Watches);
        let hub = changes;
        ChangeFeed { router, connect_timeout, schema, near, hub, checks, outage }.spawn(stop);
        Ok(store)
    }

    /// Follows the leases, and in a cluster its slots and the state of its primaries, until `stop`
    /// is cancelled.
    fn follow_servers(&self, options: &RedisOptions, stop: &CancellationToken) {
        let connect_timeout = options.pool.connect_timeout;
        let follow_leases = move |store: &Self, member: Member| {
            let Self { router, schema, lease_watchers: watchers, bans, .. } = store.clone();
            let outage = OutageLog::new(Outage::Leases);
            LeaseFeed { router, member, connect_timeout, schema, watchers, bans, outage }.follow()
        };
        let cluster = match &self.router {
            Router::One(_, member) => {
                let (endpoint, health) = (member.endpoint.clone(), member.health.clone());
                connection::follow_sentinels(endpoint, health, stop.clone());
                let leases = follow_leases(self, Member::clone(member));
                tokio::spawn(stop.clone().run_until_cancelled_owned(leases));
                return;
            }
            Router::Cluster(cluster) => cluster.clone(),
        };
        tokio::spawn(stop.clone().run_until_cancelled_owned(cluster.clone().follow_slots()));
        let intervals =
            ProbeIntervals { closed: CLOCK_SYNC_INTERVAL, open: options.probe_interval };
        let (store, stopped) = (self.clone(), stop.clone());
        let each_node = cluster.clone().for_each_node(move |node| {
            let (store, cluster) = (store.clone(), cluster.clone());
            let leases = follow_leases(&store, Member::of_node(&node));
            let gone = node.gone().clone();
            let tasks = async move {
                let probes = node.run_probe(intervals, || store.probe_node(&cluster, &node));
                tokio::join!(probes, gone.run_until_cancelled(leases));
            };
            tokio::spawn(stopped.clone().run_until_cancelled_owned(tasks));
        });
        tokio::spawn(stop.clone().run_until_cancelled_owned(each_node));
    }

    /// Whether the store is a cluster.
    fn is_cluster(&self) -> bool {
        matches!(self.router, Router::Cluster(_))
    }

    /// State and counters of the cluster; none without one.
    pub fn cluster_stats(&self) -> Option<ClusterStats> {
        self.router.cluster_stats()
    }

    /// State and counters of the connection pool.
    pub fn pool_state(&self) -> PoolState {
        self.router.state()
    }

    /// The number of shards of the replicas that were there first, if it is another one. Then this
    /// replica must not use the store: invalidations of one would not reach the other.
    pub fn subscribe_other_shards(&self) -> tokio::sync::watch::Receiver<Option<u16>> {
        self.router.other_shards().subscribe()
    }

    /// A number that changes before the first command to another primary is sent.
    pub fn primary_epoch(&self) -> Arc<AtomicU64> {
        self.router.primary_epoch().clone()
    }

    /// Whether no fault of the server lasts, with every change.
    pub fn subscribe_healthy(&self) -> tokio::sync::watch::Receiver<bool> {
        self.router.subscribe()
    }

    /// Entries that were not what was written.
    pub fn corrupt_entries(&self) -> u64 {
        self.corrupt.count()
    }

    /// Numbers of checks against bans.
    pub fn ban_stats(&self) -> BanStats {
        self.bans.stats()
    }

    /// Counters of the sweep of banned entries.
    pub fn sweep_stats(&self) -> SweepStats {
        self.sweep.stats()
    }

    /// Name of each fault of Redis, how often it was met, and whether it lasts.
    pub fn faults(&self) -> Vec<(&'static str, u64, bool)> {
        self.router.faults()
    }

    /// Keys and bans for a read of an entry.
    fn read(&self, key: &EntryKey) -> Read {
        Read { keys: self.schema.entry_keys(key), bans: self.bans.of(key.namespace()) }
    }
}

#[cfg(test)]
mod fuzz_tests;

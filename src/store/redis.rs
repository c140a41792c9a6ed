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
mod ban_log;
mod ban_logs;
mod change_checks;
mod change_feed;
mod client_tracking;
mod cluster;
mod codec;
mod connection;
mod corrupt_entries;
mod endpoint;
mod entry_inspection;
mod fault;
mod fault_log;
mod hot_keys;
mod inspect;
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
mod request;
mod router;
mod script;
mod script_calls;
mod script_reply;
mod sentinels;
mod server_identity;
mod stats;
mod stream;
mod sweep;
mod tls_check;
mod tracked_servers;
mod watched_namespace;

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use tokio_util::sync::CancellationToken;

use super::{
    Ban, BanLimits, BanOutcome, Condition, Increment, IncrementOutcome, PutOutcome, ReadOutcome,
    Result, Store, Take, TakeOutcome, key_watch::KeyWatchers, near_cache::NearCache,
};
use crate::changes::ChangeHub;
use crate::circuit_breaker::ProbeIntervals;
use crate::model::{
    Entry, EntryKey, Kind, Lifetime, Namespace, NewEntry, Timestamp, Version, millis_ceil,
};
use crate::planted::{self, Bug};
use announcement::announce_invalidation;
use ban_logs::BanLogs;
pub use ban_logs::BanStats;
use change_checks::ChangeChecks;
pub use cluster::ClusterStats;
use corrupt_entries::CorruptEntries;
pub use endpoint::Endpoint;
use key_schema::{EntryKeys, KeySchema};
use near_markers::MarkerReader;
use pool::Retry;
pub use pool::{PoolOptions, PoolState};
use read_batcher::{Read, ReadBatcher};
use request::unexpected;
use router::{Member, Router};
use script_calls::add_lifetime;
use stats::ClosedBuckets;
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
}

// === impl RedisStore ===

impl RedisStore {
    /// Creates a store that connects when it is first used, and reconnects as needed. Must be
    /// called in a Tokio runtime, on which it tracks the leases, and the entries for `near` and for
    /// `changes`, until `stop` is cancelled.
    ///
    /// # Errors
    /// The URL cannot be used.
    pub fn new(
        options: &RedisOptions,
        near: Arc<NearCache>,
        changes: Arc<ChangeHub>,
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
        };
        store.follow_servers(options, &stop);
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
        change_feed::spawn(router, connect_timeout, schema, near, (changes, checks), stop);
        Ok(store)
    }

    /// Follows the leases, and in a cluster its slots and the state of its primaries, until `stop`
    /// is cancelled.
    fn follow_servers(&self, options: &RedisOptions, stop: &CancellationToken) {
        let connect_timeout = options.pool.connect_timeout;
        let follow_leases = move |store: &Self, member: Member| {
            let Self { router, schema, lease_watchers, bans, .. } = store.clone();
            let watchers = lease_watchers;
            lease_invalidations::follow_server(
                router,
                member,
                connect_timeout,
                schema,
                watchers,
                bans,
            )
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

    /// Runs the script of Touch; `prolongs` is empty or a version.
    async fn reschedule(
        &self,
        key: &EntryKey,
        lifetime: &Lifetime,
        prolongs: &[u8],
    ) -> Result<bool> {
        let mut checks = self.begin_checks(key).await?;
        let reply = loop {
            let mut call = self.call(&script::TOUCH, key, checks.bans(), None);
            add_lifetime(&mut call, lifetime);
            call.arg(&codec::encode_windows(lifetime)).arg(prolongs);
            let reply = self.router.run(&script::TOUCH, &call, Retry::Never).await?;
            if let Some(reply) = checks.settle(self, key, reply).await? {
                break reply;
            }
        };
        match reply.word.as_str() {
            "TOUCHED" => Ok(true),
            "ABSENT" | "NOT_PROLONGED" => Ok(false),
            _ => Err(unexpected("touch.lua")),
        }
    }
}

#[async_trait]
impl Store for RedisStore {
    async fn get(&self, key: &EntryKey) -> Result<Option<Entry>> {
        self.reads.read(self.read(key)).await
    }

    async fn get_many(&self, keys: &[EntryKey]) -> Result<Vec<ReadOutcome>> {
        if keys.is_empty() {
            return Ok(Vec::new());
        }
        self.reads.read_all(keys.iter().map(|key| self.read(key)).collect()).await
    }

    async fn put(
        &self,
        key: &EntryKey,
        entry: &NewEntry,
        condition: Condition,
    ) -> Result<PutOutcome> {
        let condition = if planted::is(Bug::ConditionNotAtomic) && condition == Condition::IfAbsent
        {
            let found = self.get(key).await?.filter(|entry| self.now() < entry.fresh_until);
            if found.is_some() {
                return Ok(PutOutcome::ConditionNotMet);
            }
            Condition::Always
        } else {
            condition
        };
        let mut checks = self.begin_checks(key).await?;
        let reply = loop {
            let reply = self.store(&script::SET, key, checks.bans(), entry, |call| {
                match condition {
                    Condition::Always => call.arg(b""),
                    Condition::IfAbsent => call.arg(b"absent"),
                    Condition::IfPresent => call.arg(b"present"),
                    Condition::IfVersion(version) => call.arg(&version.0.to_be_bytes()),
                    Condition::Replacing(version) => {
                        call.arg(&version.0.to_be_bytes()).arg(b"keep")
                    }
                };
            });
            if let Some(reply) = checks.settle(self, key, reply.await?).await? {
                break reply;
            }
        };
        match reply.word.as_str() {
            "STORED" => Ok(PutOutcome::Stored),
            "CONDITION_NOT_MET" => Ok(PutOutcome::ConditionNotMet),
            _ => Err(unexpected("set.lua")),
        }
    }

    async fn delete(&self, key: &EntryKey, hold_off: Duration) -> Result<bool> {
        let bans = self.bans.of(key.namespace());
        let mut call = self.call(&script::DELETE, key, &bans, None);
        call.arg(if hold_off.is_zero() { 0 } else { millis_ceil(hold_off) }).arg(b"").arg(0);
        let mut reply = self.router.run(&script::DELETE, &call, Retry::Idempotent).await?;
        match reply.word.as_str() {
            "EXISTED" => Ok(true),
            "ABSENT" => Ok(false),
            // It is deleted, whether or not the check succeeds.
            "CHECK" => Ok(Box::pin(self.was_valid(&bans, key, &mut reply)).await.unwrap_or(true)),
            _ => Err(unexpected("delete.lua")),
        }
    }

    async fn take(&self, key: &EntryKey, take: &Take) -> Result<TakeOutcome> {
        let &Take { hold_off, if_version, returns_entry } = take;
        let version = if_version.map(|version| version.0.to_be_bytes());
        let mut checks = self.begin_checks(key).await?;
        let mut reply = loop {
            let mut call = self.call(&script::DELETE, key, checks.bans(), None);
            call.arg(if hold_off.is_zero() { 0 } else { millis_ceil(hold_off) })
                .arg(version.as_ref().map_or(&b""[..], |version| version))
                .arg(u8::from(returns_entry));
            // Sent again, it would not find the entry that it removed the first time.
            let reply = self.router.run(&script::DELETE, &call, Retry::Never).await?;
            if let Some(reply) = checks.settle(self, key, reply).await? {
                break reply;
            }
        };
        match reply.word.as_str() {
            "EXISTED" if returns_entry => match leases::next_entry(&mut reply)? {
                Ok(Some(entry)) => Ok(TakeOutcome::Removed(Some(entry))),
                Ok(None) => Ok(TakeOutcome::Absent),
                Err(corrupt) => {
                    self.corrupt.found(&self.schema.entry_keys(key).entry, corrupt);
                    Ok(TakeOutcome::Absent)
                }
            },
            "EXISTED" => Ok(TakeOutcome::Removed(None)),
            "ABSENT" => Ok(TakeOutcome::Absent),
            "OTHER_VERSION" => Ok(TakeOutcome::OtherVersion),
            _ => Err(unexpected("delete.lua")),
        }
    }

    async fn invalidate(&self, namespace: &Namespace) -> Result<()> {
        // Entries without a marker are invalid, and the next write begins a new generation. Unlike
        // replacing the markers, removing them also works when Redis is out of memory, and leaves
        // nothing behind for namespaces that are never used again.
        let mut markers = self.schema.markers(namespace);
        if planted::is(Bug::ShardMissed) {
            markers.pop();
        }
        self.router.unlink(&markers).await?;
        announce_invalidation(&self.router, &self.schema, namespace).await
    }

    async fn ban(
        &self,
        namespace: &Namespace,
        ban: &Ban,
        limits: &BanLimits,
    ) -> Result<BanOutcome> {
        self.apply_ban(namespace, ban, limits).await
    }

    async fn touch(&self, key: &EntryKey, lifetime: Lifetime) -> Result<bool> {
        self.reschedule(key, &lifetime, &[]).await
    }

    async fn prolong(&self, key: &EntryKey, version: Version, lifetime: Lifetime) -> Result<bool> {
        self.reschedule(key, &lifetime, &version.0.to_be_bytes()).await
    }

    async fn increment(&self, key: &EntryKey, increment: &Increment) -> Result<IncrementOutcome> {
        let mut checks = self.begin_checks(key).await?;
        let mut reply = loop {
            let scratch = Some(self.schema.scratch(key));
            let mut call = self.call(&script::INCREMENT, key, checks.bans(), scratch);
            add_lifetime(&mut call, &increment.lifetime);
            call.arg(&increment.version.0.to_be_bytes())
                .arg(&codec::encode_windows(&increment.lifetime))
                .arg(&codec::kind_and_flags(Kind::Text))
                .arg(increment.delta)
                .arg(increment.initial.map_or_else(String::new, |initial| initial.to_string()));
            let is_retried = planted::is(Bug::IncrementRetried);
            let retry = if is_retried { Retry::Idempotent } else { Retry::Never };
            let reply = self.router.run(&script::INCREMENT, &call, retry).await?;
            if let Some(reply) = checks.settle(self, key, reply).await? {
                break reply;
            }
        };
        match reply.word.as_str() {
            "SUM" => Ok(IncrementOutcome::Sum {
                value: reply.next()?,
                ttl_remaining: reply.next_millis()?,
            }),
            "MISSING" => Ok(IncrementOutcome::Missing),
            "NOT_AN_INTEGER" => Ok(IncrementOutcome::NotAnInteger),
            "OVERFLOW" => Ok(IncrementOutcome::Overflow),
            _ => Err(unexpected("increment.lua")),
        }
    }

    fn now(&self) -> Timestamp {
        self.router.clock().now()
    }
}

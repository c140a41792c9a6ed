//! Where requests go: to the one server of a plain URL, or to the primaries of a cluster.
//!
//! For one server, a request costs one branch more than without clusters.

mod members;

use std::{
    sync::{Arc, atomic::AtomicU64},
    time::Duration,
};

use redis::{Cmd, Pipeline, Value};
use tokio::sync::watch;
use xxhash_rust::xxh3::xxh3_64;

use super::{
    cluster::{self, Cluster, ClusterStats, Node, slot_of_key},
    endpoint::Endpoint,
    fault::Fault,
    outage_log::OutageLog,
    pool::{PoolOptions, PoolState, RedisPool, Retry},
    request::unexpected,
    script::Script,
};
use crate::{
    model::Timestamp,
    store::{Result, Topology, Trouble, clock::StoreClock, near_cache::NearCache},
};
pub(super) use members::{Member, Members};

/// The servers of a store. Clones share the connections.
#[derive(Clone)]
pub(super) enum Router {
    /// One server.
    One(RedisPool, Arc<Member>),
    /// The primaries of a cluster.
    Cluster(Cluster),
}

/// A server, for commands that concern all of its keys.
#[derive(Clone)]
pub(super) struct Server {
    pub(super) pool: RedisPool,
    node: Option<Arc<Node>>,
}

impl Router {
    /// # Errors
    /// The URL cannot be used.
    pub(super) fn new(
        options: &PoolOptions,
        breaker_threshold: u32,
        near: Arc<NearCache>,
        clock_key: &str,
    ) -> Result<Self> {
        use secrecy::ExposeSecret as _;
        let url = options.url.expose_secret();
        if Cluster::is_cluster(url) {
            return Cluster::new(options, breaker_threshold, near, clock_key).map(Self::Cluster);
        }
        let endpoint = Endpoint::new(url, options.tls.as_ref(), options.connect_timeout)?;
        let pool = RedisPool::new(endpoint.clone(), options, near);
        let member = Member { endpoint, health: pool.health().clone(), is_in_cluster: false };
        Ok(Self::One(pool, Arc::new(member)))
    }

    /// The store's clock.
    #[inline]
    pub(super) fn clock(&self) -> &StoreClock {
        match self {
            Self::One(pool, _) => pool.clock(),
            Self::Cluster(cluster) => cluster.clock(),
        }
    }

    /// The latest time, by the store's clock, at which a write that is sent now may be applied.
    pub(super) fn not_after(&self) -> Timestamp {
        match self {
            Self::One(pool, _) => pool.not_after(),
            // The store's clock and that of the primary are both estimates.
            Self::Cluster(cluster) => cluster.clock().write_deadline(cluster.timeout(), 2),
        }
    }

    /// Timeout of an operation.
    pub(super) fn timeout(&self) -> Duration {
        match self {
            Self::One(pool, _) => pool.timeout(),
            Self::Cluster(cluster) => cluster.timeout(),
        }
    }

    /// Changes whenever what is known of bans must be read again.
    #[inline]
    pub(super) fn ban_epoch(&self) -> u64 {
        match self {
            Self::One(pool, _) => pool.health().epochs().bans(),
            Self::Cluster(cluster) => cluster.epochs().bans(),
        }
    }

    /// Changes before the first command to another primary is sent.
    pub(super) fn primary_epoch(&self) -> &Arc<AtomicU64> {
        match self {
            Self::One(pool, _) => pool.health().epochs().primary(),
            Self::Cluster(cluster) => cluster.epochs().primary(),
        }
    }

    /// The number of shards that the fleet uses, if it is another one than that of this replica.
    pub(super) fn other_shards(&self) -> &watch::Sender<Option<u16>> {
        match self {
            Self::One(pool, _) => &pool.health().other_shards,
            Self::Cluster(cluster) => cluster.other_shards(),
        }
    }

    /// A number for the processes of all servers, the same in all replicas; zero if one of them is
    /// not known.
    pub(super) fn process_id(&self) -> u64 {
        match self {
            Self::One(pool, _) => pool.health().server().process_id(),
            Self::Cluster(cluster) => {
                let nodes = cluster.nodes();
                let ids: Vec<u64> =
                    nodes.iter().map(|node| node.pool.health().server().process_id()).collect();
                if ids.is_empty() || ids.contains(&0) {
                    return 0;
                }
                let bytes: Vec<u8> = ids.iter().flat_map(|id| id.to_be_bytes()).collect();
                xxh3_64(&bytes)
            }
        }
    }

    /// Whether the primaries that are available were there at `instant`, and are the same servers.
    /// Never for one server.
    pub(super) fn is_unchanged_since(&self, instant: tokio::time::Instant) -> bool {
        let Self::Cluster(cluster) = self else { return false };
        let nodes = cluster.nodes();
        let mut available = nodes.iter().filter(|node| node.is_available());
        available.all(|node| node.pool.health().server().is_unchanged_since(instant))
    }

    /// All servers, always in the same order.
    pub(super) fn servers(&self) -> Vec<Server> {
        match self {
            Self::One(pool, _) => vec![Server { pool: pool.clone(), node: None }],
            Self::Cluster(cluster) => {
                let nodes = cluster.nodes().into_iter();
                nodes.map(|node| Server { pool: node.pool.clone(), node: Some(node) }).collect()
            }
        }
    }

    /// The servers of these keys, each once. Keys without a server are left out.
    pub(super) fn servers_of<K: AsRef<[u8]>>(&self, names: &[K]) -> Vec<Server> {
        let Self::Cluster(cluster) = self else { return self.servers() };
        let mut servers: Vec<Server> = Vec::new();
        for node in names.iter().filter_map(|name| cluster.owner_of(name.as_ref())) {
            if !servers.iter().any(|server| server.is(&node)) {
                servers.push(Server { pool: node.pool.clone(), node: Some(node) });
            }
        }
        servers
    }

    /// Whether a server is still one of these.
    pub(super) fn has(&self, server: &Server) -> bool {
        match self {
            Self::One(..) => true,
            Self::Cluster(cluster) => cluster.nodes().iter().any(|node| server.is(node)),
        }
    }

    /// Whether a server is that of a key.
    pub(super) fn is_owner(&self, server: &Server, name: &[u8]) -> bool {
        match self {
            Self::One(..) => true,
            Self::Cluster(cluster) => cluster.owner_of(name).is_some_and(|node| server.is(&node)),
        }
    }

    /// Changes whenever a command is redirected to another server, or a key has another server.
    pub(super) fn moves(&self) -> u64 {
        match self {
            Self::One(..) => 0,
            Self::Cluster(cluster) => cluster.redirects() + cluster.layouts(),
        }
    }

    /// Whether replicas must have the writes that must not be lost.
    pub(super) fn awaits_replicas(&self) -> bool {
        match self {
            Self::One(pool, _) => pool.replication().is_some(),
            Self::Cluster(cluster) => cluster.awaits_replicas(),
        }
    }

    /// Number of changes of which server has which keys.
    pub(super) fn layouts(&self) -> u64 {
        match self {
            Self::One(..) => 0,
            Self::Cluster(cluster) => cluster.layouts(),
        }
    }

    // === Requests ===

    /// Sends a command to the server of its first key.
    pub(super) async fn query(&self, command: &Cmd, retry: Retry) -> Result<Value> {
        match self {
            Self::One(pool, _) => pool.query(command, retry).await,
            Self::Cluster(cluster) => Box::pin(cluster.query(command, retry)).await,
        }
    }

    /// Sends a command that may be applied twice to a server.
    pub(super) async fn query_server(&self, server: &Server, command: &Cmd) -> Result<Value> {
        match (self, &server.node) {
            (Self::Cluster(cluster), Some(node)) => cluster.query_node(node, command).await,
            _ => server.pool.query(command, Retry::Idempotent).await,
        }
    }

    /// Sends commands that may be applied twice, each to the server of its first key. If one of
    /// them fails, its error is the result.
    pub(super) async fn query_all(&self, commands: &Pipeline) -> Result<Vec<Value>> {
        match self {
            Self::One(pool, _) => pool.query_all(commands, Retry::Idempotent).await,
            Self::Cluster(cluster) => {
                let commands = commands.cmd_iter().cloned().collect();
                cluster::values(Box::pin(cluster.each(commands)).await)
            }
        }
    }

    /// As [`Self::query_all`]. An answer may be an error of its command alone.
    pub(super) async fn query_each(&self, commands: &Pipeline) -> Result<Vec<Value>> {
        match self {
            Self::One(pool, _) => pool.query_each(commands, &mut None).await,
            Self::Cluster(cluster) => {
                let commands = commands.cmd_iter().cloned().collect();
                let answers = Box::pin(cluster.each(commands)).await;
                answers.into_iter().collect()
            }
        }
    }

    /// Calls a script, and loads it first if the server lacks it.
    pub(super) async fn eval(&self, script: &Script, call: &Cmd, retry: Retry) -> Result<Value> {
        match self {
            Self::One(pool, _) => pool.eval(script, call, retry).await,
            Self::Cluster(cluster) => Box::pin(cluster.eval(script, call, retry)).await,
        }
    }

    /// Calls a script in one round trip with a command that must run before it.
    pub(super) async fn eval_after(
        &self,
        before: Cmd,
        script: &Script,
        call: Cmd,
    ) -> Result<Value> {
        match self {
            Self::One(pool, _) => pool.eval_after(before, script, call).await,
            Self::Cluster(cluster) => Box::pin(cluster.eval_after(&before, script, &call)).await,
        }
    }

    /// Reads keys of any slots. Of one server, it reads all at one moment.
    pub(super) async fn mget<K: AsRef<[u8]>>(&self, names: &[K]) -> Result<Vec<Value>> {
        let groups = self.groups(names);
        let mut mgets = redis::pipe();
        for group in &groups {
            let mget = mgets.cmd("MGET");
            for index in group {
                mget.arg(names[*index].as_ref());
            }
        }
        let mut values = vec![Value::Nil; names.len()];
        for (group, answer) in groups.into_iter().zip(self.query_all(&mgets).await?) {
            let Value::Array(answers) = answer else { return Err(unexpected("MGET")) };
            for (index, answer) in group.into_iter().zip(answers) {
                values[index] = answer;
            }
        }
        Ok(values)
    }

    /// Removes keys of any slots.
    pub(super) async fn unlink<K: AsRef<[u8]>>(&self, names: &[K]) -> Result<()> {
        let mut unlinks = redis::pipe();
        for group in self.groups(names) {
            let unlink = unlinks.cmd("UNLINK");
            for index in group {
                unlink.arg(names[index].as_ref());
            }
        }
        for answer in self.query_all(&unlinks).await? {
            if !matches!(answer, Value::Int(_)) {
                return Err(unexpected("UNLINK"));
            }
        }
        Ok(())
    }

    /// The indices of the names, in groups that one command may have together.
    pub(super) fn groups<K: AsRef<[u8]>>(&self, names: &[K]) -> Vec<Vec<usize>> {
        if let Self::One(..) = self {
            return vec![(0..names.len()).collect()];
        }
        let mut groups: std::collections::BTreeMap<u16, Vec<usize>> = Default::default();
        for (index, name) in names.iter().enumerate() {
            groups.entry(slot_of_key(name.as_ref())).or_default().push(index);
        }
        groups.into_values().collect()
    }

    // === State ===

    /// Reports that a connection for announcements failed.
    pub(super) fn failed_beside(&self, outage: &OutageLog, fault: Fault, cause: String) {
        match self {
            Self::One(pool, _) => outage.failed_beside(pool.health().outage(), fault, cause),
            Self::Cluster(cluster) => {
                let nodes = cluster.nodes();
                let failing = nodes.iter().map(|node| node.pool.health().outage());
                let failing = failing.into_iter().find(|outage| outage.trouble().is_some());
                outage.failed_beside(failing.unwrap_or(cluster.outage()), fault, cause);
            }
        }
    }

    /// The fault or outage of the store, if it has one.
    pub(super) fn trouble(&self) -> Option<Trouble> {
        match self {
            Self::One(pool, _) => {
                let health = pool.health();
                health.faults.trouble().or_else(|| health.outage().trouble())
            }
            Self::Cluster(cluster) => cluster.trouble(),
        }
    }

    /// State of the way to the servers.
    pub(super) fn topology(&self) -> Topology {
        match self {
            Self::One(_, member) => member.endpoint.topology(),
            Self::Cluster(_) => Topology { name: "cluster", ..Topology::default() },
        }
    }

    /// State and counters of all connections.
    pub(super) fn state(&self) -> PoolState {
        match self {
            Self::One(pool, _) => pool.state(),
            Self::Cluster(cluster) => cluster.pool_state(),
        }
    }

    /// Name of each fault, how often it was met, and whether it lasts.
    pub(super) fn faults(&self) -> Vec<(&'static str, u64, bool)> {
        match self {
            Self::One(pool, _) => pool.health().faults.state().collect(),
            Self::Cluster(cluster) => cluster.faults(),
        }
    }

    /// Whether no fault of a server lasts, with every change.
    pub(super) fn subscribe(&self) -> watch::Receiver<bool> {
        match self {
            Self::One(pool, _) => pool.subscribe(),
            Self::Cluster(cluster) => cluster.healthy(),
        }
    }

    /// State and counters of the cluster; none without one.
    pub(super) fn cluster_stats(&self) -> Option<ClusterStats> {
        match self {
            Self::One(..) => None,
            Self::Cluster(cluster) => Some(cluster.stats()),
        }
    }
}

impl Server {
    fn is(&self, node: &Arc<Node>) -> bool {
        self.node.as_ref().is_some_and(|own| Arc::ptr_eq(own, node))
    }

    /// A number for its process, the same in all replicas.
    pub(super) fn id(&self) -> u64 {
        let process = self.pool.health().server().process_id();
        match &self.node {
            None => process,
            Some(node) => process ^ xxh3_64(node.name().as_bytes()),
        }
    }
}

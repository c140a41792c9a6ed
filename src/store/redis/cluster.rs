//! Redis Cluster: each request goes to the primary that has the slot of its keys.
//!
//! The client library has connections to clusters of its own. They are not used, because they have
//! none of what the connections of this store have: shared handles of several connections per
//! server, batches of reads, commands that are not sent again unless they surely were not applied,
//! connections that are replaced when they are suspect, and the identity of each server. So this is
//! a map from slots to primaries, with one [`super::pool`] for each of them.
//!
//! # The map
//!
//! One task reads it from any server that answers: when a primary names another one (`MOVED`), when
//! a primary fails, and from time to time. A map of an earlier epoch of the cluster than the known
//! one is outdated, and refused: a former primary that was cut off still takes itself for one. A
//! `MOVED` changes the slot at once.
//!
//! A primary that did not answer once is asked again only after the map was read: another one may
//! have taken its slots while it hung, which it notices late.
//!
//! A change of the set of primaries has a number. Before a new primary is asked for anything, the
//! near cache is dropped, because the changes of the new one are not announced yet, and all known
//! bans are read again. See `tracked_servers.rs`.
//!
//! # Moved slots
//!
//! While a slot is moved, its former primary answers for the keys that it still has, and names the
//! new one for the others (`ASK`), which answers if the command follows `ASKING`. A command on
//! several keys that are not all at one place is refused (`TRYAGAIN`), and tried again for as long
//! as the timeout of the operation. Reads of several keys are split into single ones instead, so
//! that they go on: an entry and its marker need not be read at the same moment, because the id of
//! a generation never comes back.
//!
//! # Parts that fail
//!
//! Each primary has its own circuit breaker and its own probe. As long as another one works, an
//! outage is that of the keys of one primary: the error is [`ErrorKind::PartUnavailable`], which
//! the circuit breaker of the store does not count.
//!
//! # Time
//!
//! The time of the store follows the primary that has the key `{clock}`, as it follows the one
//! server else. Each other primary has a clock of its own, whose difference the probes measure. A
//! script is given the difference of the primary that it runs on.

mod address;
mod node;
mod refresh;
mod report;
mod requests;
mod routed;
mod slot_map;
mod slots;

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use arc_swap::ArcSwap;
use futures_util::future::join_all;
use parking_lot::Mutex;
use tokio::sync::{Notify, watch};

use super::{
    connection::PoolHealth,
    endpoint::Endpoint,
    epochs::Epochs,
    outage_log::{Outage, OutageLog},
    pool::{PoolOptions, PoolState},
    server_identity::ServerIdentity,
};
use crate::store::{Error, ErrorKind, Result, clock::StoreClock, near_cache::NearCache};
use address::{Address, Seeds};
pub(super) use node::Node;
pub(super) use requests::values;
use slot_map::SlotMap;
pub(super) use slots::slot_of_key;

/// A cluster. Clones share it.
#[derive(Clone)]
pub(super) struct Cluster(Arc<Shared>);

struct Shared {
    seeds: Seeds,
    options: PoolOptions,
    breaker_threshold: u32,
    near: Arc<NearCache>,
    clock: StoreClock,
    /// The slot whose primary has the time of the store.
    clock_slot: u16,
    epochs: Arc<Epochs>,
    map: ArcSwap<SlotMap>,
    /// Number of changes of the set of primaries. Held while it changes.
    set: Mutex<u64>,
    primaries: watch::Sender<Primaries>,
    /// Asks for a refresh of the map.
    refresh: Arc<Notify>,
    /// Number of refreshes that were begun, and that have ended.
    begun: AtomicU64,
    refreshed: watch::Sender<u64>,
    outage: OutageLog,
    healthy: watch::Sender<bool>,
    other_shards: watch::Sender<Option<u16>>,
    counts: Counts,
    gone: Mutex<Gone>,
}

/// The counts of nodes that are gone.
#[derive(Default)]
struct Gone {
    state: PoolState,
    faults: Vec<u64>,
}

/// The set of primaries.
#[derive(Clone, Default)]
pub(super) struct Primaries {
    /// Number of the set.
    pub(super) version: u64,
    /// In the order of their addresses.
    pub(super) nodes: Arc<[Arc<Node>]>,
}

#[derive(Debug, Default)]
struct Counts {
    moved: AtomicU64,
    asked: AtomicU64,
    tried_again: AtomicU64,
    /// Changes of the owner of any slot.
    layouts: AtomicU64,
}

/// State and counters of a cluster.
#[derive(Debug, Clone, Default)]
pub struct ClusterStats {
    /// Address of each primary, and whether it is available.
    pub primaries: Vec<(String, bool)>,
    /// Slots without a primary.
    pub unserved_slots: u64,
    /// Refreshes of the map of slots.
    pub refreshes: u64,
    /// Commands that were sent again, by reason.
    pub redirects: [(&'static str, u64); 3],
}

impl Cluster {
    /// Whether a URL is that of a cluster.
    pub(super) fn is_cluster(url: &str) -> bool {
        Seeds::is_cluster(url)
    }

    /// Creates a cluster of which nothing is known. `clock_key` is the key whose primary has the
    /// time of the store.
    ///
    /// # Errors
    /// The URL cannot be used.
    pub(super) fn new(
        options: &PoolOptions,
        breaker_threshold: u32,
        near: Arc<NearCache>,
        clock_key: &str,
    ) -> Result<Self> {
        use secrecy::ExposeSecret as _;
        let seeds = Seeds::parse(options.url.expose_secret())?;
        // Later connections fail in the same way.
        for address in &seeds.addresses {
            let url = seeds.url_of(address);
            Endpoint::new(url.expose_secret(), options.tls.as_ref(), options.connect_timeout)?;
        }
        Ok(Self(Arc::new(Shared {
            seeds,
            options: options.clone(),
            breaker_threshold,
            near,
            clock: StoreClock::new(),
            clock_slot: slot_of_key(clock_key.as_bytes()),
            epochs: Arc::default(),
            map: ArcSwap::from_pointee(SlotMap::empty()),
            set: Mutex::new(0),
            primaries: watch::Sender::default(),
            refresh: Arc::default(),
            begun: AtomicU64::new(0),
            refreshed: watch::Sender::new(0),
            outage: OutageLog::new(Outage::Connections),
            healthy: watch::Sender::new(true),
            other_shards: watch::Sender::new(None),
            counts: Counts::default(),
            gone: Mutex::default(),
        })))
    }

    /// The time of the store.
    pub(super) fn clock(&self) -> &StoreClock {
        &self.0.clock
    }

    /// The epochs of the bans and of the primaries.
    pub(super) fn epochs(&self) -> &Arc<Epochs> {
        &self.0.epochs
    }

    /// The number of shards that the fleet uses, if it is another one than that of this replica.
    pub(super) fn other_shards(&self) -> &watch::Sender<Option<u16>> {
        &self.0.other_shards
    }

    /// The primaries, in the order of their addresses.
    pub(super) fn nodes(&self) -> Vec<Arc<Node>> {
        self.0.map.load().nodes().to_vec()
    }

    /// Whether all slots are served, and no fault of a primary lasts, with every change.
    pub(super) fn healthy(&self) -> watch::Receiver<bool> {
        self.0.healthy.subscribe()
    }

    /// Timeout of an operation.
    pub(super) fn timeout(&self) -> Duration {
        self.0.options.timeout
    }

    /// Whether replicas must have the writes that must not be lost.
    pub(super) fn awaits_replicas(&self) -> bool {
        self.0.options.replication.is_some()
    }

    /// The set of primaries, with every change.
    pub(super) fn primaries(&self) -> watch::Receiver<Primaries> {
        self.0.primaries.subscribe()
    }

    /// The primary of a key; none if it has none.
    pub(super) fn owner_of(&self, key: &[u8]) -> Option<Arc<Node>> {
        self.0.map.load().owner(slot_of_key(key)).cloned()
    }

    /// Whether a primary has the time of the store.
    pub(super) fn has_clock(&self, node: &Arc<Node>) -> bool {
        let map = self.0.map.load();
        map.owner(self.0.clock_slot).is_some_and(|owner| Arc::ptr_eq(owner, node))
    }

    /// A slot of a primary; none if it has none.
    pub(super) fn slot_of_node(&self, node: &Node) -> Option<u16> {
        self.0.map.load().slot_of(node)
    }

    /// Commands that were redirected to another primary.
    pub(super) fn redirects(&self) -> u64 {
        self.0.counts.moved.load(Ordering::Acquire) + self.0.counts.asked.load(Ordering::Acquire)
    }

    /// Number of changes of the owner of any slot.
    pub(super) fn layouts(&self) -> u64 {
        self.0.counts.layouts.load(Ordering::Relaxed)
    }

    /// Runs `action` unless the set of primaries is another one than that with this number.
    pub(super) fn while_set(&self, version: u64, action: impl FnOnce() -> bool) -> bool {
        let current = self.0.set.lock();
        *current == version && action()
    }

    /// Why no primary can be found.
    pub(super) fn outage(&self) -> &OutageLog {
        &self.0.outage
    }

    /// Runs `begin` for each primary, also for those that are found later, for as long as the
    /// future is polled.
    pub(super) async fn for_each_node(self, begin: impl Fn(Arc<Node>)) {
        let mut primaries = self.primaries();
        let mut known: Vec<Arc<Node>> = Vec::new();
        loop {
            let now = primaries.borrow_and_update().nodes.clone();
            known.retain(|node| now.iter().any(|other| Arc::ptr_eq(node, other)));
            for node in now.iter() {
                if !known.iter().any(|other| Arc::ptr_eq(node, other)) {
                    known.push(node.clone());
                    begin(node.clone());
                }
            }
            if primaries.changed().await.is_err() {
                return;
            }
        }
    }

    /// Fails unless a primary is available. Finds the primaries first, if none is known.
    pub(super) async fn check(&self) -> Result<()> {
        if self.0.map.load().nodes().is_empty() {
            self.refreshed(self.0.options.connect_timeout).await;
        }
        let nodes = self.0.map.load_full();
        let probed = join_all(nodes.nodes().iter().map(|node| node.is_probed())).await;
        if probed.contains(&true) {
            return Ok(());
        }
        let cause = self.trouble().map(|trouble| trouble.cause);
        Err(cause.map_or_else(
            || ErrorKind::Unreachable.into(),
            |cause| Error::new(ErrorKind::Unreachable, cause),
        ))
    }

    /// Reads the map, and waits for that, for `limit` at most. A read that has begun before does
    /// not count.
    pub(super) async fn refreshed(&self, limit: Duration) {
        let mut refreshed = self.0.refreshed.subscribe();
        let next = self.0.begun.load(Ordering::Acquire) + 1;
        self.0.refresh.notify_one();
        let _ = tokio::time::timeout(limit, refreshed.wait_for(|count| *count >= next)).await;
    }

    /// State of a node's connections.
    fn new_health(&self, address: &Address) -> PoolHealth {
        let identity = ServerIdentity::new(self.0.near.clone());
        PoolHealth::of_node(identity, self.0.epochs.clone(), &address.to_string())
    }
}

//! Refreshing the map of slots.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use futures_util::{StreamExt as _, stream::FuturesUnordered};
use redis::{AsyncConnectionConfig, ProtocolVersion};
use secrecy::ExposeSecret as _;
use tokio::time::{Instant, sleep, timeout, timeout_at};

use super::{Cluster, Primaries};
use super::{
    address::Address,
    node::Node,
    slot_map::{SlotMap, View},
};
use crate::store::{
    Result,
    redis::{endpoint::Endpoint, pool::PoolOptions},
};

/// Time between two refreshes while all is well.
const INTERVAL: Duration = Duration::from_secs(10);
/// Time between two refreshes while a primary is unavailable or a slot has none.
const TROUBLED_INTERVAL: Duration = Duration::from_millis(500);
/// Shortest time between two refreshes.
const MIN_INTERVAL: Duration = Duration::from_millis(50);
/// Servers that are asked at a time.
const MAX_ASKED: usize = 5;
/// Primaries whose addresses are logged.
const MAX_NAMED: usize = 32;
/// Time after the first answer in which those of others count.
const OTHER_VIEWS_LIMIT: Duration = Duration::from_millis(30);
/// Time for which a map of an earlier epoch is refused while no other is known. After it, the
/// cluster was made anew.
const EARLIER_EPOCH_LIMIT: Duration = Duration::from_secs(15);

impl Cluster {
    /// Refreshes the map of slots for as long as the future is polled.
    pub(in crate::store::redis) async fn follow_slots(self) {
        let mut accepted_at = Instant::now();
        loop {
            let number = self.0.begun.fetch_add(1, Ordering::AcqRel) + 1;
            let suspects: Vec<Arc<Node>> =
                self.nodes().into_iter().filter(|node| node.is_suspect()).collect();
            if self.refresh_map(&mut accepted_at).await {
                suspects.iter().for_each(|node| node.trust());
            }
            self.0.refreshed.send_replace(number);
            self.update_health();
            sleep(MIN_INTERVAL).await;
            let interval = {
                let map = self.0.map.load();
                let is_well = map.unserved() == 0 && map.nodes().iter().all(|n| n.is_available());
                if is_well { INTERVAL } else { TROUBLED_INTERVAL }
            };
            let _ = timeout(interval, self.0.refresh.notified()).await;
        }
    }

    /// Asks servers, and accepts the newest map, unless it is outdated. Returns whether there was
    /// one.
    async fn refresh_map(&self, accepted_at: &mut Instant) -> bool {
        let known = self.0.map.load_full();
        let mut newest = ask_nodes(&known).await;
        // No known primary answers. Their addresses may have changed.
        let mut seeds = self.0.seeds.addresses.iter();
        while newest.is_none()
            && let Some(address) = seeds.next()
        {
            newest = self.ask_seed(address).await;
        }
        let Some(view) = newest else { return false };
        let is_outdated = view.epoch < known.epoch && view.epoch != 0;
        if is_outdated && accepted_at.elapsed() < EARLIER_EPOCH_LIMIT {
            return false;
        }
        *accepted_at = Instant::now();
        self.accept(&view);
        true
    }

    async fn ask_seed(&self, address: &Address) -> Option<View> {
        let url = self.0.seeds.url_of(address);
        let limit = self.0.options.connect_timeout;
        let asked = async {
            let tls = self.0.options.tls.as_ref();
            let route = Endpoint::new(url.expose_secret(), tls, limit)?.route().await?;
            let config = AsyncConnectionConfig::new().set_response_timeout(None);
            let mut opened = route.open(ProtocolVersion::RESP2, &config).await?;
            View::ask(&mut opened.connection, address).await
        };
        let outcome = match timeout(limit, asked).await {
            Ok(Ok(view)) if view.ranges.is_empty() => {
                Err((redis::ErrorKind::Client, "the Redis Cluster has no slots").into())
            }
            Ok(outcome) => outcome,
            Err(_) => Err(std::io::Error::from(std::io::ErrorKind::TimedOut).into()),
        };
        match outcome {
            Ok(view) => {
                self.0.outage.works();
                Some(view)
            }
            Err(error) => {
                self.0.outage.failed(&error);
                None
            }
        }
    }

    fn accept(&self, view: &View) {
        if view.ranges.is_empty() {
            return;
        }
        self.0.outage.works();
        let mut version = self.0.set.lock();
        let known = self.0.map.load_full();
        let mut nodes = Vec::new();
        for address in view.addresses() {
            let node = match known.node(&address) {
                Some(node) => Ok(node.clone()),
                None => self.new_node(&address),
            };
            match node {
                Ok(node) => {
                    node.on_listed();
                    nodes.push(node);
                }
                Err(error) => tracing::warn!(%error, node = %address, "cannot use a primary"),
            }
        }
        let is_listed = |node: &Arc<Node>| nodes.iter().any(|other| Arc::ptr_eq(other, node));
        let unlisted: Vec<Arc<Node>> =
            known.nodes().iter().filter(|node| !is_listed(node)).cloned().collect();
        let (kept, gone): (Vec<_>, Vec<_>) =
            unlisted.into_iter().partition(|node| node.is_kept_unlisted());
        nodes.extend(kept);
        self.publish(&mut version, &known, SlotMap::new(view, nodes));
        for node in gone {
            self.keep_counts(&node);
            node.gone().cancel();
        }
    }

    /// The node at an address that another node has named.
    pub(super) fn named(&self, address: &str, sender: &Node) -> Option<Arc<Node>> {
        let address = Address::parse(address, &sender.address)?;
        let find = |map: &SlotMap| {
            map.node(&address).map(|node| {
                node.on_named();
                node.clone()
            })
        };
        if let Some(node) = find(&self.0.map.load()) {
            return Some(node);
        }
        let mut version = self.0.set.lock();
        let known = self.0.map.load_full();
        if let Some(node) = find(&known) {
            return Some(node);
        }
        let node = self.new_node(&address).ok()?;
        self.publish(&mut version, &known, known.with_node(node.clone()));
        Some(node)
    }

    /// A slot has moved from one node to another, by the answer of the former one.
    pub(super) fn set_owner(&self, slot: u16, from: &Arc<Node>, to: &Node) {
        let mut version = self.0.set.lock();
        let known = self.0.map.load_full();
        if known.owner(slot).is_some_and(|owner| Arc::ptr_eq(owner, from)) {
            self.publish(&mut version, &known, known.with_owner(slot, to));
        }
    }

    /// Makes a map the current one.
    fn publish(&self, version: &mut u64, known: &SlotMap, map: SlotMap) {
        if !known.has_same_owners(&map) {
            self.0.counts.layouts.fetch_add(1, Ordering::Relaxed);
        }
        let is_same_set = known.has_same_nodes(&map);
        if !is_same_set {
            *version += 1;
            // Before a new primary is asked: its changes are not announced yet.
            self.0.near.on_disconnected();
            self.0.epochs.forget_bans();
            let count = map.nodes().len();
            let named = map.nodes().iter().take(MAX_NAMED);
            let names: Vec<String> = named.map(|node| node.name()).collect();
            tracing::info!(
                primaries = names.join(" "),
                count,
                epoch = map.epoch,
                unserved_slots = map.unserved(),
                "the primaries of the Redis Cluster"
            );
        }
        let nodes: Arc<[Arc<Node>]> = map.nodes().into();
        self.0.map.store(Arc::new(map));
        if !is_same_set {
            self.0.primaries.send_replace(Primaries { version: *version, nodes });
        }
    }

    fn new_node(&self, address: &Address) -> Result<Arc<Node>> {
        let url = self.0.seeds.url_of(address);
        let options = PoolOptions { url, ..self.0.options.clone() };
        let refresh = self.0.refresh.clone();
        let on_change = move |_: &Address| refresh.notify_one();
        let health = self.new_health(address);
        Node::new(address.clone(), &options, self.0.breaker_threshold, health, on_change)
    }
}

/// The newest view of the nodes, of those that answer soon after the first.
async fn ask_nodes(known: &SlotMap) -> Option<View> {
    let mut nodes: Vec<Arc<Node>> = known.nodes().to_vec();
    for index in (1..nodes.len()).rev() {
        nodes.swap(index, rand::random_range(0..=index));
    }
    // A node that has failed may have an outdated map, in which it still has its slots.
    nodes.sort_by_key(|node| (!node.is_available(), node.is_suspect()));
    let mut views: FuturesUnordered<_> = nodes.into_iter().take(MAX_ASKED).map(ask_node).collect();
    let mut newest: Option<View> = None;
    let mut ends_at = None;
    loop {
        let next = match ends_at {
            None => views.next().await,
            Some(ends_at) => timeout_at(ends_at, views.next()).await.ok().flatten(),
        };
        let Some(view) = next else { return newest };
        let Ok(view) = view else { continue };
        ends_at.get_or_insert_with(|| Instant::now() + OTHER_VIEWS_LIMIT);
        if newest.as_ref().is_none_or(|newest| newest.epoch < view.epoch) {
            newest = Some(view);
        }
    }
}

async fn ask_node(node: Arc<Node>) -> Result<View> {
    let answers = node.pool.query_each(&View::commands(), &mut None).await?;
    Ok(View::parse(answers, &node.address)?)
}

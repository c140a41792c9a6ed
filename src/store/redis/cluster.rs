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
use redis::{Cmd, Pipeline, RedisError, Value};
use tokio::{
    sync::{Notify, watch},
    time::{Instant, sleep},
};

use super::{
    connection::{PoolHealth, error_or_value},
    fault::Fault,
    outage_log::{Outage, OutageLog},
    pool::{PoolOptions, PoolState, Retry, is_unknown_script},
    request::One,
    script::Script,
    server_identity::ServerIdentity,
};
use crate::{
    model::SaturatingFrom as _,
    store::{Error, ErrorKind, Result, Trouble, clock::StoreClock, near_cache::NearCache},
};
use address::Seeds;
pub(super) use node::Node;
use routed::{Redirect, Routed, RoutedAnswer, RoutedEach, Unit};
use slot_map::SlotMap;
pub(super) use slots::slot_of_key;
use slots::{keys_of_mget, slot_of};

/// Redirections of one command; slots that are moved from one server to another in turns.
const MAX_REDIRECTS: u32 = 16;
/// Pause before a command is tried again, the first and the longest one.
const MIN_PAUSE: Duration = Duration::from_millis(5);
const MAX_PAUSE: Duration = Duration::from_millis(40);

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
    ban_epoch: Arc<AtomicU64>,
    map: ArcSwap<SlotMap>,
    /// Number of changes of the set of primaries. Held while it changes.
    set: Mutex<u64>,
    primaries: watch::Sender<Primaries>,
    /// Asks for a refresh of the map.
    refresh: Arc<Notify>,
    /// Number of refreshes.
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
            super::connection::client(
                seeds.url_of(address).expose_secret(),
                redis::ProtocolVersion::RESP3,
            )?;
        }
        Ok(Self(Arc::new(Shared {
            seeds,
            options: options.clone(),
            breaker_threshold,
            near,
            clock: StoreClock::new(),
            clock_slot: slot_of_key(clock_key.as_bytes()),
            ban_epoch: Arc::default(),
            map: ArcSwap::from_pointee(SlotMap::empty()),
            set: Mutex::new(0),
            primaries: watch::Sender::default(),
            refresh: Arc::default(),
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

    /// Changes whenever what is known of bans must be read again.
    pub(super) fn ban_epoch(&self) -> u64 {
        self.0.ban_epoch.load(Ordering::Acquire)
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

    /// Updates whether the cluster is healthy.
    pub(super) fn update_health(&self) {
        let now = {
            let map = self.0.map.load();
            let is_healthy = |node: &Arc<Node>| {
                node.is_available() && node.pool.health().faults.trouble().is_none()
            };
            map.unserved() == 0 && map.nodes().iter().all(is_healthy)
        };
        self.0.healthy.send_if_modified(|before| std::mem::replace(before, now) != now);
    }

    /// State and counters of all connections, also of those to nodes that are gone.
    pub(super) fn pool_state(&self) -> PoolState {
        let gone = self.0.gone.lock();
        let nodes = self.nodes();
        let sum = nodes.iter().fold(gone.state, |sum, node| sum.plus(&node.pool.state()));
        PoolState {
            clock_steps: self.0.clock.steps(),
            clock_ahead_ms: self.0.clock.ahead_ms(),
            ..sum
        }
    }

    /// Name of each fault, how often it was met, and whether it lasts.
    pub(super) fn faults(&self) -> Vec<(&'static str, u64, bool)> {
        let gone = self.0.gone.lock();
        let mut all: Vec<_> = Fault::ALL
            .iter()
            .enumerate()
            .map(|(at, fault)| (fault.row().name, gone.faults.get(at).copied().unwrap_or(0), false))
            .collect();
        for node in self.nodes() {
            for (sum, (_, count, lasts)) in all.iter_mut().zip(node.pool.health().faults.state()) {
                sum.1 += count;
                sum.2 |= lasts;
            }
        }
        all
    }

    /// A node is gone: its counts remain.
    fn keep_counts(&self, node: &Node) {
        let mut gone = self.0.gone.lock();
        gone.state = PoolState { connections: 0, ..gone.state.plus(&node.pool.state()) };
        gone.faults.resize(Fault::ALL.len(), 0);
        for (sum, (_, count, _)) in gone.faults.iter_mut().zip(node.pool.health().faults.state()) {
            *sum += count;
        }
    }

    /// Timeout of an operation.
    pub(super) fn timeout(&self) -> Duration {
        self.0.options.timeout
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

    /// What is wrong with the cluster, or with one of its primaries.
    pub(super) fn trouble(&self) -> Option<Trouble> {
        let map = self.0.map.load();
        let of_node = |node: &Arc<Node>| {
            let trouble = node.trouble()?;
            Some(Trouble { cause: format!("{}: {}", node.address, trouble.cause), ..trouble })
        };
        map.nodes().iter().find_map(of_node).or_else(|| self.0.outage.trouble())
    }

    pub(super) fn stats(&self) -> ClusterStats {
        let (map, counts) = (self.0.map.load(), &self.0.counts);
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let primaries = map.nodes().iter().map(|node| (node.name(), node.is_available()));
        ClusterStats {
            primaries: primaries.collect(),
            unserved_slots: u64::saturating_from(map.unserved()),
            refreshes: *self.0.refreshed.borrow(),
            redirects: [
                ("moved", count(&counts.moved)),
                ("ask", count(&counts.asked)),
                ("try_again", count(&counts.tried_again)),
            ],
        }
    }

    /// Runs `begin` for each primary, also for those that are found later, for as long as the future
    /// is polled.
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

    // === Requests ===

    /// Sends a command to the primary of its first key.
    pub(super) async fn query(&self, command: &Cmd, retry: Retry) -> Result<Value> {
        let slot = slot_of(command).ok_or_else(without_key)?;
        self.route(slot, Unit::One(command), None, retry, None).await
    }

    /// Sends a command that may be applied twice to one primary.
    pub(super) async fn query_node(&self, node: &Arc<Node>, command: &Cmd) -> Result<Value> {
        let answer = node.send(One(command), Retry::Idempotent).await;
        answer.map_err(|error| self.failed(node, error))
    }

    /// Calls a script, and loads it first if the server does not know it.
    pub(super) async fn eval(&self, script: &Script, call: &Cmd, retry: Retry) -> Result<Value> {
        let slot = slot_of(call).ok_or_else(without_key)?;
        self.route(slot, Unit::One(call), Some(script), retry, None).await
    }

    /// Calls a script in one round trip with a command that must run before it. All keys are in one
    /// slot.
    pub(super) async fn eval_after(
        &self,
        before: &Cmd,
        script: &Script,
        call: &Cmd,
    ) -> Result<Value> {
        let slot = slot_of(call).ok_or_else(without_key)?;
        self.route(slot, Unit::Two(before, call), Some(script), Retry::Never, None).await
    }

    /// Sends commands that may be applied twice, each to the primary of its first key, all at the
    /// same time. The results are in their order. Those that are sent to one primary together, and
    /// no others, fail together. An answer may be an error of its command alone.
    pub(super) async fn each(&self, commands: Vec<Cmd>) -> Vec<Result<Value>> {
        let mut results: Vec<Option<Result<Value>>> = commands.iter().map(|_| None).collect();
        let mut parts: Vec<Part> = Vec::new();
        {
            let map = self.0.map.load();
            for (index, command) in commands.into_iter().enumerate() {
                let owner = slot_of(&command).and_then(|slot| map.owner(slot));
                let Some(owner) = owner else {
                    results[index] = Some(Err(self.without_owner()));
                    continue;
                };
                let part = match parts.iter_mut().find(|part| Arc::ptr_eq(&part.node, owner)) {
                    Some(part) => part,
                    None => {
                        parts.push(Part::new(owner.clone()));
                        let last = parts.len() - 1;
                        &mut parts[last]
                    }
                };
                part.indices.push(index);
                part.commands.add_command(command);
            }
        }
        for (indices, answers) in join_all(parts.into_iter().map(|part| self.part(part))).await {
            for (index, answer) in indices.into_iter().zip(answers) {
                results[index] = Some(answer);
            }
        }
        let missing = || Err(ErrorKind::Refused.into());
        results.into_iter().map(|result| result.unwrap_or_else(missing)).collect()
    }

    async fn part(&self, part: Part) -> (Vec<usize>, Vec<Result<Value>>) {
        let Part { node, indices, commands } = part;
        let answers = match node.send(RoutedEach(&commands), Retry::Idempotent).await {
            Ok(answers) => answers,
            Err(error) => {
                let error = self.failed(&node, error);
                let failures = indices.iter().map(|_| Err(error.clone())).collect();
                return (indices, failures);
            }
        };
        let answers = commands.cmd_iter().zip(answers).map(async |(command, answer)| {
            let Value::ServerError(error) = &answer else { return Ok(answer) };
            let error = RedisError::from(error.clone());
            match (Redirect::of(&error), slot_of(command)) {
                (Some(redirect), Some(slot)) => {
                    let first = Some((node.clone(), redirect, error));
                    let unit = Unit::One(command);
                    Box::pin(self.route(slot, unit, None, Retry::Idempotent, first)).await
                }
                _ => Ok(answer),
            }
        });
        let answers = join_all(answers).await;
        (indices, answers)
    }

    /// Sends a unit to the primary of a slot, and follows redirections. `redirected` is the first
    /// of them.
    async fn route(
        &self,
        slot: u16,
        unit: Unit<'_>,
        script: Option<&Script>,
        retry: Retry,
        mut redirected: Option<(Arc<Node>, Redirect, RedisError)>,
    ) -> Result<Value> {
        let mut redirects = Redirects::default();
        loop {
            let mut asked = None;
            if let Some((node, redirect, error)) = redirected.take() {
                if !redirects.may_follow(self.timeout()) {
                    return Err(Error {
                        kind: ErrorKind::PartUnavailable,
                        source: Some(Arc::new(error)),
                    });
                }
                match redirect {
                    Redirect::Moved { slot, address } => self.moved(slot, &address, &node),
                    Redirect::Ask { address } => asked = self.asked(&address, &node),
                    Redirect::TryAgain => {
                        self.0.counts.tried_again.fetch_add(1, Ordering::Relaxed);
                        if let Unit::One(command) = unit
                            && let Some(keys) = keys_of_mget(command)
                        {
                            return Box::pin(self.single_gets(keys)).await;
                        }
                        redirects.pause().await;
                    }
                    Redirect::NotServed => {
                        self.0.refresh.notify_one();
                        redirects.pause().await;
                    }
                }
            }
            let asking = asked.is_some();
            let node = match asked.or_else(|| self.0.map.load().owner(slot).cloned()) {
                Some(node) => node,
                None => return Err(self.without_owner()),
            };
            let adjusted = script.and_then(|script| self.adjusted(script, unit, &node));
            let sent = match (unit, &adjusted) {
                (Unit::One(_), Some(call)) => Unit::One(call),
                (Unit::Two(before, _), Some(call)) => Unit::Two(before, call),
                (unit, None) => unit,
            };
            match node.send(Routed { unit: sent, asking }, retry).await {
                Ok(RoutedAnswer::Value(value)) => return Ok(value),
                Ok(RoutedAnswer::Redirect(redirect, error)) => {
                    redirected = Some((node, redirect, error));
                }
                Err(error) => match script {
                    Some(script) if is_unknown_script(&error) && redirects.may_load() => {
                        let loaded = node.pool.query(&script.load(), Retry::Idempotent).await;
                        loaded.map_err(|error| self.failed(&node, error))?;
                    }
                    _ => return Err(self.failed(&node, error)),
                },
            }
        }
    }

    /// The call of a script for a primary with a clock of its own; none if it fits as it is.
    fn adjusted(&self, script: &Script, unit: Unit<'_>, node: &Arc<Node>) -> Option<Cmd> {
        if self.has_clock(node) {
            return None;
        }
        let (Unit::One(call) | Unit::Two(_, call)) = unit;
        script.call_with_ahead(call, self.ahead_of(node))
    }

    /// What the time of the store is ahead of the clock of a primary, in milliseconds.
    fn ahead_of(&self, node: &Node) -> i64 {
        let server_time = node.pool.clock().server_time();
        let store_time = self.0.clock.now();
        i64::saturating_from(store_time.0).saturating_sub(i64::saturating_from(server_time.0))
    }

    /// Reads keys one by one, because they are not all at one place.
    async fn single_gets(&self, keys: impl Iterator<Item = &[u8]>) -> Result<Value> {
        let gets = keys.map(async |key| {
            let mut get = redis::cmd("GET");
            get.arg(key);
            let slot = slot_of_key(key);
            let value = self.route(slot, Unit::One(&get), None, Retry::Idempotent, None).await;
            match value {
                // As MGET, which has no value for a key of another type.
                Err(error) if error.kind == ErrorKind::Refused => Ok(Value::Nil),
                other => other,
            }
        });
        let values: Result<Vec<Value>> = join_all(gets).await.into_iter().collect();
        values.map(Value::Array)
    }

    fn moved(&self, slot: u16, address: &str, sender: &Arc<Node>) {
        self.0.counts.moved.fetch_add(1, Ordering::Relaxed);
        if let Some(node) = self.named(address, sender) {
            self.set_owner(slot, sender, &node);
        }
        self.0.refresh.notify_one();
    }

    fn asked(&self, address: &str, sender: &Arc<Node>) -> Option<Arc<Node>> {
        self.0.counts.asked.fetch_add(1, Ordering::Relaxed);
        self.named(address, sender)
    }

    #[cold]
    fn without_owner(&self) -> Error {
        self.0.refresh.notify_one();
        let map = self.0.map.load();
        let kind = if map.nodes().iter().any(|node| node.is_available()) {
            ErrorKind::PartUnavailable
        } else {
            ErrorKind::Unreachable
        };
        Error::new(kind, "no primary of the Redis Cluster serves the slot of the key")
    }

    /// The error of an operation on a primary. An outage is that of its keys while others work.
    #[cold]
    fn failed(&self, node: &Arc<Node>, error: Error) -> Error {
        if !error.kind.is_outage() {
            return error;
        }
        self.0.refresh.notify_one();
        let map = self.0.map.load();
        let mut others = map.nodes().iter().filter(|other| !Arc::ptr_eq(other, node));
        if !others.any(|other| other.is_available()) {
            return error;
        }
        match error.source {
            Some(_) => Error { kind: ErrorKind::PartUnavailable, ..error },
            None => {
                let cause = format!("{}: {}", node.address, error.kind);
                Error::new(ErrorKind::PartUnavailable, cause)
            }
        }
    }

    /// Refreshes the map, and waits for that, for `limit` at most.
    async fn refreshed(&self, limit: Duration) {
        let mut refreshed = self.0.refreshed.subscribe();
        refreshed.borrow_and_update();
        self.0.refresh.notify_one();
        let _ = tokio::time::timeout(limit, refreshed.changed()).await;
    }

    /// State of a node's connections.
    fn new_health(&self) -> PoolHealth {
        let identity = ServerIdentity::new(self.0.near.clone());
        PoolHealth::with_ban_epoch(identity, self.0.ban_epoch.clone())
    }
}

/// The commands for one primary.
struct Part {
    node: Arc<Node>,
    indices: Vec<usize>,
    commands: Pipeline,
}

impl Part {
    fn new(node: Arc<Node>) -> Self {
        Self { node, indices: Vec::new(), commands: redis::pipe() }
    }
}

/// The redirections of one command.
#[derive(Default)]
struct Redirects {
    count: u32,
    began_at: Option<Instant>,
    has_loaded: u32,
}

impl Redirects {
    /// Counts a redirection. Whether it may be followed.
    fn may_follow(&mut self, limit: Duration) -> bool {
        self.count += 1;
        let began_at = *self.began_at.get_or_insert_with(Instant::now);
        self.count <= MAX_REDIRECTS && began_at.elapsed() < limit
    }

    /// Counts a script that was not known. It may be lost again between two commands.
    fn may_load(&mut self) -> bool {
        self.has_loaded += 1;
        self.has_loaded <= 3
    }

    async fn pause(&self) {
        let pause = MIN_PAUSE * 2_u32.saturating_pow(self.count.saturating_sub(1).min(8));
        sleep(pause.min(MAX_PAUSE)).await;
    }
}

fn without_key() -> Error {
    Error::new(ErrorKind::Refused, "a command without a key has no slot")
}

/// Turns answers that are errors into errors.
pub(super) fn values(answers: Vec<Result<Value>>) -> Result<Vec<Value>> {
    answers.into_iter().map(|answer| Ok(error_or_value(answer?)?)).collect()
}

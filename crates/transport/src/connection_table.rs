//! The open connections of a server, and which of them makes room when there are too many.
//!
//! # Algorithm
//!
//! Above the limit a new connection displaces another one:
//!
//! 1. a silent one, whose peer has not sent the preface,
//! 2. an idle one, without open streams,
//! 3. a new one, whose preface may be on its way: only in a flood of them,
//! 4. a busy one of an address that has more than half of all connections, for another address.
//!
//! Among those it is one of the address with the most connections, and of that address the one that
//! has been silent or idle longest. An address displaces no connection of an address with fewer
//! connections, so that no address takes all. A proxy is one address for many clients: alone it may
//! have all connections. If there is no connection to displace, the new one is refused.
//!
//! Displaced connections end by GOAWAY, so they stay open for a moment above the limit.
//!
//! One search finds candidates for many new connections, and searches take at most a small part of
//! the time.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, HashMap, VecDeque},
    net::{IpAddr, Ipv6Addr, SocketAddr},
    sync::{
        Arc, OnceLock,
        atomic::{
            AtomicBool, AtomicU8, AtomicU64,
            Ordering::{Relaxed, SeqCst},
        },
    },
    task::{Context, Poll},
    time::Duration,
};

use futures_util::task::AtomicWaker;
use parking_lot::Mutex;
use tokio::{
    sync::Notify,
    time::{Instant, timeout},
};

use crate::{
    connection_stats::{CloseReason, ConnectionStats},
    inline_executor::InlineExecutor,
    preface::Preface,
};

/// Maximum number of connections above the limit that are being closed.
const MAX_CLOSING: usize = 256;
/// Time in which a connection that must end at once does so.
const END_TIME: Duration = Duration::from_millis(10);
/// Time after which the candidates are searched anew.
const SEARCH_INTERVAL: Duration = Duration::from_secs(1);
/// The time between two searches is at least this many times the duration of one.
const SEARCH_PAUSE: u32 = 10;
/// Time in which a connection may be silent.
const PREFACE_TIME: Duration = Duration::from_millis(50);
/// That time for the newest connections, of `limit / NEW_PART`: their clients may be far away.
const NEW_TIME: Duration = Duration::from_secs(1);
const NEW_PART: usize = 16;

/// The connections of one port.
pub(crate) struct ConnectionTable {
    open: Mutex<HashMap<u64, Arc<ConnectionState>>>,
    clock: CoarseClock,
    stats: Arc<ConnectionStats>,
    /// Notified when a connection has ended.
    ended: Notify,
}

/// A clock that costs one load, in milliseconds since its start. It is set at intervals.
#[derive(Debug)]
pub(crate) struct CoarseClock {
    started: Instant,
    /// Time between two ticks.
    resolution: Duration,
    millis: AtomicU64,
}

/// What the table knows of a connection.
pub(crate) struct ConnectionState {
    id: u64,
    address: IpAddr,
    pub(crate) preface: Preface,
    /// Has the open streams. Set when the connection begins.
    executor: OnceLock<InlineExecutor>,
    /// When the last request began, or a stream was seen open, by the coarse clock.
    active_at: AtomicU64,
    order: AtomicU8,
    waker: AtomicWaker,
    has_ended: AtomicBool,
}

/// Asks a connection to end. Later orders are stricter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Order {
    None,
    /// The server shuts down: streams may finish.
    Drain,
    /// A new connection needs the place: streams may finish within the grace.
    MakeRoom,
    /// As above, at once.
    MakeRoomNow,
    /// The server stops: at once.
    Abort,
}

/// An open connection. Dropping it removes it from the table.
pub(crate) struct OpenConnection {
    pub(crate) state: Arc<ConnectionState>,
    pub(crate) table: Arc<ConnectionTable>,
    reason: CloseReason,
}

/// Decides which connections are admitted. The accept loop has it.
pub(crate) struct ConnectionLimiter {
    table: Arc<ConnectionTable>,
    next_id: u64,
    candidates: Candidates,
    search: Option<Search>,
    /// Connections that make room, the oldest first.
    closing: VecDeque<Arc<ConnectionState>>,
}

/// The last search for candidates.
struct Search {
    began_at: Instant,
    /// No sooner does the next one begin.
    next_at: Instant,
    /// Whether it found any.
    has_found: bool,
}

/// The outcome of a new connection.
pub(crate) enum Admitted {
    /// There was room.
    Yes(OpenConnection),
    /// Another connection makes room.
    Displacing(OpenConnection),
    Refused,
}

/// Connections that may be displaced, by address.
#[derive(Default)]
struct Candidates {
    groups: HashMap<IpAddr, Group>,
    /// Addresses that have candidates, the one with the most connections first. The number is out
    /// of date if candidates were taken since.
    queues: [BinaryHeap<(usize, IpAddr)>; Class::ALL.len()],
    total: usize,
    /// The first id of the newest connections.
    newest: u64,
}

#[derive(Default)]
struct Group {
    connections: usize,
    /// The best candidate last.
    members: [Vec<Candidate>; Class::ALL.len()],
}

struct Candidate {
    state: Arc<ConnectionState>,
    active_at: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Class {
    Silent,
    Idle,
    New,
    Busy,
}

// === impl CoarseClock ===

impl CoarseClock {
    fn new(resolution: Duration) -> Self {
        Self { started: Instant::now(), resolution, millis: AtomicU64::new(0) }
    }

    fn tick(&self) {
        let elapsed = u64::try_from(self.started.elapsed().as_millis());
        self.millis.store(elapsed.unwrap_or(u64::MAX), Relaxed);
    }

    #[inline]
    fn now(&self) -> u64 {
        self.millis.load(Relaxed)
    }

    /// The time since `millis`, exact to the resolution.
    fn since(&self, millis: u64) -> Duration {
        self.started.elapsed().saturating_sub(Duration::from_millis(millis))
    }
}

// === impl ConnectionTable ===

impl ConnectionTable {
    /// `resolution` is the time between two calls of [`ConnectionTable::tick`].
    pub(crate) fn new(stats: Arc<ConnectionStats>, resolution: Duration) -> Arc<Self> {
        let clock = CoarseClock::new(resolution);
        Arc::new(Self { open: Mutex::default(), clock, stats, ended: Notify::new() })
    }

    pub(crate) fn stats(&self) -> &ConnectionStats {
        &self.stats
    }

    /// Sets the clock.
    pub(crate) fn tick(&self) {
        self.clock.tick();
    }

    /// Gives an order to all connections.
    pub(crate) fn order_all(&self, order: Order) {
        let states: Vec<_> = self.open.lock().values().cloned().collect();
        for state in states {
            state.order(order);
        }
    }
}

// === impl ConnectionState ===

impl ConnectionState {
    fn new(id: u64, address: IpAddr, now: u64) -> Self {
        Self {
            id,
            address,
            preface: Preface::default(),
            executor: OnceLock::new(),
            active_at: AtomicU64::new(now),
            order: AtomicU8::new(Order::None as u8),
            waker: AtomicWaker::new(),
            has_ended: AtomicBool::new(false),
        }
    }

    /// The connection begins. `executor` runs its streams.
    pub(crate) fn begin(&self, executor: InlineExecutor) {
        let _ = self.executor.set(executor);
    }

    /// A request begins. Only the connection's task calls this.
    #[inline]
    pub(crate) fn set_active(&self, table: &ConnectionTable) {
        self.active_at.store(table.clock.now(), Relaxed);
    }

    pub(crate) fn has_streams(&self) -> bool {
        self.executor.get().is_some_and(InlineExecutor::has_streams)
    }

    /// Upper bound of the time at which the last request began, or a stream was seen open.
    pub(crate) fn active_at(&self, table: &ConnectionTable) -> Instant {
        let clock = &table.clock;
        clock.started + clock.resolution + Duration::from_millis(self.active_at.load(Relaxed))
    }

    /// `newest` is the first id of the newest connections.
    fn class(&self, newest: u64, clock: &CoarseClock) -> Class {
        if self.has_streams() {
            return Class::Busy;
        }
        if self.preface.is_complete() {
            return Class::Idle;
        }
        let time = if self.id >= newest { NEW_TIME } else { PREFACE_TIME };
        if clock.since(self.active_at.load(Relaxed)) < time { Class::New } else { Class::Silent }
    }

    fn order(&self, order: Order) {
        self.order.fetch_max(order as u8, SeqCst);
        self.waker.wake();
    }

    /// Ready with an order that is stricter than `known`.
    pub(crate) fn poll_order(&self, known: Order, cx: &Context<'_>) -> Poll<Order> {
        self.waker.register(cx.waker());
        let order = Order::of(self.order.load(SeqCst));
        if order > known { Poll::Ready(order) } else { Poll::Pending }
    }
}

impl Order {
    fn of(number: u8) -> Self {
        [Self::None, Self::Drain, Self::MakeRoom, Self::MakeRoomNow]
            .into_iter()
            .find(|order| *order as u8 == number)
            .unwrap_or(Self::Abort)
    }
}

// === impl OpenConnection ===

impl OpenConnection {
    /// Ends the connection.
    pub(crate) fn close(mut self, reason: CloseReason) {
        self.reason = reason;
    }
}

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.state.has_ended.store(true, SeqCst);
        self.table.open.lock().remove(&self.state.id);
        self.table.stats.add_closed(self.reason);
        self.table.ended.notify_one();
    }
}

// === impl ConnectionLimiter ===

impl ConnectionLimiter {
    pub(crate) fn new(table: Arc<ConnectionTable>) -> Self {
        Self {
            table,
            next_id: 0,
            candidates: Candidates::default(),
            search: None,
            closing: VecDeque::new(),
        }
    }

    /// Admits a connection, if there is room or another one makes room.
    pub(crate) async fn admit(&mut self, peer: SocketAddr) -> Admitted {
        let address = group_of(peer.ip());
        if self.has_room() {
            return Admitted::Yes(self.open(address));
        }
        if self.displace_for(Some(address)).await {
            return Admitted::Displacing(self.open(address));
        }
        self.table.stats.add_refused();
        Admitted::Refused
    }

    /// Displaces one connection, as no more files can be opened.
    pub(crate) async fn make_room(&mut self) {
        self.displace_for(None).await;
    }

    /// Forgets outdated candidates, which are kept in memory. To be called at intervals.
    pub(crate) fn tick(&mut self) {
        if self.search.take_if(|last| last.began_at.elapsed() >= SEARCH_INTERVAL).is_some() {
            self.candidates = Candidates::default();
            self.closing.retain(|state| !state.has_ended.load(SeqCst));
        }
    }

    fn open(&mut self, address: IpAddr) -> OpenConnection {
        let table = self.table.clone();
        let state = Arc::new(ConnectionState::new(self.next_id, address, table.clock.now()));
        self.next_id += 1;
        table.open.lock().insert(state.id, state.clone());
        table.stats.add_open();
        OpenConnection { state, table, reason: CloseReason::Failed }
    }

    fn has_room(&mut self) -> bool {
        let limit = self.table.stats.limit();
        let open = self.table.stats.open();
        if open < limit {
            return true;
        }
        self.closing.retain(|state| !state.has_ended.load(SeqCst));
        open.saturating_sub(self.closing.len()) < limit
    }

    /// Asks a connection to make room for one of `address`.
    async fn displace_for(&mut self, address: Option<IpAddr>) -> bool {
        self.closing.retain(|state| !state.has_ended.load(SeqCst));
        let Some((class, state)) = self.take_candidate(address).await else { return false };
        let max_closing = (self.table.stats.limit() / 4).clamp(1, MAX_CLOSING);
        let is_closing_full = self.closing.len() >= max_closing;
        let order = match class {
            Class::Busy if is_closing_full => return false,
            Class::Idle if is_closing_full && !self.end_oldest_closing() => Order::MakeRoomNow,
            Class::Silent | Class::New => Order::MakeRoomNow,
            Class::Idle | Class::Busy => Order::MakeRoom,
        };
        state.order(order);
        self.closing.push_back(state);
        if is_closing_full {
            let _ = timeout(END_TIME, self.closing_fits(max_closing)).await;
        }
        true
    }

    /// Ends one of the connections that are being closed: the one that has had the most time, and
    /// has no streams. Returns whether there is one.
    fn end_oldest_closing(&self) -> bool {
        let oldest = self.closing.iter().find(|state| !state.has_streams());
        oldest.inspect(|state| state.order(Order::MakeRoomNow)).is_some()
    }

    /// Waits until at most `max` connections are being closed.
    async fn closing_fits(&mut self, max: usize) {
        while self.closing.len() > max {
            self.table.ended.notified().await;
            self.closing.retain(|state| !state.has_ended.load(SeqCst));
        }
    }

    async fn take_candidate(
        &mut self,
        address: Option<IpAddr>,
    ) -> Option<(Class, Arc<ConnectionState>)> {
        let now = Instant::now();
        let is_recent =
            self.search.as_ref().is_some_and(|last| now - last.began_at < SEARCH_INTERVAL);
        if is_recent && let Some(taken) = self.candidates.take(address, &self.table.clock) {
            return Some(taken);
        }
        if let Some(last) = &self.search
            && now < last.next_at
        {
            if !last.has_found {
                return None;
            }
            // All that were found are taken. The new connections wait in the listener's queue.
            tokio::time::sleep_until(last.next_at).await;
        }
        self.search_candidates();
        let taken = self.candidates.take(address, &self.table.clock);
        if let Some(search) = &mut self.search {
            search.has_found = taken.is_some();
        }
        taken
    }

    fn search_candidates(&mut self) {
        let began_at = Instant::now();
        let newest = (self.table.stats.limit() / NEW_PART) as u64;
        let open: Vec<_> = self.table.open.lock().values().cloned().collect();
        let newest = self.next_id.saturating_sub(newest);
        self.candidates = Candidates::new(open, newest, &self.table.clock);
        let next_at = Instant::now() + began_at.elapsed() * SEARCH_PAUSE;
        self.search = Some(Search { began_at, next_at, has_found: false });
    }
}

/// What counts as one address: in IPv6 a /64 network, as one peer can have all of its addresses.
fn group_of(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
        }
        v4 @ IpAddr::V4(_) => v4,
    }
}

// === impl Candidates ===

impl Class {
    const ALL: [Self; 4] = [Self::Silent, Self::Idle, Self::New, Self::Busy];
}

impl Candidates {
    fn new(open: Vec<Arc<ConnectionState>>, newest: u64, clock: &CoarseClock) -> Self {
        let mut candidates = Self { newest, ..Self::default() };
        for state in open {
            // One that makes room already no longer counts.
            if state.order.load(SeqCst) != Order::None as u8 {
                continue;
            }
            let class = state.class(newest, clock);
            if class == Class::Busy {
                // So that the end of a long stream is not taken for its begin.
                state.active_at.store(clock.now(), Relaxed);
            }
            let active_at = state.active_at.load(Relaxed);
            let group = candidates.groups.entry(state.address).or_default();
            group.connections += 1;
            candidates.total += 1;
            group.members[class as usize].push(Candidate { state, active_at });
        }
        for (address, group) in &mut candidates.groups {
            for (members, queue) in group.members.iter_mut().zip(&mut candidates.queues) {
                if !members.is_empty() {
                    let by_age = |one: &Candidate| Reverse((one.active_at, one.state.id));
                    members.sort_unstable_by_key(by_age);
                    queue.push((group.connections, *address));
                }
            }
        }
        candidates
    }

    /// Takes the best candidate for a connection of `address`; of `None`: for any.
    fn take(
        &mut self,
        address: Option<IpAddr>,
        clock: &CoarseClock,
    ) -> Option<(Class, Arc<ConnectionState>)> {
        let own = address.and_then(|own| self.groups.get(&own));
        let own = own.map_or(0, |group| group.connections);
        for class in Class::ALL {
            if let Some(state) = self.take_of(class, address, own, clock) {
                if let Some(address) = address {
                    self.groups.entry(address).or_default().connections += 1;
                }
                return Some((class, state));
            }
        }
        None
    }

    /// `own` is the number of connections of `address`.
    fn take_of(
        &mut self,
        class: Class,
        address: Option<IpAddr>,
        own: usize,
        clock: &CoarseClock,
    ) -> Option<Arc<ConnectionState>> {
        let queue = &mut self.queues[class as usize];
        while let Some((connections, of)) = queue.pop() {
            let group = self.groups.get_mut(&of)?;
            if group.connections != connections {
                queue.push((group.connections, of));
                continue;
            }
            let is_allowed = match class {
                Class::Silent | Class::Idle | Class::New => group.connections >= own,
                Class::Busy => {
                    group.connections * 2 > self.total && address.is_some_and(|own| own != of)
                }
            };
            let taken = if is_allowed { group.take(class, self.newest, clock) } else { None };
            if !group.members[class as usize].is_empty() {
                queue.push((group.connections, of));
            }
            if taken.is_some() || !is_allowed {
                return taken;
            }
        }
        None
    }
}

impl Group {
    /// The best candidate that still is one.
    fn take(
        &mut self,
        class: Class,
        newest: u64,
        clock: &CoarseClock,
    ) -> Option<Arc<ConnectionState>> {
        while let Some(Candidate { state, active_at }) = self.members[class as usize].pop() {
            let is_unchanged = !state.has_ended.load(SeqCst)
                && state.class(newest, clock) == class
                && (class == Class::Busy || state.active_at.load(Relaxed) == active_at);
            if is_unchanged {
                self.connections = self.connections.saturating_sub(1);
                return Some(state);
            }
        }
        None
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;

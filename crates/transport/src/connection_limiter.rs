//! Limits the connections of a port: which one makes room when there are too many.
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
    collections::VecDeque,
    net::{IpAddr, Ipv6Addr, SocketAddr},
    sync::{Arc, atomic::Ordering::SeqCst},
    time::Duration,
};

use tokio::time::{Instant, timeout, timeout_at};

use crate::{
    connection_candidates::Candidates,
    connection_stats::CloseReason,
    connection_table::{Class, ConnectionState, ConnectionTable, OpenConnection, Order},
};

/// Maximum number of connections above the limit that are being closed.
const MAX_CLOSING: usize = 256;
/// Time in which the peer of a connection that makes room can finish, if there are many of them.
const REACTION_TIME: Duration = Duration::from_millis(50);
/// Time in which a connection that must end at once does so.
const END_TIME: Duration = Duration::from_millis(10);
/// Time after which the candidates are searched anew.
const SEARCH_INTERVAL: Duration = Duration::from_secs(1);
/// The time between two searches is at least this many times the duration of one.
const SEARCH_PAUSE: u32 = 10;
/// The newest connections are `limit / NEW_PART`, and at least one.
const NEW_PART: usize = 16;

/// Decides which connections are admitted. The accept loop has it.
pub(crate) struct ConnectionLimiter {
    table: Arc<ConnectionTable>,
    next_id: u64,
    candidates: Candidates,
    search: Option<Search>,
    /// Connections that make room, the oldest first.
    closing: VecDeque<Closing>,
}

/// A connection that makes room.
struct Closing {
    state: Arc<ConnectionState>,
    since: Instant,
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
            self.remove_ended();
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
        self.remove_ended();
        open.saturating_sub(self.closing.len()) < limit
    }

    /// Asks a connection to make room for one of `address`.
    async fn displace_for(&mut self, address: Option<IpAddr>) -> bool {
        self.remove_ended();
        let Some((class, state)) = self.take_candidate(address).await else { return false };
        let max_closing = (self.table.stats.limit() / 4).clamp(1, MAX_CLOSING);
        let is_closing_full = self.closing.len() >= max_closing;
        let order = match class {
            Class::Busy if is_closing_full => return false,
            Class::Idle if is_closing_full && !self.closing_fits(max_closing).await => {
                Order::MakeRoomNow
            }
            Class::Silent | Class::New => Order::MakeRoomNow,
            Class::Idle | Class::Busy => Order::MakeRoom,
        };
        state.order(order);
        self.closing.push_back(Closing { state, since: Instant::now() });
        if order == Order::MakeRoomNow && is_closing_full {
            let _ = timeout(END_TIME, self.closing_ends(max_closing)).await;
        }
        true
    }

    /// Waits until fewer than `max` connections are being closed. If the oldest one does not react
    /// in time, it is ended. Returns false if all of them have streams.
    async fn closing_fits(&mut self, max: usize) -> bool {
        while self.closing.len() >= max {
            let oldest = self.closing.iter().find(|closing| !closing.state.has_streams());
            let Some(Closing { state, since }) = oldest else { return false };
            let until = *since + REACTION_TIME;
            if Instant::now() >= until {
                state.order(Order::MakeRoomNow);
                let _ = timeout(END_TIME, self.closing_ends(max - 1)).await;
                return true;
            }
            let _ = timeout_at(until, self.closing_ends(max - 1)).await;
        }
        true
    }

    /// Waits until at most `max` connections are being closed.
    async fn closing_ends(&mut self, max: usize) {
        while self.closing.len() > max {
            self.table.ended.notified().await;
            self.remove_ended();
        }
    }

    fn remove_ended(&mut self) {
        self.closing.retain(|closing| !closing.state.has_ended.load(SeqCst));
    }

    async fn take_candidate(
        &mut self,
        address: Option<IpAddr>,
    ) -> Option<(Class, Arc<ConnectionState>)> {
        let now = Instant::now();
        let is_recent =
            self.search.as_ref().is_some_and(|last| now - last.began_at < SEARCH_INTERVAL);
        if is_recent && let Some(taken) = self.candidates.take(address) {
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
        let taken = self.candidates.take(address);
        if let Some(search) = &mut self.search {
            search.has_found = taken.is_some();
        }
        taken
    }

    fn search_candidates(&mut self) {
        let began_at = Instant::now();
        let newest = self.table.stats.limit().div_ceil(NEW_PART) as u64;
        let open: Vec<_> = self.table.open.lock().values().cloned().collect();
        let newest = self.next_id.saturating_sub(newest);
        self.candidates = Candidates::new(open, newest, &self.table.clock);
        let next_at = Instant::now() + began_at.elapsed() * SEARCH_PAUSE;
        self.search = Some(Search { began_at, next_at, has_found: false });
    }
}

/// The group that counts as one address: in IPv6 a /64 network, as one peer can have all of its
/// addresses.
fn group_of(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
        }
        v4 @ IpAddr::V4(_) => v4,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;

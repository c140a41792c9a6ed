//! The open connections of a port, with the state of each of them.

use std::{
    collections::HashMap,
    net::IpAddr,
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
use tokio::{sync::Notify, time::Instant};

use crate::{
    connection_stats::{CloseReason, ConnectionStats},
    inline_executor::InlineExecutor,
    preface::Preface,
};

/// Time in which a connection may be silent.
pub(crate) const PREFACE_TIME: Duration = Duration::from_millis(50);
/// That time for the newest connections: their clients may be far away.
pub(crate) const NEW_TIME: Duration = Duration::from_secs(1);

/// The connections of one port.
pub(crate) struct ConnectionTable {
    pub(crate) open: Mutex<HashMap<u64, Arc<ConnectionState>>>,
    pub(crate) clock: CoarseClock,
    pub(crate) stats: Arc<ConnectionStats>,
    /// Notified when a connection has ended.
    pub(crate) ended: Notify,
}

/// A clock that costs one load, in milliseconds since its start. It is set at intervals.
#[derive(Debug)]
pub(crate) struct CoarseClock {
    started: Instant,
    /// Time between two ticks.
    resolution: Duration,
    millis: AtomicU64,
}

/// State of a connection in the table.
pub(crate) struct ConnectionState {
    pub(crate) id: u64,
    pub(crate) address: IpAddr,
    pub(crate) preface: Preface,
    /// By the exact clock: the coarse one may be late by more than a peer may be silent.
    opened_at: Instant,
    /// Has the open streams. Set when the connection begins.
    executor: OnceLock<InlineExecutor>,
    /// When the last request began, or a stream was seen open, by the coarse clock.
    pub(crate) active_at: AtomicU64,
    pub(crate) order: AtomicU8,
    waker: AtomicWaker,
    pub(crate) has_ended: AtomicBool,
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
    pub(crate) reason: CloseReason,
}

/// Activity of a connection, in the order in which connections are displaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Class {
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
    pub(crate) fn now(&self) -> u64 {
        self.millis.load(Relaxed)
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
    pub(crate) fn new(id: u64, address: IpAddr, now: u64) -> Self {
        Self {
            id,
            address,
            preface: Preface::default(),
            opened_at: Instant::now(),
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
    pub(crate) fn class(&self, newest: u64) -> Class {
        if self.has_streams() {
            return Class::Busy;
        }
        if self.preface.is_complete() {
            return Class::Idle;
        }
        let time = if self.id >= newest { NEW_TIME } else { PREFACE_TIME };
        if self.opened_at.elapsed() < time { Class::New } else { Class::Silent }
    }

    pub(crate) fn order(&self, order: Order) {
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
    pub(crate) fn of(number: u8) -> Self {
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

// === impl Class ===

impl Class {
    pub(crate) const ALL: [Self; 4] = [Self::Silent, Self::Idle, Self::New, Self::Busy];
}

//! The connections of a client: one to each address, and calls take turns (`round_robin`).

use std::{
    cell::LazyCell,
    sync::Arc,
    time::{Duration, SystemTime},
};

use http::uri::{Authority, Scheme};
use parking_lot::Mutex;
use tokio::{sync::Notify, task::AbortHandle, time::Instant};
use tonic::Status;

use super::{
    connect::{Connector, Resolved, Running},
    link::{Link, Sender},
    target::Place,
};
use crate::Error;

const FIRST_BACKOFF: Duration = Duration::from_millis(100);
const LONGEST_BACKOFF: Duration = Duration::from_millis(1500);
/// A share of the back-off that is added by chance.
const JITTER: f64 = 0.2;
/// Names are not resolved more often.
const RESOLVED_EVERY: Duration = Duration::from_secs(3);
/// After so many calls in a row without an answer in time a connection counts as dead.
const DEAD_AFTER: u32 = 5;
/// Calls on a connection that was replaced have this long to end.
const DRAINED: Duration = Duration::from_secs(60);
/// Connections that were replaced and still have calls.
const MAX_DRAINED: usize = 8;

enum State {
    Idle,
    Connecting,
    Ready(Arc<Link>),
    Failed { until: Instant },
}

struct Slot {
    place: Place,
    state: State,
    /// Zero unless the last attempt failed.
    backoff: Duration,
}

struct Inner {
    slots: Vec<Slot>,
    next: usize,
    resolving: bool,
    resolved_at: Option<Instant>,
    /// A connection has ended or failed since names were resolved, or a name was not resolved.
    outdated: bool,
    error: String,
    last_call: Option<(Instant, SystemTime)>,
    /// Tasks of connections and of attempts to connect.
    tasks: Vec<AbortHandle>,
    drained: Vec<AbortHandle>,
    closed: bool,
}

/// The connections of a client.
pub(crate) struct Pool {
    connector: Arc<Connector>,
    /// A connection that was idle for longer is replaced.
    max_idle: Option<Duration>,
    inner: Mutex<Inner>,
    changed: Notify,
}

enum Step {
    Take(Arc<Link>),
    Wait,
    Fail(Status),
}

impl Pool {
    pub(crate) fn new(connector: Connector, max_idle: Option<Duration>) -> Self {
        let inner = Inner {
            slots: Vec::new(),
            next: 0,
            resolving: false,
            resolved_at: None,
            outdated: false,
            error: String::new(),
            last_call: None,
            tasks: Vec::new(),
            drained: Vec::new(),
            closed: false,
        };
        Self {
            connector: Arc::new(connector),
            max_idle,
            inner: Mutex::new(inner),
            changed: Notify::new(),
        }
    }

    /// The time that a first call has in addition.
    pub(crate) fn connect_timeout(&self) -> Duration {
        self.connector.timeout
    }

    /// Whether any connection has ever answered.
    pub(crate) fn has_answered(&self) -> bool {
        let inner = self.inner.lock();
        inner.slots.iter().any(|slot| match &slot.state {
            State::Ready(link) => link.has_answered(),
            State::Idle | State::Connecting | State::Failed { .. } => false,
        })
    }

    /// A connection for a call. Connects if there is none.
    ///
    /// # Errors
    ///
    /// `UNAVAILABLE` if no address can be reached.
    pub(crate) async fn pick(self: &Arc<Self>) -> Result<Arc<Link>, Status> {
        let mut step = self.step();
        loop {
            match step {
                Step::Take(link) => return Ok(link),
                Step::Fail(status) => return Err(status),
                Step::Wait => {}
            }
            let mut changed = std::pin::pin!(self.changed.notified());
            changed.as_mut().enable();
            step = self.step();
            if matches!(step, Step::Wait) {
                changed.await;
                step = self.step();
            }
        }
    }

    fn step(self: &Arc<Self>) -> Step {
        let renewed = self.connector.renewed();
        let mut inner = self.inner.lock();
        if inner.closed {
            return Step::Fail(Error::closed().into());
        }
        if renewed || self.is_idle(&mut inner) {
            inner.replace_all();
        }
        // Most calls find a connection, and do not need the time.
        let now: LazyCell<Instant> = LazyCell::new(Instant::now);
        for slot in &mut inner.slots {
            slot.refresh(&now);
        }
        inner.outdated |= inner.slots.iter().any(|slot| !matches!(slot.state, State::Ready(_)));
        if inner.outdated || inner.slots.is_empty() {
            self.resolve(&mut inner, *now);
        }
        for index in 0..inner.slots.len() {
            if matches!(inner.slots[index].state, State::Idle) {
                self.connect(&mut inner, index);
            }
        }
        if let Some(link) = inner.take_turn() {
            return Step::Take(link);
        }
        let is_first =
            |slot: &Slot| matches!(slot.state, State::Connecting) && slot.backoff.is_zero();
        if inner.slots.iter().any(is_first) || (inner.slots.is_empty() && inner.resolving) {
            return Step::Wait;
        }
        // While an address that has failed is tried again, calls fail at once.
        Step::Fail(Status::unavailable(format!("no connection: {}", inner.error)))
    }

    /// Whether the connections were idle for too long. Either clock may have stood still while the
    /// process was frozen.
    fn is_idle(&self, inner: &mut Inner) -> bool {
        let Some(max_idle) = self.max_idle else { return false };
        let now = (Instant::now(), SystemTime::now());
        inner.last_call.replace(now).is_some_and(|(steady, wall)| {
            let wall = now.1.duration_since(wall).unwrap_or_default();
            (now.0 - steady).max(wall) > max_idle
        })
    }

    fn resolve(self: &Arc<Self>, inner: &mut Inner, now: Instant) {
        let is_due = inner.resolved_at.is_none_or(|at| now - at > RESOLVED_EVERY);
        if inner.resolving || !is_due {
            return;
        }
        inner.resolving = true;
        let pool = Arc::clone(self);
        let task = tokio::spawn(async move {
            let mut resolving = Resolving { pool: &pool, found: None };
            resolving.found = Some(pool.connector.resolve().await);
        });
        inner.track(task.abort_handle());
    }

    fn connect(self: &Arc<Self>, inner: &mut Inner, index: usize) {
        let place = inner.slots[index].place.clone();
        inner.slots[index].state = State::Connecting;
        let pool = Arc::clone(self);
        let task = tokio::spawn(async move {
            let mut attempt = Attempt { pool: &pool, place: &place, made: None };
            attempt.made = Some(Arc::clone(&pool.connector).connect(place.clone()).await);
        });
        inner.track(task.abort_handle());
    }

    fn linked(&self, place: &Place, sender: Sender, running: Running) -> Option<Arc<Link>> {
        let scheme = Scheme::try_from(self.connector.scheme()).ok()?;
        let authority = Authority::try_from(Connector::authority(place)).ok()?;
        let task = tokio::spawn(running).abort_handle();
        self.inner.lock().track(task.clone());
        Some(Arc::new(Link::new(sender, scheme, authority, task)))
    }

    /// After a call without an answer in time: a connection can look alive and be dead, after a
    /// freeze, a failover or by a NAT. The next call takes another.
    pub(crate) fn silent(&self, link: &Arc<Link>) {
        if link.silent() >= DEAD_AFTER || self.max_idle.is_some() {
            self.dead(link);
        }
    }

    /// The next call takes another connection than this one.
    pub(crate) fn dead(&self, link: &Arc<Link>) {
        let mut inner = self.inner.lock();
        for index in 0..inner.slots.len() {
            let is_it = matches!(&inner.slots[index].state,
                State::Ready(ready) if Arc::ptr_eq(ready, link));
            if is_it {
                inner.replace(index);
            }
        }
    }

    /// Ends all connections, and what runs on them.
    pub(crate) fn close(&self) {
        self.inner.lock().close();
        self.changed.notify_waiters();
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.inner.get_mut().close();
    }
}

impl Slot {
    /// Notes what time and the connection itself have changed.
    fn refresh(&mut self, now: &LazyCell<Instant>) {
        match &self.state {
            State::Ready(link) if !link.is_open() => {
                if link.has_answered() {
                    self.backoff = Duration::ZERO;
                    self.state = State::Idle;
                } else {
                    self.fail(**now);
                }
            }
            State::Ready(link) if link.has_answered() => self.backoff = Duration::ZERO,
            State::Failed { until } if *until <= **now => self.state = State::Idle,
            State::Idle | State::Connecting | State::Ready(_) | State::Failed { .. } => {}
        }
    }

    fn fail(&mut self, now: Instant) {
        self.backoff = (self.backoff * 2).clamp(FIRST_BACKOFF, LONGEST_BACKOFF);
        let jitter = self.backoff.mul_f64(JITTER * rand::random::<f64>());
        self.state = State::Failed { until: now + self.backoff + jitter };
    }
}

impl Inner {
    fn take_turn(&mut self) -> Option<Arc<Link>> {
        let count = self.slots.len();
        for offset in 0..count {
            let index = (self.next + offset) % count;
            if let State::Ready(link) = &self.slots[index].state {
                self.next = index + 1;
                return Some(Arc::clone(link));
            }
        }
        None
    }

    fn track(&mut self, task: AbortHandle) {
        if self.closed {
            task.abort();
            return;
        }
        self.tasks.retain(|task| !task.is_finished());
        self.tasks.push(task);
    }

    fn replace_all(&mut self) {
        for index in 0..self.slots.len() {
            self.replace(index);
        }
    }

    /// Makes the next call connect anew. Calls that run keep the old connection for a while.
    fn replace(&mut self, index: usize) {
        let State::Ready(link) = &self.slots[index].state else { return };
        let task = link.task();
        self.slots[index].state = State::Idle;
        self.drain(task);
    }

    fn drain(&mut self, task: AbortHandle) {
        self.drained.retain(|task| !task.is_finished());
        if self.drained.len() >= MAX_DRAINED {
            self.drained.remove(0).abort();
        }
        self.drained.push(task.clone());
        let drained = tokio::spawn(async move {
            tokio::time::sleep(DRAINED).await;
            task.abort();
        });
        self.track(drained.abort_handle());
    }

    fn close(&mut self) {
        self.closed = true;
        for task in self.tasks.drain(..).chain(self.drained.drain(..)) {
            task.abort();
        }
        for slot in self.slots.drain(..) {
            if let State::Ready(link) = slot.state {
                link.close();
            }
        }
    }
}

/// An attempt to connect. Its end is noted even if its runtime ends before it.
struct Attempt<'a> {
    pool: &'a Pool,
    place: &'a Place,
    made: Option<std::io::Result<(Sender, Running)>>,
}

impl Drop for Attempt<'_> {
    fn drop(&mut self) {
        let state = match self.made.take() {
            Some(Ok((sender, running))) => {
                self.pool.linked(self.place, sender, running).map(State::Ready)
            }
            Some(Err(error)) => {
                self.pool.inner.lock().error = format!("{}: {error}", self.place);
                None
            }
            None => Some(State::Idle),
        };
        let mut inner = self.pool.inner.lock();
        let slot = inner.slots.iter_mut().find(|slot| slot.place == *self.place);
        if let Some(slot) = slot
            && matches!(slot.state, State::Connecting)
        {
            match state {
                Some(state) => slot.state = state,
                None => slot.fail(Instant::now()),
            }
        }
        drop(inner);
        self.pool.changed.notify_waiters();
    }
}

/// A resolution of the names of the target.
struct Resolving<'a> {
    pool: &'a Pool,
    found: Option<Resolved>,
}

impl Drop for Resolving<'_> {
    fn drop(&mut self) {
        let mut guard = self.pool.inner.lock();
        let inner = &mut *guard;
        inner.resolving = false;
        if let Some(Resolved { places, errors }) = self.found.take() {
            inner.resolved_at = Some(Instant::now());
            inner.outdated = !errors.is_empty();
            if let Some((host, error)) = errors.first() {
                inner.error = format!("{host}: {error}");
            }
            // The addresses of before are kept while their name cannot be resolved.
            let is_unresolved = |place: &Place| match place {
                Place::Tcp { host, .. } => errors.iter().any(|(name, _)| name == host),
                Place::Unix(_) => false,
            };
            if !inner.closed {
                let old = std::mem::take(&mut inner.slots);
                let (kept, gone): (Vec<_>, Vec<_>) = old
                    .into_iter()
                    .partition(|slot| places.contains(&slot.place) || is_unresolved(&slot.place));
                inner.slots = kept;
                for place in places {
                    if !inner.slots.iter().any(|slot| slot.place == place) {
                        let backoff = Duration::ZERO;
                        inner.slots.push(Slot { place, state: State::Idle, backoff });
                    }
                }
                for slot in gone {
                    if let State::Ready(link) = slot.state {
                        inner.drain(link.task());
                    }
                }
            }
        }
        drop(guard);
        self.pool.changed.notify_waiters();
    }
}

#[cfg(test)]
mod tests;

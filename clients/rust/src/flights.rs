//! Computations of this process by key: later calls for a key join the first (singleflight).

use std::{
    any::{Any, TypeId},
    collections::HashMap,
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    time::Duration,
};

use parking_lot::Mutex;
use tokio::{sync::watch, task::AbortHandle, time::Instant};

use crate::{Error, FetchError, Read, background::Tracked, codec::CodecId};

/// The end of a computation.
pub(crate) type Ended<V, E> = Result<Read<V>, FetchError<E>>;
type Shared = Arc<dyn Any + Send + Sync>;

/// Equal for calls that can share a computation.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct FlightId {
    pub(crate) namespace: Arc<str>,
    pub(crate) entry: String,
    pub(crate) has_loader: bool,
    pub(crate) consistent: bool,
    pub(crate) max_stale: Option<Duration>,
    /// Whether an outage is an error of the call.
    pub(crate) raise: bool,
    /// Types of the value and of the error of loaders.
    pub(crate) types: (TypeId, TypeId),
    pub(crate) codec: CodecId,
    /// Not zero for a computation that no other call shares.
    pub(crate) unique: u64,
}

/// A computation of a call that may join another.
pub(crate) trait Computation<V, E>: Send + 'static {
    fn run(self) -> impl Future<Output = Ended<V, E>> + Send;
}

struct Flight {
    number: u64,
    id: FlightId,
    key: String,
    ended: watch::Receiver<Option<Shared>>,
    task: AbortHandle,
    seats: Mutex<Seats>,
}

impl Flight {
    /// Whether a call can still join it.
    fn is_usable(&self) -> bool {
        self.seats.lock().callers > 0 || self.ended.borrow().is_some()
    }
}

#[derive(Default)]
struct Seats {
    callers: usize,
    /// The computation of those that joined and could not use the result of this one.
    next: Option<Arc<Flight>>,
}

/// Computations by key.
#[derive(Default)]
pub(crate) struct Flights {
    flights: Table,
    closed: Arc<AtomicBool>,
}

/// The computations that calls can join, and all that run: also those that were forgotten.
#[derive(Default)]
struct Running {
    by_id: HashMap<FlightId, Arc<Flight>>,
    tasks: HashMap<u64, AbortHandle>,
    next: u64,
    /// With more tasks than this, those that ended with their runtime are looked for.
    many: usize,
}

impl Running {
    fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    fn track(&mut self, number: u64, task: AbortHandle) {
        if self.tasks.len() > self.many {
            self.tasks.retain(|_, task| !task.is_finished());
            self.many = MANY.max(2 * self.tasks.len());
        }
        self.tasks.insert(number, task);
    }

    fn end(&mut self, id: &FlightId, number: u64) {
        self.tasks.remove(&number);
        // A computation that was forgotten may have a successor.
        if self.by_id.get(id).is_some_and(|flight| flight.number == number) {
            self.by_id.remove(id);
        }
    }
}

const MANY: usize = 64;

type Table = Arc<Mutex<Running>>;

/// The end of a call.
pub(crate) enum Landed<V, E, C> {
    /// The result of its own computation.
    Own(Ended<V, E>),
    /// The result of one that it joined.
    Joined(Ended<V, E>),
    /// The one that it joined takes too long.
    Late(C),
}

/// Whether a result is an answer to a call that began after the computation. A value that was read
/// or computed before an invalidation is none, and only a fill that is stored proves that there was
/// no invalidation.
fn lasting<V, E>(ended: &Ended<V, E>) -> bool {
    match ended {
        Ok(read) => read.degraded || read.stored.as_ref().is_some_and(|write| write.is_stored()),
        Err(_) => true,
    }
}

impl Flights {
    /// Computes, or joins a computation. `tracked` lets `close` wait for one that is begun.
    pub(crate) async fn run<V, E, C>(
        &self,
        passenger: Passenger<'_>,
        tracked: impl Fn() -> Tracked,
        computation: C,
    ) -> Landed<V, E, C>
    where
        V: Send + Sync + 'static,
        E: Send + Sync + 'static,
        C: Computation<V, E>,
    {
        let Passenger { id, key, timeout } = passenger;
        let begin = |computation: C| Begin { id: &id, key, tracked: tracked(), computation };
        let (seat, computation) = self.board(&id, computation, begin);
        let Some(computation) = computation else { return Landed::Own(seat.ended().await) };
        let ending = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        match seat.ended_by(ending).await {
            None => return Landed::Late(computation),
            Some(first) if lasting(&first) => return Landed::Joined(first),
            Some(_) => {}
        }
        let (seat, computation) = self.board_next(&seat.flight, &id, computation, begin);
        let Some(computation) = computation else { return Landed::Own(seat.ended().await) };
        match seat.ended_by(ending).await {
            None => Landed::Late(computation),
            Some(ended) => Landed::Joined(ended),
        }
    }

    /// A seat in the computation that runs, or in a new one. Without the computation of the call:
    /// it is the one that was begun.
    fn board<'a, V, E, C>(
        &self,
        id: &FlightId,
        computation: C,
        begin: impl FnOnce(C) -> Begin<'a, C>,
    ) -> (Seat, Option<C>)
    where
        V: Send + Sync + 'static,
        E: Send + Sync + 'static,
        C: Computation<V, E>,
    {
        let mut table = self.flights.lock();
        let (flight, computation) = match table.by_id.get(id) {
            Some(flight) => (Arc::clone(flight), Some(computation)),
            None => (self.start(&mut table, begin(computation)), None),
        };
        (Seat::take(self, flight), computation)
    }

    /// As [`board`](Self::board), for a call that cannot use the result of a computation. All
    /// that joined it ask again, together: what began after them is an answer to them.
    fn board_next<'a, V, E, C>(
        &self,
        before: &Flight,
        id: &FlightId,
        computation: C,
        begin: impl FnOnce(C) -> Begin<'a, C>,
    ) -> (Seat, Option<C>)
    where
        V: Send + Sync + 'static,
        E: Send + Sync + 'static,
        C: Computation<V, E>,
    {
        let mut table = self.flights.lock();
        let mut seats = before.seats.lock();
        let next = seats.next.take().filter(|next| next.is_usable());
        let (flight, computation) = match next.or_else(|| table.by_id.get(id).map(Arc::clone)) {
            Some(flight) => (flight, Some(computation)),
            None => (self.start(&mut table, begin(computation)), None),
        };
        seats.next = Some(Arc::clone(&flight));
        (Seat::take(self, flight), computation)
    }

    fn start<V, E, C>(&self, table: &mut Running, begin: Begin<'_, C>) -> Arc<Flight>
    where
        V: Send + Sync + 'static,
        E: Send + Sync + 'static,
        C: Computation<V, E>,
    {
        let (sender, ended) = watch::channel(None);
        let Begin { id, key, tracked, computation } = begin;
        let number = table.number();
        let (own, flights) = (id.clone(), Arc::clone(&self.flights));
        let work = crate::telemetry::in_trace(async move {
            let _tracked = tracked;
            let landing = Landing { flights, id: own, number };
            let ended: Ended<V, E> = computation.run().await;
            let shared: Shared = Arc::new(ended);
            drop(landing);
            sender.send_replace(Some(shared));
        });
        let task = tokio::spawn(work).abort_handle();
        if self.closed.load(SeqCst) {
            task.abort();
        }
        table.track(number, task.clone());
        let (id, key, seats) = (id.clone(), key.to_owned(), Mutex::default());
        let flight = Arc::new(Flight { number, id: id.clone(), key, ended, task, seats });
        table.by_id.insert(id, Arc::clone(&flight));
        flight
    }

    /// Later calls do not join the computations of now: what they compute was invalidated.
    pub(crate) fn forget(&self, namespace: Option<&str>, concerns: impl Fn(&str) -> bool) {
        self.flights.lock().by_id.retain(|id, flight| {
            let is_in = namespace.is_none_or(|namespace| *id.namespace == *namespace);
            !(is_in && concerns(&flight.key))
        });
    }

    /// Aborts all computations.
    pub(crate) fn close(&self) {
        self.closed.store(true, SeqCst);
        let mut table = self.flights.lock();
        table.by_id.clear();
        for (_, task) in table.tasks.drain() {
            task.abort();
        }
    }
}

/// A call that may join another.
pub(crate) struct Passenger<'a> {
    pub(crate) id: FlightId,
    pub(crate) key: &'a str,
    /// Time for a computation that it joins.
    pub(crate) timeout: Option<Duration>,
}

struct Begin<'a, C> {
    id: &'a FlightId,
    key: &'a str,
    tracked: Tracked,
    computation: C,
}

/// The end of a computation: later calls do not join it.
struct Landing {
    flights: Table,
    id: FlightId,
    number: u64,
}

impl Drop for Landing {
    fn drop(&mut self) {
        self.flights.lock().end(&self.id, self.number);
    }
}

/// A call that waits for a computation. One that all its callers have left is aborted.
struct Seat {
    flights: Table,
    closed: Arc<AtomicBool>,
    flight: Arc<Flight>,
}

impl Seat {
    fn take(flights: &Flights, flight: Arc<Flight>) -> Self {
        flight.seats.lock().callers += 1;
        let closed = Arc::clone(&flights.closed);
        Self { flights: Arc::clone(&flights.flights), closed, flight }
    }

    async fn ended<V, E>(&self) -> Ended<V, E>
    where
        V: Send + Sync + 'static,
        E: Send + Sync + 'static,
    {
        let mut ended = self.flight.ended.clone();
        let shared = match ended.wait_for(Option::is_some).await {
            Ok(shared) => shared.as_ref().map(Arc::clone),
            // The computation was aborted, or its loader has panicked.
            Err(_) => None,
        };
        let ended = shared.and_then(|shared| shared.downcast::<Ended<V, E>>().ok());
        ended.map_or_else(
            || Err(FetchError::Cache(self.broken())),
            |ended| match &*ended {
                Ok(read) => Ok(read.clone()),
                Err(error) => Err(error.clone()),
            },
        )
    }

    fn broken(&self) -> Error {
        if self.closed.load(SeqCst) {
            return Error::closed();
        }
        let error = Error::new(tonic::Code::Internal, "the loader has panicked");
        error.with_reason("LOADER_PANICKED")
    }

    /// `None`: not by then.
    async fn ended_by<V, E>(&self, ending: Option<Instant>) -> Option<Ended<V, E>>
    where
        V: Send + Sync + 'static,
        E: Send + Sync + 'static,
    {
        match ending {
            Some(ending) => tokio::time::timeout_at(ending, self.ended()).await.ok(),
            None => Some(self.ended().await),
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut table = self.flights.lock();
        let mut seats = self.flight.seats.lock();
        seats.callers -= 1;
        if seats.callers > 0 || self.flight.ended.borrow().is_some() {
            return;
        }
        // The next call does not join a computation that is being aborted.
        table.end(&self.flight.id, self.flight.number);
        self.flight.task.abort();
    }
}

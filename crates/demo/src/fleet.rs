//! The clients of the demo, and the calls that they repeat.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use larder_client::{Client, Namespace};
use serde_json::Value;
use tokio::{
    sync::Semaphore,
    time::{Instant, MissedTickBehavior, interval},
};

use crate::Error;

/// Clients that share nothing, as if each were a process of its own.
const CLIENTS: usize = 3;
/// Calls of one kind that are open at a time. Further ones are left out.
const MAX_OPEN: usize = 64;

/// Clients of the replicas, which are used in turns.
pub(crate) struct Fleet {
    clients: Vec<Client>,
    next: AtomicUsize,
    start: Instant,
    calls: AtomicU64,
    errors: AtomicU64,
}

// === impl Fleet ===

impl Fleet {
    /// Clients of the replicas at these addresses. They connect at their first calls.
    pub(crate) fn new(address: &str) -> Result<Self, Error> {
        let client = |_| Client::builder(address).ignore_environment(true).connect_lazy();
        let clients: Result<_, _> = (0..CLIENTS).map(client).collect();
        Ok(Self {
            clients: clients.map_err(Error::Address)?,
            next: AtomicUsize::new(0),
            start: Instant::now(),
            calls: AtomicU64::new(0),
            errors: AtomicU64::new(0),
        })
    }

    /// The next client.
    pub(crate) fn client(&self) -> &Client {
        &self.clients[self.next.fetch_add(1, Relaxed) % self.clients.len()]
    }

    /// A namespace of the next client, with values of JSON.
    pub(crate) fn namespace(&self, name: &str) -> Namespace<Value> {
        self.client().namespace(name)
    }

    /// Repeats a call, one each `period`, for as long as the program runs.
    pub(crate) fn repeat<F, Fut, T, E>(self: &Arc<Self>, period: Duration, call: F)
    where
        F: Fn(Arc<Self>) -> Fut + Send + 'static,
        Fut: Future<Output = Result<T, E>> + Send + 'static,
        T: Send,
        E: Send,
    {
        let fleet = Arc::clone(self);
        let places = Arc::new(Semaphore::new(MAX_OPEN));
        tokio::spawn(async move {
            let mut ticks = interval(period);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
            loop {
                ticks.tick().await;
                let Ok(place) = Arc::clone(&places).try_acquire_owned() else { continue };
                let call = call(Arc::clone(&fleet));
                let fleet = Arc::clone(&fleet);
                tokio::spawn(async move {
                    fleet.count(call.await.is_err());
                    drop(place);
                });
            }
        });
    }

    /// Prints a line with the time since the start.
    pub(crate) fn report(&self, text: &str) {
        println!("{:6.1} s  {text}", self.start.elapsed().as_secs_f64());
    }

    /// The number of calls, and of those that failed.
    pub(crate) fn summary(&self) -> String {
        let (calls, errors) = (self.calls.load(Relaxed), self.errors.load(Relaxed));
        format!("calls={calls} errors={errors}")
    }

    fn count(&self, is_error: bool) {
        self.calls.fetch_add(1, Relaxed);
        self.errors.fetch_add(is_error.into(), Relaxed);
    }
}

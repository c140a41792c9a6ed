//! The parts that all handles of a client share, and the settings of a handle.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering::SeqCst},
    },
    time::Duration,
};

use parking_lot::Mutex;
use tokio::{sync::Notify, time::Instant};

use crate::{
    Error, Failure, OnError, Ttl,
    background::Background,
    breaker::{Breaker, RetryBudget},
    checks,
    counters::{Counters, Live},
    feed::Feeds,
    flights::Flights,
    names,
    options::positive,
    telemetry::Telemetry,
    transport::wire::{Route, Shared},
};

/// The most keys of a batch that the server takes.
pub(crate) const BATCH_KEYS: usize = 1000;
/// How long `close` waits for the calls that give leases up.
const PARTING: Duration = Duration::from_secs(1);

/// Limits of a client.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub(crate) call: Duration,
    pub(crate) connect: Duration,
    pub(crate) wait: Duration,
    pub(crate) wait_margin: Duration,
    pub(crate) background: usize,
}

const OPEN: u8 = 0;
const CLOSING: u8 = 1;
const CLOSED: u8 = 2;

/// The parts that all handles of a client share.
pub(crate) struct Core {
    pub(crate) shared: Arc<Shared>,
    pub(crate) limits: Limits,
    pub(crate) on_error: OnError,
    pub(crate) prefix: String,
    pub(crate) breaker: Arc<Breaker>,
    pub(crate) budget: RetryBudget,
    pub(crate) counters: Arc<Counters>,
    pub(crate) telemetry: Telemetry,
    pub(crate) flights: Flights,
    pub(crate) background: Arc<Background>,
    pub(crate) feeds: Feeds,
    /// When the outage began that goes on.
    pub(crate) outage: Mutex<Option<Instant>>,
    state: AtomicU8,
    ending: Notify,
}

impl Core {
    pub(crate) fn new(shared: Shared, limits: Limits, on_error: OnError, prefix: String) -> Self {
        let counters = Arc::new(Counters::default());
        Self {
            shared: Arc::new(shared),
            limits,
            on_error,
            prefix,
            breaker: Arc::default(),
            budget: RetryBudget::default(),
            telemetry: Telemetry::new(&counters),
            counters,
            flights: Flights::default(),
            background: Arc::new(Background::new(limits.background)),
            feeds: Feeds::default(),
            outage: Mutex::new(None),
            state: AtomicU8::new(OPEN),
            ending: Notify::new(),
        }
    }

    /// # Errors
    ///
    /// `FAILED_PRECONDITION` (`CLIENT_CLOSED`) after `close`.
    #[inline]
    pub(crate) fn check_open(&self) -> Result<(), Error> {
        if self.state.load(SeqCst) == OPEN { Ok(()) } else { Err(Error::closed()) }
    }

    /// As [`check_open`](Self::check_open), for the calls that give leases up.
    pub(crate) fn check_parting(&self) -> Result<(), Error> {
        if self.state.load(SeqCst) == CLOSED { Err(Error::closed()) } else { Ok(()) }
    }

    /// Waits until the client closes.
    pub(crate) async fn ended(&self) {
        let ending = self.ending.notified();
        if self.check_open().is_ok() {
            ending.await;
        }
    }

    /// Begins the end. Whether it has not begun before.
    fn begin_end(&self) -> bool {
        if self.state.compare_exchange(OPEN, CLOSING, SeqCst, SeqCst).is_err() {
            return false;
        }
        self.ending.notify_waiters();
        self.flights.close();
        self.background.close();
        self.feeds.close();
        true
    }

    /// Cancels computations, gives their leases up, and ends the connections.
    pub(crate) async fn close(&self) {
        if !self.begin_end() {
            return;
        }
        // The leases of what was running are given up, so that other processes need not wait.
        let _ = tokio::time::timeout(PARTING, self.background.parted()).await;
        self.disconnect();
    }

    fn disconnect(&self) {
        self.state.store(CLOSED, SeqCst);
        self.telemetry.close();
        if let Route::Pool(pool) = &self.shared.route {
            pool.close();
        }
    }

    /// As [`close`](Self::close), when the last handle is dropped.
    pub(crate) fn abandon(self: &Arc<Self>) {
        if !self.begin_end() {
            return;
        }
        let core = Arc::clone(self);
        match tokio::runtime::Handle::try_current() {
            Ok(runtime) => {
                runtime.spawn(async move {
                    let _ = tokio::time::timeout(PARTING, core.background.parted()).await;
                    core.disconnect();
                });
            }
            Err(_) => self.disconnect(),
        }
    }
}

/// How a call is made.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Spec {
    /// Time for the answer, all attempts together.
    pub(crate) timeout: Duration,
    /// Whether the call can be repeated without another effect.
    pub(crate) idempotent: bool,
    /// Whether the caller goes on without the cache at an outage: the breaker may answer.
    pub(crate) open: bool,
    /// Whether the call is made while the client closes.
    pub(crate) parting: bool,
}

/// A handle's own settings, with what it needs to make calls.
#[derive(Clone)]
pub(crate) struct Scope {
    pub(crate) core: Arc<Core>,
    /// Name as the server has it.
    pub(crate) namespace: Arc<str>,
    /// Why the name cannot be used.
    pub(crate) wrong: Option<Error>,
    pub(crate) ttl: Option<Ttl>,
    pub(crate) tags: Vec<String>,
    /// Whether outages are errors of all calls.
    pub(crate) raise: bool,
    pub(crate) count: Arc<Live>,
}

impl Scope {
    pub(crate) fn new(core: Arc<Core>, name: &str) -> Self {
        let encoded = if name.is_empty() {
            Err(Error::argument("namespace", "must not be empty"))
        } else {
            names::encode_namespace(&format!("{}{name}", core.prefix))
        };
        let (namespace, wrong) = match encoded {
            Ok(namespace) => (Arc::from(namespace), None),
            Err(error) => (Arc::from(""), Some(error)),
        };
        Self {
            count: core.counters.of(&namespace),
            raise: core.on_error == OnError::Raise,
            ttl: None,
            tags: Vec::new(),
            core,
            namespace,
            wrong,
        }
    }

    /// A call that must be sent, and whose outage is an error.
    pub(crate) fn spec(&self, timeout: Option<Duration>, idempotent: bool) -> Result<Spec, Error> {
        let timeout = positive("timeout", timeout)?.unwrap_or(self.core.limits.call);
        Ok(Spec { timeout, idempotent, open: false, parting: false })
    }

    /// A call whose caller goes on at an outage.
    pub(crate) fn open_spec(
        &self,
        timeout: Option<Duration>,
        idempotent: bool,
    ) -> Result<Spec, Error> {
        Ok(Spec { open: !self.raise, ..self.spec(timeout, idempotent)? })
    }

    /// Notes that a call goes on after this error. One that it must not ignore is returned.
    pub(crate) fn fail_open(&self, error: Error) -> Result<Failure, Error> {
        if self.raise || !error.is_outage() {
            return Err(error);
        }
        self.count.fail_open.add();
        Ok(Failure::Call(error))
    }

    /// The tags of a value: those of the handle and its own, each once.
    ///
    /// # Errors
    ///
    /// They are too many, or one is empty or too long.
    pub(crate) fn tags(&self, own: impl IntoIterator<Item = String>) -> Result<Vec<String>, Error> {
        let tags = self.joined_tags(own);
        checks::tags(&tags)?;
        Ok(tags)
    }

    /// As [`tags`](Self::tags), without a check.
    pub(crate) fn joined_tags(&self, own: impl IntoIterator<Item = String>) -> Vec<String> {
        let mut tags = self.tags.clone();
        for tag in own {
            if !tags.contains(&tag) {
                tags.push(tag);
            }
        }
        tags
    }
}

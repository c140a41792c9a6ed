//! A store behind a circuit breaker, with every operation observed.

mod statistics;
#[cfg(test)]
mod tests;

use std::{future::Future, sync::Arc, time::Duration};

use async_trait::async_trait;
use parking_lot::Mutex;
use repeated_events::{RepeatedEvent, Summary};
use tokio::time::Instant;
use tracing::Span;

use super::{
    AcquireOutcome, AcquireRequest, Ban, BanLimits, BanListing, BanOutcome, Condition,
    EntryInspection, EntrySample, Error, ErrorKind, Increment, IncrementOutcome, Inspect,
    KeyListPart, KeyListPosition, KeyListStep, LeaseStatus, LeaseToken, Leases, NamespaceListPart,
    NamespacePage, NamespaceUsage, Operation, PutOutcome, ReadOutcome, Result, RevalidateOutcome,
    Revalidation, Store, StoreInfo, Take, TakeOutcome, Topology, Trouble, key_watch::KeyWatch,
};
use crate::{
    circuit_breaker::{CircuitBreaker, ProbeIntervals},
    error_chain::ErrorChain,
    model::{Entry, EntryKey, Lifetime, Namespace, NewEntry, Timestamp, Version},
    trace_sampler,
};

/// Observes the operations on a store, for metrics.
pub trait OperationObserver: Send + Sync {
    /// Runs after each operation, with its duration. `failure` is none if it succeeded, and
    /// [`ErrorKind::BreakerOpen`] if the breaker rejected it.
    fn on_operation_end(
        &self,
        operation: Operation,
        duration: Duration,
        failure: Option<ErrorKind>,
    );
}

/// A store whose operations fail at once while its circuit breaker is open.
pub struct CircuitBreakerStore<S> {
    inner: S,
    breaker: Arc<CircuitBreaker>,
    observer: Arc<dyn OperationObserver>,
}

/// Creates the circuit breaker of a store. It starts open, and logs each change, with the `cause`
/// and the remedy that are known then. Runs `on_open` when it opens.
pub fn breaker(
    failure_threshold: u32,
    cause: impl Fn() -> Option<Trouble> + Send + Sync + 'static,
    on_open: impl Fn() + Send + Sync + 'static,
) -> Arc<CircuitBreaker> {
    Arc::new(CircuitBreaker::new(failure_threshold, move |closed| {
        if closed {
            tracing::info!("the store is available");
        } else {
            on_open();
            let Trouble { cause, remedy } = cause().unwrap_or_else(silence);
            tracing::warn!(
                failures = failure_threshold,
                cause,
                remedy,
                "the store is unavailable: serving without it"
            );
        }
    }))
}

/// Pings a store for its breaker, until the future is dropped.
pub async fn ping_periodically(
    store: &impl Inspect,
    breaker: &CircuitBreaker,
    intervals: ProbeIntervals,
) {
    let failing = Mutex::new(RepeatedEvent::default());
    let probe = || async {
        let answer = store.ping().await;
        match &answer {
            Err(error) if error.kind.is_outage() => {
                remind(store, failing.lock().occurred());
            }
            _ => drop(failing.lock().ended_if(|_| true)),
        }
        answer
    };
    breaker.run_probe(intervals, probe, |error| error.kind.is_outage()).await;
}

/// Logs that an outage lasts. Its begin and its end are the changes of the circuit breaker.
fn remind(store: &impl Inspect, probes: Option<Summary>) {
    if let Some(Summary { count: probes @ 2.., seconds }) = probes {
        let Trouble { cause, remedy } = store.trouble().unwrap_or_else(silence);
        tracing::warn!(probes, seconds, cause, remedy, "the store is still unavailable");
    }
}

/// Cause and remedy for a store that does not answer.
fn silence() -> Trouble {
    Trouble {
        cause: "no answer in time".to_owned(),
        remedy: "check the load of Redis and of the network, and store.timeout",
    }
}

/// The span of one operation, within that of the request.
fn span(operation: Operation) -> Span {
    tracing::info_span!(
        target: "larder::trace",
        "store",
        otel.name = operation.name(),
        otel.kind = "client",
        db.system.name = "redis",
        db.operation.name = operation.name(),
    )
}

fn is_timeout<T>(outcome: &Result<T>) -> bool {
    outcome.as_ref().is_err_and(|error| error.kind == ErrorKind::Timeout)
}

// === impl CircuitBreakerStore ===

impl<S: Inspect> CircuitBreakerStore<S> {
    /// Puts `breaker` in front of `inner`. The breaker stays open unless [`ping_periodically`]
    /// runs.
    pub fn new(
        inner: S,
        breaker: Arc<CircuitBreaker>,
        observer: Arc<dyn OperationObserver>,
    ) -> Self {
        Self { inner, breaker, observer }
    }

    /// The error of an operation that is not tried.
    #[cold]
    fn rejection(&self, operation: Operation) -> Error {
        let trouble = if operation.fails_calls() { self.inner.trouble() } else { None };
        match trouble {
            Some(trouble) => Error::new(ErrorKind::BreakerOpen, trouble.cause),
            None => ErrorKind::BreakerOpen.into(),
        }
    }

    async fn run<T>(
        &self,
        operation: Operation,
        call: impl Future<Output = Result<T>>,
    ) -> Result<T> {
        use tracing::Instrument as _;
        let started = Instant::now();
        let outcome = if !self.breaker.is_closed() {
            Err(self.rejection(operation))
        } else if trace_sampler::is_on() && !Span::current().is_disabled() {
            self.record(operation, call.instrument(span(operation)).await)
        } else {
            self.record(operation, call.await)
        };
        let failure = outcome.as_ref().err().map(|error| error.kind);
        self.observer.on_operation_end(operation, started.elapsed(), failure);
        if let Err(error) = &outcome
            && error.kind != ErrorKind::BreakerOpen
        {
            let error = ErrorChain(error);
            tracing::debug!(operation = operation.name(), %error, "the store failed");
        }
        outcome
    }

    /// Counts the outcome of an operation for the breaker. A timeout of a bulk operation does not
    /// count: it does not show that the store is down.
    fn record<T>(&self, operation: Operation, outcome: Result<T>) -> Result<T> {
        if !(operation.is_bulk() && is_timeout(&outcome)) {
            self.breaker.record(&outcome, |error| error.kind.is_outage());
        }
        outcome
    }
}

#[async_trait]
impl<S: Store + Inspect> Store for CircuitBreakerStore<S> {
    async fn get(&self, key: &EntryKey) -> Result<Option<Entry>> {
        self.run(Operation::Get, self.inner.get(key)).await
    }

    async fn get_many(&self, keys: &[EntryKey]) -> Result<Vec<ReadOutcome>> {
        self.run(Operation::GetMany, self.inner.get_many(keys)).await
    }

    async fn put(
        &self,
        key: &EntryKey,
        entry: &NewEntry,
        condition: Condition,
    ) -> Result<PutOutcome> {
        self.run(Operation::Put, self.inner.put(key, entry, condition)).await
    }

    async fn delete(&self, key: &EntryKey, hold_off: Duration) -> Result<bool> {
        self.run(Operation::Delete, self.inner.delete(key, hold_off)).await
    }

    async fn take(&self, key: &EntryKey, take: &Take) -> Result<TakeOutcome> {
        self.run(Operation::Delete, self.inner.take(key, take)).await
    }

    async fn invalidate(&self, namespace: &Namespace) -> Result<()> {
        self.run(Operation::Invalidate, self.inner.invalidate(namespace)).await
    }

    async fn ban(
        &self,
        namespace: &Namespace,
        ban: &Ban,
        limits: &BanLimits,
    ) -> Result<BanOutcome> {
        self.run(Operation::Ban, self.inner.ban(namespace, ban, limits)).await
    }

    async fn touch(&self, key: &EntryKey, lifetime: Lifetime) -> Result<bool> {
        self.run(Operation::Touch, self.inner.touch(key, lifetime)).await
    }

    async fn prolong(&self, key: &EntryKey, version: Version, lifetime: Lifetime) -> Result<bool> {
        self.run(Operation::Touch, self.inner.prolong(key, version, lifetime)).await
    }

    async fn increment(&self, key: &EntryKey, increment: &Increment) -> Result<IncrementOutcome> {
        self.run(Operation::Increment, self.inner.increment(key, increment)).await
    }

    fn now(&self) -> Timestamp {
        self.inner.now()
    }
}

#[async_trait]
impl<S: Leases + Inspect> Leases for CircuitBreakerStore<S> {
    async fn acquire(&self, key: &EntryKey, request: &AcquireRequest) -> Result<AcquireOutcome> {
        self.run(Operation::Acquire, self.inner.acquire(key, request)).await
    }

    async fn extend(
        &self,
        key: &EntryKey,
        token: LeaseToken,
        ttl: Duration,
    ) -> Result<LeaseStatus> {
        self.run(Operation::Extend, self.inner.extend(key, token, ttl)).await
    }

    async fn fill(
        &self,
        key: &EntryKey,
        token: LeaseToken,
        entry: &NewEntry,
    ) -> Result<LeaseStatus> {
        self.run(Operation::Fill, self.inner.fill(key, token, entry)).await
    }

    async fn revalidate(
        &self,
        key: &EntryKey,
        token: LeaseToken,
        revalidation: &Revalidation,
    ) -> Result<RevalidateOutcome> {
        self.run(Operation::Revalidate, self.inner.revalidate(key, token, revalidation)).await
    }

    async fn discard(
        &self,
        key: &EntryKey,
        token: LeaseToken,
        backoff: Duration,
        cause: &str,
    ) -> Result<LeaseStatus> {
        self.run(Operation::Discard, self.inner.discard(key, token, backoff, cause)).await
    }

    async fn abandon(
        &self,
        key: &EntryKey,
        token: LeaseToken,
        backoff: Duration,
        cause: &str,
    ) -> Result<bool> {
        self.run(Operation::Abandon, self.inner.abandon(key, token, backoff, cause)).await
    }

    fn watch_lease(&self, key: &EntryKey) -> KeyWatch {
        self.inner.watch_lease(key)
    }
}

#[async_trait]
impl<S: Inspect> Inspect for CircuitBreakerStore<S> {
    fn kind(&self) -> &'static str {
        self.inner.kind()
    }

    async fn ping(&self) -> Result<()> {
        self.inner.ping().await
    }

    fn trouble(&self) -> Option<Trouble> {
        self.inner.trouble()
    }

    fn topology(&self) -> Topology {
        self.inner.topology()
    }

    async fn info(&self) -> Result<StoreInfo> {
        self.run(Operation::Info, self.inner.info()).await
    }

    async fn usage(&self, page: &NamespacePage) -> Result<Vec<(Namespace, NamespaceUsage)>> {
        self.run(Operation::Usage, self.inner.usage(page)).await
    }

    async fn list_keys(&self, step: &KeyListStep) -> Result<KeyListPart> {
        self.run(Operation::ListKeys, self.inner.list_keys(step)).await
    }

    async fn sample_entries(&self, step: &KeyListStep) -> Result<EntrySample> {
        self.run(Operation::SampleEntries, self.inner.sample_entries(step)).await
    }

    async fn list_namespaces(&self, position: KeyListPosition) -> Result<NamespaceListPart> {
        self.run(Operation::ListNamespaces, self.inner.list_namespaces(position)).await
    }

    async fn list_bans(&self, namespace: &Namespace, limits: &BanLimits) -> Result<BanListing> {
        self.run(Operation::ListBans, self.inner.list_bans(namespace, limits)).await
    }

    async fn inspect_entry(&self, key: &EntryKey) -> Result<EntryInspection> {
        self.run(Operation::InspectEntry, self.inner.inspect_entry(key)).await
    }
}

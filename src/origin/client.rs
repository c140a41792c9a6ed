//! Client of one origin: a bulkhead with a bounded queue, retries with backoff, a circuit breaker
//! and a deadline.

mod origin_log;
mod status;

use std::{
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use backon::{ExponentialBuilder, Retryable as _};
use parking_lot::Mutex;
use tokio::{
    sync::{Semaphore, SemaphorePermit, watch},
    time::Instant,
};
use tracing::{Instrument as _, Span};

use super::{
    Error, FetchRequest, FetchResponse, Origin, OriginErrorKind, Result,
    latency_estimator::LatencyEstimator,
};
use crate::{
    circuit_breaker::{CallPermit, TrialBreaker},
    count_guard::CountGuard,
    model::{FetchSource, Namespace, SaturatingFrom as _},
};

use origin_log::OriginLog;
use status::Failures;
pub use status::OriginStatus;

/// Observes the fetches of all origins.
pub trait FetchObserver: Send + Sync {
    /// Called once per key when a fetch has ended. `elapsed` includes the wait in the queue and all
    /// attempts.
    fn on_fetch(
        &self,
        namespace: &Namespace,
        elapsed: Duration,
        outcome: std::result::Result<(), &OriginErrorKind>,
    );
}

/// Limits for the fetches from one origin.
#[derive(Debug, Clone, PartialEq)]
pub struct OriginLimits {
    /// Time for one fetch, including the wait in the queue and all attempts.
    pub timeout: Duration,
    /// Concurrent requests.
    pub max_concurrency: usize,
    /// Fetches that may wait for a slot; further ones fail at once.
    pub max_queue: usize,
    /// Retries of a failed fetch.
    pub retries: usize,
    /// Delay before the first retry. It doubles with each further one, and is jittered.
    pub retry_backoff: Duration,
    /// Consecutive failures that open the circuit breaker; zero: it never opens.
    pub breaker_threshold: u32,
    /// Time for which the circuit breaker stays open; jittered.
    pub breaker_cooldown: Duration,
}

/// An origin behind its limits.
pub struct OriginClient {
    namespace: Namespace,
    origin: Box<dyn Origin>,
    source: FetchSource,
    limits: OriginLimits,
    slots: Semaphore,
    queued: AtomicUsize,
    in_flight: AtomicUsize,
    breaker: TrialBreaker,
    latency: LatencyEstimator,
    observer: Arc<dyn FetchObserver>,
    log: OriginLog,
    failures: Failures,
}

/// A response with the latency of its request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TimedResponse {
    /// The response.
    pub response: FetchResponse,
    /// Latency of the successful attempt, without the wait in the queue.
    pub elapsed: Duration,
}

/// Reports one attempt to the circuit breaker. An attempt that is dropped before it has an outcome
/// counts as a failure if it has already taken as long as the upper bound of the latency.
struct AttemptGuard<'a> {
    permit: Option<CallPermit<'a>>,
    started: Instant,
    /// Zero before the first observation.
    upper_bound: Duration,
}

// === impl OriginClient ===

impl OriginClient {
    /// A client of the origin of a namespace.
    pub fn new(
        namespace: Namespace,
        origin: Box<dyn Origin>,
        source: FetchSource,
        limits: OriginLimits,
        observer: Arc<dyn FetchObserver>,
    ) -> Self {
        Self {
            namespace,
            origin,
            source,
            slots: Semaphore::new(limits.max_concurrency.min(Semaphore::MAX_PERMITS)),
            queued: AtomicUsize::new(0),
            in_flight: AtomicUsize::new(0),
            breaker: TrialBreaker::new(limits.breaker_threshold, limits.breaker_cooldown),
            latency: LatencyEstimator::default(),
            limits,
            observer,
            log: OriginLog::default(),
            failures: Failures::default(),
        }
    }

    /// Namespace whose values the origin serves.
    pub fn namespace(&self) -> &Namespace {
        &self.namespace
    }

    /// Source of the origin's answers besides the key.
    pub fn source(&self) -> FetchSource {
        self.source
    }

    /// Whether the circuit breaker is closed, with every change.
    pub fn availability(&self) -> watch::Receiver<bool> {
        self.breaker.subscribe()
    }

    /// Records for the log that a fetch was rejected without an attempt, because
    /// [`OriginClient::open_for`] returned a time.
    pub fn record_rejection(&self, error: &Error) {
        self.failures.count(error);
        self.log.failed(&self.namespace, error, true);
    }

    fn is_available(&self) -> bool {
        *self.breaker.subscribe().borrow()
    }

    /// Time for which the circuit breaker rejects fetches; none if it admits one now.
    pub fn open_for(&self) -> Option<Duration> {
        self.breaker.retry_after()
    }

    /// Requests in flight; a batch counts as one.
    pub fn in_flight(&self) -> usize {
        self.in_flight.load(Ordering::Relaxed)
    }

    /// Requests in the queue; a batch counts as one.
    pub fn queued(&self) -> usize {
        self.queued.load(Ordering::Relaxed)
    }

    /// Mean latency of a fetch; none before the first successful one.
    pub fn mean_fetch_time(&self) -> Option<Duration> {
        self.latency.mean()
    }

    /// Latency that few fetches exceed: estimated, but at most the timeout.
    pub fn expected_fetch_time(&self) -> Duration {
        let timeout = self.limits.timeout;
        self.latency.upper_bound().map_or(timeout, |bound| bound.min(timeout))
    }

    /// Deadline of a fetch that begins now.
    pub fn deadline(&self) -> Instant {
        Instant::now() + self.limits.timeout
    }

    /// Largest number of requests that [`OriginClient::fetch_batch`] takes.
    pub fn batch_limit(&self) -> usize {
        self.origin.batch_limit().max(1)
    }

    /// Fetches one value.
    ///
    /// # Errors
    /// See [`OriginErrorKind`].
    pub async fn fetch(&self, request: &FetchRequest) -> Result<TimedResponse> {
        let started = Instant::now();
        let attempt = || self.attempt(request.deadline, async || self.origin.fetch(request).await);
        let result = self.with_retries(request.deadline, attempt).await;
        let result = result.map(|(response, elapsed)| TimedResponse { response, elapsed });
        self.observe(started, std::slice::from_ref(&result));
        result
    }

    /// Fetches up to [`OriginClient::batch_limit`] values in one request. The request is retried
    /// only if it failed for every key.
    pub async fn fetch_batch(&self, requests: &[FetchRequest]) -> Vec<Result<TimedResponse>> {
        let Some(deadline) = requests.iter().map(|request| request.deadline).min() else {
            return Vec::new();
        };
        let started = Instant::now();
        // Errors of the last attempt that failed for every key.
        let last_errors = Mutex::new(Vec::new());
        let attempt = || {
            self.attempt(deadline, async || {
                let results = self.origin.fetch_batch(requests).await;
                let Some(error) = outage_of_all(&results) else { return Ok(results) };
                *last_errors.lock() = results.into_iter().filter_map(Result::err).collect();
                Err(error)
            })
        };
        let results = match self.with_retries(deadline, attempt).await {
            Ok((results, elapsed)) => {
                let timed = |response| TimedResponse { response, elapsed };
                results.into_iter().map(|result| result.map(timed)).collect()
            }
            Err(error) => match last_errors.into_inner() {
                // Each key keeps its own error, unless a later one failed the batch as a whole.
                errors if errors.contains(&error) => errors.into_iter().map(Err).collect(),
                _ => vec![Err(error); requests.len()],
            },
        };
        self.observe(started, &results);
        results
    }

    /// Retries transient failures with backoff until the deadline.
    async fn with_retries<T, F: Future<Output = Result<T>>>(
        &self,
        deadline: Instant,
        attempt: impl FnMut() -> F,
    ) -> Result<T> {
        let backoff = ExponentialBuilder::default()
            .with_min_delay(self.limits.retry_backoff)
            .with_max_times(self.limits.retries)
            .with_jitter();
        // An origin that asks for a delay is not called before it is over, but may allow zero.
        let is_retryable = |error: &Error| {
            error.kind.is_transient() && error.retry_after.is_none_or(|delay| delay.is_zero())
        };
        let last_error = Mutex::new(None);
        let attempts = attempt
            .retry(backoff)
            .when(is_retryable)
            .notify(|error, _| *last_error.lock() = Some(error.clone()));
        let timeout = |_| {
            let cause = format_args!("no answer within {:?} (origin.timeout)", self.limits.timeout);
            Error::new(OriginErrorKind::Timeout, cause)
        };
        let result = tokio::time::timeout_at(deadline, attempts)
            .await
            .map_err(timeout)
            .and_then(|result| result);
        // A breaker that opened between two attempts is not why the fetch failed.
        result.map_err(|error| match last_error.into_inner() {
            Some(last_error) if error.kind == OriginErrorKind::BreakerOpen => last_error,
            _ => error,
        })
    }

    /// Sends one request when the breaker admits it and a slot is free. Returns its latency too.
    async fn attempt<T>(
        &self,
        deadline: Instant,
        send: impl AsyncFnOnce() -> Result<T>,
    ) -> Result<(T, Duration)> {
        let permit = self.breaker.admit().map_err(Error::breaker_open)?;
        let _slot = self.acquire_slot(deadline).await?;
        // The breaker may have opened during the wait for the slot.
        let permit = permit.renew().map_err(Error::breaker_open)?;
        let _in_flight = CountGuard::new(&self.in_flight);
        let started = Instant::now();
        let span = self.span();
        let upper_bound = self.latency.upper_bound().unwrap_or_default();
        let guard = AttemptGuard { permit: Some(permit), started, upper_bound };
        let result = send().instrument(span.clone()).await;
        if let Err(error) = &result {
            span.record("otel.status_code", "ERROR").record("error.type", error.kind.name());
        }
        guard.end(result.as_ref().err().map(|error| &error.kind));
        let elapsed = started.elapsed();
        if result.is_ok() {
            self.latency.observe(elapsed);
        }
        result.map(|response| (response, elapsed))
    }

    fn span(&self) -> Span {
        tracing::info_span!(
            target: "larder::trace",
            "fetch",
            otel.name = "fetch",
            otel.kind = "client",
            larder.namespace = %self.namespace,
            otel.status_code = tracing::field::Empty,
            error.type = tracing::field::Empty,
        )
    }

    /// Waits for a slot that becomes free early enough for a fetch. One that starts too late would
    /// miss its deadline, and take the slot from another.
    async fn acquire_slot(&self, deadline: Instant) -> Result<SemaphorePermit<'_>> {
        if let Ok(slot) = self.slots.try_acquire() {
            return Ok(slot);
        }
        let in_queue = CountGuard::new(&self.queued);
        let queued = self.queued();
        let OriginLimits { max_queue, max_concurrency, .. } = self.limits;
        if queued > max_queue {
            let cause = format_args!("{max_queue} fetches are waiting already (origin.max_queue)");
            return Err(Error::new(OriginErrorKind::Overloaded, cause));
        }
        let too_late = || {
            Error::new(
                OriginErrorKind::Overloaded,
                "a slot would be free too late (origin.max_concurrency)",
            )
        };
        let latency = self.latency.mean().unwrap_or_default();
        let rounds = u32::saturating_from(queued.div_ceil(max_concurrency.max(1)));
        let expected_wait = latency.saturating_mul(rounds);
        let remaining = deadline.saturating_duration_since(Instant::now());
        if expected_wait.saturating_add(latency) > remaining {
            return Err(too_late());
        }
        let latest_start = deadline.checked_sub(latency).unwrap_or(deadline);
        let slot = tokio::time::timeout_at(latest_start, self.slots.acquire()).await;
        drop(in_queue);
        // The semaphore is never closed.
        slot.map_err(|_| too_late())?
            .map_err(|closed| Error::new(OriginErrorKind::Overloaded, closed))
    }

    fn observe(&self, started: Instant, results: &[Result<TimedResponse>]) {
        for result in results {
            let outcome = result.as_ref().map(drop).map_err(|error| &error.kind);
            self.observer.on_fetch(&self.namespace, started.elapsed(), outcome);
            result.as_ref().err().into_iter().for_each(|error| self.failures.count(error));
            match result {
                Ok(_) => self.log.answered(&self.namespace),
                Err(error) => self.log.failed(&self.namespace, error, !self.is_available()),
            }
        }
    }
}

/// If every key failed with an outage, the error that stands for the batch: one with a delay before
/// the next request, or else a transient one, which allows a retry at once.
fn outage_of_all(results: &[Result<FetchResponse>]) -> Option<Error> {
    let is_outage = |result: &Result<_>| matches!(result, Err(error) if error.kind.is_outage());
    if !results.iter().all(is_outage) {
        return None;
    }
    let errors = || results.iter().filter_map(|result| result.as_ref().err());
    let with_delay = errors().find(|error| error.retry_after.is_some());
    let transient = errors().find(|error| error.kind.is_transient());
    with_delay.or(transient).or_else(|| errors().next()).cloned()
}

// === impl AttemptGuard ===

impl AttemptGuard<'_> {
    fn end(mut self, failure: Option<&OriginErrorKind>) {
        match (self.permit.take(), failure) {
            // No request was sent.
            (Some(permit), Some(OriginErrorKind::BadKey(_))) => drop(permit),
            (Some(permit), Some(kind)) if kind.is_outage() => permit.fail(),
            (Some(permit), _) => permit.succeed(),
            (None, _) => {}
        }
    }
}

impl Drop for AttemptGuard<'_> {
    fn drop(&mut self) {
        if let Some(permit) = self.permit.take()
            && self.started.elapsed() >= self.upper_bound
        {
            permit.fail();
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;

//! What stands before an origin: how many fetches at once, how many wait for their turn, how often one is tried again, and when the
//! origin is left alone.

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

use tracing::Instrument as _;

use super::{
    Error, ErrorKind, FetchRequest, FetchResponse, Origin, Result,
    latency_estimator::LatencyEstimator,
};
use crate::{
    circuit_breaker::{CallPermit, TrialBreaker},
    model::{Namespace, SaturatingFrom as _},
};

/// Is told of every fetch.
pub trait Observer: Send + Sync {
    /// A fetch for `namespace` has ended: `took` from when it was let in, all attempts included.
    fn fetched(
        &self,
        namespace: &Namespace,
        took: Duration,
        outcome: std::result::Result<(), &ErrorKind>,
    );
}

/// How an origin is to be treated.
#[derive(Debug, Clone, PartialEq)]
pub struct OriginLimits {
    /// Time for one fetch, waiting for its turn and repetitions included.
    pub timeout: Duration,
    /// Fetches at once.
    pub max_concurrency: usize,
    /// Fetches that wait for their turn.
    pub max_queue: usize,
    /// Most repetitions of a fetch that failed.
    pub retries: usize,
    /// Time before the first of them; doubled for each further one, and jittered.
    pub retry_backoff: Duration,
    /// Failures in a row after which the origin is left alone; zero for never.
    pub breaker_threshold: u32,
    /// For how long.
    pub breaker_cooldown: Duration,
}

/// See the module.
pub struct OriginClient {
    namespace: Namespace,
    origin: Box<dyn Origin>,
    rules: OriginLimits,
    slots: Semaphore,
    queued: AtomicUsize,
    in_flight: AtomicUsize,
    breaker: TrialBreaker,
    pace: LatencyEstimator,
    observer: Arc<dyn Observer>,
}

/// An answer, and how long the origin took for it.
pub type Fetched = (FetchResponse, Duration);

/// Counts something for as long as it lives.
struct InFlightGuard<'a>(&'a AtomicUsize);

impl OriginClient {
    /// Puts a gate before the origin of a namespace.
    pub fn new(
        namespace: Namespace,
        origin: Box<dyn Origin>,
        rules: OriginLimits,
        observer: Arc<dyn Observer>,
    ) -> Self {
        Self {
            namespace,
            origin,
            slots: Semaphore::new(rules.max_concurrency.min(Semaphore::MAX_PERMITS)),
            queued: AtomicUsize::new(0),
            in_flight: AtomicUsize::new(0),
            breaker: TrialBreaker::new(rules.breaker_threshold, rules.breaker_cooldown),
            pace: LatencyEstimator::default(),
            rules,
            observer,
        }
    }

    /// The namespace whose values the origin has.
    pub fn namespace(&self) -> &Namespace {
        &self.namespace
    }

    /// Whether the origin is asked at all; follows every change.
    pub fn open(&self) -> watch::Receiver<bool> {
        self.breaker.subscribe()
    }

    /// For how long the origin is still left alone; none if it may be asked.
    pub fn left_alone(&self) -> Option<Duration> {
        self.breaker.retry_after()
    }

    /// Fetches under way.
    pub fn in_flight(&self) -> usize {
        self.in_flight.load(Ordering::Relaxed)
    }

    /// Fetches that wait for their turn.
    pub fn queued(&self) -> usize {
        self.queued.load(Ordering::Relaxed)
    }

    /// How long a fetch takes on average; none if none was seen.
    pub fn mean_fetch_time(&self) -> Option<Duration> {
        self.pace.mean()
    }

    /// A time that few fetches exceed: observed, or the limit if none was.
    pub fn expected_fetch_time(&self) -> Duration {
        self.pace.bound().map_or(self.rules.timeout, |bound| bound.min(self.rules.timeout))
    }

    /// When a fetch that begins now is given up.
    pub fn deadline(&self) -> Instant {
        Instant::now() + self.rules.timeout
    }

    /// Most orders that [`OriginClient::fetch_batch`] sends in one request.
    pub fn batch_limit(&self) -> usize {
        self.origin.batch_limit().max(1)
    }

    /// Fetches one value.
    ///
    /// # Errors
    /// See [`ErrorKind`].
    pub async fn fetch(&self, order: &FetchRequest) -> Result<Fetched> {
        let started = Instant::now();
        let fetched = self
            .patiently(order.deadline, || {
                self.attempt(order.deadline, async || self.origin.fetch(order).await)
            })
            .await;
        self.observe(started, std::slice::from_ref(&fetched));
        fetched
    }

    /// Fetches up to [`OriginClient::batch_limit`] values in one request. Only a request that failed as a whole is repeated.
    pub async fn fetch_batch(&self, orders: &[FetchRequest]) -> Vec<Result<Fetched>> {
        let Some(deadline) = orders.iter().map(|order| order.deadline).min() else {
            return Vec::new();
        };
        let started = Instant::now();
        // What was last said of each order when the origin was in trouble.
        let failures = Mutex::new(Vec::new());
        let batch = || {
            self.attempt(deadline, async || {
                let answers = self.origin.fetch_batch(orders).await;
                let outages = || {
                    answers
                        .iter()
                        .filter_map(|answer| answer.as_ref().err())
                        .filter(|e| e.kind.is_outage())
                };
                if outages().count() < answers.len() {
                    return Ok(answers);
                }
                // One stands for all then: one that says when to ask again, or else one after which that makes sense at once.
                let patient = outages().find(|error| error.retry_after.is_some());
                let passing = || outages().find(|error| error.kind.is_passing());
                match patient.or_else(passing).or_else(|| outages().next()).cloned() {
                    Some(error) => {
                        *failures.lock() = answers.into_iter().filter_map(Result::err).collect();
                        Err(error)
                    }
                    None => Ok(answers),
                }
            })
        };
        let fetched = match self.patiently(deadline, batch).await {
            Ok((answers, took)) => {
                answers.into_iter().map(|answer| answer.map(|answer| (answer, took))).collect()
            }
            Err(error) => match failures.into_inner() {
                // Each order has its own cause, unless what stands for all came later.
                causes if causes.contains(&error) => causes.into_iter().map(Err).collect(),
                _ => vec![Err(error); orders.len()],
            },
        };
        self.observe(started, &fetched);
        fetched
    }

    /// Repeats what may succeed a moment later, as long as there is time.
    async fn patiently<T, F: Future<Output = Result<T>>>(
        &self,
        deadline: Instant,
        attempt: impl FnMut() -> F,
    ) -> Result<T> {
        let backoff = ExponentialBuilder::default()
            .with_min_delay(self.rules.retry_backoff)
            .with_max_times(self.rules.retries)
            .with_jitter();
        // An origin that says when it wants to be asked again is not asked before. That may be at once.
        let again = |error: &Error| {
            error.kind.is_passing() && error.retry_after.is_none_or(|wait| wait.is_zero())
        };
        let failed = Mutex::new(None);
        let attempts = attempt
            .retry(backoff)
            .when(again)
            .notify(|error, _| *failed.lock() = Some(error.clone()));
        let late = |_| {
            Error::new(
                ErrorKind::Timeout,
                format_args!("no answer within {:?}", self.rules.timeout),
            )
        };
        let outcome = tokio::time::timeout_at(deadline, attempts)
            .await
            .map_err(late)
            .and_then(|outcome| outcome);
        let failed = failed.into_inner();
        // If the breaker opened meanwhile, that is not why the fetch failed.
        outcome.map_err(|error| match failed {
            Some(before) if matches!(error.kind, ErrorKind::BreakerOpen) => before,
            _ => error,
        })
    }

    async fn attempt<T>(
        &self,
        deadline: Instant,
        ask: impl AsyncFnOnce() -> Result<T>,
    ) -> Result<(T, Duration)> {
        let permit = self.breaker.admit().map_err(Error::left_alone)?;
        let _slot = self.slot(deadline).await?;
        // It may have opened while this fetch waited for its turn.
        let permit = permit.renew().map_err(Error::left_alone)?;
        let _counted = InFlightGuard::new(&self.in_flight);
        let started = Instant::now();
        let span = tracing::info_span!(
            target: "larder::trace",
            "fetch",
            otel.name = "fetch",
            otel.kind = "client",
            larder.namespace = %self.namespace,
            otel.status_code = tracing::field::Empty,
            error.type = tracing::field::Empty,
        );
        let judged = BreakerGuard {
            permit: Some(permit),
            started,
            patience: self.pace.bound().unwrap_or_default(),
        };
        let outcome = ask().instrument(span.clone()).await;
        if let Err(error) = &outcome {
            span.record("otel.status_code", "ERROR").record("error.type", error.kind.name());
        }
        judged.by(outcome.as_ref().err().map(|error| &error.kind));
        let took = started.elapsed();
        if outcome.is_ok() {
            self.pace.observe(took);
        }
        outcome.map(|answer| (answer, took))
    }

    /// A turn, if there is one early enough for a fetch: one that is begun too late is in vain, and takes the turn of another.
    async fn slot(&self, deadline: Instant) -> Result<SemaphorePermit<'_>> {
        if let Ok(slot) = self.slots.try_acquire() {
            return Ok(slot);
        }
        let queued = InFlightGuard::new(&self.queued);
        if self.queued.load(Ordering::Relaxed) > self.rules.max_queue {
            let cause = format!("{} fetches are waiting already", self.rules.max_queue);
            return Err(Error::new(ErrorKind::Overloaded, cause));
        }
        let usually = self.pace.mean().unwrap_or_default();
        let left = deadline.saturating_duration_since(Instant::now());
        let rounds =
            self.queued.load(Ordering::Relaxed).div_ceil(self.rules.max_concurrency.max(1));
        let its_turn = usually.saturating_mul(u32::saturating_from(rounds));
        let too_late = || Error::new(ErrorKind::Overloaded, "its turn would come too late");
        if its_turn.saturating_add(usually) > left {
            return Err(too_late());
        }
        let latest = deadline.checked_sub(usually).unwrap_or(deadline);
        let slot = tokio::time::timeout_at(latest, self.slots.acquire()).await;
        drop(queued);
        // Nobody closes the semaphore.
        slot.map_err(|_| too_late())?.map_err(|closed| Error::new(ErrorKind::Overloaded, closed))
    }

    fn observe(&self, started: Instant, fetched: &[Result<Fetched>]) {
        for outcome in fetched {
            let outcome = outcome.as_ref().map(drop).map_err(|error| &error.kind);
            self.observer.fetched(&self.namespace, started.elapsed(), outcome);
        }
    }
}

/// A fetch that is cut off by its deadline is a failure of the origin if it was given the time that fetches take.
struct BreakerGuard<'a> {
    permit: Option<CallPermit<'a>>,
    started: Instant,
    patience: Duration,
}

impl BreakerGuard<'_> {
    fn by(mut self, failure: Option<&ErrorKind>) {
        match (self.permit.take(), failure) {
            // The origin was not asked.
            (Some(permit), Some(ErrorKind::BadKey(_))) => drop(permit),
            (Some(permit), Some(kind)) if kind.is_outage() => permit.fail(),
            (Some(permit), _) => permit.succeed(),
            (None, _) => {}
        }
    }
}

impl Drop for BreakerGuard<'_> {
    fn drop(&mut self) {
        if let Some(permit) = self.permit.take()
            && self.started.elapsed() >= self.patience
        {
            permit.fail();
        }
    }
}

impl<'a> InFlightGuard<'a> {
    fn new(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(count)
    }
}

impl Drop for InFlightGuard<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;

//! The client in front of a scripted origin, on a paused clock.

mod batches;
mod breaker;
mod bulkhead;
mod retries;

use std::collections::VecDeque;

use futures_util::future::join_all;
use tokio::time::{advance, sleep};

use super::*;
use crate::{
    captured_log::CapturedLog,
    circuit_breaker::BreakerState,
    model::{EntryKey, Kind, Validators},
    origin::{CacheDirectives, FetchBody},
};

const LATENCY: Duration = Duration::from_millis(100);
const TIMEOUT: Duration = Duration::from_secs(1);
const COOLDOWN: Duration = Duration::from_secs(10);

/// Results of the next calls, one per key; after them every key has a value.
type Results = Vec<Result<FetchResponse>>;

/// An origin that takes `LATENCY` for each call, or hangs.
#[derive(Default)]
struct ScriptedOrigin {
    script: Mutex<VecDeque<Results>>,
    calls: AtomicUsize,
    hangs: Mutex<bool>,
    batch_limit: usize,
}

/// Records all observed fetches.
#[derive(Default)]
struct Recorder(Mutex<Vec<Observed>>);

#[derive(Debug, PartialEq)]
struct Observed {
    namespace: String,
    elapsed: Duration,
    outcome: std::result::Result<(), OriginErrorKind>,
}

/// A client with its origin and its observer.
struct Setup {
    client: OriginClient,
    origin: Arc<ScriptedOrigin>,
    observed: Arc<Recorder>,
}

impl ScriptedOrigin {
    async fn call(&self, count: usize) -> Results {
        self.calls.fetch_add(1, Ordering::Relaxed);
        let results = self.script.lock().pop_front();
        let hangs = *self.hangs.lock();
        if hangs {
            std::future::pending::<()>().await;
        }
        sleep(LATENCY).await;
        results.unwrap_or_else(|| vec![Ok(value()); count])
    }
}

#[async_trait::async_trait]
impl Origin for Arc<ScriptedOrigin> {
    async fn fetch(&self, _: &FetchRequest) -> Result<FetchResponse> {
        self.call(1).await.remove(0)
    }

    fn batch_limit(&self) -> usize {
        self.batch_limit
    }

    async fn fetch_batch(&self, requests: &[FetchRequest]) -> Results {
        self.call(requests.len()).await
    }
}

impl FetchObserver for Recorder {
    fn on_fetch(
        &self,
        namespace: &Namespace,
        elapsed: Duration,
        outcome: std::result::Result<(), &OriginErrorKind>,
    ) {
        let (namespace, outcome) = (namespace.to_string(), outcome.map_err(Clone::clone));
        self.0.lock().push(Observed { namespace, elapsed, outcome });
    }
}

impl Setup {
    fn new(limits: OriginLimits) -> Self {
        Self::with_origin(limits, ScriptedOrigin::default())
    }

    fn with_origin(limits: OriginLimits, origin: ScriptedOrigin) -> Self {
        let (origin, observed) = (Arc::new(origin), Arc::<Recorder>::default());
        let namespace = Namespace::new("ns").unwrap();
        let client = OriginClient::new(
            namespace,
            Box::new(origin.clone()),
            FetchSource::default(),
            limits,
            observed.clone(),
        );
        Self { client, origin, observed }
    }

    /// Adds the results of the next calls, each for one key.
    fn script(&self, results: impl IntoIterator<Item = Result<FetchResponse>>) {
        self.origin.script.lock().extend(results.into_iter().map(|result| vec![result]));
    }

    fn hang(&self, hangs: bool) {
        *self.origin.hangs.lock() = hangs;
    }

    async fn fetch(&self) -> Result<TimedResponse> {
        self.client.fetch(&request(self.client.deadline())).await
    }

    async fn fetch_within(&self, time: Duration) -> Result<TimedResponse> {
        self.client.fetch(&request(Instant::now() + time)).await
    }

    async fn failure(&self) -> OriginErrorKind {
        self.fetch().await.unwrap_err().kind
    }

    /// Fetches several keys at once.
    async fn fetch_concurrently(&self, count: usize) -> Vec<Result<TimedResponse>> {
        join_all((0..count).map(|_| self.fetch())).await
    }

    fn calls(&self) -> usize {
        self.origin.calls.load(Ordering::Relaxed)
    }

    fn is_closed(&self) -> bool {
        *self.client.availability().borrow()
    }
}

fn limits() -> OriginLimits {
    OriginLimits {
        timeout: TIMEOUT,
        max_concurrency: 2,
        max_queue: 1000,
        retries: 0,
        retry_backoff: LATENCY,
        breaker_threshold: 1,
        breaker_cooldown: COOLDOWN,
    }
}

fn request(deadline: Instant) -> FetchRequest {
    FetchRequest {
        key: EntryKey::new(Namespace::new("ns").unwrap(), "k", [].into_iter()).unwrap(),
        params: Arc::default(),
        validators: Validators::default(),
        deadline,
    }
}

fn value() -> FetchResponse {
    let body = FetchBody::Value { kind: Kind::Text, data: "v".into() };
    FetchResponse { body, directives: CacheDirectives::default() }
}

fn error(kind: OriginErrorKind) -> Error {
    Error::new(kind, "scripted")
}

fn failed<T>() -> Result<T> {
    Err(error(OriginErrorKind::Failed))
}

fn bad_key() -> OriginErrorKind {
    OriginErrorKind::BadKey(Namespace::new("").unwrap_err())
}

#[tokio::test(start_paused = true)]
async fn a_rejection_is_logged() {
    let (log, setup) = (CapturedLog::start(), Setup::new(limits()));
    setup.client.record_rejection(&error(OriginErrorKind::Failed));
    assert_eq!(log.lines_with("circuit breaker is open").len(), 1, "{}", log.text());
}

#[tokio::test(start_paused = true)]
async fn status_counts_failures_by_kind_and_has_the_cause_of_an_open_breaker() {
    let setup = Setup::new(limits());
    let status = setup.client.status();
    assert_eq!((status.breaker, status.last_error.as_str()), (BreakerState::Closed, ""));
    setup.script([Err(error(bad_key())), Err(error(OriginErrorKind::Refused)), failed()]);
    for _ in 0..4 {
        setup.fetch().await.unwrap_err();
    }
    let rejected = Error::breaker_open(COOLDOWN);
    setup.client.record_rejection(&rejected);
    let status = setup.client.status();
    assert!(matches!(status.breaker, BreakerState::Open { .. }));
    assert_eq!((status.changed_at, status.in_flight), (Instant::now(), 0));
    let failures = [("breaker_open", 2), ("failed", 1), ("refused", 1)];
    assert_eq!(status.failures, failures.into());
    assert_eq!(status.last_error, "the origin failed: scripted");
}

#[tokio::test(start_paused = true)]
async fn response_has_the_latency_of_its_request() {
    let setup = Setup::new(limits());
    let response = setup.fetch().await.unwrap();
    assert_eq!(response, TimedResponse { response: value(), elapsed: LATENCY });
    assert_eq!(setup.client.namespace().to_string(), "ns");
}

#[tokio::test(start_paused = true)]
async fn only_successful_fetches_count_for_the_latency() {
    let setup = Setup::new(OriginLimits { breaker_threshold: 0, ..limits() });
    setup.script([failed()]);
    setup.failure().await;
    assert_eq!(setup.client.mean_fetch_time(), None);
    assert_eq!(setup.client.expected_fetch_time(), TIMEOUT, "unknown");
    setup.fetch().await.unwrap();
    assert_eq!(setup.client.mean_fetch_time(), Some(LATENCY));
    assert_eq!(setup.client.expected_fetch_time(), 3 * LATENCY);
}

#[tokio::test(start_paused = true)]
async fn expected_fetch_time_is_at_most_the_timeout() {
    let setup = Setup::new(OriginLimits { timeout: 2 * LATENCY, ..limits() });
    setup.fetch().await.unwrap();
    assert_eq!(setup.client.expected_fetch_time(), 2 * LATENCY);
}

#[tokio::test(start_paused = true)]
async fn deadline_is_after_the_timeout() {
    let setup = Setup::new(limits());
    assert_eq!(setup.client.deadline(), Instant::now() + TIMEOUT);
}

#[tokio::test(start_paused = true)]
async fn fetch_ends_at_its_deadline() {
    let setup = Setup::new(limits());
    setup.hang(true);
    let started = Instant::now();
    let error = setup.fetch().await.unwrap_err();
    assert_eq!(started.elapsed(), TIMEOUT);
    assert_eq!(error, Error::new(OriginErrorKind::Timeout, "no answer within 1s (origin.timeout)"));
}

#[tokio::test(start_paused = true)]
async fn each_fetch_is_observed_once() {
    let setup = Setup::new(OriginLimits { breaker_threshold: 0, retries: 1, ..limits() });
    setup.script([Err(error(OriginErrorKind::Refused)), failed(), Ok(value())]);
    setup.failure().await;
    setup.fetch().await.unwrap();
    let observed = setup.observed.0.lock();
    let [refused, retried] = &observed[..] else { panic!("{observed:?}") };
    let outcome = Err(OriginErrorKind::Refused);
    let expected = Observed { namespace: "ns".to_owned(), elapsed: LATENCY, outcome };
    assert_eq!(*refused, expected);
    assert_eq!((retried.namespace.as_str(), &retried.outcome), ("ns", &Ok(())));
    assert!(retried.elapsed >= 3 * LATENCY, "both attempts and the backoff");
}

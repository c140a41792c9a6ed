//! The gate, before origins that are slow or fail.

use super::*;
use crate::{
    model::{EntryKey, Kind, Validators},
    origin::{CacheDirectives, FetchBody},
};

/// Takes 100 ms for everything.
struct Slow;

#[async_trait::async_trait]
impl Origin for Slow {
    async fn fetch(&self, _: &FetchRequest) -> Result<FetchResponse> {
        tokio::time::sleep(Duration::from_millis(100)).await;
        let content = FetchBody::Value { kind: Kind::Text, data: "v".into() };
        Ok(FetchResponse { content, terms: CacheDirectives::default() })
    }
}

struct Nobody;

impl Observer for Nobody {
    fn fetched(&self, _: &Namespace, _: Duration, _: std::result::Result<(), &ErrorKind>) {}
}

/// Fails for each key in its own way, and counts how often it is asked.
struct Failing(Vec<Error>, Arc<AtomicUsize>);

#[async_trait::async_trait]
impl Origin for Failing {
    async fn fetch(&self, _: &FetchRequest) -> Result<FetchResponse> {
        Err(self.0[0].clone())
    }

    async fn fetch_batch(&self, _: &[FetchRequest]) -> Vec<Result<FetchResponse>> {
        self.1.fetch_add(1, Ordering::Relaxed);
        self.0.iter().cloned().map(Err).collect()
    }
}

fn gate() -> OriginClient {
    let rules = rules();
    OriginClient::new(Namespace::new("ns").unwrap(), Box::new(Slow), rules, Arc::new(Nobody))
}

fn rules() -> OriginLimits {
    OriginLimits {
        timeout: Duration::from_secs(1),
        max_concurrency: 2,
        max_queue: 1000,
        retries: 0,
        retry_backoff: Duration::ZERO,
        breaker_threshold: 1,
        breaker_cooldown: Duration::from_secs(10),
    }
}

async fn fetch(gate: &OriginClient) -> Result<Fetched> {
    gate.fetch(&order(gate, "k")).await
}

fn order(gate: &OriginClient, key: &str) -> FetchRequest {
    let key = EntryKey::new(Namespace::new("ns").unwrap(), key, [].into_iter()).unwrap();
    FetchRequest {
        key,
        params: Arc::default(),
        validators: Validators::default(),
        deadline: gate.deadline(),
    }
}

/// Twenty fetches a second are what it can do: whoever would be late is turned away, and the rest is served.
#[tokio::test(start_paused = true)]
async fn beyond_its_capacity_an_origin_is_still_of_use() {
    let gate = gate();
    fetch(&gate).await.unwrap();
    let (mut served, mut turned_away) = (0, 0);
    for _ in 0..3 {
        let crowd = futures_util::future::join_all((0..100).map(|_| fetch(&gate))).await;
        for outcome in crowd {
            match outcome {
                Ok(_) => served += 1,
                Err(error) => {
                    assert_eq!(error.kind, ErrorKind::Overloaded, "{error}");
                    turned_away += 1;
                }
            }
        }
    }
    assert!((45..=60).contains(&served), "{served} served, {turned_away} turned away");
    assert!(*gate.open().borrow(), "the origin is well");
    assert_eq!((gate.in_flight(), gate.queued()), (0, 0));
}

/// What each key of a batch comes to where the origin says this of each, and how often it was asked.
async fn fail(said: &[Error]) -> (Vec<Error>, usize) {
    let asked = Arc::new(AtomicUsize::new(0));
    let origin = Failing(said.to_vec(), asked.clone());
    let rules = OriginLimits { retries: 1, breaker_threshold: 0, ..rules() };
    let gate =
        OriginClient::new(Namespace::new("ns").unwrap(), Box::new(origin), rules, Arc::new(Nobody));
    let orders: Vec<FetchRequest> =
        (0..said.len()).map(|number| order(&gate, &number.to_string())).collect();
    let came = gate.fetch_batch(&orders).await.into_iter().map(|came| came.unwrap_err()).collect();
    (came, asked.load(Ordering::Relaxed))
}

#[tokio::test(start_paused = true)]
async fn each_key_of_a_batch_keeps_its_own_cause() {
    let failed = |cause: &str| Error::new(ErrorKind::Failed, cause);
    let timeout = || Error::new(ErrorKind::Timeout, "too slow");
    // Tried again if one of them may succeed a moment later, wherever it is.
    for said in [
        vec![failed("a"), timeout(), failed("b")],
        vec![timeout(), failed("a")],
        vec![failed("a"), timeout()],
    ] {
        assert_eq!(fail(&said).await, (said, 2));
    }
    let later = Error { retry_after: Some(Duration::from_secs(1)), ..failed("busy") };
    let refused = Error::new(ErrorKind::Refused, "no");
    for said in [vec![timeout(), timeout()], vec![failed("a"), later], vec![failed("a"), refused]] {
        assert_eq!(fail(&said).await, (said, 1));
    }
}

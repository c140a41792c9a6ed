//! Concurrent callers and invalidations, checked against the origin's counter.
//!
//! The origin's counter is incremented, then the entry is invalidated by Delete or
//! InvalidateNamespace. Fillers read the counter under a lease. After an invalidation is
//! acknowledged, a read that starts later must not return a smaller number.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::SeqCst},
    },
    time::{Duration, Instant},
};

use larder::pb::v1::{
    BatchDeleteRequest, DeleteRequest, GetOrFetchRequest, GetRequest, KeyRef, SetRequest,
    SetResult, Value, get_or_fetch_response::Outcome as Answer,
};
use rand::RngExt as _;

use super::Fleet;
use crate::support::client::{
    Cache, abandon, as_text, batch_get, delete, fetch, fill, get, invalidate, ms, text,
};

const KEYS: usize = 4;
const DURATION: Duration = Duration::from_secs(6);

/// The origin's counter for one key.
#[derive(Default)]
struct Origin {
    /// Current value.
    current: AtomicU64,
    /// Value at the last acknowledged invalidation.
    acknowledged: AtomicU64,
}

#[derive(Default)]
struct Counters {
    filled: AtomicU64,
    refused: AtomicU64,
    hits: AtomicU64,
    invalidations: AtomicU64,
}

struct Shared {
    origins: [Origin; KEYS],
    counters: Counters,
    stopped: AtomicBool,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deleted_value_is_never_read() {
    let counters = run(&[], |cache, key, round| async move {
        if round.is_multiple_of(2) {
            let request = DeleteRequest { namespace: namespace(key), ..delete("k") };
            cache.delete(request).await.unwrap();
        } else {
            let keys = vec![KeyRef {
                namespace: namespace(key),
                key: "k".to_owned(),
                ..Default::default()
            }];
            cache
                .batch_delete(BatchDeleteRequest { keys, ..BatchDeleteRequest::default() })
                .await
                .unwrap();
        }
    })
    .await;
    counters.assert_enough_events();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn invalidated_value_is_never_read() {
    let counters = run(&[("LARDER_STORE__SHARDS", "4")], |cache, key, _| async move {
        cache.invalidate_namespace(invalidate(&namespace(key))).await.unwrap();
    })
    .await;
    counters.assert_enough_events();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn invalidated_value_is_never_read_when_leases_expire() {
    // Most fills arrive after another caller has acquired the lease.
    let variables = [("LARDER_STORE__SHARDS", "4"), ("LARDER_DEFAULTS__LEASE_TTL", "20ms")];
    let counters = run(&variables, |cache, key, round| async move {
        if round.is_multiple_of(3) {
            cache.invalidate_namespace(invalidate(&namespace(key))).await.unwrap();
        } else {
            let request = DeleteRequest { namespace: namespace(key), ..delete("k") };
            cache.delete(request).await.unwrap();
        }
    })
    .await;
    assert!(
        counters.refused.load(SeqCst) > 20 && counters.hits.load(SeqCst) > 20,
        "{}",
        counters.report()
    );
}

async fn run<F>(
    variables: &[(&str, &str)],
    invalidate_entry: impl Fn(Cache, usize, u64) -> F + Copy + Send + 'static,
) -> Counters
where
    F: Future<Output = ()> + Send + 'static,
{
    let fleet = Fleet::start(variables).await;
    let shared = Arc::new(Shared {
        origins: Default::default(),
        counters: Counters::default(),
        stopped: AtomicBool::new(false),
    });
    let mut tasks = Vec::new();
    for key in 0..KEYS {
        for cache in &fleet.caches {
            for _ in 0..3 {
                tasks.push(tokio::spawn(fetcher(cache.clone(), key, Arc::clone(&shared))));
            }
            tasks.push(tokio::spawn(reader(cache.clone(), key, Arc::clone(&shared))));
        }
        let cache = fleet.caches[key % 2].clone();
        tasks.push(tokio::spawn(invalidator(cache, key, Arc::clone(&shared), invalidate_entry)));
    }
    let start = Instant::now();
    crate::support::wait::throughout(DURATION, async || {
        assert!(!tasks.iter().any(|task| task.is_finished()), "after {:?}", start.elapsed());
    })
    .await;
    shared.stopped.store(true, SeqCst);
    for task in tasks {
        task.await.unwrap();
    }
    eprintln!("{}", shared.counters.report());
    Arc::into_inner(shared).expect("all tasks have ended").counters
}

/// Increments the origin's counter and invalidates the entry.
async fn invalidator<F: Future<Output = ()>>(
    cache: Cache,
    key: usize,
    shared: Arc<Shared>,
    invalidate_entry: impl Fn(Cache, usize, u64) -> F,
) {
    let origin = &shared.origins[key];
    while !shared.stopped.load(SeqCst) {
        let value = origin.current.fetch_add(1, SeqCst) + 1;
        invalidate_entry(cache.clone(), key, value).await;
        origin.acknowledged.store(value, SeqCst);
        shared.counters.invalidations.fetch_add(1, SeqCst);
        random_pause(20).await;
    }
}

/// Calls GetOrFetch; fills or abandons when it is granted the lease.
async fn fetcher(cache: Cache, key: usize, shared: Arc<Shared>) {
    let origin = &shared.origins[key];
    while !shared.stopped.load(SeqCst) {
        let bound = origin.acknowledged.load(SeqCst);
        let request =
            GetOrFetchRequest { namespace: namespace(key), wait: ms(50), ..fetch("k", 0) };
        match cache.get_or_fetch(request).await.unwrap().outcome.unwrap() {
            Answer::Found(found) => shared.check(found.value, bound, key),
            Answer::Lease(lease) => {
                let value = origin.current.load(SeqCst);
                random_pause(8).await;
                if rand::rng().random_ratio(1, 20) {
                    let request = larder::pb::v1::AbandonRequest {
                        namespace: namespace(key),
                        ..abandon("k", &lease)
                    };
                    cache.abandon(request).await.unwrap();
                    continue;
                }
                let request = SetRequest {
                    namespace: namespace(key),
                    ..fill("k", text(&value.to_string()), &lease)
                };
                let counters = &shared.counters;
                let counter = match cache.set(request).await.unwrap().result() {
                    SetResult::Stored => &counters.filled,
                    SetResult::LeaseLost | SetResult::Invalidated | SetResult::Superseded => {
                        &counters.refused
                    }
                    other => panic!("{other:?}"),
                };
                counter.fetch_add(1, SeqCst);
            }
            Answer::NotCached(not_cached) => panic!("{not_cached:?}"),
            Answer::Contended(_) => {}
        }
        random_pause(3).await;
    }
}

/// Alternates between Get and BatchGet.
async fn reader(cache: Cache, key: usize, shared: Arc<Shared>) {
    let origin = &shared.origins[key];
    while !shared.stopped.load(SeqCst) {
        let bound = origin.acknowledged.load(SeqCst);
        let request = GetRequest { namespace: namespace(key), ..get("k") };
        shared.check(cache.get(request).await.unwrap().value, bound, key);
        let bound = origin.acknowledged.load(SeqCst);
        let keys =
            vec![KeyRef { namespace: namespace(key), key: "k".to_owned(), ..Default::default() }];
        let chunks = cache.batch_get(batch_get(keys)).await.unwrap();
        shared.check(chunks[0].results[0].value.clone(), bound, key);
        random_pause(2).await;
    }
}

impl Shared {
    fn check(&self, value: Option<Value>, bound: u64, key: usize) {
        if let Some(value) = as_text(value) {
            let value: u64 = value.parse().unwrap();
            assert!(
                value >= bound,
                "key {key}: {value} was read after the invalidation of {bound} was acknowledged"
            );
            self.counters.hits.fetch_add(1, SeqCst);
        }
    }
}

impl Counters {
    fn report(&self) -> String {
        let of = |counter: &AtomicU64| counter.load(SeqCst);
        format!(
            "{} fills stored, {} refused, {} hits, {} invalidations",
            of(&self.filled),
            of(&self.refused),
            of(&self.hits),
            of(&self.invalidations)
        )
    }

    /// Fails when too few fills, refusals, hits or invalidations happened to cause a race.
    fn assert_enough_events(&self) {
        let counts = [&self.filled, &self.refused, &self.hits, &self.invalidations]
            .map(|counter| counter.load(SeqCst));
        assert!(counts.into_iter().all(|events| events >= 20), "{}", self.report());
    }
}

fn namespace(key: usize) -> String {
    format!("race{key}")
}

/// Sleeps for a random time up to `millis`, so that rounds differ.
async fn random_pause(millis: u64) {
    let micros = rand::rng().random_range(0..millis * 1000);
    tokio::time::sleep(Duration::from_micros(micros)).await;
}

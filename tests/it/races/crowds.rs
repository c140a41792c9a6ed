//! Many callers, many rounds, and a clock that everybody agrees on: the origin's counter.
//!
//! The origin counts up, then the cache is told by Delete or InvalidateNamespace; whoever fills reads the origin under a
//! lease. Once an invalidation has answered OK, no read that starts later may return a smaller number.

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

/// What one key is about.
#[derive(Default)]
struct Origin {
    /// What the origin says now.
    now: AtomicU64,
    /// What it said at the last invalidation that was acknowledged.
    acknowledged: AtomicU64,
}

#[derive(Default)]
struct Tally {
    filled: AtomicU64,
    refused: AtomicU64,
    hits: AtomicU64,
    invalidations: AtomicU64,
}

struct World {
    origins: [Origin; KEYS],
    tally: Tally,
    over: AtomicBool,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_reads_what_was_deleted() {
    let tally = run(&[], |cache, key, turn| async move {
        if turn.is_multiple_of(2) {
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
    tally.assert_eventful();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_reads_what_was_invalidated() {
    let tally = run(&[("LARDER_STORE__SHARDS", "4")], |cache, key, _| async move {
        cache.invalidate_namespace(invalidate(&namespace(key))).await.unwrap();
    })
    .await;
    tally.assert_eventful();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_reads_what_was_invalidated_while_leases_run_out() {
    // Most fills come when the lease is already somebody else's.
    let variables = [("LARDER_STORE__SHARDS", "4"), ("LARDER_DEFAULTS__LEASE_TTL", "20ms")];
    let tally = run(&variables, |cache, key, turn| async move {
        if turn.is_multiple_of(3) {
            cache.invalidate_namespace(invalidate(&namespace(key))).await.unwrap();
        } else {
            let request = DeleteRequest { namespace: namespace(key), ..delete("k") };
            cache.delete(request).await.unwrap();
        }
    })
    .await;
    assert!(tally.refused.load(SeqCst) > 20 && tally.hits.load(SeqCst) > 20, "{}", tally.report());
}

async fn run<F>(
    variables: &[(&str, &str)],
    tell: impl Fn(Cache, usize, u64) -> F + Copy + Send + 'static,
) -> Tally
where
    F: Future<Output = ()> + Send + 'static,
{
    let fleet = Fleet::start(variables).await;
    let world = Arc::new(World {
        origins: Default::default(),
        tally: Tally::default(),
        over: AtomicBool::new(false),
    });
    let mut tasks = Vec::new();
    for key in 0..KEYS {
        for cache in &fleet.caches {
            for _ in 0..3 {
                tasks.push(tokio::spawn(fetcher(cache.clone(), key, Arc::clone(&world))));
            }
            tasks.push(tokio::spawn(reader(cache.clone(), key, Arc::clone(&world))));
        }
        let cache = fleet.caches[key % 2].clone();
        tasks.push(tokio::spawn(invalidator(cache, key, Arc::clone(&world), tell)));
    }
    let start = Instant::now();
    crate::support::wait::throughout(DURATION, async || {
        assert!(!tasks.iter().any(|task| task.is_finished()), "after {:?}", start.elapsed());
    })
    .await;
    world.over.store(true, SeqCst);
    for task in tasks {
        task.await.unwrap();
    }
    eprintln!("{}", world.tally.report());
    Arc::into_inner(world).expect("all tasks are over").tally
}

/// Changes the origin and tells the cache.
async fn invalidator<F: Future<Output = ()>>(
    cache: Cache,
    key: usize,
    world: Arc<World>,
    tell: impl Fn(Cache, usize, u64) -> F,
) {
    let origin = &world.origins[key];
    while !world.over.load(SeqCst) {
        let now = origin.now.fetch_add(1, SeqCst) + 1;
        tell(cache.clone(), key, now).await;
        origin.acknowledged.store(now, SeqCst);
        world.tally.invalidations.fetch_add(1, SeqCst);
        pause(20).await;
    }
}

/// Asks, computes when it has to, and fills.
async fn fetcher(cache: Cache, key: usize, world: Arc<World>) {
    let origin = &world.origins[key];
    while !world.over.load(SeqCst) {
        let least = origin.acknowledged.load(SeqCst);
        let request =
            GetOrFetchRequest { namespace: namespace(key), wait: ms(50), ..fetch("k", 0) };
        match cache.get_or_fetch(request).await.unwrap().outcome.unwrap() {
            Answer::Found(found) => world.check(found.value, least, key),
            Answer::Lease(lease) => {
                let value = origin.now.load(SeqCst);
                pause(8).await;
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
                let tally = &world.tally;
                let counter = match cache.set(request).await.unwrap().result() {
                    SetResult::Stored => &tally.filled,
                    SetResult::LeaseLost | SetResult::Invalidated | SetResult::Superseded => {
                        &tally.refused
                    }
                    other => panic!("{other:?}"),
                };
                counter.fetch_add(1, SeqCst);
            }
            Answer::NotCached(not_cached) => panic!("{not_cached:?}"),
            Answer::Contended(_) => {}
        }
        pause(3).await;
    }
}

/// Reads by Get and by BatchGet in turn.
async fn reader(cache: Cache, key: usize, world: Arc<World>) {
    let origin = &world.origins[key];
    while !world.over.load(SeqCst) {
        let least = origin.acknowledged.load(SeqCst);
        let request = GetRequest { namespace: namespace(key), ..get("k") };
        world.check(cache.get(request).await.unwrap().value, least, key);
        let least = origin.acknowledged.load(SeqCst);
        let keys =
            vec![KeyRef { namespace: namespace(key), key: "k".to_owned(), ..Default::default() }];
        let chunks = cache.batch_get(batch_get(keys)).await.unwrap();
        world.check(chunks[0].results[0].value.clone(), least, key);
        pause(2).await;
    }
}

impl World {
    fn check(&self, value: Option<Value>, least: u64, key: usize) {
        if let Some(value) = as_text(value) {
            let value: u64 = value.parse().unwrap();
            assert!(
                value >= least,
                "key {key}: {value} was read after the invalidation of {least} was acknowledged"
            );
            self.tally.hits.fetch_add(1, SeqCst);
        }
    }
}

impl Tally {
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

    /// Without these there was no race, and nothing was tested.
    fn assert_eventful(&self) {
        let least = [&self.filled, &self.refused, &self.hits, &self.invalidations]
            .map(|counter| counter.load(SeqCst));
        assert!(least.into_iter().all(|events| events >= 20), "{}", self.report());
    }
}

fn namespace(key: usize) -> String {
    format!("race{key}")
}

/// Goes on at a random time, so that rounds differ.
async fn pause(millis: u64) {
    let micros = rand::rng().random_range(0..millis * 1000);
    tokio::time::sleep(Duration::from_micros(micros)).await;
}

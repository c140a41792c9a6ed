//! Random calls and faults, checked against the contract.
//!
//! For longer runs: `LARDER_TEST_SECONDS=600 cargo test --test it origins::model`.
//! `LARDER_TEST_SEED` repeats the choices of a run, but not its timing.

// Failovers that set Redis back, and evictions of what bans need.
mod rewinds;
// The history of database changes, fetches and Sets, and the contract's checks of reads.
mod history;
// Selections of keys, as targets and as events.
mod selection;
// Workers that make random calls.
mod workload;

use std::{
    sync::{Arc, atomic::Ordering::SeqCst},
    time::{Duration, Instant},
};

use nix::sys::signal::Signal;
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};

use self::{
    history::History,
    workload::{Replica, Worker},
};
use crate::support::{
    env::Env,
    fleet::Fleet,
    origin::Origin,
    wait::{SOON, eventually, throughout},
};

const REPLICAS: usize = 3;
const SECONDS: u64 = 6;
/// Time after a fault in which fetches may still be affected: the longest lease, and bytes buffered
/// in sockets.
const FAULT_RECOVERY: Duration = Duration::from_secs(3);
const SWEEP_ALWAYS: &str = "[store]\nsweep_interval = '20ms'\nsweep_rate = 100_000";
const FEW_BANS: &str = "[defaults]\nmax_banned_tags = 5\nmax_banned_patterns = 2";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_replicas_match_the_model() {
    let (history, origin) = start().await;
    let fleet = Fleet::start(REPLICAS, &config(&origin)).await;
    let replicas: Vec<_> = fleet.caches.iter().cloned().map(Replica::new).collect();
    run(&history, &replicas, throughout(duration(), async || {})).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_replicas_match_the_model_under_faults() {
    let (history, origin) = start().await;
    let mut fleet = Fleet::start(REPLICAS, &config(&origin)).await;
    let replicas: Vec<_> = fleet.caches.iter().cloned().map(Replica::new).collect();
    run(&history, &replicas, inject_faults(&mut fleet, &replicas, &history)).await;
}

/// Bans that overtake each other, that are too many, and that Redis loses, while the sweep drops
/// bans all the time. With the check of a fill or the comparison of ids left out of the code, this
/// fails within some seconds.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_replicas_match_the_model_while_redis_loses_bans() {
    let (history, origin) = start().await;
    let config = config(&origin).replacen("[store]", SWEEP_ALWAYS, 1);
    let config = config.replacen("[defaults]", FEW_BANS, 1);
    let fleet = Fleet::start(REPLICAS, &config).await;
    let replicas: Vec<_> = fleet.caches.iter().cloned().map(Replica::new).collect();
    // Generations end, and their leases with them.
    let whole_run = (Instant::now(), Instant::now() + Duration::from_secs(24 * 3600));
    history.fault_windows.lock().unwrap().push(whole_run);
    let has_happened = async || {
        history.counts.widened_bans.load(SeqCst) > 0
            && fleet.metric("larder_store_lost_bans_total").await > 0.0
            && fleet.metric("larder_store_sweep_dropped_bans_total").await > 0.0
    };
    // A busy machine takes longer.
    let injecting = eventually("bans were lost, dropped and too many", SOON * 9, async || {
        rewinds::inject(&fleet, &replicas, &history).await;
        has_happened().await.then_some(())
    });
    run(&history, &replicas, injecting).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn embedded_store_matches_the_model() {
    let (history, origin) = start().await;
    let env = Env::memory(&[], &config(&origin)).await;
    run(&history, &[Replica::new(env.cache.clone())], throughout(duration(), async || {})).await;
}

async fn start() -> (Arc<History>, Origin) {
    let (history, origin) = (Arc::new(History::new()), Origin::start().await);
    origin.answer({
        let history = history.clone();
        move |request| history.answer(request)
    });
    (history, origin)
}

fn config(origin: &Origin) -> String {
    let mut config = "
        [store]
        shards = 2
        [defaults]
        ttl = '300ms'
        stale_while_revalidate = '200ms'
        stale_if_error = '200ms'
        lease_ttl = '2s'
    "
    .to_owned();
    for namespace in history::NAMESPACES {
        config.push_str(&selection::event_rules(namespace));
        let url = origin.url(&format!("/{namespace}/{{key}}"));
        config.push_str(&format!(
            "
            [namespaces.{namespace}.origin]
            url = '{url}'
            timeout = '2s'
            min_lease = '2s'
            negative_ttl = '200ms'
            error_backoff = '20ms'
            retries = 0
            breaker_threshold = 0
            "
        ));
    }
    config
}

/// Runs the workload until `events` completes, then checks the whole history.
async fn run(history: &Arc<History>, replicas: &[Arc<Replica>], events: impl Future<Output = ()>) {
    let seed = number("LARDER_TEST_SEED").unwrap_or_else(rand::random);
    eprintln!("LARDER_TEST_SEED={seed}");
    let mut seeds = StdRng::seed_from_u64(seed);
    let mut worker = |replica: &Arc<Replica>| Worker {
        history: history.clone(),
        replica: replica.clone(),
        rng: StdRng::seed_from_u64(seeds.random()),
    };
    let mut workers = tokio::task::JoinSet::new();
    for replica in replicas {
        for _ in 0..4 {
            workers.spawn(worker(replica).fetch());
        }
        workers.spawn(worker(replica).get());
        workers.spawn(worker(replica).invalidate());
        workers.spawn(worker(replica).set());
    }
    tokio::select! {
        () = until_enough_events(events, history) => {}
        Some(ended) = workers.join_next() => panic!("a worker stopped: {ended:?}"),
    }
    history.stopped.store(true, SeqCst);
    while let Some(ended) = workers.join_next().await {
        ended.unwrap();
    }
    eprintln!("{}", history.counts.report());
    history.check_overlaps();
}

/// Waits for `events`, and then until enough calls have raced. A busy machine takes longer.
async fn until_enough_events(events: impl Future<Output = ()>, history: &History) {
    events.await;
    eventually("enough has happened", SOON * 6, async || {
        history.counts.has_enough_events().then_some(())
    })
    .await;
}

/// Stops or kills one random server after the other.
async fn inject_faults(fleet: &mut Fleet, replicas: &[Arc<Replica>], history: &History) {
    let start = Instant::now();
    while start.elapsed() < duration() {
        pause(100..800).await;
        let number = rand::random_range(0..REPLICAS);
        let replica = &replicas[number];
        let fault_lock = replica.fault_lock.write().await;
        let started = Instant::now();
        replica.fault_count.fetch_add(1, SeqCst);
        if rand::random_ratio(1, 3) {
            fleet.servers[number].kill();
            fleet.replace(number).await;
            *replica.cache.lock().unwrap() = fleet.caches[number].clone();
        } else {
            fleet.servers[number].signal(Signal::SIGSTOP);
            pause(20..2_500).await;
            fleet.servers[number].signal(Signal::SIGCONT);
        }
        replica.fault_count.fetch_add(1, SeqCst);
        history.fault_windows.lock().unwrap().push((started, Instant::now() + FAULT_RECOVERY));
        drop(fault_lock);
    }
}

async fn pause(millis: std::ops::Range<u64>) {
    // Not a wait: a fault, or the time between two, lasts for a random time.
    tokio::time::sleep(Duration::from_millis(rand::random_range(millis))).await;
}

fn duration() -> Duration {
    Duration::from_secs(number("LARDER_TEST_SECONDS").unwrap_or(SECONDS))
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().map(|value| value.parse().unwrap())
}

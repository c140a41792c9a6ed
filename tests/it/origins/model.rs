//! Random calls and accidents, checked against what the contract says.
//!
//! For longer runs: `LARDER_TEST_SECONDS=600 cargo test --test it origins::model`; `LARDER_TEST_SEED` repeats the choices of
//! a run, though not its timing.

// Those who call at random.
mod actors;
// What the callers and the origin did, and what the contract makes of it.
mod world;

use std::{
    sync::{Arc, atomic::Ordering::SeqCst},
    time::{Duration, Instant},
};

use nix::sys::signal::Signal;
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};

use self::{
    actors::{Actor, Replica},
    world::World,
};
use crate::support::{
    env::Env,
    fleet::Fleet,
    origin::Origin,
    wait::{SOON, eventually, throughout},
};

const REPLICAS: usize = 3;
const SECONDS: u64 = 6;
/// How long after an accident fetches may still be affected: the longest lease, and what waits in sockets.
const AFTERMATH: Duration = Duration::from_secs(3);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_replicas() {
    let (world, origin) = start().await;
    let fleet = Fleet::start(REPLICAS, &config(&origin)).await;
    let replicas: Vec<_> = fleet.caches.iter().cloned().map(Replica::new).collect();
    run(&world, &replicas, throughout(duration(), async || {})).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_replicas_that_stop_and_die() {
    let (world, origin) = start().await;
    let mut fleet = Fleet::start(REPLICAS, &config(&origin)).await;
    let replicas: Vec<_> = fleet.caches.iter().cloned().map(Replica::new).collect();
    run(&world, &replicas, accidents(&mut fleet, &replicas, &world)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_embedded_store() {
    let (world, origin) = start().await;
    let env = Env::memory(&[], &config(&origin)).await;
    run(&world, &[Replica::new(env.cache.clone())], throughout(duration(), async || {})).await;
}

async fn start() -> (Arc<World>, Origin) {
    let (world, origin) = (Arc::new(World::new()), Origin::start().await);
    origin.answer({
        let world = world.clone();
        move |asked| world.answer(asked)
    });
    (world, origin)
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
    for namespace in world::NAMESPACES {
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

/// Has everybody call until `events` are over.
async fn run(world: &Arc<World>, replicas: &[Arc<Replica>], events: impl Future<Output = ()>) {
    let seed = number("LARDER_TEST_SEED").unwrap_or_else(rand::random);
    eprintln!("LARDER_TEST_SEED={seed}");
    let mut seeds = StdRng::seed_from_u64(seed);
    let mut actor = |replica: &Arc<Replica>| Actor {
        world: world.clone(),
        replica: replica.clone(),
        dice: StdRng::seed_from_u64(seeds.random()),
    };
    let mut actors = tokio::task::JoinSet::new();
    for replica in replicas {
        for _ in 0..4 {
            actors.spawn(actor(replica).fetch());
        }
        actors.spawn(actor(replica).get());
        actors.spawn(actor(replica).invalidate());
        actors.spawn(actor(replica).set());
    }
    tokio::select! {
        () = enough(events, world) => {}
        Some(ended) = actors.join_next() => panic!("a caller stopped: {ended:?}"),
    }
    world.over.store(true, SeqCst);
    while let Some(ended) = actors.join_next().await {
        ended.unwrap();
    }
    eprintln!("{}", world.tally.report());
    world.check_overlaps();
}

/// The events, and on a busy machine what it takes for the callers to have met.
async fn enough(events: impl Future<Output = ()>, world: &World) {
    events.await;
    eventually("enough has happened", SOON * 6, async || world.tally.is_eventful().then_some(()))
        .await;
}

/// Stops and kills one server after the other.
async fn accidents(fleet: &mut Fleet, replicas: &[Arc<Replica>], world: &World) {
    let start = Instant::now();
    while start.elapsed() < duration() {
        pause(100..800).await;
        let number = rand::random_range(0..REPLICAS);
        let replica = &replicas[number];
        let steady = replica.steady.write().await;
        let began = Instant::now();
        replica.accidents.fetch_add(1, SeqCst);
        if rand::random_ratio(1, 3) {
            fleet.servers[number].kill();
            fleet.replace(number).await;
            *replica.cache.lock().unwrap() = fleet.caches[number].clone();
        } else {
            fleet.servers[number].signal(Signal::SIGSTOP);
            pause(20..2_500).await;
            fleet.servers[number].signal(Signal::SIGCONT);
        }
        replica.accidents.fetch_add(1, SeqCst);
        world.turmoil.lock().unwrap().push((began, Instant::now() + AFTERMATH));
        drop(steady);
    }
}

async fn pause(millis: std::ops::Range<u64>) {
    tokio::time::sleep(Duration::from_millis(rand::random_range(millis))).await;
}

fn duration() -> Duration {
    Duration::from_secs(number("LARDER_TEST_SECONDS").unwrap_or(SECONDS))
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().map(|value| value.parse().unwrap())
}
